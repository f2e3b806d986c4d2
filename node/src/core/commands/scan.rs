//! What SCAN and HSCAN have in common: their options and the form of their answer.

use dht_proto::{Reply, ReplyError, limits};

use crate::core::args::Args;
use crate::core::glob;

/// How many elements a call looks at when it does not say.
const DEFAULT_COUNT: usize = 10;

/// The options behind a cursor.
pub struct Options<'a> {
    /// About how many elements to look at: no more than a slot may be locked for.
    pub count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    /// Whether fields are asked for without their values.
    pub names_only: bool,
}

/// What is iterated over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Keys, of which `TYPE type` chooses.
    Keys,
    /// Fields, which NOVALUES strips of their values.
    Fields,
}

impl<'a> Options<'a> {
    /// `[MATCH pattern] [COUNT count]`, and what is said of keys or of fields alone.
    ///
    /// # Errors
    /// Another option, an option without its value, a count that is no positive integer.
    pub fn parse(args: &mut Args<'a>, of: Of) -> Result<Self, ReplyError> {
        let mut options = Self {
            count: DEFAULT_COUNT,
            pattern: None,
            kind: None,
            names_only: false,
        };
        while args.left() > 0 {
            if args.option("MATCH") {
                options.pattern = Some(args.word()?);
            } else if args.option("COUNT") {
                options.count = count(args)?.min(limits::SCAN_COUNT);
            } else if of == Of::Keys && args.option("TYPE") {
                options.kind = Some(args.word()?);
            } else if of == Of::Fields && args.option("NOVALUES") {
                options.names_only = true;
            } else {
                return Err(ReplyError::Syntax);
            }
        }
        Ok(options)
    }

    /// Whether an element is asked for by its name.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::lists(pattern, name))
    }

    /// Whether keys of a type are asked for; a type that does not exist is held by no key.
    #[must_use]
    pub fn has_type(&self, name: &str) -> bool {
        self.kind
            .is_none_or(|kind| kind.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// A count; one below 1 is a syntax error, as in Redis.
fn count(args: &mut Args<'_>) -> Result<usize, ReplyError> {
    let count = usize::try_from(args.int()?).map_err(|_| ReplyError::Syntax)?;
    if count == 0 {
        Err(ReplyError::Syntax)
    } else {
        Ok(count)
    }
}

/// The answer of a call: where to go on, and what was found.
#[must_use]
pub fn page(cursor: u64, elements: Vec<Reply>) -> Reply {
    Reply::Array(vec![
        Reply::bulk(cursor.to_string()),
        Reply::Array(elements),
    ])
}
