//! Changes of the cluster that clients of this node have asked for, until the meta group has made
//! them.

use dht_proto::limits::WISHES;
use dht_proto::{Reply, ReplyError, spec};

use super::{Outbox, Worker};
use crate::core::args::Args;
use crate::core::meta::{Change, ClusterState, GroupId};
use crate::core::pack::Reader;
use crate::core::replication::council;
use crate::core::replication::mail::Mail;
use crate::core::replication::replica::{Pending, in_flight, not_done};
use crate::core::replication::task::{self, Task, Words};
use crate::core::time::Now;

/// A change that a client waits for.
pub struct Wish<T> {
    change: Change,
    pending: Pending<T>,
}

impl<T> Worker<T> {
    /// Takes a command whose effect the meta group has to decide.
    pub(super) fn take_wish(&mut self, pending: Pending<T>, out: &mut Outbox<T>) {
        match self.change_of(&pending) {
            Ok(_) if self.wishes.len() >= WISHES => {
                let ticket = pending.ticket;
                out.settled
                    .extend(ticket.map(|ticket| (ticket, not_done().into())));
            }
            Ok(change) => {
                self.send_wish(&change);
                self.wishes.push(Wish { change, pending });
            }
            Err(error) => {
                let ticket = pending.ticket;
                out.settled
                    .extend(ticket.map(|ticket| (ticket, error.into())));
            }
        }
    }

    fn change_of(&self, pending: &Pending<T>) -> Result<Change, ReplyError> {
        let state = self.state.as_ref().ok_or_else(not_done)?;
        match task::decode(&mut Reader::new(&pending.task)) {
            Ok(Task::Command(words)) => self.emptying(state, &words),
            _ => Err(not_done()),
        }
    }

    /// What CLUSTER EMPTY asks for. A shard that is led has lost nothing.
    fn emptying(&self, state: &ClusterState, words: &Words<'_>) -> Result<Change, ReplyError> {
        let given = Args::new(words, spec::find(words)?.words()).rest();
        let mut shards = Vec::new();
        for word in given {
            let shard = str::from_utf8(word).ok().and_then(|text| text.parse().ok());
            let founder = shard.map_or(0, |shard| state.founders_of(shard));
            let Some(shard) = shard.filter(|_| founder != 0) else {
                return Err(ReplyError::err("Invalid shard"));
            };
            if let Some(why) = self.why_not_empty(state, shard) {
                return Err(ReplyError::Other(format!("Shard {shard} {why}").into()));
            }
            shards.push((shard, founder));
        }
        Ok(Change::Empty { shards })
    }

    /// Why a shard should not begin anew at present, if so.
    fn why_not_empty(&self, state: &ClusterState, shard: u16) -> Option<&'static str> {
        let seats = state.replicas(GroupId::from(shard) + 1);
        let up = seats.iter().filter(|seat| self.reaches(seat.node)).count();
        if self.leader(shard).is_some() {
            Some("has a leader and has lost nothing")
        } else if 2 * up <= seats.len() {
            // Who takes the seat of a node that is gone has to be given what the others have.
            Some("has too few nodes that are up; start them first")
        } else {
            None
        }
    }

    /// Tells all members of the meta group; the one that leads proposes it.
    pub(super) fn send_wish(&mut self, change: &Change) {
        let seats = self.state.iter().flat_map(|state| &state.meta);
        for seat in seats {
            self.post
                .send(seat.node, &Mail::Wish(&council::encode(change)));
        }
    }

    /// Says again what may have been lost, and answers those whose deadline has passed.
    pub(super) fn wish_again(&mut self, now: Now, out: &mut Outbox<T>) {
        let late = |wish: &mut Wish<T>| wish.pending.deadline_mono_ms <= now.mono_ms;
        for wish in self.wishes.extract_if(.., late) {
            let ticket = wish.pending.ticket;
            out.settled
                .extend(ticket.map(|ticket| (ticket, in_flight().into())));
        }
        let changes: Vec<Change> = self.wishes.iter().map(|wish| wish.change.clone()).collect();
        changes.iter().for_each(|change| self.send_wish(change));
    }

    /// Answers those whose changes are made.
    pub(super) fn grant(&mut self, out: &mut Outbox<T>) {
        let Some(state) = &self.state else {
            return;
        };
        let is_made = |wish: &mut Wish<T>| {
            let mut after = state.clone();
            after.apply(&wish.change).is_ok() && after == *state
        };
        for wish in self.wishes.extract_if(.., is_made) {
            let ticket = wish.pending.ticket;
            out.settled
                .extend(ticket.map(|ticket| (ticket, Reply::Ok.into())));
        }
    }
}
