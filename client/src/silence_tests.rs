//! Nodes that are silent, to the client or to the others: who is asked instead, how soon, and what
//! the caller is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use dht_proto::Reply;
use dht_proto::slot::key_slot;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::{Cause, Error};
use crate::routes::tests::slots_reply;
use crate::testing::{Act, FakeNode, refuse};

/// Longer than it takes to turn away from a node that is silent, and shorter than a deadline.
const SOON: Duration = Duration::from_millis(3500);
/// Shorter than it takes to turn away from a node.
const AT_ONCE: Duration = Duration::from_millis(700);

/// A node that tells of leaders, each of an equal part of the slots, opens sessions of the one
/// shard that there is, takes what is queued, and does with other commands what the function says.
async fn node(
    leaders: &[&FakeNode],
    act: impl Fn(&str) -> Act + Clone + Send + 'static,
) -> FakeNode {
    let slots = told(leaders);
    let sessions = Arc::new(AtomicI64::new(100));
    FakeNode::with_sessions(move |command| match command {
        "CLUSTER SLOTS" => Act::Answer(slots.clone()),
        "MULTI" => Act::Answer(Reply::Ok),
        "DECR n" => Act::Answer(Reply::Status("QUEUED".into())),
        open if open.starts_with("CLUSTER SESSION") => {
            let id = sessions.fetch_add(1, Ordering::Relaxed);
            Act::Answer(Reply::Array([id, 0, 16383].map(Reply::Int).to_vec()))
        }
        other => act(other),
    })
    .await
}

/// What CLUSTER SLOTS answers of these leaders.
fn told(leaders: &[&FakeNode]) -> Reply {
    let width = 16384 / leaders.len().max(1);
    let mut parts = Vec::new();
    for (number, leader) in leaders.iter().enumerate() {
        let (host, port) = leader.address.rsplit_once(':').unwrap();
        let (first, last) = (number * width, (number + 1) * width - 1);
        parts.push((first as u16, last as u16, host, port.parse().unwrap()));
    }
    slots_reply(&parts)
}

fn one(_: &str) -> Act {
    Act::Answer(Reply::Int(1))
}

fn ones(command: &str) -> Act {
    match command {
        "EXEC" => Act::Answer(Reply::Array(vec![Reply::Int(1)])),
        other => one(other),
    }
}

/// A key of the first half of the slots.
fn low_key() -> String {
    let mut keys = (0..).map(|n| format!("key{n}"));
    keys.find(|key| key_slot(key.as_bytes()) < 8192).unwrap()
}

async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (call.await, start.elapsed())
}

/// The client has lost its path to a leader, and nobody else has: the others send it back there.
#[tokio::test]
async fn who_reaches_a_leader_in_the_place_of_the_client_is_asked() {
    let silent = node(&[], |_| Act::Freeze).await;
    let moved = format!("MOVED 1 {}", silent.address);
    let other = node(&[], move |_| refuse(&moved)).await;
    let seed = node(&[&silent, &other], one).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let key = low_key();
    let (read, took) = timed(client.call(["GET", &key])).await;
    assert_eq!(read, Ok(Reply::Int(1)));
    assert!(took < SOON, "{took:?}");
    for _ in 0..3 {
        let (written, took) = timed(client.call(["INCR", &key])).await;
        assert_eq!(written, Ok(Reply::Int(1)));
        assert!(took < AT_ONCE, "{took:?}");
    }
    let sent = seed.places().len();
    assert_eq!(sent, 3);
}

/// Such a node says that it is there, and cannot do anything.
#[tokio::test]
async fn a_leader_that_is_cut_off_from_the_others_is_not_waited_for() {
    let leader = node(&[], |_| Act::Ignore).await;
    let seed = node(&[&leader], ones).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let (written, took) = timed(client.incr("n")).await;
    assert_eq!(written, Ok(1));
    assert!(took < SOON, "{took:?}");
    assert_eq!(leader.places(), seed.places());
    for _ in 0..3 {
        let (read, took) = timed(client.call(["GET", "n"])).await;
        assert_eq!(read, Ok(Reply::Int(1)));
        assert!(took < AT_ONCE, "{took:?}");
    }
}

/// Of a pipeline only what the silent one has goes to another, under the same numbers.
#[tokio::test]
async fn of_a_pipeline_the_rest_is_done_once() {
    let silent = node(&[], |_| Act::Ignore).await;
    let other = node(&[], one).await;
    let seed = node(&[&silent, &other], one).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let (low, mut keys) = (low_key(), (0..).map(|n| format!("key{n}")));
    let high = keys.find(|key| key_slot(key.as_bytes()) >= 8192).unwrap();
    let pipeline = client.pipeline().incr(&*low).incr(&*high).decr(&*low);
    let (answers, took) = timed(pipeline.send()).await;
    assert_eq!(answers, [const { Ok(Reply::Int(1)) }; 3]);
    assert!(took < SOON, "{took:?}");
    let (had, done) = (silent.places(), other.places());
    assert_eq!(had.len(), 2);
    assert_eq!(done[0].0, format!("INCR {high}"));
    assert_eq!(done[1..], had);
}

#[tokio::test]
async fn nor_does_a_transaction_wait_for_it() {
    let leader = node(&[], |_| Act::Ignore).await;
    let seed = node(&[&leader], ones).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let (answers, took) = timed(client.pipeline().decr("n").exec()).await;
    assert_eq!(answers, Ok(vec![Reply::Int(1)]));
    assert!(took < SOON, "{took:?}");
    assert_eq!(leader.places(), seed.places());
    let (answers, took) = timed(client.pipeline().decr("n").exec()).await;
    assert_eq!(answers, Ok(vec![Reply::Int(1)]));
    assert!(took < AT_ONCE, "{took:?}");
}

/// Two answers are waited for, and the one that comes is taken.
#[tokio::test]
async fn a_late_answer_counts_where_nobody_else_has_one() {
    // It is asked for a sign of life each half second.
    let leader = FakeNode::start(|_| Act::Late(4, Reply::Int(7))).await;
    let seed = node(&[&leader], |_| refuse("CLUSTERDOWN no leader")).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let (read, took) = timed(client.call(["GET", "n"])).await;
    assert_eq!(read, Ok(Reply::Int(7)));
    assert!(
        took > Duration::from_millis(1500) && took < SOON,
        "{took:?}"
    );
    assert!(seed.seen().contains(&"GET n".to_owned()));
}

/// The connection of a transaction is its own, what is known of a node is not.
#[tokio::test]
async fn transactions_know_who_is_silent() {
    let leader = node(&[], |_| Act::Freeze).await;
    let seed = node(&[&leader], ones).await;
    let client = Client::connect(&seed.address).await.unwrap();
    assert_eq!(client.incr("n").await, Ok(1));
    for _ in 0..3 {
        let (answers, took) = timed(client.pipeline().decr("n").exec()).await;
        assert_eq!(answers, Ok(vec![Reply::Int(1)]));
        assert!(took < AT_ONCE, "{took:?}");
    }
    let (watched, took) = timed(client.watch(["n"])).await;
    assert!(watched.is_ok());
    assert!(took < AT_ONCE, "{took:?}");
}

/// A node that can never be asked for a sign of life, since its connection is taken.
#[tokio::test]
async fn what_takes_long_is_not_waited_for_at_a_node_that_is_gone() {
    let frozen = node(&[], |_| Act::Freeze).await;
    let other = node(&[], |_| Act::Answer(Reply::Int(9))).await;
    let seeds = format!("{},{}", frozen.address, other.address);
    let client = Client::connect(&seeds).await.unwrap();
    let (size, took) = timed(client.dbsize()).await;
    assert_eq!(size, Ok(9));
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn what_takes_long_is_waited_for_at_a_node_that_is_there() {
    let busy = node(&[], |_| Act::Ignore).await;
    let client = Client::connect(&busy.address).await.unwrap();
    let client = client.with_deadline(Duration::from_millis(2500));
    // It reads, so that nothing can have happened.
    assert_eq!(client.dbsize().await, Err(Error::NotDone(Cause::Deadline)));
    let node = client.node(&busy.address);
    let asked = node.call(["DBSIZE"]).await;
    assert_eq!(asked, Err(Error::NotDone(Cause::Deadline)));
    let seen = busy.seen();
    assert_eq!(seen.iter().filter(|seen| *seen == "DBSIZE").count(), 2);
}

#[tokio::test]
async fn what_was_said_on_a_connection_that_has_ended_is_over() {
    let node = node(&[], |command| match command {
        "GET n" => Act::Hang,
        other => one(other),
    });
    let node = node.await;
    let client = Client::connect(&node.address).await.unwrap();
    let watch = client.watch(["n"]).await.unwrap();
    assert!(watch.call(["GET", "n"]).await.is_err());
    let error = watch.exec(client.pipeline().decr("n")).await.unwrap_err();
    let is_told = matches!(error, Error::NotDone(Cause::Unreachable { .. }));
    assert!(is_told, "{error:?}");
}

/// What may be answered without a look at the number of a write, and so says nothing of an earlier
/// try.
const BEFOREHAND: [&str; 7] = [
    "MISCONF Errors writing to the disk",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the command",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "CLUSTERDOWN no leader",
    "ERR unknown command 'INCR', with args beginning with: ",
];

#[tokio::test]
async fn what_an_earlier_try_may_have_done_is_not_called_undone() {
    for text in BEFOREHAND {
        let leader = node(&[], |_| Act::Hang).await;
        let seed = node(&[&leader], move |_| refuse(text)).await;
        let client = Client::connect(&seed.address).await.unwrap();
        let client = client.with_deadline(Duration::from_millis(300));
        let error = client.incr("n").await.unwrap_err();
        assert!(matches!(error, Error::Unknown(_)), "{text}: {error:?}");
        let error = client.pipeline().decr("n").exec().await.unwrap_err();
        assert!(matches!(error, Error::Unknown(_)), "{text}: {error:?}");
    }
}

/// Who has looked the number up gives the first answer, whatever it says.
#[tokio::test]
async fn the_answer_of_who_knows_is_waited_for() {
    let leader = node(&[], |_| Act::Hang).await;
    let tries = Arc::<AtomicUsize>::default();
    let full_at_first = move |_: &str| match tries.fetch_add(1, Ordering::Relaxed) {
        0..3 => refuse("MISCONF Errors writing to the disk"),
        _ => refuse("WRONGTYPE Operation against a key holding the wrong kind of value"),
    };
    let seed = node(&[&leader], full_at_first).await;
    let client = Client::connect(&seed.address).await.unwrap();
    for _ in 0..2 {
        let error = client.incr("n").await.unwrap_err();
        assert!(
            matches!(&error, Error::Reply(error) if error.prefix() == "WRONGTYPE"),
            "{error:?}"
        );
    }
    // A write that nobody else can have done is refused at once.
    let full = node(&[], |_| refuse("MISCONF Errors writing to the disk")).await;
    let client = Client::connect(&full.address).await.unwrap();
    let error = client.incr("n").await.unwrap_err();
    assert!(
        matches!(&error, Error::Reply(error) if error.prefix() == "MISCONF"),
        "{error:?}"
    );
    assert_eq!(full.places().len(), 1);
}
