//! Other people's clients in their cluster modes, against three processes.

use std::process::Command;

use dht_proto::Reply;
use dht_tests::process::Processes;
use dht_tests::python;
use dht_tests::resp_client::RespClient;

#[test]
fn redis_py_finds_the_nodes_and_their_slots() {
    let cluster = Processes::start(3);
    let ports = plain_and_redirecting(&cluster);
    assert_eq!(python::run("python/cluster_client.py", &ports), "right\n");
}

#[test]
fn redis_py_works_with_asyncio_plainly_and_in_its_cluster_mode() {
    let cluster = Processes::start(3);
    let plain = (0..3).map(|node| cluster.client(node));
    let redirecting = (0..3).map(|node| cluster.redirect(node));
    let ports = plain.chain(redirecting);
    let ports: Vec<_> = ports.map(|address| address.port().to_string()).collect();
    assert_eq!(python::run("python/asyncio_client.py", &ports), "right\n");
}

#[test]
fn redis_benchmark_runs_plainly_and_in_its_cluster_mode() {
    let cluster = Processes::start(3);
    let benchmark = |port: u16, more: &[&str]| {
        let (port, tests) = (port.to_string(), "ping_mbulk,set,get,incr,hset,mset");
        let ran = Command::new("redis-benchmark")
            .args([
                "-p", &port, "-n", "2000", "-r", "100", "-P", "4", "--csv", "-t", tests,
            ])
            .args(more)
            .output()
            .expect("redis-benchmark comes with redis-cli");
        let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{printed}{complaint}");
        // A head, and a line a test with its rate; it ends early at an error reply.
        let rate = |line: &str| {
            line.split(',')
                .nth(1)?
                .trim_matches('"')
                .parse::<f64>()
                .ok()
        };
        let rates = printed.lines().filter_map(rate);
        assert_eq!(rates.filter(|rate| *rate > 0.0).count(), 6, "{printed}");
    };
    benchmark(cluster.client(1).port(), &[]);
    let keys = || dht_tests::process::ask(cluster.client(0), "DBSIZE").unwrap();
    assert_ne!(keys(), ":0\r\n");
    dht_tests::process::ask(cluster.client(0), "FLUSHALL").unwrap();
    benchmark(cluster.redirect(2).port(), &["--cluster"]);
    assert_ne!(keys(), ":0\r\n");
}

#[test]
fn ioredis_works_plainly_and_in_its_cluster_mode() {
    let cluster = Processes::start(3);
    let ports = plain_and_redirecting(&cluster);
    assert_eq!(python::run_node("node/ioredis.js", &ports), "right\n");
}

/// As clients do that read from replicas. A copy alone would be behind at times.
#[tokio::test]
async fn who_reads_at_followers_reads_what_was_written_last() {
    let cluster = Processes::start(3);
    let leader = cluster.leader_of("k").unwrap();
    let mut writer = RespClient::connect(cluster.client(leader)).await.unwrap();
    for follower in (0..3).filter(|node| *node != leader) {
        let port = cluster.redirect(follower);
        let mut reader = RespClient::connect(port).await.unwrap();
        let is_moved =
            |reply: &Reply| matches!(reply, Reply::Error(error) if error.prefix() == "MOVED");
        let reply = reader.call(&["GET", "k"]).await.unwrap();
        assert!(is_moved(&reply), "{reply:?}");
        assert_eq!(reader.call(&["READONLY"]).await.unwrap(), Reply::Ok);
        for n in 0..300 {
            let n = n.to_string();
            let written = writer.call(&["SET", "k", &n]).await.unwrap();
            let read = reader.call(&["GET", "k"]).await.unwrap();
            let several = reader.call(&["MGET", "k", "{k}"]).await.unwrap();
            let expected = (Reply::Ok, Reply::bulk(&n));
            assert_eq!((written, read), expected);
            assert_eq!(several, Reply::Array(vec![Reply::bulk(&n), Reply::Nil]));
        }
        let reply = reader.call(&["SET", "k", "x"]).await.unwrap();
        assert!(is_moved(&reply), "{reply:?}");
    }
}

#[tokio::test]
async fn the_cluster_client_of_redis_rs_goes_to_every_node() {
    use redis::AsyncCommands;

    let cluster = Processes::start(3);
    let url = format!("redis://{}", cluster.client(2));
    let client = redis::cluster::ClusterClient::new(vec![url]).unwrap();
    let mut connection = client.get_async_connection().await.unwrap();
    for n in 0..300 {
        let key = format!("user:{n}");
        let fields = [("name", "Alice".to_owned()), ("age", n.to_string())];
        let set: () = connection.hset_multiple(&key, &fields).await.unwrap();
        let age: i64 = connection.hincr(&key, "age", 1).await.unwrap();
        assert_eq!((set, age), ((), n + 1));
    }
    let values = redis::cmd("MGET")
        .arg("a")
        .arg("b")
        .query_async(&mut connection)
        .await;
    assert_eq!(values, Ok((None::<String>, None::<String>)));
    let mut pipeline = redis::pipe();
    pipeline.atomic().incr("{t}n", 2).get("{t}n");
    assert_eq!(
        pipeline.query_async(&mut connection).await,
        Ok((2, "2".to_owned()))
    );
    let size: u64 = redis::cmd("DBSIZE")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(size, 301);
    for node in 0..3 {
        let info = dht_tests::process::ask(cluster.client(node), "INFO stats").unwrap();
        let forwarded = info.lines().find(|line| line.contains("forwarded"));
        // What is about all keys goes through one node.
        let count = forwarded.and_then(|line| line.rsplit_once(':')?.1.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count < 200), "{info}");
    }
}

#[test]
fn redis_py_executes_transactions_through_every_node() {
    let cluster = Processes::start(3);
    let ports = (0..3).map(|node| cluster.client(node).port().to_string());
    let ports: Vec<_> = ports.collect();
    assert_eq!(python::run("python/transactions.py", &ports), "right\n");
}

#[test]
fn redis_cli_follows_redirections() {
    let cluster = Processes::start(3);
    let port = cluster.redirect(0).port();
    let mut moved = 0;
    for i in 0..40 {
        let (key, value) = (format!("user:{i}"), i.to_string());
        assert_eq!(redis_cli(port, &["-c", "SET", &key, &value]), "OK\n");
        assert_eq!(redis_cli(port, &["-c", "GET", &key]), format!("{value}\n"));
        let redirected = redis_cli(port, &["GET", &key]);
        moved += usize::from(redirected.starts_with("MOVED "));
    }
    assert!(
        (1..40).contains(&moved),
        "{moved} of 40 keys were redirected"
    );
}

#[test]
fn redis_cli_finds_no_fault_in_the_cluster() {
    let cluster = Processes::start(3);
    let node = cluster.redirect(2).to_string();
    let found = redis_cli(cluster.redirect(2).port(), &["--cluster", "check", &node]);
    assert!(
        found.contains("[OK] All nodes agree about slots configuration."),
        "{found}"
    );
    assert!(found.contains("[OK] All 16384 slots covered."), "{found}");
}

/// The port of a node that serves all keys, then those of all that redirect.
fn plain_and_redirecting(cluster: &Processes) -> Vec<String> {
    let redirecting = (0..3).map(|node| cluster.redirect(node));
    let addresses = std::iter::once(cluster.client(1)).chain(redirecting);
    addresses
        .map(|address| address.port().to_string())
        .collect()
}

/// What redis-cli prints; an error reply is printed too.
fn redis_cli(port: u16, args: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let ended = command
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(args)
        .output();
    let printed = ended
        .expect("redis-cli is there: scripts/test installs it")
        .stdout;
    String::from_utf8_lossy(&printed).into_owned()
}
