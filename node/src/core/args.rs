//! The arguments of a command, read from left to right by its handler.

use dht_proto::ReplyError;

/// A cursor over the words of a request; the name is already behind it.
///
/// The table has checked the arity, so a handler may take its required arguments without asking; a missing word
/// (an option without its value) is a syntax error.
pub struct Args<'a> {
    words: &'a [&'a [u8]],
    next: usize,
}

impl<'a> Args<'a> {
    /// The arguments of a request whose name has `name_words` words.
    #[must_use]
    pub const fn new(words: &'a [&'a [u8]], name_words: usize) -> Self {
        Self {
            words,
            next: name_words,
        }
    }

    /// How many words are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.words.len().saturating_sub(self.next)
    }

    /// The next word.
    ///
    /// # Errors
    /// A syntax error at the end.
    pub fn word(&mut self) -> Result<&'a [u8], ReplyError> {
        let word = self
            .words
            .get(self.next)
            .copied()
            .ok_or(ReplyError::Syntax)?;
        self.next += 1;
        Ok(word)
    }

    /// The next word as a signed integer, in Redis's strict form: no sign `+`, no leading zeros, no blanks.
    ///
    /// # Errors
    /// `value is not an integer or out of range`.
    pub fn int(&mut self) -> Result<i64, ReplyError> {
        parse_int(self.word()?).ok_or(ReplyError::NotInteger)
    }

    /// The words that are left, all taken.
    pub fn rest(&mut self) -> &'a [&'a [u8]] {
        let rest = self.words.get(self.next..).unwrap_or_default();
        self.next = self.words.len();
        rest
    }

    /// Takes the next word if it is this option, whatever its case.
    pub fn option(&mut self, name: &str) -> bool {
        let found = self
            .words
            .get(self.next)
            .is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
        self.next += usize::from(found);
        found
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// A syntax error.
    pub const fn finish(&self) -> Result<(), ReplyError> {
        if self.left() == 0 {
            Ok(())
        } else {
            Err(ReplyError::Syntax)
        }
    }
}

/// A signed 64-bit integer in Redis's strict form.
#[must_use]
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical {
        str::from_utf8(text).ok()?.parse().ok()
    } else {
        None
    }
}
