//! What one connection can do to others, and to its own replies: at the ports of a node, beside a
//! real redis-server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dht_proto::{Reply, ReplyError};
use dht_tests::cluster::Cluster;
use dht_tests::native_client::NativeClient;
use dht_tests::process::Processes;
use dht_tests::real_redis::{Mode, RealRedis};
use dht_tests::resp_client::RespClient;
use dht_tests::wait;
use tokio::time::timeout;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// As long as something is waited for that must not come.
const MOMENT: Duration = Duration::from_millis(100);

/// A connection that is there.
pub async fn connect(node: SocketAddr) -> RespClient {
    RespClient::connect(node).await.unwrap()
}

async fn id(client: &mut RespClient) -> String {
    match client.call(&["CLIENT", "ID"]).await.unwrap() {
        Reply::Int(id) => id.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn ends(client: &mut RespClient) {
    let end = timeout(PATIENCE, client.next()).await.expect("an end");
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test]
async fn a_connection_that_is_killed_ends_at_once_at_whatever_port_it_is() {
    let node = Cluster::alone(&[]).await;
    let mut killer = connect(node.client(0)).await;
    for port in [node.client(0), node.redirect(0)] {
        let mut victim = connect(port).await;
        let id = id(&mut victim).await;
        let kill = ["CLIENT", "KILL", "ID", &id];
        assert_eq!(killer.call(&kill).await.unwrap(), Reply::Int(1));
        // It is not to be seen any more, whenever its task ends.
        assert_eq!(killer.call(&kill).await.unwrap(), Reply::Int(0));
        ends(&mut victim).await;
    }
    let mut native = NativeClient::connect(node.client(0)).await.unwrap();
    let Reply::Int(id) = native.call(&["CLIENT", "ID"]).await.unwrap() else {
        panic!("no id");
    };
    let kill = ["CLIENT", "KILL", "TYPE", "normal", "ID", &id.to_string()];
    assert_eq!(killer.call(&kill).await.unwrap(), Reply::Int(1));
    let end = timeout(PATIENCE, native.notification()).await;
    assert!(end.expect("an end").is_err());
    // One that kills itself is told so before.
    let mut native = NativeClient::connect(node.client(0)).await.unwrap();
    let all = ["CLIENT", "KILL", "SKIPME", "no", "USER", "default"];
    assert_eq!(native.call(&all).await.unwrap(), Reply::Int(2));
    let end = timeout(PATIENCE, native.notification()).await;
    assert!(end.expect("an end").is_err());
    ends(&mut killer).await;
}

#[tokio::test]
async fn one_that_waits_for_a_shard_or_listens_is_killed_as_well() {
    let cluster = Cluster::start(3).await;
    let mut killer = connect(cluster.client(0)).await;
    let mut listener = connect(cluster.client(0)).await;
    listener.call(&["HELLO", "3"]).await.unwrap();
    listener.call(&["SUBSCRIBE", "c"]).await.unwrap();
    let kill = ["CLIENT", "KILL", "TYPE", "PUBSUB"];
    assert_eq!(killer.call(&kill).await.unwrap(), Reply::Int(1));
    ends(&mut listener).await;
    let mut victim = connect(cluster.client(0)).await;
    let id = id(&mut victim).await;
    let pause = ["CLIENT", "PAUSE", "60000", "WRITE"];
    assert_eq!(killer.call(&pause).await.unwrap(), Reply::Ok);
    let set = timeout(MOMENT, victim.call(&["SET", "k", "v"])).await;
    assert!(set.is_err(), "it waits");
    let kill = ["CLIENT", "KILL", "ID", &id];
    assert_eq!(killer.call(&kill).await.unwrap(), Reply::Int(1));
    ends(&mut victim).await;
    let unpause = ["CLIENT", "UNPAUSE"];
    assert_eq!(killer.call(&unpause).await.unwrap(), Reply::Ok);
    assert_eq!(killer.call(&["EXISTS", "k"]).await.unwrap(), Reply::Int(0));
}

#[tokio::test]
async fn who_connects_can_end_a_pause_that_has_no_end() {
    let node = Processes::alone(&[]);
    let mut operator = connect(node.client(0)).await;
    let pause = ["CLIENT", "PAUSE", "9223372036854775807"];
    assert_eq!(operator.call(&pause).await.unwrap(), Reply::Ok);
    let get = operator.call(&["GET", "k"]);
    tokio::pin!(get);
    assert!(timeout(MOMENT, &mut get).await.is_err(), "it waits");
    let mut other = connect(node.client(0)).await;
    for line in [
        &["HELLO", "3", "SETNAME", "rescue"][..],
        &["CLIENT", "SETINFO", "LIB-NAME", "rescue"],
        &["CLIENT", "UNPAUSE"],
    ] {
        let answer = timeout(PATIENCE, other.call(line))
            .await
            .expect("an answer");
        assert!(!matches!(answer.unwrap(), Reply::Error(_)), "{line:?}");
    }
    let get = timeout(PATIENCE, get).await.expect("an answer");
    assert_eq!(get.unwrap(), Reply::Nil);
}

#[tokio::test]
async fn a_node_says_that_it_does_not_write_the_file_it_was_started_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    std::fs::write(&file, "shards = 128\n").unwrap();
    let node = Processes::alone(&["--config", file.to_str().unwrap()]);
    let mut client = connect(node.client(0)).await;
    let refused = client.call(&["CONFIG", "REWRITE"]).await.unwrap();
    let why = "ERR Rewriting config file: not supported: a node changes no file of settings";
    assert_eq!(refused, Reply::Error(ReplyError::Received(why.to_owned())));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "shards = 128\n");
}

#[tokio::test]
async fn who_is_paused_waits_until_the_pause_ends() {
    let cluster = Cluster::start(3).await;
    let (mut operator, mut client) = (
        connect(cluster.client(0)).await,
        connect(cluster.client(0)).await,
    );
    let pause = ["CLIENT", "PAUSE", "600000", "WRITE"];
    assert_eq!(operator.call(&pause).await.unwrap(), Reply::Ok);
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), Reply::Nil);
    let mut writer = connect(cluster.client(0)).await;
    let set = writer.call(&["SET", "k", "1"]);
    tokio::pin!(set);
    assert!(timeout(MOMENT, &mut set).await.is_err(), "it waits");
    assert_eq!(operator.call(&["GET", "k"]).await.unwrap(), Reply::Nil);
    // Whoever is connected to another node goes on.
    let mut other = connect(cluster.client(1)).await;
    assert_eq!(other.call(&["SET", "l", "1"]).await.unwrap(), Reply::Ok);
    assert_eq!(
        operator.call(&["CLIENT", "UNPAUSE"]).await.unwrap(),
        Reply::Ok
    );
    let set = timeout(PATIENCE, set).await.expect("an answer");
    assert_eq!(set.unwrap(), Reply::Ok);
    // And by itself, when its time is over, at either port and in either protocol.
    let mut redirected = connect(cluster.redirect(0)).await;
    let mut native = NativeClient::connect(cluster.client(0)).await.unwrap();
    native.call(&["PING"]).await.unwrap();
    redirected.call(&["PING"]).await.unwrap();
    let begun = Instant::now();
    operator.call(&["CLIENT", "PAUSE", "150"]).await.unwrap();
    let pong = Reply::Status("PONG".into());
    assert_eq!(native.call(&["PING"]).await.unwrap(), pong);
    assert!(begun.elapsed() >= Duration::from_millis(149));
    assert_eq!(redirected.call(&["PING"]).await.unwrap(), pong);
    assert_eq!(client.call(&["PING"]).await.unwrap(), pong);
}

/// Sends bytes and gives everything that comes until the other side closes.
fn exchange(to: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_answered_is_executed_without_an_answer_as_by_real_redis() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let alone = Cluster::alone(&[]).await;
    let cluster = Cluster::start(3).await;
    for script in [
        "CLIENT REPLY OFF|SET k 1|INCR k|GET|nonsense|CLIENT REPLY ON|GET k|QUIT",
        "CLIENT REPLY SKIP|SET k 5|GET k|CLIENT REPLY SKIP|GET k|INCR k|QUIT",
        "CLIENT REPLY SKIP|CLIENT REPLY SKIP|GET k|GET k|QUIT",
        "CLIENT REPLY SKIP|CLIENT REPLY ON|GET k|QUIT",
        "CLIENT REPLY OFF|CLIENT REPLY SKIP|GET k|CLIENT REPLY ON|PING|QUIT",
        "CLIENT REPLY OFF|MULTI|SET k 1|EXEC|CLIENT REPLY ON|GET k|QUIT",
        "CLIENT REPLY OFF|RESET|PING|QUIT",
        "CLIENT REPLY OFF|SUBSCRIBE c|UNSUBSCRIBE c|CLIENT REPLY ON|PING|QUIT",
        "CLIENT REPLY SKIP|HELLO 3|HGETALL none|QUIT",
    ] {
        let lines = script.replace('|', "\r\n") + "\r\n";
        let expect = exchange(server.address, &lines);
        for node in [alone.client(0), cluster.client(1), cluster.client(2)] {
            assert_eq!(exchange(node, &lines), expect, "{script}");
        }
    }
    let mut native = NativeClient::connect(alone.client(0)).await.unwrap();
    for (word, is_refused) in [("ON", false), ("OFF", true), ("SKIP", true)] {
        let answer = native.call(&["CLIENT", "REPLY", word]).await.unwrap();
        assert_eq!(matches!(answer, Reply::Error(_)), is_refused, "{answer:?}");
    }
}

#[test]
fn a_client_ends_a_node_which_hands_over_what_it_leads() {
    let mut cluster = Processes::start(3);
    cluster.await_safe(0);
    let set = |node: usize, n: usize| cluster.ask(node, &format!("SET key:{n} 1")).unwrap();
    (0..30).for_each(|n| assert_eq!(set(n % 3, n), "+OK\r\n"));
    let answer = exchange(cluster.client(1), "SET key:x 1\r\nSHUTDOWN\r\nPING\r\n");
    assert_eq!(answer, "+OK\r\n", "the end is the answer");
    assert_eq!(cluster.wait(1), Some(0));
    let log = cluster.log(1);
    assert!(log.contains("leaderships handed over"), "{log}");
    for n in 0..30 {
        // Nobody had to be elected.
        let answer = cluster.ask([0, 2][n % 2], &format!("GET key:{n}")).unwrap();
        assert_eq!(answer, "$1\r\n1\r\n");
    }
    let now = exchange(cluster.redirect(0), "SHUTDOWN NOSAVE NOW FORCE\r\n");
    assert_eq!(now, "");
    assert_eq!(cluster.wait(0), Some(0));
    let log = cluster.log(0);
    assert!(!log.contains("leaderships handed over"), "{log}");
}

#[tokio::test]
async fn a_node_in_frames_says_that_it_ends() {
    let mut alone = Processes::alone(&[]);
    let mut native = NativeClient::connect(alone.client(0)).await.unwrap();
    assert_eq!(native.call(&["SHUTDOWN"]).await.unwrap(), Reply::Ok);
    assert_eq!(alone.wait(0), Some(0));
    // A program that does not wait for clients to end its node is told of none.
    let part = Cluster::alone(&[]).await;
    let mut client = connect(part.client(0)).await;
    let answer = client.call(&["SHUTDOWN"]).await.unwrap();
    let why = "ERR the program that this node is a part of does not end it for clients";
    assert!(
        matches!(&answer, Reply::Error(error) if error.to_string() == why),
        "{answer:?}"
    );
    assert_eq!(client.call(&["EXISTS", "k"]).await.unwrap(), Reply::Int(0));
}

#[tokio::test]
async fn debug_is_for_those_who_are_allowed_and_stops_no_replica() {
    let node = Cluster::alone(&["--enable-debug-command", "local"]).await;
    let (mut one, mut two) = (connect(node.client(0)).await, connect(node.client(0)).await);
    two.call(&["PING"]).await.unwrap();
    let begun = Instant::now();
    let slept = one.call(&["DEBUG", "SLEEP", "0.2"]);
    let asked = async {
        wait::until_async("the pause", PATIENCE, || {
            let now_ms = node.running(0).node.pause.left_ms(0);
            (now_ms > 0).then_some(())
        })
        .await;
        two.call(&["PING"]).await
    };
    let (slept, asked) = tokio::join!(slept, asked);
    assert_eq!(slept.unwrap(), Reply::Ok);
    assert_eq!(asked.unwrap(), Reply::Status("PONG".into()));
    assert!(begun.elapsed() >= Duration::from_millis(199));
    // What is due is not removed as long as nobody asks for it.
    one.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"])
        .await
        .unwrap();
    one.call(&["SET", "k", "v", "PX", "1"]).await.unwrap();
    let mut size = Reply::Nil;
    for _ in 0..3 {
        one.call(&["DEBUG", "SLEEP", "0.1"]).await.unwrap();
        size = one.call(&["DBSIZE"]).await.unwrap();
    }
    assert_eq!(size, Reply::Int(1));
    one.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"])
        .await
        .unwrap();
    let mut left = Reply::Int(1);
    while left == Reply::Int(1) {
        one.call(&["DEBUG", "SLEEP", "0.01"]).await.unwrap();
        left = one.call(&["DBSIZE"]).await.unwrap();
    }
    assert_eq!(left, Reply::Int(0));
}
