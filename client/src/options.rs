//! Options of typed commands.

use crate::command::{Arg, Command};

/// When a value written by SET expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After so many seconds.
    Seconds(u64),
    /// After so many milliseconds.
    Millis(u64),
    /// At this Unix time in seconds.
    AtSeconds(u64),
    /// At this Unix time in milliseconds.
    AtMillis(u64),
    /// When the value before it would have expired.
    Keep,
}

/// What has to be true of the key for SET to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exists {
    /// It does not exist (`NX`).
    No,
    /// It exists (`XX`).
    Yes,
}

/// Options of SET: `SetOptions { expiry: Some(Expiry::Seconds(60)), ..SetOptions::default() }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// Write only if.
    pub only_if: Option<Exists>,
    /// When the value expires; never, when nothing is said.
    pub expiry: Option<Expiry>,
}

/// What has to be true of the time to live that a key has for EXPIRE to replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireIf {
    /// There is none (`NX`).
    None,
    /// There is one (`XX`).
    Some,
    /// The new one is longer (`GT`).
    Longer,
    /// The new one is shorter, or there was none (`LT`).
    Shorter,
}

/// What becomes of the time to live of a value that is read by GETEX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It stays as it is.
    Keep,
    /// There is none any more.
    Persist,
    /// So many seconds.
    Seconds(u64),
    /// So many milliseconds.
    Millis(u64),
    /// Until this Unix time in seconds.
    AtSeconds(u64),
    /// Until this Unix time in milliseconds.
    AtMillis(u64),
}

/// What has to be true of a string for a command to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueIs<'a> {
    /// It is this (`IFEQ`).
    Equal(&'a [u8]),
    /// It is not this (`IFNE`).
    Other(&'a [u8]),
    /// Its digest, as DIGEST gives it, is this (`IFDEQ`).
    Digest(&'a str),
    /// Its digest is not this (`IFDNE`).
    OtherDigest(&'a str),
}

/// Options of SCAN and HSCAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// Only names that match this glob pattern.
    pub pattern: Option<String>,
    /// About how many to look at in one call.
    pub count: Option<u64>,
}

impl Arg for SetOptions {
    fn append_to(&self, command: &mut Command) {
        match self.only_if {
            Some(Exists::No) => "NX".append_to(command),
            Some(Exists::Yes) => "XX".append_to(command),
            None => {}
        }
        let (word, number) = match self.expiry {
            Some(Expiry::Seconds(n)) => ("EX", n),
            Some(Expiry::Millis(n)) => ("PX", n),
            Some(Expiry::AtSeconds(n)) => ("EXAT", n),
            Some(Expiry::AtMillis(n)) => ("PXAT", n),
            Some(Expiry::Keep) => return "KEEPTTL".append_to(command),
            None => return,
        };
        word.append_to(command);
        number.append_to(command);
    }
}

impl Arg for Renewal {
    fn append_to(&self, command: &mut Command) {
        let (word, number) = match self {
            Self::Keep => return,
            Self::Persist => return "PERSIST".append_to(command),
            Self::Seconds(n) => ("EX", n),
            Self::Millis(n) => ("PX", n),
            Self::AtSeconds(n) => ("EXAT", n),
            Self::AtMillis(n) => ("PXAT", n),
        };
        word.append_to(command);
        number.append_to(command);
    }
}

impl Arg for ValueIs<'_> {
    fn append_to(&self, command: &mut Command) {
        let (word, value) = match self {
            Self::Equal(value) => ("IFEQ", *value),
            Self::Other(value) => ("IFNE", *value),
            Self::Digest(digest) => ("IFDEQ", digest.as_bytes()),
            Self::OtherDigest(digest) => ("IFDNE", digest.as_bytes()),
        };
        word.append_to(command);
        value.append_to(command);
    }
}

impl Arg for Expiry {
    fn append_to(&self, command: &mut Command) {
        let expiry = Some(*self);
        let options = SetOptions {
            expiry,
            ..SetOptions::default()
        };
        options.append_to(command);
    }
}

impl Arg for ExpireIf {
    fn append_to(&self, command: &mut Command) {
        let word = match self {
            Self::None => "NX",
            Self::Some => "XX",
            Self::Longer => "GT",
            Self::Shorter => "LT",
        };
        word.append_to(command);
    }
}

impl Arg for ScanOptions {
    fn append_to(&self, command: &mut Command) {
        if let Some(pattern) = &self.pattern {
            "MATCH".append_to(command);
            pattern.append_to(command);
        }
        if let Some(count) = self.count {
            "COUNT".append_to(command);
            count.append_to(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_words() {
        let check = |arg: &dyn Arg, expect: &str| {
            let mut command = Command::default();
            arg.append_to(&mut command);
            assert_eq!(command.words.join(&b' '), expect.as_bytes());
        };
        let set = |only_if, expiry| SetOptions { only_if, expiry };
        check(&SetOptions::default(), "");
        check(&set(Some(Exists::No), Some(Expiry::Seconds(9))), "NX EX 9");
        check(&set(Some(Exists::Yes), Some(Expiry::Keep)), "XX KEEPTTL");
        check(&set(None, Some(Expiry::Millis(1))), "PX 1");
        check(&set(None, Some(Expiry::AtSeconds(2))), "EXAT 2");
        check(&set(None, Some(Expiry::AtMillis(3))), "PXAT 3");
        check(&ExpireIf::Longer, "GT");
        check(&Renewal::Keep, "");
        check(&Renewal::Persist, "PERSIST");
        check(&Renewal::AtMillis(5), "PXAT 5");
        check(&ValueIs::Equal(b"v"), "IFEQ v");
        check(&ValueIs::Other(b"v"), "IFNE v");
        check(&ValueIs::Digest("0"), "IFDEQ 0");
        check(&ValueIs::OtherDigest("0"), "IFDNE 0");
        let pattern = Some("user:*".to_owned());
        let scan = ScanOptions {
            pattern,
            count: Some(100),
        };
        check(&scan, "MATCH user:* COUNT 100");
        check(&ScanOptions::default(), "");
    }
}
