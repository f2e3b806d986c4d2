//! The clocks of one node: how its time differs from the simulator's.

use dht_node::core::time::Now;

/// The wall clock at the beginning, in microseconds since the Unix epoch.
const EPOCH_US: u64 = 1_700_000_000_000_000;
/// A clock that goes as fast as the simulator's, in millionths.
pub const TRUE_RATE_PPM: u64 = 1_000_000;
/// By how much a clock may be too fast or too slow: two of them differ by less than the tenth that
/// leases allow for.
pub const DRIFT_PPM: u64 = 45_000;

/// A wall clock that jumps and a monotonic clock that drifts.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The simulator's time at which the rate was set.
    since_us: u64,
    /// The monotonic clock at that time.
    mono_us: u64,
    rate_ppm: u64,
    /// By how much the wall clock is ahead.
    ahead_us: i64,
}

impl Clock {
    /// A clock that was started at some time before `now_us`.
    #[must_use]
    pub const fn new(now_us: u64, mono_us: u64) -> Self {
        Self {
            since_us: now_us,
            mono_us,
            rate_ppm: TRUE_RATE_PPM,
            ahead_us: 0,
        }
    }

    /// What the node reads.
    #[must_use]
    pub fn now(&self, now_us: u64) -> Now {
        Now {
            unix_us: (EPOCH_US + now_us).saturating_add_signed(self.ahead_us),
            mono_ms: self.mono_us(now_us) / 1000,
        }
    }

    fn mono_us(&self, now_us: u64) -> u64 {
        self.mono_us + (now_us - self.since_us) * self.rate_ppm / TRUE_RATE_PPM
    }

    /// The monotonic clock goes at this rate from now on.
    pub fn drift(&mut self, now_us: u64, rate_ppm: u64) {
        self.mono_us = self.mono_us(now_us);
        self.since_us = now_us;
        self.rate_ppm = rate_ppm;
    }

    /// The wall clock is ahead by this much from now on; gives by how much it has jumped.
    pub const fn jump(&mut self, ahead_us: i64) -> i64 {
        let by = ahead_us - self.ahead_us;
        self.ahead_us = ahead_us;
        by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_without_jumping_and_jumps_without_drifting() {
        let mut clock = Clock::new(1_000_000, 500_000);
        assert_eq!(clock.now(3_000_000).mono_ms, 2500);
        clock.drift(3_000_000, TRUE_RATE_PPM + 40_000);
        assert_eq!(clock.now(3_000_000).mono_ms, 2500);
        assert_eq!(clock.now(4_000_000).mono_ms, 3540);
        assert_eq!(clock.jump(-7000), -7000);
        assert_eq!(clock.jump(3000), 10_000);
        assert_eq!(clock.now(4_000_000).unix_us, EPOCH_US + 4_003_000);
        assert_eq!(clock.now(4_000_000).mono_ms, 3540);
    }
}
