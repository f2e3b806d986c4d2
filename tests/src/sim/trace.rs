//! What has happened, a line an event; and a hash of it, by which two runs are compared.

use std::fmt::{self, Write as _};

/// The lines of a run.
#[derive(Debug)]
pub struct Trace {
    hash: Fnv,
    lines: u64,
    /// Whether the lines are printed too.
    printed: bool,
    line: String,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub const fn new(printed: bool) -> Self {
        Self {
            hash: Fnv::new(),
            lines: 0,
            printed,
            line: String::new(),
        }
    }

    /// Adds a line: when, and what.
    pub fn add(&mut self, now_us: u64, what: fmt::Arguments<'_>) {
        self.line.clear();
        let (ms, us) = (now_us / 1000, now_us % 1000);
        let _ = write!(self.line, "{ms:>6}.{us:03} {what}");
        self.hash.add(self.line.as_bytes());
        self.lines += 1;
        if self.printed {
            println!("{}", self.line);
        }
    }

    /// The hash of all lines so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash.0
    }

    /// How many lines there are.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }
}

/// FNV-1a (Fowler, Noll and Vo), 64 bits, eight bytes at a time.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(pub u64);

impl Fnv {
    /// The hash of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
        self.number(bytes.len() as u64);
    }

    /// Adds a number.
    pub const fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        // A word at a time, the high bits would never reach the low ones.
        self.0 ^= self.0 >> 32;
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash of bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::new();
    hash.add(bytes);
    hash.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_by_its_lines_and_their_order() {
        let trace = |lines: &[(u64, &str)]| {
            let mut trace = Trace::new(false);
            lines
                .iter()
                .for_each(|(at, line)| trace.add(*at, format_args!("{line}")));
            (trace.hash(), trace.lines())
        };
        assert_eq!(trace(&[(1, "a"), (2, "b")]), trace(&[(1, "a"), (2, "b")]));
        for other in [
            &[(2, "b"), (1, "a")][..],
            &[(1, "a"), (3, "b")],
            &[(1, "ab")],
        ] {
            assert_ne!(trace(&[(1, "a"), (2, "b")]).0, trace(other).0);
        }
    }
}
