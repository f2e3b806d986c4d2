//! Followers that are slow, paused or gone, while others write at full speed.

use std::time::{Duration, Instant};

use dht_proto::limits;
use dht_tests::nemesis::load::Load;
use dht_tests::process::Processes;

/// Keys, and bytes of each value.
const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 1000;
/// The same where it matters how many bytes are written.
const LARGE_BYTES: usize = 8000;

/// What a leader may take up besides its data, while a follower does not listen: what waits on
/// the link to it, and the logs of the shards.
const GROWTH_BYTES: u64 = limits::PEER_OUTPUT_BYTES as u64 + 128 * 1024 * 1024;

/// Time for any number of writes here.
const WRITTEN: Duration = Duration::from_secs(60);

fn load(processes: &Processes, value_bytes: usize) -> Load {
    let nodes = [0, 1].map(|node| processes.client(node));
    let load = Load::start(&nodes, KEYS, value_bytes);
    // From here on no key is new.
    load.await_more(2 * KEYS, WRITTEN);
    load
}

#[test]
fn a_paused_follower_costs_bounded_memory() {
    let processes = Processes::start(3);
    processes.await_safe(0);
    let load = load(&processes, LARGE_BYTES);
    let before = [0, 1].map(|node| processes.rss_bytes(node));
    processes.pause(2);
    let mut most = 0;
    // What the follower misses is more than what may be kept for it.
    let missed = 5 * GROWTH_BYTES as usize / 4 / LARGE_BYTES;
    for _ in 0..20 {
        load.await_more(missed / 20, WRITTEN);
        for node in [0, 1] {
            let grown = processes.rss_bytes(node).saturating_sub(before[node]);
            most = grown.max(most);
            assert!(
                grown < GROWTH_BYTES,
                "node {node} has grown by {grown} bytes"
            );
        }
    }
    println!("grown by at most {} MiB", most >> 20);
    processes.resume(2);
    processes.await_safe(2);
    println!("{} writes", load.stop());
}

/// For two minutes, or so many seconds as FOLLOWER_SECONDS says.
#[test]
fn a_follower_catches_up_each_time_it_restarts_under_full_load() {
    let seconds = std::env::var("FOLLOWER_SECONDS").map_or(120, |text| text.parse().unwrap());
    let mut processes = Processes::start(3);
    processes.await_safe(0);
    let load = load(&processes, VALUE_BYTES);
    let start = Instant::now();
    let mut restarts = 0;
    while restarts < 2 || start.elapsed() < Duration::from_secs(seconds) {
        let (began, before) = (Instant::now(), load.acknowledged());
        processes.kill(2);
        processes.restart(2);
        processes.await_safe(2);
        restarts += 1;
        let (took, written) = (began.elapsed(), load.acknowledged() - before);
        println!("caught up after {took:.1?}, {written} writes");
        assert!(written > 0, "writes go on");
    }
    println!("{} writes, {restarts} restarts", load.stop());
}
