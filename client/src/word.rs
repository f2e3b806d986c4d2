//! A word of a command: bytes, kept in place where they are few.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// Bytes up to which a word is kept in place.
const SHORT: usize = 38;

/// One word of a command. Cheap to clone, and, up to 38 bytes, made without an allocation.
#[derive(Clone)]
pub struct Word(Kept);

#[derive(Clone)]
enum Kept {
    Short(u8, [u8; SHORT]),
    Long(Bytes),
}

impl Word {
    /// A copy of these bytes.
    #[must_use]
    pub fn copy(bytes: &[u8]) -> Self {
        if bytes.len() > SHORT {
            return Self(Kept::Long(Bytes::copy_from_slice(bytes)));
        }
        let mut short = [0; SHORT];
        short[..bytes.len()].copy_from_slice(bytes);
        Self(Kept::Short(bytes.len() as u8, short))
    }
}

impl Deref for Word {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Short(length, bytes) => &bytes[..usize::from(*length)],
            Kept::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Word {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Word {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<Bytes> for Word {
    fn from(bytes: Bytes) -> Self {
        Self(Kept::Long(bytes))
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<Word> for Bytes {
    fn from(word: Word) -> Self {
        match word.0 {
            Kept::Short(length, bytes) => Self::copy_from_slice(&bytes[..usize::from(length)]),
            Kept::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Word {}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_its_bytes_however_long_it_is() {
        for length in [0, 1, SHORT, SHORT + 1, 1000] {
            let bytes = vec![7; length];
            let word = Word::copy(&bytes);
            assert_eq!(&*word, &bytes[..]);
            assert_eq!(word, Word::from(Bytes::from(bytes.clone())));
            assert_eq!(Bytes::from(word), bytes);
        }
        assert_eq!(format!("{:?}", Word::copy(b"a\"\n")), "b\"a\\\"\\n\"");
    }
}
