//! What is told of keys: the same as by a real redis-server, by one node of a cluster, to listeners
//! of all.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::Reply;
use dht_tests::cluster::Cluster;
use dht_tests::real_redis::{Mode, RealRedis};
use dht_tests::resp_client::RespClient;
use dht_tests::wait;
use tokio::time::timeout;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);
const SETTING: &str = "notify-keyspace-events";
/// Everything that there is, new keys included.
const ALL: &str = "KEAn";

/// Commands whose events are compared; their keys are of one slot.
const COMMANDS: &str = "
SET {t}a 1
SET {t}a 1 EX 100
SET {t}a 1 KEEPTTL
SET {t}a 1 NX
SET {t}a 1 XX GET
SETEX {t}a 10 1
PSETEX {t}p 100000 1
GETEX {t}a
GETEX {t}a PERSIST
GETEX {t}a PERSIST
GETEX {t}a EX 10
GETEX {t}a EXAT 1
SETNX {t}a 1
SETNX {t}a 1
GETSET {t}a 2
GETDEL {t}a
GETDEL {t}a
MSET {t}a 1 {t}b 2
MSETNX {t}a 1 {t}c 1
MSETNX {t}c 1 {t}d 1
APPEND {t}a 1
APPEND {t}new 1
INCR {t}a
DECR {t}a
INCRBY {t}a 2
DECRBY {t}a 2
INCR {t}counter
INCRBYFLOAT {t}a 1.5
SETRANGE {t}b 0 x
SETRANGE {t}b 0 \"\"
GET {t}a
EXPIRE {t}a 10
EXPIRE {t}a 10 NX
PEXPIRE {t}a 100000
EXPIREAT {t}a 9999999999
PEXPIREAT {t}a 9999999999999
PERSIST {t}a
PERSIST {t}a
EXPIRE {t}a -1
EXPIRE {t}a -1
SET {t}a 1
RENAME {t}a {t}z
RENAME {t}z {t}z
RENAME {t}z {t}b
RENAMENX {t}b {t}c
RENAMENX {t}b {t}z
COPY {t}z {t}y
COPY {t}z {t}y
COPY {t}z {t}y REPLACE
COPY {t}none {t}y REPLACE
TOUCH {t}z
DEL {t}a {t}c {t}y
UNLINK {t}z
HSET {t}h a 1 b 2
HSET {t}h a 1
HMSET {t}h a 1
HSETNX {t}h a 1
HSETNX {t}h c 1
HINCRBY {t}h a 1
HINCRBYFLOAT {t}h a 1.5
HINCRBY {t}i a 1
HGETALL {t}h
HDEL {t}h none
HDEL {t}h a
HDEL {t}h b c
HDEL {t}h b
MULTI
SET {t}m 1
INCR {t}m
HSET {t}m a 1
DEL {t}m
EXEC
";

/// A connection that is pushed what it listens to.
async fn connect(node: SocketAddr) -> RespClient {
    let mut client = crate::connections::connect(node).await;
    client.call(&["HELLO", "3"]).await.unwrap();
    client
}

async fn listener(node: SocketAddr) -> RespClient {
    let mut listener = connect(node).await;
    let answer = listener
        .call(&["PSUBSCRIBE", "__key*@0__:*"])
        .await
        .unwrap();
    assert!(matches!(answer, Reply::Pushes(_)), "{answer:?}");
    listener
}

/// The next event: its channel and its text.
async fn event(listener: &mut RespClient) -> String {
    let next = timeout(PATIENCE, listener.next()).await;
    match next.expect("an event").unwrap() {
        Reply::Pushes(messages) => match &messages[0][..] {
            [_, _, Reply::Bulk(channel), Reply::Bulk(text)] => {
                let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!("{} {}", shown(channel), shown(text))
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

async fn set(node: SocketAddr, letters: &str) {
    let answer = connect(node)
        .await
        .call(&["CONFIG", "SET", SETTING, letters])
        .await;
    assert_eq!(answer.unwrap(), Reply::Ok);
}

/// Waits until a node tells what was set, wherever.
async fn until_told(cluster: &Cluster, node: usize, letters: &str) {
    let expect = Reply::Map(vec![(Reply::bulk(SETTING), Reply::bulk(letters))]);
    let running = cluster.running(node);
    let told = || {
        let flags = running.node.store.events.setting().flags;
        (flags.to_string() == letters).then_some(())
    };
    wait::until_async("the setting", PATIENCE, told).await;
    let mut client = connect(cluster.client(node)).await;
    let answer = client.call(&["CONFIG", "GET", SETTING]).await.unwrap();
    assert_eq!(answer, expect);
}

/// Runs the commands, and gives the events up to a last one.
async fn run(node: SocketAddr, listener: &mut RespClient) -> Vec<String> {
    let mut client = connect(node).await;
    client.call(&["FLUSHALL"]).await.unwrap();
    for line in COMMANDS.lines().filter(|line| !line.is_empty()) {
        let words = dht_proto::resp::split_words(line.as_bytes()).unwrap();
        client.call(&words).await.unwrap();
    }
    let Reply::Bulk(dumped) = client.call(&["DUMP", "{t}counter"]).await.unwrap() else {
        panic!("nothing was dumped");
    };
    for ttl in [&b"0"[..], b"100000"] {
        let words = [&b"RESTORE"[..], b"{t}counter", ttl, &dumped, b"REPLACE"];
        assert_eq!(client.call(&words).await.unwrap(), Reply::Ok);
    }
    // Whose time has passed is not made, and removes what there was.
    for key in ["{t}counter", "{t}none", "{t}counter"] {
        let words = [
            &b"RESTORE"[..],
            key.as_bytes(),
            b"1",
            &dumped,
            b"ABSTTL",
            b"REPLACE",
        ];
        assert_eq!(client.call(&words).await.unwrap(), Reply::Ok);
    }
    client.call(&["SET", "{t}end", "1"]).await.unwrap();
    let mut events = Vec::new();
    while events
        .last()
        .is_none_or(|last| last != "__keyevent@0__:set {t}end")
    {
        events.push(event(listener).await);
    }
    events
}

#[tokio::test]
async fn events_are_those_of_real_redis() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    set(server.address, ALL).await;
    let expect = run(server.address, &mut listener(server.address).await).await;
    assert!(expect.len() > 100, "{}", expect.len());
    let alone = Cluster::alone(&[]).await;
    set(alone.client(0), ALL).await;
    let events = run(alone.client(0), &mut listener(alone.client(0)).await).await;
    assert_eq!(events, expect);
    let cluster = Cluster::start(3).await;
    set(cluster.client(0), ALL).await;
    for node in 0..3 {
        until_told(&cluster, node, "AKEn").await;
    }
    // The shard's leader is one of them, and the client and the listener are at others.
    for node in 0..3 {
        let mut listener = listener(cluster.client((node + 1) % 3)).await;
        let events = run(cluster.client(node), &mut listener).await;
        assert_eq!(events, expect, "node {node}");
    }
}

#[tokio::test]
async fn each_event_is_told_once_at_every_node() {
    let cluster = Cluster::start(3).await;
    set(cluster.client(2), "Eg$").await;
    let mut listeners = Vec::new();
    for node in 0..3 {
        until_told(&cluster, node, "g$E").await;
        listeners.push(listener(cluster.client(node)).await);
    }
    let mut expect = BTreeSet::new();
    for n in 0..100 {
        let mut client = connect(cluster.client(n % 3)).await;
        let key = format!("key:{n}");
        client.call(&["SET", &key, "1"]).await.unwrap();
        client.call(&["DEL", &key]).await.unwrap();
        expect.extend(["set", "del"].map(|what| format!("__keyevent@0__:{what} {key}")));
    }
    for listener in &mut listeners {
        let mut events = BTreeSet::new();
        for _ in 0..expect.len() {
            let event = event(listener).await;
            assert!(events.insert(event.clone()), "{event} was told twice");
        }
        assert_eq!(events, expect);
    }
    set(cluster.client(1), "").await;
    for node in 0..3 {
        until_told(&cluster, node, "").await;
    }
    connect(cluster.client(0))
        .await
        .call(&["SET", "key", "1"])
        .await
        .unwrap();
    // What is said last is the first to be heard.
    let last = ["PUBLISH", "__key@0__:last", "word"];
    connect(cluster.client(0)).await.call(&last).await.unwrap();
    for listener in &mut listeners {
        assert_eq!(event(listener).await, "__key@0__:last word");
    }
}

#[tokio::test]
async fn a_node_that_comes_later_learns_what_is_told() {
    let mut cluster = Cluster::start(3).await;
    set(cluster.client(0), "Kx").await;
    cluster.stop(1).await;
    cluster.restart(1).await;
    until_told(&cluster, 1, "xK").await;
    // What is due is removed by the leader of its shard, whichever that is.
    let mut listener = listener(cluster.client(1)).await;
    let mut client = connect(cluster.client(2)).await;
    let mut expect = BTreeSet::new();
    for n in 0..20 {
        let key = format!("key:{n}");
        client.call(&["SET", &key, "1", "PX", "20"]).await.unwrap();
        expect.insert(format!("__keyspace@0__:{key} expired"));
    }
    let mut events = BTreeSet::new();
    while events.len() < expect.len() {
        let event = event(&mut listener).await;
        assert!(events.insert(event.clone()), "{event} was told twice");
    }
    assert_eq!(events, expect);
}

#[tokio::test]
async fn a_node_alone_tells_what_it_was_started_with() {
    let node = Cluster::alone(&["--notify-keyspace-events", "Kx"]).await;
    let mut listener = listener(node.client(0)).await;
    let mut client = connect(node.client(0)).await;
    client
        .call(&["SET", "swept", "1", "PX", "20"])
        .await
        .unwrap();
    assert_eq!(event(&mut listener).await, "__keyspace@0__:swept expired");
    // Commands of later versions than the redis-server of the tests.
    set(node.client(0), "E$g").await;
    let lines: [(&[&str], &[&str]); 3] = [
        (
            &["MSETEX", "2", "a", "1", "b", "2", "EX", "100"],
            &["set a", "expire a", "set b", "expire b"],
        ),
        (&["DELEX", "a", "IFEQ", "2"], &[]),
        (&["DELEX", "a", "IFEQ", "1"], &["del a"]),
    ];
    for (words, events) in lines {
        client.call(words).await.unwrap();
        for expect in events {
            assert_eq!(
                event(&mut listener).await,
                format!("__keyevent@0__:{expect}")
            );
        }
    }
}

/// Commands about the expiry of fields, and what Redis 8 tells of each: the redis-server of the
/// tests does not know them.
const FIELDS: &[(&str, &str)] = &[
    ("HSET {t}h a 1 b 2 c 3 d 4", "hset"),
    ("HEXPIRE {t}h 100 FIELDS 2 a b", "hexpire"),
    ("HPEXPIRE {t}h 100000 NX FIELDS 1 a", ""),
    ("HEXPIRE {t}h 100 FIELDS 1 none", ""),
    ("HEXPIREAT {t}h 9999999999 FIELDS 2 a none", "hexpire"),
    ("HPEXPIREAT {t}h 9999999999999 GT FIELDS 1 a", "hexpire"),
    ("HPERSIST {t}h FIELDS 2 a b", "hpersist"),
    ("HPERSIST {t}h FIELDS 1 a", ""),
    ("HTTL {t}h FIELDS 1 a", ""),
    ("HGETEX {t}h EX 100 FIELDS 2 a b", "hexpire"),
    ("HGETEX {t}h PERSIST FIELDS 1 a", "hpersist"),
    ("HGETEX {t}h PERSIST FIELDS 1 a", ""),
    ("HGETEX {t}h FIELDS 1 a", ""),
    ("HSETEX {t}h EX 100 FIELDS 1 a 2", "hset hexpire"),
    ("HSETEX {t}h FIELDS 1 a 2", "hset"),
    ("HSETEX {t}h FNX FIELDS 1 a 2", ""),
    ("HSETEX {t}h EXAT 1 FIELDS 1 a 2", "hset hdel"),
    ("HEXPIRE {t}h 0 FIELDS 2 b c", "hdel"),
    ("HGETEX {t}h EXAT 1 FIELDS 1 d", "hdel del"),
    ("HSET {t}h a 1 b 2", "hset"),
    ("HGETDEL {t}h FIELDS 1 none", ""),
    ("HGETDEL {t}h FIELDS 1 a", "hdel"),
    ("HPEXPIREAT {t}h 1 FIELDS 1 b", "hdel del"),
    ("HCAS {t}h a 1 2", ""),
];

#[tokio::test]
async fn what_happens_to_fields_is_told_by_the_names_of_redis() {
    let (alone, cluster) = (Cluster::alone(&[]).await, Cluster::start(3).await);
    for (nodes, count) in [(&alone, 1), (&cluster, 3)] {
        set(nodes.client(0), "Kgh").await;
        for node in 0..count {
            until_told(nodes, node, "ghK").await;
        }
        let mut listener = listener(nodes.client(count - 1)).await;
        let mut client = connect(nodes.client(0)).await;
        for (line, expect) in FIELDS {
            let words: Vec<&str> = line.split(' ').collect();
            let reply = client.call(&words).await.unwrap();
            assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
            // What is told next comes from a key of the same slot, so from the same node.
            client.call(&["HSET", "{t}last", "f", "v"]).await.unwrap();
            let mut told = Vec::new();
            loop {
                match event(&mut listener).await {
                    last if last == "__keyspace@0__:{t}last hset" => break,
                    event => told.push(event.replace("__keyspace@0__:{t}h ", "")),
                }
            }
            assert_eq!(told.join(" "), *expect, "{line}");
        }
        // One by one the fields go whose time has come, and with the last the key.
        set(nodes.client(0), "Khgx").await;
        for node in 0..count {
            until_told(nodes, node, "ghxK").await;
        }
        let words = "HSETEX {t}g PX 20 FIELDS 1 a 1";
        let words: Vec<&str> = words.split(' ').collect();
        client.call(&words).await.unwrap();
        for expect in ["hset", "hexpire", "hexpired", "del"] {
            let expect = format!("__keyspace@0__:{{t}}g {expect}");
            assert_eq!(event(&mut listener).await, expect);
        }
    }
}

#[tokio::test]
async fn events_go_on_when_another_node_leads() {
    let mut cluster = Cluster::start(3).await;
    set(cluster.client(0), "E$").await;
    for node in 0..3 {
        until_told(&cluster, node, "$E").await;
    }
    let mut listener = listener(cluster.client(0)).await;
    let mut client = connect(cluster.client(2)).await;
    let mut heard = BTreeSet::new();
    // Half of them before a node ends that leads some of their shards, half while it does.
    for n in 0..100 {
        if n == 50 {
            cluster.stop(1).await;
        }
        let answer = client.call(&["SET", &format!("key:{n}"), "1"]).await;
        assert_eq!(answer.unwrap(), Reply::Ok);
    }
    // Of those after that, none is missing; and none is ever told twice.
    for n in 100..200 {
        let key = format!("key:{n}");
        client.call(&["SET", &key, "1"]).await.unwrap();
        loop {
            let event = event(&mut listener).await;
            assert!(heard.insert(event.clone()), "{event} was told twice");
            if event == format!("__keyevent@0__:set {key}") {
                break;
            }
        }
    }
    assert!(heard.len() >= 150, "{}", heard.len());
}
