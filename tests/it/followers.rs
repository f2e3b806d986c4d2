//! Followers that are slow, paused or gone, while others write at full speed.

use std::time::{Duration, Instant};

use dht_proto::limits;
use dht_tests::nemesis::load::Load;
use dht_tests::process::Processes;
use dht_tests::wait;

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

/// The memory of the nodes that go on.
struct Memory([u64; 2]);

impl Memory {
    fn of(processes: &Processes) -> Self {
        Self([0, 1].map(|node| processes.rss_bytes(node)))
    }

    /// By how much one has grown at most.
    #[track_caller]
    fn check(&self, processes: &Processes) -> u64 {
        let grown = [0, 1].map(|node| processes.rss_bytes(node).saturating_sub(self.0[node]));
        assert!(grown.iter().all(|it| *it < GROWTH_BYTES), "{grown:?} bytes");
        grown[0].max(grown[1])
    }
}

/// What a follower misses that is more than what may be kept for it.
fn miss(processes: &Processes, load: &Load, before: &Memory) {
    let missed = 5 * GROWTH_BYTES as usize / 4 / LARGE_BYTES;
    let grown = (0..20).map(|_| {
        load.await_more(missed / 20, WRITTEN);
        before.check(processes)
    });
    println!("grown by at most {} MiB", grown.max().unwrap_or(0) >> 20);
}

#[test]
fn a_paused_follower_costs_bounded_memory() {
    let processes = Processes::start(3);
    processes.await_safe(0);
    let load = load(&processes, LARGE_BYTES);
    let before = Memory::of(&processes);
    processes.pause(2);
    miss(&processes, &load, &before);
    processes.resume(2);
    processes.await_safe(2);
    println!("{} writes", load.stop());
}

/// Nor does the copy that it is given when it comes back, while all others go on.
#[test]
fn a_dead_follower_costs_bounded_memory() {
    let mut processes = Processes::start(3);
    processes.await_safe(0);
    let load = load(&processes, LARGE_BYTES);
    let before = Memory::of(&processes);
    processes.kill(2);
    miss(&processes, &load, &before);
    processes.begin_again(2);
    wait::until("the follower to be whole", WRITTEN, || {
        before.check(&processes);
        let info = processes.ask(2, "CLUSTER INFO").ok()?;
        info.contains("cluster_safe:1").then_some(())
    });
    println!("{} writes", load.stop());
}

/// One that gets a tenth of the time to listen.
#[test]
fn a_slow_follower_costs_bounded_memory() {
    let processes = Processes::start(3);
    processes.await_safe(0);
    let load = load(&processes, LARGE_BYTES);
    let before = Memory::of(&processes);
    let missed = 5 * GROWTH_BYTES as usize / 4 / LARGE_BYTES;
    let start = load.acknowledged();
    while load.acknowledged() < start + missed {
        processes.pause(2);
        wait::go_on_for(Duration::from_millis(90));
        processes.resume(2);
        wait::go_on_for(Duration::from_millis(10));
        before.check(&processes);
    }
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
