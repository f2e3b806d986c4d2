//! Writes that are sent again: by hand with the same place to different nodes, and by the client
//! library while nodes die and freeze.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dht_client::Client;
use dht_proto::Reply;
use dht_proto::rpc::{Meta, Place};
use dht_proto::slot::key_slot;
use dht_tests::native_client::NativeClient;
use dht_tests::process::Processes;
use dht_tests::wait;
use tokio::task::JoinSet;

const NODES: usize = 3;
/// Counters, of which every shard has some.
const COUNTERS: usize = 200;
/// How many count at the same time.
const COUNTING: usize = 8;
/// For a call. The default would do where the machine has nothing else to do.
const DEADLINE: Duration = Duration::from_secs(20);
/// Time for a cluster to do without a node.
const HEALED: Duration = Duration::from_secs(60);

async fn connect_all(cluster: &Processes) -> Vec<NativeClient> {
    let mut nodes = Vec::new();
    for node in 0..NODES {
        nodes.push(NativeClient::connect(cluster.client(node)).await.unwrap());
    }
    nodes
}

/// A place of a write in a new session of the shard that has the key.
async fn place(node: &mut NativeClient, key: &str) -> Place {
    let slot = key_slot(key.as_bytes()).to_string();
    let answer = node.call(&["CLUSTER", "SESSION", &slot]).await.unwrap();
    let Reply::Array(parts) = &answer else {
        panic!("{answer:?}");
    };
    let Reply::Int(session) = parts[0] else {
        panic!("{answer:?}");
    };
    Place {
        session: session as u64,
        sequence: 1,
        acknowledged: 0,
    }
}

/// MULTI, two increments and EXEC, which has the place.
async fn increment_twice(node: &mut NativeClient, key: &str, place: Place) -> Reply {
    for argv in [vec!["MULTI"], vec!["INCR", key], vec!["INCR", key]] {
        let queued = node.call(&argv).await.unwrap();
        assert!(!matches!(queued, Reply::Error(_)), "{queued:?}");
    }
    let meta = Meta::default().with_place(place);
    node.call_with(&["EXEC"], &meta).await.unwrap()
}

#[tokio::test]
async fn a_transaction_that_is_sent_to_every_node_is_executed_once() {
    let cluster = Processes::start(NODES);
    let mut nodes = connect_all(&cluster).await;
    for n in 0..10 {
        let key = format!("key:{n}");
        let place = place(&mut nodes[n % NODES], &key).await;
        for node in [0, 1, 2, 0] {
            let answer = increment_twice(&mut nodes[node], &key, place).await;
            assert_eq!(answer, Reply::Array(vec![Reply::Int(1), Reply::Int(2)]));
        }
        let held = nodes[0].call(&["GET", &key]).await.unwrap();
        assert_eq!(held, Reply::bulk("2"));
    }
}

#[tokio::test]
async fn a_frame_that_is_sent_to_every_node_is_executed_once() {
    let cluster = Processes::start(NODES);
    let mut nodes = connect_all(&cluster).await;
    for n in 0..10 {
        let key = format!("key:{n}");
        let first = place(&mut nodes[n % NODES], &key).await;
        let second = Place {
            sequence: 2,
            acknowledged: 1,
            ..first
        };
        for (place, expect) in [(first, 1), (second, 2)] {
            let meta = Meta::default().with_place(place);
            for node in &mut nodes {
                let answer = node.call_with(&["INCR", &key], &meta).await.unwrap();
                assert_eq!(answer, Reply::Int(expect), "{key}");
            }
        }
        // The first answer was acknowledged: asked for again, it is not known, and nothing is done.
        let meta = Meta::default().with_place(first);
        let answer = nodes[0].call_with(&["INCR", &key], &meta).await.unwrap();
        let Reply::Error(error) = answer else {
            panic!("{key}: {answer:?}");
        };
        assert_eq!(error.prefix(), "UNKNOWN");
        let value = nodes[1].call(&["GET", &key]).await.unwrap();
        assert_eq!(value, Reply::bulk("2"), "{key}");
    }
}

/// What was counted, as far as the client knows.
struct Counted {
    counts: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Counted {
    async fn count(self: Arc<Self>, client: Client, first: usize) {
        for n in (first..).step_by(COUNTING) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let counter = n % COUNTERS;
            match client.incr(key(counter)).await {
                Ok(_) => self.counts[counter].fetch_add(1, Ordering::Relaxed),
                Err(error) => panic!("{}: {error}", key(counter)),
            };
        }
    }

    /// Waits until every counter has grown: every shard serves.
    async fn all_grow(&self, when: &str) {
        let counts = || {
            self.counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
        };
        let before: Vec<u64> = counts().collect();
        let what = format!("every counter to grow while {when}");
        wait::until_async(&what, HEALED, || {
            let grown = counts().zip(&before).all(|(now, before)| now > *before);
            grown.then_some(())
        })
        .await;
    }
}

fn key(counter: usize) -> String {
    format!("counter:{counter}")
}

/// Waits until any one node may be lost, as all of them say.
fn await_safe(cluster: &Processes) {
    (0..NODES).for_each(|node| cluster.await_safe(node));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_die_and_freeze_and_no_increment_is_lost_or_done_twice() {
    let mut cluster = Processes::start(NODES);
    let seeds = (0..NODES).map(|node| cluster.client(node).to_string());
    let seeds = seeds.collect::<Vec<_>>().join(",");
    let client = Client::connect(&seeds).await.unwrap();
    let client = client.with_deadline(DEADLINE);
    let counted = Arc::new(Counted {
        counts: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
        stop: AtomicBool::new(false),
    });
    let mut counting = JoinSet::new();
    for first in 0..COUNTING {
        counting.spawn(Arc::clone(&counted).count(client.clone(), first));
    }
    counted.all_grow("nothing happens").await;
    for node in 0..NODES {
        cluster.kill(node);
        counted.all_grow(&format!("node {node} is dead")).await;
        cluster.restart(node);
        counted.all_grow(&format!("node {node} is new")).await;
        await_safe(&cluster);

        cluster.pause(node);
        counted.all_grow(&format!("node {node} is frozen")).await;
        cluster.resume(node);
        counted.all_grow(&format!("node {node} is back")).await;
        await_safe(&cluster);
    }
    counted.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = counting.join_next().await {
        ended.unwrap();
    }
    for (counter, count) in counted.counts.iter().enumerate() {
        let count = count.load(Ordering::Relaxed);
        let value = client.get(key(counter)).await.unwrap();
        assert_eq!(value, Some(count.to_string().into()), "{}", key(counter));
    }
}
