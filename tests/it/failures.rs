//! Nodes that are gone, frozen, or back again: what clients of the others are told, and how fast.

use std::time::{Duration, Instant};

use dht_proto::limits;
use dht_tests::process::{Processes, ask};
use dht_tests::wait;

/// Time for the others to notice that a node does not answer, or that it is back.
const NOTICED: Duration = Duration::from_secs(10);

/// Keys of which each node leads some.
const KEYS: usize = 30;

fn set(cluster: &Processes, node: usize, key: usize) -> String {
    let start = Instant::now();
    let answer = ask(cluster.client(node), &format!("SET key:{key} v")).unwrap();
    let took = start.elapsed();
    assert!(
        took < limits::DEADLINE + Duration::from_secs(1),
        "{took:?}: {answer}"
    );
    answer
}

/// The keys that a node leads, by what the others say of them.
fn keys_of(cluster: &Processes, node: usize) -> Vec<usize> {
    let is_here = |key: &usize| {
        let asked = ask(cluster.redirect(node), &format!("EXISTS key:{key}")).unwrap();
        asked.starts_with(':')
    };
    (0..KEYS).filter(is_here).collect()
}

/// Writes all keys through a node until each was acknowledged.
fn set_all(cluster: &Processes, node: usize) {
    for key in 0..KEYS {
        wait::until(&format!("key {key} to be served"), NOTICED, || {
            (set(cluster, node, key) == "+OK\r\n").then_some(())
        });
    }
}

#[test]
fn what_a_dead_node_led_is_served_by_the_others() {
    let mut cluster = Processes::start(3);
    let led = keys_of(&cluster, 2);
    assert!(!led.is_empty() && led.len() < KEYS);
    set_all(&cluster, 1);
    cluster.kill(2);
    // Nobody is refused meanwhile: the node that was asked waits for the new leader.
    assert_eq!(set(&cluster, 0, led[0]), "+OK\r\n");
    set_all(&cluster, 0);
    let count = ask(cluster.client(1), "DBSIZE").unwrap();
    assert_eq!(count, format!(":{KEYS}\r\n"));
    let info = ask(cluster.client(0), "CLUSTER INFO").unwrap();
    assert!(info.contains("cluster_known_nodes:3"), "{info}");

    cluster.restart(2);
    cluster.await_safe(2);
    // With the new one any other may be lost.
    cluster.kill(0);
    for key in 0..KEYS {
        wait::until("a value to be read", NOTICED, || {
            let answer = ask(cluster.client(2), &format!("GET key:{key}")).unwrap();
            (answer == "$1\r\nv\r\n").then_some(())
        });
    }
}

#[test]
fn a_frozen_leader_is_replaced_and_its_clients_wait() {
    let cluster = Processes::start(3);
    let led = keys_of(&cluster, 1);
    cluster.pause(1);
    // It was sent to the frozen node first, and is done once, by whom it reaches.
    assert_eq!(set(&cluster, 0, led[0]), "+OK\r\n");
    let answer = ask(cluster.client(2), &format!("GET key:{}", led[0])).unwrap();
    assert_eq!(answer, "$1\r\nv\r\n");
    cluster.resume(1);
    wait::until("the node to follow", NOTICED, || {
        let answer = ask(cluster.client(1), &format!("GET key:{}", led[0])).unwrap();
        (answer == "$1\r\nv\r\n").then_some(())
    });
}

#[test]
fn without_a_majority_nothing_is_done_or_it_is_unknown() {
    let mut cluster = Processes::start(3);
    set_all(&cluster, 0);
    let mine = keys_of(&cluster, 0);
    cluster.kill(1);
    cluster.kill(2);
    // What was proposed and not confirmed may yet be; what was never proposed will not.
    let answer = set(&cluster, 0, mine[0]);
    assert!(
        answer.starts_with("-UNKNOWN ") || answer.starts_with("-CLUSTERDOWN "),
        "{answer}"
    );
    wait::until("the loss to be noticed", NOTICED, || {
        set(&cluster, 0, mine[0])
            .starts_with("-CLUSTERDOWN ")
            .then_some(())
    });
    let answer = ask(cluster.client(0), &format!("GET key:{}", mine[0])).unwrap();
    assert!(answer.starts_with("-CLUSTERDOWN "), "{answer}");
}

#[test]
fn nodes_of_different_lists_tell_and_do_not_serve() {
    let cluster = Processes::start(2);
    let join = format!("{},127.0.0.1:1", cluster.client(0));
    let stranger = Processes::try_start(&["--join", &join]);
    wait::until("the difference to be told", NOTICED, || {
        let answer = ask(stranger.client(0), "SET k v").unwrap();
        assert!(answer.starts_with("-CLUSTERDOWN "), "{answer}");
        answer.contains("it was started with --join").then_some(())
    });
    assert_eq!(ask(cluster.client(0), "SET k v").unwrap(), "+OK\r\n");
}
