//! Where messages wait for a connection that listens. It does not know how they are written, nor on
//! which channel they were said.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use dht_proto::limits;

use super::burdens::{Burden, Burdens};
use crate::core::pubsub::Message;

/// How long more than [`limits::MESSAGES_SOFT_BYTES`] may wait.
const SOFT_MS: u64 = limits::MESSAGES_SOFT.as_millis() as u64;

/// What is lighter is not counted among what the node keeps for its clients, in bytes.
const LIGHT_BYTES: usize = 4096;

/// A place for messages, shared by those who put them in and the connection.
pub struct Mailbox {
    waiting: Mutex<Waiting>,
    burdens: Arc<Burdens>,
}

#[derive(Default)]
struct Waiting {
    /// Each with its weight.
    messages: VecDeque<(Message, usize)>,
    /// As its client would have to read them.
    bytes: usize,
    /// Of the memory that the node keeps, the share of this client.
    weight: usize,
    /// While it is heavy.
    burden: Option<Burden>,
    /// Since when, in monotonic milliseconds, there was more than may stay.
    full_since_ms: Option<u64>,
    /// There was too much for too long: nothing waits any more, and nothing will.
    has_overflowed: bool,
    /// Wakes the connection.
    reader: Option<Waker>,
}

/// The client does not read its messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Overflow;

impl Mailbox {
    /// Nothing waits yet; what will is counted among these.
    #[must_use]
    pub fn new(burdens: Arc<Burdens>) -> Self {
        Self {
            waiting: Mutex::default(),
            burdens,
        }
    }

    /// Puts a message in that as many have heard. One of any length has room where none waits.
    pub fn put(&self, message: Message, hearers: usize, now_mono_ms: u64) {
        let mut waiting = self.lock();
        if waiting.has_overflowed {
            return;
        }
        let shared = (message.channel.len() + message.text.len()) / hearers.max(1);
        let weight = size_of::<(Message, usize)>() + shared;
        waiting.bytes += message.bytes();
        waiting.weight += weight;
        waiting.messages.push_back((message, weight));
        waiting.judge(now_mono_ms);
        waiting.weigh(&self.burdens, false);
        // Its connection may not get to it for long while those who speak are busy.
        if waiting.burden.as_mut().is_some_and(Burden::is_given_up) {
            waiting.overflow();
        }
        waiting.wake();
    }

    /// Finds out whether too much has waited for too long.
    pub fn check(&self, now_mono_ms: u64) {
        let mut waiting = self.lock();
        waiting.judge(now_mono_ms);
        if waiting.has_overflowed {
            waiting.wake();
        }
    }

    /// Waits for messages, if they are wanted, and takes about `bytes` of them; or for their
    /// overflow, whether they are wanted or not.
    pub fn poll(
        &self,
        cx: &mut Context<'_>,
        wanted: Option<usize>,
    ) -> Poll<Result<Vec<Message>, Overflow>> {
        let mut waiting = self.lock();
        match &mut waiting.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let burden = waiting.burden.as_mut();
        if burden.is_some_and(|burden| burden.poll_given_up(cx).is_ready()) {
            waiting.overflow();
        }
        if waiting.has_overflowed {
            return Poll::Ready(Err(Overflow));
        }
        let taken = wanted.map_or_else(Vec::new, |bytes| waiting.take(bytes));
        if taken.is_empty() {
            return Poll::Pending;
        }
        waiting.weigh(&self.burdens, true);
        Poll::Ready(Ok(taken))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever has panicked has left whole messages.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn judge(&mut self, now_mono_ms: u64) {
        if self.bytes <= limits::MESSAGES_SOFT_BYTES {
            self.full_since_ms = None;
            return;
        }
        let since_ms = *self.full_since_ms.get_or_insert(now_mono_ms);
        let too_much = self.bytes > limits::MESSAGES_BYTES && self.messages.len() > 1;
        if too_much || now_mono_ms.saturating_sub(since_ms) >= SOFT_MS {
            self.overflow();
        }
    }

    fn overflow(&mut self) {
        *self = Self {
            has_overflowed: true,
            reader: self.reader.take(),
            ..Self::default()
        };
    }

    fn weigh(&mut self, burdens: &Arc<Burdens>, has_moved: bool) {
        if self.weight < LIGHT_BYTES {
            self.burden = None;
            return;
        }
        let burden = self.burden.get_or_insert_with(|| burdens.take_up());
        burden.weigh(self.weight, has_moved);
    }

    fn wake(&self) {
        self.reader.iter().for_each(Waker::wake_by_ref);
    }

    fn take(&mut self, bytes: usize) -> Vec<Message> {
        let mut taken = Vec::new();
        let before = self.bytes;
        while before - self.bytes < bytes
            && let Some((message, weight)) = self.messages.pop_front()
        {
            self.bytes -= message.bytes();
            self.weight -= weight;
            taken.push(message);
        }
        if self.bytes <= limits::MESSAGES_SOFT_BYTES {
            self.full_since_ms = None;
        }
        taken
    }
}

/// A mailbox that two sides have.
pub type Shared = Arc<Mailbox>;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::*;
    use crate::core::pubsub::Way;

    fn message(bytes: usize) -> Message {
        let name = Bytes::from_static(b"c");
        Message {
            way: Way::Channel,
            name: name.clone(),
            channel: name,
            text: vec![b'x'; bytes].into(),
        }
    }

    fn alone() -> Mailbox {
        Mailbox::new(Burdens::new(usize::MAX, usize::MAX))
    }

    /// How many messages are there, of about so many bytes.
    fn taken(mailbox: &Mailbox, wanted: Option<usize>) -> Result<usize, Overflow> {
        let mut cx = Context::from_waker(Waker::noop());
        match mailbox.poll(&mut cx, wanted) {
            Poll::Ready(taken) => taken.map(|messages| messages.len()),
            Poll::Pending => Ok(0),
        }
    }

    #[test]
    fn messages_come_out_in_order_and_in_pieces() {
        let mailbox = alone();
        (0..5).for_each(|_| mailbox.put(message(100), 1, 0));
        assert_eq!(taken(&mailbox, None), Ok(0));
        assert_eq!(taken(&mailbox, Some(1)), Ok(1));
        assert_eq!(taken(&mailbox, Some(usize::MAX)), Ok(4));
        assert_eq!(taken(&mailbox, Some(usize::MAX)), Ok(0));
    }

    #[test]
    fn who_is_given_up_keeps_nothing_though_nobody_reads() {
        let burdens = Burdens::new(5 * LIGHT_BYTES, 5 * LIGHT_BYTES);
        let [first, second] = [(); 2].map(|()| Mailbox::new(Arc::clone(&burdens)));
        for mailbox in [&first, &second, &first, &second, &second] {
            mailbox.put(message(LIGHT_BYTES), 1, 0);
        }
        let kept = |mailbox: &Mailbox| mailbox.lock().messages.len();
        assert_eq!((kept(&first), kept(&second)), (2, 3));
        first.put(message(LIGHT_BYTES), 1, 0);
        assert_eq!((kept(&first), kept(&second)), (0, 3));
        assert_eq!(taken(&first, None), Err(Overflow));
    }

    #[test]
    fn too_much_is_too_much_at_once() {
        let mailbox = alone();
        mailbox.put(message(limits::MESSAGES_BYTES), 1, 0);
        assert_eq!(taken(&mailbox, None), Ok(0), "one has room");
        mailbox.put(message(1), 1, 0);
        assert_eq!(taken(&mailbox, None), Err(Overflow));
        mailbox.put(message(1), 1, 0);
        assert_eq!(taken(&mailbox, Some(1)), Err(Overflow));
        assert_eq!(mailbox.lock().messages.len(), 0);
    }

    #[test]
    fn much_is_too_much_after_a_time() {
        let mailbox = alone();
        let half = limits::MESSAGES_SOFT_BYTES / 2;
        (0..2).for_each(|_| mailbox.put(message(half), 1, 5));
        mailbox.check(5 + SOFT_MS - 1);
        assert_eq!(taken(&mailbox, Some(1)), Ok(1), "time begins anew");
        mailbox.put(message(half), 1, 7);
        mailbox.check(5 + SOFT_MS);
        assert_eq!(taken(&mailbox, None), Ok(0));
        mailbox.check(7 + SOFT_MS);
        assert_eq!(taken(&mailbox, None), Err(Overflow));
    }

    #[test]
    fn of_all_together_the_one_that_was_not_read_for_longest_makes_way() {
        const BYTES: usize = 100_000;
        let burdens = Burdens::new(2 * BYTES + 1000, 2 * BYTES + 1000);
        let [one, two] = [(); 2].map(|()| Mailbox::new(Arc::clone(&burdens)));
        // What they share is counted once.
        for mailbox in [&one, &two] {
            mailbox.put(message(BYTES), 2, 0);
            mailbox.put(message(BYTES), 2, 0);
            assert_eq!(taken(mailbox, None), Ok(0));
        }
        assert_eq!(taken(&one, Some(1)), Ok(1));
        one.put(message(2 * BYTES), 2, 0);
        assert_eq!(taken(&two, None), Err(Overflow));
        assert_eq!(taken(&one, Some(usize::MAX)), Ok(2));
    }
}
