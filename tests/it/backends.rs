//! One client over everything that it can speak with: what a program does with it is the same, so
//! there is one list of what it does, tried on each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dht_client::{
    Cause, Client, Error, Exists, ExpireIf, Expiry, FromReply, Message, Renewal, Reply,
    ScanOptions, SetOptions, ValueIs,
};
use dht_tests::cluster::Cluster;
use dht_tests::real_redis::{Mode, RealCluster, RealRedis};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

/// What is there, and whether it knows what Redis has since 8.4.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dht,
    Redis,
}

#[tokio::test(flavor = "multi_thread")]
async fn frames() {
    let cluster = Cluster::start(3).await;
    let nodes = (0..3).map(|node| cluster.client(node).to_string());
    let url = format!("dht://{}", nodes.collect::<Vec<_>>().join(","));
    everything(&url, Kind::Dht).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_of_redis_to_a_node() {
    let cluster = Cluster::start(3).await;
    everything(&format!("redis://{}", cluster.client(1)), Kind::Dht).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_of_redis_to_a_node_alone() {
    let node = Cluster::alone(&[]).await;
    everything(&format!("redis://{}", node.client(0)), Kind::Dht).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_of_redis_cluster_to_redirecting_ports() {
    let cluster = Cluster::start(3).await;
    everything(
        &format!("redis-cluster://{}", cluster.redirect(1)),
        Kind::Dht,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    everything(&format!("redis://{}", server.address), Kind::Redis).await;
}

/// In a process of its own, since whom to trust is said in the environment.
#[test]
fn a_real_server_behind_tls() {
    let server = RealRedis::start(Mode::Tls).unwrap();
    let (address, vouches) = server.tls();
    let mut itself = std::process::Command::new(std::env::current_exe().unwrap());
    itself.args(["--exact", "--ignored", "backends::a_real_server_at"]);
    itself.env("SSL_CERT_FILE", vouches);
    itself.env("A_REAL_SERVER", format!("rediss://{address}"));
    let done = itself.output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_real_server_behind_tls"]
async fn a_real_server_at() {
    let url = std::env::var("A_REAL_SERVER").unwrap();
    everything(&url, Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_cluster() {
    let cluster = RealCluster::start(3).unwrap();
    everything(&cluster.url(), Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_of_a_node() {
    let cluster = Cluster::start(3).await;
    everything_through(cluster.running(1).client(), Kind::Dht).await;
}

#[tokio::test]
async fn inside_of_a_node_alone() {
    let node = Cluster::alone(&[]).await;
    everything_through(node.running(0).client(), Kind::Dht).await;
}

async fn everything(url: &str, kind: Kind) {
    everything_through(Client::connect(url).await.unwrap(), kind).await;
}

async fn everything_through(client: Client, kind: Kind) {
    strings(&client).await;
    conditions(&client, kind).await;
    keys(&client).await;
    hashes(&client).await;
    fields_that_expire(&client, kind).await;
    the_whole_keyspace(&client).await;
    pipelines(&client).await;
    transactions(&client).await;
    watched_keys(&client).await;
    structs_and_maps(&client).await;
    messages(&client).await;
    errors(&client).await;
}

async fn strings(c: &Client) {
    assert_eq!(c.set("s", "1").await, Ok(()));
    assert_eq!(c.get("s").await, Ok(Some("1".into())));
    assert_eq!(c.get("none").await, Ok(None));
    assert_eq!(c.incr("s").await, Ok(2));
    assert_eq!(c.incrby("s", 10).await, Ok(12));
    assert_eq!(c.decr("s").await, Ok(11));
    assert_eq!(c.decrby("s", 1).await, Ok(10));
    assert_eq!(c.incrbyfloat("s", 0.5).await, Ok(10.5));
    assert_eq!(c.append("s", "x").await, Ok(5));
    assert_eq!(c.strlen("s").await, Ok(5));
    assert_eq!(c.getrange("s", -2, -1).await, Ok("5x".into()));
    assert_eq!(c.substr("s", 0, 1).await, Ok("10".into()));
    assert_eq!(c.setrange("s", 1, "--").await, Ok(5));
    assert_eq!(c.getset("s", "new").await, Ok(Some("1--5x".into())));
    assert_eq!(c.set_get("s", "newer").await, Ok(Some("new".into())));
    let absent = SetOptions {
        only_if: Some(Exists::No),
        expiry: Some(Expiry::Seconds(100)),
    };
    assert_eq!(c.set_with("s", "no", absent).await, Ok(false));
    assert_eq!(c.set_with("u", "yes", absent).await, Ok(true));
    assert!((99..=100).contains(&c.ttl("u").await.unwrap()));
    assert_eq!(c.setnx("s", "no").await, Ok(false));
    assert_eq!(c.setex("t", 100, "v").await, Ok(()));
    assert_eq!(c.psetex("t", 100_000, "v").await, Ok(()));
    assert_eq!(c.getex("t", Renewal::Persist).await, Ok(Some("v".into())));
    assert_eq!(c.ttl("t").await, Ok(-1));
    assert_eq!(c.getdel("t").await, Ok(Some("v".into())));
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(c.set("bytes", &bytes).await, Ok(()));
    assert_eq!(c.get("bytes").await, Ok(Some(bytes.into())));
    assert_eq!(c.msetnx([("{s}1", 1), ("{s}2", 2)]).await, Ok(true));
    assert_eq!(c.msetnx([("{s}2", 1), ("{s}3", 2)]).await, Ok(false));
    assert_eq!(c.flushall().await, Ok(()));
}

/// What Redis has since 8.4; an older server says that it has not.
async fn conditions(c: &Client, kind: Kind) {
    c.set("s", "a").await.unwrap();
    let refused = |result: &Result<bool, Error>| matches!(result, Err(Error::Reply(_)));
    let changed = c.set_if("s", "b", ValueIs::Equal(b"a")).await;
    let both = c
        .msetex([("{s}1", 1), ("{s}2", 2)], SetOptions::default())
        .await;
    let kept = c.delex_if("s", ValueIs::Other(b"b")).await;
    if kind == Kind::Redis {
        assert!([changed, both, kept].iter().all(refused));
        return;
    }
    assert_eq!((changed, both, kept), (Ok(true), Ok(true), Ok(false)));
    assert_eq!(c.delex("s").await, Ok(true));
}

async fn keys(c: &Client) {
    c.flushall().await.unwrap();
    c.set("{k}1", "v").await.unwrap();
    assert_eq!(c.key_type("{k}1").await, Ok("string".to_owned()));
    assert_eq!(c.expire("{k}1", 100).await, Ok(true));
    assert_eq!(c.expire_if("{k}1", 50, ExpireIf::Longer).await, Ok(false));
    assert_eq!(c.pexpire("{k}1", 200_000).await, Ok(true));
    assert!(c.pttl("{k}1").await.unwrap() > 150_000);
    assert_eq!(c.expireat("{k}1", 4_000_000_000).await, Ok(true));
    assert_eq!(c.expiretime("{k}1").await, Ok(4_000_000_000));
    assert_eq!(c.pexpireat("{k}1", 4_000_000_000_001).await, Ok(true));
    assert_eq!(c.pexpiretime("{k}1").await, Ok(4_000_000_000_001));
    assert_eq!(c.persist("{k}1").await, Ok(true));
    assert_eq!(c.copy("{k}1", "{k}2").await, Ok(true));
    assert_eq!(c.copy("{k}1", "{k}2").await, Ok(false));
    assert_eq!(c.copy_replace("{k}1", "{k}2").await, Ok(true));
    assert_eq!(c.rename("{k}2", "{k}3").await, Ok(()));
    assert_eq!(c.renamenx("{k}3", "{k}1").await, Ok(false));
    let dump = c.dump("{k}3").await.unwrap().unwrap();
    assert_eq!(c.restore("{k}4", 0, &dump).await, Ok(()));
    assert!(c.restore("{k}4", 0, &dump).await.is_err());
    assert_eq!(c.restore_replace("{k}4", 100_000, &dump).await, Ok(()));
    assert_eq!(c.get("{k}4").await, Ok(Some("v".into())));
    assert_eq!(c.touch(["{k}1", "none"]).await, Ok(1));
    assert!(c.object_encoding("{k}1").await.unwrap().is_some());
    assert!(c.memory_usage("{k}1").await.unwrap() > Some(0));
    assert_eq!(c.command_getkeys(["GET", "k"]).await, Ok(vec!["k".into()]));
    assert_eq!(c.cluster_keyslot("foo").await.unwrap_or(12182), 12182);
    assert!(c.time().await.unwrap().0 > 1_500_000_000);
    assert_eq!(c.echo("hello").await, Ok("hello".into()));
}

async fn hashes(c: &Client) {
    assert_eq!(c.hset("h", [("name", "Alice"), ("age", "25")]).await, Ok(2));
    assert_eq!(c.hset("h", &[("age", 24)]).await, Ok(0));
    assert_eq!(c.hmset("h", [("age", 26)]).await, Ok(()));
    assert_eq!(c.hget("h", "name").await, Ok(Some("Alice".into())));
    assert_eq!(c.hget("h", "none").await, Ok(None));
    assert_eq!(c.hget("none", "f").await, Ok(None));
    let mut all = c.hgetall("h").await.unwrap();
    all.sort();
    let both = [("age", "26"), ("name", "Alice")];
    assert_eq!(all, both.map(|(field, value)| (field.into(), value.into())));
    let some = c.hmget("h", ["age", "none"]).await;
    assert_eq!(some, Ok(vec![Some("26".into()), None]));
    assert_eq!(c.hincrby("h", "age", -6).await, Ok(20));
    assert_eq!(c.hincrbyfloat("h", "age", 0.5).await, Ok(20.5));
    assert_eq!(c.hsetnx("h", "age", 1).await, Ok(false));
    assert_eq!(c.hexists("h", "age").await, Ok(true));
    assert_eq!(c.hstrlen("h", "name").await, Ok(5));
    assert_eq!(c.hlen("h").await, Ok(2));
    assert_eq!(c.hkeys("h").await.unwrap().len(), 2);
    assert_eq!(c.hvals("h").await.unwrap().len(), 2);
    let options = ScanOptions {
        pattern: Some("n*".to_owned()),
        count: Some(100),
    };
    let page = c.hscan("h", 0, &options).await;
    assert_eq!(page, Ok((0, vec![("name".into(), "Alice".into())])));
    assert_eq!(c.hdel("h", ["age", "none"]).await, Ok(1));
    assert_eq!(c.key_type("h").await, Ok("hash".to_owned()));
    let many = (0..1000).map(|n| (format!("f{n}"), n));
    assert_eq!(c.hset("big", many).await, Ok(1000));
    let found = c.scan_fields("big", ScanOptions::default());
    let found: BTreeMap<_, _> = found.try_collect().await.unwrap();
    assert_eq!(found.len(), 1000);
    assert_eq!(found[&b"f77"[..]], "77");
}

/// What Redis has since 7.4, and HCAS, which no Redis has.
async fn fields_that_expire(c: &Client, kind: Kind) {
    c.hset("e", [("a", 1), ("b", 2)]).await.unwrap();
    let set = c.hexpire("e", 100, ["a", "none"]).await;
    let swapped = c.hcas("e", ["a", "1", "3", "b", "2", "4"]).await;
    if kind == Kind::Redis {
        assert!(set.is_err() && swapped.is_err());
        return;
    }
    assert_eq!((set, swapped), (Ok(vec![1, -2]), Ok(true)));
    assert_eq!(c.hcas("e", ["a", "1", "5"]).await, Ok(false));
    assert_eq!(
        c.hexpire_if("e", 50, ExpireIf::None, ["b"]).await,
        Ok(vec![1])
    );
    assert_eq!(
        c.hpexpireat("e", 4_000_000_000_000, ["b"]).await,
        Ok(vec![1])
    );
    assert_eq!(c.hexpiretime("e", ["b"]).await, Ok(vec![4_000_000_000]));
    assert_eq!(c.hpersist("e", ["b"]).await, Ok(vec![1]));
    assert_eq!(c.httl("e", ["b"]).await, Ok(vec![-1]));
    let values = c.hgetex("e", Renewal::Seconds(9), ["b"]).await;
    assert_eq!(values, Ok(vec![Some("4".into())]));
    assert!((1..=9000).contains(&c.hpttl("e", ["b"]).await.unwrap()[0]));
    assert_eq!(
        c.hsetex("e", Expiry::Seconds(9), [("c", 1)]).await,
        Ok(true)
    );
    assert!(c.hrandfield("e").await.unwrap().is_some());
    assert_eq!(c.hrandfields("e", 9).await.unwrap().len(), 3);
    assert_eq!(c.hgetdel("e", ["c"]).await, Ok(vec![Some("1".into())]));
    assert_eq!(c.hlen("e").await, Ok(2));
}

async fn the_whole_keyspace(c: &Client) {
    c.flushall().await.unwrap();
    assert_eq!(c.randomkey().await, Ok(None));
    let pairs: Vec<_> = (0..500).map(|n| (format!("k{n}"), n)).collect();
    assert_eq!(c.mset(&pairs).await, Ok(()));
    let values = c.mget(["k7", "none", "k93"]).await;
    assert_eq!(values, Ok(vec![Some("7".into()), None, Some("93".into())]));
    assert_eq!(c.exists(["k1", "k2", "k1", "none"]).await, Ok(3));
    assert_eq!(c.dbsize().await, Ok(500));
    assert_eq!(c.keys("k9?").await.unwrap().len(), 10);
    assert!(c.randomkey().await.unwrap().is_some());
    let options = ScanOptions {
        pattern: Some("k?9*".to_owned()),
        count: Some(7),
    };
    let mut found: Vec<_> = c.scan_keys(options).try_collect().await.unwrap();
    found.sort();
    found.dedup();
    let expect = (0..500).filter(|n| n.to_string()[1..].starts_with('9'));
    assert_eq!(found.len(), expect.count());
    assert_eq!(c.unlink(["k3", "k4"]).await, Ok(2));
    assert_eq!(c.del(["k1", "k2", "none"]).await, Ok(2));
    assert_eq!(c.dbsize().await, Ok(496));
    assert_eq!(c.flushdb().await, Ok(()));
    assert_eq!(c.dbsize().await, Ok(0));
}

async fn pipelines(c: &Client) {
    let mut pipeline = c.pipeline();
    for n in 0..1000 {
        let key = format!("h{}", n % 70);
        pipeline = pipeline.hset(&key, [("f", n)]).hget(&key, "f");
    }
    let results = pipeline
        .dbsize()
        .incr("h1")
        .mget(["a", "b"])
        .ping()
        .send()
        .await;
    assert_eq!(results.len(), 2004);
    for n in 0..1000 {
        assert_eq!(results[2 * n], Ok(Reply::Int(i64::from(n < 70))), "{n}");
        assert_eq!(results[2 * n + 1], Ok(Reply::bulk(n.to_string())), "{n}");
    }
    assert!(matches!(&results[2001], Err(Error::Reply(error)) if error.prefix() == "WRONGTYPE"));
    assert_eq!(
        results[2002],
        Ok(Reply::Array(vec![Reply::Nil, Reply::Nil]))
    );
    assert_eq!(results[2003], Ok(Reply::Status("PONG".into())));
}

async fn transactions(c: &Client) {
    c.flushall().await.unwrap();
    for n in 1..=3 {
        let answers = c
            .pipeline()
            .incr("{t}a")
            .hset("{t}h", [("f", n)])
            .get("{t}a");
        let [a, h, value] = answers.exec().await.unwrap().try_into().unwrap();
        assert_eq!(i64::from_reply(a), Ok(n));
        assert_eq!(h, Reply::Int(i64::from(n == 1)));
        assert_eq!(value, Reply::bulk(n.to_string()));
    }
    // One that fails takes no other with it.
    let answers = c.pipeline().incr("{t}h").incr("{t}a").exec().await.unwrap();
    assert!(
        matches!(answers[..], [Reply::Error(_), Reply::Int(4)]),
        "{answers:?}"
    );
    // One that is refused at once does.
    let wrong = c
        .pipeline()
        .incr("{t}a")
        .command(dht_client::Command::new("NO-SUCH"));
    let error = wrong.exec().await.unwrap_err();
    assert!(matches!(&error, Error::Reply(_)), "{error:?}");
    assert_eq!(c.get("{t}a").await, Ok(Some("4".into())));
}

async fn watched_keys(c: &Client) {
    c.set("{w}stock", 1).await.unwrap();
    let watch = c.watch(["{w}stock"]).await.unwrap();
    assert_eq!(watch.get("{w}stock").await, Ok(Some("1".into())));
    let sold = watch
        .exec(c.pipeline().decr("{w}stock").incr("{w}sold"))
        .await;
    assert_eq!(sold, Ok(Some(vec![Reply::Int(0), Reply::Int(1)])));

    let watch = c.watch(["{w}stock"]).await.unwrap();
    c.set("{w}stock", 5).await.unwrap();
    let sold = watch
        .exec(c.pipeline().decr("{w}stock").incr("{w}sold"))
        .await;
    assert_eq!(sold, Ok(None));
    assert_eq!(
        c.mget(["{w}stock", "{w}sold"]).await.unwrap()[1],
        Some("1".into())
    );
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct User {
    name: String,
    age: u32,
    city: Option<String>,
}

async fn structs_and_maps(c: &Client) {
    let mut alice = User {
        name: "Alice".to_owned(),
        age: 25,
        city: Some("Paris".to_owned()),
    };
    assert_eq!(c.hset_struct("user:1", &alice).await, Ok(3));
    assert_eq!(c.hincrby("user:1", "age", 1).await, Ok(26));
    (alice.age, alice.city) = (26, None);
    assert_eq!(c.hset_struct("user:1", &alice).await, Ok(0));
    assert_eq!(c.hget_struct("user:1").await, Ok(Some(alice.clone())));
    assert_eq!(c.hget_struct::<User>("none").await, Ok(None));

    let users = c.map::<User>("users");
    assert_eq!(users.insert("alice", &alice).await, Ok(true));
    assert_eq!(users.insert_new("alice", &alice).await, Ok(false));
    assert_eq!(users.get("alice").await, Ok(Some(alice.clone())));
    assert_eq!(users.contains("bob").await, Ok(false));
    assert_eq!(users.len().await, Ok(1));
    let all: Vec<_> = users.iter().try_collect().await.unwrap();
    assert_eq!(all, [("alice".to_owned(), alice)]);
    c.hset("users", [("bob", "no user")]).await.unwrap();
    assert!(matches!(users.get("bob").await, Err(Error::Shape(_))));
    assert_eq!(users.remove("bob").await, Ok(true));
}

async fn messages(c: &Client) {
    let said = |pattern: Option<&'static str>, channel: &str, text: &str| Message {
        pattern: pattern.map(Into::into),
        sharded: channel.starts_with("shard:"),
        channel: channel.to_owned().into(),
        text: text.to_owned().into(),
    };
    let mut heard = c.subscription();
    heard.subscribe(["news", "sport", "more"]).await.unwrap();
    heard.psubscribe(["n?ws"]).await.unwrap();
    // Of several slots, and so of all servers.
    let shards: Vec<_> = (0..9).map(|n| format!("shard:{n}")).collect();
    for shard in &shards {
        heard.ssubscribe([shard]).await.unwrap();
    }
    heard.unsubscribe(["sport"]).await.unwrap();
    c.publish("sport", "nobody listens").await.unwrap();
    c.publish("news", "hello").await.unwrap();
    assert_eq!(heard.next().await, Ok(said(None, "news", "hello")));
    assert_eq!(heard.next().await, Ok(said(Some("n?ws"), "news", "hello")));
    for shard in &shards {
        c.spublish(shard, "sharded").await.unwrap();
        assert_eq!(heard.next().await, Ok(said(None, shard, "sharded")));
    }
    let ends = ["SUNSUBSCRIBE", "PUNSUBSCRIBE"];
    for end in ends {
        heard.run(dht_client::Command::new(end)).await.unwrap();
    }
    c.spublish(&shards[0], "nobody listens").await.unwrap();

    // Words of one publisher come in order, and wait for who asks for them late.
    let mut pipeline = c.pipeline();
    for n in 0..500 {
        pipeline = pipeline.publish("news", n);
    }
    assert!(pipeline.send().await.iter().all(Result::is_ok));
    let stream = std::pin::pin!(heard.into_stream());
    let words: Vec<_> = stream.take(500).try_collect().await.unwrap();
    for (n, word) in words.into_iter().enumerate() {
        assert_eq!(word, said(None, "news", &n.to_string()));
    }
}

async fn errors(c: &Client) {
    let Err(Error::Reply(error)) = c.incr("users").await else {
        panic!("a hash was counted");
    };
    let text = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(error.to_string(), text);
    let raw = c.call(["HSET", "users", "odd"]).await.unwrap_err();
    let text = "ERR wrong number of arguments for 'hset' command";
    assert_eq!(raw.reply().map(ToString::to_string).as_deref(), Some(text));
    let crossed = c.call(["MSETNX", "a", "1", "b", "2"]).await;
    if let Err(error) = crossed {
        assert_eq!(
            error.reply().map(dht_client::ReplyError::prefix),
            Some("CROSSSLOT")
        );
    }
    let nowhere = c.call(["MULTI"]).await.unwrap_err();
    assert!(nowhere.reply().is_some(), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_no_data() {
    let cluster = RealCluster::start(3).unwrap();
    let node = Cluster::alone(&["--backend", &cluster.url()]).await;
    let url = format!("dht://{}", node.client(0));
    everything(&url, Kind::Redis).await;
    let behind = Client::connect(&cluster.url()).await.unwrap();
    let client = Client::connect(&url).await.unwrap();
    client.set("k", "v").await.unwrap();
    assert_eq!(behind.get("k").await, Ok(Some("v".into())));

    // It says whose the consistency is, and what cannot be had.
    let facts = client.info(["server"]).await.unwrap();
    assert!(
        facts.contains(&format!("dht_backend:{}\r\n", cluster.url())),
        "{facts}"
    );
    assert!(
        facts.contains("dht_consistency:that of the backend"),
        "{facts}"
    );
    let facts = client.cluster_info().await.unwrap();
    assert!(
        facts.contains("cluster_backend:redis-cluster://"),
        "{facts}"
    );
    let error = client.delex("k").await.unwrap_err();
    assert!(
        error.to_string().contains("the backend does not know"),
        "{error}"
    );
    let error = client.cluster_empty(["0"]).await.unwrap_err();
    assert!(error.to_string().contains("has a backend"), "{error}");

    // What it could not answer truly of keys that it does not have is refused.
    for asked in [
        "CLUSTER COUNTKEYSINSLOT 1",
        "CLUSTER GETKEYSINSLOT 1 1",
        "CLUSTER SLOT-STATS SLOTSRANGE 0 1",
        "CONFIG SET notify-keyspace-events KEA",
    ] {
        let error = client.call(asked.split(' ')).await.unwrap_err();
        assert!(error.to_string().contains("backend"), "{asked}: {error}");
    }

    // When it is gone, that is told: not done, or unknown.
    drop(cluster);
    let client = client.with_deadline(Duration::from_secs(1));
    let error = client.incr("n").await.unwrap_err();
    assert!(
        matches!(error, Error::NotDone(_) | Error::Unknown(_)),
        "{error:?}"
    );
}

#[test]
fn the_guide_speaks_true_to_learners_of_python() {
    let node = dht_tests::process::Processes::alone(&[]);
    let guide = include_str!("../../docs/clients.md");
    let (_, program) = guide.split_once("```python\n").unwrap();
    let (program, rest) = program.split_once("```").unwrap();
    let port = node.client(0).port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("program.py");
    std::fs::write(&file, program.replace("7400", &port)).unwrap();
    let printed = dht_tests::python::run(file.to_str().unwrap(), &[]);
    assert!(rest.contains(&format!("`{}`", printed.trim())), "{printed}");
}

#[tokio::test]
async fn a_database_and_a_wrong_password_are_told() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let url = |rest: &str| format!("redis://{rest}");
    let first = Client::connect(&url(&server.address.to_string()))
        .await
        .unwrap();
    let second = Client::connect(&url(&format!("{}/1", server.address)))
        .await
        .unwrap();
    first.set("k", "first").await.unwrap();
    assert_eq!(second.get("k").await, Ok(None));
    first
        .call(["CONFIG", "SET", "requirepass", "sesame"])
        .await
        .unwrap();
    let with = |password: &str| url(&format!(":{password}@{}", server.address));
    let known = Client::connect(&with("sesame")).await.unwrap();
    assert_eq!(known.get("k").await, Ok(Some("first".into())));
    for wrong in [with("guess"), url(&server.address.to_string())] {
        let Err(Error::Reply(error)) = Client::connect(&wrong).await.map(drop) else {
            panic!("{wrong} was let in");
        };
        assert!(["WRONGPASS", "NOAUTH"].contains(&error.prefix()), "{error}");
    }
    let Err(Error::Reply(error)) =
        Client::connect(&format!("redis-cluster://:sesame@{}", server.address))
            .await
            .map(drop)
    else {
        panic!("it is no cluster");
    };
    assert!(
        error.to_string().contains("cluster support disabled"),
        "{error}"
    );
}

#[tokio::test]
async fn a_frozen_server_leaves_a_write_unknown_and_is_found_again() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let client = Client::connect(&format!("redis://{}", server.address))
        .await
        .unwrap();
    let short = client.clone().with_deadline(Duration::from_millis(400));
    assert_eq!(client.incr("n").await, Ok(1));
    server.freeze();
    let start = Instant::now();
    assert_eq!(short.incr("n").await, Err(Error::Unknown(Cause::Deadline)));
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    server.thaw();
    let counted = client.incr("n").await.unwrap();
    assert!((2..=3).contains(&counted), "{counted}");
}

#[tokio::test]
async fn a_connection_that_was_closed_is_made_anew() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let client = Client::connect(&format!("redis://{}", server.address))
        .await
        .unwrap();
    for n in 1..=3 {
        assert_eq!(client.incr("n").await, Ok(n));
        assert_eq!(
            client.pipeline().incr("t").exec().await,
            Ok(vec![Reply::Int(n)])
        );
        let killed = dht_tests::process::ask(server.address, "CLIENT KILL TYPE normal").unwrap();
        assert_eq!(killed, ":2\r\n", "one for calls, one for transactions");
        // To read again does no harm, so this goes on over the next connection.
        assert_eq!(client.get("n").await, Ok(Some(n.to_string().into())));
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_and_another_is_used() {
    let nowhere = RealRedis::start(Mode::Alone).unwrap().address;
    let Err(error) = Client::connect(&format!("redis://{nowhere}"))
        .await
        .map(drop)
    else {
        panic!("nobody is there");
    };
    assert!(error.is_unreachable(), "{error:?}");
    let cluster = RealCluster::start(3).unwrap();
    let client = Client::connect(&cluster.url()).await.unwrap();
    for n in 0..300 {
        client.set(format!("k{n}"), n).await.unwrap();
    }
    let mut servers = cluster.servers;
    drop(servers.remove(0));
    let client = client.with_deadline(Duration::from_millis(800));
    let mut answered = 0;
    for n in 0..30 {
        match client.incr(format!("k{n}")).await {
            Ok(sum) => {
                assert_eq!(sum, n + 1);
                answered += 1;
            }
            Err(Error::NotDone(_) | Error::Unknown(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(
        answered > 0,
        "two thirds of the slots are served until the cluster gives up"
    );
}
