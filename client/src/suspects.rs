//! Which addresses have not answered lately, so that those who come later need not find out again.
//! Pure: it is told what happens, and the time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an address is passed by, unless it answers before.
const PASSED_BY: Duration = Duration::from_secs(10);

/// Addresses that are passed by, for all connections of a client.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Whether there are any: each call asks.
    are_there: AtomicBool,
    until: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Suspects {
    /// An address has not answered in time.
    pub fn add(&self, address: &Arc<str>, now: Instant) {
        let mut until = self.lock();
        until.retain(|_, until| now < *until);
        until.insert(Arc::clone(address), now + PASSED_BY);
        self.are_there.store(true, Ordering::Relaxed);
    }

    /// An address has answered what only a node in its place can.
    pub fn clear(&self, address: &str) {
        if self.are_there.load(Ordering::Relaxed) {
            let mut until = self.lock();
            until.remove(address);
            self.are_there.store(!until.is_empty(), Ordering::Relaxed);
        }
    }

    /// Whether an address is passed by.
    pub fn has(&self, address: &str, now: impl FnOnce() -> Instant) -> bool {
        self.are_there.load(Ordering::Relaxed)
            && self.lock().get(address).is_some_and(|until| now() < *until)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_answered_is_passed_by_for_a_while() {
        let suspects = Suspects::default();
        let now = Instant::now();
        let has = |address: &str, later: Duration| suspects.has(address, || now + later);
        let [a, b]: [Arc<str>; 2] = ["a:1".into(), "b:1".into()];
        assert!(!has(&a, Duration::ZERO));
        suspects.add(&a, now);
        assert!(has(&a, Duration::ZERO) && !has(&b, Duration::ZERO));
        assert!(!has(&a, PASSED_BY));
        suspects.add(&b, now);
        suspects.clear(&a);
        assert!(!has(&a, Duration::ZERO) && has(&b, Duration::ZERO));
        suspects.clear(&b);
        assert!(!suspects.are_there.load(Ordering::Relaxed));
    }
}
