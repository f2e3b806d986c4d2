//! The requests of one multiplexed link between two processes: which wait, which were sent, and
//! what became of them.
//!
//! Used by the client library. Performs no I/O and reads no clock: its owner writes what
//! [`Link::transmit`] appends and reports what arrives.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

use crate::limits::IN_FLIGHT;
use crate::rpc::{self, Meta, Place};

/// Requests with a number that is higher than that of the oldest by so much make it a straggler.
const RECENT: usize = 2 * IN_FLIGHT;

/// Requests of a link, each with a ticket by which its owner recognizes it and knows its words.
#[derive(Debug)]
pub struct Link<T> {
    /// Not handed over for writing yet, oldest first.
    queued: VecDeque<Queued<T>>,
    /// Handed over and not answered, by age.
    sent: SentByAge<T>,
}

#[derive(Debug)]
struct Queued<T> {
    place: Option<Place>,
    pending: Sent<T>,
}

#[derive(Debug)]
struct Sent<T> {
    ticket: T,
    deadline_mono_ms: u64,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No byte of it was written: it was certainly not executed.
    NotSent,
    /// It was, or may have been, written: nobody knows whether it was executed.
    Lost,
}

/// What was sent, by id, and ids are given in turn: so each is found by its place behind the
/// oldest. The few that stay while all others come and go make no room for these.
#[derive(Debug)]
struct SentByAge<T> {
    stragglers: BTreeMap<u64, Sent<T>>,
    recent: VecDeque<Option<Sent<T>>>,
    /// The id of the first of the recent ones.
    first_id: u64,
    /// How many there are of both.
    count: usize,
}

impl<T> SentByAge<T> {
    /// The id of the next to be sent.
    fn next_id(&self) -> u64 {
        self.first_id + self.recent.len() as u64
    }

    fn push(&mut self, sent: Sent<T>) {
        if self.recent.len() >= RECENT {
            if let Some(Some(straggler)) = self.recent.pop_front() {
                self.stragglers.insert(self.first_id, straggler);
            }
            self.first_id += 1;
        }
        self.recent.push_back(Some(sent));
        self.count += 1;
    }

    fn remove(&mut self, id: u64) -> Option<Sent<T>> {
        let found = match id.checked_sub(self.first_id) {
            Some(place) => self.recent.get_mut(usize::try_from(place).ok()?)?.take(),
            None => self.stragglers.remove(&id),
        }?;
        self.count -= 1;
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first_id += 1;
        }
        Some(found)
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &Sent<T>)> {
        let recent = (self.first_id..).zip(&self.recent);
        let recent = recent.filter_map(|(id, sent)| Some((id, sent.as_ref()?)));
        let stragglers = self.stragglers.iter().map(|(id, sent)| (*id, sent));
        stragglers.chain(recent)
    }

    fn take_all(&mut self) -> Vec<Sent<T>> {
        self.first_id = self.next_id();
        self.count = 0;
        let stragglers = std::mem::take(&mut self.stragglers).into_values();
        stragglers.chain(self.recent.drain(..).flatten()).collect()
    }
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self {
            queued: VecDeque::new(),
            sent: SentByAge {
                stragglers: BTreeMap::new(),
                recent: VecDeque::new(),
                first_id: 1,
                count: 0,
            },
        }
    }
}

impl<T> Link<T> {
    /// How many requests are queued or sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued.len() + self.sent.count
    }

    /// Whether an answer is waited for.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.sent.count > 0
    }

    /// Whether nothing is queued or sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`transmit`](Self::transmit) has something to append.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Queues a command, with its place in a session if it has one. It is given up at the deadline,
    /// in monotonic milliseconds.
    ///
    /// # Errors
    /// [`IN_FLIGHT`] requests are waiting already; the ticket comes back.
    pub fn push(
        &mut self,
        place: Option<Place>,
        deadline_mono_ms: u64,
        ticket: T,
    ) -> Result<(), T> {
        if self.len() >= IN_FLIGHT {
            return Err(ticket);
        }
        let pending = Sent {
            ticket,
            deadline_mono_ms,
        };
        self.queued.push_back(Queued { place, pending });
        Ok(())
    }

    /// Appends queued requests as frames, in order, until `out` holds `enough` bytes; a ticket's
    /// `words` are what is sent. From here on they count as sent: call this only when everything
    /// appended before has been written, and with a moderate number.
    pub fn transmit<A: AsRef<[u8]>>(
        &mut self,
        now_mono_ms: u64,
        enough: usize,
        words: impl Fn(&T) -> &[A],
        out: &mut BytesMut,
    ) {
        while out.len() < enough {
            let Some(Queued { place, pending }) = self.queued.pop_front() else {
                return;
            };
            let meta = Meta {
                deadline_ms: Some(pending.deadline_mono_ms.saturating_sub(now_mono_ms)),
                ..Meta::default()
            };
            let meta = place.map_or(meta, |place| meta.with_place(place));
            rpc::encode_request(self.sent.next_id(), words(&pending.ticket), &meta, out);
            self.sent.push(pending);
        }
    }

    /// Takes the ticket of the request that a response answers; nothing when it was given up
    /// before.
    pub fn answered(&mut self, id: u64) -> Option<T> {
        self.sent.remove(id).map(|sent| sent.ticket)
    }

    /// Takes every request whose deadline has passed, the oldest first.
    pub fn expire(&mut self, now_mono_ms: u64) -> Vec<(T, Unanswered)> {
        let late = |pending: &Sent<T>| pending.deadline_mono_ms <= now_mono_ms;
        let sent = self.sent.iter().filter(|(_, sent)| late(sent));
        let ids: Vec<u64> = sent.map(|(id, _)| id).collect();
        let tickets = ids.into_iter().filter_map(|id| self.answered(id));
        let mut expired: Vec<_> = tickets.map(|ticket| (ticket, Unanswered::Lost)).collect();
        if self.queued.iter().any(|queued| late(&queued.pending)) {
            let queued = std::mem::take(&mut self.queued);
            for queued in queued {
                if late(&queued.pending) {
                    expired.push((queued.pending.ticket, Unanswered::NotSent));
                } else {
                    self.queued.push_back(queued);
                }
            }
        }
        expired
    }

    /// The connection is gone: takes every request, in the order in which they were made.
    pub fn disconnect(&mut self) -> Vec<(T, Unanswered)> {
        let sent = self.sent.take_all().into_iter();
        let queued = std::mem::take(&mut self.queued).into_iter();
        sent.map(|sent| (sent.ticket, Unanswered::Lost))
            .chain(queued.map(|queued| (queued.pending.ticket, Unanswered::NotSent)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{Message, Request};

    /// The words of every request.
    const WORDS: [&[u8]; 2] = [b"ECHO", &[b'x'; 100]];

    fn link(deadlines: &[u64]) -> Link<usize> {
        let mut link = Link::default();
        for (ticket, deadline) in deadlines.iter().enumerate() {
            link.push(None, *deadline, ticket).unwrap();
        }
        link
    }

    /// Transmits, and gives the ids and remaining times that went out.
    fn transmit(link: &mut Link<usize>, now: u64, enough: usize) -> Vec<(u64, Option<u64>)> {
        let mut out = BytesMut::new();
        link.transmit(now, enough, |_| &WORDS, &mut out);
        let mut requests = Vec::new();
        while !out.is_empty() {
            let length = u32::from_be_bytes(out.split_to(4)[..].try_into().unwrap());
            let frame = out.split_to(length as usize);
            match rpc::decode(&frame).unwrap() {
                Message::Request(Request { id, meta, .. }) => requests.push((id, meta.deadline_ms)),
                other => panic!("{other:?}"),
            }
        }
        requests
    }

    #[test]
    fn responses_find_their_requests_in_any_order() {
        let mut link = link(&[10, 20, 30]);
        let sent = transmit(&mut link, 15, usize::MAX);
        assert_eq!(sent, [(1, Some(0)), (2, Some(5)), (3, Some(15))]);
        assert_eq!(link.answered(3), Some(2));
        assert_eq!(link.answered(3), None);
        assert_eq!(link.answered(1), Some(0));
        assert_eq!(link.answered(9), None);
        assert_eq!(link.len(), 1);
    }

    #[test]
    fn only_what_was_handed_over_is_lost() {
        let mut link = link(&[10; 4]);
        assert_eq!(transmit(&mut link, 0, 150).len(), 2);
        let fates = link.disconnect();
        let lost = |ticket| (ticket, Unanswered::Lost);
        let not_sent = |ticket| (ticket, Unanswered::NotSent);
        assert_eq!(fates, [lost(0), lost(1), not_sent(2), not_sent(3)]);
        assert!(link.is_empty() && !link.has_queued());
        assert_eq!(link.answered(1), None);
    }

    #[test]
    fn deadlines_pass_for_queued_and_sent_alike() {
        let mut link = link(&[10, 20, 10, 20]);
        assert_eq!(transmit(&mut link, 0, 150).len(), 2);
        assert_eq!(link.expire(9), []);
        let expired = link.expire(10);
        assert_eq!(expired, [(0, Unanswered::Lost), (2, Unanswered::NotSent)]);
        assert_eq!(link.answered(1), None, "a late answer");
        assert_eq!(transmit(&mut link, 11, 150), [(3, Some(9))]);
        assert_eq!(link.expire(u64::MAX).len(), 2);
        assert!(link.is_empty());
    }

    #[test]
    fn the_number_of_requests_is_bounded() {
        let mut link = link(&vec![10; IN_FLIGHT]);
        assert_eq!(link.push(None, 10, 7), Err(7));
        transmit(&mut link, 0, usize::MAX);
        assert_eq!(link.push(None, 10, 7), Err(7));
        link.answered(1);
        assert_eq!(link.push(None, 10, 7), Ok(()));
    }

    #[test]
    fn a_straggler_is_answered_and_takes_no_room() {
        let mut link = link(&[10]);
        assert_eq!(transmit(&mut link, 0, 1), [(1, Some(10))]);
        for ticket in 1..3 * RECENT {
            link.push(None, 20, ticket).unwrap();
            let [(id, _)] = transmit(&mut link, 0, 1)[..] else {
                panic!("one was sent");
            };
            assert_eq!(link.answered(id), Some(ticket));
            assert_eq!(link.answered(id), None);
        }
        assert!(link.sent.recent.len() <= RECENT && link.len() == 1);
        link.push(None, 10, 7).unwrap();
        transmit(&mut link, 0, 1);
        let lost = |ticket| (ticket, Unanswered::Lost);
        assert_eq!(link.expire(10), [lost(0), lost(7)], "the oldest first");
        assert!(link.is_empty());
    }

    #[test]
    fn ids_are_not_used_again_after_a_disconnect() {
        let mut link = link(&[10]);
        assert_eq!(transmit(&mut link, 0, 1), [(1, Some(10))]);
        link.disconnect();
        link.push(None, 10, 0).unwrap();
        assert_eq!(transmit(&mut link, 0, 1), [(2, Some(10))]);
    }
}
