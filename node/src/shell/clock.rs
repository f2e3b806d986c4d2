//! The clocks: what time it is, for a core that does not ask. It does not know what the time is
//! used for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::core::time::Now;

/// Goes on while the machine is suspended: a lease must not outlast that.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
/// Where the ordinary monotonic clock does so, or there is no other.
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// A monotonic clock, and a wall clock that never goes back.
///
/// One reading gives both: the wall clock is the monotonic one plus an offset, which
/// [`Clock::adjust`] raises. When the system's clock is set back, this one goes on from where it
/// was until the process restarts.
#[derive(Debug)]
pub struct Clock {
    /// By the stopwatch.
    start_us: u64,
    /// Microseconds from the Unix epoch to `start`.
    offset_us: AtomicU64,
}

impl Clock {
    /// Starts at the system's time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start_us: stopwatch(),
            offset_us: AtomicU64::new(system_unix_us()),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.at(stopwatch())
    }

    /// The time when the stopwatch showed so much.
    #[must_use]
    pub fn at(&self, stopwatch_us: u64) -> Now {
        let passed_us = stopwatch_us.saturating_sub(self.start_us);
        Now {
            unix_us: self.offset_us.load(Relaxed) + passed_us,
            mono_ms: passed_us / 1000,
        }
    }

    /// Follows the system's wall clock forward. Gives by how many milliseconds this one is ahead of
    /// it.
    pub fn adjust(&self) -> u64 {
        let offset_us = system_unix_us().saturating_sub(self.passed_us());
        let before_us = self.offset_us.fetch_max(offset_us, Relaxed);
        before_us.saturating_sub(offset_us) / 1000
    }

    fn passed_us(&self) -> u64 {
        stopwatch().saturating_sub(self.start_us)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The monotonic clock, in microseconds since the machine started.
#[must_use]
pub fn stopwatch() -> u64 {
    // Never negative.
    let passed = Duration::try_from(clock_gettime(MONOTONIC)).unwrap_or_default();
    u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
}

fn system_unix_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn counts_the_time_in_which_the_machine_is_suspended() {
        let read = || {
            let passed = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap();
            passed.as_micros() as u64
        };
        let before = read();
        let clock = Clock::new();
        // On a machine that has not slept, any clock would pass; on one that has, only this.
        assert!((before..=read()).contains(&clock.start_us));
        assert_eq!(MONOTONIC, ClockId::Boottime);
    }

    #[test]
    fn follows_the_system_forward_and_never_back() {
        let clock = Clock::new();
        let hour_us = 3_600_000_000;
        clock.offset_us.fetch_sub(hour_us, Relaxed);
        let late = clock.now();
        assert_eq!(clock.adjust(), 0);
        // The system's two clocks are not read at the same moment.
        let slack_us = 10_000;
        let now = clock.now();
        assert!(
            now.unix_us + slack_us >= late.unix_us + hour_us,
            "caught up"
        );

        clock.offset_us.fetch_add(hour_us, Relaxed);
        let early = clock.now();
        let ahead_ms = clock.adjust();
        assert!((3_599_000..=3_600_000).contains(&ahead_ms), "{ahead_ms}");
        assert!(clock.now().unix_us >= early.unix_us, "not set back");
    }
}
