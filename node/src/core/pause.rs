//! Whether the clients of a node have to wait: which of their commands, and until when. Knows no
//! client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// `CLIENT PAUSE`, until its time is over or `CLIENT UNPAUSE`.
#[derive(Debug, Default)]
pub struct Pause {
    /// In monotonic milliseconds; 0 when nobody waits.
    until_mono_ms: AtomicU64,
    /// Also commands that change nothing wait.
    holds_all: AtomicBool,
}

/// What has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// No command.
    Nothing,
    /// Commands that change data or say something to others.
    Writes,
    /// Every command.
    All,
}

impl Pause {
    /// Has commands wait for so long. While others do already, the longer time and the stricter
    /// rule hold, as in Redis.
    pub fn begin(&self, now_mono_ms: u64, duration_ms: u64, all: bool) {
        let goes_on = self.left_ms(now_mono_ms) > 0;
        let holds_all = all || goes_on && self.holds_all.load(Relaxed);
        self.holds_all.store(holds_all, Relaxed);
        let until = now_mono_ms.saturating_add(duration_ms);
        self.until_mono_ms.fetch_max(until, Relaxed);
    }

    /// Nothing waits any more.
    pub fn end(&self) {
        self.until_mono_ms.store(0, Relaxed);
    }

    /// What has to wait at a moment.
    #[must_use]
    pub fn at(&self, now_mono_ms: u64) -> Held {
        match (self.left_ms(now_mono_ms), self.holds_all.load(Relaxed)) {
            (0, _) => Held::Nothing,
            (_, false) => Held::Writes,
            (_, true) => Held::All,
        }
    }

    /// For how long.
    #[must_use]
    pub fn left_ms(&self, now_mono_ms: u64) -> u64 {
        let until_mono_ms = self.until_mono_ms.load(Relaxed);
        until_mono_ms.saturating_sub(now_mono_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_time_and_the_stricter_rule_hold() {
        let pause = Pause::default();
        assert_eq!(pause.at(5), Held::Nothing);
        pause.begin(100, 50, false);
        assert_eq!(
            (pause.at(149), pause.at(150)),
            (Held::Writes, Held::Nothing)
        );
        pause.begin(120, 10, true);
        assert_eq!((pause.at(149), pause.left_ms(120)), (Held::All, 30));
        pause.begin(121, 100, false);
        assert_eq!((pause.at(220), pause.at(221)), (Held::All, Held::Nothing));
        pause.begin(300, 10, false);
        assert_eq!(pause.at(300), Held::Writes, "the one before is over");
        pause.end();
        assert_eq!(pause.at(300), Held::Nothing);
        pause.begin(1, u64::MAX, true);
        assert_eq!(pause.at(u64::MAX - 1), Held::All);
    }
}
