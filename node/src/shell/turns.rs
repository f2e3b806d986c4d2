//! Whose turn it is to do work that takes long.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::core::node::Aside;

thread_local! {
    /// Work that is a part of such work has its turn already.
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// Does work that may take long. The other connections of its thread are served by another one
/// meanwhile, unless the runtime has one only. One processor is left for them: the work waits for
/// other such work of the node when the rest is busy with that, and so does what it takes of
/// memory.
#[must_use]
pub fn aside() -> Aside {
    let turns = Turns::new();
    Aside::new(
        move |work| match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) if !IS_ASIDE.get() => block_in_place(|| {
                let _turn = turns.take();
                work();
            }),
            _ => work(),
        },
    )
}

/// How many threads do such work.
struct Turns {
    most: usize,
    busy: Mutex<usize>,
    freed: Condvar,
}

/// The leave to do such work, until it is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    fn new() -> Self {
        Self {
            most: thread::available_parallelism().map_or(1, |all| (all.get() - 1).max(1)),
            busy: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    fn take(&self) -> Turn<'_> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = self.freed.wait_while(busy, |busy| *busy >= self.most);
        *busy.unwrap_or_else(PoisonError::into_inner) += 1;
        IS_ASIDE.set(true);
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        IS_ASIDE.set(false);
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_processor_is_left_to_others_and_a_part_of_the_work_has_its_turn() {
        let most = Turns::new().most;
        let aside = aside();
        let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 * most {
            let (aside, now, peak) = (aside.clone(), now.clone(), peak.clone());
            all.spawn(async move {
                aside.run(&mut || {
                    aside.run(&mut || {
                        peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::yield_now();
                        now.fetch_sub(1, SeqCst);
                    });
                });
            });
        }
        all.join_all().await;
        assert!((1..=most).contains(&peak.load(SeqCst)));
    }
}
