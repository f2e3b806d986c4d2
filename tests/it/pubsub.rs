//! Messages between clients of all nodes: who is told what, in which order, and what becomes of
//! those who do not read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use dht_proto::resp::Version;
use dht_proto::{Reply, limits};
use dht_tests::cluster::Cluster;
use dht_tests::native_client::NativeClient;
use dht_tests::process::{Processes, ask};
use dht_tests::python;
use dht_tests::resp_client::RespClient;
use dht_tests::wait;
use tokio::time::timeout;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a publisher says, in one go.
const WORDS: usize = 500;

/// A client of either protocol.
enum Listener {
    Resp(RespClient, Version),
    Native(NativeClient),
}

impl Listener {
    async fn resp(node: SocketAddr, version: Version) -> Self {
        let mut client = RespClient::connect(node).await.unwrap();
        let number = if version == Version::V3 { "3" } else { "2" };
        client.call(&["HELLO", number]).await.unwrap();
        Self::Resp(client, version)
    }

    async fn native(node: SocketAddr) -> Self {
        Self::Native(NativeClient::connect(node).await.unwrap())
    }

    /// Listens to one name.
    async fn listen(&mut self, command: &str, name: &str) {
        let kind = Reply::bulk(command.to_ascii_lowercase());
        let answer = match self {
            Self::Resp(client, _) => client.call(&[command, name]).await.unwrap(),
            Self::Native(client) => client.call(&[command, name]).await.unwrap(),
        };
        let message = match answer {
            Reply::Pushes(mut messages) => messages.remove(0),
            Reply::Array(mut items) => match items.remove(0) {
                Reply::Array(message) => message,
                first => std::iter::once(first).chain(items).collect(),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(message[..2], [kind, Reply::bulk(name)]);
    }

    /// The next message: its kind, and what stands behind that.
    async fn message(&mut self) -> Vec<String> {
        let words = match self {
            Self::Native(client) => {
                let words = timeout(PATIENCE, client.notification()).await;
                return texts(words.expect("a message").unwrap().iter());
            }
            Self::Resp(client, version) => {
                let next = timeout(PATIENCE, client.next()).await;
                match (next.expect("a message").unwrap(), version) {
                    (Reply::Pushes(mut messages), Version::V3) => messages.remove(0),
                    (Reply::Array(words), Version::V2) => words,
                    (other, _) => panic!("{other:?}"),
                }
            }
        };
        let bytes = words.iter().map(|word| match word {
            Reply::Bulk(bytes) => bytes,
            other => panic!("{other:?}"),
        });
        texts(bytes)
    }
}

fn texts<T: AsRef<[u8]>>(words: impl Iterator<Item = T>) -> Vec<String> {
    words
        .map(|word| String::from_utf8_lossy(word.as_ref()).into_owned())
        .collect()
}

async fn call(node: SocketAddr, words: &[&str]) -> Reply {
    let mut client = RespClient::connect(node).await.unwrap();
    client.call(words).await.unwrap()
}

/// A listener of each protocol at each node.
async fn everybody(cluster: &Cluster) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for node in 0..3 {
        let node = cluster.client(node);
        listeners.push(Listener::resp(node, Version::V2).await);
        listeners.push(Listener::resp(node, Version::V3).await);
        listeners.push(Listener::native(node).await);
    }
    listeners
}

#[tokio::test]
async fn what_is_said_anywhere_is_heard_everywhere() {
    let cluster = Cluster::start(3).await;
    let mut listeners = everybody(&cluster).await;
    for listener in &mut listeners {
        listener.listen("SUBSCRIBE", "news").await;
        listener.listen("PSUBSCRIBE", "n[eo]*").await;
        listener.listen("SSUBSCRIBE", "news").await;
    }
    for node in 0..3 {
        let to = cluster.client(node);
        // Two of its three listeners have words for it; a client hears twice of one message.
        assert_eq!(call(to, &["PUBLISH", "news", "hi"]).await, Reply::Int(6));
        assert_eq!(call(to, &["PUBLISH", "no", "ho"]).await, Reply::Int(3));
        assert_eq!(call(to, &["SPUBLISH", "news", "ha"]).await, Reply::Int(3));
        assert_eq!(call(to, &["PUBLISH", "other", "he"]).await, Reply::Int(0));
        for listener in &mut listeners {
            assert_eq!(listener.message().await, ["message", "news", "hi"]);
            let expect = ["pmessage", "n[eo]*", "news", "hi"];
            assert_eq!(listener.message().await, expect);
            let expect = ["pmessage", "n[eo]*", "no", "ho"];
            assert_eq!(listener.message().await, expect);
            assert_eq!(listener.message().await, ["smessage", "news", "ha"]);
        }
    }
}

#[tokio::test]
async fn the_words_of_a_publisher_arrive_in_order() {
    let cluster = Cluster::start(3).await;
    let mut listeners = everybody(&cluster).await;
    for listener in &mut listeners {
        listener.listen("SUBSCRIBE", "c").await;
    }
    let publishers: Vec<_> = (0..3)
        .map(|publisher| {
            let node = cluster.client(publisher);
            tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(node).unwrap();
                let say = |n| format!("PUBLISH c {publisher}:{n}\r\n");
                let all: String = (0..WORDS).map(say).collect();
                stream.write_all(all.as_bytes()).unwrap();
                let mut answers = vec![0; WORDS * ":3\r\n".len()];
                stream.read_exact(&mut answers).unwrap();
                assert_eq!(answers, b":3\r\n".repeat(WORDS));
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    for listener in &mut listeners {
        let mut next = [0; 3];
        for _ in 0..3 * WORDS {
            let words = listener.message().await;
            let (publisher, n) = words[2].split_once(':').unwrap();
            let expect = &mut next[publisher.parse::<usize>().unwrap()];
            assert_eq!(n, expect.to_string());
            *expect += 1;
        }
        assert_eq!(next, [WORDS; 3]);
    }
}

#[tokio::test]
async fn a_transaction_that_is_not_executed_says_nothing() {
    let cluster = Cluster::start(3).await;
    let mut listener = Listener::resp(cluster.client(2), Version::V3).await;
    listener.listen("SUBSCRIBE", "c").await;
    for node in 0..3 {
        let mut client = RespClient::connect(cluster.client(node)).await.unwrap();
        for changed in [true, false] {
            client.call(&["WATCH", "{k}"]).await.unwrap();
            if changed {
                call(cluster.client(node), &["INCR", "{k}"]).await;
            }
            client.call(&["MULTI"]).await.unwrap();
            client.call(&["INCR", "{k}2"]).await.unwrap();
            let text = format!("{node}:{changed}");
            client.call(&["PUBLISH", "c", &text]).await.unwrap();
            let answer = client.call(&["EXEC"]).await.unwrap();
            assert_eq!(answer == Reply::Nil, changed, "{answer:?}");
        }
        let expect = format!("{node}:false");
        assert_eq!(listener.message().await, ["message", "c", &expect]);
    }
}

#[tokio::test]
async fn replies_keep_their_order_among_messages() {
    let node = Cluster::alone(&[]).await;
    let mut client = Listener::resp(node.client(0), Version::V3).await;
    client.listen("SUBSCRIBE", "c").await;
    let Listener::Resp(client, _) = &mut client else {
        unreachable!("it was made so");
    };
    for n in 0..100 {
        call(node.client(0), &["PUBLISH", "c", "x"]).await;
        let text = n.to_string();
        assert_eq!(
            client.call(&["ECHO", &text]).await.unwrap(),
            Reply::bulk(&text)
        );
    }
    assert_eq!(call(node.client(0), &["PUBSUB", "NUMSUB", "c"]).await, {
        Reply::Array(vec![Reply::bulk("c"), Reply::Int(1)])
    });
}

#[test]
fn who_is_gone_listens_no_more() {
    let node = Processes::alone(&[]);
    let listening = || ask(node.client(0), "PUBSUB NUMSUB c").unwrap();
    let one = "*2\r\n$1\r\nc\r\n:1\r\n";
    let endings: [&[u8]; 4] = [b"", b"QUIT\r\n", b"RESET\r\n", b"UNSUBSCRIBE\r\n"];
    for ending in endings {
        let mut stream = TcpStream::connect(node.client(0)).unwrap();
        stream
            .write_all(b"SUBSCRIBE c\r\nPSUBSCRIBE c*\r\n")
            .unwrap();
        wait::until("a listener", PATIENCE, || {
            (listening() == one).then_some(())
        });
        stream.write_all(ending).unwrap();
        let stays = (!ending.is_empty()).then_some(&stream);
        if stays.is_none() {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
        wait::until("nobody", PATIENCE, || {
            (listening() == one.replace('1', "0").replace("$0", "$1")).then_some(())
        });
    }
}

/// Says so much to those who listen to `c` at `node`, from `from`.
fn say(from: SocketAddr, text_bytes: usize, times: usize) {
    let mut stream = TcpStream::connect(from).unwrap();
    let text = "x".repeat(text_bytes);
    let command = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${text_bytes}\r\n{text}\r\n");
    for _ in 0..times {
        stream.write_all(command.as_bytes()).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
    }
}

#[test]
fn who_does_not_read_is_closed_and_costs_little() {
    const TEXT_BYTES: usize = 1 << 20;
    const TIMES: usize = 120;
    let nodes = Processes::start(3);
    let mut deaf: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(nodes.client(1)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"SUBSCRIBE c\r\n").unwrap();
            let mut answer = [0; "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".len()];
            stream.read_exact(&mut answer).unwrap();
            stream
        })
        .collect();
    let before = nodes.rss_bytes(1);
    say(nodes.client(0), TEXT_BYTES, TIMES);
    let closed = || {
        ask(nodes.client(1), "PUBSUB NUMSUB c")
            .unwrap()
            .ends_with(":0\r\n")
    };
    let mut most = 0;
    wait::until("all to be closed", PATIENCE, || {
        most = most.max(nodes.rss_bytes(1).saturating_sub(before));
        closed().then_some(())
    });
    // What waits is shared by all who wait.
    assert!(most < 200 << 20, "grown by {} MiB", most >> 20);
    for stream in &mut deaf {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < TEXT_BYTES * TIMES, "{}", rest.len());
    }
    assert!(nodes.log(1).len() < 1 << 20);
}

#[test]
fn who_reads_slowly_hears_everything_that_fits() {
    const TEXT_BYTES: usize = 64 * 1024;
    let times = limits::MESSAGES_SOFT_BYTES / (TEXT_BYTES + 1024);
    let nodes = Processes::start(3);
    let mut stream = TcpStream::connect(nodes.client(2)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"SUBSCRIBE c\r\n").unwrap();
    let mut answer = [0; "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".len()];
    stream.read_exact(&mut answer).unwrap();
    say(nodes.client(0), TEXT_BYTES, times);
    // The last word is heard behind all others.
    say(nodes.client(0), 1, 1);
    let head = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${TEXT_BYTES}\r\n");
    let mut message = vec![0; head.len() + TEXT_BYTES + 2];
    for _ in 0..times {
        stream.read_exact(&mut message).unwrap();
        assert_eq!(&message[..head.len()], head.as_bytes());
    }
    let last = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n";
    stream.read_exact(&mut message[..last.len()]).unwrap();
    assert_eq!(&message[..last.len()], last);
}

#[test]
fn redis_py_listens_at_every_node() {
    let cluster = Processes::start(3);
    let clients = (0..3).map(|node| cluster.client(node));
    let ports = clients.chain([cluster.redirect(0)]);
    let ports: Vec<_> = ports.map(|node| node.port().to_string()).collect();
    assert_eq!(python::run("python/pubsub.py", &ports), "right\n");
}
