//! Warming the processor's caches for a batch of keys.
//!
//! A lookup waits for memory three times: for the slot's lock and table, for the bucket, for the
//! record. In a batch the waits of all keys overlap when each step is done for all of them before
//! the next.

use super::table;
use super::{Key, Store};

/// What the processor fetches at a time.
const LINE_BYTES: usize = 64;

impl Store {
    /// Asks the processor to fetch what commands on these keys will touch. Changes nothing else; of
    /// use for some eight to sixty-four keys.
    pub fn prefetch(&self, keys: &[Key<'_>]) {
        for key in keys {
            fetch(self.shard(key.slot()));
        }
        for key in keys {
            if let Some(table) = self.shard(key.slot()).try_read() {
                let (control, bucket) = table::home(&table, key.hash());
                fetch(control);
                fetch(bucket);
            }
        }
        for key in keys {
            if let Some(table) = self.shard(key.slot()).try_read()
                && let Some(record) = table::candidates(&table, key.hash()).next()
            {
                // Small records lie in one line of the cache or across two.
                fetch(record.address());
                fetch(record.address().wrapping_add(LINE_BYTES - 1));
            }
        }
    }
}

/// A hint, whatever the address.
fn fetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program could see, and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
