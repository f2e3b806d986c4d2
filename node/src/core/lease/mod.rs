//! Which shards this node may answer reads for without asking anybody, and what time it is in them.
//!
//! Connections read these words on their own threads. The order that makes this safe: a reader
//! locks the slot, *then* looks at the word, then reads. Whoever ends a lease clears the word
//! first and changes the slot, under its lock, after that. So a reader that has seen the word set
//! reads what the leader had; and because its time was taken after its request had arrived, the
//! answer was true at a moment between request and reply.

mod word;

use std::sync::atomic;

use super::time::UnixMs;

pub use self::word::{Times, Word, read_locked, read_through};

/// A promise not to help a new leader while an old one may hold a lease.
///
/// Every node drops requests for votes until one election timeout has passed, on the clock of
/// leases, since the last sign of life of a leader. The engine's own
/// judgement is not enough: it was shown to elect within a lease.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoteGuard {
    until_mono_ms: u64,
}

impl VoteGuard {
    /// A leader has been heard.
    pub fn hear(&mut self, now_mono_ms: u64, election_ms: u64) {
        self.until_mono_ms = self.until_mono_ms.max(now_mono_ms + election_ms);
    }

    /// Whether a request for a vote is listened to.
    #[must_use]
    pub const fn listens(&self, now_mono_ms: u64) -> bool {
        now_mono_ms >= self.until_mono_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_at_its_time_or_before() {
        let word = Word::default();
        assert!(!word.allows(0));
        word.grant(100);
        assert!(word.allows(99) && !word.allows(100));
        word.clear();
        assert!(!word.allows(99));
    }

    #[test]
    fn a_guard_lasts_from_the_last_sign_of_life() {
        let mut guard = VoteGuard::default();
        assert!(guard.listens(0), "a new member has promised nothing");
        guard.hear(1500, 600);
        assert!(!guard.listens(2099) && guard.listens(2100));
        guard.hear(1400, 600);
        assert!(!guard.listens(2099), "an older sign shortens nothing");
    }
}
