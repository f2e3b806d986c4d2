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
    static EFFECTS: Cell<Effects> = Cell::default();
}

/// What has arrived on a connection and was not taken.
#[derive(Default)]
pub struct Input {
    /// The bytes.
    pub bytes: BytesMut,
    /// Whether `bytes` lies in the buffer that the thread's connections share.
    borrowed: bool,
}

impl Input {
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
        if self.bytes.is_empty() || (self.borrowed && self.bytes.len() <= COPY_BYTES) {
            let waiting = copy(&self.bytes);
            let buffer = mem::replace(&mut self.bytes, waiting);
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
    let mut effects = EFFECTS.take();
    act(&mut effects);
    effects.output.clear();
    effects.asked.clear();
    effects.close = false;
    EFFECTS.set(effects);
}

#[cfg(test)]
mod tests {
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
    fn effects_are_empty_for_the_next() {
        with_effects(|effects| {
            effects.output.resize(100, 7);
            effects.close = true;
        });
        with_effects(|effects| assert!(effects.output.is_empty() && !effects.close));
    }
}
