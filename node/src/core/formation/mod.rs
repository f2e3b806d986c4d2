//! How nodes that were started with one `--join` list come to be one cluster, and never two,
//! although they keep nothing on disk: a process that restarts is another node, which remembers
//! nothing and takes the seat of the one before. It knows nothing of links; it is told who was
//! found at which seat, and what was said.
//!
//! A seat is an address of the list. The node in the lowest seat is the founder; the same list on
//! every node makes that one seat.
//!
//! 1. Every node asks all the others, again and again, until it belongs to a cluster. A node of a
//!    cluster answers with it, any other that it is idle.
//! 2. The founder that has found an idle node in every other seat proposes the cluster of exactly
//!    these nodes. A node that is in no cluster accepts, and *from then on believes no answer to
//!    what it asked before*.
//! 3. All have accepted: the cluster is chosen. The founder belongs to it from this moment, and
//!    answers so; whoever else hears such an answer belongs to the cluster if it is one of the
//!    members, and else asks to be given the seat of the member that sat there before it. If a
//!    seat is lost or changes hands first, the proposal is void, and the next one has a new number.
//!
//! **Live nodes belong to one cluster.** What is assumed: nodes found at one address live one
//! after the other. Let B be chosen, T the time of its proposal, x(s) the node of B in seat s: it
//! was found before T and accepted after T, so it was alive at T. Let A be another cluster, chosen
//! before B; claim: no node that is alive after T belongs to A. Else let y, in seat s, be the first
//! of them that has come to belong to A. It is not by its own choice, as a founder: if y is x(s),
//! it founds one cluster only; if not, y follows x(s), who is the founder of B, and A would have
//! been chosen after B. So some z that was alive and in A has answered y. If y is x(s): it
//! accepted B while it was in no cluster, and its question came after that, so after T. If
//! not, y began to live after T. Either way z answered after T and is such a node before y, which
//! cannot be. A chosen cluster can still lose its majority, as at any later time; then nothing is
//! formed in its place while one node of it lives.
//!
//! The argument needs every member to sit in a seat of the list. A node that joins beside them was
//! started with a longer list, so that no proposal of its own has all seats of the others' lists,
//! and none of theirs is for it: it belongs to a cluster only because the cluster has decided so.

mod message;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet};

use dht_proto::topology::{Member, NodeId};

pub use self::message::{Belonging, FormationMessage, Refusal, Terms};
use super::meta::{Change, ClusterId, ClusterState};

/// Time after which what may have been lost is said again.
const REPEAT_MS: u64 = 200;

/// Messages on their way to other nodes.
pub type Outbox = Vec<(NodeId, FormationMessage)>;

/// How far a node has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no cluster yet: what is waited for, and what is wrong.
    Forming(String),
    /// There is a cluster of which this node is no member.
    Join {
        /// A node of the cluster, with a link from here.
        via: NodeId,
        /// Which cluster.
        cluster: ClusterId,
        /// What that cluster has to decide.
        change: Change,
        /// Who decides it: most of these.
        meta: Vec<NodeId>,
    },
    /// This node is a member. The cluster is as it was formed, if this node was there, else as
    /// this node came to know it: what it starts its replicas from. It never changes again.
    Formed(ClusterState),
}

/// A node's part in the formation of its cluster.
#[derive(Debug)]
pub struct Formation {
    /// This node. Its seat is empty until it is known.
    me: Member,
    terms: Terms,
    /// The cluster's identity, if this node founds it.
    id: ClusterId,
    /// Who is found at the seats at present, behind links that are up.
    found: BTreeMap<String, Found>,
    /// The number of the latest question or proposal.
    question: u64,
    /// The first question whose answer is believed.
    fresh_from: u64,
    phase: Phase,
    next_repeat_ms: u64,
    /// The seats at which nodes of another cluster were found, although this node belongs to one.
    foreign: BTreeMap<String, ClusterId>,
}

/// Who was found at a seat.
#[derive(Debug)]
struct Found {
    node: NodeId,
    /// What it has said of itself.
    idle: Option<Result<Member, Refusal>>,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is known of a cluster.
    Idle,
    /// This node has proposed one.
    Proposing {
        number: u64,
        state: Box<ClusterState>,
        /// Who has accepted, with the question that it asked in the same breath.
        accepted: BTreeMap<NodeId, u64>,
    },
    /// There is one, which another node belongs to.
    Joining {
        via: NodeId,
        state: Box<ClusterState>,
    },
    /// This node belongs to one.
    Formed {
        start: Box<ClusterState>,
        belonging: Box<Belonging>,
    },
}

impl Formation {
    /// A node that has just started with this `--join` list, which is not empty. If its client
    /// address is in the list, that is its seat; else it has to be found there. A random id is
    /// handed in for the cluster that it may found.
    #[must_use]
    pub fn new(mut me: Member, terms: Terms, id: ClusterId) -> Self {
        me.seat.clear();
        if terms.seats.contains(&me.client) {
            me.seat.clone_from(&me.client);
        }
        Self {
            me,
            terms,
            id,
            found: BTreeMap::new(),
            question: 0,
            fresh_from: 0,
            phase: Phase::Idle,
            next_repeat_ms: 0,
            foreign: BTreeMap::new(),
        }
    }

    /// This node; without a seat while that is not known.
    #[must_use]
    pub const fn me(&self) -> &Member {
        &self.me
    }

    /// The copies that this node was told there are to be.
    #[must_use]
    pub const fn copies(&self) -> u32 {
        self.terms.copies
    }

    /// How far this node has come.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.phase {
            Phase::Formed { start, .. } => Verdict::Formed(ClusterState::clone(start)),
            Phase::Joining { via, state } => self.joining(*via, state),
            Phase::Idle | Phase::Proposing { .. } => Verdict::Forming(self.missing()),
        }
    }

    /// The link to the node that was dialled at a seat is up or down. A node that finds itself
    /// there says so too, once.
    pub fn link(&mut self, seat: &str, node: NodeId, up: bool, out: &mut Outbox) {
        if !self.terms.seats.contains(seat) {
            return;
        }
        match &self.phase {
            Phase::Proposing { .. } => self.phase = Phase::Idle,
            Phase::Joining { via, .. } if *via == node && !up => self.phase = Phase::Idle,
            _ => (),
        }
        self.foreign.remove(seat);
        if !up {
            self.found
                .retain(|at, found| at != seat || found.node != node);
            return;
        }
        self.found
            .insert(seat.to_owned(), Found { node, idle: None });
        if node != self.me.id {
            self.ask(&[node], out);
        } else if self.me.seat.is_empty() {
            seat.clone_into(&mut self.me.seat);
        }
        self.advance(out);
    }

    /// Takes what another node has said.
    pub fn hear(&mut self, from: NodeId, message: FormationMessage, out: &mut Outbox) {
        match message {
            FormationMessage::Ask { question } => out.push((from, self.answer(question))),
            FormationMessage::Idle { member, terms } => self.note(from, member, &terms),
            FormationMessage::Belongs {
                question,
                belonging,
            } => self.hear_of(from, question, *belonging),
            FormationMessage::Propose { number, state } => {
                if let Some(answer) = self.consider(from, number, &state) {
                    out.push((from, answer));
                }
            }
            FormationMessage::Accept { number, question } => {
                self.count(from, number, question, out);
            }
        }
        self.advance(out);
    }

    /// Says again what may have been lost, from time to time.
    pub fn tick(&mut self, mono_ms: u64, out: &mut Outbox) {
        if mono_ms < self.next_repeat_ms {
            return;
        }
        self.next_repeat_ms = mono_ms + REPEAT_MS;
        if !matches!(self.phase, Phase::Formed { .. }) {
            let others: BTreeSet<NodeId> = self.found.values().map(|found| found.node).collect();
            let others: Vec<NodeId> = others
                .into_iter()
                .filter(|node| *node != self.me.id)
                .collect();
            self.ask(&others, out);
        }
        self.ask_strangers(out);
        self.propose(out);
        self.advance(out);
    }

    /// The cluster that this node belongs to.
    #[must_use]
    pub fn belonging(&self) -> Option<&Belonging> {
        match &self.phase {
            Phase::Formed { belonging, .. } => Some(belonging),
            _ => None,
        }
    }

    /// This node has belonged to a cluster before it was started, and does so still.
    pub fn resume(&mut self, belonging: Belonging) {
        let start = belonging.start_of(self.me.id).unwrap_or(&belonging.present);
        self.phase = Phase::Formed {
            start: Box::new(start.clone()),
            belonging: Box::new(belonging),
        };
    }

    /// The meta group has decided a change: what others are told of the cluster from now on.
    pub fn learn(&mut self, state: &ClusterState) {
        if let Phase::Formed { belonging, .. } = &mut self.phase
            && belonging.present.epoch < state.epoch
        {
            belonging.present = state.clone();
        }
    }

    /// Asks those in seats of this node's cluster that are no members of it which one is theirs.
    fn ask_strangers(&self, out: &mut Outbox) {
        let Some(Belonging { present, .. }) = self.belonging() else {
            return;
        };
        for (seat, found) in &self.found {
            if present.member(found.node).is_none() && !self.foreign.contains_key(seat) {
                let question = self.question;
                out.push((found.node, FormationMessage::Ask { question }));
            }
        }
    }

    /// The other cluster that this node was started with the addresses of, although it belongs to
    /// one already: the nodes at most of the other seats belong to it.
    #[must_use]
    pub fn stranger(&self) -> Option<(ClusterId, ClusterId)> {
        let mine = self.belonging()?.present.id;
        let others = self.terms.seats.len().saturating_sub(1);
        let other = *self.foreign.values().next()?;
        let seats = self.foreign.values().filter(|id| **id == other).count();
        (2 * seats > others).then_some((mine, other))
    }

    fn ask(&mut self, nodes: &[NodeId], out: &mut Outbox) {
        if matches!(self.phase, Phase::Formed { .. }) {
            return;
        }
        self.question += 1;
        let question = self.question;
        out.extend(
            nodes
                .iter()
                .map(|node| (*node, FormationMessage::Ask { question })),
        );
    }

    fn answer(&self, question: u64) -> FormationMessage {
        match &self.phase {
            Phase::Formed { belonging, .. } => FormationMessage::Belongs {
                question,
                belonging: belonging.clone(),
            },
            _ => FormationMessage::Idle {
                member: self.me.clone(),
                terms: self.terms.clone(),
            },
        }
    }

    /// Another node says that it is idle.
    fn note(&mut self, from: NodeId, member: Member, terms: &Terms) {
        let verdict = match self.terms.differ(terms) {
            Some(refusal) => Err(refusal),
            None if member.id == from => Ok(member),
            None => return,
        };
        for (seat, found) in &mut self.found {
            if found.node == from {
                found.idle = Some(verdict.clone().map(|member| Member {
                    seat: seat.clone(),
                    ..member
                }));
            }
        }
    }

    /// Another node says to which cluster it belongs.
    fn hear_of(&mut self, via: NodeId, question: u64, belonging: Belonging) {
        let here = self.found.values().any(|found| found.node == via);
        if let Some(mine) = self.belonging()
            && mine.present.id != belonging.present.id
        {
            let seats = self.found.iter().filter(|(_, found)| found.node == via);
            let foreign = seats.map(|(seat, _)| (seat.clone(), belonging.present.id));
            self.foreign.extend(foreign);
        }
        let formed = matches!(self.phase, Phase::Formed { .. });
        if formed || !here || question < self.fresh_from {
            return;
        }
        self.phase = match belonging.start_of(self.me.id) {
            Some(start) => Phase::Formed {
                start: Box::new(start.clone()),
                belonging: Box::new(belonging),
            },
            None => Phase::Joining {
                via,
                state: Box::new(belonging.present),
            },
        };
    }

    /// A founder proposes a cluster: what it is told.
    fn consider(
        &mut self,
        founder: NodeId,
        number: u64,
        state: &ClusterState,
    ) -> Option<FormationMessage> {
        match &self.phase {
            // The number is that of a question, too.
            Phase::Formed { .. } => Some(self.answer(number)),
            Phase::Idle if self.is_acceptable(founder, state) => {
                self.question += 1;
                self.fresh_from = self.question;
                Some(FormationMessage::Accept {
                    number,
                    question: self.question,
                })
            }
            _ => None,
        }
    }

    fn is_acceptable(&self, founder: NodeId, state: &ClusterState) -> bool {
        let first = self.terms.seats.first();
        let presides = first.and_then(|seat| self.found.get(seat));
        let own = state.member(self.me.id).map(|member| &member.seat);
        presides.is_some_and(|found| found.node == founder)
            && own.is_some_and(|seat| self.me.seat.is_empty() || *seat == self.me.seat)
            && self.terms.are_those_of(state)
    }

    /// A node has accepted this node's proposal, or an earlier one.
    fn count(&mut self, from: NodeId, accepts: u64, question: u64, out: &mut Outbox) {
        match &mut self.phase {
            Phase::Proposing {
                number,
                state,
                accepted,
            } if *number == accepts && state.member(from).is_some() => {
                accepted.insert(from, question);
            }
            Phase::Formed { .. } => out.push((from, self.answer(question))),
            _ => (),
        }
    }

    /// Proposes the cluster when every seat is taken, and belongs to it when all have accepted.
    fn advance(&mut self, out: &mut Outbox) {
        if matches!(self.phase, Phase::Idle)
            && let Some(members) = self.everyone()
        {
            self.question += 1;
            let (shards, copies) = (self.terms.shards as usize, self.terms.copies as usize);
            let state = ClusterState::form(self.id, members, shards, copies);
            self.phase = Phase::Proposing {
                number: self.question,
                state: Box::new(state),
                accepted: BTreeMap::new(),
            };
            self.propose(out);
        }
        self.conclude(out);
    }

    /// The nodes in all seats, if this is the founder and all are idle.
    fn everyone(&self) -> Option<Vec<Member>> {
        if self.terms.seats.first() != Some(&self.me.seat) {
            return None;
        }
        let seats = self.terms.seats.iter();
        seats.map(|seat| self.taken(seat).ok().cloned()).collect()
    }

    /// Sends the proposal to all that have not accepted it.
    fn propose(&self, out: &mut Outbox) {
        let Phase::Proposing {
            number,
            state,
            accepted,
        } = &self.phase
        else {
            return;
        };
        let missing = (state.members.iter().map(|member| member.id))
            .filter(|node| *node != self.me.id && !accepted.contains_key(node));
        out.extend(missing.map(|node| {
            let (number, state) = (*number, state.clone());
            (node, FormationMessage::Propose { number, state })
        }));
    }

    fn conclude(&mut self, out: &mut Outbox) {
        let Phase::Proposing {
            state, accepted, ..
        } = &self.phase
        else {
            return;
        };
        if accepted.len() + 1 < state.members.len() {
            return;
        }
        let (start, accepted) = (state.clone(), accepted.clone());
        let belonging = Box::new(Belonging {
            founding: ClusterState::clone(&start),
            present: ClusterState::clone(&start),
        });
        self.phase = Phase::Formed { start, belonging };
        out.extend(
            accepted
                .into_iter()
                .map(|(node, question)| (node, self.answer(question))),
        );
    }

    /// The idle node in a seat.
    ///
    /// # Errors
    /// None is known there, perhaps because it cannot be in one cluster with this one.
    fn taken(&self, seat: &str) -> Result<&Member, Option<Refusal>> {
        if seat == self.me.seat {
            return Ok(&self.me);
        }
        let found = self.found.get(seat).ok_or(None)?;
        let itself = (found.node == self.me.id).then_some(&self.me.seat);
        let mut earlier = self.found.iter().take_while(|(at, _)| at.as_str() < seat);
        let twin = earlier.find(|(_, other)| other.node == found.node);
        if let Some(other) = itself.or(twin.map(|(at, _)| at)) {
            return Err(Some(Refusal::SameNode(other.clone())));
        }
        match &found.idle {
            Some(Ok(member)) => Ok(member),
            Some(Err(refusal)) => Err(Some(refusal.clone())),
            None => Err(None),
        }
    }

    /// Why there is no cluster yet.
    fn missing(&self) -> String {
        let missing = self
            .terms
            .seats
            .iter()
            .filter_map(|seat| match self.taken(seat) {
                Ok(_) => None,
                Err(None) => Some(seat.clone()),
                Err(Some(refusal)) => Some(format!("{seat} ({refusal})")),
            });
        let missing: Vec<String> = missing.collect();
        match self.terms.seats.first() {
            _ if !missing.is_empty() => format!("waiting for {}", missing.join(", ")),
            _ if self.me.seat.is_empty() => {
                "none of the addresses in --join is this node".to_owned()
            }
            Some(founder) if *founder != self.me.seat => {
                format!("waiting for {founder} to found the cluster")
            }
            _ => "waiting for all to accept".to_owned(),
        }
    }

    fn joining(&self, via: NodeId, state: &ClusterState) -> Verdict {
        // A key's shard follows from how many there are.
        if self.terms.shards as usize != state.shards.len() {
            let shards = state.shards.len();
            return Verdict::Forming(format!(
                "there is a cluster with --shards {shards}, this node has --shards {}",
                self.terms.shards
            ));
        }
        let join = |change| Verdict::Join {
            via,
            cluster: state.id,
            change,
            meta: state.meta.iter().map(|seat| seat.node).collect(),
        };
        let sits = |member: &&Member| member.seat == self.me.seat;
        match state.members.iter().find(sits) {
            Some(old) => join(Change::Replace {
                old: old.id,
                new: self.me.clone(),
            }),
            None if !self.me.seat.is_empty() && state.members.len() < state.copies => {
                join(Change::Add {
                    member: self.me.clone(),
                })
            }
            None if self.me.seat.is_empty() => Verdict::Forming(
                "there is a cluster, but none of the addresses in --join is this node".to_owned(),
            ),
            None => Verdict::Forming(format!(
                "there is a cluster of {}, in which this node has no seat",
                state.seats().join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "127.0.0.1:7401";
    const B: &str = "127.0.0.1:7402";
    const C: &str = "127.0.0.1:7403";

    fn id(number: u8) -> NodeId {
        NodeId([number; 20])
    }

    fn terms(seats: &[&str]) -> Terms {
        Terms {
            seats: seats.iter().map(ToString::to_string).collect(),
            shards: 4,
            copies: 3,
        }
    }

    fn start(number: u8, client: &str, terms: Terms) -> Formation {
        let me = Member {
            id: id(number),
            seat: String::new(),
            client: client.to_owned(),
            redirect: format!("{client}0"),
        };
        Formation::new(me, terms, ClusterId([number; 16]))
    }

    fn node(number: u8, client: &str) -> Formation {
        start(number, client, terms(&[A, B, C]))
    }

    /// Everyone finds everyone who is not found yet, at the addresses that are given; then all is
    /// said that is to be said.
    fn mingle(nodes: &mut [(&str, Formation)]) {
        let mut sent = Vec::new();
        let seats: Vec<(String, NodeId)> = nodes
            .iter()
            .map(|(at, node)| ((*at).to_owned(), node.me.id))
            .collect();
        for (_, node) in &mut *nodes {
            let mut out = Outbox::new();
            let me = node.me.id;
            for (seat, other) in seats.iter().filter(|(_, other)| *other != me) {
                if node
                    .found
                    .get(seat)
                    .is_none_or(|found| found.node != *other)
                {
                    node.link(seat, *other, true, &mut out);
                }
            }
            node.tick(node.next_repeat_ms, &mut out);
            sent.extend(
                out.into_iter()
                    .map(|(to, message)| (node.me.id, to, message)),
            );
        }
        while let Some((from, to, message)) = sent.pop() {
            let mut out = Outbox::new();
            if let Some((_, node)) = nodes.iter_mut().find(|(_, node)| node.me.id == to) {
                node.hear(from, message, &mut out);
            }
            sent.extend(out.into_iter().map(|(next, message)| (to, next, message)));
        }
    }

    fn forming(node: &Formation) -> String {
        match node.verdict() {
            Verdict::Forming(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn formed(node: &Formation) -> ClusterState {
        match node.verdict() {
            Verdict::Formed(state) => state,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cluster_is_formed_when_every_seat_is_taken_and_what_is_missing_is_said() {
        let mut nodes = vec![(B, node(2, B)), (A, node(1, A))];
        mingle(&mut nodes);
        for (_, node) in &nodes {
            assert_eq!(forming(node), format!("waiting for {C}"));
        }
        nodes.push((C, node(3, C)));
        mingle(&mut nodes);
        let state = formed(&nodes[0].1);
        assert!(nodes.iter().all(|(_, node)| formed(node) == state));
        assert_eq!(state.id, ClusterId([1; 16]), "the lowest seat founds");
        assert_eq!(state.seats(), [A, B, C]);
        assert_eq!((state.epoch, state.shards.len()), (1, 4));
    }

    #[test]
    fn who_belongs_to_another_cluster_than_most_seats_finds_out() {
        let belonging = |cluster: u8, node: u8| {
            let member = Member {
                id: id(node),
                seat: A.to_owned(),
                client: A.to_owned(),
                redirect: A.to_owned(),
            };
            let state = ClusterState::form(ClusterId([cluster; 16]), vec![member], 4, 3);
            let (founding, present) = (state.clone(), state);
            Belonging { founding, present }
        };
        let mut stray = node(1, A);
        stray.resume(belonging(7, 1));
        for (seat, node, found) in [(B, 2, None), (C, 3, Some((7, 8)))] {
            let mut out = Outbox::new();
            stray.link(seat, id(node), true, &mut out);
            stray.tick(u64::from(node) * REPEAT_MS, &mut out);
            let asked = out.iter().any(|(to, _)| *to == id(node));
            assert!(asked, "{out:?}");
            let answer = FormationMessage::Belongs {
                question: 0,
                belonging: Box::new(belonging(8, node)),
            };
            stray.hear(id(node), answer, &mut out);
            let clusters =
                found.map(|(mine, other)| (ClusterId([mine; 16]), ClusterId([other; 16])));
            assert_eq!(stray.stranger(), clusters);
        }
        stray.link(C, id(3), false, &mut Outbox::new());
        assert_eq!(stray.stranger(), None);
    }

    #[test]
    fn who_waits_for_the_founder_says_so() {
        let mut nodes = [(B, node(2, B)), (C, node(3, C))];
        mingle(&mut nodes);
        assert_eq!(forming(&nodes[0].1), format!("waiting for {A}"));
        let (b, mut out) = (&mut nodes[0].1, Outbox::new());
        b.link(A, id(1), true, &mut out);
        let (member, terms) = (node(1, A).me, terms(&[A, B, C]));
        b.hear(id(1), FormationMessage::Idle { member, terms }, &mut out);
        assert_eq!(forming(b), format!("waiting for {A} to found the cluster"));
    }

    #[test]
    fn a_lone_node_is_a_cluster_of_one() {
        let mut lone = start(1, A, terms(&[A]));
        let mut out = Outbox::new();
        lone.tick(0, &mut out);
        assert_eq!(formed(&lone).members[0].id, id(1));
        assert_eq!(out, []);
    }

    #[test]
    fn a_node_behind_another_address_finds_its_seat_by_finding_itself() {
        let away = "10.1.2.3:7400";
        let mut nodes = [(A, node(1, away)), (B, node(2, B)), (C, node(3, C))];
        mingle(&mut nodes);
        assert_eq!(forming(&nodes[0].1), format!("waiting for {A}"));
        nodes[0].1.link(A, id(1), true, &mut Outbox::new());
        mingle(&mut nodes);
        assert_eq!(formed(&nodes[2].1).members[0].client, away);

        let mut stranger = node(4, away);
        for (seat, number) in [(A, 1), (B, 2), (C, 3)] {
            let mut out = Outbox::new();
            stranger.link(seat, id(number), true, &mut out);
            let (member, terms) = (node(number, seat).me, terms(&[A, B, C]));
            stranger.hear(
                id(number),
                FormationMessage::Idle { member, terms },
                &mut out,
            );
        }
        let why = "none of the addresses in --join is this node";
        assert_eq!(forming(&stranger), why);
    }

    #[test]
    fn what_makes_a_cluster_impossible_is_named_by_every_node() {
        let other = |change: fn(&mut Terms)| {
            let mut terms = terms(&[A, B, C]);
            change(&mut terms);
            start(2, B, terms)
        };
        for (odd, why) in [
            (
                start(2, B, terms(&[A, B])),
                format!("it was started with --join {A},{B}"),
            ),
            (
                other(|terms| terms.shards = 8),
                "it was started with --shards 8".to_owned(),
            ),
            (
                other(|terms| terms.copies = 1),
                "it was started with --replicas 1".to_owned(),
            ),
        ] {
            let mut nodes = [(A, node(1, A)), (B, odd), (C, node(3, C))];
            mingle(&mut nodes);
            for index in [0, 2] {
                let (_, node) = &nodes[index];
                assert_eq!(forming(node), format!("waiting for {B} ({why})"));
            }
            assert!(matches!(nodes[1].1.verdict(), Verdict::Forming(_)));
            nodes[1].1 = node(9, B);
            for index in [0, 2] {
                nodes[index].1.link(B, id(2), false, &mut Outbox::new());
            }
            mingle(&mut nodes);
            assert_eq!(formed(&nodes[2].1).members[1].id, id(9), "{why}");
        }
    }

    #[test]
    fn two_addresses_of_one_node_are_no_two_seats() {
        let mut a = node(1, A);
        a.link(B, id(1), true, &mut Outbox::new());
        a.link(C, id(3), true, &mut Outbox::new());
        let same = format!("{B} (it is the same node as {A})");
        assert_eq!(forming(&a), format!("waiting for {same}, {C}"));

        let mut nodes = [(A, node(1, A)), (C, node(3, C))];
        mingle(&mut nodes);
        nodes[0].1.link(B, id(3), true, &mut Outbox::new());
        mingle(&mut nodes);
        let same = format!("{C} (it is the same node as {B})");
        assert_eq!(forming(&nodes[0].1), format!("waiting for {same}"));
    }

    #[test]
    fn a_node_that_has_restarted_asks_for_its_seat_and_starts_from_what_is() {
        let mut nodes = vec![(A, node(1, A)), (B, node(2, B)), (C, node(3, C))];
        mingle(&mut nodes);
        nodes[1].1 = node(9, B);
        mingle(&mut nodes);
        let Verdict::Join {
            cluster, change, ..
        } = nodes[1].1.verdict()
        else {
            panic!("{:?}", nodes[1].1.verdict());
        };
        assert_eq!(cluster, ClusterId([1; 16]));
        let new = nodes[1].1.me.clone();
        assert_eq!(change, Change::Replace { old: id(2), new });

        let founded = formed(&nodes[0].1);
        let mut decided = founded.clone();
        decided.apply(&change).unwrap();
        for index in [0, 2] {
            nodes[index].1.learn(&decided);
            nodes[index].1.learn(&founded);
        }
        mingle(&mut nodes);
        assert_eq!(formed(&nodes[1].1), decided);
        assert_eq!(formed(&nodes[0].1), founded, "where it started from");
    }

    /// It would look for keys in shards where they are not.
    #[test]
    fn a_node_that_has_restarted_with_other_shards_does_not_get_its_seat() {
        let mut nodes = vec![(A, node(1, A)), (B, node(2, B)), (C, node(3, C))];
        mingle(&mut nodes);
        let other = Terms {
            shards: 8,
            ..terms(&[A, B, C])
        };
        nodes[1].1 = start(9, B, other);
        mingle(&mut nodes);
        let why = "there is a cluster with --shards 4, this node has --shards 8";
        assert_eq!(forming(&nodes[1].1), why);
    }

    #[test]
    fn a_cluster_without_a_seat_for_this_node_is_named() {
        let mut nodes = vec![
            (A, start(1, A, terms(&[A, B]))),
            (B, start(2, B, terms(&[A, B]))),
        ];
        mingle(&mut nodes);
        let mut founded = formed(&nodes[0].1);
        nodes.push((C, node(3, C)));
        mingle(&mut nodes);
        // There are to be three copies.
        let Verdict::Join { change, .. } = nodes[2].1.verdict() else {
            panic!("{:?}", nodes[2].1.verdict());
        };
        founded.apply(&change).unwrap();
        assert_eq!(founded.seats(), [A, B, C]);
        nodes.iter_mut().for_each(|(_, node)| node.learn(&founded));
        mingle(&mut nodes);
        assert_eq!(
            formed(&nodes[2].1),
            founded,
            "it starts from what it has found"
        );
        let all = [A, B, C, "127.0.0.1:7404"];
        nodes.push((all[3], start(4, all[3], terms(&all))));
        mingle(&mut nodes);
        let why = format!("there is a cluster of {A}, {B}, {C}, in which this node has no seat");
        assert_eq!(forming(&nodes[3].1), why);
    }

    #[test]
    fn messages_cross_the_wire_unchanged() {
        let state = ClusterState::form(ClusterId([1; 16]), vec![node(1, A).me], 4, 3);
        let (member, terms) = (node(1, A).me, terms(&[A, B]));
        for message in [
            FormationMessage::Ask { question: 1 },
            FormationMessage::Idle { member, terms },
            FormationMessage::Belongs {
                question: 2,
                belonging: Box::new(Belonging {
                    founding: state.clone(),
                    present: state.clone(),
                }),
            },
            FormationMessage::Propose {
                number: 3,
                state: Box::new(state),
            },
            FormationMessage::Accept {
                number: 3,
                question: 4,
            },
        ] {
            let bytes = message.encode();
            assert_eq!(FormationMessage::decode(&bytes), Ok(message));
            assert!(FormationMessage::decode(&bytes[1..]).is_err());
        }
    }
}
