//! Nodes that are gone, frozen, or back again: what clients of the others are told, and how fast.

use std::time::{Duration, Instant};

use dht_proto::limits;
use dht_tests::process::{Processes, ask};
use dht_tests::wait;

/// Time for the others to notice that a node does not answer, or that it is back.
const NOTICED: Duration = Duration::from_secs(8);

/// One copy of each shard, so that nobody takes over from a node that is gone.
const ALONE: [&str; 2] = ["--replicas", "1"];

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

#[test]
fn what_a_dead_node_leads_is_not_done_and_the_rest_is() {
    let mut cluster = Processes::start_with(3, &ALONE);
    let lost = keys_of(&cluster, 2);
    assert!(!lost.is_empty() && lost.len() < KEYS);
    cluster.kill(2);
    wait::until("the death to be noticed", NOTICED, || {
        set(&cluster, 0, lost[0])
            .starts_with("-CLUSTERDOWN")
            .then_some(())
    });
    for key in 0..KEYS {
        let answer = set(&cluster, key % 2, key);
        let expect = if lost.contains(&key) {
            "-CLUSTERDOWN "
        } else {
            "+OK\r\n"
        };
        assert!(answer.starts_with(expect), "key {key}: {answer}");
    }
    let count = ask(cluster.client(0), "DBSIZE").unwrap();
    assert!(count.starts_with("-CLUSTERDOWN "), "{count}");
}

#[test]
fn a_write_that_a_frozen_node_was_sent_is_unknown_and_later_ones_are_not_done() {
    let cluster = Processes::start_with(3, &ALONE);
    let lost = keys_of(&cluster, 1);
    assert_eq!(set(&cluster, 0, lost[0]), "+OK\r\n");
    cluster.pause(1);
    let answer = set(&cluster, 0, lost[0]);
    assert!(answer.starts_with("-UNKNOWN "), "{answer}");
    wait::until("the silence to be noticed", NOTICED, || {
        let start = Instant::now();
        let answer = set(&cluster, 2, lost[0]);
        let at_once = start.elapsed() < Duration::from_millis(500);
        (at_once && answer.starts_with("-CLUSTERDOWN ")).then_some(())
    });
    // A read has not happened in any case.
    let answer = ask(cluster.client(0), &format!("GET key:{}", lost[0])).unwrap();
    assert!(answer.starts_with("-CLUSTERDOWN "), "{answer}");

    cluster.resume(1);
    wait::until("the node to be heard again", NOTICED, || {
        (set(&cluster, 0, lost[0]) == "+OK\r\n").then_some(())
    });
}

#[test]
fn nodes_of_different_lists_tell_and_do_not_serve() {
    let cluster = Processes::start(2);
    let join = format!("{},127.0.0.1:1", cluster.client(0));
    let stranger = Processes::try_start(&["--join", &join]);
    let answer = ask(stranger.client(0), "SET k v").unwrap();
    assert!(answer.starts_with("-CLUSTERDOWN "), "{answer}");
    let told = |log: String| {
        log.contains("there is a cluster, but none of")
            .then_some(())
    };
    wait::until("the difference to be told", NOTICED, || {
        told(stranger.log(0))
    });
    assert_eq!(ask(cluster.client(0), "SET k v").unwrap(), "+OK\r\n");
}
