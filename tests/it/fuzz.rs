//! Hostile bytes at everything that reads them: a million inputs each, made from valid ones.
//!
//! The inputs follow from a seed, which is printed; `SEED=… cargo nextest run fuzz` repeats a run.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use dht_node::core::client::{Client, Door, Facts, Protocol};
use dht_node::core::formation::{Formation, FormationMessage, Terms};
use dht_node::core::meta::ClusterId;
use dht_node::core::node::{Aside, Node, Permission, Settings};
use dht_node::core::replication::machine::Answer;
use dht_node::core::replication::mail::{Answered, Chunk, Led, Mail, Number, Post, Received, Sent};
use dht_node::core::replication::worker::{Outbox, Worker};
use dht_node::core::replication::{raft, task};
use dht_node::core::session::{Effects, Session};
use dht_node::core::time::Now;
use dht_proto::frame::{self, Role};
use dht_proto::resp::{self, Decoded, ReplyReader, RequestReader, Version};
use dht_proto::rpc::{self, Message, Meta};
use dht_proto::spec::CommandId;
use dht_proto::topology::NodeId;
use dht_proto::{Reply, ReplyError};

#[path = "../fuzz/src/lib.rs"]
mod targets;

const INPUTS: u64 = 1_000_000;
/// The dearer checks are made for one input in so many.
const SUBSET: u64 = 8;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
        println!("SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Bytes and lengths that parsers trip over.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"$",
    b"*",
    b"-1",
    b"0",
    b"$-1\r\n",
    b"*0\r\n",
    b"*1\r\n",
    b"1048577",
    b"67108865",
    b"9223372036854775808",
    b"\"",
    b"'",
    b"\\x",
    b" ",
    b">2\r\n",
    b"|1\r\n",
    b"\xd7",
    b"\xc0",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x91\x91\x91\x91",
    b"\xc7\x00\x01",
    b"\xca",
];

/// A valid input with up to four wounds.
fn mutate(random: &mut Random, base: &[u8], input: &mut Vec<u8>) {
    input.clear();
    input.extend_from_slice(base);
    for _ in 0..random.below(5) {
        let at = random.below(input.len() + 1);
        let end = input.len().min(at + random.below(8));
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 => drop(input.drain(at..end)),
            2 => input.extend_from_within(at..end),
            3 => input.truncate(at),
            4 => drop(input.splice(at..end, random.pick(TOKENS).iter().copied())),
            _ => input.insert(at, random.next() as u8),
        }
    }
}

/// Runs `check` on as many inputs as there should be, made from the corpus.
fn fuzz(corpus: &[Vec<u8>], mut check: impl FnMut(&mut Random, &[u8], bool)) {
    let mut random = Random::seeded();
    let mut input = Vec::new();
    for round in 0..INPUTS {
        let base = random.pick(corpus);
        mutate(&mut random, base, &mut input);
        check(&mut random, &input, round % SUBSET == 0);
    }
}

/// What a connection's bytes ask for: every request's words, then the error that ended it.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    requests: Vec<Vec<Vec<u8>>>,
    error: Option<ReplyError>,
}

/// Reads requests from an input that arrives in pieces of this many bytes.
fn read_requests(input: &[u8], piece: usize, authenticated: bool) -> Asked {
    let mut reader = RequestReader::default();
    let mut asked = Asked::default();
    let (mut start, mut arrived) = (0, 0);
    loop {
        match reader.read(&input[start..arrived], authenticated) {
            Ok(Decoded::Incomplete) if arrived == input.len() => return asked,
            Ok(Decoded::Incomplete) => arrived = input.len().min(arrived + piece),
            Ok(Decoded::Nothing(taken)) => {
                assert!((1..=arrived - start).contains(&taken));
                start += taken;
            }
            Ok(Decoded::Request(taken)) => {
                assert!((1..=arrived - start).contains(&taken));
                let words = reader.words(&input[start..arrived]);
                assert!(words.len() > 0);
                asked.requests.push(words.map(<[u8]>::to_vec).collect());
                start += taken;
            }
            Err(error) => {
                assert!(matches!(error, ReplyError::Protocol(_)), "{error}");
                asked.error = Some(error);
                return asked;
            }
        }
    }
}

fn request_corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = [
        "PING\r\n",
        "set key \"a \\x00 b\" 'c\\'d'\r\nget key\n",
        "*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*1\r\n$4\r\nQUIT\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    for id in CommandId::all() {
        let mut out = BytesMut::new();
        let words = id
            .spec()
            .name
            .split(' ')
            .chain(["user:1", "name", "Alice", "EX", "25"]);
        resp::encode_request(&words.collect::<Vec<_>>(), &mut out);
        corpus.push(out.to_vec());
    }
    corpus
}

#[test]
fn requests_of_resp() {
    fuzz(&request_corpus(), |random, input, thorough| {
        let authenticated = random.below(4) > 0;
        let whole = read_requests(input, input.len().max(1), authenticated);
        if !thorough {
            return;
        }
        for piece in [1, 2 + random.below(9)] {
            assert_eq!(
                whole,
                read_requests(input, piece, authenticated),
                "{input:?}"
            );
        }
        for request in &whole.requests {
            let mut out = BytesMut::new();
            resp::encode_request(request, &mut out);
            let again = read_requests(&out, out.len(), true);
            assert_eq!(again.requests, std::slice::from_ref(request));
        }
    });
}

fn replies() -> Vec<Reply> {
    let error = Reply::Error(ReplyError::Received("ERR no".to_owned()));
    vec![
        Reply::Ok,
        Reply::Status("PONG".into()),
        Reply::Int(-17),
        Reply::bulk("a\r\nb"),
        Reply::Nil,
        Reply::Array(vec![
            Reply::Nil,
            Reply::Array(vec![Reply::Int(1)]),
            error.clone(),
        ]),
        Reply::Map(vec![
            (Reply::bulk("f"), Reply::bulk("v")),
            (Reply::Int(1), Reply::Bool(true)),
        ]),
        Reply::Set(vec![Reply::Double(0.5)]),
        Reply::Text("lines\n".into()),
        error,
    ]
}

fn read_replies(input: &[u8], piece: usize) -> (Vec<Reply>, bool) {
    let (mut reader, mut buffer, mut replies) =
        (ReplyReader::default(), BytesMut::new(), Vec::new());
    for bytes in input.chunks(piece) {
        buffer.extend_from_slice(bytes);
        loop {
            match reader.read(&mut buffer) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(_) => return (replies, false),
            }
        }
    }
    (replies, true)
}

fn to_resp(replies: &[Reply]) -> Vec<u8> {
    let mut out = BytesMut::new();
    replies
        .iter()
        .for_each(|reply| resp::encode(reply, Version::V3, &mut out));
    out.to_vec()
}

#[test]
fn replies_of_resp() {
    let mut corpus: Vec<Vec<u8>> = replies()
        .into_iter()
        .map(|reply| to_resp(&[reply, Reply::Int(1)]))
        .collect();
    corpus.push(b"|1\r\n+ttl\r\n:5\r\n>2\r\n+a\r\n*-1\r\n$-1\r\n(12\r\n!5\r\nERR x\r\n".to_vec());
    fuzz(&corpus, |random, input, thorough| {
        let (whole, valid) = read_replies(input, input.len().max(1));
        if !thorough {
            return;
        }
        let (split, still) = read_replies(input, 1 + random.below(9));
        // Compared as bytes, in which a NaN equals itself.
        let bytes = to_resp(&whole);
        assert_eq!((&bytes, valid), (&to_resp(&split), still), "{input:?}");
        let (again, valid) = read_replies(&bytes, bytes.len().max(1));
        assert_eq!((to_resp(&again), valid), (bytes, true), "{input:?}");
    });
}

fn to_frame(message: &Message<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    match message {
        Message::Request(request) => {
            rpc::encode_request(request.id, &request.argv, &request.meta, &mut out);
        }
        Message::Response { id, reply } => rpc::encode_response(*id, reply, false, &mut out),
        Message::Notification(argv) => rpc::encode_notification(argv, &mut out),
    }
    out.split_off(4).to_vec()
}

#[test]
fn native_frames() {
    let argv: Vec<Cow<'_, [u8]>> = [&b"HSET"[..], b"user:1", b"name", b"\xff\x00"]
        .map(Cow::Borrowed)
        .to_vec();
    let deadline_ms = Some(5_000);
    let request = |meta| rpc::Request {
        id: 300,
        argv: argv.clone(),
        meta,
    };
    let mut messages = vec![
        Message::Request(request(Meta::default())),
        Message::Request(request(Meta {
            deadline_ms,
            ..Meta::default()
        })),
        Message::Request(request(Meta::default().with_place(rpc::Place {
            session: 7,
            sequence: 300,
            acknowledged: 70_000,
        }))),
        Message::Notification(argv.clone()),
    ];
    messages.extend(
        replies()
            .into_iter()
            .map(|reply| Message::Response { id: 7, reply }),
    );
    let mut corpus: Vec<Vec<u8>> = messages.iter().map(to_frame).collect();
    corpus.push(b"\x95\x00\x07\xa9CLIENT ID\x93\x05\xd1\xff\x00\xa1x\x81\xa1y\x91\x01".to_vec());
    fuzz(&corpus, |_, input, _| {
        if let Ok(message) = rpc::decode(input) {
            let frame = to_frame(&message);
            let again = rpc::decode(&frame).map(|message| to_frame(&message));
            assert_eq!(again.as_ref(), Ok(&frame), "{input:?}");
        }
    });
}

/// A mail of each kind, each in a frame with another behind it.
fn mails() -> Vec<Vec<u8>> {
    let task = task::command(&["HSET", "user:1", "name", "Alice"]);
    let shard = 7;
    let answered = |answer| Answered {
        shard,
        number: Number::Logged(3),
        session: 9,
        answer,
    };
    let idle = FormationMessage::Idle {
        member: settings().member(NodeId([2; 20])),
        terms: terms(),
    };
    let led = [(0, 1, true), (shard, 70_000, false)].map(|(group, term, whole)| Led {
        group,
        term,
        whole,
    });
    let mails = [
        Mail::Raft(1, raft::Message::default()),
        Mail::Task(Sent {
            shard,
            number: Number::Read(300),
            session: 9,
            after: 2,
            task: &task,
        }),
        Mail::Answer(answered(Answer::Done(Reply::Array(replies())))),
        Mail::Answer(answered(Answer::Gap)),
        Mail::Refused(shard),
        Mail::Open(shard),
        Mail::Opened(shard, 9),
        Mail::Leads(3, led.to_vec()),
        Mail::Formation(&FormationMessage::Ask { question: 4 }.encode()),
        Mail::Formation(&idle.encode()),
        Mail::State(b"\x95\x01\x02"),
        Mail::Wish(b"\x92\x01\xc0"),
        Mail::Chunk(Chunk {
            shard,
            to: 12,
            copy: raft::Copy::default(),
            attempt: 2,
            number: 1,
            last: true,
            bytes: b"piece",
        }),
        Mail::Received(Received {
            shard,
            to: 12,
            attempt: 2,
            pieces: u64::MAX,
        }),
    ];
    let frame = |mail| {
        let mut post = Post::default();
        post.send(NodeId([1; 20]), mail);
        post.send(NodeId([1; 20]), &Mail::Refused(shard));
        let frames = post.take();
        frames
            .iter()
            .flat_map(|(_, frame)| frame.to_vec())
            .collect()
    };
    mails.iter().map(frame).collect()
}

fn settings() -> Settings {
    Settings {
        password: None,
        standalone: false,
        backend: None,
        is_durable: false,
        has_file: false,
        max_clients: 1,
        shards: 64,
        debug: Permission::No,
        stopwatch: || 0,
        aside: Aside::none(),
        client: "127.0.0.1:7400".to_owned(),
        redirect: "127.0.0.1:8400".to_owned(),
    }
}

fn terms() -> Terms {
    let seats = ["127.0.0.1:7400", "127.0.0.1:7401"].map(str::to_owned);
    Terms {
        seats: seats.into(),
        shards: 64,
        copies: 3,
    }
}

/// What comes over links whose other end has proved to be of the cluster.
#[test]
fn mails_between_nodes() {
    let now = Now {
        unix_us: 1,
        mono_ms: 1,
    };
    let (me, peer) = (NodeId([1; 20]), NodeId([2; 20]));
    let node = Arc::new(Node::new(me, settings(), now));
    let formation = Formation::new(node.settings.member(me), terms(), ClusterId([3; 16]));
    let mut worker: Worker<u64> = Worker::new(Arc::clone(&node), formation, 1, now);
    worker.link(peer, "127.0.0.1:7401", true);
    let mut out = Outbox::default();
    fuzz(&mails(), |_, input, thorough| {
        worker.receive(peer, input, now, &mut out);
        if thorough {
            worker.turn(now, &mut out);
            out = Outbox::default();
        }
    });
    // After all that a question is still answered.
    let mut post = Post::default();
    let question = FormationMessage::Ask { question: 4 }.encode();
    post.send(me, &Mail::Formation(&question));
    let frames: Vec<(NodeId, Bytes)> = post.take();
    worker.receive(peer, &frames[0].1, now, &mut out);
    worker.turn(now, &mut out);
    assert!(out.frames.iter().any(|(to, _)| *to == peer));
}

#[test]
fn names_of_commands() {
    let corpus: Vec<Vec<u8>> = CommandId::all()
        .map(|id| format!("{} key {} x", id.spec().name, id.spec().syntax).into_bytes())
        .collect();
    let mut data = Vec::new();
    fuzz(&corpus, |random, input, _| {
        data.clear();
        data.push(1 + random.below(6) as u8);
        data.extend_from_slice(input);
        targets::syntax(&data);
    });
}

/// How what a native connection sends is cut into frames, by the node's session as well.
#[test]
fn cuts_of_native_connections() {
    let frames = |messages: &[&[&str]]| {
        let mut out = BytesMut::new();
        for (id, argv) in (0..).zip(messages) {
            rpc::encode_request(id, argv, &Meta::default(), &mut out);
        }
        [&frame::preface(Role::Client)[..], &out].concat()
    };
    let corpus = vec![
        frames(&[
            &["PING"],
            &["ECHO", "a word"],
            &["HSET", "user:1", "name", "Alice"],
        ]),
        frames(&[&["ECHO", &"x".repeat(900)], &["ECHO", &"x".repeat(2000)]]),
        [&frame::preface(Role::Client)[..], &[0; 8], &[0, 0, 4, 1, 9]].concat(),
        frame::preface(Role::Peer).to_vec(),
    ];
    let now = Now {
        unix_us: 1,
        mono_ms: 1,
    };
    let node = Node::new(NodeId([1; 20]), settings(), now);
    let mut data = Vec::new();
    let mut refused = 0;
    fuzz(&corpus, |random, input, thorough| {
        data.clear();
        data.push(1 + random.below(40) as u8);
        data.extend_from_slice(input);
        targets::cuts(&data);
        if thorough && let Some(frames) = input.get(frame::PREFACE_BYTES..) {
            refused += usize::from(serve(&node, frames, usize::from(data[0])));
        }
    });
    assert!(refused > 1000, "{refused}");
}

/// Gives frames to a session in pieces; says whether it has closed the connection.
fn serve(node: &Node, frames: &[u8], piece: usize) -> bool {
    let now = Now {
        unix_us: 1,
        mono_ms: 1,
    };
    let facts = Facts {
        id: 1,
        addr: String::new(),
        laddr: String::new(),
        since_mono_ms: 0,
        last_mono_ms: AtomicU64::default(),
        last_command: AtomicU64::default(),
        marks: Default::default(),
        labels: ArcSwap::default(),
        is_killed: AtomicBool::default(),
    };
    let client = Client::new(Arc::new(facts), Protocol::Native, Door::Forward, true);
    let mut session = Session::new(client, 1);
    let mut input = BytesMut::new();
    for bytes in frames.chunks(piece) {
        input.extend_from_slice(bytes);
        let mut effects = Effects::default();
        session.receive(node, now, &mut input, &mut effects);
        if effects.close {
            assert!(input.is_empty());
            return true;
        }
        assert!(input.len() <= frames.len());
    }
    false
}

/// The targets of cargo-fuzz, which needs a compiler of its own, on the inputs of these tests.
#[test]
fn targets_of_cargo_fuzz() {
    let mut corpus = request_corpus();
    corpus.extend(replies().into_iter().map(|reply| to_resp(&[reply])));
    let words = [b"SET".as_slice(), b"k", b"v"].map(Cow::Borrowed).to_vec();
    corpus.push(to_frame(&Message::Notification(words)));
    fuzz(&corpus, |random, input, thorough| {
        if thorough {
            targets::requests(input);
            targets::replies(input);
            targets::frames(input);
            targets::cuts(input);
            targets::syntax(input);
            let frames = input.chunks(1 + random.below(64)).map(<[u8]>::to_vec);
            targets::handshakes(&frames.collect::<Vec<_>>());
        }
    });
    // Each of them is a program that calls the function of its name.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/fuzz_targets");
    for name in [
        "requests",
        "replies",
        "cuts",
        "frames",
        "handshakes",
        "syntax",
    ] {
        let program = std::fs::read_to_string(format!("{folder}/{name}.rs")).unwrap();
        assert!(program.contains(&format!("dht_fuzz::{name}(")), "{name}");
    }
}
