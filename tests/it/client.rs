//! The client library against a cluster of three processes: pipelines, and nodes that die, come
//! back or freeze. What its calls do is in backends.rs.

use std::time::{Duration, Instant};

use dht_client::{Cause, Client, Error, FromReply, Reply};
use dht_proto::limits;
use dht_proto::slot::key_slot;
use dht_tests::process::Processes;

fn targets(cluster: &Processes) -> String {
    let seeds: Vec<String> = (0..3)
        .map(|node| cluster.client(node).to_string())
        .collect();
    seeds.join(",")
}

async fn connect(cluster: &Processes) -> Client {
    Client::connect(&targets(cluster)).await.unwrap()
}

#[tokio::test]
async fn a_request_that_no_server_takes_is_refused_and_harms_no_other() {
    let cluster = Processes::start(3);
    let c = connect(&cluster).await;
    let value = vec![b'x'; dht_proto::limits::QUERY_BYTES];
    let (refused, other) = tokio::join!(c.set("s", value), c.set("t", "1"));
    let Err(Error::Reply(error)) = refused else {
        panic!("it was sent");
    };
    let limit = dht_proto::limits::QUERY_BYTES;
    assert_eq!(
        error.to_string(),
        format!("ERR request is longer than {limit} bytes")
    );
    assert_eq!(other, Ok(()));
    assert_eq!(c.exists(["s", "t"]).await, Ok(1));
}

#[tokio::test]
async fn commands_of_one_slot_go_straight_to_its_leader() {
    let cluster = Processes::start(3);
    let c = connect(&cluster).await;
    for n in 0..100 {
        c.set(format!("k{n}"), n).await.unwrap();
    }
    for node in 0..3 {
        let node = c.node(&cluster.client(node).to_string());
        let info = String::from_reply(node.call(["INFO", "stats"]).await.unwrap()).unwrap();
        let forwarded = info.lines().find(|line| line.contains("forwarded"));
        let forwarded = forwarded.unwrap_or_else(|| panic!("no count in {info}"));
        assert!(forwarded.ends_with(":0"), "{forwarded}");
    }
}

#[tokio::test]
async fn a_pipeline_spans_nodes_and_keeps_its_order() {
    let cluster = Processes::start(3);
    let c = connect(&cluster).await;
    let mut pipeline = c.pipeline();
    for n in 0..2000 {
        pipeline = pipeline
            .hset(format!("h{}", n % 700), [("f", n)])
            .hget(format!("h{}", n % 700), "f");
    }
    let results = pipeline.dbsize().incr("h1").ping().send().await;
    assert_eq!(results.len(), 4003);
    for n in 0..2000 {
        assert_eq!(results[2 * n], Ok(Reply::Int(i64::from(n < 700))), "{n}");
        assert_eq!(results[2 * n + 1], Ok(Reply::bulk(n.to_string())), "{n}");
    }
    assert!(matches!(&results[4001], Err(Error::Reply(error)) if error.prefix() == "WRONGTYPE"));
    assert_eq!(results[4002], Ok(Reply::Status("PONG".into())));
}

/// A key that this node leads.
async fn key_led_by(client: &Client, cluster: &Processes, node: usize) -> String {
    let handle = client.node(&cluster.redirect(node).to_string());
    for n in 0.. {
        let key = format!("key:{n}");
        if handle.call(["EXISTS", &key]).await.is_ok() {
            return key;
        }
    }
    unreachable!("a node leads something");
}

#[tokio::test]
async fn a_node_dies_and_comes_back() {
    let mut cluster = Processes::start(3);
    let c = connect(&cluster).await;
    let (moved, kept) = (
        key_led_by(&c, &cluster, 0).await,
        key_led_by(&c, &cluster, 1).await,
    );
    assert_ne!(key_slot(moved.as_bytes()), key_slot(kept.as_bytes()));
    assert_eq!(c.incr(&moved).await, Ok(1));
    cluster.kill(0);
    // The seed in use is the one that died.
    assert_eq!(c.incr(&kept).await, Ok(1));
    // Another node leads in its place, soon enough for the same call.
    assert_eq!(c.incr(&moved).await, Ok(2));
    assert!(c.ping().await.is_ok());
    cluster.restart(0);
    assert_eq!(c.incr(&moved).await, Ok(3));
    assert_eq!(c.incr(&kept).await, Ok(2));
}

#[tokio::test]
async fn what_nobody_leads_any_more_is_not_done() {
    let mut cluster = Processes::start_with(3, &["--replicas", "1"]);
    let c = connect(&cluster).await;
    let lost = key_led_by(&c, &cluster, 0).await;
    cluster.kill(0);
    // What is sent before the end is noticed may have arrived, for all that the client knows.
    let first = c.incr(&lost).await.unwrap_err();
    assert!(
        matches!(&first, Error::NotDone(_) | Error::Unknown(_)),
        "{first:?}"
    );
    let start = Instant::now();
    let error = c.incr(&lost).await.unwrap_err();
    assert!(matches!(&error, Error::NotDone(_)), "{error:?}");
    let limit = limits::DEADLINE + Duration::from_secs(1);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_deadline_before_a_frozen_node_is_noticed_leaves_a_write_unknown() {
    let cluster = Processes::start(3);
    let c = connect(&cluster)
        .await
        .with_deadline(Duration::from_millis(700));
    let key = key_led_by(&c, &cluster, 2).await;
    assert_eq!(c.incr(&key).await, Ok(1));
    cluster.pause(2);
    let start = Instant::now();
    let result = c.incr(&key).await;
    assert_eq!(result, Err(Error::Unknown(Cause::Deadline)));
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    cluster.resume(2);
    let counted = c
        .with_deadline(Duration::from_secs(5))
        .incr(&key)
        .await
        .unwrap();
    assert!((2..=3).contains(&counted), "{counted}");
}
