//! The node's disk, as its replication sees it: what was found there at the start, what the shell
//! reports of it, and when snapshots are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use dht_proto::frame::Malformed;
use dht_proto::limits::COPIED_BYTES;
use dht_proto::topology::NodeId;

use super::{Outbox, Trouble, Worker};
use crate::core::disk::{Group, Recovered, Report, Who};
use crate::core::formation::{Belonging, Formation};
use crate::core::meta::{GroupId, Replica as Seat};
use crate::core::mutation::{self, Mutation};
use crate::core::node::Node;
use crate::core::replication::council::Council;
use crate::core::replication::courier::Room;
use crate::core::replication::keeper::Keeper;
use crate::core::replication::lease::TICK_MS;
use crate::core::replication::machine::Machine;
use crate::core::replication::mail::Mail;
use crate::core::replication::raft::PeerId;
use crate::core::replication::replica::{Files, Replica};
use crate::core::store::SlotSet;
use crate::core::time::Now;

/// Bytes of snapshots that are written in a tick.
const SAVE_BYTES: usize = COPIED_BYTES / 1000 * TICK_MS as usize;

/// Ticks after which a node without room says so again, and tries to hand leaderships over.
const ROOM_TICKS: u64 = 4;
/// Ticks for which it is believed that another node has no room.
const FULL_TICKS: u64 = 40;

/// What a node has found in its data directory.
#[derive(Debug)]
pub struct Restart {
    /// The log.
    pub recovered: Recovered,
    /// The state machines of the groups that start from a snapshot's file; their data is in the
    /// node's store already.
    pub machines: BTreeMap<Group, Machine>,
    /// The log may hold so many bytes of entries, or as many as there is data, before a snapshot
    /// is written.
    pub log_bytes: usize,
    /// Bytes of a piece of a snapshot's file, about.
    pub piece_bytes: usize,
}

/// What a worker knows of the disk.
#[derive(Default)]
pub struct Disk {
    /// Members that this node was and never will be again.
    gone: BTreeSet<Who>,
    /// See [`Restart::log_bytes`].
    log_bytes: usize,
    /// The shard of which a snapshot is being written.
    saving: Option<u16>,
    /// Shards whose snapshots a client has asked for.
    asked: Vec<u16>,
    /// There is no room for more than what has to be kept at any price.
    pub(super) is_full: bool,
    /// The other nodes of which the same is known, and until which tick it is believed.
    full_until: BTreeMap<NodeId, u64>,
    /// The group of which entries are missing that were durable.
    pub(super) lost: Option<Group>,
}

impl<T> Worker<T> {
    /// The worker of a node with a data directory, in which it may have found a cluster.
    ///
    /// # Errors
    /// What was found is damaged: which group, and how.
    pub fn recover(
        node: Arc<Node>,
        formation: Formation,
        seed: u64,
        now: Now,
        found: Restart,
    ) -> Result<Self, (Group, Malformed)> {
        let mut worker = Self::new(node, formation, seed, now);
        let Restart {
            recovered,
            mut machines,
            log_bytes,
            piece_bytes,
        } = found;
        worker.keeper = Keeper::new(recovered.next_batch);
        worker.files = Files::new(recovered.next_snapshot, piece_bytes);
        worker.disk.gone = recovered.gone;
        worker.disk.log_bytes = log_bytes;
        let Some(cluster) = recovered.cluster else {
            return Ok(worker);
        };
        let belonging = Belonging::decode(&cluster).map_err(|error| (0, error))?;
        let state = belonging.present.clone();
        worker.formation.resume(belonging);
        for (group, kept) in &recovered.groups {
            let seed = worker.random.next();
            let Some(shard) = group.checked_sub(1) else {
                let council = Council::recover(kept, now.mono_ms, seed);
                worker.council = Some(council.map_err(|error| (*group, error))?);
                continue;
            };
            let slots = SlotSet::new(vec![worker.node.slots_of(shard)]);
            let machine = machines.remove(group);
            let machine = match (kept.base.snapshot, machine) {
                (None, _) => Machine::new(slots),
                (Some(_), Some(machine)) => machine,
                (Some(_), None) => return Err((*group, Malformed("its snapshot is missing"))),
            };
            let replica = Replica::recover((shard, machine), kept, now.mono_ms, seed);
            while worker.shards.len() <= usize::from(shard) {
                worker.add_shard();
            }
            worker.shards[usize::from(shard)].replica =
                Some(replica.map_err(|error| (*group, error))?);
        }
        worker.enter(state);
        Ok(worker)
    }

    /// Takes what the shell says of the disk.
    pub fn report(&mut self, report: Report, now: Now, out: &mut Outbox<T>) {
        match report {
            Report::Durable(batch) => self.durable(batch, now, out),
            Report::Piece(file) => self.with_owner(file, now, out, Replica::saved_piece),
            Report::Saved(file) => {
                self.with_owner(file, now, out, Replica::saved);
                self.files.end(file);
            }
            Report::Unsaved(file) => {
                self.with_owner(file, now, out, Replica::unsaved);
                self.files.end(file);
            }
            Report::Room(has_room) => {
                self.disk.is_full = !has_room;
                self.node.is_full.store(!has_room, Relaxed);
                self.tell_room();
                self.note_reach();
            }
        }
    }

    fn durable(&mut self, batch: u64, now: Now, out: &mut Outbox<T>) {
        self.files.durable(batch);
        for waiting in self.keeper.durable(batch) {
            let Some(shard) = waiting.group.checked_sub(1) else {
                if let Some(council) = &mut self.council
                    && council.group.me() == waiting.peer
                {
                    council.persisted(waiting.ready, &mut self.post);
                }
                continue;
            };
            let replica = self.replica(shard);
            if replica.is_some_and(|replica| replica.group.me() == waiting.peer) {
                self.with_turn(shard, now, out, |replica, turn| {
                    replica.persisted(waiting.ready, turn);
                });
                self.mark(shard);
            }
        }
    }

    /// Tells the others whether there is room.
    fn tell_room(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        let others = state.members.iter().map(|member| member.id);
        for other in others.filter(|other| *other != self.node.id) {
            self.post.send(other, &Mail::Room(!self.disk.is_full));
        }
    }

    /// Another node says whether it has room.
    pub(super) fn hear_room(&mut self, from: NodeId, has_room: bool) {
        if has_room {
            self.disk.full_until.remove(&from);
        } else {
            let until = self.ticks + FULL_TICKS;
            self.disk.full_until.insert(from, until);
        }
        self.note_reach();
    }

    /// Whether a node's disk is full, as far as is known.
    pub(super) fn is_full(&self, node: NodeId) -> bool {
        if node == self.node.id {
            return self.disk.is_full;
        }
        let until = self.disk.full_until.get(&node);
        until.is_some_and(|until| *until > self.ticks)
    }

    /// Whether leaderships may be handed to a node.
    pub(super) fn has_room(&self, node: NodeId) -> bool {
        !self.is_full(node) && !self.reach.is_leaving(node)
    }

    /// How much room there is for the writes of a shard.
    pub(super) fn room(&self, shard: u16, leader: Option<NodeId>) -> Room {
        if !leader.is_some_and(|leader| self.is_full(leader)) {
            return Room::Enough;
        }
        let state = self.state.as_ref();
        let seats = state.map_or(&[][..], |state| state.replicas(GroupId::from(shard) + 1));
        let has_room = |seat: &Seat| self.reaches(seat.node) && self.has_room(seat.node);
        match seats.iter().any(has_room) {
            true => Room::Elsewhere,
            false => Room::Nowhere,
        }
    }

    /// Without room hands leaderships to those that have some, and goes on telling the others.
    pub(super) fn make_room(&mut self) {
        if !self.disk.is_full || !self.ticks.is_multiple_of(ROOM_TICKS) {
            return;
        }
        self.tell_room();
        let Some(state) = &self.state else {
            return;
        };
        let mut heirs = Vec::new();
        for (shard, at) in (0u16..).zip(&self.shards) {
            let replica = at.replica.as_ref().filter(|it| it.group.leads());
            let seats = state.replicas(GroupId::from(shard) + 1);
            let has_room = |seat: &&Seat| self.reaches(seat.node) && self.has_room(seat.node);
            let heir = seats.iter().filter(has_room).max_by_key(|seat| {
                let progress = replica.and_then(|it| it.group.progress(seat.peer));
                let is_free = !self.learning.contains_key(&seat.node);
                (is_free, progress.map(|at| at.matched))
            });
            heirs.extend(replica.and(heir).map(|heir| (shard, heir.peer)));
        }
        for (shard, heir) in heirs {
            if let Some(replica) = &mut self.shards[usize::from(shard)].replica {
                replica.hand_over(heir);
            }
        }
    }

    /// Lets the replica do something whose file this is.
    fn with_owner(
        &mut self,
        file: u64,
        now: Now,
        out: &mut Outbox<T>,
        act: impl FnOnce(&mut Replica<T>, u64, &mut super::Turn<'_, T>),
    ) {
        if let Some(shard) = self.files.owner(file) {
            self.with_turn(shard, now, out, |replica, turn| act(replica, file, turn));
            self.mark(shard);
        }
    }

    /// Whether a member is one that this node may be.
    pub(super) fn may_be(&self, group: Group, peer: PeerId) -> bool {
        !self.disk.gone.contains(&(group, peer)) || mutation::is(Mutation::NoTombstones)
    }

    /// Hands over what is to be written.
    pub(super) fn hand_over_files(&mut self, out: &mut Outbox<T>) {
        if self.keeper.keeps() {
            let stranger = self.formation.stranger();
            let stranger = stranger.map(|(mine, other)| Trouble::Stranger(mine, other));
            out.trouble = self.disk.lost.map(Trouble::Lost).or(stranger);
        }
        if out.batch.is_none() {
            out.batch = self.keeper.take();
        }
        out.saves.append(&mut self.files.saves);
    }

    /// Writes snapshots, of one shard at a time, while the log is long.
    pub(super) fn save(&mut self, now: Now, out: &mut Outbox<T>) {
        if !self.keeper.keeps() || self.disk.is_full {
            return;
        }
        let is_saving = |shard: &u16| {
            let replica = self.replica(*shard);
            replica.is_some_and(|replica| replica.kept().is_saving())
        };
        self.disk.saving = self.disk.saving.filter(is_saving);
        if self.node.saves.is_wanted.swap(false, Relaxed) {
            self.disk.asked = (0..self.shards.len() as u16).rev().collect();
        } else if self.disk.saving.is_none() && self.disk.asked.is_empty() {
            let saves = &self.node.saves;
            if saves.is_under_way.load(Relaxed) && !saves.is_wanted.load(Relaxed) {
                saves.last_s.store(now.unix_us / 1_000_000, Relaxed);
                saves.is_under_way.store(false, Relaxed);
            }
        }
        if self.disk.saving.is_none()
            && let Some(shard) = self.disk.asked.pop().or_else(|| self.longest())
        {
            self.disk.saving = Some(shard);
            self.with_turn(shard, now, out, Replica::save);
        }
        if let Some(shard) = self.disk.saving {
            let mut bytes = SAVE_BYTES;
            self.with_turn(shard, now, out, |replica, turn| {
                replica.go_on_saving(&mut bytes, turn);
            });
        }
    }

    /// The shard with most bytes in the log, if there are too many in all.
    fn longest(&self) -> Option<u16> {
        let replicas = (0u16..).zip(&self.shards);
        let kept = || {
            let replicas = replicas.clone();
            replicas.filter_map(|(shard, at)| Some((shard, at.replica.as_ref()?.kept())))
        };
        let logged: usize = kept().map(|(_, kept)| kept.logged_bytes()).sum();
        let saved: usize = kept().map(|(_, kept)| kept.file_bytes()).sum();
        if logged <= self.disk.log_bytes.max(saved) {
            return None;
        }
        let longest = kept().max_by_key(|(_, kept)| kept.logged_bytes());
        longest.map(|(shard, _)| shard)
    }
}
