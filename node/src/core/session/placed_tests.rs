//! Requests of native clients with a place in a session.

use bytes::{Bytes, BytesMut};
use dht_proto::rpc::{self, Meta, Place};
use dht_proto::{Reply, limits};

use super::line_tests::{Line, task};
use crate::core::client::Protocol;
use crate::core::commands::testing;
use crate::core::node::Node;
use crate::core::replication::machine::session_unknown;
use crate::core::replication::replica::Mode;
use crate::core::replication::task::{Task, placed};

const PLACE: Place = Place {
    session: 9,
    sequence: 4,
    acknowledged: 3,
};

fn line(node: Node) -> Line {
    Line::new(node, |client| client.protocol = Protocol::Native)
}

/// Sends a request with a place, and gives what is written at once.
fn send(line: &mut Line, command: &str) -> Vec<u8> {
    send_with(line, command, Meta::default().with_place(PLACE))
}

fn send_with(line: &mut Line, command: &str, meta: Meta) -> Vec<u8> {
    let words: Vec<&str> = command.split(' ').collect();
    let mut input = BytesMut::new();
    rpc::encode_request(7, &words, &meta, &mut input);
    line.receive(&mut input);
    std::mem::take(&mut line.effects.output).to_vec()
}

fn response(reply: &Reply) -> Vec<u8> {
    let mut out = BytesMut::new();
    rpc::encode_response(7, reply, false, &mut out);
    out.to_vec()
}

fn shows(output: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(output).contains(text)
}

#[test]
fn a_write_takes_its_place_along() {
    let mut line = line(testing::cluster());
    assert!(send(&mut line, "SET foo 1").is_empty());
    let place = placed(PLACE, &task("SET foo 1"));
    assert_eq!(line.asked(), [(2, Mode::Repeatable, place)]);
    line.settle(0, Reply::Ok);
    assert_eq!(line.effects.output.to_vec(), response(&Reply::Ok));
}

#[test]
fn a_read_needs_none() {
    let mut line = line(testing::cluster());
    send(&mut line, "GET foo");
    assert_eq!(line.asked(), [(2, Mode::Read, task("GET foo"))]);
    assert_eq!(
        send(&mut line, "PING"),
        response(&Reply::Status("PONG".into()))
    );
}

#[test]
fn what_is_split_has_none() {
    let mut line = line(testing::cluster());
    for command in ["MSET bar 1 foo 2", "FLUSHALL"] {
        let output = send(&mut line, command);
        assert!(shows(&output, "ERR a command that is split"), "{command}");
    }
    assert_eq!(line.asked(), []);
    send(&mut line, "DEL foo {foo}2");
    assert_eq!(line.asked().len(), 1, "both are of one shard");
}

#[test]
fn half_a_place_is_refused() {
    let mut line = line(testing::cluster());
    let half = Meta {
        session: Some(9),
        ..Meta::default()
    };
    let output = send_with(&mut line, "SET foo 1", half);
    assert!(shows(&output, "ERR a session and a sequence go together"));
    assert_eq!(line.asked(), []);
}

#[test]
fn a_number_has_a_limit() {
    let mut line = line(testing::cluster());
    let mut with = |sequence| {
        let meta = Meta {
            session: Some(9),
            sequence: Some(sequence),
            ..Meta::default()
        };
        send_with(&mut line, "SET foo 1", meta)
    };
    assert!(with(limits::SEQUENCE).is_empty());
    let refused = "ERR a sequence is at most 9223372036854775807";
    assert!(shows(&with(limits::SEQUENCE + 1), refused));
    assert!(shows(&with(u64::MAX), refused));
    assert_eq!(line.asked().len(), 1);
}

#[test]
fn a_node_that_is_alone_has_no_sessions() {
    let mut line = line(testing::node());
    let unknown = response(&session_unknown().into());
    assert_eq!(send(&mut line, "SET b 1"), unknown);
    assert_eq!(send(&mut line, "GET b"), response(&Reply::Nil));
    let output = send(&mut line, "CLUSTER SESSION 5");
    assert!(shows(&output, "ERR This node is alone"));
}

#[test]
fn a_session_is_opened_by_the_shard_of_the_slot() {
    let mut line = line(testing::cluster());
    let open = Task::Open.to_bytes();
    send(&mut line, "CLUSTER SESSION 0");
    send(&mut line, "CLUSTER SESSION 16383");
    let asked = |shard| (shard, Mode::Repeatable, Bytes::clone(&open));
    assert_eq!(line.asked(), [asked(0), asked(3)]);
    for slot in ["16384", "-1", "x"] {
        let output = send(&mut line, &format!("CLUSTER SESSION {slot}"));
        assert!(shows(&output, "ERR "), "{slot}");
    }
}

#[test]
fn a_request_that_waits_holds_up_no_other() {
    let mut line = line(testing::cluster());
    send(&mut line, "SET foo first");
    for number in 1..=limits::IN_FLIGHT {
        send(&mut line, "SET foo 1");
        line.settle(number, Reply::Ok);
    }
    line.effects.output.clear();
    let pong = response(&Reply::Status("PONG".into()));
    assert_eq!(send(&mut line, "PING"), pong);
    assert_eq!(line.session.in_flight(), 1);
}

#[test]
fn a_deadline_beyond_all_time_is_no_error() {
    let mut line = Line::new(testing::cluster(), |c| c.protocol = Protocol::Native);
    let mut input = BytesMut::new();
    let meta = Meta {
        deadline_ms: Some(u64::MAX),
        ..Meta::default()
    };
    rpc::encode_request(1, &["GET", "foo"], &meta, &mut input);
    line.receive(&mut input);
    assert_eq!(line.effects.asked[0].pending.deadline_mono_ms, u64::MAX);
}

#[test]
fn who_has_not_authenticated_sends_short_frames() {
    let set = |authenticated| {
        let mut line = Line::new(testing::node(), |client| {
            client.protocol = Protocol::Native;
            client.authenticated = authenticated;
        });
        let mut input = BytesMut::new();
        let value = vec![b'x'; limits::UNAUTHENTICATED_BYTES];
        let words = [b"SET".as_slice(), b"b", &value];
        rpc::encode_request(1, &words, &Meta::default(), &mut input);
        line.receive(&mut input);
        (line.effects.close, input.is_empty())
    };
    assert_eq!(set(true), (false, true));
    assert_eq!(set(false), (true, true));
}
