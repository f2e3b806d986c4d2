//! How long something took, how often: an eighth of each power of two has a place of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Up to here each number has a place of its own.
const EXACT: u64 = 16;
/// Places for a power of two.
const EIGHTHS: usize = 8;
/// The greatest power of two that has places: 2^36 microseconds are nineteen hours.
const POWERS: usize = 36;
const PLACES: usize = EXACT as usize + (POWERS - 3) * EIGHTHS;

/// Counts of durations in microseconds. A duration is known to an eighth, or less.
#[derive(Debug)]
pub struct Histogram([AtomicU64; PLACES]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; PLACES])
    }
}

impl Histogram {
    /// Counts so many durations.
    pub fn add(&self, us: u64, count: u64) {
        self.0[place(us)].fetch_add(count, Relaxed);
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.iter().for_each(|place| place.store(0, Relaxed));
    }

    /// Greatest durations of the places in use, ascending, and the count of each.
    fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.0.iter().map(|place| place.load(Relaxed));
        let places = counts.enumerate().filter(|(_, count)| *count > 0);
        places.map(|(place, count)| (greatest(place), count))
    }

    /// How many durations were at most so long as the second number says, for powers of two at
    /// which there are more than below.
    #[must_use]
    pub fn by_powers(&self) -> Vec<(u64, u64)> {
        let mut all: Vec<(u64, u64)> = Vec::new();
        let mut sum = 0;
        for (us, count) in self.counts() {
            sum += count;
            let power = (us + 1).next_power_of_two();
            match all.last_mut() {
                Some(last) if last.0 == power => last.1 = sum,
                _ => all.push((power, sum)),
            }
        }
        all
    }

    /// The duration, to an eighth, that so many of ten thousand did not exceed.
    #[must_use]
    pub fn percentile(&self, of_ten_thousand: u64) -> u64 {
        let counts: Vec<(u64, u64)> = self.counts().collect();
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        let wanted = (u128::from(all) * u128::from(of_ten_thousand)).div_ceil(10_000) as u64;
        let mut sum = 0;
        let found = counts.iter().find(|(_, count)| {
            sum += count;
            sum >= wanted
        });
        found.map_or(0, |(us, _)| *us)
    }
}

fn place(us: u64) -> usize {
    if us < EXACT {
        return us as usize;
    }
    let power = us.ilog2() as usize;
    let eighth = (us >> (power - 3)) as usize % EIGHTHS;
    (EXACT as usize + (power - 4) * EIGHTHS + eighth).min(PLACES - 1)
}

/// The greatest duration that has a place.
const fn greatest(place: usize) -> u64 {
    let Some(place) = place.checked_sub(EXACT as usize) else {
        return place as u64;
    };
    let (power, eighth) = (place / EIGHTHS + 4, place % EIGHTHS);
    (((EIGHTHS + eighth + 1) as u64) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_known_to_an_eighth() {
        let mut before = None;
        for us in (0..5000).chain([1 << 20, 60_000_000, (1 << 30) + 7]) {
            let (place, most) = (place(us), greatest(place(us)));
            assert!(most >= us && most - us <= us / 8, "{us}: {most}");
            assert!(before <= Some(place), "{us}");
            before = Some(place);
        }
        assert_eq!(place(u64::MAX), PLACES - 1);
    }

    #[test]
    fn percentiles_and_powers() {
        let histogram = Histogram::default();
        assert_eq!(
            (histogram.percentile(5000), histogram.by_powers()),
            (0, vec![])
        );
        histogram.add(3, 90);
        histogram.add(4, 8);
        histogram.add(100, 2);
        let percentiles = [5000, 9000, 9001, 9800, 9801, 10_000];
        let found = percentiles.map(|of| histogram.percentile(of));
        assert_eq!(found, [3, 3, 4, 4, 103, 103]);
        assert_eq!(histogram.by_powers(), [(4, 90), (8, 98), (128, 100)]);
        histogram.reset();
        assert_eq!(histogram.percentile(10_000), 0);
    }
}
