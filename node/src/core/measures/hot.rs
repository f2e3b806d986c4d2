//! Which keys are asked for most of late. A sample of the keys that commands name is counted in few
//! places, by the algorithm of Misra and Gries (*Finding repeated elements*, 1982): the count of a
//! key is never too high, and too low by less than its share of one place. The busier the node, the
//! smaller the sample: it takes about a thousand keys a second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use dashmap::RwLock;
use dht_proto::limits;
use xxhash_rust::xxh3::xxh3_64;

use super::slowlog::shortened;
use crate::core::random::Random;
use crate::core::store::Key;

/// What is shown is of two of these: the present one, and the one before.
const WINDOW_MS: u64 = limits::HOT_KEYS_WINDOW.as_millis() as u64;
/// How often it is considered whether the sample is of the right size.
const SLICE_MS: u64 = 100;
/// So many keys counted in a slice are too many, and so many too few.
const MANY: u64 = 100;
const FEW: u64 = 25;
/// At most one of so many keys is passed by for each that is counted, as a power of two.
const RAREST: u32 = 10;
/// A key that stands for others, and was seen less often than this, was seen by chance.
const CHANCE: u64 = 4;

/// The keys that were asked for most.
#[derive(Debug)]
pub struct HotKeys {
    /// One of so many keys is counted: a power of two.
    one_of: AtomicU64,
    counts: RwLock<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// When the first key was counted.
    since_ms: Option<u64>,
    /// The number of the present window.
    window: u64,
    present: Sketch,
    past: Sketch,
    /// When the present slice has begun, and the keys that were counted in it.
    slice_ms: u64,
    counted: u64,
}

/// A key, and how often it was asked for in a second.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKey {
    /// The key, shortened.
    pub key: Bytes,
    /// On average of late.
    pub calls_per_s: f64,
}

impl Default for HotKeys {
    fn default() -> Self {
        Self {
            one_of: AtomicU64::new(1),
            counts: RwLock::default(),
        }
    }
}

impl HotKeys {
    /// Whether a key belongs to the sample, by a number that says nothing about it.
    #[must_use]
    pub fn wants(&self, random: u64) -> bool {
        random & (self.one_of.load(Relaxed) - 1) == 0
    }

    /// Counts those of a command's keys that chance puts into the sample.
    pub fn see(&self, keys: &[Key<'_>], random: &mut Random, now_ms: u64) {
        for key in keys {
            if self.wants(random.next()) {
                self.add(key.bytes(), now_ms);
            }
        }
    }

    /// Counts a key of the sample.
    pub fn add(&self, key: &[u8], now_ms: u64) {
        let mut counts = self.counts.write();
        counts.turn(now_ms);
        self.pace(&mut counts, now_ms);
        let one_of = self.one_of.load(Relaxed);
        counts.since_ms.get_or_insert(now_ms);
        counts.present.add(key, one_of);
        counts.counted += 1;
        if counts.counted.is_multiple_of(MANY) {
            self.one_of.store((one_of * 2).min(1 << RAREST), Relaxed);
        }
    }

    /// The keys that were asked for most, the first of all first.
    #[must_use]
    pub fn hottest(&self, now_ms: u64) -> Vec<HotKey> {
        let mut counts = self.counts.write();
        counts.turn(now_ms);
        self.pace(&mut counts, now_ms);
        let begun_ms = counts.window.saturating_sub(1) * WINDOW_MS;
        let since_ms = counts.since_ms.unwrap_or_default().max(begun_ms);
        // Nothing is known of less than a second.
        let seconds = now_ms.saturating_sub(since_ms).max(1000) as f64 / 1000.0;
        let mut keys = counts.present.with(&counts.past);
        keys.sort_by(|(one, most), (other, less)| less.cmp(most).then_with(|| one.cmp(other)));
        keys.truncate(limits::HOT_KEYS_SHOWN);
        let rate = |(key, count): (Bytes, u64)| HotKey {
            key,
            calls_per_s: count as f64 / seconds,
        };
        keys.into_iter().map(rate).collect()
    }

    /// Forgets all keys.
    pub fn reset(&self) {
        *self.counts.write() = Counts::default();
    }

    /// Has more keys counted if there were few of late.
    fn pace(&self, counts: &mut Counts, now_ms: u64) {
        let slices = now_ms.saturating_sub(counts.slice_ms) / SLICE_MS;
        if slices == 0 {
            return;
        }
        let one_of = self.one_of.load(Relaxed);
        let halvings = match counts.counted < FEW {
            true => slices.min(RAREST.into()),
            // What follows are slices without any.
            false => (slices - 1).min(RAREST.into()),
        };
        self.one_of.store((one_of >> halvings).max(1), Relaxed);
        (counts.slice_ms, counts.counted) = (now_ms, 0);
    }
}

impl Counts {
    /// Goes on to the window that it is time for.
    fn turn(&mut self, now_ms: u64) {
        let window = now_ms / WINDOW_MS;
        let present = match window.saturating_sub(self.window) {
            0 => return,
            1 => std::mem::take(&mut self.present),
            _ => Sketch::default(),
        };
        self.past = present;
        self.present = Sketch::default();
        self.window = window;
    }
}

/// Counts of those keys that are more than one of [`limits::HOT_KEYS`].
#[derive(Debug, Default)]
struct Sketch(Vec<Counter>);

#[derive(Debug)]
struct Counter {
    /// By which the key is known: of a long one only the beginning is kept.
    hash: u64,
    /// How often it was asked for.
    count: u64,
    /// How often it was seen.
    seen: u64,
    key: Bytes,
}

impl Sketch {
    /// Counts a key so often.
    fn add(&mut self, key: &[u8], times: u64) {
        let hash = xxh3_64(key);
        if let Some(counter) = self.0.iter_mut().find(|counter| counter.hash == hash) {
            counter.count += times;
            counter.seen += 1;
            return;
        }
        let mut left = times;
        if self.0.len() >= limits::HOT_KEYS {
            // Every place gives so much for the one that there is no place for.
            let least = self.0.iter().map(|counter| counter.count).min();
            let given = least.unwrap_or_default().min(times);
            self.0.iter_mut().for_each(|counter| counter.count -= given);
            self.0.retain(|counter| counter.count > 0);
            left -= given;
        }
        if left > 0 {
            let key = shortened(key, limits::HOT_KEY_BYTES);
            let (count, seen) = (left, 1);
            self.0.push(Counter {
                hash,
                count,
                seen,
                key,
            });
        }
    }

    /// The counts of both, but for keys that are there by chance.
    fn with(&self, other: &Self) -> Vec<(Bytes, u64)> {
        let mut all: BTreeMap<u64, (Bytes, u64, u64)> = BTreeMap::new();
        for counter in self.0.iter().chain(&other.0) {
            let sum = all.entry(counter.hash);
            let (_, count, seen) = sum.or_insert_with(|| (counter.key.clone(), 0, 0));
            *count += counter.count;
            *seen += counter.seen;
        }
        let known = all.into_values();
        let known = known.filter(|(_, count, seen)| *seen >= CHANCE || count <= seen);
        known.map(|(key, count, _)| (key, count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hot: &HotKeys, now_ms: u64) -> Vec<(String, u64)> {
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        let keys = hot.hottest(now_ms).into_iter();
        keys.map(|it| (text(&it.key), it.calls_per_s.round() as u64))
            .collect()
    }

    #[test]
    fn few_keys_are_all_counted() {
        let hot = HotKeys::default();
        assert_eq!(shown(&hot, 7_000), []);
        for (key, times) in [("a", 3), ("b", 5), ("c", 1)] {
            (0..times).for_each(|_| hot.add(key.as_bytes(), 7_000));
        }
        let all = [
            ("b".to_owned(), 5),
            ("a".to_owned(), 3),
            ("c".to_owned(), 1),
        ];
        assert_eq!(shown(&hot, 7_000), all);
        hot.reset();
        assert_eq!(shown(&hot, 7_000), []);
    }

    #[test]
    fn what_was_hot_once_is_forgotten() {
        let hot = HotKeys::default();
        (0..20).for_each(|_| hot.add(b"once", 5_000));
        assert_eq!(shown(&hot, 7_000), [("once".to_owned(), 10)]);
        (0..90).for_each(|_| hot.add(b"now", 11_000));
        let both = [("now".to_owned(), 15), ("once".to_owned(), 3)];
        assert_eq!(shown(&hot, 11_000), both);
        assert_eq!(shown(&hot, 15_000), [("now".to_owned(), 18)]);
        assert_eq!(shown(&hot, 30_000), []);
    }

    /// A million keys a second; every tenth is the same, and the others are never seen again.
    #[test]
    fn a_busy_node_counts_few_keys_and_finds_the_one() {
        let (hot, mut random) = (HotKeys::default(), Random::new(7));
        let mut counted = 0;
        for n in 0_u64..3_000_000 {
            let now_ms = 10_000 + n / 1000;
            let key = if n % 10 == 0 { 0 } else { n };
            if hot.wants(random.next()) {
                counted += 1;
                hot.add(&key.to_be_bytes(), now_ms);
            }
        }
        assert!((1000..9000).contains(&counted), "{counted}");
        let found = hot.hottest(13_000);
        let [HotKey { key, calls_per_s }] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(&**key, 0_u64.to_be_bytes());
        assert!((70_000.0..130_000.0).contains(calls_per_s), "{calls_per_s}");
        // Once there is little to do, all is counted again.
        assert_eq!(hot.hottest(16_000).len(), 1);
        hot.add(b"now", 16_100);
        assert!((0..100).all(|random| hot.wants(random)));
    }

    #[test]
    fn a_count_is_never_too_high_and_places_are_bounded() {
        let mut sketch = Sketch::default();
        let mut random = Random::new(1);
        let mut sent = BTreeMap::<Vec<u8>, u64>::new();
        for _ in 0..20_000 {
            // Small numbers more often than great ones.
            let most = 1 << random.below(16);
            let number = random.below(most);
            let key = format!("{number:03}{}", "x".repeat(300)).into_bytes();
            sketch.add(&key, 4);
            *sent
                .entry(key[..limits::HOT_KEY_BYTES].to_vec())
                .or_default() += 4;
            assert!(sketch.0.len() <= limits::HOT_KEYS);
        }
        let most_lost = 80_000 / (limits::HOT_KEYS as u64 + 1);
        let counts: BTreeMap<_, _> = sketch.with(&Sketch::default()).into_iter().collect();
        for (key, count) in &counts {
            assert!(*count <= sent[&key[..limits::HOT_KEY_BYTES]], "{key:?}");
            assert!(key.ends_with(b" more bytes)"), "{key:?}");
        }
        for (key, times) in &sent {
            let found = counts.iter().find(|(found, _)| found.starts_with(key));
            let count = found.map_or(0, |(_, count)| *count);
            assert!(times - count <= most_lost, "{times} {count}");
        }
    }
}
