//! When a leader may answer reads alone: its lease, and rounds of confirmation without one.
//!
//! A round takes the time, then asks a majority whether this member still leads. Once confirmed,
//! whatever was committed before the round began is committed here too (Ongaro's *ReadIndex*); and
//! since everyone who confirmed promises, by its [`VoteGuard`], to elect nobody else for an
//! election timeout, nobody else orders commands until shortly before that has passed since the
//! round's beginning: that is the lease.

use std::collections::VecDeque;

use dht_proto::limits::ROUNDS;

use super::raft::{self, Confirmed, ELECTION_TICKS, Group, HEARTBEAT_TICKS, Message, PeerId};
use crate::core::lease::{VoteGuard, Word};
use crate::core::mutation::{self, Mutation};

/// From one tick to the next, in milliseconds.
pub const TICK_MS: u64 = 50;
/// How long a member that heard a leader helps to elect no other.
pub const ELECTION_MS: u64 = ELECTION_TICKS as u64 * TICK_MS;
/// How long a lease lasts from the beginning of its round: two ticks less, and less by the rate
/// at which two clocks may drift apart, one tenth.
pub const LEASE_MS: u64 = (ELECTION_TICKS as u64 - 2) * TICK_MS * 9 / 10;
/// From one round to the next.
const ROUND_MS: u64 = HEARTBEAT_TICKS as u64 * TICK_MS;
/// The same while reads wait.
const URGENT_MS: u64 = 5;

/// A member's part in leases.
#[derive(Default)]
pub struct Lease {
    guard: VoteGuard,
    /// Unanswered rounds, oldest first.
    asked: VecDeque<Round>,
    last_round: u64,
    last_asked_ms: u64,
    /// The last confirmed round, and the index that has to be applied for its reads.
    confirmed: (u64, u64),
    /// The term to which the word and the rounds belong.
    term: u64,
    /// A term in which this leader has let another call an election: no leases in it any more.
    barred_term: u64,
}

struct Round {
    number: u64,
    begun_mono_ms: u64,
}

impl Lease {
    /// Of a member that is made at this time. One of the first of a new group has never promised
    /// anything. Any other listens to no request for a vote until an election timeout has passed.
    #[must_use]
    pub fn of_member(first_voters: &[PeerId], now_mono_ms: u64) -> Self {
        let mut lease = Self::default();
        if first_voters.is_empty() {
            lease.guard.hear(now_mono_ms, ELECTION_MS);
        }
        lease
    }

    /// Of a member that was there before this process was, which may have promised something just
    /// before it ended.
    #[must_use]
    pub fn of_restored(now_mono_ms: u64) -> Self {
        Self::of_member(&[], now_mono_ms)
    }

    /// The number of the last round that was asked for.
    #[must_use]
    pub const fn asked(&self) -> u64 {
        self.last_round
    }

    /// Whether the engine may see a message; notes signs of life of a leader.
    pub fn hears(&mut self, message: &Message, now_mono_ms: u64) -> bool {
        if raft::is_from_leader(message) {
            self.guard.hear(now_mono_ms, ELECTION_MS);
        }
        !raft::asks_for_vote(message) || self.guard.listens(now_mono_ms)
    }

    /// Ends the lease of a member that leads no more, or of an earlier term.
    pub fn check(&mut self, group: &Group, word: &Word, now_mono_ms: u64) {
        if group.leads() && group.term() == self.term {
            return;
        }
        word.clear();
        self.term = group.term();
        self.asked.clear();
        self.confirmed = (0, 0);
        match group.leads() {
            true if mutation::is(Mutation::EarlyLease) => word.grant(now_mono_ms + LEASE_MS),
            false if mutation::is(Mutation::EarlyLease) => self.term = 0,
            _ => (),
        }
    }

    /// Begins a round when it is time to.
    pub fn renew(&mut self, group: &mut Group, now_mono_ms: u64, urgent: bool) {
        let pause_ms = if urgent { URGENT_MS } else { ROUND_MS };
        if !group.is_current() || now_mono_ms < self.last_asked_ms + pause_ms {
            return;
        }
        self.last_round += 1;
        self.last_asked_ms = now_mono_ms;
        if self.asked.len() == ROUNDS {
            self.asked.pop_front();
        }
        self.asked.push_back(Round {
            number: self.last_round,
            begun_mono_ms: now_mono_ms,
        });
        group.confirm(self.last_round);
    }

    /// A majority has confirmed a round. One of an earlier leadership says nothing about this one.
    pub fn confirmed(&mut self, group: &Group, confirmed: Confirmed, word: &Word) {
        let Confirmed { term, round, index } = confirmed;
        if term != self.term || term != group.term() || !group.is_current() {
            return;
        }
        while let Some(first) = self.asked.pop_front_if(|first| first.number <= round) {
            if first.number == round {
                self.confirmed = (round, index);
                if self.barred_term != term {
                    word.grant(first.begun_mono_ms + LEASE_MS);
                }
            }
        }
    }

    /// Whether a read may be answered that arrived when `asked` was the last round.
    #[must_use]
    pub fn answers(&self, group: &Group, asked: u64) -> bool {
        let (round, index) = self.confirmed;
        group.is_current() && group.term() == self.term && round > asked && group.applied() >= index
    }

    /// Takes note of a message that lets another member call an election at once.
    pub fn sends(&mut self, group: &Group, message: &Message, word: &Word) {
        if raft::is_timeout_now(message) && !mutation::is(Mutation::LeaseAfterTransfer) {
            self.barred_term = group.term();
            word.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::raft::{Change, Content, MessageType};
    use super::*;

    /// A member of a group, with its lease.
    struct Member {
        group: Group,
        lease: Lease,
        word: Word,
    }

    impl Member {
        fn new(me: PeerId, voters: &[PeerId]) -> Self {
            Self {
                group: Group::new(me, voters, me),
                lease: Lease::of_member(voters, 0),
                word: Word::default(),
            }
        }

        /// As a replica's turn does it; gives what is to be sent.
        fn turn(&mut self) -> Vec<Message> {
            let mut sent = Vec::new();
            self.lease.check(&self.group, &self.word, 0);
            while self.group.has_ready() {
                let ready = self.group.ready();
                self.lease.check(&self.group, &self.word, 0);
                for committed in ready.committed {
                    if let Content::Members(change) = committed.what {
                        self.group.apply_change(&change);
                    }
                }
                self.group.applied_all();
                for confirmed in ready.confirmed {
                    self.lease.confirmed(&self.group, confirmed, &self.word);
                }
                for message in ready.messages {
                    self.lease.sends(&self.group, &message, &self.word);
                    sent.push(message);
                }
            }
            sent
        }

        fn renew(&mut self, now_mono_ms: u64) -> Vec<Message> {
            self.lease.renew(&mut self.group, now_mono_ms, true);
            self.turn()
        }
    }

    /// A group of members 1, 2, 3; nothing is on its way.
    struct Trio {
        members: [Member; 3],
        now: u64,
    }

    impl Trio {
        /// Member 1 leads, and has no lease yet.
        fn new() -> Self {
            let mut trio = Self {
                members: [1, 2, 3].map(|me| Member::new(me, &[1, 2, 3])),
                now: 10_000,
            };
            trio.at(1).group.campaign();
            trio.run(1);
            assert!(trio.at(1).group.is_current());
            trio
        }

        fn at(&mut self, peer: PeerId) -> &mut Member {
            &mut self.members[peer as usize - 1]
        }

        fn run(&mut self, peer: PeerId) {
            let sent = self.at(peer).turn();
            self.deliver(sent);
        }

        /// Delivers messages, and what comes of them.
        fn deliver(&mut self, messages: Vec<Message>) {
            let mut on_the_way = VecDeque::from(messages);
            while let Some(message) = on_the_way.pop_front() {
                on_the_way.extend(self.step(message));
            }
        }

        fn step(&mut self, message: Message) -> Vec<Message> {
            let now = self.now;
            let member = self.at(message.to);
            if member.lease.hears(&message, now) {
                member.group.step(message);
            }
            member.turn()
        }

        /// A round of member 1 reaches the others; gives what they answer.
        fn ask(&mut self) -> Vec<Message> {
            let now = self.now;
            let asked = self.at(1).renew(now);
            asked
                .into_iter()
                .flat_map(|message| self.step(message))
                .collect()
        }

        fn allows(&mut self, peer: PeerId) -> bool {
            let now = self.now;
            self.at(peer).word.allows(now)
        }

        /// Member `peer` is elected, as if all promises were over.
        fn elect(&mut self, peer: PeerId) {
            self.now += 10 * ELECTION_MS;
            // The engine has its own patience with a leader, which is counted in ticks.
            for _ in 0..ELECTION_TICKS {
                self.members
                    .iter_mut()
                    .for_each(|member| member.group.tick());
            }
            self.members.iter_mut().for_each(|member| {
                member.turn();
            });
            self.at(peer).group.campaign();
            self.run(peer);
            assert!(self.at(peer).group.is_current());
        }
    }

    fn message(kind: MessageType, term: u64) -> Message {
        let mut message = Message {
            from: 2,
            to: 1,
            term,
            ..Message::default()
        };
        message.set_msg_type(kind);
        message
    }

    #[test]
    fn a_lease_is_over_before_any_promise_even_if_clocks_drift() {
        let ticks = ELECTION_TICKS as u64;
        assert_eq!(LEASE_MS, (ticks - 2) * TICK_MS * 9 / 10);
        // Who has promised may vote after an election timeout; who calls an election itself does
        // so at the earliest at the last of so many ticks, of which the first may come at once.
        let soonest_ms = ELECTION_MS.min((ticks - 1) * TICK_MS);
        assert!(LEASE_MS * 11 / 10 < soonest_ms);
    }

    #[test]
    fn users_are_told_how_long_a_lease_and_a_promise_last() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/consistency.md");
        let text = std::fs::read_to_string(path).unwrap();
        let lasts = format!("{LEASE_MS} ms from the moment at which the leader asked");
        let promised = format!("promised, for {ELECTION_MS} ms,");
        assert!(text.contains(&lasts) && text.contains(&promised));
        assert!(text.contains("differ by\n  less than a tenth"));
    }

    #[test]
    fn a_lease_runs_from_the_time_at_which_its_round_began() {
        let mut trio = Trio::new();
        let begun = trio.now;
        let answers = trio.ask();
        trio.now += 200;
        assert!(!trio.allows(1), "nobody has answered");
        trio.deliver(answers);
        assert!(trio.at(1).word.allows(begun + LEASE_MS - 1));
        assert!(!trio.at(1).word.allows(begun + LEASE_MS));
        assert!(!trio.allows(2) && !trio.allows(3));
    }

    #[test]
    fn no_round_before_an_entry_of_the_term_is_applied() {
        let mut member = Member::new(1, &[1, 2]);
        member.group.campaign();
        for vote in [
            MessageType::MsgRequestPreVoteResponse,
            MessageType::MsgRequestVoteResponse,
        ] {
            member.turn();
            let term = raft::BIRTH.term + 1;
            member.group.step(message(vote, term));
        }
        member.turn();
        assert!(member.group.leads() && !member.group.is_current());
        member.renew(1000);
        assert_eq!(member.lease.asked(), 0);
        let mut has_it = message(MessageType::MsgAppendResponse, member.group.term());
        has_it.index = member.group.last_index();
        member.group.step(has_it);
        member.turn();
        assert!(member.group.is_current());
        member.renew(1000);
        assert_eq!(member.lease.asked(), 1);
    }

    #[test]
    fn who_is_deposed_has_no_lease() {
        let mut trio = Trio::new();
        let answers = trio.ask();
        trio.deliver(answers);
        assert!(trio.allows(1));
        trio.at(1).group.step(message(MessageType::MsgAppend, 99));
        trio.at(1).turn();
        assert!(!trio.allows(1));
    }

    #[test]
    fn a_late_answer_of_an_earlier_leadership_confirms_nothing() {
        let mut trio = Trio::new();
        let answers = trio.ask();
        let asked = trio.at(1).lease.asked();
        trio.elect(2);
        trio.elect(1);
        trio.deliver(answers);
        let Member { group, lease, word } = trio.at(1);
        assert!(group.is_current() && !lease.answers(group, asked - 1));
        // Even if the engine had kept it.
        let (term, index) = (group.term(), group.applied());
        let of_term = |term| Confirmed {
            term,
            round: asked + 1,
            index,
        };
        lease.renew(group, 500_000, true);
        lease.confirmed(group, of_term(term - 2), word);
        assert!(!word.allows(500_000) && !lease.answers(group, asked));
        lease.confirmed(group, of_term(term), word);
        assert!(word.allows(500_000) && lease.answers(group, asked));
    }

    #[test]
    fn a_term_in_which_another_was_told_to_call_an_election_has_no_lease_again() {
        let mut trio = Trio::new();
        let answers = trio.ask();
        trio.deliver(answers);
        assert!(trio.allows(1));
        trio.at(1).group.transfer(2);
        let sent = trio.at(1).turn();
        assert!(sent.iter().any(raft::is_timeout_now));
        assert!(!trio.allows(1), "the message has not even left");
        // It is lost: this one goes on to lead, and to be asked.
        trio.now += URGENT_MS;
        let arrived = trio.at(1).lease.asked();
        let answers = trio.ask();
        trio.deliver(answers);
        assert!(!trio.allows(1));
        let Member { group, lease, .. } = trio.at(1);
        assert!(lease.answers(group, arrived), "a round serves without one");
        // The message was only late: nobody minds the promise made to the old leader.
        trio.deliver(sent);
        assert!(trio.at(2).group.is_current());
    }

    #[test]
    fn a_read_waits_for_a_round_begun_after_it_and_for_what_that_covers() {
        let mut trio = Trio::new();
        let arrived = trio.at(1).lease.asked();
        let answers = trio.ask();
        let late = trio.at(1).lease.asked();
        trio.deliver(answers);
        let Member { group, lease, word } = trio.at(1);
        assert!(lease.answers(group, arrived) && !lease.answers(group, late));
        lease.renew(group, 20_000, true);
        let ahead = Confirmed {
            term: group.term(),
            round: late + 1,
            index: group.applied() + 1,
        };
        lease.confirmed(group, ahead, word);
        assert!(!lease.answers(group, late), "not applied yet");
    }

    #[test]
    fn an_unanswered_round_is_followed_by_another() {
        let mut trio = Trio::new();
        let begun = trio.now;
        assert_eq!(trio.at(1).renew(begun).len(), 2, "and lost");
        assert!(trio.at(1).renew(begun + URGENT_MS - 1).is_empty());
        assert_eq!(trio.at(1).renew(begun + URGENT_MS).len(), 2);
        let (group, lease) = (&mut trio.members[0].group, &mut trio.members[0].lease);
        lease.renew(group, begun + URGENT_MS + ROUND_MS - 1, false);
        assert_eq!(lease.asked(), 2, "nobody waits");
        lease.renew(group, begun + URGENT_MS + ROUND_MS, false);
        assert_eq!(lease.asked(), 3);
    }

    #[test]
    fn rounds_that_are_never_answered_are_forgotten() {
        let mut trio = Trio::new();
        for round in 0..2 * ROUNDS as u64 {
            let now = trio.now + round * URGENT_MS;
            trio.at(1).renew(now);
        }
        assert_eq!(trio.at(1).lease.asked(), 2 * ROUNDS as u64);
        assert_eq!(trio.at(1).lease.asked.len(), ROUNDS);
    }

    #[test]
    fn requests_for_votes_of_any_term_are_dropped_after_a_sign_of_a_leader() {
        let asks = [MessageType::MsgRequestVote, MessageType::MsgRequestPreVote];
        let signs = [MessageType::MsgHeartbeat, MessageType::MsgAppend];
        for (sign, ask) in signs
            .into_iter()
            .flat_map(|sign| asks.map(|ask| (sign, ask)))
        {
            let mut lease = Lease::of_member(&[1, 2, 3], 1000);
            assert!(lease.hears(&message(ask, 2), 1000), "it never promised");
            assert!(lease.hears(&message(sign, 2), 1000));
            for term in [1, 2, 1000] {
                assert!(!lease.hears(&message(ask, term), 1000 + ELECTION_MS - 1));
            }
            let mut transfer = message(ask, 3);
            transfer.context = b"CampaignTransfer".as_slice().into();
            assert!(lease.hears(&transfer, 1000));
            assert!(lease.hears(&message(ask, 3), 1000 + ELECTION_MS));
        }
    }

    #[test]
    fn who_may_have_promised_something_before_listens_late() {
        let mut lease = Lease::of_member(&[], 1000);
        let ask = message(MessageType::MsgRequestVote, 7);
        assert!(!lease.hears(&ask, 1000 + ELECTION_MS - 1));
        assert!(lease.hears(&ask, 1000 + ELECTION_MS));
    }

    #[test]
    fn a_request_for_a_vote_does_not_reach_the_engine() {
        let mut trio = Trio::new();
        let term = trio.at(2).group.term();
        let mut ask = message(MessageType::MsgRequestVote, term + 1);
        (ask.from, ask.to, ask.index, ask.log_term) = (3, 2, 99, term);
        // The engine by itself would have voted: it has forgotten its leader.
        for _ in 0..2 * ELECTION_TICKS {
            trio.at(2).group.tick();
        }
        trio.step(ask.clone());
        assert_eq!(trio.at(2).group.term(), term);
        trio.now += ELECTION_MS;
        trio.step(ask);
        assert_eq!(trio.at(2).group.term(), term + 1);
    }

    #[test]
    fn a_group_of_one_asks_nobody() {
        let mut alone = Member::new(1, &[1]);
        alone.group.campaign();
        alone.turn();
        alone.renew(1000);
        assert!(alone.word.allows(1000 + LEASE_MS - 1));
        assert!(!alone.word.allows(1000 + LEASE_MS));
    }

    #[test]
    fn a_leader_on_its_way_out_needs_the_others_and_then_has_no_lease() {
        let mut leader = Member::new(1, &[1]);
        leader.group.campaign();
        leader.turn();
        let change = Change {
            voters: vec![2],
            removed: vec![1],
            ..Change::default()
        };
        let answer = |leader: &mut Member, kind, context: &[u8]| {
            let mut answer = message(kind, leader.group.term());
            answer.index = leader.group.last_index();
            answer.context = context.to_vec().into();
            leader.group.step(answer);
            leader.turn()
        };
        leader.group.change(&change);
        leader.turn();
        assert_eq!(leader.group.conf().voters_outgoing, [1]);
        // Both configurations have to confirm.
        let asked = leader.renew(1000);
        assert!(!leader.word.allows(1000));
        let heartbeat = asked.iter().find(|sent| !sent.context.is_empty());
        let context = heartbeat.expect("a question").context.to_vec();
        answer(&mut leader, MessageType::MsgHeartbeatResponse, &context);
        assert!(leader.word.allows(1000));
        leader.group.change(&Change::default());
        leader.turn();
        answer(&mut leader, MessageType::MsgAppendResponse, b"");
        assert_eq!(leader.group.conf().voters, [2]);
        assert!(leader.group.conf().voters_outgoing.is_empty());
        // The only voter is another one, which nobody has asked.
        leader.renew(2000);
        assert!(!leader.word.allows(2000));
    }
}
