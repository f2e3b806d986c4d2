//! Which members hold and lead each shard: the ring's order, bounded loads, and as little movement
//! as a change of membership allows. It knows nothing of addresses, links or data.
//!
//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam: *Consistent Hashing with
//! Bounded Loads*, 2016): a shard goes to the first candidates that have room. To that come a lower
//! bound, which makes a newcomer take its share, and a preference for who has a shard already.
//!
//! A full placement always exists. Leaders: every member has room for the mean, so while a shard
//! has none, somebody has room. Replicas, given any leaders: let n members have room for B ≥ S·R/n
//! copies each (S shards, R copies), and take any k of the members. A shard finds at most n − k of
//! its copies outside of them, so they have to take (R − n + k)·S copies at most, leaders included,
//! and have room for k·B ≥ k·S·R/n; this is enough, since k·R ≥ n·(R − n + k) whenever both R
//! and k are at most n. By the max-flow min-cut theorem the placement exists, and by Ford and
//! Fulkerson an augmenting path leads to it from wherever the greedy choice got stuck.

use std::collections::{BTreeSet, VecDeque};

use dht_proto::topology::{Placement, Topology};

use super::ring::Ring;

/// Places `shards` shards in `copies` copies (or one on every member, if there are fewer) on the
/// members in these seats, of which there is at least one, starting from `previous`, if there is
/// one of as many shards. The indices in the result are those of the sorted seats. The same
/// arguments give the same result on every node.
#[must_use]
pub fn place(
    seats: &BTreeSet<String>,
    shards: usize,
    copies: usize,
    previous: Option<&Topology>,
) -> Vec<Placement> {
    let past = Past::new(seats, shards, previous);
    let ring = Ring::new(seats);
    let order: Vec<Vec<usize>> = (0..shards)
        .map(|shard| ring.candidates(shard).collect())
        .collect();
    let sorted_by = |class: &dyn Fn(usize, usize) -> u8| {
        let mut wanted = order.clone();
        for (shard, members) in wanted.iter_mut().enumerate() {
            members.sort_by_key(|&member| class(shard, member));
        }
        wanted
    };

    let leaders = Assignment::new(
        sorted_by(&|shard, member| past.leader_class(shard, member)),
        seats.len(),
        1,
        vec![Vec::new(); shards],
    )
    .complete();
    let replicas = Assignment::new(
        sorted_by(&|shard, member| past.replica_class(shard, member)),
        seats.len(),
        copies.min(seats.len()),
        leaders,
    )
    .complete();
    replicas.into_iter().map(placement).collect()
}

/// The leader is the first of the replicas.
fn placement(held: Vec<usize>) -> Placement {
    let replicas: Vec<u16> = held
        .into_iter()
        .map(|member| u16::try_from(member).unwrap_or(u16::MAX))
        .collect();
    Placement {
        leader: replicas[0],
        replicas,
    }
}

/// The greatest number of things, of `total`, that one of `members` members may have.
#[must_use]
pub const fn most(total: usize, members: usize) -> usize {
    let (ceiling, tenth_above) = (total.div_ceil(members), total * 11 / (members * 10));
    if ceiling > tenth_above {
        ceiling
    } else {
        tenth_above
    }
}

/// The number of things, of `total`, below which a member is given more.
const fn least(total: usize, members: usize) -> usize {
    let (floor, tenth_below) = (total / members, (total * 9).div_ceil(members * 10));
    if floor < tenth_below {
        floor
    } else {
        tenth_below
    }
}

/// Who had what before, in terms of the present members.
struct Past {
    leaders: Vec<Option<usize>>,
    replicas: Vec<Vec<usize>>,
    newcomers: Vec<bool>,
}

impl Past {
    fn new(seats: &BTreeSet<String>, shards: usize, previous: Option<&Topology>) -> Self {
        let Some(previous) = previous.filter(|previous| previous.shards.len() == shards) else {
            return Self {
                leaders: vec![None; shards],
                replicas: vec![Vec::new(); shards],
                newcomers: vec![true; seats.len()],
            };
        };
        let seat_of = |member: u16| &previous.members[usize::from(member)].seat;
        let now = |member: u16| seats.iter().position(|seat| seat == seat_of(member));
        let was_there = |seat| previous.members.iter().any(|member| &member.seat == seat);
        Self {
            leaders: previous
                .shards
                .iter()
                .map(|shard| now(shard.leader))
                .collect(),
            replicas: (previous.shards.iter())
                .map(|shard| {
                    shard
                        .replicas
                        .iter()
                        .filter_map(|&member| now(member))
                        .collect()
                })
                .collect(),
            newcomers: seats.iter().map(|seat| !was_there(seat)).collect(),
        }
    }

    /// How much a member is wanted as a shard's leader, least number first; the ring decides among
    /// equals.
    fn leader_class(&self, shard: usize, member: usize) -> u8 {
        if self.leaders[shard] == Some(member) {
            0
        } else if self.newcomers[member] {
            1
        } else if self.replicas[shard].contains(&member) {
            2
        } else {
            3
        }
    }

    /// How much a member is wanted as a shard's replica.
    fn replica_class(&self, shard: usize, member: usize) -> u8 {
        if self.replicas[shard].contains(&member) {
            0
        } else if self.newcomers[member] {
            1
        } else {
            2
        }
    }
}

/// Shards being given to members.
struct Assignment {
    /// For each shard all members, the most wanted first.
    wanted: Vec<Vec<usize>>,
    /// For each shard the members that have it so far.
    held: Vec<Vec<usize>>,
    /// How many of the first entries of each `held` stay as they are.
    pinned: usize,
    /// How many members each shard is to have.
    copies: usize,
    load: Vec<usize>,
    most: usize,
    least: usize,
}

impl Assignment {
    fn new(
        wanted: Vec<Vec<usize>>,
        members: usize,
        copies: usize,
        pinned: Vec<Vec<usize>>,
    ) -> Self {
        let total = wanted.len() * copies;
        let mut load = vec![0; members];
        for &member in pinned.iter().flatten() {
            load[member] += 1;
        }
        Self {
            pinned: pinned.first().map_or(0, Vec::len),
            held: pinned,
            wanted,
            copies,
            load,
            most: most(total, members),
            least: least(total, members),
        }
    }

    fn complete(mut self) -> Vec<Vec<usize>> {
        for shard in 0..self.held.len() {
            while self.held[shard].len() < self.copies {
                self.give_one(shard);
            }
        }
        while self.lift_one() {}
        self.held
    }

    /// Gives a shard one more member: the most wanted one that has room, else by way of other
    /// shards.
    fn give_one(&mut self, shard: usize) {
        let held = &self.held[shard];
        let with_room = (self.wanted[shard].iter().copied())
            .find(|member| self.load[*member] < self.most && !held.contains(member));
        match with_room {
            Some(member) => {
                self.held[shard].push(member);
                self.load[member] += 1;
            }
            None => self.augment(shard),
        }
    }

    /// Gives a shard one more member although all that it could have are full: finds the shortest
    /// chain of shards of which each hands a full member on and takes another, up to a member with
    /// room.
    fn augment(&mut self, shard: usize) {
        /// How a member would be taken: by which shard, and which member that shard would hand on.
        #[derive(Clone, Copy)]
        struct Step {
            shard: usize,
            hands_on: Option<usize>,
        }
        let mut steps: Vec<Option<Step>> = vec![None; self.load.len()];
        let mut queue = VecDeque::new();
        let mut reach = |shard: usize, hands_on, held: &[usize], queue: &mut VecDeque<usize>| {
            for &member in self.wanted[shard]
                .iter()
                .filter(|member| !held.contains(member))
            {
                if steps[member].is_none() {
                    steps[member] = Some(Step { shard, hands_on });
                    queue.push_back(member);
                }
            }
        };
        reach(shard, None, &self.held[shard], &mut queue);
        let mut end = None;
        while let Some(member) = queue.pop_front() {
            if self.load[member] < self.most {
                end = Some(member);
                break;
            }
            for (other, held) in self.held.iter().enumerate() {
                if held
                    .iter()
                    .skip(self.pinned)
                    .any(|&holder| holder == member)
                {
                    reach(other, Some(member), held, &mut queue);
                }
            }
        }
        let Some(end) = end else {
            unreachable!("a full placement exists: see the head of this file")
        };
        self.load[end] += 1;
        let mut taken = end;
        while let Some(step) = steps[taken] {
            let held = &mut self.held[step.shard];
            let Some(hands_on) = step.hands_on else {
                held.push(taken);
                return;
            };
            held.iter_mut()
                .filter(|holder| **holder == hands_on)
                .for_each(|holder| *holder = taken);
            taken = hands_on;
        }
    }

    /// Moves one shard to the member that has the fewest, if it has too few; says whether it did.
    fn lift_one(&mut self) -> bool {
        let by_load = |member: &usize| (self.load[*member], *member);
        let mut donors: Vec<usize> = (0..self.load.len()).collect();
        donors.sort_by_key(by_load);
        let receiver = donors[0];
        if self.load[receiver] >= self.least {
            return false;
        }
        let found = donors.iter().rev().find_map(|&donor| {
            let gain = self.load[donor] > self.load[receiver] + 1;
            Some((donor, self.best_to_move(donor, receiver).filter(|_| gain)?))
        });
        let Some((donor, shard)) = found else {
            return false;
        };
        self.held[shard]
            .iter_mut()
            .filter(|holder| **holder == donor)
            .for_each(|holder| *holder = receiver);
        self.load[donor] -= 1;
        self.load[receiver] += 1;
        true
    }

    /// Of the shards that the donor can give to the receiver, the one that wants the receiver most.
    fn best_to_move(&self, donor: usize, receiver: usize) -> Option<usize> {
        let rank = |shard: usize| {
            self.wanted[shard]
                .iter()
                .position(|&member| member == receiver)
        };
        (self.held.iter().enumerate())
            .filter(|(_, held)| held[self.pinned..].contains(&donor) && !held.contains(&receiver))
            .map(|(shard, _)| shard)
            .min_by_key(|&shard| rank(shard))
    }
}

#[cfg(test)]
mod tests {
    use dht_proto::topology::{Member, NodeId};

    use super::*;

    fn seats(cluster: usize, count: usize) -> BTreeSet<String> {
        (0..count)
            .map(|i| format!("10.0.{cluster}.{i}:7400"))
            .collect()
    }

    fn topology(seats: &BTreeSet<String>, shards: Vec<Placement>) -> Topology {
        let member = |seat: &String| Member {
            id: NodeId([0; 20]),
            seat: seat.clone(),
            client: seat.clone(),
            redirect: seat.clone(),
        };
        Topology {
            epoch: 1,
            members: seats.iter().map(member).collect(),
            shards,
        }
    }

    /// Panics unless every shard has its copies on different members, the leader among them, and no
    /// member has more than its bound.
    fn check_bounds(seats: &BTreeSet<String>, copies: usize, shards: &[Placement]) {
        let members = seats.len();
        let copies = copies.min(members);
        let (mut replicas, mut leaders) = (vec![0; members], vec![0; members]);
        for shard in shards {
            let distinct: BTreeSet<u16> = shard.replicas.iter().copied().collect();
            assert_eq!((distinct.len(), shard.replicas.len()), (copies, copies));
            assert!(distinct.contains(&shard.leader));
            leaders[usize::from(shard.leader)] += 1;
            for member in distinct {
                replicas[usize::from(member)] += 1;
            }
        }
        for (what, loads, total) in [
            ("leaders", leaders, shards.len()),
            ("replicas", replicas, shards.len() * copies),
        ] {
            let (high, low) = (loads.iter().max(), loads.iter().min());
            assert!(high <= Some(&most(total, members)), "{what} {loads:?}");
            assert!(low >= Some(&least(total, members)), "{what} {loads:?}");
        }
    }

    /// Copies and leaderships that have moved between two placements, by seat.
    fn moves(before: &Topology, after: &Topology) -> (usize, usize) {
        let seat =
            |topology: &Topology, member: u16| topology.members[usize::from(member)].seat.clone();
        let (mut copies, mut leaders) = (0, 0);
        for (old, new) in before.shards.iter().zip(&after.shards) {
            leaders += usize::from(seat(before, old.leader) != seat(after, new.leader));
            let held: Vec<String> = old.replicas.iter().map(|&m| seat(before, m)).collect();
            copies += new
                .replicas
                .iter()
                .filter(|&&m| !held.contains(&seat(after, m)))
                .count();
        }
        (copies, leaders)
    }

    /// Runs `check` on every size of cluster in scope; the first number names one of several member
    /// sets.
    fn for_every_cluster(mut check: impl FnMut(usize, usize, usize, usize)) {
        for (cluster, shards) in [(0, 64), (1, 64), (2, 64), (3, 128), (4, 256), (5, 1024)] {
            for members in 3..=10 {
                for copies in 1..=3 {
                    check(cluster, shards, members, copies);
                }
            }
        }
    }

    #[test]
    fn loads_stay_within_their_bounds() {
        for_every_cluster(|cluster, shards, members, copies| {
            let seats = seats(cluster, members);
            check_bounds(&seats, copies, &place(&seats, shards, copies, None));
        });
        for members in 1..=2 {
            let seats = seats(0, members);
            check_bounds(&seats, 3, &place(&seats, 64, 3, None));
        }
    }

    #[test]
    fn a_join_moves_little_more_than_it_has_to() {
        let mut worst = (0.0_f64, 0.0_f64);
        for_every_cluster(|cluster, shards, members, copies| {
            let few = seats(cluster, members);
            let many = seats(cluster, members + 1);
            let before = topology(&few, place(&few, shards, copies, None));
            let after = topology(&many, place(&many, shards, copies, Some(&before)));
            check_bounds(&many, copies, &after.shards);
            let (moved, led) = moves(&before, &after);
            let ideal = |total: usize| total as f64 / (members + 1) as f64;
            let ratios = (
                moved as f64 / ideal(shards * copies),
                led as f64 / ideal(shards),
            );
            worst = (worst.0.max(ratios.0), worst.1.max(ratios.1));
        });
        assert!(
            worst.0 <= 1.4 && worst.1 <= 1.4,
            "copies moved {:.2} × the ideal, leaders {:.2} ×",
            worst.0,
            worst.1
        );
    }

    #[test]
    fn a_cluster_that_grew_step_by_step_is_as_even_as_one_that_started_whole() {
        for copies in 1..=3 {
            let first = seats(0, 3);
            let mut now = topology(&first, place(&first, 256, copies, None));
            for members in (4..=10).chain((3..10).rev()) {
                let seats = seats(0, members);
                let next = topology(&seats, place(&seats, 256, copies, Some(&now)));
                check_bounds(&seats, copies, &next.shards);
                let (moved, _) = moves(&now, &next);
                let changed = members.max(now.members.len());
                let ideal = 256 * copies / changed;
                assert!(
                    moved * 10 <= ideal * 14,
                    "{moved} of {ideal} with {members}"
                );
                now = next;
            }
        }
    }

    #[test]
    fn nothing_moves_when_nobody_comes_or_goes() {
        let seats = seats(0, 5);
        let before = topology(&seats, place(&seats, 64, 2, None));
        let after = topology(&seats, place(&seats, 64, 2, Some(&before)));
        assert_eq!(moves(&before, &after), (0, 0));
    }

    #[test]
    fn a_chain_of_hand_overs_frees_a_place() {
        // Room for two each. Shard 2 is on member 2 already, the only one with room.
        let mut assignment = Assignment::new(
            vec![vec![0, 1, 2]; 3],
            3,
            2,
            vec![vec![0], vec![1], vec![2]],
        );
        assignment.held[0].push(1);
        assignment.held[1].push(0);
        assignment.load = vec![2, 2, 1];
        assignment.give_one(2);
        assert_eq!(assignment.load, [2, 2, 2]);
        assert!(
            assignment
                .held
                .iter()
                .all(|held| held.len() == 2 && held[0] != held[1])
        );
    }
}
