//! The history of clients that work at the same time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dht_proto::Reply;

use crate::check::history::{Call, History, Op};

/// Takes down what clients do and are told.
pub struct Recorder {
    history: Mutex<History>,
    start: Instant,
    clients: Mutex<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            history: Mutex::default(),
            start: Instant::now(),
            clients: Mutex::default(),
        }
    }
}

impl Recorder {
    /// The number of a new client: of one connection.
    pub fn client(&self) -> u64 {
        let mut last = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        *last
    }

    /// A client is about to send this.
    pub fn call(&self, client: u64, what: Op) -> Call {
        self.history().call(client, what, self.now_us())
    }

    /// It got this answer.
    pub fn reply(&self, call: Call, reply: Reply) {
        let now_us = self.now_us();
        self.history().reply(call, reply, now_us);
    }

    /// It was told that this was surely not done.
    pub fn not_done(&self, call: Call) {
        self.history().not_sent(call);
    }

    /// Operations that are done so far.
    pub fn done(&self) -> usize {
        self.history().done()
    }

    /// All that was taken down.
    pub fn take(&self) -> History {
        std::mem::take(&mut *self.history())
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
