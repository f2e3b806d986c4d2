//! What stands between the network and the core: the first bytes, the password, the cluster's
//! secret, the limits on connections and time, and how a connection ends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use dht_node::core::replication::mail::{Mail, Number, Post, Sent};
use dht_node::core::replication::task;
use dht_proto::frame::{self, Role};
use dht_proto::limits;
use dht_proto::peer::{Dialer, PeerHello, Step};
use dht_proto::topology::NodeId;
use dht_tests::cluster::Cluster;
use dht_tests::process::{Processes, ask, program};
use dht_tests::real_redis::{Mode, RealRedis};

use crate::hostile::connect;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes and gives everything that comes until the other side closes.
fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(to);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bytes_that_make_no_request_in_time_are_answered_before_the_close() {
    let node = Processes::alone(&[]);
    let expect = "-ERR Protocol error: no complete request within 5 seconds\r\n";
    let attempts = [&b"Hello, server!"[..], b"", b"*2\r\n$4\r\nECHO\r\n$3\r\nab"];
    let start = Instant::now();
    thread::scope(|scope| {
        for bytes in attempts {
            scope.spawn(|| assert_eq!(exchange(node.client(0), bytes), expect));
        }
    });
    let took = start.elapsed();
    assert!(took >= limits::FIRST_REQUEST, "{took:?}");
    assert!(
        took < limits::FIRST_REQUEST + Duration::from_secs(2),
        "{took:?}"
    );
}

#[test]
fn after_a_first_request_there_is_all_the_time_in_the_world() {
    let node = Processes::alone(&[]);
    let mut calm = connect(node.client(0));
    calm.write_all(b"PING\r\nPIN").unwrap();
    let mut answer = [0; 7];
    calm.read_exact(&mut answer).unwrap();
    // As long as somebody else is cut off.
    exchange(node.client(0), b"");
    calm.write_all(b"G\r\n").unwrap();
    calm.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn everything_is_answered_after_the_client_has_said_its_last() {
    let node = Processes::start(3);
    let mut stream = connect(node.client(0));
    let mut requests = String::new();
    let mut expect = String::new();
    for i in 0..100 {
        requests.push_str(&format!("SET key:{i} {i}\r\nGET key:{i}\r\n"));
        expect.push_str(&format!("+OK\r\n${}\r\n{i}\r\n", i.to_string().len()));
    }
    stream.write_all(requests.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, expect);
}

#[test]
fn the_number_of_clients_is_limited() {
    let node = Processes::alone(&["--max-clients", "2"]);
    // The connection that asked whether the node is ready may still have its place.
    let clients = [node.client(0), node.redirect(0)].map(|door| {
        dht_tests::wait::until("a place", PATIENCE, || {
            let mut client = connect(door);
            let mut answer = [0; 7];
            client.write_all(b"PING\r\n").ok()?;
            client.read_exact(&mut answer).ok()?;
            (answer == *b"+PONG\r\n").then_some(client)
        })
    });
    let refusal = "-ERR max number of clients reached\r\n";
    assert_eq!(exchange(node.client(0), b"PING\r\n"), refusal);
    assert_eq!(exchange(node.redirect(0), b"PING\r\n"), refusal);
    drop(clients);
    dht_tests::wait::until("a free place", PATIENCE, || {
        let answer = ask(node.client(0), "PING").ok()?;
        (answer == "+PONG\r\n").then_some(())
    });
}

#[test]
fn a_password_is_asked_for() {
    let node = Processes::alone(&["--password", "sesame"]);
    for door in [node.client(0), node.redirect(0)] {
        let requests = b"GET k\r\nAUTH nonsense\r\nSET k v\r\nAUTH sesame\r\nSET k v\r\nQUIT\r\n";
        let expect = "-NOAUTH Authentication required.\r\n\
            -WRONGPASS invalid username-password pair or user is disabled.\r\n\
            -NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n+OK\r\n";
        assert_eq!(exchange(door, requests), expect);
    }
}

#[test]
fn a_password_is_neither_shown_nor_changed() {
    let node = Processes::alone(&["--password", "sesame"]);
    let refused = "-ERR CONFIG SET failed (possibly related to argument 'requirepass') - can't set \
                   immutable config\r\n";
    let check = |line: &str, expect: &str| {
        let answer = exchange(
            node.client(0),
            format!("AUTH sesame\r\n{line}\r\nQUIT\r\n").as_bytes(),
        );
        assert_eq!(answer, format!("+OK\r\n{expect}+OK\r\n"), "{line}");
    };
    let hidden = "*2\r\n$11\r\nrequirepass\r\n$8\r\n(hidden)\r\n";
    check("CONFIG GET requirepass", hidden);
    check("CONFIG SET requirepass (hidden)", refused);
    check("CONFIG SET requirepass other", refused);
}

#[test]
fn the_network_is_served_with_a_password_only() {
    let refused = |flags: &[&str]| {
        let ended = Command::new(program("dht-node"))
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let said = refused(&["--listen", "0.0.0.0:0"]);
    assert!(
        said.contains("refusing to serve 0.0.0.0:0 without a password"),
        "{said}"
    );
    assert!(refused(&["--shards", "5"]).contains("a power of two"));
    assert!(refused(&["--log", "=nonsense="]).contains("--log"));
}

#[test]
fn the_environment_is_above_the_file_and_below_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dht.toml");
    std::fs::write(&file, "shards = 3\nlog-format = 'xml'").unwrap();
    let complaint = |flags: &[&str]| {
        let mut command = Command::new(program("dht-node"));
        let ended = command
            .env("DHT_CONFIG", &file)
            .env("DHT_SHARDS", "5")
            .args(flags)
            .output();
        String::from_utf8(ended.unwrap().stderr).unwrap()
    };
    assert!(
        complaint(&[]).contains("'5' for '--shards"),
        "{}",
        complaint(&[])
    );
    assert!(complaint(&["--shards", "7"]).contains("'7' for '--shards"));
    assert!(complaint(&["--shards", "8"]).contains("'xml' for '--log-format"));
}

/// A connection that has sent the preface of a node.
struct Impostor {
    stream: TcpStream,
}

impl Impostor {
    fn new(to: SocketAddr) -> Self {
        let mut stream = connect(to);
        stream.write_all(&frame::preface(Role::Peer)).unwrap();
        Self { stream }
    }

    fn send(&mut self, frame: &[u8]) {
        // The node may have closed the connection already.
        let _ = self.stream.write_all(frame);
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    /// Shakes hands as a node does that knows this secret; says whether it was let in.
    fn introduce_itself(&mut self, secret: &str) -> bool {
        let mut dialer = Dialer::new(secret.as_bytes(), [7; 32], hello());
        self.send(&dialer.challenge());
        while let Some(frame) = self.frame() {
            match dialer.on_frame(&frame) {
                Ok(Step::Send(answer)) => self.send(&answer),
                Ok(Step::Done { .. }) => return true,
                Err(_) => return false,
            }
        }
        false
    }

    /// Sends a write to the leader of a shard as nodes do.
    fn send_write(&mut self) {
        let task = task::command(&["SET", "k", "impostor"]);
        let mut post = Post::default();
        let sent = Sent {
            shard: 0,
            number: Number::Logged(1),
            session: 1,
            after: 0,
            task: &task,
        };
        post.send(NodeId([1; 20]), &Mail::Task(sent));
        for (_, mails) in post.take() {
            let length = u32::try_from(mails.len()).unwrap();
            self.send(&[&length.to_be_bytes(), &mails[..]].concat());
        }
    }

    /// Whether the node closes the connection.
    fn is_cut_off(&mut self) -> bool {
        self.frame().is_none()
    }
}

fn hello() -> PeerHello {
    PeerHello {
        node: NodeId([7; 20]),
        client: String::new(),
        alone: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_prove_itself_reaches_nothing() {
    let cluster = Cluster::start(1).await;
    let to = cluster.client(0);
    let received = || {
        let stats = &cluster.running(0).node.stats;
        stats.frames_received.load(Relaxed)
    };

    // At once, instead of the challenge; and after a handshake with the wrong secret.
    let mut hasty = Impostor::new(to);
    hasty.send_write();
    assert!(hasty.is_cut_off());
    let mut wrong = Impostor::new(to);
    assert!(!wrong.introduce_itself("guess"));
    wrong.send_write();
    assert!(wrong.is_cut_off());
    // With a proof that is not looked at by the impostor, but by the node.
    let mut blind = Impostor::new(to);
    let dialer = Dialer::new(b"guess", [7; 32], hello());
    blind.send(&dialer.challenge());
    assert!(blind.frame().is_some(), "the node proves itself first");
    blind.send(&dialer.challenge());
    blind.send_write();
    assert!(blind.is_cut_off());
    assert_eq!(received(), 0);
    assert_eq!(ask(to, "EXISTS k").unwrap(), ":0\r\n");

    // The same frame of one that knows the secret, which is empty here, does arrive.
    let mut honest = Impostor::new(to);
    assert!(honest.introduce_itself(""));
    honest.send_write();
    dht_tests::wait::until("the frame", PATIENCE, || (received() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_started_alone_lets_none_in() {
    let node = Cluster::alone(&[]).await;
    let mut joiner = Impostor::new(node.client(0));
    assert!(joiner.introduce_itself(""), "it is told why");
    joiner.send_write();
    assert!(joiner.is_cut_off());
    assert_eq!(ask(node.client(0), "EXISTS k").unwrap(), ":0\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_shutdown_what_was_executed_is_answered() {
    let mut cluster = Cluster::start(3).await;
    let mut stream = connect(cluster.client(0));
    // Other nodes answer most of these.
    let requests: String = (0..500).map(|i| format!("SET key:{i} v\r\n")).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut first = [0; 5];
    stream.read_exact(&mut first).unwrap();
    cluster.stop(0).await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "+OK\r\n".repeat(499));
    assert!(
        TcpStream::connect(cluster.client(0)).is_err(),
        "it accepts no more"
    );
}

#[test]
fn signals_end_a_node_with_success() {
    for signal in ["-TERM", "-INT"] {
        let mut node = Processes::alone(&[]);
        let mut idle = connect(node.client(0));
        assert_eq!(node.end_by(0, signal), Some(0), "{signal}");
        assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    }
}

/// Also where another node has made the error.
#[test]
fn errors_repeat_words_byte_by_byte_as_redis_does() {
    let requests: [&[u8]; 8] = [
        b"\xe9t\xe9 \xff\xfe b",
        b"CLIENT \xe9",
        b"SET key:1 v",
        b"EXPIRE key:1 10 \xff\xfe",
        b"CLIENT LIST TYPE \xff",
        b"HELLO 3 \xff",
        b"CONFIG SET \xff\xe9 b",
        b"gr\xc3\xb6\xc3\x9fer \xf4\x8f\xbe\x80",
    ];
    let requests = [&requests.join(&b"\r\n"[..]), &b"\r\nQUIT\r\n"[..]].concat();
    let ask = |to: SocketAddr| {
        let mut stream = connect(to);
        stream.write_all(&requests).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer.escape_ascii().to_string()
    };
    let redis = RealRedis::start(Mode::Alone).unwrap();
    let expect = ask(redis.address);
    assert!(expect.contains(r"Unsupported option \xff\xfe"), "{expect}");
    let cluster = Processes::start(3);
    for node in 0..3 {
        assert_eq!(ask(cluster.client(node)), expect, "node {node}");
    }
}
