//! What a node does from time to time on its own: follows the clock, removes what has expired,
//! frees what was removed, samples what the process uses.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::{Clock, Shell, stopwatch};
use crate::core::measures::latency::EXPIRE_CYCLE;
use crate::core::node::{Node, Usage};
use crate::core::store::{Cursor, SlotSet};

/// The operating system and the kind of processor.
const OS: [&str; 2] = [std::env::consts::OS, std::env::consts::ARCH];
/// From one round to the next.
const ROUND: Duration = Duration::from_millis(100);
/// Rounds from one sample to the next.
const ROUNDS_A_SAMPLE: u64 = 10;
/// Keys looked at in a step of a round's search for expired ones; a step takes well below a
/// millisecond.
const STEP_KEYS: usize = 1024;
/// Steps of a round at most: a million keys a second.
const STEPS: usize = 100;
/// Records freed in a step of a round.
const STEP_RECORDS: usize = 1024;
/// From this on a wall clock that runs ahead of the system's is worth a line in the log.
const AHEAD_MS: u64 = 1000;

/// Keeps house until it is dropped.
pub async fn run(shell: Arc<Shell>) {
    let Shell { node, clock, .. } = &*shell;
    let mut ticks = tokio::time::interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cursor = Cursor::at_slot(0);
    let mut ahead = false;
    for round in 0u64.. {
        ticks.tick().await;
        ahead = follow_clock(clock, ahead);
        // The shards of a cluster expire keys through their logs.
        if node.settings.standalone && node.sweeps.load(Relaxed) {
            cursor = expire(node, clock, cursor).await;
            shell.broadcast.announce();
        }
        reclaim(node).await;
        shell.services.expire();
        if round % ROUNDS_A_SAMPLE == 0 {
            node.stats.take_sample(clock.now(), usage());
            node.store.age_exports(ROUND * ROUNDS_A_SAMPLE as u32);
            shell.broadcast.ears.check();
            shell.broadcast.remind();
            shell.services.offer();
        }
    }
}

/// Says once that the system's clock was set back.
fn follow_clock(clock: &Clock, was_ahead: bool) -> bool {
    let ahead_ms = clock.adjust();
    let is_ahead = ahead_ms >= AHEAD_MS;
    if is_ahead && !was_ahead {
        warn!(
            ahead_ms,
            "the system's clock was set back; time goes on from where it was"
        );
    }
    is_ahead
}

/// Searches on while a good part of what it sees has expired; gives where the next round goes on.
async fn expire(node: &Node, clock: &Clock, mut cursor: Cursor) -> Cursor {
    let slots = SlotSet::all();
    for _ in 0..STEPS {
        let stamp = clock.now().unix_ms();
        let begun_us = stopwatch();
        let due = node.store.due(&slots, cursor, stamp, STEP_KEYS);
        cursor = due.next;
        let expired = node.store.expire(&due.keys, stamp, Some(&node.watched));
        let took_us = stopwatch().saturating_sub(begun_us);
        let latency = &node.measures.latency;
        latency.add(EXPIRE_CYCLE, stamp / 1000, took_us);
        if expired * 10 <= due.looked_at {
            break;
        }
        tokio::task::yield_now().await;
    }
    cursor
}

async fn reclaim(node: &Node) {
    while node.store.reclaim(STEP_RECORDS) {
        tokio::task::yield_now().await;
    }
}

/// What the system says of this process; zeros where it says nothing.
fn usage() -> Usage {
    usage_of(
        &fs::read_to_string("/proc/self/statm").unwrap_or_default(),
        &fs::read_to_string("/proc/self/stat").unwrap_or_default(),
        &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        rustix::param::page_size() as u64,
        rustix::param::clock_ticks_per_second(),
    )
}

fn usage_of(statm: &str, stat: &str, memory: &str, page_bytes: u64, ticks_per_s: u64) -> Usage {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0u64);
    // The name in parentheses may hold blanks; user time is the 12th word after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut times = after_name.split_whitespace().skip(11);
    let mut next_us = || number(times.next()) * 1_000_000 / ticks_per_s.max(1);
    Usage {
        cpu_user_us: next_us(),
        cpu_system_us: next_us(),
        process_id: number(stat.split_whitespace().next()),
        // Its first line: `MemTotal: 16384 kB`.
        system_bytes: number(memory.split_whitespace().nth(1)) * 1024,
        rss_bytes: number(statm.split_whitespace().nth(1)) * page_bytes,
        os: OS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_what_the_kernel_prints() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 99 1 2 3";
        let memory = "MemTotal:       2048 kB\nMemFree:  1 kB\n";
        let usage = usage_of("5000 300 200 1 0 100 0", stat, memory, 4096, 100);
        let expect = Usage {
            rss_bytes: 300 * 4096,
            cpu_user_us: 2_500_000,
            cpu_system_us: 500_000,
            process_id: 7,
            system_bytes: 2_097_152,
            os: OS,
        };
        assert_eq!(usage, expect);
        let nothing = Usage {
            os: OS,
            ..Usage::default()
        };
        assert_eq!(usage_of("", "", "", 4096, 100), nothing);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(usage().rss_bytes > 100_000);
    }
}
