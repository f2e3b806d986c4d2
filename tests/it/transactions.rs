//! Transactions of many clients: what is read under WATCH and written by EXEC loses nothing.

use std::net::SocketAddr;
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
