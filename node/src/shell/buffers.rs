//! Buffers that the connections of a thread share while they are busy, so that one that waits keeps
//! no more than it has to. It does not know what is in them.

use std::cell::Cell;
use std::mem;

use bytes::BytesMut;

use crate::core::session::Effects;

/// Room for one read, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// What waits in the input is copied to a buffer of its own size up to this many bytes; above, it
/// keeps its buffer.
const COPY_BYTES: usize = 8 * 1024;
/// An output buffer that has grown beyond this many bytes is not kept for the next connection.
pub const SHARED_BYTES: usize = 1024 * 1024;

thread_local! {
    static INPUT: Cell<BytesMut> = Cell::default();
    /// In a box: they are large, and to move them would cost as much as a small command.
    static EFFECTS: Cell<Option<Box<Effects>>> = const { Cell::new(None) };
}

/// What has arrived on a connection and was not taken.
#[derive(Default)]
pub struct Input {
    /// The bytes.
    pub bytes: BytesMut,
    /// Whether `bytes` lies in the buffer that the thread's connections share.
    borrowed: bool,
    /// The most bytes that have been in this buffer at once: memory that was never written to
    /// costs nothing.
    filled: usize,
}

impl Input {
    /// How much memory it takes while it waits, in bytes.
    pub fn kept_bytes(&self) -> usize {
        match self.bytes.len() {
            short @ ..=COPY_BYTES => short,
            long => long.max(self.filled) + READ_BYTES,
        }
    }

    /// More has arrived.
    pub fn arrived(&mut self) {
        self.filled = self.filled.max(self.bytes.len());
    }

    /// Makes room for a read.
    pub fn make_room(&mut self) {
        if !self.borrowed && self.bytes.len() <= COPY_BYTES {
            let mut shared = INPUT.take();
            shared.clear();
            shared.extend_from_slice(&self.bytes);
            self.bytes = shared;
            self.borrowed = true;
        }
        self.bytes.reserve(READ_BYTES);
    }

    /// Lets go of all room that is not needed to wait.
    pub fn rest(&mut self) {
        let is_short = self.borrowed && self.bytes.len() <= COPY_BYTES;
        // The little that follows a long request does not keep its room.
        let is_rest = self.filled > 2 * self.bytes.len() + 2 * READ_BYTES;
        if self.bytes.is_empty() || is_short || is_rest {
            let waiting = copy(&self.bytes);
            let buffer = mem::replace(&mut self.bytes, waiting);
            self.filled = self.bytes.len();
            if self.borrowed {
                INPUT.set(buffer);
            }
        }
        self.borrowed = false;
    }
}

/// A copy that takes no memory when there is nothing to copy.
fn copy(bytes: &[u8]) -> BytesMut {
    match bytes {
        [] => BytesMut::new(),
        bytes => bytes.into(),
    }
}

/// Gives `act` empty effects to fill and to carry out.
pub fn with_effects(act: impl FnOnce(&mut Effects)) {
    let mut effects = EFFECTS.take().unwrap_or_default();
    act(&mut effects);
    effects.output.clear();
    effects.unsent = 0;
    effects.asked.clear();
    effects.news.clear();
    effects.attack = false;
    effects.close = false;
    EFFECTS.set(Some(effects));
}

#[cfg(test)]
mod tests {
    use dht_proto::Sink;

    use super::*;

    #[test]
    fn a_connection_that_waits_keeps_what_it_has_not_taken_and_little_more() {
        for (arrived, most_kept) in [(0, 0), (10, 64), (COPY_BYTES, 2 * COPY_BYTES)] {
            let mut input = Input::default();
            input.make_room();
            assert!(input.bytes.capacity() >= READ_BYTES);
            input.bytes.resize(arrived, 7);
            input.rest();
            assert_eq!(input.bytes, vec![7; arrived]);
            assert!(input.bytes.capacity() <= most_kept, "{arrived}");
            input.make_room();
            assert_eq!(input.bytes, vec![7; arrived]);
            assert!(input.bytes.capacity() - arrived >= READ_BYTES);
        }
    }

    #[test]
    fn a_long_request_is_not_copied_and_its_buffer_not_shared() {
        let mut input = Input::default();
        input.make_room();
        input.bytes.resize(100_000, 7);
        let place = input.bytes.as_ptr();
        input.rest();
        assert_eq!(input.bytes.as_ptr(), place);
        input.make_room();
        input.bytes.clear();
        input.rest();
        assert_eq!(input.bytes.capacity(), 0);
        input.make_room();
        assert!(input.bytes.capacity() < 100_000);
    }

    #[test]
    fn what_follows_a_long_request_does_not_keep_its_room() {
        const LONG: usize = 4 << 20;
        let mut input = Input::default();
        for step in [COPY_BYTES + 1, LONG] {
            input.make_room();
            input.bytes.resize(step, 7);
            input.arrived();
            input.rest();
            assert_eq!(input.kept_bytes(), step + READ_BYTES);
        }
        input.make_room();
        drop(input.bytes.split_to(LONG - COPY_BYTES - 1));
        assert!(input.kept_bytes() > LONG);
        input.rest();
        assert_eq!(input.bytes, vec![7; COPY_BYTES + 1]);
        assert!(input.bytes.capacity() <= 4 * COPY_BYTES);
        assert!(input.kept_bytes() < 2 * READ_BYTES);
    }

    #[test]
    fn effects_are_empty_for_the_next() {
        with_effects(|effects| {
            effects.output.put(&[7; 100]);
            effects.close = true;
        });
        with_effects(|effects| assert!(effects.output.is_empty() && !effects.close));
    }
}
