//! The disk of a node: what survives its process. Its log is written and read as the node's shell
//! does it, on a virtual disk that keeps or loses what was not flushed sector by sector.

use std::collections::BTreeMap;

use dht_node::core::disk::journal::{Journal, Operation};
use dht_node::core::disk::recovery::Verdict;
use dht_node::core::disk::segment::Salt;
use dht_node::core::disk::{Batch, Group, Recovered, Save};
use dht_node::core::mutation;
use dht_node::core::node::Node;
use dht_node::core::replication::machine::Machine;
use dht_node::core::store::{SlotSet, Staging};
use dht_proto::topology::NodeId;

use super::sectors;
use crate::random::Random;

/// How often a place is sought at which damage can be noticed.
const TRIES: usize = 8;

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// Whose it is.
    pub owner: NodeId,
    salt: Salt,
    segment_bytes: u64,
    sectors: sectors::Disk,
    journal: Journal,
    /// What is being flushed: the number of a batch, and what has to be done for it.
    flushing: Option<(u64, Vec<Operation>)>,
    /// When everything that was given to it to be written in the background is written.
    pub busy_until_us: u64,
    /// It is slow until then.
    pub slow_until_us: u64,
    /// It has no room until then.
    pub full_until_us: u64,
    /// Not even for what is to be flushed.
    pub is_stuck: bool,
    /// Something that was durable was changed or lost.
    pub is_spoilt: bool,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(owner: NodeId, random: &mut Random) -> Self {
        let (salt, segment_bytes) = (Salt(random.next()), random.between(2_000, 30_000));
        Self {
            owner,
            salt,
            segment_bytes,
            sectors: sectors::Disk::default(),
            journal: Journal::new(salt, segment_bytes),
            flushing: None,
            busy_until_us: 0,
            slow_until_us: 0,
            full_until_us: 0,
            is_stuck: false,
            is_spoilt: false,
        }
    }

    /// Begins to flush a batch.
    ///
    /// # Panics
    /// Another one is being flushed, or this is not one that can follow.
    pub fn flush(&mut self, batch: &Batch) {
        let operations = self.journal.append(batch);
        let operations = operations.expect("it follows what was kept before");
        self.flushing = Some((batch.number, operations));
    }

    /// What was being flushed is durable.
    pub fn flushed(&mut self) {
        if let Some((number, operations)) = self.flushing.take() {
            self.sectors.execute(&operations);
            self.sectors.execute(&self.journal.durable(number));
        }
    }

    /// Does what is to be done to a file.
    pub fn save(&mut self, save: Save) {
        self.sectors.save(save);
    }

    /// The power has failed.
    pub fn lose(&mut self, random: &mut Random) {
        if let Some((_, operations)) = self.flushing.take() {
            let done = random.below(operations.len() + 1);
            self.sectors.execute(&operations[..done]);
        }
        self.sectors.cut_power(random);
    }

    /// Changes or loses something that was durable, so that a process which starts has to notice;
    /// says whether there was such a thing.
    pub fn spoil(&mut self, random: &mut Random) -> bool {
        for _ in 0..TRIES {
            let mut spoilt = self.sectors.clone();
            spoilt.spoil(random);
            // By a product without bugs.
            if mutation::without(|| self.damage_of(&spoilt)).is_some() {
                (self.sectors, self.is_spoilt) = (spoilt, true);
                return true;
            }
        }
        false
    }

    /// What a process that starts finds to be damaged.
    #[must_use]
    pub fn damage(&self) -> Option<&'static str> {
        self.damage_of(&self.sectors)
    }

    fn damage_of(&self, sectors: &sectors::Disk) -> Option<&'static str> {
        let found = sectors.read(self.salt, self.segment_bytes);
        if let Verdict::Damage(_, why) = found.verdict {
            return Some(why);
        }
        let mut kept = found.recovered.groups.values();
        let is_missing = |file| sectors.snapshot(file).is_none();
        let misses = kept.any(|kept| kept.base.snapshot.is_some_and(is_missing));
        misses.then_some("a snapshot is missing")
    }

    /// What the log says to a process that starts. Files that it does not name are removed.
    ///
    /// # Panics
    /// It is taken for damaged.
    #[must_use]
    pub fn read(&mut self) -> Recovered {
        let found = self.sectors.read(self.salt, self.segment_bytes);
        let is_sound = matches!(found.verdict, Verdict::Clean | Verdict::TornTail(_));
        assert!(is_sound, "after a power cut: {:?}", found.verdict);
        self.sectors.execute(&found.mending);
        self.journal = found.journal;
        let kept = || found.recovered.groups.values();
        let is_named = |file| kept().any(|kept| kept.base.snapshot == Some(file));
        self.sectors.keep_snapshots(is_named);
        found.recovered
    }

    /// The state machines in the files that a log names; their data goes to the store.
    ///
    /// # Panics
    /// A file is not what it was.
    #[must_use]
    pub fn load(&self, log: &Recovered, node: &Node) -> BTreeMap<Group, Machine> {
        let mut machines = BTreeMap::new();
        for (group, kept) in &log.groups {
            let file = kept.base.snapshot.map(|file| self.sectors.snapshot(file));
            let Some([head, data @ ..]) = file.flatten() else {
                continue;
            };
            let slots = node.slots_of(group - 1);
            let mut staging = Staging::new(slots.clone());
            let machine = Machine::decode(head, SlotSet::new(vec![slots]));
            for piece in data {
                staging.load(piece).expect("it was written so");
            }
            node.store.install(staging).expect("it is complete");
            machines.insert(*group, machine.expect("it was written so"));
        }
        machines
    }
}
