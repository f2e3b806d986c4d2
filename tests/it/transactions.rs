//! Transactions of many clients: what is read under WATCH and written by EXEC loses nothing.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use dht_proto::Reply;
use dht_tests::process::{Processes, ask};
use dht_tests::resp_client::RespClient;

/// Clients of each node.
const CLIENTS: usize = 2;
/// Increments that a client tries.
const TRIES: usize = 60;
const KEYS: [&str; 2] = ["counter:1", "counter:2"];

/// Reads a counter and writes one more, if nobody was faster; says whether that was done.
async fn try_to_add(client: &mut RespClient, key: &str) -> bool {
    assert_eq!(client.call(&["WATCH", key]).await.unwrap(), Reply::Ok);
    let before = match client.call(&["GET", key]).await.unwrap() {
        Reply::Bulk(text) => String::from_utf8_lossy(&text).parse().unwrap(),
        Reply::Nil => 0,
        other => panic!("{other:?}"),
    };
    let after: u64 = before + 1;
    assert_eq!(client.call(&["MULTI"]).await.unwrap(), Reply::Ok);
    let queued = Reply::Status("QUEUED".into());
    let set = ["SET", key, &after.to_string()];
    assert_eq!(client.call(&set).await.unwrap(), queued);
    let mirror = format!("{{{key}}}mirror");
    let set = ["INCR", &mirror];
    assert_eq!(client.call(&set).await.unwrap(), queued);
    match client.call(&["EXEC"]).await.unwrap() {
        Reply::Nil => false,
        Reply::Array(replies) => {
            assert_eq!(replies.len(), 2);
            true
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn add(node: SocketAddr) -> [u64; 2] {
    let mut client = RespClient::connect(node).await.unwrap();
    let mut done = [0; 2];
    for turn in 0..TRIES {
        let which = turn % KEYS.len();
        done[which] += u64::from(try_to_add(&mut client, KEYS[which]).await);
    }
    done
}

/// Every client adds at once; what succeeded is what is counted.
fn check(nodes: &[SocketAddr]) {
    let everybody = nodes.iter().flat_map(|node| [*node; CLIENTS]);
    let threads: Vec<_> = everybody
        .map(|node| thread::spawn(move || add(node)))
        .collect();
    let mut sums = [0; 2];
    for thread in threads {
        let done = thread.join().unwrap();
        sums.iter_mut()
            .zip(done)
            .for_each(|(sum, done)| *sum += done);
    }
    for (key, sum) in KEYS.iter().zip(sums) {
        assert!(sum > 0, "nobody ever succeeded");
        for key in [(*key).to_owned(), format!("{{{key}}}mirror")] {
            let counted = ask(nodes[0], &format!("GET {key}")).unwrap();
            let text = sum.to_string();
            assert_eq!(counted, format!("${}\r\n{text}\r\n", text.len()), "{key}");
        }
    }
}

#[test]
fn increments_through_three_nodes_lose_nothing() {
    let cluster = Processes::start(3);
    let nodes: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    check(&nodes);
}

/// Clients that change one hash at the same time by compare-and-set.
const SETTERS: usize = 64;
/// Changes that each of them makes.
const CHANGES: usize = 10;

/// Reads two fields and sets both to what follows, until nobody was faster.
async fn change(client: &mut RespClient) {
    loop {
        let values = client.call(&["HMGET", "h", "n", "twice"]).await.unwrap();
        let Reply::Array(values) = values else {
            panic!("{values:?}");
        };
        let before: Vec<String> = values
            .iter()
            .map(|value| match value {
                Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
                _ => "none".to_owned(),
            })
            .collect();
        let n: u64 = before[0].parse().unwrap_or(0);
        let (one, two) = ((n + 1).to_string(), (2 * n + 2).to_string());
        let fields = ["n", &before[0], &one, "twice", &before[1], &two];
        let words = [&["HCAS", "h", "NIL", "none"], &fields[..]].concat();
        match client.call(&words).await.unwrap() {
            Reply::Int(1) => return,
            Reply::Int(0) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Of no two clients that have read the same does more than one succeed.
#[tokio::test]
async fn compare_and_set_through_three_nodes_loses_nothing() {
    let cluster = Processes::start(3);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..SETTERS {
        let node = cluster.client(number % 3);
        clients.spawn(async move {
            let mut client = RespClient::connect(node).await.unwrap();
            for _ in 0..CHANGES {
                change(&mut client).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let mut client = RespClient::connect(cluster.client(0)).await.unwrap();
    let values = client.call(&["HMGET", "h", "n", "twice"]).await.unwrap();
    let done = SETTERS * CHANGES;
    let expect = [done, 2 * done].map(|n| Reply::bulk(n.to_string()));
    assert_eq!(values, Reply::Array(expect.to_vec()));
}

/// A key that is not led by node 0, and the node that leads it.
fn key_of_another(cluster: &Processes) -> (String, usize) {
    let mut keys = (0..).map(|i| format!("key:{i}"));
    let leader = |key: &String| {
        let leads = |node: &usize| {
            let answer = ask(cluster.redirect(*node), &format!("EXISTS {key}")).unwrap();
            answer.starts_with(':')
        };
        (1..3).find(leads)
    };
    keys.find_map(|key| leader(&key).map(|node| (key, node)))
        .unwrap()
}

#[tokio::test]
async fn a_new_leader_knows_what_is_watched() {
    let mut cluster = Processes::start(3);
    let (key, leader) = key_of_another(&cluster);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = RespClient::connect(cluster.client(0)).await.unwrap();
        client.call(&["WATCH", &key]).await.unwrap();
        client.call(&["MULTI"]).await.unwrap();
        client.call(&["INCR", &key]).await.unwrap();
        clients.push(client);
    }
    cluster.kill(leader);
    // The change that the first one makes is also the end of what the second one watches.
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.call(&["EXEC"]).await.unwrap());
    }
    assert_eq!(answers, [Reply::Array(vec![Reply::Int(1)]), Reply::Nil]);
}

#[test]
fn increments_on_a_node_alone_lose_nothing() {
    let node = Processes::alone(&[]);
    check(&[node.client(0); 3]);
}

/// So many keys of as many slots always hold the same.
const ALIKE: usize = 100;
/// What is read of them, by each of the readers.
const READS: usize = 500;

/// Writes the keys in one transaction after the other, or without any, until everything is read.
#[tokio::main(flavor = "current_thread")]
async fn write_alike(node: SocketAddr, writer: usize, atomic: bool, over: &AtomicBool) {
    let mut client = RespClient::connect(node).await.unwrap();
    for number in 0.. {
        if over.load(Relaxed) {
            return;
        }
        let value = format!("{writer}:{number}");
        let set = |key| vec!["SET".to_owned(), format!("alike:{key}"), value.clone()];
        let sets = (0..ALIKE).map(set);
        client.pipeline(&as_one(sets, atomic)).await.unwrap();
    }
}

fn as_one(commands: impl Iterator<Item = Vec<String>>, atomic: bool) -> Vec<Vec<String>> {
    let word = |word: &str| atomic.then(|| vec![word.to_owned()]);
    let (first, last) = (word("MULTI"), word("EXEC"));
    first.into_iter().chain(commands).chain(last).collect()
}

/// Reads the keys in transactions; gives how often they differed.
#[tokio::main(flavor = "current_thread")]
async fn read_alike(node: SocketAddr) -> usize {
    let mut client = RespClient::connect(node).await.unwrap();
    let get = |key| vec!["GET".to_owned(), format!("alike:{key}")];
    let reads = as_one((0..ALIKE).map(get), true);
    let mut torn = 0;
    for _ in 0..READS {
        match client.pipeline(&reads).await.unwrap().pop() {
            Some(Reply::Array(values)) => {
                assert_eq!(values.len(), ALIKE);
                torn += usize::from(values.iter().any(|value| *value != values[0]));
            }
            other => panic!("{other:?}"),
        }
    }
    torn
}

/// Writers and readers at once, a thread each.
fn torn(atomic: bool) -> usize {
    let processes = Processes::alone(&["--threads", "4"]);
    let (node, over) = (processes.client(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for writer in 0..3 {
            let over = &over;
            scope.spawn(move || write_alike(node, writer, atomic, over));
        }
        let readers: Vec<_> = (0..3)
            .map(|_| scope.spawn(move || read_alike(node)))
            .collect();
        let torn = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        over.store(true, Relaxed);
        torn
    })
}

#[test]
fn on_a_node_alone_a_transaction_over_several_slots_is_atomic() {
    assert_eq!(torn(true), 0);
    // Who looks like that sees it soon where it is not.
    assert!((0..50).any(|_| torn(false) > 0));
}
