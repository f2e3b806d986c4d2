//! A virtual disk: what was not flushed when the power goes is kept or lost sector by sector.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dht_node::core::disk::Save;
use dht_node::core::disk::journal::Operation;
use dht_node::core::disk::recovery::{Found, Recovery};
use dht_node::core::disk::segment::Salt;

use crate::random::Random;

/// Bytes that are written together; even they may be torn.
const SECTOR: usize = 512;

/// The disk of one node.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The segments of the log, as a process sees them.
    segments: BTreeMap<u64, File>,
    /// Those that are removed, though not durably.
    removed: BTreeMap<u64, File>,
    /// Those whose names are durable.
    listed: BTreeSet<u64>,
    /// The files of snapshots that are complete, which means durable, in their pieces.
    snapshots: BTreeMap<u64, Vec<Bytes>>,
    /// Those that are not.
    unfinished: BTreeMap<u64, Vec<Bytes>>,
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
}

impl Disk {
    /// Does one thing after the other.
    pub fn execute(&mut self, operations: &[Operation]) {
        operations.iter().for_each(|operation| self.act(operation));
    }

    fn act(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(number) => {
                let old = self.segments.remove(number);
                let old = old
                    .or_else(|| self.removed.remove(number))
                    .unwrap_or_default();
                let new = File {
                    now: Vec::new(),
                    durable: old.durable,
                };
                self.segments.insert(*number, new);
            }
            Operation::Write {
                segment,
                offset,
                bytes,
            } => {
                let file = self.segments.entry(*segment).or_default();
                let (from, to) = (*offset as usize, *offset as usize + bytes.len());
                file.now.resize(file.now.len().max(to), 0);
                file.now[from..to].copy_from_slice(bytes);
            }
            Operation::Truncate { segment, length } => {
                let file = self.segments.entry(*segment).or_default();
                file.now.truncate(*length as usize);
            }
            Operation::Flush(segment) => {
                if let Some(file) = self.segments.get_mut(segment) {
                    file.durable.clone_from(&file.now);
                }
            }
            Operation::Remove(segment) => {
                if let Some(file) = self.segments.remove(segment) {
                    self.removed.insert(*segment, file);
                }
            }
            Operation::FlushDirectory => {
                self.removed.clear();
                self.listed = self.segments.keys().copied().collect();
            }
        }
    }

    /// Writes a part of a snapshot, or removes one.
    pub fn save(&mut self, save: Save) {
        match save {
            Save::Piece {
                snapshot,
                bytes,
                last,
            } => {
                let mut pieces = self.unfinished.remove(&snapshot).unwrap_or_default();
                pieces.push(bytes);
                let files = if last {
                    &mut self.snapshots
                } else {
                    &mut self.unfinished
                };
                files.insert(snapshot, pieces);
            }
            Save::Remove(snapshot) => {
                self.unfinished.remove(&snapshot);
                self.snapshots.remove(&snapshot);
            }
        }
    }

    /// A complete snapshot, in its pieces.
    #[must_use]
    pub fn snapshot(&self, number: u64) -> Option<&[Bytes]> {
        self.snapshots.get(&number).map(Vec::as_slice)
    }

    /// Removes all snapshots but some.
    pub fn keep_snapshots(&mut self, is_needed: impl Fn(u64) -> bool) {
        self.snapshots.retain(|number, _| is_needed(*number));
    }

    /// Reads the log.
    #[must_use]
    pub fn read(&self, salt: Salt, segment_bytes: u64) -> Found {
        let mut recovery = Recovery::new(salt, segment_bytes);
        for (number, bytes) in self.segments() {
            recovery.segment(number, bytes);
        }
        recovery.finish()
    }

    /// The segments in order, each with its bytes.
    pub fn segments(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.segments
            .iter()
            .map(|(number, file)| (*number, &file.now[..]))
    }

    /// The power goes: of what was not flushed each sector, each file's length and each name is
    /// kept or lost by itself.
    pub fn cut_power(&mut self, random: &mut Random) {
        self.unfinished.clear();
        let seen = std::mem::take(&mut self.segments);
        let removed = std::mem::take(&mut self.removed);
        for (number, file) in seen {
            if self.listed.contains(&number) || random.percent(50) {
                self.segments.insert(number, file.after_cut(random));
            }
        }
        for (number, file) in removed {
            if self.listed.contains(&number) && random.percent(50) {
                self.segments.insert(number, file.after_cut(random));
            }
        }
        self.listed = self.segments.keys().copied().collect();
    }

    /// Changes or loses something.
    pub fn spoil(&mut self, random: &mut Random) {
        let segments: Vec<(u64, usize)> = self
            .segments()
            .map(|(number, bytes)| (number, bytes.len()))
            .collect();
        let snapshots: Vec<u64> = self.snapshots.keys().copied().collect();
        if !snapshots.is_empty() && random.percent(30) {
            self.snapshots.remove(random.pick(&snapshots));
            return;
        }
        if segments.is_empty() {
            return;
        }
        let (segment, length) = *random.pick(&segments);
        match random.below(5) {
            0 => self.lose(segment),
            1 => self.shorten(segment, random.below(length + 1)),
            _ if length > 0 => self.flip(segment, random.below(8 * length)),
            _ => {}
        }
    }

    /// Changes a bit of a segment that was durable.
    pub fn flip(&mut self, segment: u64, bit: usize) {
        self.change(segment, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }

    /// Cuts a segment off that was durable.
    pub fn shorten(&mut self, segment: u64, length: usize) {
        self.change(segment, |bytes| bytes.truncate(length));
    }

    /// Loses a segment.
    pub fn lose(&mut self, segment: u64) {
        self.segments.remove(&segment);
        self.listed.remove(&segment);
    }

    fn change(&mut self, segment: u64, change: impl Fn(&mut Vec<u8>)) {
        if let Some(file) = self.segments.get_mut(&segment) {
            change(&mut file.now);
            file.durable.clone_from(&file.now);
        }
    }
}

impl File {
    fn after_cut(self, random: &mut Random) -> Self {
        let Self { now, durable } = self;
        let (short, long) = (now.len().min(durable.len()), now.len().max(durable.len()));
        let length = match random.below(3) {
            0 => now.len(),
            1 => durable.len(),
            _ => random.between(short as u64, long as u64) as usize,
        };
        let at = |bytes: &[u8], place: usize| bytes.get(place).copied().unwrap_or(0);
        let mut left = Vec::with_capacity(length);
        while left.len() < length {
            let sector = left.len()..length.min(left.len() + SECTOR);
            let new = match random.below(4) {
                0 => random.below(SECTOR),
                1 => 0,
                _ => SECTOR,
            };
            left.extend(sector.clone().map(|place| {
                let is_new = place - sector.start < new;
                at(if is_new { &now } else { &durable }, place)
            }));
        }
        Self {
            durable: left.clone(),
            now: left,
        }
    }
}
