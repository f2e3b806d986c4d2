//! Looking at the replicas while the world goes on, for the checker that knows what they should be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::BytesMut;

use super::faults::group_of;
use super::process::Process;
use super::report::Found;
use super::tally::Fault;
use super::trace::hash;
use super::world::{Event, World};
use crate::check::replicas::{Copy, Replicas};

/// From one look at all logs to the next, in microseconds.
const LOOK_US: u64 = 200_000;
/// Of so many entries, the state after one is looked at.
const EVERY: u64 = 8;

/// What was seen so far.
pub struct Watch {
    /// Judges it.
    pub replicas: Replicas,
    /// What went wrong besides.
    pub wrong: Vec<Found>,
    /// How often the leader of a shard became another one.
    pub leader_changes: u64,
    /// Who leads each shard, as far as was seen: the term, and the life.
    leaders: Vec<Option<(u64, u32)>>,
    /// With which copies each shard has begun, the first of each time.
    founders: Vec<Vec<u64>>,
    /// The seat of each shard's last leader.
    before: Vec<Option<usize>>,
    /// How far each copy had applied when it was last looked at.
    applied: BTreeMap<Copy, u64>,
    /// Who is cut off as soon as there is a new leader.
    pub ambush: Option<Ambush>,
    /// Lives that have taken the place of others, and have not everything yet.
    pub joining: Vec<u32>,
}

/// Who is cut off, or ends, when a shard has a new leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambush {
    /// The new one.
    New,
    /// The one before.
    Old,
    /// The new one, and it ends.
    Crash,
    /// The new one, and all others end: of their votes they know what was flushed.
    Forget,
}

impl Watch {
    /// Nothing was seen of these shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            replicas: Replicas::default(),
            wrong: Vec::new(),
            leader_changes: 0,
            leaders: vec![None; shards],
            founders: vec![Vec::new(); shards],
            before: vec![None; shards],
            applied: BTreeMap::new(),
            ambush: None,
            joining: Vec::new(),
        }
    }

    /// Takes note of something wrong.
    pub fn wrong(&mut self, checker: &'static str, what: String) {
        self.wrong.push(Found { checker, what });
    }

    /// A process has come back with its log: what it knew besides may be lost.
    pub fn come_back(&mut self, process: &Process) {
        for shard in 0..self.leaders.len() as u16 {
            if let Some(replica) = process.worker.replica(shard) {
                let peer = replica.group.me();
                let copy = self.copy(process, shard, peer);
                self.replicas.came_back(copy);
            }
        }
    }

    /// A copy as it is judged: its shard has another number each time it has begun anew.
    fn copy(&mut self, process: &Process, shard: u16, peer: u64) -> Copy {
        let state = process.worker.state();
        let founder = state.map_or(0, |state| state.founders_of(shard));
        let shards = self.founders.len();
        let known = &mut self.founders[usize::from(shard)];
        if !known.contains(&founder) {
            known.push(founder);
            self.leaders[usize::from(shard)] = None;
        }
        // Names grow, and the state may be ahead of a copy that is still to go.
        let times = known.iter().enumerate();
        let times = times.filter(|(_, founder)| **founder <= peer);
        let last = times.max_by_key(|(_, founder)| **founder);
        let time = last.map_or(0, |(time, _)| time);
        Copy {
            shard: shard + (time * shards) as u16,
            peer,
        }
    }

    /// Which life leads a shard.
    #[must_use]
    pub fn leader(&self, shard: u16) -> Option<u32> {
        let (_, life) = (*self.leaders.get(usize::from(shard))?)?;
        Some(life)
    }
}

impl World {
    /// Looks at a process that has just had its turn.
    pub fn look_at(&mut self, life: u32) {
        let seat = self.lives[life as usize];
        let Some(process) = &self.seats[seat] else {
            return;
        };
        let watch = &mut self.watch;
        let mut elected = None;
        for shard in 0..self.plan.shards as u16 {
            let Some(replica) = process.worker.replica(shard) else {
                continue;
            };
            let group = &replica.group;
            let peer = group.me();
            let copy = watch.copy(process, shard, peer);
            if group.leads() && watch.replicas.leads((copy, life), group.term()) {
                elected = Some(shard);
                let term = group.term();
                self.trace.add(
                    self.now_us,
                    format_args!("{life} leads shard {shard} in term {term}"),
                );
                let before = watch.leaders[usize::from(shard)];
                if before.is_none_or(|(earlier, _)| earlier < term) {
                    watch.leaders[usize::from(shard)] = Some((term, life));
                    let other = before.is_some_and(|(_, before)| before != life);
                    watch.leader_changes += u64::from(other);
                }
            }
            let index = group.applied();
            if watch.applied.insert(copy, index) != Some(index) {
                watch.replicas.applied(copy, index, replica.machine.time);
                if index.is_multiple_of(EVERY) {
                    watch.replicas.state(copy, index, state(process, shard));
                }
            }
        }
        if let Some(shard) = elected {
            self.spring(shard, seat);
        }
    }

    /// There is a new leader of a shard, in a seat: somebody may be cut off.
    fn spring(&mut self, shard: u16, seat: usize) {
        self.clients.lull_until_us = 0;
        let led = self.watch.before[usize::from(shard)].replace(seat);
        let victim = match self.watch.ambush {
            Some(Ambush::New | Ambush::Crash | Ambush::Forget) => Some(seat),
            Some(Ambush::Old) => led.filter(|before| *before != seat),
            None => None,
        };
        if let Some(victim) = victim.filter(|_| !self.is_calm) {
            match self.watch.ambush.take() {
                Some(Ambush::Crash) => self.end(victim, Fault::Restart),
                Some(Ambush::Forget) => self.forget_votes(victim),
                _ => self.cut_off(victim),
            }
        }
    }

    /// Looks at all logs, and at who has come to have everything.
    pub fn look(&mut self) {
        self.queue.add(self.now_us + LOOK_US, Event::Look);
        for process in self.seats.iter().flatten() {
            for shard in 0..self.plan.shards as u16 {
                if let Some(replica) = process.worker.replica(shard) {
                    let peer = replica.group.me();
                    let entries = replica.group.committed_terms();
                    let entries = entries.map(|point| (point.index, point.term));
                    let copy = self.watch.copy(process, shard, peer);
                    self.watch.replicas.committed(copy, entries);
                }
            }
        }
        let joining = std::mem::take(&mut self.watch.joining);
        for life in joining {
            if self.is_whole(life) {
                self.tally.count(Fault::Replacement);
                self.trace
                    .add(self.now_us, format_args!("{life} has replaced another"));
            } else if self.process(life).is_some() {
                self.watch.joining.push(life);
            }
        }
    }

    /// Whether a process is a voter wherever it should be.
    fn is_whole(&self, life: u32) -> bool {
        let Some(process) = self.processes().find(|process| process.life == life) else {
            return false;
        };
        let Some(state) = process.worker.state() else {
            return false;
        };
        let mut hosted = state.hosted_by(process.node.id).peekable();
        hosted.peek().is_some()
            && hosted.all(|(group, peer)| {
                let members = self.processes().filter_map(|it| group_of(it, group));
                let current = members.filter(|member| member.is_current());
                let leader = current.max_by_key(|member| member.term());
                leader.is_some_and(|leader| leader.conf().voters.contains(&peer))
            })
    }

    /// Whether every shard has a leader, and all its copies have applied the same.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        let all_there = self.seats.iter().all(Option::is_some) && self.watch.joining.is_empty();
        all_there
            && (1..=self.plan.shards).all(|group| {
                let members = || self.processes().filter_map(|it| group_of(it, group));
                let leader = members().find(|member| member.is_current());
                leader.is_some_and(|leader| {
                    let (conf, index) = (leader.conf(), leader.last_index());
                    conf.learners.is_empty()
                        && conf.voters_outgoing.is_empty()
                        && conf.voters.len() == members().count()
                        && members().all(|member| member.applied() == index)
                })
            })
    }

    /// How far each group's members are, for the eye.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for process in self.processes() {
            let epoch = process.worker.state().map(|state| state.epoch);
            let _ = write!(text, "\n    life {} knows state {epoch:?}", process.life);
            for (number, group) in
                (0..=self.plan.shards).filter_map(|n| Some((n, group_of(process, n)?)))
            {
                let conf = group.conf();
                let _ = write!(
                    text,
                    "\n      group {number}: peer {} {} in term {}, applied {} of {}, voters {:?} \
                     + {:?}, learners {:?}",
                    group.me(),
                    if group.leads() { "leads" } else { "follows" },
                    group.term(),
                    group.applied(),
                    group.last_index(),
                    conf.voters,
                    conf.voters_outgoing,
                    conf.learners
                );
            }
        }
        text
    }

    /// Compares all copies as they are.
    pub fn compare_all(&mut self) {
        for process in self.seats.iter().flatten() {
            for shard in 0..self.plan.shards as u16 {
                if let Some(replica) = process.worker.replica(shard) {
                    let (peer, index) = (replica.group.me(), replica.group.applied());
                    let hash = state(process, shard);
                    let copy = self.watch.copy(process, shard, peer);
                    self.watch.replicas.state(copy, index, hash);
                }
            }
        }
    }
}

/// A hash of everything that a shard's replica has come to by applying its log.
fn state(process: &Process, shard: u16) -> u64 {
    let node = &process.node;
    let data = node.store.state_hash(node.slots_of(shard));
    let mut rest = BytesMut::new();
    if let Some(replica) = process.worker.replica(shard) {
        replica.machine.encode(&mut rest);
    }
    data ^ hash(&rest)
}
