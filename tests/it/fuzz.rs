//! Hostile bytes at everything that reads them: a million inputs each, made from valid ones.
//!
//! The inputs follow from a seed, which is printed; `SEED=… cargo nextest run fuzz` repeats a run.

use std::borrow::Cow;

use bytes::BytesMut;
use dht_proto::resp::{self, Decoded, ReplyReader, RequestReader, Version};
use dht_proto::rpc::{self, Message, Meta};
use dht_proto::spec::{self, CommandId};
use dht_proto::{Reply, ReplyError};

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
        Message::Response { id, reply } => rpc::encode_response(*id, reply, &mut out),
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

#[test]
fn names_of_commands() {
    let corpus: Vec<Vec<u8>> = CommandId::all()
        .map(|id| format!("{} key {} x", id.spec().name, id.spec().syntax).into_bytes())
        .collect();
    fuzz(&corpus, |random, input, _| {
        let words = 1 + random.below(6);
        let argv: Vec<&[u8]> = input.splitn(words, |byte| *byte == b' ').collect();
        match spec::find(&argv) {
            Ok(id) => {
                let name = argv[..id.words()].join(&b' ');
                assert!(
                    name.eq_ignore_ascii_case(id.spec().name.as_bytes()),
                    "{argv:?}"
                );
                assert!(id.schema().accepts(argv.len()), "{argv:?}");
                if let Some(keys) = id.schema().keys {
                    assert!(
                        keys.positions(argv.len()).all(|at| at < argv.len()),
                        "{argv:?}"
                    );
                }
            }
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.starts_with("ERR ") && !text.contains(['\r', '\n']),
                    "{text}"
                );
            }
        }
    });
}
