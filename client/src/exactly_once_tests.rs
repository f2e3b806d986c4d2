//! Writes with a place in a session: what is sent again, where, and what the caller is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dht_proto::Reply;
use dht_proto::rpc::Place;
use dht_proto::slot::key_slot;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::{Cause, Error};
use crate::routes::tests::slots_reply;
use crate::testing::{Act, FakeNode, refuse};

/// A node that says the other one leads all slots, opens sessions of the one shard that there is,
/// and does with other commands what the function says.
async fn node(
    leader: Option<&FakeNode>,
    act: impl Fn(&str) -> Act + Clone + Send + 'static,
) -> FakeNode {
    let slots = match leader {
        Some(leader) => {
            let (host, port) = leader.address.rsplit_once(':').unwrap();
            slots_reply(&[(0, 16383, host, port.parse().unwrap())])
        }
        None => Reply::Array(Vec::new()),
    };
    let sessions = Arc::new(AtomicI64::new(100));
    FakeNode::with_sessions(move |command| match command {
        "CLUSTER SLOTS" => Act::Answer(slots.clone()),
        open if open.starts_with("CLUSTER SESSION") => {
            let id = sessions.fetch_add(1, Ordering::Relaxed);
            Act::Answer(Reply::Array([id, 0, 16383].map(Reply::Int).to_vec()))
        }
        other => act(other),
    })
    .await
}

fn place(session: u64, sequence: u64, acknowledged: u64) -> Place {
    Place {
        session,
        sequence,
        acknowledged,
    }
}

fn one(_: &str) -> Act {
    Act::Answer(Reply::Int(1))
}

fn incr(place: Place) -> (String, Place) {
    ("INCR n".to_owned(), place)
}

#[tokio::test]
async fn writes_of_one_slot_are_numbered_and_nothing_else_is() {
    let node = node(None, one).await;
    let client = Client::connect(&node.address).await.unwrap();
    for words in ["INCR n", "GET n", "INCR n", "MSET a 1 b 2", "FLUSHALL"] {
        client.call(words.split(' ')).await.unwrap();
    }
    let expect = [incr(place(100, 1, 0)), incr(place(100, 2, 1))];
    assert_eq!(node.places(), expect);
}

#[tokio::test]
async fn many_writes_at_once_share_the_opening() {
    let node = node(None, one).await;
    let client = Client::connect(&node.address).await.unwrap();
    let calls: Vec<_> = (0..1000)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.incr(format!("key{n}")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(1));
    }
    let mut pipeline = client.pipeline();
    for n in 0..1000 {
        pipeline = pipeline.incr(format!("key{n}"));
    }
    assert!(pipeline.send().await.iter().all(Result::is_ok));
    let seen = node.seen();
    let opened = seen
        .iter()
        .filter(|command| command.starts_with("CLUSTER SESSION"));
    assert_eq!(opened.count(), 1);
    let mut numbers: Vec<u64> = node
        .places()
        .iter()
        .map(|(_, place)| place.sequence)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_elsewhere_with_the_same_place() {
    let leader = node(None, |_| Act::Hang).await;
    let seed = node(Some(&leader), one).await;
    let client = Client::connect(&seed.address).await.unwrap();
    assert_eq!(client.incr("n").await, Ok(1));
    assert_eq!(leader.places(), [incr(place(100, 1, 0))]);
    assert_eq!(seed.places(), [incr(place(100, 1, 0))]);
}

fn queue(command: &str) -> Act {
    Act::Answer(Reply::Status(match command {
        "MULTI" => "OK".into(),
        _ => "QUEUED".into(),
    }))
}

/// A node has one address as a seed and another as a leader: to go on to the next seed could be to
/// ask the silent one again.
#[tokio::test]
async fn who_is_silent_as_a_leader_is_not_asked_as_a_seed() {
    let [silent, other] = [FakeNode::start(|_| Act::Hang).await, node(None, one).await];
    let (mut parts, ports) = (
        Vec::new(),
        [&silent, &other].map(|node| node.address.clone()),
    );
    for (slots, address) in [(0, 8191), (8192, 16383)].into_iter().zip(&ports) {
        let (host, port) = address.rsplit_once(':').unwrap();
        parts.push((slots.0, slots.1, host, port.parse().unwrap()));
    }
    let slots = slots_reply(&parts);
    // The seed is the silent one by another name: it tells the routes, and nothing else.
    let seed = FakeNode::start(move |command| match command {
        "CLUSTER SLOTS" => Act::Answer(slots.clone()),
        _ => Act::Hang,
    });
    let seed = seed.await;
    let client = Client::connect(&seed.address).await.unwrap();
    let key = (0..).map(|n| format!("key{n}"));
    let key = key
        .into_iter()
        .find(|key| key_slot(key.as_bytes()) < 8192)
        .unwrap();
    assert_eq!(client.call(["GET", &key]).await, Ok(Reply::Int(1)));
    let asked = |node: &FakeNode| node.seen().iter().any(|seen| seen.starts_with("GET"));
    assert!(asked(&silent) && asked(&other) && !asked(&seed));
}

/// A seed that is cut off from its cluster tells routes, and its own address among them.
#[tokio::test]
async fn a_seed_that_is_cut_off_is_not_asked_for_ever() {
    let cut_off = FakeNode::start(|_| refuse("CLUSTERDOWN no leader")).await;
    let leader = node(None, one).await;
    let refused = |_: &str| refuse("CLUSTERDOWN no leader");
    let first = node(Some(&cut_off), refused).await;
    let second = node(Some(&leader), refused).await;
    let seeds = format!("{},{}", first.address, second.address);
    let client = Client::connect(&seeds).await.unwrap();
    assert_eq!(client.call(["GET", "n"]).await, Ok(Reply::Int(1)));
    assert!(!cut_off.seen().is_empty());
}

#[tokio::test]
async fn a_transaction_whose_answer_is_lost_is_sent_again_with_its_place() {
    let leader = node(None, |command| match command {
        "EXEC" => Act::Hang,
        other => queue(other),
    });
    let leader = leader.await;
    let seed = node(Some(&leader), |command| match command {
        "EXEC" => Act::Answer(Reply::Array(vec![Reply::Int(1), Reply::Int(2)])),
        other => queue(other),
    });
    let seed = seed.await;
    let client = Client::connect(&seed.address).await.unwrap();
    let answers = client.pipeline().incr("n").incr("n").exec().await;
    assert_eq!(answers, Ok(vec![Reply::Int(1), Reply::Int(2)]));
    let exec = ("EXEC".to_owned(), place(100, 1, 0));
    assert_eq!(
        (leader.places(), seed.places()),
        (vec![exec.clone()], vec![exec])
    );
}

#[tokio::test]
async fn a_transaction_whose_answer_nobody_finds_is_unknown() {
    let leader = node(None, |command| match command {
        "EXEC" => Act::Hang,
        other => queue(other),
    });
    let leader = leader.await;
    let seed = node(Some(&leader), |command| match command {
        "EXEC" => refuse("CLUSTERDOWN no leader"),
        other => queue(other),
    });
    let seed = seed.await;
    let client = Client::connect(&seed.address).await.unwrap();
    let client = client.with_deadline(Duration::from_millis(400));
    let error = client.pipeline().incr("n").exec().await.unwrap_err();
    assert!(
        matches!(error, Error::Unknown(Cause::Cluster(_))),
        "{error:?}"
    );
    assert!(!seed.places().is_empty());
}

/// The rest would be executed without it.
#[tokio::test]
async fn a_transaction_with_a_command_that_is_too_long_is_not_sent() {
    let node = node(None, queue).await;
    let client = Client::connect(&node.address).await.unwrap();
    let long = vec![b'x'; dht_proto::limits::QUERY_BYTES];
    let transaction = client.pipeline().set("a", "1").set("b", long);
    let error = transaction.exec().await.unwrap_err();
    assert!(matches!(error, Error::Reply(_)), "{error:?}");
    assert!(
        !node
            .seen()
            .iter()
            .any(|seen| seen == "MULTI" || seen == "EXEC")
    );
}

#[tokio::test]
async fn a_lost_answer_that_nobody_finds_is_unknown() {
    let leader = node(None, |_| Act::Hang).await;
    let seed = node(Some(&leader), |_| refuse("CLUSTERDOWN no leader")).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let client = client.with_deadline(Duration::from_millis(400));
    let error = client.incr("n").await.unwrap_err();
    assert!(
        matches!(error, Error::Unknown(Cause::Cluster(_))),
        "{error:?}"
    );
    assert!(seed.places().len() > 2);
    assert!(seed.places().iter().all(|at| *at == incr(place(100, 1, 0))));
}

#[tokio::test]
async fn unknown_is_final_and_ends_the_session() {
    let node = node(None, |command| match command {
        "INCR n" => refuse("UNKNOWN the answer is kept no more"),
        _ => Act::Answer(Reply::Int(7)),
    })
    .await;
    let client = Client::connect(&node.address).await.unwrap();
    let error = client.incr("n").await.unwrap_err();
    assert!(
        matches!(error, Error::Unknown(Cause::Cluster(_))),
        "{error:?}"
    );
    assert_eq!(client.incr("m").await, Ok(7));
    let next = ("INCR m".to_owned(), place(101, 1, 0));
    assert_eq!(node.places(), [incr(place(100, 1, 0)), next]);
}

#[tokio::test]
async fn where_there_are_no_sessions_writes_go_without() {
    let node = FakeNode::start(|command| match command {
        "CLUSTER SLOTS" => Act::Answer(Reply::Array(Vec::new())),
        other => one(other),
    })
    .await;
    let client = Client::connect(&node.address).await.unwrap();
    assert_eq!(client.incr("n").await, Ok(1));
    assert_eq!(client.incr("n").await, Ok(1));
    assert_eq!(node.seen(), ["CLUSTER SLOTS", "INCR n", "INCR n"]);
    assert_eq!(node.places(), []);
}

#[tokio::test]
async fn no_session_in_time_is_not_done() {
    let node = FakeNode::with_sessions(|command| match command {
        "CLUSTER SLOTS" => Act::Answer(Reply::Array(Vec::new())),
        "PING" => one("PING"),
        _ => refuse("TRYAGAIN in a moment"),
    })
    .await;
    let client = Client::connect(&node.address).await.unwrap();
    let client = client.with_deadline(Duration::from_millis(200));
    let error = client.incr("n").await.unwrap_err();
    assert!(matches!(error, Error::NotDone(_)), "{error:?}");
    assert!(!node.seen().contains(&"INCR n".to_owned()));
}

#[tokio::test]
async fn a_frozen_node_is_noticed_and_passed_by() {
    let leader = node(None, |command| match command {
        "INCR freeze" => Act::Freeze,
        _ => Act::Answer(Reply::Int(7)),
    })
    .await;
    let seed = node(Some(&leader), one).await;
    let client = Client::connect(&seed.address).await.unwrap();
    assert_eq!(client.incr("n").await, Ok(7));
    let start = Instant::now();
    assert_eq!(client.incr("freeze").await, Ok(1));
    assert!(start.elapsed() >= Duration::from_millis(1400));
    // The system still accepts connections for it; nobody waits for it again.
    let start = Instant::now();
    assert_eq!(client.incr("n").await, Ok(1));
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(seed.places().len(), 2);
}

#[tokio::test]
async fn a_slow_answer_of_a_node_that_is_there_is_waited_for() {
    let node = node(None, |command| match command {
        "INCR slow" => Act::Ignore,
        _ => Act::Answer(Reply::Int(7)),
    })
    .await;
    let client = Client::connect(&node.address).await.unwrap();
    let client = client.with_deadline(Duration::from_millis(2500));
    let slow = client.incr("slow").await;
    assert_eq!(slow, Err(Error::Unknown(Cause::Deadline)));
    assert_eq!(client.incr("n").await, Ok(7));
    let seen = node.seen();
    let slow = seen.iter().filter(|command| *command == "INCR slow");
    assert_eq!(slow.count(), 1, "on one connection, once");
}
