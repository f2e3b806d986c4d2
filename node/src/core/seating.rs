//! How a cluster with a fixed `--join` list comes to know itself: from what nodes say of themselves
//! to one topology, the same on every node. It knows nothing of links; the shell tells it what was
//! said over which.
//!
//! Every seat (an address of the list) has to be taken by a node that was started with the same
//! list; then the topology of epoch 1 follows from the list alone. A node that restarts with a new
//! identity takes its old seat, which is a new epoch. What a live link says of a seat is believed
//! before any hearsay; of hearsay the later epoch is believed, and between equal epochs the one
//! with the greater identities, seat by seat. So two nodes that have links to the same nodes agree,
//! and a topology changes no more once all links are up. This is enough while each shard has one
//! copy in memory; changes that must not be confused need a vote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dht_proto::topology::{Member, NodeId, Topology};

use super::placement::place;

/// Copies of a shard.
const COPIES: usize = 1;

/// What a node has learnt of its cluster.
pub struct Formation {
    me: Member,
    seats: BTreeSet<String>,
    shards: usize,
    /// What live links say of the seats, this node's own seat included.
    heard: BTreeMap<String, Result<Member, Refusal>>,
    topology: Option<Topology>,
}

/// Why this node cannot form a cluster with another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The other was started with another list: what it has.
    OtherSeats(Vec<String>),
    /// The other was started with another number of shards: which.
    OtherShards(u32),
    /// Two addresses of the list lead to one node: the other address.
    SameNode(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSeats(seats) => write!(f, "it was started with --join {}", seats.join(",")),
            Self::OtherShards(shards) => write!(f, "it was started with --shards {shards}"),
            Self::SameNode(seat) => write!(f, "it is the same node as {seat}"),
        }
    }
}

/// What a node says of itself and of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// Who it is. Its seat is empty until it knows it.
    pub member: &'a Member,
    /// Its `--join` list.
    pub seats: &'a [String],
    /// Its number of shards.
    pub shards: u32,
    /// The cluster as it knows it, once formed.
    pub topology: Option<&'a Topology>,
}

impl Formation {
    /// A node that has just started with this `--join` list. If its client address is in the list,
    /// that is its seat; else it learns the seat when it hears itself.
    #[must_use]
    pub fn new(me: Member, join: &[String], shards: u32) -> Self {
        let mut formation = Self {
            seats: join.iter().cloned().collect(),
            shards: shards as usize,
            heard: BTreeMap::new(),
            topology: None,
            me,
        };
        if formation.seats.contains(&formation.me.client) {
            formation.sit_down(formation.me.client.clone());
            formation.advance(None);
        }
        formation
    }

    /// This node, for its own hellos.
    #[must_use]
    pub const fn me(&self) -> &Member {
        &self.me
    }

    /// The seats, sorted, for hellos and for dialling.
    #[must_use]
    pub const fn seats(&self) -> &BTreeSet<String> {
        &self.seats
    }

    /// Takes a hello over a link that is now up. `dialled` is the seat at which this node found the
    /// other; over a link that the other has opened, the seat is what it says. Says whether the
    /// topology has changed.
    ///
    /// # Errors
    /// The two cannot be in one cluster: the link is of no use.
    pub fn hear(&mut self, dialled: Option<&str>, hello: Hello<'_>) -> Result<bool, Refusal> {
        let seat = dialled.unwrap_or(&hello.member.seat);
        let verdict = self.judge(seat, hello);
        if self.seats.contains(seat) && self.me.seat != seat {
            match verdict.clone() {
                Ok(member) if member.id == self.me.id => self.sit_down(seat.to_owned()),
                news => _ = self.heard.insert(seat.to_owned(), news),
            }
        }
        verdict?;
        Ok(self.advance(hello.topology))
    }

    /// The link to a seat is down: what it said is hearsay from now on.
    pub fn lose(&mut self, seat: &str) {
        if seat != self.me.seat {
            self.heard.remove(seat);
        }
    }

    /// The topology, or what is missing.
    ///
    /// # Errors
    /// Not formed: names the seats that are waited for, and what is wrong with them.
    pub fn topology(&self) -> Result<Topology, String> {
        self.topology.clone().ok_or_else(|| {
            let missing: Vec<String> = self
                .seats
                .iter()
                .filter_map(|seat| self.missing(seat))
                .collect();
            if missing.is_empty() {
                return "none of the addresses in --join is this node".to_owned();
            }
            format!("waiting for {}", missing.join(", "))
        })
    }

    fn missing(&self, seat: &str) -> Option<String> {
        match self.heard.get(seat) {
            None => Some(seat.to_owned()),
            Some(Err(refusal)) => Some(format!("{seat} ({refusal})")),
            Some(Ok(_)) => None,
        }
    }

    fn sit_down(&mut self, seat: String) {
        self.me.seat.clone_from(&seat);
        self.heard.insert(seat, Ok(self.me.clone()));
    }

    /// The member that sits in a seat, unless it and this node cannot be in one cluster.
    fn judge(&self, seat: &str, hello: Hello<'_>) -> Result<Member, Refusal> {
        if hello.seats.iter().collect::<BTreeSet<_>>() != self.seats.iter().collect() {
            return Err(Refusal::OtherSeats(hello.seats.to_vec()));
        }
        if hello.shards as usize != self.shards {
            return Err(Refusal::OtherShards(hello.shards));
        }
        let elsewhere = self.heard.values().flatten().find(|known| {
            known.id == hello.member.id && known.seat != seat && self.seats.contains(seat)
        });
        match elsewhere {
            Some(known) => Err(Refusal::SameNode(known.seat.clone())),
            None => Ok(Member {
                seat: seat.to_owned(),
                ..hello.member.clone()
            }),
        }
    }

    /// Forms the topology, or brings it up to date with what was heard; says whether it has
    /// changed.
    fn advance(&mut self, hearsay: Option<&Topology>) -> bool {
        let hearsay = hearsay.filter(|topology| self.fits(topology));
        let base = self
            .topology
            .as_ref()
            .into_iter()
            .chain(hearsay)
            .max_by_key(|t| precedence(t));
        let next = match base {
            Some(base) => self.corrected(base),
            None => match self.formed() {
                Some(topology) => topology,
                None => return false,
            },
        };
        let changed = self.topology.as_ref() != Some(&next);
        self.topology = Some(next);
        changed
    }

    /// Whether a topology is one of this cluster.
    fn fits(&self, topology: &Topology) -> bool {
        topology.shards.len() == self.shards
            && topology
                .members
                .iter()
                .map(|member| &member.seat)
                .eq(&self.seats)
    }

    /// The first topology, once every seat is taken.
    fn formed(&self) -> Option<Topology> {
        let known = |seat| self.heard.get(seat)?.clone().ok();
        let members = self
            .seats
            .iter()
            .map(known)
            .collect::<Option<Vec<Member>>>()?;
        let shards = place(&self.seats, self.shards, COPIES, None);
        (!members.is_empty()).then_some(Topology {
            epoch: 1,
            members,
            shards,
        })
    }

    /// The same topology with the members that were heard, of the next epoch if one is new.
    fn corrected(&self, base: &Topology) -> Topology {
        let mut next = base.clone();
        for member in &mut next.members {
            if let Some(Ok(heard)) = self.heard.get(&member.seat) {
                member.clone_from(heard);
            }
        }
        next.epoch += u64::from(next != *base);
        next
    }
}

fn precedence(topology: &Topology) -> (u64, Vec<NodeId>) {
    (
        topology.epoch,
        topology.members.iter().map(|member| member.id).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "127.0.0.1:7401";
    const B: &str = "127.0.0.1:7402";
    const C: &str = "127.0.0.1:7403";

    fn join() -> Vec<String> {
        // Neither sorted nor free of duplicates, as people type it.
        [C, A, B, A].map(str::to_owned).to_vec()
    }

    fn node(id: u8, client: &str) -> Formation {
        let me = Member {
            id: NodeId([id; 20]),
            seat: String::new(),
            client: client.to_owned(),
            redirect: format!("{client}0"),
        };
        Formation::new(me, &join(), 64)
    }

    /// `to` has dialled `seat` and hears `from` there.
    fn tell(from: &Formation, seat: &str, to: &mut Formation) -> Result<bool, Refusal> {
        let seats: Vec<String> = from.seats.iter().cloned().collect();
        let hello = Hello {
            member: &from.me,
            seats: &seats,
            shards: u32::try_from(from.shards).unwrap(),
            topology: from.topology.as_ref(),
        };
        to.hear(Some(seat), hello)
    }

    /// Every node dials every other, in an order that the seed decides, as often as asked.
    fn mingle(nodes: &mut [Formation], times: usize, seed: &mut u64) {
        for _ in 0..times {
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (from, to) = (
                (*seed >> 33) as usize % nodes.len(),
                (*seed >> 49) as usize % nodes.len(),
            );
            if from != to {
                let (low, high) = nodes.split_at_mut(from.max(to));
                let (one, other) = (&mut low[from.min(to)], &mut high[0]);
                let (from, to) = if from < to {
                    (one, other)
                } else {
                    (other, one)
                };
                let seat = from.me.client.clone();
                tell(from, &seat, to).unwrap();
            }
        }
    }

    #[test]
    fn forms_when_every_seat_is_taken_and_says_what_is_missing() {
        let (mut a, b, c) = (node(1, A), node(2, B), node(3, C));
        assert_eq!(a.topology(), Err(format!("waiting for {B}, {C}")));
        assert_eq!(tell(&b, B, &mut a), Ok(false));
        assert_eq!(a.topology(), Err(format!("waiting for {C}")));
        assert_eq!(tell(&c, C, &mut a), Ok(true));
        let topology = a.topology().unwrap();
        let members: Vec<(u8, &str)> = topology
            .members
            .iter()
            .map(|member| (member.id.0[0], member.seat.as_str()))
            .collect();
        assert_eq!(members, [(1, A), (2, B), (3, C)]);
        assert_eq!((topology.epoch, topology.shards.len()), (1, 64));
        assert_eq!(tell(&c, C, &mut a), Ok(false), "nothing new");
    }

    #[test]
    fn a_node_behind_another_address_finds_its_seat_by_hearing_itself() {
        let mut a = node(1, "10.1.2.3:7400");
        let (b, c) = (node(2, B), node(3, C));
        tell(&b, B, &mut a).unwrap();
        tell(&c, C, &mut a).unwrap();
        assert_eq!(a.topology(), Err(format!("waiting for {A}")));
        let itself = node(1, "10.1.2.3:7400");
        assert_eq!(tell(&itself, A, &mut a), Ok(true));
        assert_eq!(a.topology().unwrap().members[0].client, "10.1.2.3:7400");
    }

    #[test]
    fn differing_settings_are_refused() {
        let mut a = node(1, A);
        let other = |seats: &[&str], shards| {
            let seats: Vec<String> = seats.iter().map(ToString::to_string).collect();
            Formation::new(node(2, B).me, &seats, shards)
        };
        let cases = [
            (
                other(&[A, B], 64),
                B,
                format!("it was started with --join {A},{B}"),
            ),
            (
                other(&[A, B, C], 128),
                B,
                "it was started with --shards 128".to_owned(),
            ),
            (node(1, A), B, format!("it is the same node as {A}")),
        ];
        for (from, seat, why) in cases {
            let refusal = tell(&from, seat, &mut a).unwrap_err();
            assert_eq!(refusal.to_string(), why);
            assert_eq!(a.topology(), Err(format!("waiting for {B} ({why}), {C}")));
        }
        tell(&node(2, B), B, &mut a).unwrap();
        assert_eq!(
            a.topology(),
            Err(format!("waiting for {C}")),
            "a restart with the right list"
        );
    }

    #[test]
    fn restarts_lead_every_node_to_the_same_topology() {
        for seed in 0..200 {
            let mut random = seed;
            let mut nodes = vec![node(1, A), node(2, B), node(3, C)];
            mingle(&mut nodes, 100, &mut random);
            let first = nodes[0].topology().unwrap();
            assert!(
                nodes
                    .iter()
                    .all(|node| node.topology().as_ref() == Ok(&first)),
                "seed {seed}"
            );
            for (restart, (index, address)) in
                [(0, A), (1, B), (0, A), (2, C)].into_iter().enumerate()
            {
                nodes[index] = node(10 + u8::try_from(restart).unwrap(), address);
                for other in &mut nodes {
                    other.lose(address);
                }
                mingle(&mut nodes, 3, &mut random);
            }
            mingle(&mut nodes, 100, &mut random);
            let last = nodes[0].topology().unwrap();
            let ids: Vec<u8> = last.members.iter().map(|member| member.id.0[0]).collect();
            assert_eq!(ids, [12, 11, 13], "seed {seed}");
            assert_eq!(last.shards, first.shards, "seed {seed}");
            assert!(
                nodes
                    .iter()
                    .all(|node| node.topology().as_ref() == Ok(&last)),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_restarted_node_serves_although_another_is_down() {
        let (mut a, b, c) = (node(1, A), node(2, B), node(3, C));
        tell(&b, B, &mut a).unwrap();
        tell(&c, C, &mut a).unwrap();
        let mut again = node(9, B);
        assert_eq!(tell(&a, A, &mut again), Ok(true));
        let topology = again.topology().unwrap();
        assert_eq!(
            (topology.epoch, topology.members[1].id),
            (2, NodeId([9; 20]))
        );
        assert_eq!(topology.members[2].id, NodeId([3; 20]), "by hearsay");
        assert_eq!(tell(&again, B, &mut a), Ok(true));
        assert_eq!(a.topology(), Ok(topology));
    }
}
