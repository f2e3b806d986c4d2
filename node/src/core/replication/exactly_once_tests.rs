//! Sessions of clients in a cluster of three nodes: retries through other nodes, after the leader
//! is gone, and too late.

use bytes::Bytes;
use dht_proto::limits::SESSION_WINDOW;
use dht_proto::slot::{key_slot, shard_of};
use dht_proto::{Reply, ReplyError};

use super::machine::session_unknown;
use super::replica::{Mode, in_flight};
use super::task::{self, Place, Task};
use super::worker::testing::Cluster;

/// A client's session with the shard of the key `n`.
struct Sender {
    cluster: Cluster,
    shard: u16,
    session: u64,
    leader: usize,
}

impl Sender {
    fn new() -> Self {
        let mut cluster = Cluster::new(3);
        let shard = shard_of(key_slot(b"n"), 4) as u16;
        let leader = cluster.leader_of("n");
        let open = (Task::Open.to_bytes(), Mode::Repeatable);
        cluster.ask((leader + 1) % 3, 0, shard, open);
        cluster.settle();
        let replies = cluster.replies();
        let [(0, Reply::Array(parts))] = &replies[..] else {
            panic!("no session: {replies:?}");
        };
        let Reply::Int(id) = parts[0] else {
            panic!("{parts:?}");
        };
        let slots = [4096 * i64::from(shard), 4096 * i64::from(shard) + 4095];
        assert_eq!(parts[1..], slots.map(Reply::Int));
        Self {
            cluster,
            shard,
            session: id as u64,
            leader,
        }
    }

    fn incr(&self, sequence: u64) -> Bytes {
        let place = Place {
            session: self.session,
            sequence,
            acknowledged: 0,
        };
        task::placed(place, &task::command(&["INCR", "n"]))
    }

    /// Sends an increment through a node, under a ticket.
    fn send(&mut self, node: usize, ticket: u64, sequence: u64) {
        let task = (self.incr(sequence), Mode::Repeatable);
        self.cluster.ask(node, ticket, self.shard, task);
    }

    fn value(&mut self, node: usize) -> Reply {
        self.cluster.send(node, 99, "GET n");
        self.cluster.pass(100);
        self.cluster.replies().remove(0).1
    }
}

#[test]
fn a_write_that_two_nodes_bring_is_executed_once() {
    let mut sender = Sender::new();
    for node in 0..3 {
        sender.send(node, node as u64, 1);
    }
    sender.cluster.settle();
    let one = |ticket| (ticket, Reply::Int(1));
    assert_eq!(sender.cluster.replies(), [one(0), one(1), one(2)]);
    assert_eq!(sender.value(0), Reply::bulk("1"));
}

#[test]
fn a_retry_after_the_leader_is_gone_gets_the_first_answer() {
    let mut sender = Sender::new();
    let leader = sender.leader;
    sender.send(leader, 1, 1);
    sender.cluster.settle();
    assert_eq!(sender.cluster.replies(), [(1, Reply::Int(1))]);
    sender.cluster.cut_off = vec![leader];
    sender.send((leader + 1) % 3, 2, 1);
    sender.send((leader + 2) % 3, 3, 2);
    sender.cluster.pass(2500);
    let replies = sender.cluster.replies();
    assert_eq!(replies, [(2, Reply::Int(1)), (3, Reply::Int(2))]);
}

#[test]
fn what_a_cut_off_leader_took_is_done_once_when_it_comes_back() {
    let mut sender = Sender::new();
    let leader = sender.leader;
    sender.cluster.cut_off = vec![leader];
    sender.send(leader, 1, 1);
    sender.send((leader + 1) % 3, 2, 1);
    sender.cluster.pass(2500);
    assert_eq!(sender.cluster.replies(), [(2, Reply::Int(1))]);
    sender.cluster.cut_off.clear();
    sender.cluster.pass(1000);
    assert_eq!(sender.cluster.replies(), [(1, Reply::Int(1))]);
    assert_eq!(sender.value(leader), Reply::bulk("1"));
}

#[test]
fn what_a_full_copy_covers_is_asked_for_again_where_that_is_harmless() {
    let mut sender = Sender::new();
    let leader = sender.leader;
    sender.cluster.cut_off = vec![leader];
    sender.send(leader, 1, 1);
    sender.cluster.send(leader, 2, "INCR {n}plain");
    sender.cluster.pass(2500);
    // More than the others keep for one that is not there.
    let value = "x".repeat(8192);
    for number in 0..100 {
        let line = format!("SET {{n}}{number} {value}");
        sender.cluster.send((leader + 1) % 3, 100 + number, &line);
        sender.cluster.settle();
    }
    assert_eq!(sender.cluster.replies().len(), 100);
    sender.cluster.cut_off.clear();
    sender.cluster.pass(1500);
    let replies = sender.cluster.replies();
    assert_eq!(replies[0], (1, Reply::Int(1)));
    assert_eq!(text(&replies[1].1), in_flight().to_string());
    assert_eq!(sender.value(leader), Reply::bulk("1"));
}

#[test]
fn the_window_has_an_edge() {
    let mut sender = Sender::new();
    let window = SESSION_WINDOW as u64;
    for sequence in 1..=window {
        sender.send(sender.leader, sequence, sequence);
    }
    sender.cluster.pass(200);
    assert_eq!(sender.cluster.replies().len(), SESSION_WINDOW);
    sender.send(0, 1, 1);
    sender.cluster.pass(100);
    assert_eq!(sender.cluster.replies(), [(1, Reply::Int(1))]);

    sender.send(0, 1, window + 1);
    sender.cluster.pass(100);
    sender.send(1, 2, 1);
    sender.send(1, 3, 2);
    sender.cluster.pass(100);
    let replies = sender.cluster.replies();
    let unknown = Reply::Error(session_unknown());
    assert_eq!(replies[0], (1, Reply::Int(window as i64 + 1)));
    assert_eq!(text(&replies[1].1), text(&unknown));
    assert_eq!(replies[2], (3, Reply::Int(2)));
    assert_eq!(sender.value(2), Reply::bulk((window + 1).to_string()));
}

#[test]
fn an_unknown_session_executes_nothing() {
    let mut sender = Sender::new();
    sender.session += 1;
    for node in 0..3 {
        sender.send(node, node as u64, 1);
    }
    sender.cluster.pass(100);
    let unknown = Reply::Error(session_unknown());
    for (_, reply) in sender.cluster.replies() {
        assert_eq!(text(&reply), text(&unknown));
    }
    assert_eq!(sender.value(0), Reply::Nil);
}

/// An error that has come from another node is known by its text alone.
fn text(reply: &Reply) -> String {
    let Reply::Error(error) = reply else {
        panic!("{reply:?}");
    };
    assert!(matches!(
        error,
        ReplyError::Unknown(_) | ReplyError::Received(_)
    ));
    error.to_string()
}
