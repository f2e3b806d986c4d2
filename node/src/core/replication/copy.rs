//! Full copies of a shard: from its leader to a member whose log does not reach far enough back.
//!
//! A copy stands at one point of the log although writes go on. It travels in numbered pieces
//! beside Raft's messages, a few at a time, each sent again until it has arrived; the receiver
//! gathers them off to the side. Once all are there the engine tells it to install the copy, which
//! is one step.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;
use dht_proto::limits::{COPY_PIECES, PIECE_BYTES, PIECES};
use dht_proto::topology::NodeId;

use super::machine::Machine;
use super::mail::{Chunk, Mail, Post, Received};
use super::raft::{Copy, Group, PeerId, Point};
use crate::core::disk::Save;
use crate::core::store::{SlotSet, Snapshot, Staging, Store};

/// After so long without an answer, in milliseconds, what is on its way is sent again.
const RESEND_MS: u64 = 300;
/// After so long, in milliseconds, a receiver that has everything is told again to install it.
const RETELL_MS: u64 = 1000;
/// After so long, in milliseconds, a receiver that has less than it had is believed to have begun
/// anew.
const LACKING_MS: u64 = 2 * RESEND_MS;
/// How often a receiver is told to install what it has, before it is believed to have lost it.
const TOLD: u32 = 3;
/// Says that an attempt is of no use any more.
const USELESS: u64 = u64::MAX;

/// What a node may send of full copies in a turn, all of them together.
#[derive(Debug, Default)]
pub struct Allowance {
    /// So many bytes, about.
    pub bytes: usize,
    /// Pieces that are on their way to each node. What comes after them waits for them there.
    underway: BTreeMap<NodeId, usize>,
}

impl Allowance {
    /// So many bytes, with nothing on its way.
    #[must_use]
    pub const fn of(bytes: usize) -> Self {
        Self {
            bytes,
            underway: BTreeMap::new(),
        }
    }

    /// Pieces of a copy are on their way already.
    pub fn note(&mut self, copy: &Outgoing) {
        *self.underway.entry(copy.node).or_default() += copy.pieces.len();
    }

    /// Whether another piece may be sent to a node.
    fn has_room(&self, node: NodeId) -> bool {
        self.underway.get(&node).is_none_or(|it| *it < COPY_PIECES)
    }
}

/// A copy on its way to a member.
pub struct Outgoing {
    to: PeerId,
    node: NodeId,
    /// Where it stands.
    pub copy: Copy,
    attempt: u64,
    snapshot: Option<Snapshot>,
    /// Pieces that were not acknowledged, the first of them number `acknowledged`.
    pieces: VecDeque<Bytes>,
    acknowledged: u64,
    /// How many pieces there are, once that is known.
    total: Option<u64>,
    progress_ms: u64,
    /// Since when the receiver has said that it has less than it had.
    lacking_ms: Option<u64>,
    /// How often it was told to install all that it has.
    told: u32,
}

impl Outgoing {
    /// A copy of what a leader has applied.
    #[must_use]
    pub fn new(
        (to, node): (PeerId, NodeId),
        attempt: u64,
        (group, machine, store): (&Group, &Machine, &Store),
        now_mono_ms: u64,
    ) -> Self {
        let mut head = BytesMut::new();
        machine.encode(&mut head);
        let slots = machine.slots.iter();
        let (first, last) = (slots.min(), machine.slots.iter().max());
        Self {
            to,
            node,
            copy: group.copy_point(),
            attempt,
            snapshot: first
                .zip(last)
                .map(|(first, last)| store.begin_snapshot(first..=last)),
            pieces: VecDeque::from([head.freeze()]),
            acknowledged: 0,
            total: None,
            progress_ms: now_mono_ms.saturating_sub(RESEND_MS),
            lacking_ms: None,
            told: 0,
        }
    }

    /// Who gets it.
    #[must_use]
    pub const fn to(&self) -> PeerId {
        self.to
    }

    /// Whether all of it has arrived.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.total == Some(self.acknowledged)
    }

    /// Bytes of old data that are held for it.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.snapshot.as_ref().map_or(0, Snapshot::held_bytes)
    }

    /// Whether there is more to be sent, and it may be on its way.
    #[must_use]
    pub fn has_more(&self, allowance: &Allowance) -> bool {
        let has_room = self.pieces.len() < PIECES && allowance.has_room(self.node);
        has_room && self.total.is_none()
    }

    /// Sends what may be on its way, as long as there are bytes to spend.
    pub fn send(
        &mut self,
        shard: u16,
        store: &Store,
        now_mono_ms: u64,
        allowance: &mut Allowance,
        post: &mut Post,
    ) {
        let late = now_mono_ms >= self.progress_ms + RESEND_MS;
        if late && !self.pieces.is_empty() {
            self.progress_ms = now_mono_ms;
            for index in 0..self.pieces.len() {
                self.post(shard, index, post);
            }
            let bytes: usize = self.pieces.iter().map(Bytes::len).sum();
            allowance.bytes = allowance.bytes.saturating_sub(bytes);
        }
        while allowance.bytes > 0 && self.has_more(allowance) {
            let piece = self.next_piece(store);
            allowance.bytes = allowance.bytes.saturating_sub(piece.len());
            *allowance.underway.entry(self.node).or_default() += 1;
            self.pieces.push_back(piece);
            self.post(shard, self.pieces.len() - 1, post);
        }
    }

    fn next_piece(&mut self, store: &Store) -> Bytes {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let over = self
            .snapshot
            .as_mut()
            .is_none_or(|snapshot| store.snapshot_step(snapshot, PIECE_BYTES, &mut piece));
        if over {
            self.snapshot = None;
            self.total = Some(self.acknowledged + self.pieces.len() as u64 + 1);
        }
        piece.into()
    }

    fn post(&self, shard: u16, index: usize, post: &mut Post) {
        let number = self.acknowledged + index as u64;
        let chunk = Chunk {
            shard,
            to: self.to,
            copy: self.copy.clone(),
            attempt: self.attempt,
            number,
            last: self.total == Some(number + 1),
            bytes: &self.pieces[index],
        };
        post.send(self.node, &Mail::Chunk(chunk));
    }

    /// Takes note of what has arrived; says whether the attempt is of any use.
    pub fn received(&mut self, received: Received, now_mono_ms: u64) -> bool {
        if received.attempt != self.attempt {
            return true;
        }
        if received.pieces == USELESS {
            return false;
        }
        let sent = self.acknowledged + self.pieces.len() as u64;
        let arrived = received.pieces.min(sent);
        // An answer that is late says so too, but not for long.
        if arrived >= self.acknowledged {
            self.lacking_ms = None;
        } else {
            let since = *self.lacking_ms.get_or_insert(now_mono_ms);
            if now_mono_ms >= since + LACKING_MS {
                return false;
            }
        }
        if arrived > self.acknowledged {
            self.progress_ms = now_mono_ms;
            self.pieces.drain(..(arrived - self.acknowledged) as usize);
            self.acknowledged = arrived;
        }
        true
    }

    /// Whether it is time to have the receiver told again to install what it has.
    pub const fn tell_again(&mut self, now_mono_ms: u64) -> bool {
        let again = now_mono_ms >= self.progress_ms + RETELL_MS;
        if again {
            self.progress_ms = now_mono_ms;
            self.told += 1;
        }
        again
    }

    /// Whether the receiver seems to have lost what it has said to have: it was restarted.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.told > TOLD
    }
}

/// A copy that is being received.
pub struct Incoming {
    from: NodeId,
    to: PeerId,
    attempt: u64,
    copy: Copy,
    pieces: u64,
    machine: Option<Machine>,
    staging: Staging,
    is_over: bool,
    /// The file that it is written to, if there is a disk.
    file: Option<u64>,
    /// Pieces that are in the file.
    written: u64,
    is_durable: bool,
}

impl Incoming {
    /// A copy of which nothing has arrived.
    #[must_use]
    pub fn new(from: NodeId, chunk: &Chunk<'_>, slots: &SlotSet, file: Option<u64>) -> Self {
        let first = slots.iter().min().unwrap_or_default();
        let last = slots.iter().max().unwrap_or_default();
        Self {
            from,
            to: chunk.to,
            attempt: chunk.attempt,
            copy: chunk.copy.clone(),
            pieces: 0,
            machine: None,
            staging: Staging::new(first..=last),
            is_over: false,
            file,
            written: 0,
            is_durable: file.is_none(),
        }
    }

    /// Who sends it.
    #[must_use]
    pub const fn from(&self) -> NodeId {
        self.from
    }

    /// Whether it brings more than what is applied.
    #[must_use]
    pub const fn is_ahead_of(&self, applied: u64) -> bool {
        self.copy.index > applied
    }

    /// The file that it is written to.
    #[must_use]
    pub const fn file(&self) -> Option<u64> {
        self.file
    }

    /// A piece of the file was written, or all of it is durable.
    pub const fn written(&mut self, is_durable: bool) {
        self.written += !is_durable as u64;
        self.is_durable |= is_durable;
    }

    /// Whether a piece belongs to this copy.
    #[must_use]
    pub fn is_of(&self, from: NodeId, chunk: &Chunk<'_>) -> bool {
        self.from == from && self.attempt == chunk.attempt
    }

    /// Whether a piece is of an older copy than this.
    #[must_use]
    pub fn is_newer_than(&self, chunk: &Chunk<'_>) -> bool {
        (self.copy.term, self.copy.index) > (chunk.copy.term, chunk.copy.index)
    }

    /// Takes a piece if it is the next; gives what is to be written.
    ///
    /// # Errors
    /// It cannot be read: the attempt is of no use.
    pub fn take(&mut self, chunk: &Chunk<'_>, slots: &SlotSet) -> Result<Option<Save>, Malformed> {
        if chunk.number != self.pieces || self.is_over {
            return Ok(None);
        }
        if chunk.number == 0 {
            self.machine = Some(Machine::decode(chunk.bytes, slots.clone())?);
        } else {
            self.staging.load(chunk.bytes)?;
        }
        self.pieces += 1;
        self.is_over = chunk.last;
        Ok(self.file.map(|snapshot| Save::Piece {
            snapshot,
            bytes: Bytes::copy_from_slice(chunk.bytes),
            last: chunk.last,
        }))
    }

    /// What the sender is told: what is here, and on the disk if there is one. The last piece
    /// counts once all of them are durable.
    #[must_use]
    pub fn receipt(&self, shard: u16) -> Received {
        let pieces = match self.file {
            Some(_) if !self.is_durable => {
                let all = self.pieces - u64::from(self.is_over);
                self.written.min(all)
            }
            _ => self.pieces,
        };
        self.received(shard, pieces)
    }

    /// Tells the sender that its attempt is of no use.
    #[must_use]
    pub const fn useless(&self, shard: u16) -> Received {
        self.received(shard, USELESS)
    }

    const fn received(&self, shard: u16, pieces: u64) -> Received {
        Received {
            shard,
            to: self.to,
            attempt: self.attempt,
            pieces,
        }
    }

    /// Whether all of a copy is here that stands at this point, and durable.
    #[must_use]
    pub fn is_at(&self, point: Point) -> bool {
        let is_here = self.is_over && self.is_durable;
        is_here && (self.copy.index, self.copy.term) == (point.index, point.term)
    }

    /// The replicated state and the data, once all is here.
    #[must_use]
    pub fn finish(self) -> Option<(Machine, Staging)> {
        self.machine.zip(Some(self.staging))
    }

    /// Gives up what has arrived.
    pub fn discard(self, store: &Store) {
        store.discard_staging(self.staging);
    }
}

/// Tells a sender that its attempt is of no use.
#[must_use]
pub const fn useless(chunk: &Chunk<'_>) -> Received {
    Received {
        shard: chunk.shard,
        to: chunk.to,
        attempt: chunk.attempt,
        pieces: USELESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::execute;
    use crate::core::pack::Reader;
    use crate::core::replication::mail;

    /// The numbers of the pieces of a copy that are sent.
    fn posted(copy: &mut Outgoing, store: &Store, now_ms: u64, bytes: usize) -> Vec<u64> {
        let (mut post, mut allowance) = (Post::default(), Allowance::of(bytes));
        allowance.note(copy);
        copy.send(0, store, now_ms, &mut allowance, &mut post);
        let mut numbers = Vec::new();
        for (_, frame) in post.take() {
            let mut mails = Reader::new(&frame);
            while !mails.is_empty() {
                if let Ok(Mail::Chunk(chunk)) = mail::decode(&mut mails) {
                    numbers.push(chunk.number);
                }
            }
        }
        numbers
    }

    /// A copy of so many bytes on its way to member 2.
    fn copy_of(bytes: usize) -> (Store, Outgoing) {
        let store = Store::new();
        let value = vec![0; 64 * 1024];
        for number in 0..bytes / value.len() {
            let key = format!("key{number}");
            let words = [b"SET", key.as_bytes(), &value];
            let moment = (1, 1);
            let watched = crate::core::store::Watched::default();
            execute::on_slots(&store, &watched, &SlotSet::all(), moment, &words).unwrap();
        }
        let (group, machine) = (Group::new(1, &[1], 1), Machine::new(SlotSet::all()));
        let from = (&group, &machine, &store);
        let copy = Outgoing::new((2, NodeId([2; 20])), 7, from, 1000);
        (store, copy)
    }

    const fn arrived(pieces: u64) -> Received {
        Received {
            shard: 0,
            to: 2,
            attempt: 7,
            pieces,
        }
    }

    #[test]
    fn a_copy_goes_on_where_it_was_interrupted() {
        let (store, mut copy) = copy_of(32 * PIECE_BYTES);
        let most = PIECES as u64;
        let first = posted(&mut copy, &store, 1000, usize::MAX);
        assert_eq!(first, (0..most).collect::<Vec<_>>(), "no more on their way");
        assert!(copy.received(arrived(5), 1010));
        let next = posted(&mut copy, &store, 1020, usize::MAX);
        assert_eq!(next, (most..most + 5).collect::<Vec<_>>());
        // Nothing is heard for long: what is on its way is sent again, and nothing before it.
        assert!(posted(&mut copy, &store, 1309, usize::MAX).is_empty());
        let again = posted(&mut copy, &store, 1310, usize::MAX);
        assert_eq!(again, (5..most + 5).collect::<Vec<_>>());
    }

    #[test]
    fn a_copy_spends_no_more_than_it_is_given() {
        let (store, mut copy) = copy_of(32 * PIECE_BYTES);
        posted(&mut copy, &store, 1000, 0);
        assert!(copy.received(arrived(1), 1001));
        assert!(posted(&mut copy, &store, 1002, 0).is_empty());
        assert_eq!(
            posted(&mut copy, &store, 1002, 1).len(),
            1,
            "a piece is sent whole"
        );
        let two = posted(&mut copy, &store, 1002, PIECE_BYTES + PIECE_BYTES / 2);
        assert_eq!(two.len(), 2);
    }

    #[test]
    fn copies_to_one_node_share_what_may_be_on_its_way() {
        let mut copies = [0, 1, 2].map(|_| copy_of(32 * PIECE_BYTES));
        let mut post = Post::default();
        let mut send = |copies: &mut [(Store, Outgoing)]| {
            let mut allowance = Allowance::of(usize::MAX);
            copies.iter().for_each(|(_, copy)| allowance.note(copy));
            for (store, copy) in copies.iter_mut() {
                copy.send(0, store, 1000, &mut allowance, &mut post);
            }
            assert!(!copies.iter().any(|(_, copy)| copy.has_more(&allowance)));
            assert!(
                allowance.has_room(NodeId([3; 20])),
                "others are not held up"
            );
            [0, 1, 2].map(|copy: usize| copies[copy].1.pieces.len())
        };
        let most = COPY_PIECES - PIECES;
        assert_eq!(send(&mut copies), [PIECES, most - 1, 1]);
        assert!(copies[2].1.received(arrived(1), 1010));
        assert_eq!(send(&mut copies), [PIECES, most, 0]);
        assert!(copies[0].1.received(arrived(8), 1020));
        assert_eq!(send(&mut copies), [PIECES, most, 0]);
    }

    #[test]
    fn a_receiver_that_has_everything_is_told_again() {
        let store = Store::new();
        let (group, machine) = (Group::new(1, &[1], 1), Machine::new(SlotSet::all()));
        let from = (&group, &machine, &store);
        let mut copy = Outgoing::new((2, NodeId([2; 20])), 7, from, 0);
        let (mut post, mut allowance) = (Post::default(), Allowance::of(usize::MAX));
        while copy.total.is_none() {
            copy.send(0, &store, 0, &mut allowance, &mut post);
        }
        let all = Received {
            shard: 0,
            to: 2,
            attempt: 7,
            pieces: copy.pieces.len() as u64,
        };
        assert!(copy.received(all, 100) && copy.is_there());
        let told = (100..5000).step_by(50).filter(|now_ms| {
            copy.send(0, &store, *now_ms, &mut allowance, &mut post);
            copy.tell_again(*now_ms)
        });
        assert_eq!(told.collect::<Vec<_>>(), [1100, 2100, 3100, 4100]);
        assert!(copy.is_lost(), "told so often, it has begun anew");
    }

    #[test]
    fn a_receiver_that_has_begun_anew_is_given_another_copy() {
        let store = Store::new();
        let (group, machine) = (Group::new(1, &[1], 1), Machine::new(SlotSet::all()));
        let mut copy = Outgoing::new((2, NodeId([2; 20])), 7, (&group, &machine, &store), 0);
        let (mut post, mut allowance) = (Post::default(), Allowance::of(usize::MAX));
        copy.send(0, &store, 0, &mut allowance, &mut post);
        let receipt = |pieces| Received {
            shard: 0,
            to: 2,
            attempt: 7,
            pieces,
        };
        assert!(copy.received(receipt(1), 100));
        // A late answer is followed by another.
        assert!(copy.received(receipt(0), 200) && copy.received(receipt(1), 300));
        assert!(copy.received(receipt(0), 1000) && copy.received(receipt(0), 1500));
        assert!(!copy.received(receipt(0), 1600));
    }
}
