//! A cluster of workers for tests, whose frames arrive as soon as they are sent.

use dht_proto::slot::{key_slot, shard_of};

use super::super::replica::Mode;
use super::super::task;
use super::*;
use crate::core::commands::testing;
use crate::core::formation::Terms;
use crate::core::meta::ClusterId;
use crate::core::node::Settings;

/// Nodes whose frames arrive at once, unless they are cut off.
pub struct Cluster {
    pub workers: Vec<Worker<u64>>,
    pub cut_off: Vec<usize>,
    pub now: Now,
    /// How fast the clock of each node runs, in per cent.
    pub rates: Vec<u64>,
    pub settled: Vec<(u64, Reply)>,
    pub seats: Vec<String>,
}

impl Cluster {
    /// Three nodes, or more, that form a cluster of four shards.
    pub fn new(count: u8) -> Self {
        let mut cluster = Self {
            workers: Vec::new(),
            cut_off: Vec::new(),
            now: testing::node().started,
            rates: vec![100; usize::from(count)],
            settled: Vec::new(),
            seats: (1..=count).map(|seat| format!("node{seat}")).collect(),
        };
        for seat in 0..usize::from(count) {
            let worker = cluster.start(seat as u8 + 1, seat);
            cluster.workers.push(worker);
        }
        cluster.link_all();
        cluster.pass(300);
        cluster
    }

    pub fn start(&self, id: u8, seat: usize) -> Worker<u64> {
        let settings = Settings {
            standalone: false,
            shards: 4,
            client: self.seats[seat].clone(),
            ..testing::node().settings
        };
        let node = Arc::new(Node::new(NodeId([id; 20]), settings, self.now));
        let terms = Terms {
            seats: self.seats.iter().cloned().collect(),
            shards: 4,
            copies: 3,
        };
        let me = node.settings.member(node.id);
        let formation = Formation::new(me, terms, ClusterId([id; 16]));
        Worker::new(node, formation, id.into(), self.now)
    }

    pub fn link_all(&mut self) {
        let nodes: Vec<NodeId> = self.workers.iter().map(|worker| worker.node.id).collect();
        for worker in &mut self.workers {
            for (node, seat) in nodes.iter().zip(&self.seats) {
                worker.link(*node, seat, true);
            }
        }
    }

    /// The node in a seat loses everything and comes back as another.
    pub fn restart(&mut self, seat: usize, id: u8) {
        let old = self.workers[seat].node.id;
        self.workers[seat] = self.start(id, seat);
        for worker in &mut self.workers {
            worker.link(old, &self.seats[seat], false);
        }
        self.link_all();
    }

    /// Lets every node have its turns until nothing is left to be delivered.
    pub fn settle(&mut self) {
        loop {
            let mut frames = Vec::new();
            for (index, worker) in self.workers.iter_mut().enumerate() {
                let mut out = Outbox::default();
                let now = clock(self.now, self.rates[index]);
                while worker.turn(now, &mut out) {}
                self.settled.append(&mut out.settled);
                frames.extend(out.frames.into_iter().map(|frame| (index, frame)));
            }
            if frames.is_empty() {
                return;
            }
            for (from, (to, frame)) in frames {
                let to = self.workers.iter().position(|worker| worker.node.id == to);
                let Some(to) = to else { continue };
                if !self.cut_off.contains(&from) && !self.cut_off.contains(&to) {
                    let from = self.workers[from].node.id;
                    let mut out = Outbox::default();
                    let now = clock(self.now, self.rates[to]);
                    self.workers[to].receive(from, &frame, now, &mut out);
                    self.settled.append(&mut out.settled);
                }
            }
        }
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            self.now.mono_ms += 10;
            self.now.unix_us += 10_000;
            self.settle();
        }
    }

    pub fn send(&mut self, node: usize, ticket: u64, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let mode = if words[0] == "GET" {
            Mode::Read
        } else {
            Mode::Write
        };
        let request = Request {
            shard: shard_of(key_slot(words[1].as_bytes()), 4) as u16,
            pending: Pending {
                task: task::command(&words),
                mode,
                deadline_mono_ms: self.now.mono_ms + 5000,
                ticket: Some(ticket),
            },
        };
        let mut out = Outbox::default();
        self.workers[node].request(request, &mut out);
        self.settled.append(&mut out.settled);
    }

    pub fn replies(&mut self) -> Vec<(u64, Reply)> {
        let mut replies = std::mem::take(&mut self.settled);
        replies.sort_by_key(|(ticket, _)| *ticket);
        replies
    }

    pub fn leader_of(&self, key: &str) -> usize {
        let shard = shard_of(key_slot(key.as_bytes()), 4) as u16;
        let leads = |index: &usize| {
            let replica = self.workers[*index].replica(shard);
            replica.is_some_and(|replica| replica.group.is_current())
        };
        let term = |index: &usize| self.workers[*index].replica(shard).unwrap().group.term();
        let leaders = (0..self.workers.len()).filter(leads);
        leaders.max_by_key(term).expect("a leader")
    }
}

pub fn clock(now: Now, rate: u64) -> Now {
    Now {
        mono_ms: now.mono_ms * rate / 100,
        ..now
    }
}
