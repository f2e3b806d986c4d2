//! The requests of one multiplexed link between two processes: which wait, which were sent, and
//! what became of them.
//!
//! Used by a node for its links to others and by the client library. Performs no I/O and reads no
//! clock: its owner writes what [`Link::transmit`] appends and reports what arrives.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::limits::IN_FLIGHT;
use crate::rpc::{self, Meta, Place};

/// Requests of a link, each with a ticket by which its owner recognizes it.
#[derive(Debug)]
pub struct Link<T> {
    /// Not handed over for writing yet, oldest first.
    queued: VecDeque<Queued<T>>,
    /// Handed over and not answered, by id and so by age.
    sent: BTreeMap<u64, Sent<T>>,
    next_id: u64,
}

#[derive(Debug)]
struct Queued<T> {
    argv: Vec<Bytes>,
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

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self {
            queued: VecDeque::new(),
            sent: BTreeMap::new(),
            next_id: 1,
        }
    }
}

impl<T> Link<T> {
    /// How many requests are queued or sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued.len() + self.sent.len()
    }

    /// Whether an answer is waited for.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.sent.is_empty()
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
        (argv, place): (Vec<Bytes>, Option<Place>),
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
        self.queued.push_back(Queued {
            argv,
            place,
            pending,
        });
        Ok(())
    }

    /// Appends queued requests as frames, in order, until `out` holds `enough` bytes. From here on
    /// they count as sent: call this only when everything appended before has been written, and
    /// with a moderate number.
    pub fn transmit(&mut self, now_mono_ms: u64, enough: usize, out: &mut BytesMut) {
        while out.len() < enough {
            let Some(Queued {
                argv,
                place,
                pending,
            }) = self.queued.pop_front()
            else {
                return;
            };
            let meta = Meta {
                deadline_ms: Some(pending.deadline_mono_ms.saturating_sub(now_mono_ms)),
                ..Meta::default()
            };
            let meta = place.map_or(meta, |place| meta.with_place(place));
            rpc::encode_request(self.next_id, &argv, &meta, out);
            self.sent.insert(self.next_id, pending);
            self.next_id += 1;
        }
    }

    /// Takes the ticket of the request that a response answers; nothing when it was given up
    /// before.
    pub fn answered(&mut self, id: u64) -> Option<T> {
        self.sent.remove(&id).map(|sent| sent.ticket)
    }

    /// Takes every request whose deadline has passed, the oldest first.
    pub fn expire(&mut self, now_mono_ms: u64) -> Vec<(T, Unanswered)> {
        let late = |pending: &Sent<T>| pending.deadline_mono_ms <= now_mono_ms;
        let sent = self.sent.iter().filter(|(_, sent)| late(sent));
        let ids: Vec<u64> = sent.map(|(id, _)| *id).collect();
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
        let sent = std::mem::take(&mut self.sent).into_values();
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

    fn link(deadlines: &[u64]) -> Link<usize> {
        let mut link = Link::default();
        for (ticket, deadline) in deadlines.iter().enumerate() {
            let argv = vec![Bytes::from_static(b"ECHO"), Bytes::from(vec![b'x'; 100])];
            link.push((argv, None), *deadline, ticket).unwrap();
        }
        link
    }

    /// Transmits, and gives the ids and remaining times that went out.
    fn transmit(link: &mut Link<usize>, now: u64, enough: usize) -> Vec<(u64, Option<u64>)> {
        let mut out = BytesMut::new();
        link.transmit(now, enough, &mut out);
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
        assert_eq!(link.push((Vec::new(), None), 10, 7), Err(7));
        transmit(&mut link, 0, usize::MAX);
        assert_eq!(link.push((Vec::new(), None), 10, 7), Err(7));
        link.answered(1);
        assert_eq!(link.push((Vec::new(), None), 10, 7), Ok(()));
    }

    #[test]
    fn ids_are_not_used_again_after_a_disconnect() {
        let mut link = link(&[10]);
        assert_eq!(transmit(&mut link, 0, 1), [(1, Some(10))]);
        link.disconnect();
        link.push((Vec::new(), None), 10, 0).unwrap();
        assert_eq!(transmit(&mut link, 0, 1), [(2, Some(10))]);
    }
}
