//! Times to live as commands give them, turned into points in time.

use dht_proto::ReplyError;

use crate::core::args::{Args, choose, parse_int};
use crate::core::keyspace::Expiry;
use crate::core::time::UnixMs;

/// The unit of a time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 1000 milliseconds.
    Seconds,
    /// One millisecond.
    Milliseconds,
}

/// `base` plus an amount, in Unix milliseconds; `None` when that leaves 64 bits. It may lie before
/// 1970.
#[must_use]
pub fn point(amount: i64, unit: Unit, base: UnixMs) -> Option<i64> {
    let ms = match unit {
        Unit::Seconds => amount.checked_mul(1000)?,
        Unit::Milliseconds => amount,
    };
    ms.checked_add_unsigned(base)
}

/// What an option says about the expiry of a value that is being set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// KEEPTTL, or PERSIST where nothing is set.
    Other,
    /// EX or PX: from the command's time on.
    In(Unit),
    /// EXAT or PXAT: from the Unix epoch on.
    At(Unit),
}

/// The one expiry option that was given, if any, its number not yet read.
#[derive(Default)]
pub struct ExpiryOption<'a> {
    rule: Option<Rule>,
    amount: &'a [u8],
}

impl<'a> ExpiryOption<'a> {
    /// Takes the next word, and its value, if it is an expiry option; `other` is the one without a
    /// value, KEEPTTL or PERSIST.
    ///
    /// # Errors
    /// A syntax error when it contradicts an earlier one or has no value.
    pub fn take(&mut self, args: &mut Args<'a>, other: &str) -> Result<bool, ReplyError> {
        let rules = [
            ("EX", Rule::In(Unit::Seconds)),
            ("PX", Rule::In(Unit::Milliseconds)),
            ("EXAT", Rule::At(Unit::Seconds)),
            ("PXAT", Rule::At(Unit::Milliseconds)),
            (other, Rule::Other),
        ];
        let Some((_, rule)) = rules.into_iter().find(|(name, _)| args.option(name)) else {
            return Ok(false);
        };
        choose(&mut self.rule, rule)?;
        if rule != Rule::Other {
            self.amount = args.word()?;
        }
        Ok(true)
    }

    /// What it means for `command` at the time `now`.
    ///
    /// # Errors
    /// The amount is no integer, not positive, or leaves 64 bits.
    pub fn resolve(&self, now: UnixMs, command: &'static str) -> Result<Expiry, ReplyError> {
        let (unit, base) = match self.rule {
            None => return Ok(Expiry::Never),
            Some(Rule::Other) => return Ok(Expiry::Keep),
            Some(Rule::In(unit)) => (unit, now),
            Some(Rule::At(unit)) => (unit, 0),
        };
        let amount = parse_int(self.amount).ok_or(ReplyError::NotInteger)?;
        Some(amount)
            .filter(|amount| *amount > 0)
            .and_then(|amount| point(amount, unit, base))
            .and_then(|at| UnixMs::try_from(at).ok())
            .map(Expiry::At)
            .ok_or(ReplyError::InvalidExpire(command))
    }

    /// Likewise for a command that sets no value: without an option everything stays as it is, and
    /// the option without a value is PERSIST.
    ///
    /// # Errors
    /// As above.
    pub fn resolve_kept(&self, now: UnixMs, command: &'static str) -> Result<Expiry, ReplyError> {
        Ok(match self.resolve(now, command)? {
            Expiry::Never => Expiry::Keep,
            Expiry::Keep => Expiry::Never,
            at => at,
        })
    }
}

/// A time to live that a command demands, and the point in time that it means.
///
/// # Errors
/// It is no integer, not positive, or leaves 64 bits.
pub fn time_to_live(
    amount: &[u8],
    unit: Unit,
    now: UnixMs,
    command: &'static str,
) -> Result<Expiry, ReplyError> {
    let option = ExpiryOption {
        rule: Some(Rule::In(unit)),
        amount,
    };
    option.resolve(now, command)
}
