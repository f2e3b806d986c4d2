//! Tests of a connection: bytes in, bytes and questions out.

use dht_proto::resp;

use super::*;
use crate::core::client::Door;
use crate::core::commands::testing::{self, Desk};
use crate::core::node::Settings;

/// Keys of shard 0, which this node leads and may read, and of shards 1 and 2.
const HERE: [&str; 2] = ["b", "hello"];
const THERE: [&str; 2] = ["bar", "foo"];

/// A connection and its node, driven by inline commands.
pub(super) struct Line {
    pub(super) desk: Node,
    pub(super) now: Now,
    pub(super) session: Session,
    pub(super) effects: Effects,
}

impl Line {
    pub(super) fn new(node: Node, change: impl FnOnce(&mut Client)) -> Self {
        let mut desk = Desk::at(node);
        change(&mut desk.client);
        let session = Session::new(desk.client, 1);
        desk.node.words[0].grant(u64::MAX);
        Self {
            desk: desk.node,
            now: desk.now,
            session,
            effects: Effects::default(),
        }
    }

    pub(super) fn send(&mut self, input: &str) -> Progress {
        self.receive(&mut BytesMut::from(input))
    }

    pub(super) fn receive(&mut self, input: &mut BytesMut) -> Progress {
        self.session
            .receive(&self.desk, self.now, input, &mut self.effects)
    }

    /// Answers the task that was asked as the so-many-eth.
    pub(super) fn settle(&mut self, asked: usize, reply: Reply) {
        if let Some(ticket) = self.effects.asked[asked].pending.ticket {
            self.session.settle(ticket, reply, &mut self.effects);
        }
    }

    pub(super) fn output(&mut self) -> String {
        String::from_utf8(self.output_bytes()).unwrap()
    }

    pub(super) fn output_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.effects.output).to_vec()
    }

    /// Which shard was asked for what, in which way.
    pub(super) fn asked(&self) -> Vec<(u16, Mode, Bytes)> {
        let asked = self.effects.asked.iter();
        asked
            .map(|asked| (asked.shard, asked.pending.mode, asked.pending.task.clone()))
            .collect()
    }

    fn set_here(&mut self, key: &str, value: &str) {
        let alone = Settings {
            standalone: true,
            ..self.desk.settings.clone()
        };
        let settings = std::mem::replace(&mut self.desk.settings, alone);
        self.send(&format!("SET {key} {value}\r\n"));
        self.desk.settings = settings;
        assert_eq!(self.output(), "+OK\r\n");
    }
}

pub(super) fn alone() -> Line {
    Line::new(testing::node(), |_| ())
}

pub(super) fn member() -> Line {
    Line::new(testing::cluster(), |_| ())
}

pub(super) fn task(line: &str) -> Bytes {
    task::command(&line.split(' ').collect::<Vec<_>>())
}

#[test]
fn all_that_has_arrived_is_answered_at_once_and_in_order() {
    let mut line = alone();
    line.send("SET b 1\r\nINCR b\r\nGET b\r\nPI");
    assert_eq!(line.output(), "+OK\r\n:2\r\n$1\r\n2\r\n");
    assert!(line.effects.asked.is_empty());
}

#[test]
fn hello_answers_in_the_version_that_it_chooses() {
    let mut line = alone();
    line.send("HELLO 3\r\n");
    assert!(line.output().starts_with("%7\r\n"));
    line.send("RESET\r\nGET b\r\n");
    assert_eq!(line.output(), "+RESET\r\n$-1\r\n");
}

#[test]
fn a_read_is_answered_here_only_under_a_lease() {
    let mut line = member();
    line.set_here("b", "1");
    line.send("GET b\r\n");
    assert_eq!(line.output(), "$1\r\n1\r\n");
    line.desk.words[0].clear();
    line.send("GET b\r\n");
    assert_eq!(line.asked(), [(0, Mode::Read, task("GET b"))]);
}

#[test]
fn a_snapshot_is_opened_by_who_applies_entries() {
    let mut line = member();
    line.send("CLUSTER SNAPSHOT 5\r\nSET bar 1\r\nCLUSTER SNAPSHOT 5061\r\n");
    let expect = [
        (0, Mode::Read, task("CLUSTER SNAPSHOT 5")),
        (1, Mode::Write, task("SET bar 1")),
        (1, Mode::OrderedRead, task("CLUSTER SNAPSHOT 5061")),
    ];
    assert_eq!(line.asked(), expect);
    let words = [&b"CLUSTER"[..], b"SNAPSHOT", b"5061"];
    let (store, watched) = (&line.desk.store, &line.desk.watched);
    let slots = SlotSet::new(vec![4096..=8191]);
    let logged = super::super::execute::on_slots(store, watched, &slots, (1, 1), &words);
    assert!(
        matches!(logged, Err(ReplyError::TryAgain(_))),
        "not on every replica"
    );
}

#[test]
fn a_key_that_is_due_by_the_clock_alone_is_read_through_the_log() {
    let mut line = member();
    line.set_here("b", "1 PX 100");
    let due_ms = line.now.unix_ms() + 101;
    line.now.unix_us = due_ms * 1000;
    line.send("GET b\r\n");
    assert_eq!(line.asked(), [(0, Mode::OrderedRead, task("GET b"))]);
    line.desk.words[0].advance(due_ms);
    line.settle(0, Reply::Nil);
    line.send("GET b\r\n");
    assert_eq!(line.output(), "$-1\r\n".repeat(2));
}

#[test]
fn a_key_that_is_due_in_its_shard_is_dead_beside_one_of_a_shard_that_is_behind() {
    let mut line = member();
    line.set_here("b", "1 PX 100");
    line.desk.words[0].advance(line.now.unix_ms() + 101);
    line.desk.words[1].grant(u64::MAX);
    line.send("MGET b bar\r\n");
    assert_eq!(line.output(), "*2\r\n$-1\r\n$-1\r\n");
}

#[test]
fn a_read_behind_an_unanswered_write_of_its_shard_keeps_its_place() {
    let mut line = member();
    line.send("SET b 2\r\nGET b\r\n");
    let write = (0, Mode::Write, task("SET b 2"));
    assert_eq!(line.asked(), [write, (0, Mode::OrderedRead, task("GET b"))]);
    line.settle(1, Reply::bulk("2"));
    line.settle(0, Reply::Ok);
    assert_eq!(line.output(), "+OK\r\n$1\r\n2\r\n");
    line.send("GET b\r\n");
    assert_eq!(line.output(), "$-1\r\n", "read here again");
}

#[test]
fn a_question_holds_back_the_replies_behind_it() {
    let mut line = member();
    line.send("PING\r\nGET foo\r\nGET b\r\nGET bar\r\nPING\r\n");
    assert_eq!(line.output(), "+PONG\r\n");
    let read = |shard, text| (shard, Mode::Read, task(text));
    assert_eq!(line.asked(), [read(2, "GET foo"), read(1, "GET bar")]);
    line.settle(1, Reply::Int(2));
    assert_eq!(line.output(), "", "the first one is still out");
    line.settle(0, Reply::Int(1));
    assert_eq!(line.output(), ":1\r\n$-1\r\n:2\r\n+PONG\r\n");
    assert_eq!(line.session.in_flight(), 0);
    line.settle(0, Reply::Int(1));
    assert_eq!(line.output(), "", "a ticket is settled once");
}

#[test]
fn commands_on_keys_of_several_shards_are_split_and_joined() {
    let mut line = member();
    line.set_here("b", "1");
    let keys = [THERE[0], HERE[0], THERE[1], HERE[1]].join(" ");
    line.send(&format!("MGET {keys}\r\n"));
    let read = |shard, text| (shard, Mode::Read, task(text));
    assert_eq!(line.asked(), [read(1, "MGET bar"), read(2, "MGET foo")]);
    let one = |text: &str| Reply::Array(vec![Reply::bulk(text)]);
    line.settle(1, one("foo"));
    line.settle(0, one("bar"));
    assert_eq!(
        line.output(),
        "*4\r\n$3\r\nbar\r\n$1\r\n1\r\n$3\r\nfoo\r\n$-1\r\n"
    );
}

#[test]
fn a_write_that_some_shards_refused_is_unknown() {
    let mut line = member();
    line.send("MSET b 1 foo 2\r\n");
    let write = |shard, text| (shard, Mode::Write, task(text));
    assert_eq!(line.asked(), [write(0, "MSET b 1"), write(2, "MSET foo 2")]);
    line.settle(0, Reply::Ok);
    line.settle(1, ReplyError::ClusterDown("no".into()).into());
    assert!(line.output().starts_with("-UNKNOWN "));
}

#[test]
fn a_key_without_its_value_is_refused_before_anything_is_split() {
    let mut line = member();
    line.send("MSET foo 1 b\r\n");
    let refused = "-ERR wrong number of arguments for 'mset' command\r\n";
    assert_eq!(line.output(), refused);
    assert!(line.effects.asked.is_empty());
}

#[test]
fn whole_commands_ask_every_shard_or_the_led_ones() {
    let mut line = member();
    line.send("FLUSHALL\r\nDBSIZE\r\n");
    let shards: Vec<u16> = line.asked().iter().map(|(shard, ..)| *shard).collect();
    assert_eq!(shards, [0, 1, 2, 3, 0, 1, 2, 3]);
    let mut line = Line::new(testing::cluster(), |client| client.door = Door::Redirect);
    let led = testing::cluster().view.load().topology.clone().unwrap();
    let led = led.shards.iter().filter(|shard| shard.leader == 0).count();
    line.send("FLUSHALL\r\n");
    assert_eq!(line.asked().len(), led);
    for word in &line.desk.words {
        word.grant(u64::MAX);
    }
    line.send("SCAN 0\r\n");
    (0..led).for_each(|asked| line.settle(asked, Reply::Ok));
    let refused = "-TRYAGAIN earlier commands of this connection are not answered yet\r\n";
    assert_eq!(line.output(), format!("+OK\r\n{refused}"));
    line.send("DBSIZE\r\nSCAN 0\r\n");
    assert_eq!(line.output(), ":0\r\n*2\r\n$1\r\n0\r\n*0\r\n");
}

#[test]
fn the_redirecting_door_says_where_to_go() {
    let mut line = Line::new(testing::cluster(), |client| client.door = Door::Redirect);
    line.send("GET foo\r\nDEL b hello\r\n");
    let output = line.output();
    let mut replies = output.split("\r\n");
    assert_eq!(replies.next(), Some("-MOVED 12182 [::1]:8403"));
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot";
    assert!(replies.next().unwrap().starts_with(crossed));
    // That a key lacks its value is found later, as in Redis.
    line.send("MSET foo 1 b\r\nMSET b 1 b\r\nMSET b\r\n");
    let output = line.output();
    let mut replies = output.split("\r\n");
    assert!(replies.next().unwrap().starts_with(crossed));
    let lacking = "-ERR wrong number of arguments for 'mset' command";
    assert_eq!(replies.next(), Some(lacking));
    assert_eq!(replies.next(), Some(lacking));
}

/// As in Redis after READONLY, and only reads; but none is answered from the copy.
#[test]
fn the_redirecting_door_sends_on_reads_of_what_the_node_has_a_copy_of() {
    let mut line = Line::new(testing::cluster(), |client| client.door = Door::Redirect);
    let mut view = View::clone(&line.desk.view.load());
    let topology = view.topology.as_mut().unwrap();
    let shard = topology.shard_of(12182);
    topology.shards[shard].replicas.push(0);
    line.desk.show(view);
    let moved = "-MOVED 12182 [::1]:8403\r\n";
    line.send("GET foo\r\n");
    assert_eq!(line.output(), moved);
    line.send("READONLY\r\nGET foo\r\n");
    let asked = (shard as u16, Mode::Read, task("GET foo"));
    assert_eq!(line.asked(), [asked]);
    line.settle(0, Reply::bulk("v"));
    line.send("MGET foo foo\r\n");
    assert_eq!(line.asked().len(), 2);
    line.settle(1, Reply::Array(Vec::new()));
    assert_eq!(line.output(), "+OK\r\n$1\r\nv\r\n*0\r\n");
    // Of the other slot it has no copy.
    line.send("SET foo 1\r\nWATCH foo\r\nGET bar\r\n");
    let other = "-MOVED 5061 127.0.0.1:8402\r\n";
    assert_eq!(line.output(), [moved, moved, other].concat());
    line.send("READWRITE\r\nGET foo\r\n");
    assert_eq!(line.output(), format!("+OK\r\n{moved}"));
}

/// Who is sent to a node that has gone fails, and asks where to go in vain until there is a leader.
#[test]
fn the_redirecting_door_sends_nobody_to_who_has_gone() {
    let mut line = Line::new(testing::cluster(), |client| client.door = Door::Redirect);
    let mut view = View::clone(&line.desk.view.load());
    let shard = view.topology.as_ref().unwrap().shard_of(12182) as u16;
    view.unled = [shard].into();
    line.desk.show(view);
    line.send("SET foo 1\r\nGET hello\r\n");
    assert_eq!(line.asked(), [(shard, Mode::Write, task("SET foo 1"))]);
}

#[test]
fn nothing_runs_before_the_password() {
    let mut line = Line::new(testing::node(), |client| client.authenticated = false);
    line.send("SET b 1\r\nLPUSH b 1\r\n");
    let refused = "-NOAUTH Authentication required.\r\n";
    assert_eq!(line.output(), refused.repeat(2));
    // What is wrong with a request is said first, as in Redis.
    line.send("nonsense\r\nGET\r\nAUTH\r\n");
    let wrong = |name| format!("-ERR wrong number of arguments for '{name}' command\r\n");
    let unknown = "-ERR unknown command 'nonsense', with args beginning with: \r\n";
    assert_eq!(
        line.output(),
        [unknown, &wrong("get"), &wrong("auth")].concat()
    );
    assert_eq!(line.desk.store.keys_in_slot(3300), 0);
}

#[test]
fn a_connection_closes_behind_its_last_reply() {
    let mut line = member();
    line.send("GET foo\r\nQUIT\r\nSET b 1\r\n");
    assert!(!line.effects.close);
    assert_eq!(line.asked().len(), 1);
    line.settle(0, Reply::Nil);
    assert_eq!(line.output(), "$-1\r\n+OK\r\n");
    assert!(line.effects.close);

    let mut line = member();
    line.send("*1\r\n!\r\nPING\r\n");
    assert_eq!(
        line.output(),
        "-ERR Protocol error: expected '$', got '!'\r\n"
    );
    assert!(line.effects.close);
}

#[test]
fn who_speaks_http_is_sent_away_without_an_answer() {
    for request in [
        "POST / HTTP/1.1\r\n",
        "Host: localhost\r\n",
        "*1\r\n$4\r\npOsT\r\n",
    ] {
        for authenticated in [true, false] {
            let mut line = Line::new(testing::node(), |client| {
                client.authenticated = authenticated;
            });
            line.send(&format!("{request}SET b 1\r\n"));
            assert_eq!(line.output(), "", "{request}");
            assert!(line.effects.attack && line.effects.close);
            assert_eq!(line.desk.store.keys_in_slot(3300), 0);
        }
    }
    let mut line = alone();
    line.send("SET post host:\r\nGET host:\r\n");
    assert_eq!(line.output(), "+OK\r\n$-1\r\n");
    assert!(!line.effects.attack);
}

#[test]
fn a_full_output_stops_the_intake_until_it_is_written() {
    let mut line = alone();
    let text = |n: usize| {
        format!(
            "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n${n}\r\n{}\r\n",
            "x".repeat(n)
        )
    };
    let mut input = BytesMut::from(text(limits::OUTPUT_SOFT_BYTES).as_str());
    input.extend_from_slice(b"GET b\r\nPING\r\n");
    assert_eq!(line.receive(&mut input), Progress::Blocked);
    assert_eq!(&input[..], b"PING\r\n");
    line.effects.output.clear();
    assert_eq!(line.receive(&mut input), Progress::Input);
    assert_eq!(line.output(), "+PONG\r\n");
}

#[test]
fn much_that_shards_have_not_answered_stops_the_intake() {
    for protocol in [Protocol::Resp2, Protocol::Native] {
        let mut line = Line::new(testing::cluster(), |client| client.protocol = protocol);
        let value = vec![b'x'; limits::IN_FLIGHT_BYTES / 2];
        let mut input = BytesMut::new();
        for _ in 0..4 {
            let set = [&b"SET"[..], b"foo", &value];
            match protocol {
                Protocol::Native => rpc::encode_request(1, &set, &rpc::Meta::default(), &mut input),
                _ => resp::encode_request(&set, &mut input),
            }
        }
        assert_eq!(line.receive(&mut input), Progress::Blocked);
        assert_eq!(line.asked().len(), 2);
        line.settle(0, Reply::Ok);
        line.settle(1, Reply::Ok);
        assert_eq!(line.receive(&mut input), Progress::Blocked);
        assert_eq!(line.asked().len(), 4);
        assert!(input.is_empty());
        line.settle(2, Reply::Ok);
        assert_eq!(line.receive(&mut input), Progress::Input);
    }
}

#[test]
fn native_requests_are_answered_by_id_in_any_order() {
    let mut line = Line::new(testing::cluster(), |c| c.protocol = Protocol::Native);
    let mut input = BytesMut::new();
    let meta = rpc::Meta {
        deadline_ms: Some(70),
        ..rpc::Meta::default()
    };
    rpc::encode_request(7, &["GET", "foo"], &meta, &mut input);
    rpc::encode_request(8, &["PING"], &meta, &mut input);
    line.receive(&mut input);
    let deadline_mono_ms = line.effects.asked[0].pending.deadline_mono_ms;
    assert_eq!(deadline_mono_ms, line.now.mono_ms + 70);
    let mut expect = BytesMut::new();
    rpc::encode_response(8, &Reply::Status("PONG".into()), false, &mut expect);
    assert_eq!(line.effects.output.to_vec(), expect);
    line.settle(0, Reply::Int(1));
    rpc::encode_response(7, &Reply::Int(1), false, &mut expect);
    assert_eq!(line.effects.output.to_vec(), expect);
    assert_eq!(line.session.in_flight(), 0);
}

#[test]
fn reads_are_counted_of_commands_that_write_as_well() {
    let mut line = alone();
    line.send("SET k v\r\nSET n 1\r\nHSET h f 1\r\n");
    for (command, counted) in [
        ("GETEX k", (1, 0)),
        ("GETEX none", (0, 1)),
        ("GETSET k 1", (1, 0)),
        ("SET k 1 GET", (1, 0)),
        ("SET k 1", (0, 0)),
        ("INCR n", (0, 0)),
        ("COPY k l", (1, 0)),
        ("COPY none l", (0, 1)),
        ("GETDEL l", (1, 0)),
        ("GETDEL l", (0, 1)),
        ("DUMP h", (1, 0)),
        ("MEMORY USAGE k", (0, 0)),
    ] {
        let before = line.desk.store.lookups.counts();
        line.send(&format!("{command}\r\n"));
        let after = line.desk.store.lookups.counts();
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            counted,
            "{command}"
        );
    }
}

#[test]
fn others_see_what_a_client_has_begun() {
    let mut line = alone();
    for (input, flags, multi) in [
        ("PING", "N", -1),
        ("CLIENT NO-EVICT ON", "e", -1),
        ("MULTI", "xe", 0),
        ("GET k", "xe", 1),
        ("CLIENT NO-EVICT OFF", "xe", 2),
        ("DISCARD", "e", -1),
        ("CLIENT NO-TOUCH ON", "eT", -1),
        ("RESET", "N", -1),
    ] {
        line.send(&format!("{input}\r\n"));
        let shown = line.session.client.facts.line(line.now);
        let expect = format!(" flags={flags} db=0 ");
        assert!(shown.contains(&expect), "{input}: {shown}");
        assert!(
            shown.contains(&format!(" multi={multi} ")),
            "{input}: {shown}"
        );
    }
}
