//! Nodes that go, under load: how long clients of the others wait, and what they are told.

use std::time::Duration;

use dht_tests::nemesis::failover::{Exit, measure};
use dht_tests::process::Processes;

/// Within this time, at p99, every shard of a node that was killed serves again.
const SERVED_AGAIN: Duration = Duration::from_secs(2);

fn rounds(default: usize) -> usize {
    std::env::var("FAILOVER_ROUNDS").map_or(default, |text| text.parse().unwrap())
}

#[test]
fn shards_of_a_killed_node_serve_again_in_time() {
    let mut processes = Processes::start(3);
    let waits = measure(&mut processes, 3, rounds(3), Exit::Kill);
    println!("{waits}");
    assert!(waits.percentile(99) <= SERVED_AGAIN, "{waits}");
}

#[test]
fn a_node_that_is_told_to_end_hands_over_first() {
    let mut processes = Processes::start(3);
    let waits = measure(&mut processes, 3, rounds(2), Exit::Terminate);
    println!("{waits}");
    assert!(waits.errors.is_empty(), "{waits}");
}
