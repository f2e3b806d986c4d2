//! What a node says of its commands, by SLOWLOG, LATENCY and INFO: what was done, no more and no
//! less, alone and in a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::Reply;
use dht_tests::cluster::Cluster;
use dht_tests::native_client::NativeClient;
use dht_tests::resp_client::RespClient;
use dht_tests::wait;

use crate::connections::connect;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

async fn call(client: &mut RespClient, line: &str) -> Reply {
    let words: Vec<&str> = line.split(' ').collect();
    client.call(&words).await.unwrap()
}

/// The facts of a section.
async fn info(node: SocketAddr, section: &str) -> BTreeMap<String, String> {
    let mut client = connect(node).await;
    let text = match call(&mut client, &format!("INFO {section}")).await {
        Reply::Bulk(text) | Reply::Text(text) => text,
        other => panic!("{other:?}"),
    };
    let text = String::from_utf8(text.to_vec()).unwrap();
    let facts = text.lines().filter_map(|line| line.split_once(':'));
    facts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A number of a line such as `calls=3,usec=100`.
fn number(line: &str, name: &str) -> u64 {
    let parts = line.split(',').filter_map(|part| part.split_once('='));
    let found = parts.into_iter().find(|(part, _)| *part == name);
    found.unwrap().1.parse().unwrap()
}

/// The words of the entries of SLOWLOG GET, the latest first, each with its client's name.
async fn slow(client: &mut RespClient) -> Vec<String> {
    let Reply::Array(entries) = call(client, "SLOWLOG GET -1").await else {
        panic!("no list");
    };
    let text = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    let shown = |entry: &Reply| match entry {
        Reply::Array(facts) => match &facts[..] {
            [
                Reply::Int(_),
                Reply::Int(_),
                Reply::Int(_),
                Reply::Array(words),
                addr,
                name,
            ] => {
                assert!(text(addr).contains(':'), "{addr:?}");
                let words: Vec<String> = words.iter().map(text).collect();
                format!("{} by {}", words.join(" "), text(name))
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    entries.iter().map(shown).collect()
}

#[tokio::test]
async fn slow_commands_are_kept_each_by_itself_and_no_password_with_them() {
    let (alone, cluster) = (Cluster::alone(&[]).await, Cluster::start(3).await);
    for node in [alone.client(0), cluster.client(1)] {
        let mut client = connect(node).await;
        call(&mut client, "CLIENT SETNAME me").await;
        call(&mut client, "CONFIG SET slowlog-log-slower-than 0").await;
        call(&mut client, "SLOWLOG RESET").await;
        for line in [
            "SET k v",
            "AUTH default sesame",
            "HELLO 2 AUTH default sesame",
            "GET k",
        ] {
            call(&mut client, line).await;
        }
        // Several at once, a transaction among them.
        let mut native = NativeClient::connect(node).await.unwrap();
        native
            .call(&["HSET", "h", "f", &"v".repeat(200)])
            .await
            .unwrap();
        for line in ["MULTI", "INCR n", "EXEC"] {
            call(&mut client, line).await;
        }
        let mut found = slow(&mut client).await;
        found.sort();
        let long = format!("HSET h f {}... (72 more bytes) by ", "v".repeat(128));
        let mut expect = ["INCR n", "GET k", "MULTI", "SET k v", "SLOWLOG RESET"]
            .map(|line| format!("{line} by me"))
            .to_vec();
        expect.push(long);
        // As in Redis they are named, and what is secret in them is not.
        let secret = "AUTH (redacted) (redacted) by me";
        expect.extend([secret.to_owned(), format!("HELLO 2 {secret}")]);
        expect.sort();
        assert_eq!(found, expect);
        call(&mut client, "CONFIG SET slowlog-log-slower-than -1").await;
        let before = call(&mut client, "SLOWLOG LEN").await;
        call(&mut client, "GET k").await;
        assert_eq!(call(&mut client, "SLOWLOG LEN").await, before);
    }
}

#[tokio::test]
async fn commands_are_counted_where_their_clients_are() {
    let (alone, cluster) = (Cluster::alone(&[]).await, Cluster::start(3).await);
    for node in [alone.client(0), cluster.client(2)] {
        let mut client = connect(node).await;
        call(&mut client, "SET s v").await;
        call(&mut client, "CONFIG RESETSTAT").await;
        for n in 0..20 {
            call(&mut client, &format!("SET key:{n} v")).await;
            call(&mut client, &format!("GET key:{n}")).await;
        }
        for line in [
            "HGET s f",
            "INCR s",
            "GET",
            "NOSUCH",
            "GET none",
            "MGET key:1 none",
        ] {
            call(&mut client, line).await;
        }
        let stats = info(node, "commandstats").await;
        let count = |command: &str, name| number(&stats[&format!("cmdstat_{command}")], name);
        assert_eq!(
            (count("set", "calls"), count("set", "failed_calls")),
            (20, 0)
        );
        assert_eq!(
            (count("get", "calls"), count("get", "rejected_calls")),
            (21, 1)
        );
        assert_eq!(
            (count("hget", "calls"), count("hget", "failed_calls")),
            (1, 1)
        );
        assert_eq!(
            (count("incr", "calls"), count("incr", "failed_calls")),
            (1, 1)
        );
        assert!(count("set", "usec") > 0, "{stats:?}");
        let errors = info(node, "errorstats").await;
        assert_eq!(errors["errorstat_WRONGTYPE"], "count=1");
        assert_eq!(errors["errorstat_ERR"], "count=3");
        let times = info(node, "latencystats").await;
        let line = &times["latency_percentiles_usec_set"];
        assert!(
            line.starts_with("p50=") && line.contains(",p99.9="),
            "{line}"
        );
        let Reply::Array(histogram) = call(&mut client, "LATENCY HISTOGRAM set nosuch").await
        else {
            panic!("no map");
        };
        assert_eq!(histogram.len(), 2, "{histogram:?}");
        let stats = info(node, "stats").await;
        assert_eq!(stats["total_error_replies"], "4");
        call(&mut client, "CONFIG RESETSTAT").await;
        let stats = info(node, "stats").await;
        assert_eq!(stats["total_error_replies"], "0");
        let stats = info(node, "commandstats").await;
        assert!(!stats.contains_key("cmdstat_set"), "{stats:?}");
    }
}

#[tokio::test]
async fn keys_that_are_asked_for_most_come_first() {
    let (alone, cluster) = (Cluster::alone(&[]).await, Cluster::start(3).await);
    for (cluster, node) in [(&alone, 0), (&cluster, 1)] {
        let mut client = connect(cluster.client(node)).await;
        // So few that all are counted.
        for n in 0..10 {
            call(&mut client, &format!("HINCRBY hot f {n}")).await;
            call(&mut client, &format!("SET other:{n} v")).await;
            call(&mut client, "MGET hot warm none").await;
        }
        // What is refused, and what has no key, does not count.
        call(&mut client, "GET").await;
        call(&mut client, "PING hot").await;
        for line in ["MULTI", "INCR {warm}n", "INCR {warm}n", "EXEC"] {
            call(&mut client, line).await;
        }
        // By the door of the program that the node is a part of.
        let inside = cluster.running(node).client();
        for _ in 0..15 {
            inside.hget("inside", "f").await.unwrap();
        }
        let told = info(cluster.client(node), "hotkeys").await;
        let place = |n: usize| told[&format!("hotkey_{n}")].split_once(",key=").unwrap();
        assert_eq!(
            [place(1).1, place(2).1],
            ["\"hot\"", "\"inside\""],
            "{told:?}"
        );
        let next = [place(3).1, place(4).1];
        assert!(
            next.contains(&"\"warm\"") && next.contains(&"\"none\""),
            "{told:?}"
        );
        assert_eq!(place(5).1, "\"{warm}n\"", "{told:?}");
        assert_eq!(told.len(), 15, "{told:?}");
        let rate = |n| {
            place(n)
                .0
                .strip_prefix("calls_per_s=")
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        assert!((rate(1) / rate(3) - 2.0).abs() < 0.1, "{told:?}");
        call(&mut client, "CONFIG RESETSTAT").await;
        assert!(info(cluster.client(node), "hotkeys").await.is_empty());
    }
}

/// Keys that were found and that were not, keys and fields that have expired, at all nodes.
fn sums(cluster: &Cluster, nodes: usize) -> [u64; 4] {
    let mut sums = [0; 4];
    for node in 0..nodes {
        let store = &cluster.running(node).node.store;
        let ((hits, misses), (keys, fields)) = (store.lookups.counts(), store.events.expired());
        for (sum, count) in sums.iter_mut().zip([hits, misses, keys, fields]) {
            *sum += count;
        }
    }
    sums
}

#[tokio::test]
async fn what_is_found_and_what_expires_is_counted_once_in_the_cluster() {
    let (alone, cluster) = (Cluster::alone(&[]).await, Cluster::start(3).await);
    for (cluster, nodes) in [(&alone, 1), (&cluster, 3)] {
        let mut client = connect(cluster.client(0)).await;
        for n in 0..30 {
            call(&mut client, &format!("SET key:{n} v")).await;
        }
        let before = sums(cluster, nodes);
        for n in 0..30 {
            call(&mut client, &format!("GET key:{n}")).await;
        }
        call(&mut client, "GET none").await;
        call(&mut client, "MGET key:1 key:2 none other").await;
        let after = sums(cluster, nodes);
        assert_eq!((after[0] - before[0], after[1] - before[1]), (32, 3));
        for n in 0..20 {
            call(&mut client, &format!("SET due:{n} v PX 5")).await;
            call(&mut client, &format!("HSETEX h:{n} PX 5 FIELDS 2 a 1 b 2")).await;
        }
        let counted = || {
            let [_, _, keys, fields] = sums(cluster, nodes);
            (keys >= 20 && fields >= 40).then_some((keys, fields))
        };
        let counted = wait::until_async("what is due to be removed", PATIENCE, counted).await;
        assert_eq!(counted, (20, 40));
        let stats = info(cluster.client(0), "stats").await;
        assert!(stats.contains_key("expired_subkeys") && stats.contains_key("keyspace_hits"));
    }
}

#[tokio::test]
async fn what_takes_long_is_noted_while_somebody_wants_to_know() {
    let node = Cluster::alone(&[]).await;
    let mut client = connect(node.client(0)).await;
    assert_eq!(
        call(&mut client, "LATENCY LATEST").await,
        Reply::Array(vec![])
    );
    call(&mut client, "CONFIG SET latency-monitor-threshold 1").await;
    // So many keys that going through them takes more than a millisecond.
    for first in (0..200_000).step_by(10_000) {
        let mut words = vec!["MSET".to_owned()];
        for n in first..first + 10_000 {
            words.extend([format!("key:{n}"), "v".to_owned()]);
        }
        client.call(&words).await.unwrap();
    }
    call(&mut client, "KEYS nothing*").await;
    let Reply::Array(samples) = call(&mut client, "LATENCY HISTORY command").await else {
        panic!("no list");
    };
    assert!(!samples.is_empty());
    let Reply::Array(latest) = call(&mut client, "LATENCY LATEST").await else {
        panic!("no list");
    };
    let first = |entry: &Reply| match entry {
        Reply::Array(facts) => facts[0].clone(),
        other => panic!("{other:?}"),
    };
    assert!(
        latest
            .iter()
            .map(first)
            .any(|name| name == Reply::bulk("command"))
    );
    let reset = call(&mut client, "LATENCY RESET command nothing").await;
    assert_eq!(reset, Reply::Int(1));
}
