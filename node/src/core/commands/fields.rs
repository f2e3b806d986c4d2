//! Commands of family hash about the times to live of fields.

use std::collections::BTreeSet;

use dht_proto::{Reply, ReplyError, reply};
use smallvec::SmallVec;

use super::expiry::{Unit, point};
use super::{bulk, bulk_or_nil, note_removed, remove_fields};
use crate::core::args::{Args, Pairs, parse_int};
use crate::core::execute::Outcome;
use crate::core::keyspace::{Expiry, HashRef, Read, Write};
use crate::core::notify::Class;
use crate::core::time::UnixMs;

/// The last time at which a field may expire, in Unix milliseconds, as in Redis: in the year 4199.
const LAST_MS: i64 = (1 << 46) - 1;

/// HEXPIRE.
pub fn hexpire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let now = ctx.stamp;
    expire(ctx, args, (Unit::Seconds, now), "hexpire")
}

/// HEXPIREAT.
pub fn hexpireat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    expire(ctx, args, (Unit::Seconds, 0), "hexpireat")
}

/// HEXPIRETIME.
pub fn hexpiretime(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    expiries(ctx, args, |at| at.div_ceil(1000))
}

/// HGETDEL.
pub fn hgetdel(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    ctx.hash(key)?;
    let fields = counted(args)?;
    let hash = ctx.hash(key)?;
    let mut taken = BTreeSet::new();
    let mut value = |field: &&[u8]| {
        // Given twice, it is gone the second time.
        let hash = hash.as_ref().filter(|_| taken.insert(field.to_vec()));
        bulk_or_nil(hash.and_then(|hash| hash.get(field)))
    };
    let values = fields.iter().map(&mut value).collect();
    remove_fields(ctx, key, fields)?;
    Ok(Reply::Array(values))
}

/// HGETEX.
pub fn hgetex(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    let options = Options::parse(args, ctx.stamp, &HGETEX)?;
    let hash = ctx.hash(key)?;
    let is_past = matches!(options.expiry, Some(Rule::At(at)) if at <= ctx.stamp);
    let mut values = Vec::with_capacity(options.words.len());
    let mut found: Vec<&[u8]> = Vec::new();
    let mut taken = BTreeSet::new();
    for field in options.words {
        // Given twice, it is gone the second time.
        let is_there = !is_past || taken.insert(*field);
        let hash = hash.as_ref().filter(|_| is_there);
        let value = hash.and_then(|hash| hash.get(field));
        found.extend(value.is_some().then_some(*field));
        values.push(value.map_or(Reply::Nil, |value| bulk(&value)));
    }
    match options.expiry {
        _ if found.is_empty() => {}
        Some(Rule::At(at)) => set_expiry(ctx, key, &found, at)?,
        Some(Rule::Other) => {
            let hash = ctx.hash(key)?;
            let has_one = |field: &&[u8]| hash.as_ref().and_then(|h| expiry_of(h, field)).is_some();
            found.retain(has_one);
            ctx.hash_set_expiry(key, &found, None);
            if !found.is_empty() {
                ctx.note(Class::Hash, "hpersist", key);
            }
        }
        None => {}
    }
    Ok(Reply::Array(values))
}

/// HPERSIST.
pub fn hpersist(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    ctx.hash(key)?;
    let fields = counted(args)?;
    let mut is_changed = false;
    let answer = each(ctx, key, fields, |ctx, field, expiry| {
        if expiry.is_some() {
            ctx.hash_set_expiry(key, &[field], None);
            is_changed = true;
        }
        Ok(if expiry.is_some() { 1 } else { -1 })
    })?;
    if is_changed {
        ctx.note(Class::Hash, "hpersist", key);
    }
    Ok(answer)
}

/// HPEXPIRE.
pub fn hpexpire(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let now = ctx.stamp;
    expire(ctx, args, (Unit::Milliseconds, now), "hpexpire")
}

/// HPEXPIREAT.
pub fn hpexpireat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    expire(ctx, args, (Unit::Milliseconds, 0), "hpexpireat")
}

/// HPEXPIRETIME.
pub fn hpexpiretime(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    expiries(ctx, args, |at| at)
}

/// HPTTL.
pub fn hpttl(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    expiries(ctx, args, |at| at.saturating_sub(ctx.stamp))
}

/// HSETEX.
pub fn hsetex(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    let options = Options::parse(args, ctx.stamp, &HSETEX)?;
    let (pairs, _) = options.words.as_chunks();
    let pairs: Pairs<'_> = pairs
        .iter()
        .map(|[field, value]| (*field, *value))
        .collect();
    let hash = ctx.hash(key)?;
    let exists = |field| hash.as_ref().is_some_and(|hash| hash.get(field).is_some());
    if let Some(present) = options.present
        && pairs.iter().any(|(field, _)| exists(field) != present)
    {
        return Ok(Reply::flag(false));
    }
    let expiry = match options.expiry {
        None => Expiry::Never,
        Some(Rule::Other) => Expiry::Keep,
        Some(Rule::At(at)) => Expiry::At(at),
    };
    if let Expiry::At(at) = expiry
        && at <= ctx.stamp
    {
        // They are set, and gone, and with them a key that was made for them.
        if ctx.kind(key).is_none() {
            ctx.note(Class::New, "new", key);
        }
        let fields: Vec<&[u8]> = pairs.iter().map(|(field, _)| *field).collect();
        ctx.hash_remove(key, &fields)?;
        ctx.note(Class::Hash, "hset", key);
        note_removed(ctx, key);
    } else {
        ctx.hash_put(key, &pairs, expiry)?;
        ctx.note(Class::Hash, "hset", key);
        if matches!(expiry, Expiry::At(_)) {
            ctx.note(Class::Hash, "hexpire", key);
        }
    }
    Ok(Reply::flag(true))
}

/// HTTL: whole seconds, rounded up.
pub fn httl(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    expiries(ctx, args, |at| at.saturating_sub(ctx.stamp).div_ceil(1000))
}

/// What is asked of the present expiry of a field before it gets a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Test {
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Test {
    /// A test, perhaps, and `FIELDS numfields field [field ...]`, in any order.
    fn parse<'a>(args: &mut Args<'a>) -> Result<(Option<Self>, &'a [&'a [u8]]), ReplyError> {
        let known = [
            ("NX", Self::Nx),
            ("XX", Self::Xx),
            ("GT", Self::Gt),
            ("LT", Self::Lt),
        ];
        let (mut given, mut fields): (SmallVec<[Self; 1]>, _) = (SmallVec::new(), None);
        while args.left() > 0 {
            if args.option("FIELDS") {
                if fields.is_some() {
                    return Err(ReplyError::err("FIELDS keyword specified multiple times"));
                }
                fields = Some(counted_in_any_place(args)?);
            } else if let Some((_, test)) = known.into_iter().find(|(name, _)| args.option(name)) {
                given.extend((!given.contains(&test)).then_some(test));
            } else {
                return Err(unknown_argument(args.word()?));
            }
        }
        let fields = fields.ok_or(ReplyError::err("missing FIELDS argument"))?;
        match given[..] {
            [] => Ok((None, fields)),
            [test] => Ok((Some(test), fields)),
            _ => Err(ReplyError::err("Multiple condition flags specified")),
        }
    }

    /// A field without expiry counts as one that expires after every other.
    fn passes(self, present: Option<UnixMs>, at: UnixMs) -> bool {
        match self {
            Self::Nx => present.is_none(),
            Self::Xx => present.is_some(),
            Self::Gt => present.is_some_and(|present| at > present),
            Self::Lt => present.is_none_or(|present| at < present),
        }
    }
}

/// Sets the expiry of fields to an amount after `base`.
fn expire(
    ctx: &mut Write<'_>,
    args: &mut Args<'_>,
    (unit, base): (Unit, UnixMs),
    command: &'static str,
) -> Outcome {
    let (key, amount) = (args.word()?, args.word()?);
    ctx.hash(key)?;
    let at = moment(amount, (unit, base), command)?;
    let (test, fields) = Test::parse(args)?;
    let (mut is_set, mut is_removed) = (false, false);
    let answer = each(ctx, key, fields, |ctx, field, present| {
        if test.is_some_and(|test| !test.passes(present, at)) {
            return Ok(0);
        }
        if at <= ctx.stamp {
            ctx.hash_remove(key, &[field])?;
            is_removed = true;
            return Ok(2);
        }
        ctx.hash_set_expiry(key, &[field], Some(at));
        is_set = true;
        Ok(1)
    })?;
    if is_set {
        ctx.note(Class::Hash, "hexpire", key);
    }
    // However many fields there were, as in Redis.
    if is_removed {
        note_removed(ctx, key);
    }
    Ok(answer)
}

/// Sets the expiry of fields that exist, or removes them if it has passed.
fn set_expiry(
    ctx: &mut Write<'_>,
    key: &[u8],
    fields: &[&[u8]],
    at: UnixMs,
) -> Result<(), ReplyError> {
    if at > ctx.stamp {
        ctx.hash_set_expiry(key, fields, Some(at));
        ctx.note(Class::Hash, "hexpire", key);
    } else {
        remove_fields(ctx, key, fields)?;
    }
    Ok(())
}

/// A point in time, as commands on fields check it.
fn moment(
    amount: &[u8],
    (unit, base): (Unit, UnixMs),
    command: &'static str,
) -> Result<UnixMs, ReplyError> {
    let amount = parse_int(amount).ok_or(ReplyError::NotInteger)?;
    if amount < 0 {
        return Err(ReplyError::err("invalid expire time, must be >= 0"));
    }
    point(amount, unit, base)
        .filter(|at| *at <= LAST_MS)
        .and_then(|at| UnixMs::try_from(at).ok())
        .ok_or(ReplyError::InvalidExpire(command))
}

const NOT_POSITIVE: &str = "Number of fields must be a positive integer";
const NO_FIELDS: &str = "Mandatory argument FIELDS is missing or not at the right position";

/// `FIELDS numfields field [field ...]`, up to the end.
fn counted<'a>(args: &mut Args<'a>) -> Result<&'a [&'a [u8]], ReplyError> {
    if !args.option("FIELDS") {
        return Err(ReplyError::err(NO_FIELDS));
    }
    let count = args.word().ok().and_then(parse_int);
    let count = count.filter(|count| *count > 0);
    let count = count.ok_or(ReplyError::err(NOT_POSITIVE))?;
    let fields = args.rest();
    if usize::try_from(count) != Ok(fields.len()) {
        let why = "The `numfields` parameter must match the number of arguments";
        return Err(ReplyError::err(why));
    }
    Ok(fields)
}

/// `numfields field [field ...]`, behind which there may be more.
fn counted_in_any_place<'a>(args: &mut Args<'a>) -> Result<&'a [&'a [u8]], ReplyError> {
    if args.left() < 2 {
        let why = "FIELDS requires at least numfields and one field argument";
        return Err(ReplyError::err(why));
    }
    let count = args.word().ok().and_then(parse_int);
    let count = count.filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.and_then(|count| usize::try_from(count).ok());
    let wrong = "Parameter `numFields` should be greater than 0";
    let count = count.ok_or(ReplyError::err(wrong))?;
    let fields = args.words(count);
    fields.ok_or(ReplyError::err("wrong number of arguments"))
}

fn unknown_argument(word: &[u8]) -> ReplyError {
    let word = reply::shown_last(word);
    ReplyError::Other(format!("unknown argument: {word}").into())
}

/// Answers for each field: -2 if there is none, else what `answer` says of its expiry.
fn each<'a>(
    ctx: &mut Write<'_>,
    key: &[u8],
    fields: &[&'a [u8]],
    mut answer: impl FnMut(&mut Write<'_>, &'a [u8], Option<UnixMs>) -> Result<i64, ReplyError>,
) -> Outcome {
    let mut answers = Vec::with_capacity(fields.len());
    for field in fields {
        let hash = ctx.hash(key)?;
        let found = hash.and_then(|hash| hash.get_timed(field));
        answers.push(Reply::Int(match found.map(|(_, expiry)| expiry) {
            Some(expiry) => answer(ctx, field, expiry)?,
            None => -2,
        }));
    }
    Ok(Reply::Array(answers))
}

fn expiry_of(hash: &HashRef<'_>, field: &[u8]) -> Option<UnixMs> {
    hash.get_timed(field).and_then(|(_, expiry)| expiry)
}

/// Answers for each field: -2 if there is none, -1 if it does not expire, or what `show` says.
fn expiries(ctx: &Read<'_>, args: &mut Args<'_>, show: impl Fn(UnixMs) -> u64) -> Outcome {
    let hash = ctx.hash(args.word()?)?;
    let fields = counted(args)?;
    let answer = |field: &&[u8]| {
        let found = hash.as_ref().and_then(|hash| hash.get_timed(field));
        Reply::Int(match found.map(|(_, expiry)| expiry) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => i64::try_from(show(at)).unwrap_or(i64::MAX),
        })
    };
    Ok(Reply::Array(fields.iter().map(answer).collect()))
}

/// What HGETEX or HSETEX says of the expiries of its fields.
#[derive(Clone, Copy)]
enum Rule {
    /// PERSIST or KEEPTTL.
    Other,
    At(UnixMs),
}

/// A command with options before or behind its fields.
struct Command {
    name: &'static str,
    /// PERSIST or KEEPTTL.
    other: &'static str,
    /// Said of two rules for one expiry.
    one_rule: &'static str,
    /// Words for each field.
    width: usize,
}

const HGETEX: Command = Command {
    name: "hgetex",
    other: "PERSIST",
    one_rule: "Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
    width: 1,
};

const HSETEX: Command = Command {
    name: "hsetex",
    other: "KEEPTTL",
    one_rule: "Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
    width: 2,
};

/// The options, and the fields, perhaps with values.
struct Options<'a> {
    expiry: Option<Rule>,
    /// Whether all fields, or none, have to exist.
    present: Option<bool>,
    words: &'a [&'a [u8]],
}

impl<'a> Options<'a> {
    fn parse(args: &mut Args<'a>, now: UnixMs, command: &Command) -> Result<Self, ReplyError> {
        let mut options = Self {
            expiry: None,
            present: None,
            words: &[],
        };
        while args.left() > 0 {
            if args.option("FIELDS") {
                options.take_fields(args, command)?;
            } else if !options.take_rule(args, now, command)? {
                options.take_condition(args, command)?;
            }
        }
        if options.words.is_empty() {
            return Err(ReplyError::err("missing FIELDS argument"));
        }
        Ok(options)
    }

    fn take_fields(&mut self, args: &mut Args<'a>, command: &Command) -> Result<(), ReplyError> {
        if !self.words.is_empty() {
            return Err(ReplyError::err("multiple FIELDS arguments"));
        }
        let count = args.word().ok().and_then(parse_int);
        let count = count.filter(|count| (1..=i64::from(i32::MAX)).contains(count));
        let count = count.and_then(|count| usize::try_from(count).ok());
        let count = count.ok_or(ReplyError::err("invalid number of fields"))?;
        let words = args.words(count.saturating_mul(command.width));
        self.words = words.ok_or(ReplyError::err("wrong number of arguments"))?;
        Ok(())
    }

    fn take_rule(
        &mut self,
        args: &mut Args<'a>,
        now: UnixMs,
        command: &Command,
    ) -> Result<bool, ReplyError> {
        let rules = [
            ("EX", Some((Unit::Seconds, now))),
            ("PX", Some((Unit::Milliseconds, now))),
            ("EXAT", Some((Unit::Seconds, 0))),
            ("PXAT", Some((Unit::Milliseconds, 0))),
            (command.other, None),
        ];
        let Some((_, rule)) = rules.into_iter().find(|(name, _)| args.option(name)) else {
            return Ok(false);
        };
        if self.expiry.is_some() {
            return Err(ReplyError::err(command.one_rule));
        }
        self.expiry = Some(match rule {
            None => Rule::Other,
            Some(base) => {
                let amount = args.word();
                let amount = amount.map_err(|_| ReplyError::err("missing expire time"))?;
                Rule::At(moment(amount, base, command.name)?)
            }
        });
        Ok(true)
    }

    /// FNX or FXX, where fields are set.
    fn take_condition(&mut self, args: &mut Args<'a>, command: &Command) -> Result<(), ReplyError> {
        let conditions = [("FNX", false), ("FXX", true)];
        let sets = command.width == HSETEX.width;
        let given = conditions
            .into_iter()
            .find(|(name, _)| sets && args.option(name));
        let Some((_, present)) = given else {
            return Err(unknown_argument(args.word()?));
        };
        if self.present.is_some() {
            let why = "Only one of FXX or FNX arguments can be specified";
            return Err(ReplyError::err(why));
        }
        self.present = Some(present);
        Ok(())
    }
}
