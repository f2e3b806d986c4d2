//! Clients that mean harm, or act like it: whatever they do, others are answered within a second,
//! and memory stays bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use dht_proto::frame::{self, Role};
use dht_proto::limits;
use dht_tests::process::Processes;
use dht_tests::wait;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Within this time everybody else has to be answered.
const PROMPT: Duration = Duration::from_secs(1);
/// How much memory harm may cost.
const GROWTH_BYTES: u64 = 200 << 20;
/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn connect(to: SocketAddr) -> TcpStream {
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
        let held: Vec<_> = (0..20).map(|_| stuff(connect(node.client(0)))).collect();
        // They are held while the innocent one is served for a while.
        (0..300).for_each(|_| ping(&node));
        drop(held);
    });
}

/// Sends requests, reading nothing, until the node takes no more of them.
fn stuff(mut stream: TcpStream) -> TcpStream {
    let requests = "HGETALL big\r\n".repeat(1000);
    stream
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    for _ in 0..1000 {
        if stream.write_all(requests.as_bytes()).is_err() {
            return stream;
        }
    }
    panic!("the node takes requests without end");
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
    const IDLE: usize = 9_900;
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most > IDLE as u64 + 200,
        "the system allows for {most} open files only"
    );
    limit.current = Some(most.min(IDLE as u64 + 1000));
    setrlimit(Resource::Nofile, limit).unwrap();

    let node = Processes::alone(&[]);
    let before = node.rss_bytes(0);
    harm(&node, || {
        let mut held = Vec::with_capacity(IDLE);
        for _ in 0..IDLE {
            let mut stream = connect(node.client(0));
            stream.write_all(b"SET k v\r\n").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            held.push(stream);
        }
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
    let mut stream = connect(node.client(0));
    let (mut pings, mut longest) = (0, Duration::ZERO);
    while other.peek(&mut [0]).is_err() {
        let start = Instant::now();
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
        pings += 1;
        longest = longest.max(start.elapsed());
    }
    other.set_nonblocking(false).unwrap();
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
        let mut slow = connect(node.client(0));
        slow.write_all(b"HGETALL big\r\n").unwrap();
        let (pings, longest) = pings_until_answered(&node, &slow);
        (pings > 10 && longest < start.elapsed() / 4).then_some(())
    });
}
