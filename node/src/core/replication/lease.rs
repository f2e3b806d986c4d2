//! When a leader may answer reads alone: its lease, and rounds of confirmation without one.
//!
//! A round takes the time, then asks a majority whether this member still leads. Once confirmed,
//! whatever was committed before the round began is committed here too (Ongaro's *ReadIndex*); and
//! since everyone who confirmed promises, by its [`VoteGuard`], to elect nobody else for an
//! election timeout, nobody else orders commands until shortly before that has passed since the
//! round's beginning: that is the lease.

use std::collections::VecDeque;

use super::raft::{self, ELECTION_TICKS, Group, HEARTBEAT_TICKS, Message};
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
/// Rounds that may be unanswered.
const ROUNDS: usize = 64;

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

    /// A majority has confirmed a round.
    pub fn confirmed(&mut self, group: &Group, round: u64, index: u64, word: &Word) {
        while let Some(Round {
            number,
            begun_mono_ms,
        }) = self.asked.pop_front_if(|first| first.number <= round)
        {
            if number == round && group.is_current() && group.term() == self.term {
                self.confirmed = (round, index);
                if self.barred_term != self.term {
                    word.grant(begun_mono_ms + LEASE_MS);
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
