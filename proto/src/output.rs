//! What goes out to a socket: short bytes are copied together, long ones are shared with whoever
//! else has them. Knows no protocol.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::parts::{Encode, Parts, Unmade};

/// From this length on bytes are shared; to copy shorter ones costs less than to keep track.
const SHARED_BYTES: usize = 16 * 1024;
/// Copied bytes are cut into pieces of about this length, so that those that are sent are freed.
const PIECE_BYTES: usize = 64 * 1024;

/// Where replies and requests are written.
pub trait Sink {
    /// Appends a copy.
    fn put(&mut self, bytes: &[u8]);
    /// Appends bytes that may be shared.
    fn put_shared(&mut self, bytes: &Bytes);
    /// Appends the items of a list, in a protocol; they may be made later.
    fn put_parts(&mut self, parts: &Parts, encode: Encode);
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Drops all but the first bytes.
    fn truncate(&mut self, len: usize);
    /// Overwrites bytes that were put together.
    fn patch(&mut self, at: usize, bytes: &[u8]);
}

impl Sink for BytesMut {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        self.put_slice(bytes);
    }

    fn put_parts(&mut self, parts: &Parts, encode: Encode) {
        let (mut unmade, mut output) = (Unmade::new(parts.clone()), Output::default());
        while unmade.encode_next(encode, &mut output) {
            output.each(|bytes| self.put_slice(bytes));
            output.clear();
        }
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn truncate(&mut self, len: usize) {
        Self::truncate(self, len);
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        self[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// A sink as a stream.
pub(crate) struct Stream<'a, S>(pub(crate) &'a mut S);

impl<S: Sink> Write for Stream<'_, S> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.put(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that go out, in pieces. Those of a long list are made one after the other, when what is
/// before them has been sent.
#[derive(Debug, Default)]
pub struct Output {
    /// What comes before the tail.
    pieces: VecDeque<Piece>,
    /// Bytes of the pieces.
    before: usize,
    /// Pieces that are not made yet.
    unmade: usize,
    tail: BytesMut,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// Bytes of memory that it keeps, however much of it is sent.
    kept: usize,
    /// Whether somebody else may have the bytes as well.
    is_shared: bool,
    /// Of items that are not made yet: what makes them. There are no bytes then.
    unmade: Option<Box<(Unmade, Encode)>>,
}

impl Sink for Output {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > self.tail.capacity() - self.tail.len() {
            self.make_room(bytes.len());
        }
        self.tail.put_slice(bytes);
    }

    #[inline]
    fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES {
            return self.put(bytes);
        }
        self.cut();
        self.push(bytes.clone(), true);
    }

    fn put_parts(&mut self, parts: &Parts, encode: Encode) {
        self.cut();
        self.push(Bytes::new(), false);
        if let Some(piece) = self.pieces.back_mut() {
            piece.unmade = Some(Box::new((Unmade::new(parts.clone()), encode)));
            self.unmade += 1;
        }
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn truncate(&mut self, len: usize) {
        while self.before > len {
            self.tail.clear();
            let Some(mut last) = self.pieces.pop_back() else {
                return;
            };
            self.before -= last.bytes.len();
            self.unmade -= usize::from(last.unmade.is_some());
            if self.before < len {
                last.bytes.truncate(len - self.before);
                self.push(last.bytes, last.is_shared);
            }
        }
        self.tail.truncate(len - self.before);
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        if at >= self.before {
            return self.tail.patch(at - self.before, bytes);
        }
        let mut start = self.before;
        for piece in self.pieces.iter_mut().rev() {
            start -= piece.bytes.len();
            if start <= at {
                let mut patched = BytesMut::from(&piece.bytes[..]);
                patched.patch(at - start, bytes);
                piece.bytes = patched.freeze();
                return;
            }
        }
    }
}

impl Output {
    /// How many bytes there are, without those that are not made yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before + self.tail.len()
    }

    /// Whether there are none, and none to be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    /// Whether some of it is still to be made.
    #[must_use]
    pub const fn is_unmade(&self) -> bool {
        self.unmade > 0
    }

    /// Makes what is to be sent next, if it is not made yet: a piece of it. Gives how many bytes.
    pub fn make(&mut self) -> usize {
        let before = self.before;
        while let Some(piece) = self.pieces.front_mut()
            && let Some(unmade) = &mut piece.unmade
        {
            let (unmade, encode) = &mut **unmade;
            let mut made = Self::default();
            while made.len() < PIECE_BYTES {
                if !unmade.encode_next(*encode, &mut made) {
                    self.pieces.pop_front();
                    self.unmade -= 1;
                    break;
                }
            }
            made.cut();
            self.before += made.before;
            self.unmade += made.unmade;
            while let Some(piece) = made.pieces.pop_back() {
                self.pieces.push_front(piece);
            }
        }
        self.before - before
    }

    /// Visits all that is made.
    fn each(&self, mut visit: impl FnMut(&[u8])) {
        self.pieces.iter().for_each(|piece| visit(&piece.bytes));
        visit(&self.tail);
    }

    /// Bytes of memory that nobody else has: a piece is freed when the last of it is sent.
    #[must_use]
    pub fn owned(&self) -> usize {
        let own = self
            .pieces
            .iter()
            .filter(|piece| !piece.is_kept_elsewhere());
        self.tail.len() + own.map(Piece::kept).sum::<usize>()
    }

    /// Whether somebody else may have some of the bytes, or what makes them.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.pieces.iter().any(|piece| piece.is_shared) || self.is_unmade()
    }

    /// Drops everything; room for little is kept.
    pub fn clear(&mut self) {
        self.pieces.clear();
        (self.before, self.unmade) = (0, 0);
        self.tail.clear();
    }

    /// Drops what was sent.
    pub fn advance(&mut self, mut sent: usize) {
        while let Some(first) = self.pieces.front_mut() {
            let part = sent.min(first.bytes.len());
            first.bytes.advance(part);
            self.before -= part;
            sent -= part;
            if !first.bytes.is_empty() || first.unmade.is_some() {
                return;
            }
            self.pieces.pop_front();
        }
        self.tail.advance(sent);
    }

    /// Moves another output behind this one.
    pub fn append(&mut self, other: &mut Self) {
        if !other.pieces.is_empty() || other.tail.len() >= SHARED_BYTES {
            self.cut();
            other.cut();
            self.before += other.before;
            self.unmade += other.unmade;
            self.pieces.append(&mut other.pieces);
            (other.before, other.unmade) = (0, 0);
        } else {
            self.put(&other.tail);
            other.tail.clear();
        }
    }

    /// The first pieces that are made, to be sent together; gives how many there are.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let made = |piece: &Piece| piece.unmade.is_none().then_some(());
        let pieces = self
            .pieces
            .iter()
            .map(move |piece| made(piece).map(|()| &piece.bytes[..]));
        let all = pieces.chain([Some(&self.tail[..])]);
        let all = all.map_while(|it| it).filter(|it| !it.is_empty());
        into.iter_mut()
            .zip(all)
            .map(|(slice, bytes)| *slice = IoSlice::new(bytes))
            .count()
    }

    /// All of it, copied together.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        for piece in &self.pieces {
            all.extend_from_slice(&piece.bytes);
            if let Some(unmade) = &piece.unmade {
                let (mut unmade, encode) = (**unmade).clone();
                let mut made = Self::default();
                while unmade.encode_next(encode, &mut made) {
                    made.each(|bytes| all.extend_from_slice(bytes));
                    made.clear();
                }
            }
        }
        all.extend_from_slice(&self.tail);
        all
    }

    #[cold]
    fn make_room(&mut self, more: usize) {
        if self.tail.len() >= PIECE_BYTES {
            self.cut();
            self.tail = BytesMut::with_capacity(PIECE_BYTES.max(more));
        } else {
            self.tail.reserve(more);
        }
    }

    /// Puts the tail among the pieces.
    fn cut(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.push(tail, false);
        }
    }

    fn push(&mut self, bytes: Bytes, is_shared: bool) {
        self.before += bytes.len();
        let kept = bytes.len();
        self.pieces.push_back(Piece {
            bytes,
            kept,
            is_shared,
            unmade: None,
        });
    }
}

impl Piece {
    /// Bytes of memory that nobody else has, if the bytes are nobody else's.
    fn kept(&self) -> usize {
        self.kept + self.unmade.as_ref().map_or(0, |unmade| unmade.0.kept())
    }

    fn is_kept_elsewhere(&self) -> bool {
        self.is_shared && !self.bytes.is_unique()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = 3 * SHARED_BYTES;

    fn bytes(of: u8, len: usize) -> Bytes {
        vec![of; len].into()
    }

    fn filled(shared: &Bytes) -> Output {
        let mut output = Output::default();
        output.put(b"head");
        output.put_shared(shared);
        output.put_shared(&bytes(b's', 5));
        output
    }

    #[test]
    fn long_bytes_are_shared_and_short_ones_copied() {
        let value = bytes(b'v', LONG);
        let mut output = filled(&value);
        assert_eq!(output.len(), 4 + LONG + 5);
        assert_eq!(output.owned(), 9);
        assert!(output.is_shared());
        assert!(output.to_vec() == [b"head", &value[..], b"sssss"].concat());
        drop(value);
        assert_eq!(output.owned(), output.len(), "nobody else has it any more");
        output.advance(LONG);
        assert_eq!(output.owned(), LONG + 5, "it is kept up to its last byte");
    }

    #[test]
    fn what_was_sent_is_gone_wherever_it_was_cut() {
        let value = bytes(b'v', LONG);
        for sent in [0, 1, 4, 5, LONG + 4, LONG + 6, LONG + 9] {
            let mut output = filled(&value);
            let all = output.to_vec();
            output.advance(sent);
            assert!(output.to_vec() == all[sent..], "{sent}");
            assert_eq!(output.len(), all.len() - sent);
            output.put(b"more");
            assert_eq!(output.len(), all.len() - sent + 4);
        }
    }

    #[test]
    fn the_end_can_be_taken_back_and_any_place_patched() {
        let value = bytes(b'v', LONG);
        for len in [0, 3, 4, 5, LONG + 4, LONG + 6, LONG + 9] {
            let mut output = filled(&value);
            let all = output.to_vec();
            output.truncate(len);
            assert!(output.to_vec() == all[..len], "{len}");
            output.put(b"end");
            assert_eq!(output.len(), len + 3);
        }
        let mut output = filled(&value);
        output.patch(1, b"EA");
        output.patch(LONG + 5, b"S");
        assert!(output.to_vec() == [b"hEAd", &value[..], b"sSsss"].concat());
        assert!(value.iter().all(|byte| *byte == b'v'));
    }

    #[test]
    fn outputs_are_joined_in_order() {
        let value = bytes(b'v', LONG);
        let mut output = filled(&value);
        let one = output.to_vec();
        output.append(&mut filled(&value));
        let mut short = Output::default();
        short.put(b"short");
        output.append(&mut short);
        assert!(output.to_vec() == [&one[..], &one, b"short"].concat());
        assert!(short.is_empty());
    }

    #[test]
    fn much_that_is_copied_lies_in_pieces_of_bounded_length() {
        let mut output = Output::default();
        for n in 0..100_000u32 {
            output.put(&n.to_be_bytes());
        }
        assert!(output.pieces.len() >= 400_000 / (3 * PIECE_BYTES));
        assert!(
            output
                .pieces
                .iter()
                .all(|piece| piece.bytes.len() <= 2 * PIECE_BYTES)
        );
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(output.slices(&mut slices), 4);
        assert_eq!(&slices[0][..8], [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(output.owned(), 400_000);
        let all = output.to_vec();
        assert!(
            (0..100_000u32)
                .zip(all.chunks(4))
                .all(|(n, at)| n.to_be_bytes() == at)
        );
    }
}
