//! The arguments of a command, read from left to right by its handler. Knows no command.

use std::borrow::Cow;

use dht_proto::ReplyError;
use dht_proto::slot::SLOTS;
use smallvec::SmallVec;

/// Pairs of words: fields or keys with their values.
pub type Pairs<'a> = SmallVec<[(&'a [u8], &'a [u8]); 4]>;

/// A cursor over the words of a request; the name is already behind it.
///
/// The table has checked the arity, so a handler may take its required arguments without asking; a
/// missing word (an option without its value) is a syntax error.
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

    /// The first word of the command's name.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.words.first().copied().unwrap_or_default()
    }

    /// The second word: of a command with subcommands, which.
    #[must_use]
    pub fn subcommand(&self) -> &'a [u8] {
        self.words.get(1).copied().unwrap_or_default()
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

    /// The next word as a signed integer, in Redis's strict form: no sign `+`, no leading zeros, no
    /// blanks.
    ///
    /// # Errors
    /// `value is not an integer or out of range`.
    pub fn int(&mut self) -> Result<i64, ReplyError> {
        parse_int(self.word()?).ok_or(ReplyError::NotInteger)
    }

    /// The next word as a slot.
    ///
    /// # Errors
    /// `Invalid slot`, or it is no integer.
    pub fn slot(&mut self) -> Result<u16, ReplyError> {
        let slot = u16::try_from(self.int()?).ok();
        let slot = slot.filter(|slot| *slot < SLOTS);
        slot.ok_or(ReplyError::err("Invalid slot"))
    }

    /// The next word as the cursor of an iteration.
    ///
    /// # Errors
    /// `invalid cursor`.
    pub fn cursor(&mut self) -> Result<u64, ReplyError> {
        parse_cursor(self.word()?).ok_or(ReplyError::InvalidCursor)
    }

    /// The words that are left, all taken.
    pub fn rest(&mut self) -> &'a [&'a [u8]] {
        let rest = self.words.get(self.next..).unwrap_or_default();
        self.next = self.words.len();
        rest
    }

    /// The next so many words, if there are so many.
    pub fn words(&mut self, count: usize) -> Option<&'a [&'a [u8]]> {
        let words = self.words.get(self.next..self.next.checked_add(count)?)?;
        self.next += count;
        Some(words)
    }

    /// The words that are left, two by two.
    ///
    /// # Errors
    /// `wrong number of arguments` for `command` when their number is odd.
    pub fn pairs(&mut self, command: &'static str) -> Result<Pairs<'a>, ReplyError> {
        let (pairs, odd) = self.rest().as_chunks();
        if odd.is_empty() {
            Ok(pairs.iter().map(|[name, value]| (*name, *value)).collect())
        } else {
            Err(ReplyError::Arity(Cow::Borrowed(command)))
        }
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

/// Latches one of several options that exclude each other; the same one may be given again.
///
/// # Errors
/// A syntax error when another one was given before.
pub fn choose<T: PartialEq>(chosen: &mut Option<T>, option: T) -> Result<(), ReplyError> {
    match chosen {
        Some(other) if *other != option => Err(ReplyError::Syntax),
        _ => {
            *chosen = Some(option);
            Ok(())
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

/// A cursor as SCAN and HSCAN give it out, an unsigned decimal number; and whatever else Redis
/// takes for one, which reads it by `strtoul`: nothing is 0, a sign may stand before it, a zero
/// byte ends it.
#[must_use]
pub fn parse_cursor(text: &[u8]) -> Option<u64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (is_negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative {
        number.wrapping_neg()
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        let good = [
            ("0", 0),
            ("-1", -1),
            ("10", 10),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, value) in good {
            assert_eq!(parse_int(text.as_bytes()), Some(value), "{text}");
        }
        let bad = [
            "",
            "-",
            "-0",
            "+1",
            "01",
            " 1",
            "1 ",
            "1.0",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ];
        for text in bad {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn cursors_are_what_strtoul_takes() {
        for (text, value) in [
            ("", 0),
            ("0", 0),
            ("017", 17),
            ("+5", 5),
            ("-0", 0),
            ("-1", u64::MAX),
            ("\0", 0),
            ("7\0x", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in [
            "x",
            "1x",
            " 1",
            "1 ",
            "-",
            "+",
            "--1",
            "18446744073709551616",
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn an_option_excludes_the_others_but_not_itself() {
        let mut chosen = None;
        assert_eq!(choose(&mut chosen, "NX"), Ok(()));
        assert_eq!(choose(&mut chosen, "NX"), Ok(()));
        assert_eq!(choose(&mut chosen, "XX"), Err(ReplyError::Syntax));
        assert_eq!(chosen, Some("NX"));
    }

    #[test]
    fn words_are_taken_from_the_left() {
        let words: &[&[u8]] = &[b"NAME", b"a", b"7", b"nX", b"x", b"y", b"z"];
        let mut args = Args::new(words, 1);
        assert_eq!(args.word(), Ok(b"a".as_slice()));
        assert_eq!(args.int(), Ok(7));
        assert!(!args.option("XX"));
        assert!(args.option("NX"));
        assert_eq!(args.finish(), Err(ReplyError::Syntax));
        assert_eq!(args.pairs("name"), Err(ReplyError::Arity("name".into())));
        assert_eq!(args.finish(), Ok(()));
        assert_eq!(args.word(), Err(ReplyError::Syntax));
    }
}
