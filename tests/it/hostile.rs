//! Clients that mean harm, or act like it: whatever they do, others are answered within a second,
//! and memory stays bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dht_proto::frame::{self, Role};
use dht_proto::limits;
use dht_proto::resp;
use dht_proto::rpc::{self, Meta};
use dht_tests::process::Processes;
use dht_tests::wait;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Within this time everybody else has to be answered.
const PROMPT: Duration = Duration::from_secs(1);
/// How much memory harm may cost.
const GROWTH_BYTES: u64 = 200 << 20;
/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection on which nothing is waited for in vain.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Does harm while an innocent client is served; afterwards memory must not have grown.
fn harm(node: &Processes, act: impl FnOnce()) {
    let before = node.rss_bytes(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let innocent = scope.spawn(|| {
            let mut pings = 0;
            while pings == 0 || !over.load(Relaxed) {
                ping(node);
                let grown = node.rss_bytes(0).saturating_sub(before);
                assert!(grown <= GROWTH_BYTES, "grown by {} MiB", grown >> 20);
                pings += 1;
            }
            pings
        });
        // Also when `act` fails the innocent one has to come to an end.
        let end = OnDrop(|| over.store(true, Relaxed));
        act();
        ping(node);
        drop(end);
        assert!(innocent.join().unwrap() > 0);
    });
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A new connection's first answer.
fn ping(node: &Processes) {
    let start = Instant::now();
    let mut stream = connect(node.client(0));
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    assert!(start.elapsed() <= PROMPT, "{:?}", start.elapsed());
}

/// What is answered until the close; the node may close while there is more to come.
fn last_words(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

#[test]
fn what_is_longer_than_its_limit_is_refused_before_it_is_sent() {
    let node = Processes::alone(&[]);
    let cases = [
        ("*1\r\n$1073741824\r\n".to_owned(), "invalid bulk length"),
        (
            format!("*2\r\n$3\r\nGET\r\n${}\r\n", limits::VALUE_BYTES + 1),
            "invalid bulk length",
        ),
        ("*1073741824\r\n".to_owned(), "invalid multibulk length"),
        (
            format!("*{}\r\n", limits::ARGUMENTS + 1),
            "invalid multibulk length",
        ),
        (
            "*99999999999999999999\r\n".to_owned(),
            "invalid multibulk length",
        ),
        (
            "x".repeat(limits::INLINE_BYTES + 1),
            "too big inline request",
        ),
        (
            format!("*1\r\n${}", "9".repeat(limits::INLINE_BYTES)),
            "too big bulk count string",
        ),
    ];
    harm(&node, || {
        for (request, expect) in &cases {
            let mut stream = connect(node.client(0));
            stream.write_all(request.as_bytes()).unwrap();
            let answer = last_words(&mut stream);
            assert!(answer.contains(expect), "{request:.40}: {answer}");
        }
    });
}

#[test]
fn many_large_requests_that_never_end_cost_what_was_sent() {
    let node = Processes::alone(&[]);
    harm(&node, || {
        let mut held = Vec::new();
        for _ in 0..500 {
            let mut stream = connect(node.client(0));
            // A first request, so that there is no hurry; then a little of much.
            let begin = format!("PING\r\n*2\r\n$4\r\nECHO\r\n${}\r\n", limits::VALUE_BYTES);
            stream.write_all(begin.as_bytes()).unwrap();
            stream.write_all(&[b'x'; 30_000]).unwrap();
            stream.read_exact(&mut [0; 7]).unwrap();
            held.push(stream);
        }
    });
}

#[test]
fn long_keys_and_fields_are_refused() {
    let node = Processes::alone(&[]);
    let long = "k".repeat(limits::KEY_BYTES + 1);
    let length = long.len();
    let mut stream = connect(node.client(0));
    for (request, what) in [
        (format!("*2\r\n$3\r\nGET\r\n${length}\r\n{long}\r\n"), "key"),
        (
            format!("*4\r\n$4\r\nHSET\r\n$1\r\nk\r\n${length}\r\n{long}\r\n$1\r\nv\r\n"),
            "field",
        ),
    ] {
        stream.write_all(request.as_bytes()).unwrap();
        let expect = format!("-ERR {what} is longer than {} bytes\r\n", limits::KEY_BYTES);
        let mut answer = vec![0; expect.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expect);
    }
}

#[test]
fn frames_that_are_too_long_or_no_frames_end_the_connection() {
    let node = Processes::alone(&[]);
    let client = frame::preface(Role::Client);
    let peer = frame::preface(Role::Peer);
    let frames: [(&[u8], &[u8]); 6] = [
        (&client, &[0xff; 4]),
        (&client, &[0, 0, 0, 4, 0xc1, 0xc1, 0xc1, 0xc1]),
        (&client, &[0, 0, 0, 6, 0xdd, 0xff, 0xff, 0xff, 0xff, 0]),
        (&peer, &[0xff; 4]),
        (&peer, &[0, 0, 0, 1, 0xc0]),
        (&[frame::MAGIC_BYTE], b"nonsense"),
    ];
    harm(&node, || {
        for (preface, frame) in frames {
            let mut stream = connect(node.client(0));
            stream.write_all(preface).unwrap();
            stream.write_all(frame).unwrap();
            last_words(&mut stream);
        }
    });
}

#[test]
fn handshakes_that_stop_half_way_are_given_up() {
    let node = Processes::alone(&[]);
    let preface = frame::preface(Role::Peer);
    let beginnings = [
        &preface[..1],
        &preface[..7],
        &preface[..],
        &frame::preface(Role::Client),
    ];
    harm(&node, || {
        let start = Instant::now();
        let mut held: Vec<_> = (0..200)
            .map(|i| {
                let mut stream = connect(node.client(0));
                stream.write_all(beginnings[i % beginnings.len()]).unwrap();
                stream
            })
            .collect();
        for stream in &mut held {
            last_words(stream);
        }
        let took = start.elapsed();
        assert!(took < limits::FIRST_REQUEST + 3 * PROMPT, "{took:?}");
    });
}

#[test]
fn a_client_that_never_reads_holds_up_itself_alone() {
    let node = Processes::alone(&[]);
    let mut stream = connect(node.client(0));
    // A hash of about 1 MB.
    for chunk in 0..10 {
        let fields: String = (0..1000)
            .map(|i| format!("$8\r\nf{chunk:03}{i:04}\r\n$80\r\n{}\r\n", "v".repeat(80)))
            .collect();
        let request = format!("*2002\r\n$4\r\nHSET\r\n$3\r\nbig\r\n{fields}");
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
    }
    harm(&node, || {
        let requests = "HGETALL big\r\n".repeat(1000);
        let mut held = Vec::new();
        for _ in 0..20 {
            // Who connects long before the first request is sent away, which is another test.
            let mut stream = connect(node.client(0));
            let taken = stuff(&mut stream, requests.as_bytes());
            assert!(taken < FLOOD_BYTES, "{taken} bytes taken");
            held.push(stream);
        }
        // They are held while the innocent one is served for a while.
        (0..300).for_each(|_| ping(&node));
        drop(held);
    });
}

/// Sends requests, reading nothing, until the node takes no more of them; gives how many bytes it
/// took.
fn stuff(stream: &mut TcpStream, requests: &[u8]) -> usize {
    const ENOUGH: usize = 100 << 20;
    let moment = Some(Duration::from_millis(300));
    stream.set_write_timeout(moment).unwrap();
    let mut taken = 0;
    while taken < ENOUGH {
        match stream.write(&requests[taken % requests.len()..]) {
            Ok(bytes) => taken += bytes,
            Err(_) => return taken,
        }
    }
    panic!("the node takes requests without end");
}

/// What the node, and the systems at both ends, may take of requests whose replies nobody reads.
const FLOOD_BYTES: usize = 32 << 20;

fn flood(preface: &[u8], requests: &[u8]) {
    let node = Processes::alone(&[]);
    let before = node.rss_bytes(0);
    harm(&node, || {
        let mut stream = connect(node.client(0));
        stream.write_all(preface).unwrap();
        let taken = stuff(&mut stream, requests);
        assert!(taken < FLOOD_BYTES, "{taken} bytes taken");
        let grown = node.rss_bytes(0).saturating_sub(before);
        assert!(grown < FLOOD_BYTES as u64, "grown by {} KiB", grown >> 10);
    });
}

#[test]
fn small_replies_that_nobody_reads_stop_the_intake() {
    flood(b"", "PING\r\n".repeat(10_000).as_bytes());
}

#[test]
fn small_native_replies_that_nobody_reads_stop_the_intake() {
    let mut requests = BytesMut::new();
    for id in 0..10_000 {
        rpc::encode_request(id, &["ECHO", "0123456789"], &Meta::default(), &mut requests);
    }
    flood(&frame::preface(Role::Client), &requests);
}

/// A command as RESP.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut request = BytesMut::new();
    resp::encode_request(words, &mut request);
    request.to_vec()
}

/// Sends a command and takes the first bytes of its answer.
fn call(stream: &mut TcpStream, words: &[&[u8]], expect: &str) {
    stream.write_all(&command(words)).unwrap();
    let mut answer = vec![0; expect.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), expect);
}

/// A connection that sends a command and takes no more than the first byte of the answer, so that
/// it is known to be made.
fn ask_only(node: &Processes, words: &[&[u8]]) -> TcpStream {
    let mut stream = connect(node.client(0));
    stream.write_all(&command(words)).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

#[test]
fn large_values_that_nobody_reads_cost_nothing() {
    const MIB: usize = 1 << 20;
    let node = Processes::alone(&[]);
    let mut filling = connect(node.client(0));
    let value = vec![b'v'; 8 * MIB];
    let keys: Vec<String> = (0..31).map(|n| format!("large:{n}")).collect();
    for key in &keys {
        call(&mut filling, &[b"SET", key.as_bytes(), &value], "+OK\r\n");
    }
    let mut all: Vec<&[u8]> = vec![b"MGET"];
    all.extend(keys.iter().map(|key| key.as_bytes()));
    let before = node.rss_bytes(0);
    harm(&node, || {
        let mut held: Vec<_> = (0..10).map(|_| ask_only(&node, &all)).collect();
        held.extend((0..100).map(|_| ask_only(&node, &[b"GET", keys[0].as_bytes()])));
        let grown = node.rss_bytes(0).saturating_sub(before);
        assert!(grown < (100 * MIB) as u64, "grown by {} MiB", grown >> 20);
        // Who reads late has it all, one byte of which was read.
        let mut rest = vec![0; 31 * (8 * MIB + 12) + 4];
        held[0].read_exact(&mut rest).unwrap();
        assert!(rest.ends_with(b"vvv\r\n"));
        drop(held);
    });
}

#[test]
fn large_values_that_are_replaced_while_nobody_reads_them_are_bounded() {
    const MIB: usize = 1 << 20;
    let node = Processes::alone(&[]);
    let mut filling = connect(node.client(0));
    let value = vec![b'v'; 8 * MIB];
    let keys = ["large:0", "large:1"];
    for key in keys {
        call(&mut filling, &[b"SET", key.as_bytes(), &value], "+OK\r\n");
    }
    // Nobody else has the values that wait.
    harm(&node, || {
        let held: Vec<_> = (0..60)
            .map(|n| {
                let key = keys[n % 2].as_bytes();
                let unread = ask_only(&node, &[b"GET", key]);
                call(&mut filling, &[b"SET", key, &value], "+OK\r\n");
                unread
            })
            .collect();
        drop(held);
    });
}

#[test]
fn replies_of_many_clients_that_do_not_read_are_bounded() {
    const CHUNKS: usize = 900;
    let node = Processes::alone(&[]);
    let mut filling = connect(node.client(0));
    for chunk in 0..CHUNKS {
        let field = |n| format!("f{chunk:03}{n:04}").into_bytes();
        let fields: Vec<_> = (0..1000).map(field).collect();
        let mut words: Vec<&[u8]> = vec![b"HSET", b"big"];
        words.extend(fields.iter().flat_map(|field| [&field[..], &[b'v'; 80]]));
        call(&mut filling, &words, ":1000\r\n");
    }
    for chunk in 0..CHUNKS / 3 {
        let keys: Vec<_> = (0..1000).map(|n| format!("{chunk}:{n}")).collect();
        let mut words: Vec<&[u8]> = vec![b"MSET"];
        words.extend(keys.iter().flat_map(|key| [key.as_bytes(), b"v"]));
        call(&mut filling, &words, "+OK\r\n");
    }
    harm(&node, || {
        // Of 90 MB and of 4 MB each, all at the same time.
        let ask = |n: usize| {
            let mut stream = connect(node.client(0));
            let words: [[&[u8]; 2]; 2] = [[b"HGETALL", b"big"], [b"KEYS", b"*"]];
            stream.write_all(&command(&words[n % 2])).unwrap();
            stream
        };
        let mut held: Vec<_> = (0..80).map(ask).collect();
        for stream in &mut held {
            // Whoever has to make way is closed, perhaps before it has its first byte.
            let _ = stream.read(&mut [0]);
        }
        // Whoever reads what it has asked for gets it, however long it is.
        let mut reader = connect(node.client(0));
        for _ in 0..3 {
            let header = format!("*{}\r\n", 2000 * CHUNKS);
            call(&mut reader, &[b"HGETALL", b"big"], &header);
            let mut rest = vec![0; 1000 * CHUNKS * (4 + 8 + 2 + 5 + 80 + 2)];
            assert!(rest.len() > limits::HELD_BYTES);
            reader.read_exact(&mut rest).unwrap();
            assert!(rest.ends_with(b"vvv\r\n"));
        }
    });
}

#[test]
fn large_requests_that_never_end_make_way_for_one_that_does() {
    const SENT: usize = 4 << 20;
    let node = Processes::alone(&[]);
    let begin = format!("PING\r\n*2\r\n$4\r\nECHO\r\n${}\r\n", limits::VALUE_BYTES);
    let multi = command(&[b"MULTI"]);
    let much = vec![b'x'; SENT];
    let queued = [multi, command(&[b"SET", b"k", &much])].concat();
    harm(&node, || {
        let mut held = Vec::new();
        for _ in 0..60 {
            let mut stream = connect(node.client(0));
            stream.write_all(begin.as_bytes()).unwrap();
            stream.write_all(&much).unwrap();
            stream.read_exact(&mut [0; 7]).unwrap();
            held.push(stream);
        }
        for _ in 0..60 {
            let mut stream = connect(node.client(0));
            stream.write_all(&queued).unwrap();
            let mut answers = [0; "+OK\r\n+QUEUED\r\n".len()];
            stream.read_exact(&mut answers).unwrap();
            assert!(answers.ends_with(b"+QUEUED\r\n"));
            held.push(stream);
        }
        let told = last_words(&mut held[0]);
        let why = "-ERR too much is kept for clients, and this one has been still for longest\r\n";
        assert_eq!(told, why);
        let mut innocent = connect(node.client(0));
        let value = vec![b'v'; limits::VALUE_BYTES / 4];
        call(&mut innocent, &[b"SET", b"large", &value], "+OK\r\n");
        call(&mut innocent, &[b"DEL", b"large"], ":1\r\n");
    });
}

/// What a client has sent and was answered costs nothing while it is idle.
#[test]
fn long_requests_leave_nothing_behind() {
    let node = Processes::alone(&[]);
    let arguments = limits::ARGUMENTS - 1;
    let refused = format!("*{}\r\n$3\r\nGET\r\n", arguments + 1) + &"$0\r\n\r\n".repeat(arguments);
    let answer = "-ERR wrong number of arguments for 'get' command\r\n";
    let echo = "x".repeat(limits::INLINE_BYTES - 10);
    harm(&node, || {
        let mut held = Vec::new();
        for _ in 0..40 {
            let mut stream = connect(node.client(0));
            stream.write_all(refused.as_bytes()).unwrap();
            stream.read_exact(&mut vec![0; answer.len()]).unwrap();
            held.push(stream);
        }
        for _ in 0..4000 {
            let mut stream = connect(node.client(0));
            stream
                .write_all(format!("ECHO {echo}\r\n").as_bytes())
                .unwrap();
            stream
                .read_exact(&mut vec![0; "$65526\r\n\r\n".len() + echo.len()])
                .unwrap();
            held.push(stream);
        }
    });
}

/// A word of which there are many takes more memory than its bytes.
#[test]
fn many_empty_words_that_never_end_are_bounded() {
    const WORDS: usize = 132_000;
    let node = Processes::alone(&[]);
    let begun = format!("PING\r\n*{}\r\n", WORDS + 1) + &"$0\r\n\r\n".repeat(WORDS);
    harm(&node, || {
        let mut held = Vec::new();
        for _ in 0..80 {
            let mut stream = connect(node.client(0));
            stream.write_all(begun.as_bytes()).unwrap();
            stream.read_exact(&mut [0; 7]).unwrap();
            held.push(stream);
        }
        (0..300).for_each(|_| ping(&node));
        let why = "-ERR too much is kept for clients, and this one has been still for longest\r\n";
        assert_eq!(last_words(&mut held[0]), why);
    });
}

#[test]
fn two_large_requests_at_a_time_need_not_make_way_for_each_other() {
    const LARGE: usize = limits::HELD_BYTES / 5 * 3;
    let node = Processes::alone(&[]);
    let set = command(&[b"SET", b"large", &vec![b'v'; LARGE]]);
    let mut streams = [connect(node.client(0)), connect(node.client(0))];
    // In turn, so that neither is done before the other has sent nearly all.
    for part in set.chunks(LARGE / 16) {
        for stream in &mut streams {
            stream.write_all(part).unwrap();
        }
    }
    for stream in &mut streams {
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK\r\n");
    }
}

#[test]
fn replies_of_one_value_many_times_are_bounded() {
    const TIMES: usize = limits::FRAME_BYTES / 4000;
    const FITTING: usize = TIMES / 10 * 9;
    let node = Processes::alone(&[]);
    let mut client = connect(node.client(0));
    call(&mut client, &[b"SET", b"k", &[b'v'; 4000]], "+OK\r\n");
    let too_long = format!(
        "-ERR reply is longer than {} bytes\r\n",
        limits::FRAME_BYTES
    );
    let mut most: Vec<&[u8]> = vec![b"MGET"];
    most.resize(FITTING + 1, b"k");
    let mut more = most.clone();
    more.resize(TIMES + 9, b"k");
    harm(&node, || {
        call(&mut client, &more, &too_long);
        let queue = [command(&[b"MULTI"]), command(&most).repeat(20)].concat();
        client.write_all(&queue).unwrap();
        let mut queued = vec![0; "+OK\r\n".len() + 20 * "+QUEUED\r\n".len()];
        client.read_exact(&mut queued).unwrap();
        call(&mut client, &[b"EXEC"], &format!("*20\r\n*{FITTING}\r\n"));
        let mut first = vec![0; FITTING * ("$4000\r\n".len() + 4002)];
        client.read_exact(&mut first).unwrap();
        let mut others = vec![0; 19 * too_long.len()];
        client.read_exact(&mut others).unwrap();
        assert_eq!(others, too_long.repeat(19).as_bytes());
    });
}

#[test]
fn who_has_asked_other_nodes_much_and_is_idle_costs_little() {
    let cluster = Processes::start(3);
    let sets: Vec<u8> = (0..10_000)
        .flat_map(|n| command(&[b"SET", format!("k{n}").as_bytes(), b"v"]))
        .collect();
    let done = "+OK\r\n".repeat(10_000);
    harm(&cluster, || {
        let mut held: Vec<_> = (0..200)
            .map(|_| {
                let mut stream = connect(cluster.client(0));
                stream.write_all(&sets).unwrap();
                let mut answers = vec![0; done.len()];
                stream.read_exact(&mut answers).unwrap();
                assert_eq!(answers, done.as_bytes());
                stream
            })
            .collect();
        // Each of them was idle while the others asked, and is served again.
        for stream in &mut held {
            call(stream, &[b"PING"], "+PONG\r\n");
        }
    });
}

#[test]
fn handshakes_may_not_be_long() {
    let node = Processes::alone(&[]);
    harm(&node, || {
        let mut held = Vec::new();
        for _ in 0..400 {
            let mut stream = connect(node.client(0));
            let preface = frame::preface(Role::Peer);
            let length = u32::try_from(limits::HANDSHAKE_BYTES + 1).unwrap();
            stream
                .write_all(&[&preface[..], &length.to_be_bytes()].concat())
                .unwrap();
            held.push(stream);
        }
        let start = Instant::now();
        assert_eq!(last_words(&mut held[0]), "");
        assert!(start.elapsed() < limits::FIRST_REQUEST / 2);
    });
}

#[test]
fn a_huge_pipeline_holds_up_nobody_else() {
    let node = Processes::start(3);
    harm(&node, || {
        let mut stream = connect(node.client(0));
        let mut reader = stream.try_clone().unwrap();
        let requests: String = (0..50_000)
            .map(|i| format!("SET key:{i} {i}\r\n"))
            .collect();
        thread::scope(|scope| {
            scope.spawn(move || stream.write_all(requests.as_bytes()).unwrap());
            let mut answers = vec![0; 5 * 50_000];
            reader.read_exact(&mut answers).unwrap();
            assert!(answers.chunks(5).all(|answer| answer == b"+OK\r\n"));
        });
    });
}

/// A client that finds the queue full is answered a second later, when its system asks again.
#[test]
fn many_clients_may_come_at_once() {
    let node = Processes::alone(&[]);
    // While the node stands still, nothing is taken out of the queue.
    node.pause(0);
    let come = |_| TcpStream::connect_timeout(&node.client(0), PROMPT).unwrap();
    let mut held: Vec<_> = (0..700).map(come).collect();
    node.resume(0);
    for stream in &mut held {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
    }
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    const IDLE: usize = 10_000;
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most > IDLE as u64 + 200,
        "the system allows for {most} open files only"
    );
    limit.current = Some(most.min(IDLE as u64 + 1000));
    setrlimit(Resource::Nofile, limit).unwrap();

    // As many as there may be are left, and some more for those who are not idle.
    let most = (IDLE + 100).to_string();
    let node = Processes::alone(&["--max-clients", &most]);
    let before = node.rss_bytes(0);
    harm(&node, || {
        let mut held = Vec::with_capacity(IDLE);
        for _ in 0..IDLE {
            let mut stream = connect(node.client(0));
            stream.write_all(b"SET k v\r\n").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            held.push(stream);
        }
        // Idle means that they send nothing while others are answered.
        (0..300).for_each(|_| ping(&node));
        let each = (node.rss_bytes(0) - before) / IDLE as u64;
        // 10,000 of them may cost 200 MB.
        assert!(each < 20_000, "{each} bytes for an idle connection");
        for stream in &mut held {
            stream.write_all(b"PING\r\n").unwrap();
        }
        for stream in &mut held {
            stream.read_exact(&mut [0; 7]).unwrap();
        }
    });
    wait::until("places to be free again", PATIENCE, || {
        let info = dht_tests::process::ask(node.client(0), "INFO clients").ok()?;
        info.contains("connected_clients:1\r").then_some(())
    });
}

/// How many PINGs a connection gets answered until the next answer of another one begins, and the
/// longest time that one took.
fn pings_until_answered(node: &Processes, other: &TcpStream) -> (usize, Duration) {
    other.set_nonblocking(true).unwrap();
    let found = pings_while(node, || other.peek(&mut [0]).is_err());
    other.set_nonblocking(false).unwrap();
    found
}

/// Likewise, for as long as something lasts.
fn pings_while(node: &Processes, lasts: impl Fn() -> bool) -> (usize, Duration) {
    let mut stream = connect(node.client(0));
    let (mut pings, mut longest) = (0, Duration::ZERO);
    while lasts() {
        let start = Instant::now();
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
        pings += 1;
        longest = longest.max(start.elapsed());
    }
    (pings, longest)
}

#[test]
fn a_command_on_all_keys_holds_up_nobody() {
    let node = Processes::alone(&["--threads", "1"]);
    let mut filling = connect(node.client(0));
    for chunk in 0..100 {
        let sets: String = (0..2000)
            .map(|key| format!("SET key:{chunk}:{key} v\r\n"))
            .collect();
        filling.write_all(sets.as_bytes()).unwrap();
        filling.read_exact(&mut [0; 2000 * 5]).unwrap();
    }
    // The machine may stall by itself; a node that stalls does so every time.
    wait::until("others to be answered meanwhile", PATIENCE, || {
        let start = Instant::now();
        let mut slow = connect(node.client(0));
        slow.write_all(b"KEYS key:*\r\n").unwrap();
        let (pings, longest) = pings_until_answered(&node, &slow);
        (pings > 10 && longest < start.elapsed() / 4).then_some(())
    });
}

/// Longer than a moment, and shorter than what takes long here.
const LARGE_FIELDS: usize = 400_000;

#[test]
fn a_large_hash_read_at_once_holds_up_nobody() {
    let node = Processes::alone(&["--threads", "1"]);
    let mut filling = connect(node.client(0));
    for chunk in 0..LARGE_FIELDS / 2000 {
        let mut request = String::from("*4002\r\n$4\r\nHSET\r\n$3\r\nbig\r\n");
        (0..2000).for_each(|field| {
            request += &format!("$13\r\nf:{chunk:05}:{field:05}\r\n$1\r\nv\r\n");
        });
        filling.write_all(request.as_bytes()).unwrap();
        filling.read_exact(&mut [0; 7]).unwrap();
    }
    wait::until("others to be answered meanwhile", PATIENCE, || {
        let start = Instant::now();
        let (pings, longest) = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut slow = connect(node.client(0));
                let header = format!("*{}\r\n", 2 * LARGE_FIELDS);
                call(&mut slow, &[b"HGETALL", b"big"], &header);
                let fields = "$13\r\nf:00000:00000\r\n$1\r\nv\r\n".len() * LARGE_FIELDS;
                slow.read_exact(&mut vec![0; fields]).unwrap();
            });
            pings_while(&node, || !reader.is_finished())
        });
        (pings > 10 && longest < start.elapsed() / 4).then_some(())
    });
}

/// Of nobody else, whatever is asked of all keys.
#[test]
fn a_million_keys_hold_up_nobody_for_a_second() {
    const KEYS: usize = 1_000_000;
    let node = Processes::alone(&["--threads", "1"]);
    let mut filling = connect(node.client(0));
    for first in (0..KEYS).step_by(1000) {
        let pairs: Vec<String> = (first..first + 1000).map(|n| format!("key:{n}")).collect();
        let mut words: Vec<&[u8]> = vec![b"MSET"];
        words.extend(pairs.iter().flat_map(|key| [key.as_bytes(), b"v"]));
        call(&mut filling, &words, "+OK\r\n");
    }
    for request in ["KEYS none:*", "KEYS *", "SCAN 0 COUNT 1000000", "FLUSHALL"] {
        let mut slow = connect(node.client(0));
        slow.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let (_, longest) = pings_until_answered(&node, &slow);
        assert!(longest < PROMPT, "{request}: {longest:?}");
        // What is left to be done when it is answered takes no time of others either.
        (0..100).for_each(|_| ping(&node));
    }
}
