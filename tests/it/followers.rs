//! Followers that are slow, paused or gone, while others write at full speed.

use std::time::{Duration, Instant};

use dht_proto::limits;
use dht_tests::nemesis::load::Load;
use dht_tests::process::Processes;

/// Keys and bytes of each value: about 20 MB.
const KEYS: usize = 20_000;
const VALUE_BYTES: usize = 1000;

/// What a leader may take up besides its data, while a follower does not listen: what waits on
/// the link to it, and the logs of the shards.
const GROWTH_BYTES: u64 = limits::PEER_OUTPUT_BYTES as u64 + 128 * 1024 * 1024;

/// Time for any number of writes here.
const WRITTEN: Duration = Duration::from_secs(60);

fn load(processes: &Processes) -> Load {
    let load = Load::start(
        &[processes.client(0), processes.client(1)],
        KEYS,
        VALUE_BYTES,
    );
    // From here on no key is new.
    load.await_more(2 * KEYS, WRITTEN);
    load
}

#[test]
fn a_paused_follower_costs_bounded_memory() {
    let processes = Processes::start(3);
    processes.await_safe(0);
    let load = load(&processes);
    let before = [0, 1].map(|node| processes.rss_bytes(node));
    processes.pause(2);
    for _ in 0..20 {
        load.await_more(KEYS / 4, WRITTEN);
        for node in [0, 1] {
            let grown = processes.rss_bytes(node).saturating_sub(before[node]);
            assert!(
                grown < GROWTH_BYTES,
                "node {node} has grown by {grown} bytes"
            );
        }
    }
    let grown = [0, 1].map(|node| processes.rss_bytes(node).saturating_sub(before[node]) >> 20);
    println!("grown by {grown:?} MiB");
    processes.resume(2);
    processes.await_safe(2);
    println!("{} writes", load.stop());
}

/// For so many seconds as FOLLOWER_SECONDS says.
#[test]
fn a_follower_catches_up_each_time_it_restarts_under_full_load() {
    let seconds = std::env::var("FOLLOWER_SECONDS").map_or(10, |text| text.parse().unwrap());
    let mut processes = Processes::start(3);
    processes.await_safe(0);
    let load = load(&processes);
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
