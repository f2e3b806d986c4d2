//! Several workers whose frames arrive at once, unless they are cut off.

use super::super::raft::PeerId;
use super::super::replica::Mode;
use super::super::task;
use super::keeping::Restart;
use super::*;
use crate::core::commands::testing;
use crate::core::disk::Recovered;
use crate::core::formation::Belonging;
use crate::core::formation::Terms;
use crate::core::meta::ClusterId;
use crate::core::node::Settings;
use dht_proto::Reply;
use dht_proto::limits::{ENTRIES_IN_FLIGHT, PIECE_BYTES, PIECES, WISHES};
use dht_proto::slot::{key_slot, shard_of};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes whose frames arrive at once, unless they are cut off.
pub struct Cluster {
    pub workers: Vec<Worker<u64>>,
    pub cut_off: Vec<usize>,
    pub now: Now,
    /// How fast the clock of each node runs, in per cent.
    rates: Vec<u64>,
    settled: Vec<(u64, Reply)>,
    /// The pieces of full copies that were sent.
    pieces: Vec<Piece>,
    /// How many turns all nodes together have had.
    turns: u64,
    seats: Vec<String>,
    copies: u32,
}

impl Cluster {
    /// Three nodes, or more, that form a cluster of four shards.
    pub fn new(count: u8) -> Self {
        Self::with_copies(count, 3)
    }

    /// The same with so many copies of each shard.
    pub fn with_copies(count: u8, copies: u32) -> Self {
        let mut cluster = Self {
            workers: Vec::new(),
            cut_off: Vec::new(),
            now: testing::node().started,
            rates: vec![100; usize::from(count)],
            settled: Vec::new(),
            pieces: Vec::new(),
            turns: 0,
            seats: (1..=count).map(|seat| format!("node{seat}")).collect(),
            copies,
        };
        for seat in 0..usize::from(count) {
            let worker = cluster.start(seat as u8 + 1, seat);
            cluster.workers.push(worker);
        }
        cluster.link_all();
        cluster.pass(300);
        cluster
    }

    fn start(&self, id: u8, seat: usize) -> Worker<u64> {
        let settings = Settings {
            standalone: false,
            backend: None,
            is_durable: false,
            has_file: false,
            shards: 4,
            client: self.seats[seat].clone(),
            ..testing::node().settings
        };
        let node = Arc::new(Node::new(NodeId([id; 20]), settings, self.now));
        let terms = Terms {
            seats: self.seats.iter().cloned().collect(),
            shards: 4,
            copies: self.copies,
        };
        let me = node.settings.member(node.id);
        let formation = Formation::new(me, terms, ClusterId([id; 16]));
        Worker::new(node, formation, id.into(), self.now)
    }

    fn link_all(&mut self) {
        let nodes: Vec<NodeId> = self.workers.iter().map(|worker| worker.node.id).collect();
        for worker in &mut self.workers {
            for (node, seat) in nodes.iter().zip(&self.seats) {
                worker.link(*node, seat, true);
            }
        }
    }

    /// The node in a seat loses everything and comes back as another.
    fn restart(&mut self, seat: usize, id: u8) {
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
                loop {
                    let before = out.frames.len();
                    let more = worker.turn(now, &mut out);
                    self.turns += 1;
                    for (_, frame) in &out.frames[before..] {
                        note_pieces((self.now.mono_ms, self.turns), frame, &mut self.pieces);
                    }
                    if !more {
                        break;
                    }
                }
                for long in std::mem::take(&mut out.long) {
                    worker.made(long.make(), now, &mut out);
                }
                take(&mut self.settled, &mut out);
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
                    take(&mut self.settled, &mut out);
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
        let shard = shard_of(key_slot(words[1].as_bytes()), 4) as u16;
        self.ask(node, ticket, shard, (task::command(&words), mode));
    }

    pub fn ask(&mut self, node: usize, ticket: u64, shard: u16, (task, mode): (Bytes, Mode)) {
        let request = Request {
            shard,
            pending: Pending {
                task,
                mode,
                deadline_mono_ms: self.now.mono_ms + 5000,
                ticket: Some(ticket),
            },
        };
        let mut out = Outbox::default();
        self.workers[node].request(request, &mut out);
        take(&mut self.settled, &mut out);
    }

    /// Groups that lack something, in the eyes of the node that knows of most.
    fn most_short(&self) -> usize {
        let short = |worker: &Worker<u64>| worker.node.short.load(Relaxed);
        self.workers.iter().map(short).max().unwrap_or_default()
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

/// A piece of a full copy on its way.
struct Piece {
    sent_ms: u64,
    /// In which turn of all nodes' turns.
    turn: u64,
    name: (u16, u64, u64),
    bytes: usize,
}

fn note_pieces((sent_ms, turn): (u64, u64), frame: &[u8], pieces: &mut Vec<Piece>) {
    let mut mails = Reader::new(frame);
    while !mails.is_empty() {
        if let Mail::Chunk(chunk) = mail::decode(&mut mails).unwrap() {
            pieces.push(Piece {
                sent_ms,
                turn,
                name: (chunk.shard, chunk.attempt, chunk.number),
                bytes: chunk.bytes.len(),
            });
        }
    }
}

fn clock(now: Now, rate: u64) -> Now {
    Now {
        mono_ms: now.mono_ms * rate / 100,
        ..now
    }
}

fn take(settled: &mut Vec<(u64, Reply)>, out: &mut Outbox<u64>) {
    let found = out.settled.drain(..);
    settled.extend(found.map(|(ticket, found)| (ticket, found.made())));
}

#[test]
fn any_node_takes_commands_and_every_replica_applies_them() {
    let mut cluster = Cluster::new(3);
    for node in 0..3 {
        cluster.send(node, node as u64, "INCR n");
    }
    cluster.settle();
    let mut values: Vec<Reply> = cluster
        .replies()
        .into_iter()
        .map(|(_, reply)| reply)
        .collect();
    values.sort_by_key(|reply| format!("{reply:?}"));
    assert_eq!(values, [Reply::Int(1), Reply::Int(2), Reply::Int(3)]);
    for node in 0..3 {
        cluster.send(node, node as u64, "GET n");
    }
    cluster.settle();
    assert!(
        cluster
            .replies()
            .iter()
            .all(|(_, reply)| *reply == Reply::bulk("3"))
    );
    cluster.pass(200);
    for worker in &cluster.workers {
        assert_eq!(worker.node.store.keys_in_slot(key_slot(b"n")), 1);
    }
}

#[test]
fn a_long_answer_comes_from_any_node() {
    let mut cluster = Cluster::new(3);
    let pairs: Vec<String> = (0..5000).map(|n| format!("{n} v")).collect();
    cluster.send(0, 0, &format!("HSET h {}", pairs.join(" ")));
    cluster.settle();
    cluster.replies();
    let shard = shard_of(key_slot(b"h"), 4) as u16;
    let many = [&["HKEYS", "h"][..], &["KEYS", "*"]];
    for number in 0..4999 {
        cluster.send(0, 0, &format!("SET {{h}}{number} v"));
    }
    cluster.pass(100);
    cluster.replies();
    let mut ticket = 0;
    for (node, words) in (0..3).flat_map(|node| many.map(|words| (node, words))) {
        for mode in [Mode::Read, Mode::OrderedRead] {
            ticket += 1;
            cluster.ask(node, ticket, shard, (task::command(words), mode));
        }
    }
    cluster.pass(100);
    let replies = cluster.replies();
    assert_eq!(replies.len() as u64, ticket);
    for (_, reply) in replies {
        assert_eq!(reply.into_items().map(|keys| keys.len()), Ok(5000));
    }
}

#[test]
fn who_answers_is_never_taken_for_silent() {
    let mut cluster = Cluster::new(3);
    for tick in 0..120 {
        cluster.pass(TICK_MS);
        for replica in (0..4).map(|shard| cluster.workers[0].replica(shard).unwrap()) {
            let voters = replica.group.conf().voters.clone();
            let is_active = |peer: &PeerId| replica.group.progress(*peer).unwrap().active;
            let is_led = replica.group.leads() && tick > 0;
            assert!(!is_led || voters.iter().all(is_active), "tick {tick}");
        }
    }
    assert_eq!(cluster.most_short(), 0);
    cluster.cut_off = vec![2];
    cluster.pass(3000);
    assert_ne!(cluster.most_short(), 0, "one is silent");
}

/// How many groups a node leads.
fn led_by(cluster: &Cluster, node: usize) -> usize {
    let worker = &cluster.workers[node];
    let leads = |shard: &u16| worker.replica(*shard).unwrap().group.leads();
    let meta = worker
        .council()
        .is_some_and(|council| council.group.leads());
    (0..4).filter(leads).count() + usize::from(meta)
}

#[test]
fn a_node_that_leaves_is_handed_nothing_back() {
    let mut cluster = Cluster::new(3);
    // Everybody leads what it is to lead.
    cluster.pass(3000);
    for node in 0..3 {
        assert_ne!(led_by(&cluster, node), 0, "node {node} leads something");
        let mut ms = 0;
        while !cluster.workers[node].leave() {
            cluster.pass(10);
            ms += 10;
        }
        assert!(ms <= 100, "after {ms} ms");
        for _ in 0..500 {
            cluster.pass(10);
            assert_eq!(led_by(&cluster, node), 0, "node {node}");
        }
        // It ends and comes back, and may lead again.
        cluster.restart(node, node as u8 + 10);
        cluster.pass(12_000);
        assert_ne!(led_by(&cluster, node), 0, "node {node} leads again");
    }
}

/// Sends reads to all nodes again and again for a time; gives for how long one was waited for.
fn longest_read_ms(cluster: &mut Cluster, key: &str, ms: u64) -> u64 {
    let (begun, mut longest, mut open) = (cluster.now.mono_ms, 0, BTreeSet::new());
    while cluster.now.mono_ms < begun + ms || !open.is_empty() {
        let now_ms = cluster.now.mono_ms;
        for node in 0..3 {
            let ticket = 3 * now_ms + node;
            cluster.send(node as usize, ticket, &format!("GET {key}"));
            open.insert(ticket);
        }
        cluster.pass(10);
        for (ticket, reply) in cluster.replies() {
            assert_eq!(reply, Reply::bulk("v"));
            assert!(open.remove(&ticket));
            longest = longest.max(cluster.now.mono_ms - ticket / 3);
        }
    }
    longest
}

#[test]
fn a_leadership_that_is_handed_over_holds_up_no_read() {
    let mut cluster = Cluster::new(3);
    cluster.pass(3000);
    cluster.send(0, 0, "SET k v");
    cluster.settle();
    cluster.replies();
    let shard = shard_of(key_slot(b"k"), 4) as u16;
    let (first, mut led_by) = (cluster.leader_of("k"), BTreeSet::new());
    for other in (0..3).filter(|node| *node != first) {
        let peer = cluster.workers[other].replica(shard).unwrap().group.me();
        let replica = cluster.workers[first].shards[usize::from(shard)]
            .replica
            .as_mut();
        replica.unwrap().hand_over(peer);
        let ms = longest_read_ms(&mut cluster, "k", 50);
        assert!(ms <= TICK_MS, "{ms} ms on the way there");
        led_by.insert(cluster.leader_of("k"));
        let ms = longest_read_ms(&mut cluster, "k", 3000);
        assert!(ms <= TICK_MS, "{ms} ms on the way back");
        assert_eq!(cluster.leader_of("k"), first);
    }
    assert_eq!(led_by.len(), 2, "both others have led");
    // The same when a node is told to end.
    cluster.workers[first].leave();
    let ms = longest_read_ms(&mut cluster, "k", 50);
    assert!(ms <= TICK_MS, "{ms} ms when it leaves");
    assert_ne!(cluster.leader_of("k"), first);
}

#[test]
fn who_is_being_given_copies_is_handed_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.pass(3000);
    let (first, shard) = (cluster.leader_of("k"), shard_of(key_slot(b"k"), 4));
    let other = (first + 1) % 3;
    let peer = cluster.workers[other].replica(shard as u16).unwrap();
    let peer = peer.group.me();
    let replica = cluster.workers[first].shards[shard].replica.as_mut();
    replica.unwrap().hand_over(peer);
    let (id, mut post) = (cluster.workers[first].node.id, Post::default());
    for _ in 0..80 {
        post.send(id, &Mail::Learns);
        for (_, frame) in post.take() {
            for node in (0..3).filter(|node| *node != first) {
                let mut out = Outbox::default();
                cluster.workers[node].receive(id, &frame, cluster.now, &mut out);
            }
        }
        cluster.pass(TICK_MS);
        assert_eq!(cluster.leader_of("k"), other);
    }
    cluster.pass(4000);
    assert_eq!(cluster.leader_of("k"), first, "when it has them");
}

#[test]
fn who_lacks_copies_says_so_until_it_has_them() {
    let mut cluster = Cluster::new(3);
    cluster.pass(3000);
    let value = "v".repeat(PIECE_BYTES / 2);
    for number in 0..10 * COPY_BYTES / value.len() {
        cluster.send(0, number as u64, &format!("SET {{a}}{number} {value}"));
        cluster.settle();
    }
    cluster.pass(500);
    let (leader, id) = (cluster.leader_of("{a}"), NodeId([9; 20]));
    let lost = (leader + 1) % 3;
    cluster.restart(lost, 9);
    let has_votes = |cluster: &Cluster| {
        let has_vote = |shard: &u16| {
            let replica = cluster.workers[lost].replica(*shard);
            replica.is_some_and(|it| it.group.conf().voters.contains(&it.group.me()))
        };
        (0..4).filter(has_vote).count()
    };
    let is_known =
        |cluster: &Cluster, node: usize| cluster.workers[node].learning.contains_key(&id);
    let (mut partly, others) = (0, [leader, (lost + 1) % 3]);
    for _ in 0..1000 {
        cluster.pass(TICK_MS);
        match has_votes(&cluster) {
            0 => (),
            4 => break,
            _ => {
                partly += 1;
                assert!(others.iter().all(|node| is_known(&cluster, *node)));
            }
        }
    }
    assert!(partly > 0, "it has had all copies at once");
    cluster.pass(6000);
    assert_eq!(has_votes(&cluster), 4);
    assert!(!others.iter().any(|node| is_known(&cluster, *node)));
    assert!(led_by(&cluster, lost) > 0);
}

/// It was on its way already when the receiver began to leave.
#[test]
fn a_leadership_that_comes_too_late_stays_where_it_was() {
    let mut cluster = Cluster::new(3);
    cluster.pass(3000);
    let leader = cluster.leader_of("k");
    let other = (leader + 1) % 3;
    let shard = shard_of(key_slot(b"k"), 4) as u16;
    let peer = cluster.workers[other].replica(shard).unwrap().group.me();
    while !cluster.workers[other].leave() {
        cluster.pass(10);
    }
    let at = &mut cluster.workers[leader].shards[usize::from(shard)];
    let replica = at.replica.as_mut().unwrap();
    replica.group.transfer(peer);
    assert!(replica.group.is_transferring());
    cluster.send(leader, 1, "SET k v");
    cluster.pass(550);
    assert_eq!(
        cluster.replies(),
        [(1, Reply::Ok)],
        "it does not wait for an election"
    );
    assert_eq!(cluster.leader_of("k"), leader);
}

#[test]
fn tasks_that_come_while_many_entries_are_on_their_way_share_the_next_one() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader_of("k");
    let shard = shard_of(key_slot(b"k"), 4) as u16;
    let last = |cluster: &Cluster| {
        cluster.workers[leader]
            .replica(shard)
            .unwrap()
            .group
            .last_index()
    };
    let before = last(&cluster);
    cluster.cut_off = vec![leader];
    for ticket in 0..10 * ENTRIES_IN_FLIGHT as u64 {
        cluster.send(leader, ticket, "INCR k");
        cluster.settle();
    }
    assert_eq!(last(&cluster), before + ENTRIES_IN_FLIGHT as u64);
    cluster.cut_off = vec![];
    cluster.pass(300);
    assert_eq!(cluster.replies().len(), 10 * ENTRIES_IN_FLIGHT);
    assert!(last(&cluster) <= before + ENTRIES_IN_FLIGHT as u64 + 2);
}

#[test]
fn only_so_many_clients_may_wait_for_changes_of_the_cluster() {
    let mut cluster = Cluster::with_copies(3, 1);
    let lost = cluster.leader_of("k");
    let shard = shard_of(key_slot(b"k"), 4) as u16;
    cluster.restart(lost, 9);
    cluster.pass(8000);
    // Nobody can decide anything.
    cluster.cut_off = vec![0, 1, 2];
    let (asked, meta) = ((lost + 1) % 3, cluster.workers[0].node.meta_shard());
    for ticket in 0..=WISHES as u64 {
        let task = task::command(&["CLUSTER", "EMPTY", &shard.to_string()]);
        cluster.ask(asked, ticket, meta, (task, Mode::Repeatable));
    }
    assert_eq!(cluster.replies(), [(WISHES as u64, not_done().into())]);
}

#[test]
fn what_was_acknowledged_survives_its_leader() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader_of("k");
    cluster.send(leader, 1, "SET k v");
    cluster.settle();
    assert_eq!(cluster.replies(), [(1, Reply::Ok)]);
    cluster.cut_off = vec![leader];
    let other = (leader + 1) % 3;
    cluster.send(other, 2, "GET k");
    cluster.send(leader, 3, "SET k lost");
    cluster.pass(2500);
    assert_eq!(cluster.replies(), [(2, Reply::bulk("v"))]);
    cluster.cut_off.clear();
    cluster.pass(1000);
    let replies = cluster.replies();
    assert_eq!(replies, [(3, Reply::Ok)], "tried again at the new leader");
    assert_ne!(cluster.leader_of("k"), leader);
}

#[test]
fn nobody_is_answered_without_a_majority() {
    let mut cluster = Cluster::new(3);
    cluster.cut_off = vec![1, 2];
    // What was granted before may still be read, but not for long.
    cluster.pass(600);
    cluster.send(0, 1, "SET k v");
    cluster.send(0, 2, "GET k");
    cluster.pass(4900);
    let unknown = cluster.replies();
    assert!(
        unknown
            .iter()
            .all(|(_, reply)| matches!(reply, Reply::Error(_))),
        "{unknown:?}"
    );
    cluster.pass(400);
    assert_eq!(unknown.len() + cluster.replies().len(), 2);
}

#[test]
fn a_read_is_never_unknown_though_it_waits_behind_a_write() {
    for at_leader in [true, false] {
        let mut cluster = Cluster::new(3);
        let leader = cluster.leader_of("k");
        let node = if at_leader { leader } else { (leader + 1) % 3 };
        // Opens the lane.
        cluster.send(node, 0, "SET k v");
        cluster.settle();
        assert_eq!(cluster.replies(), [(0, Reply::Ok)]);
        cluster.cut_off = vec![leader];
        let shard = shard_of(key_slot(b"k"), 4) as u16;
        let read = (task::command(&["GET", "k"]), Mode::OrderedRead);
        cluster.send(node, 1, "SET k w");
        cluster.ask(node, 2, shard, read);
        cluster.settle();
        cluster.cut_off = vec![0, 1, 2];
        cluster.pass(5400);
        let replies = cluster.replies();
        let [(1, Reply::Error(write)), (2, Reply::Error(read))] = &replies[..] else {
            panic!("{replies:?}");
        };
        assert!(write.to_string().starts_with("UNKNOWN"), "{write}");
        assert!(read.to_string().starts_with("CLUSTERDOWN"), "{read}");
    }
}

#[test]
fn a_cluster_is_safe_neither_before_it_is_formed_nor_when_a_link_is_lost() {
    let mut cluster = Cluster::new(3);
    cluster.pass(1500);
    assert_eq!(cluster.most_short(), 0);
    let gone = cluster.workers[2].node.id;
    for worker in &mut cluster.workers[..2] {
        worker.link(gone, "node3", false);
    }
    cluster.cut_off = vec![2];
    cluster.settle();
    let short = |cluster: &Cluster, node: usize| cluster.workers[node].node.short.load(Relaxed);
    assert!([0, 1].iter().all(|node| short(&cluster, *node) > 0));
    // A node that has just been started, and has found nobody.
    cluster.workers[2] = cluster.start(9, 2);
    for _ in 0..40 {
        cluster.pass(TICK_MS);
        assert!((0..3).all(|node| short(&cluster, node) > 0));
    }
}

#[test]
fn a_node_that_lost_everything_comes_back_as_a_new_member() {
    let mut cluster = Cluster::new(3);
    for number in 0..200 {
        cluster.send(0, number, &format!("SET key{number} {number}"));
    }
    cluster.pass(1500);
    assert_eq!(cluster.replies().len(), 200);
    assert_eq!(cluster.most_short(), 0);
    cluster.restart(1, 9);
    cluster.pass(1000);
    assert_ne!(cluster.most_short(), 0, "the copies are not there yet");
    cluster.pass(8000);
    let state = cluster.workers[0].state().cloned().unwrap();
    assert!(state.member(NodeId([9; 20])).is_some());
    for shard in 0..4 {
        let replica = |node: usize| cluster.workers[node].replica(shard).unwrap();
        let voters = &replica(0).group.conf().voters;
        assert!(
            voters.contains(&replica(1).group.me()),
            "shard {shard}: {voters:?}"
        );
        assert_eq!(voters.len(), 3);
    }
    assert_eq!(cluster.most_short(), 0);
    // With the new node, any other one may be lost.
    cluster.cut_off = vec![2];
    cluster.pass(2500);
    for number in 0..200 {
        cluster.send(1, number, &format!("GET key{number}"));
    }
    cluster.pass(500);
    for (number, reply) in cluster.replies() {
        assert_eq!(reply, Reply::bulk(number.to_string()));
    }
}

#[test]
fn a_full_copy_has_its_rate_goes_on_after_a_break_and_holds_up_no_write() {
    let mut cluster = Cluster::new(3);
    let value = "v".repeat(PIECE_BYTES / 2);
    let count = 5 * COPY_BYTES / value.len();
    for number in 0..count as u64 {
        cluster.send(0, number, &format!("SET {{a}}{number} {value}"));
        cluster.settle();
    }
    cluster.pass(500);
    assert_eq!(cluster.replies().len(), count);
    let lost = (cluster.leader_of("{a}") + 1) % 3;
    cluster.restart(lost, 9);
    let asked = (lost + 2) % 3;
    let (mut written, mut cut_at) = (0, None);
    for step in 0..1500 {
        cluster.pass(10);
        cluster.send(asked, 0, "INCR {a}n");
        cluster.settle();
        if cut_at.is_none() && cluster.pieces.len() > count / 4 {
            (cut_at, cluster.cut_off) = (Some(step), vec![lost]);
        }
        if cut_at.is_some_and(|at| step == at + 100) {
            cluster.cut_off.clear();
        }
        written += cluster.replies().len();
    }
    assert!(cut_at.is_some());
    assert!(
        written >= 1400,
        "{written} of 1500 writes are answered meanwhile"
    );
    assert_eq!(cluster.most_short(), 0, "the copy is there");
    let shard = shard_of(key_slot(b"{a}"), 4) as u16;
    let mut sent: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for piece in cluster.pieces.iter().filter(|piece| piece.name.0 == shard) {
        *sent.entry((piece.name.1, piece.name.2)).or_default() += 1;
    }
    let attempts: BTreeSet<u64> = sent.keys().map(|(attempt, _)| *attempt).collect();
    assert_eq!(attempts.len(), 1, "what has arrived is not sent again");
    let again = sent.values().filter(|times| **times > 1).count();
    assert!(
        (1..=PIECES).contains(&again),
        "{again} pieces were sent again"
    );
    // Between two ticks no more is sent than belongs to them, and what was on its way before.
    for first in &cluster.pieces {
        let later =
            |piece: &&Piece| (first.sent_ms..first.sent_ms + TICK_MS).contains(&piece.sent_ms);
        let bytes: usize = cluster
            .pieces
            .iter()
            .filter(later)
            .map(|piece| piece.bytes)
            .sum();
        let most = 2 * COPY_BYTES + (PIECES + 1) * PIECE_BYTES;
        assert!(bytes <= most, "{bytes} bytes at {}", first.sent_ms);
    }
    // In a turn it is still less, so that nobody waits for long for its end.
    let (mut seen, mut in_turn) = (BTreeSet::new(), BTreeMap::<u64, usize>::new());
    for piece in cluster.pieces.iter().filter(|it| seen.insert(it.name)) {
        *in_turn.entry(piece.turn).or_default() += piece.bytes;
    }
    let longest = in_turn.values().max().copied().unwrap_or_default();
    assert!(longest <= TURN_COPY_BYTES + PIECE_BYTES, "{longest} bytes");
    let bytes: usize = cluster.pieces.iter().map(|piece| piece.bytes).sum();
    let (first, last) = (&cluster.pieces[0], cluster.pieces.last().unwrap());
    let least_ms = (bytes / COPY_BYTES - 1) as u64 * TICK_MS;
    assert!(last.sent_ms - first.sent_ms >= least_ms);
}

#[test]
fn ticks_that_were_missed_are_not_made_up_for() {
    let mut cluster = Cluster::new(3);
    let before = cluster.workers[0].ticks;
    cluster.now.mono_ms += 100 * TICK_MS;
    let mut out = Outbox::default();
    while cluster.workers[0].turn(cluster.now, &mut out) {}
    assert_eq!(cluster.workers[0].ticks, before + 1);
}

#[test]
fn no_two_nodes_may_answer_reads_of_a_shard_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.rates = vec![100, 104, 96];
    let seed = 7;
    let mut random = Random::new(seed);
    let mut leased = [[false; 3]; 4];
    for _ in 0..24 {
        cluster.cut_off = (0..3).filter(|_| random.below(4) == 0).collect();
        for _ in 0..10 + random.below(190) {
            cluster.pass(10);
            for (shard, seen) in leased.iter_mut().enumerate() {
                let allowed = [0, 1, 2].map(|node: usize| {
                    let now = clock(cluster.now, cluster.rates[node]);
                    cluster.workers[node].node.words[shard].allows(now.mono_ms)
                });
                let count = allowed.iter().filter(|allowed| **allowed).count();
                assert!(count <= 1, "seed {seed}, shard {shard}: {allowed:?}");
                (0..3).for_each(|node| seen[node] |= allowed[node]);
            }
        }
    }
    let changed = leased.iter().filter(|seen| **seen == [true; 3]).count();
    assert!(changed > 0, "leadership has hardly moved: {leased:?}");
}

#[test]
fn a_shard_that_lost_its_only_copy_serves_again_once_it_is_given_up() {
    let mut cluster = Cluster::with_copies(3, 1);
    let lost = cluster.leader_of("k");
    let asked = (lost + 1) % 3;
    cluster.send(asked, 1, "SET k v");
    cluster.settle();
    assert_eq!(cluster.replies(), [(1, Reply::Ok)]);
    let shard = shard_of(key_slot(b"k"), 4) as u16;
    let meta = cluster.workers[0].node.meta_shard();
    let empty = |shard: &str| {
        (
            task::command(&["CLUSTER", "EMPTY", shard]),
            Mode::Repeatable,
        )
    };
    cluster.ask(asked, 2, meta, empty(&shard.to_string()));
    cluster.ask(asked, 3, meta, empty("4"));
    cluster.settle();
    let why = format!("Shard {shard} has a leader and has lost nothing");
    let refused = Reply::Error(dht_proto::ReplyError::Other(why.into()));
    let invalid = Reply::Error(dht_proto::ReplyError::err("Invalid shard"));
    assert_eq!(cluster.replies(), [(2, refused), (3, invalid)]);

    cluster.restart(lost, 9);
    cluster.pass(8000);
    cluster.send(asked, 4, "GET k");
    cluster.settle();
    assert_eq!(
        cluster.replies(),
        [(4, not_done().into())],
        "nothing is made up"
    );
    cluster.ask(asked, 5, meta, empty(&shard.to_string()));
    cluster.pass(1000);
    assert_eq!(cluster.replies(), [(5, Reply::Ok)]);
    cluster.send(asked, 6, "GET k");
    cluster.send(asked, 7, "SET k new");
    cluster.pass(1000);
    assert_eq!(cluster.replies(), [(6, Reply::Nil), (7, Reply::Ok)]);
    assert_eq!(cluster.leader_of("k"), lost);
}

#[test]
fn a_member_that_has_gone_is_nobody_when_its_node_is_back_whatever_state_it_has_kept() {
    let cluster = Cluster::new(3);
    let old = &cluster.workers[0];
    let state = old.state.clone().unwrap();
    let member = old.replica(0).unwrap().group.me();
    let council = old.council().unwrap().group.me();
    let start = |gone: &[_]| {
        let belonging = Belonging {
            founding: state.clone(),
            present: state.clone(),
        };
        let found = Restart {
            recovered: Recovered {
                gone: gone.iter().copied().collect(),
                cluster: Some(belonging.encode()),
                ..Recovered::default()
            },
            machines: BTreeMap::new(),
            log_bytes: 1 << 20,
            piece_bytes: 1 << 16,
        };
        let fresh = cluster.start(1, 0);
        let (node, formation) = (Arc::clone(&fresh.node), fresh.formation);
        let worker = Worker::recover(node, formation, 1, cluster.now, found);
        let mut worker: Worker<u64> = worker.unwrap();
        worker.turn(cluster.now, &mut Outbox::default());
        let shards = [0, 1].map(|shard| worker.replica(shard).is_some());
        (worker.council().is_some(), shards)
    };
    assert_eq!(start(&[]), (true, [true, true]));
    assert_eq!(start(&[(1, member)]), (true, [false, true]));
    assert_eq!(start(&[(0, council)]), (false, [true, true]));
}
