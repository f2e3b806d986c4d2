//! Snapshots on the disk: when a replica's log there has grown long, its state is written to a
//! file, a piece at a time while it changes; once that is durable the log may be cut.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use dht_proto::frame::Malformed;
use dht_proto::limits::PIECES;

use super::{Replica, Turn};
use crate::core::disk::{Kept, Record, Save};
use crate::core::mutation::{self, Mutation};
use crate::core::replication::keeper::Keeper;
use crate::core::replication::lease::Lease;
use crate::core::replication::machine::Machine;
use crate::core::replication::raft::persist::{self, Place};
use crate::core::replication::raft::{Copy, Group};
use crate::core::store::Snapshot;

/// The files of a node's snapshots: what is to be written, and which are of no use any more.
#[derive(Debug, Default)]
pub struct Files {
    /// To be handed to the shell.
    pub saves: Vec<Save>,
    /// The number of the next file.
    next: u64,
    /// Of which shard the files are that are being written.
    owners: BTreeMap<u64, u16>,
    /// Files that go once a batch is durable.
    doomed: Vec<(u64, u64)>,
    /// Bytes of a piece, about.
    piece_bytes: usize,
}

impl Files {
    /// No file has this number or a higher one; pieces have about so many bytes.
    #[must_use]
    pub const fn new(next: u64, piece_bytes: usize) -> Self {
        Self {
            saves: Vec::new(),
            next,
            owners: BTreeMap::new(),
            doomed: Vec::new(),
            piece_bytes,
        }
    }

    /// A number for a file of a shard.
    pub fn number(&mut self, shard: u16) -> u64 {
        let number = self.next;
        self.next += 1;
        self.owners.insert(number, shard);
        number
    }

    /// The shard whose file this is, if it is being written.
    #[must_use]
    pub fn owner(&self, file: u64) -> Option<u16> {
        self.owners.get(&file).copied()
    }

    /// A file is complete, or will never be.
    pub fn end(&mut self, file: u64) {
        self.owners.remove(&file);
    }

    /// A file is of no use.
    pub fn remove(&mut self, file: Option<u64>) {
        file.into_iter().for_each(|file| self.end(file));
        self.saves.extend(file.map(Save::Remove));
    }

    /// A file is of no use once a batch is durable.
    fn remove_after(&mut self, batch: u64, file: Option<u64>) {
        self.doomed.extend(file.map(|file| (batch, file)));
    }

    /// A batch is durable, and all before it.
    pub fn durable(&mut self, batch: u64) {
        let gone = self.doomed.extract_if(.., |(after, _)| *after <= batch);
        self.saves.extend(gone.map(|(_, file)| Save::Remove(file)));
    }
}

/// What is on the disk of a replica.
#[derive(Default)]
pub struct Saved {
    /// The file that its log starts from.
    file: Option<u64>,
    /// Bytes of that file.
    file_bytes: usize,
    /// Bytes of entries since.
    logged_bytes: usize,
    /// The file that is being written.
    saving: Option<Saving>,
}

/// A snapshot that is being written.
struct Saving {
    file: u64,
    copy: Copy,
    snapshot: Option<Snapshot>,
    /// The first piece, which is not written yet.
    head: Option<Bytes>,
    bytes: usize,
    /// Pieces that wait to be written.
    waiting: usize,
    /// Bytes of entries when it was begun.
    logged_bytes: usize,
}

impl Saved {
    /// A replica that starts from this file.
    #[must_use]
    pub fn at(file: Option<u64>, logged_bytes: usize) -> Self {
        Self {
            file,
            logged_bytes,
            ..Self::default()
        }
    }

    /// Entries with so many bytes come to the log.
    pub const fn logged(&mut self, bytes: usize) {
        self.logged_bytes += bytes;
    }

    /// Bytes of entries that are read again when the node restarts.
    #[must_use]
    pub const fn logged_bytes(&self) -> usize {
        self.logged_bytes
    }

    /// Bytes of the file that the log starts from.
    #[must_use]
    pub const fn file_bytes(&self) -> usize {
        self.file_bytes
    }

    /// Whether a file is being written.
    #[must_use]
    pub const fn is_saving(&self) -> bool {
        self.saving.is_some()
    }
}

impl<T> Replica<T> {
    /// The replica that was kept, with the state machine of its file, whose data is in the store
    /// already.
    ///
    /// # Errors
    /// What was kept is damaged.
    pub fn recover(
        (shard, machine): (u16, Machine),
        kept: &Kept,
        now_mono_ms: u64,
        seed: u64,
    ) -> Result<Self, Malformed> {
        let mut replica = Self::new((shard, machine.slots.clone()), (1, &[]), now_mono_ms, seed);
        replica.group = Group::recover(kept, replica.random.next())?;
        replica.lease = Lease::of_restored(now_mono_ms);
        replica.machine = machine;
        replica.is_restored = true;
        let logged = kept.entries.iter().map(|(_, bytes)| bytes.len()).sum();
        replica.kept = Saved::at(kept.base.snapshot, logged);
        Ok(replica)
    }

    /// From now on what this replica has to remember is kept on a disk, if there is one.
    pub fn keep(&mut self, keeper: &mut Keeper) {
        if keeper.keeps() {
            self.group.keep();
            let who = (self.shard + 1, self.group.me());
            let birth = self.group.birth();
            keeper.record(|| Record::Start(who, persist::base_at(&birth, &Place::Birth)));
        }
    }

    /// Everything up to a turn of the engine is durable.
    pub fn persisted(&mut self, ready: u64, turn: &mut Turn<'_, T>) {
        let messages = self.group.persisted(ready);
        self.say(messages, turn);
    }

    /// What is on the disk of it.
    #[must_use]
    pub const fn kept(&self) -> &Saved {
        &self.kept
    }

    /// Begins to write a snapshot of what is applied.
    pub fn save(&mut self, turn: &mut Turn<'_, T>) {
        let slots = self.machine.slots.iter();
        let (first, last) = (slots.min(), self.machine.slots.iter().max());
        if self.kept.is_saving() || self.group.applied() == 0 {
            return;
        }
        self.kept.saving = Some(Saving {
            file: turn.files.number(self.shard),
            copy: self.group.copy_point(),
            snapshot: first
                .zip(last)
                .map(|(first, last)| turn.store.begin_snapshot(first..=last)),
            head: Some(head(&self.machine)),
            bytes: 0,
            waiting: 0,
            logged_bytes: self.kept.logged_bytes,
        });
    }

    /// Goes on writing, as long as there are bytes to spend.
    pub fn go_on_saving(&mut self, bytes: &mut usize, turn: &mut Turn<'_, T>) {
        let Some(saving) = &mut self.kept.saving else {
            return;
        };
        while saving.waiting < PIECES && *bytes > 0 && !saving.is_over() {
            let piece = saving.next_piece(turn);
            *bytes = bytes.saturating_sub(piece.len());
            saving.bytes += piece.len();
            saving.waiting += 1;
            turn.files.saves.push(Save::Piece {
                snapshot: saving.file,
                bytes: piece,
                last: saving.is_over(),
            });
        }
    }

    /// A piece of a file of this replica was written.
    pub fn saved_piece(&mut self, file: u64, turn: &mut Turn<'_, T>) {
        if let Some(saving) = self.kept.saving.as_mut().filter(|it| it.file == file) {
            saving.waiting = saving.waiting.saturating_sub(1);
        }
        self.written(file, false, turn);
    }

    /// A file of this replica is durable: if it is a snapshot, the log may be cut.
    pub fn saved(&mut self, file: u64, turn: &mut Turn<'_, T>) {
        self.written(file, true, turn);
        let Some(saving) = self.kept.saving.take_if(|saving| saving.file == file) else {
            return;
        };
        let copy = if mutation::is(Mutation::CutTooFar) {
            self.group.copy_point()
        } else {
            saving.copy
        };
        let who = (self.shard + 1, self.group.me());
        let base = persist::base_at(&copy, &Place::File(file));
        let batch = turn.keeper.record(|| Record::Cut(who, base));
        turn.files.remove_after(batch, self.kept.file.replace(file));
        self.kept.file_bytes = saving.bytes;
        self.kept.logged_bytes = self.kept.logged_bytes.saturating_sub(saving.logged_bytes);
    }

    /// A file of this replica could not be written.
    pub fn unsaved(&mut self, file: u64, turn: &mut Turn<'_, T>) {
        self.kept.saving.take_if(|saving| saving.file == file);
        self.unwritten(file, turn);
    }

    /// Everything is as in a full copy, which is in this file: says where it is on the disk.
    pub(super) fn replaced(&mut self, file: Option<u64>, turn: &mut Turn<'_, T>) -> Place {
        let Some(file) = file else {
            return Place::Birth;
        };
        turn.files
            .remove(self.kept.saving.take().map(|saving| saving.file));
        // The record goes into the batch that gathers now.
        let batch = turn.keeper.number();
        turn.files.remove_after(batch, self.kept.file.replace(file));
        self.kept.logged_bytes = 0;
        Place::File(file)
    }

    /// This replica is dropped, and will never be again.
    pub(super) fn forget(&mut self, turn: &mut Turn<'_, T>) {
        turn.files
            .remove(self.kept.saving.take().map(|saving| saving.file));
        let who = (self.shard + 1, self.group.me());
        let batch = turn.keeper.record(|| Record::Gone(who));
        turn.files.remove_after(batch, self.kept.file.take());
    }
}

/// The state machine without its data.
fn head(machine: &Machine) -> Bytes {
    let mut head = BytesMut::new();
    if mutation::is(Mutation::BareSnapshot) {
        Machine {
            time: machine.time,
            ..Machine::new(machine.slots.clone())
        }
        .encode(&mut head);
    } else {
        machine.encode(&mut head);
    }
    head.freeze()
}

impl Saving {
    const fn is_over(&self) -> bool {
        self.head.is_none() && self.snapshot.is_none()
    }

    fn next_piece<T>(&mut self, turn: &Turn<'_, T>) -> Bytes {
        if let Some(head) = self.head.take() {
            return head;
        }
        let budget = turn.files.piece_bytes;
        let mut piece = Vec::with_capacity(budget);
        let is_over = self
            .snapshot
            .as_mut()
            .is_none_or(|snapshot| turn.store.snapshot_step(snapshot, budget, &mut piece));
        if is_over {
            self.snapshot = None;
        }
        piece.into()
    }
}
