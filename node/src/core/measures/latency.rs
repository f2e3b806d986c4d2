//! What has taken long, by the kind of event: `LATENCY`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dashmap::RwLock;
use dht_proto::limits;

/// A command that takes as long as its data is large.
pub const COMMAND: &str = "command";
/// A command that should take a moment.
pub const FAST_COMMAND: &str = "fast-command";
/// A step of removing what has expired.
pub const EXPIRE_CYCLE: &str = "expire-cycle";

/// What has happened, when, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In seconds since the Unix epoch.
    pub unix_s: u64,
    /// The longest of that second, in milliseconds.
    pub took_ms: u64,
}

/// What is known of a kind of event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// The oldest first, one a second at most.
    pub latest: VecDeque<Sample>,
    /// The longest of all, in milliseconds.
    pub max_ms: u64,
}

/// The events that took long.
#[derive(Debug, Default)]
pub struct Latency {
    /// In milliseconds; with 0 nothing is noted.
    threshold_ms: AtomicU64,
    events: RwLock<BTreeMap<&'static str, Samples>>,
}

impl Latency {
    /// From how many milliseconds on an event is noted; nothing if none is.
    #[must_use]
    pub fn threshold_ms(&self) -> Option<u64> {
        let threshold_ms = self.threshold_ms.load(Relaxed);
        (threshold_ms > 0).then_some(threshold_ms)
    }

    /// Sets that; 0 has none noted.
    pub fn set_threshold_ms(&self, ms: u64) {
        self.threshold_ms.store(ms, Relaxed);
    }

    /// Notes an event if it took long.
    pub fn add(&self, event: &'static str, unix_s: u64, took_us: u64) {
        let took_ms = took_us / 1000;
        if self.threshold_ms().is_none_or(|least| took_ms < least) {
            return;
        }
        let mut events = self.events.write();
        let samples = events.entry(event).or_default();
        samples.max_ms = samples.max_ms.max(took_ms);
        match samples.latest.back_mut() {
            Some(last) if last.unix_s == unix_s => last.took_ms = last.took_ms.max(took_ms),
            _ => samples.latest.push_back(Sample { unix_s, took_ms }),
        }
        if samples.latest.len() > limits::LATENCY_SAMPLES {
            samples.latest.pop_front();
        }
    }

    /// Every kind of event that was noted.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, Samples> {
        self.events.read().clone()
    }

    /// Forgets kinds of events, all if none is named; gives how many were known.
    pub fn reset(&self, names: &[&[u8]]) -> usize {
        let mut events = self.events.write();
        let before = events.len();
        if names.is_empty() {
            events.clear();
        } else {
            events.retain(|event, _| !names.contains(&event.as_bytes()));
        }
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_an_event_so_many() {
        let latency = Latency::default();
        latency.add(COMMAND, 1, 5_000_000);
        assert!(latency.all().is_empty(), "nothing is watched");
        latency.set_threshold_ms(5);
        for (unix_s, took_us) in [(1, 4999), (1, 5999), (1, 9000), (1, 7000), (2, 6000)] {
            latency.add(COMMAND, unix_s, took_us);
        }
        let known = latency.all();
        let samples = &known[COMMAND];
        assert_eq!(samples.max_ms, 9);
        let took: Vec<_> = samples
            .latest
            .iter()
            .map(|at| (at.unix_s, at.took_ms))
            .collect();
        assert_eq!(took, [(1, 9), (2, 6)]);
        (0..1000).for_each(|unix_s| latency.add(EXPIRE_CYCLE, unix_s, 5000));
        let known = latency.all();
        assert_eq!(known[EXPIRE_CYCLE].latest.len(), limits::LATENCY_SAMPLES);
        assert_eq!(known[EXPIRE_CYCLE].latest[0].unix_s, 840);
        assert_eq!(latency.reset(&[b"command", b"nothing"]), 1);
        assert_eq!((latency.reset(&[]), latency.reset(&[])), (1, 0));
    }
}
