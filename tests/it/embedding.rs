//! Nodes inside of a program: this one, and those of node/examples.

use std::future::poll_fn;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use dht_client::{Client, Error};
use dht_node::{Listeners, Node};
use dht_proto::slot::key_slot;
use dht_tests::process::program;
use tokio::time::timeout;

/// Time for what takes much less.
const SOON: Duration = Duration::from_secs(20);

async fn cluster() -> Vec<Node> {
    let mut nodes = Vec::new();
    for node in Node::cluster(3).unwrap() {
        nodes.push(node.start().await.unwrap());
    }
    for node in &mut nodes {
        timeout(SOON, node.ready()).await.unwrap().unwrap();
    }
    nodes
}

/// What comes of a call without waiting for anybody.
async fn at_once<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    // So that no turn is given to others in the middle of the call.
    tokio::task::yield_now().await;
    poll_fn(|cx| {
        Poll::Ready(match call.as_mut().poll(cx) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn three_nodes_in_one_runtime_are_one_table() {
    let nodes = cluster().await;
    let clients: Vec<Client> = nodes.iter().map(Node::client).collect();
    for n in 0..100 {
        let key = format!("key:{n}");
        clients[n % 3].hset(&key, [("n", n)]).await.unwrap();
        let read = clients[(n + 1) % 3].hget(&key, "n").await.unwrap();
        assert_eq!(read, Some(n.to_string().into()));
    }
    assert_eq!(clients[2].dbsize().await, Ok(100));
    // No socket was needed but those between the nodes.
    for node in &nodes {
        let clients = node.node.clients.iter();
        let addresses: Vec<String> = clients.map(|facts| facts.addr.clone()).collect();
        assert_eq!(addresses, ["inside:0"]);
        assert!(node.node.stats.forwarded.load(Relaxed) > 0);
    }
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn what_a_node_leads_is_read_at_once() {
    let nodes = cluster().await;
    let view = nodes[0].node.view.load();
    let topology = view.topology.as_ref().unwrap();
    let client = nodes[0].client();
    let (mut here, mut there) = (0, 0);
    for n in 0..100 {
        let key = format!("key:{n}");
        client.hset(&key, [("f", "v")]).await.unwrap();
        let shard = topology.shard_of(key_slot(key.as_bytes()));
        let is_here = topology.shards[shard].leader == view.me;
        match at_once(client.hget(&key, "f")).await {
            Some(value) => {
                assert_eq!(value, Ok(Some("v".into())));
                assert!(is_here, "{key} is led elsewhere");
                here += 1;
            }
            None => there += 1,
        }
    }
    assert!(here > 10 && there > 10, "{here} here and {there} there");
}

#[tokio::test]
async fn a_node_alone_does_what_is_of_one_slot_at_once() {
    let node = Node::builder().start().await.unwrap();
    let client = node.client();
    assert_eq!(at_once(client.hset("h", [("f", "v")])).await, Some(Ok(1)));
    let value = at_once(client.hget("h", "f")).await;
    assert_eq!(value, Some(Ok(Some("v".into()))));
    let refused = at_once(client.get("h")).await;
    assert!(matches!(refused, Some(Err(Error::Reply(_)))), "{refused:?}");
    assert_eq!(at_once(client.dbsize()).await, None);
}

#[tokio::test]
async fn a_long_answer_is_whole() {
    let alone = vec![Node::builder().start().await.unwrap()];
    for nodes in [alone, cluster().await] {
        for node in &nodes {
            let client = node.client();
            let fields = (0..5000).map(|n| (n.to_string(), n));
            client.hset("long", fields).await.unwrap();
            assert_eq!(client.hgetall("long").await.unwrap().len(), 5000);
            assert_eq!(client.hkeys("long").await.unwrap().len(), 5000);
            let taken = client.hgetdel("long", ["1", "none"]).await.unwrap();
            assert_eq!(taken, [Some("1".into()), None]);
        }
    }
}

/// Who asks for what is there in a loop leaves the others their turn.
#[tokio::test]
async fn calls_that_never_wait_hold_up_nobody() {
    let node = Node::builder().start().await.unwrap();
    let client = node.client();
    let asking = async { while client.get("stop").await.unwrap().is_none() {} };
    let other = client.clone();
    let setting = tokio::spawn(async move { other.set("stop", "now").await });
    timeout(SOON, asking).await.unwrap();
    setting.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_said_at_one_node_is_heard_inside_of_another() {
    let nodes = cluster().await;
    let mut news = nodes[1].client().subscription();
    news.subscribe(["news"]).await.unwrap();
    nodes[2].client().publish("news", "hello").await.unwrap();
    let message = timeout(SOON, news.next()).await.unwrap().unwrap();
    assert_eq!(
        (&message.channel[..], &message.text[..]),
        (&b"news"[..], &b"hello"[..])
    );
}

#[tokio::test]
async fn a_password_is_for_those_outside() {
    let node = Node::builder().password("secret").start().await.unwrap();
    node.client().set("k", "v").await.unwrap();
    assert_eq!(node.client().ping().await, Ok("PONG".to_owned()));
    let outside = Client::connect(&node.client_addr.to_string()).await;
    assert!(outside.is_err());
    let url = format!("dht://:secret@{}", node.client_addr);
    let outside = Client::connect(&url).await.unwrap();
    assert_eq!(outside.get("k").await, Ok(Some("v".into())));
}

#[tokio::test]
async fn a_node_that_has_ended_may_be_started_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Listeners::any().unwrap();
    let addresses = (ports.clients[0].local_addr(), ports.redirect.local_addr());
    let (listen, redirect) = (addresses.0.unwrap(), addresses.1.unwrap());
    drop(ports);
    for round in 0..3 {
        let builder = Node::builder().listen([listen]).cluster_listen(redirect);
        let mut node = builder.data_dir(folder.path()).start().await.unwrap();
        timeout(SOON, node.ready()).await.unwrap().unwrap();
        let client = node.client();
        assert_eq!(client.incr("rounds").await, Ok(round + 1));
        node.shutdown().await;
        let refused = client
            .with_deadline(Duration::from_millis(50))
            .get("rounds")
            .await;
        assert!(matches!(refused, Err(Error::NotDone(_))), "{refused:?}");
        drop(TcpListener::bind(listen).unwrap());
    }
}

#[test]
fn a_program_that_embeds_a_node_has_no_crates_of_a_program() {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--package", "dht-node", "--no-default-features"]);
    cargo.args(["--edges", "normal,build", "--prefix", "none", "--locked"]);
    let tree = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        names.contains(&"dht-client") && names.contains(&"tokio"),
        "{tree}"
    );
    let (cli, http, tls) = (
        [
            "clap",
            "toml",
            "tracing-subscriber",
            "mimalloc",
            "rustyline",
        ],
        ["axum", "hyper", "http", "httparse", "h2"],
        ["rustls", "ring", "openssl", "native-tls", "redis"],
    );
    for name in [cli, http, tls].concat() {
        assert!(!names.contains(&name), "{name}");
    }
}

#[test]
fn the_rate_limiter_allows_what_it_should() {
    let ended = Command::new(program("examples/rate_limiter"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(printed, "allowed 10 of 100\n", "{ended:?}");
}

#[test]
fn instances_of_a_web_service_share_their_sessions() {
    let mut service = Command::new(program("examples/sessions"));
    let service = service.stdout(Stdio::piped()).spawn().unwrap();
    let mut service = Ended(service);
    let printed = BufReader::new(service.0.stdout.take().unwrap()).lines();
    let urls: Vec<String> = printed.take(3).map(Result::unwrap).collect();
    let at: Vec<&str> = urls.iter().map(|url| &url["http://".len()..]).collect();
    let welcome = http(at[0], "POST /login/Alice", "");
    assert!(welcome.ends_with("Welcome, Alice\n"), "{welcome}");
    let (_, cookie) = welcome.split_once("set-cookie: ").unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    for (page, address) in (1..).zip(&at) {
        let answer = http(address, "GET /me", cookie);
        assert!(
            answer.ends_with(&format!("Alice, page {page}\n")),
            "{answer}"
        );
    }
    let stranger = format!("session={}", "0".repeat(32));
    let answer = http(at[1], "GET /me", &stranger);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

/// A process that is ended with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a web server answers.
fn http(address: &str, request: &str, cookie: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = format!("host: {address}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n");
    write!(stream, "{request} HTTP/1.1\r\n{head}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
