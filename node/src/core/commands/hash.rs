//! Commands of family hash.

use std::collections::BTreeSet;
use std::sync::Arc;

use dht_proto::parts::{Blocks, Parts, Shape};
use dht_proto::{Reply, ReplyError, limits};

use super::{Copied, bulk, bulk_or_nil, remove_fields, scan, sum, values};
use crate::core::args::{Args, Pairs};
use crate::core::execute::Outcome;
use crate::core::keyspace::{Expiry, HashRef, LONG_FIELDS, Read, SharedHash, StringRef, Write};
use crate::core::long_double::{LongDouble, NoNumber};
use crate::core::notify::Class;
use crate::core::random::Random;

/// Random fields of a long hash that are drawn one by one; for more, all fields are listed.
const DRAWN_FIELDS: usize = LONG_FIELDS / 2;

/// HCAS: nothing is changed unless every field is as expected.
pub fn hcas<'a>(ctx: &mut Write<'_>, args: &mut Args<'a>) -> Outcome {
    let key = args.word()?;
    // Three words a field: two more are the option.
    let nil = if args.left() % 3 == 2 && args.option("NIL") {
        Some(args.word()?)
    } else {
        None
    };
    let (changes, rest) = args.rest().as_chunks::<3>();
    if changes.is_empty() || !rest.is_empty() {
        return Err(ReplyError::Arity("hcas".into()));
    }
    let value = |word: &'a [u8]| (Some(word) != nil).then_some(word);
    let mut fields = BTreeSet::new();
    let (mut pairs, mut gone) = (Pairs::new(), Vec::new());
    let hash = ctx.hash(key)?;
    let mut is_as_expected = true;
    for [field, expected, new] in changes {
        if !fields.insert(*field) {
            return Err(ReplyError::err("a field is given twice"));
        }
        let found = hash.as_ref().and_then(|hash| hash.get(field));
        is_as_expected &= found.as_ref().map(StringRef::bytes) == value(expected);
        match value(new) {
            Some(new) => pairs.push((*field, new)),
            None => gone.push(*field),
        }
    }
    if !is_as_expected {
        return Ok(Reply::flag(false));
    }
    ctx.hash_put(key, &pairs, Expiry::Keep)?;
    if !pairs.is_empty() {
        ctx.note(Class::Hash, "hset", key);
    }
    remove_fields(ctx, key, &gone)?;
    Ok(Reply::flag(true))
}

/// HDEL.
pub fn hdel(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, fields) = (args.word()?, args.rest());
    Ok(Reply::count(remove_fields(ctx, key, fields)?))
}

/// HEXISTS.
pub fn hexists(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    with_field(ctx, args, |value| Reply::flag(value.is_some()))
}

/// HGET.
pub fn hget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    with_field(ctx, args, bulk_or_nil)
}

/// HGETALL.
pub fn hgetall(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let pair = |(field, value): (&[u8], StringRef<'_>)| (Reply::bulk(field), bulk(&value));
    each_field(ctx, args, pair)
}

/// HINCRBY.
pub fn hincrby(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, field, increment) = (args.word()?, args.word()?, args.int()?);
    let hash = ctx.hash(key)?;
    let stored = hash.as_ref().and_then(|hash| hash.get(field));
    let after = sum(stored, increment, ReplyError::HashNotInteger)?;
    let mut text = itoa::Buffer::new();
    let pair = (field, text.format(after).as_bytes());
    ctx.hash_put(key, &[pair], Expiry::Keep)?;
    ctx.note(Class::Hash, "hincrby", key);
    Ok(Reply::Int(after))
}

/// HINCRBYFLOAT.
pub fn hincrbyfloat(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, field, increment) = (args.word()?, args.word()?, args.word()?);
    let increment = LongDouble::parse(increment).map_err(|why| match why {
        NoNumber::Unreadable => ReplyError::NotFloat,
        NoNumber::Infinite => ReplyError::err("value is NaN or Infinity"),
    })?;
    let hash = ctx.hash(key)?;
    let before = match hash.as_ref().and_then(|hash| hash.get(field)) {
        Some(value) => LongDouble::parse(value.bytes()).map_err(|why| match why {
            NoNumber::Unreadable => ReplyError::HashNotFloat,
            NoNumber::Infinite => ReplyError::NanOrInfinity,
        })?,
        None => LongDouble::ZERO,
    };
    let after = before
        .checked_add(increment)
        .ok_or(ReplyError::NanOrInfinity)?;
    let text = after.to_string();
    ctx.hash_put(key, &[(field, text.as_bytes())], Expiry::Keep)?;
    ctx.note(Class::Hash, "hincrbyfloat", key);
    Ok(Reply::bulk(text))
}

/// HKEYS.
pub fn hkeys(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    each_field(ctx, args, |(field, _)| Reply::bulk(field))
}

/// HLEN.
pub fn hlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let Some(hash) = ctx.hash(args.word()?)? else {
        return Ok(Reply::count(0));
    };
    if hash.stored() > LONG_FIELDS
        && hash.has_due()
        && let Some(fields) = hash.share()
    {
        return Ok(ctx.leave(fields.bytes(), move || Reply::count(fields.count())));
    }
    Ok(Reply::count(hash.len()))
}

/// HMGET.
pub fn hmget(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let hash = ctx.hash(args.word()?)?;
    let value = |field: &&[u8]| hash.as_ref().and_then(|hash| hash.get(field));
    values(args.rest().iter().map(value))
}

/// HMSET.
pub fn hmset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    set_fields(ctx, args, "hmset").map(|_| Reply::Ok)
}

/// HRANDFIELD.
pub fn hrandfield(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let key = args.word()?;
    if args.left() == 0 {
        let hash = ctx.hash(key)?;
        let wish = Wish {
            count: 1,
            distinct: true,
            with_values: false,
        };
        let field = |found: Vec<(Reply, Reply)>| found.into_iter().next().map(|(field, _)| field);
        return Ok(match hash {
            Some(hash) => random_fields(ctx, &hash, wish, move |found| {
                field(found).unwrap_or(Reply::Nil)
            }),
            None => Reply::Nil,
        });
    }
    let count = args.int()?;
    if count == i64::MIN {
        return Err(ReplyError::Other(
            format!(
                "value is out of range, value must between {} and {}",
                -i64::MAX,
                i64::MAX
            )
            .into(),
        ));
    }
    let with_values = args.option("WITHVALUES");
    args.finish()?;
    if with_values && count.unsigned_abs() > (i64::MAX / 2) as u64 {
        return Err(ReplyError::err("value is out of range"));
    }
    let wish = Wish {
        count: usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
        distinct: count >= 0,
        with_values,
    };
    let hash = ctx.hash(key)?;
    if !wish.distinct && wish.count > limits::ARGUMENTS {
        return Err(ReplyError::err("value is out of range"));
    }
    Ok(match hash.filter(|_| count != 0) {
        Some(hash) => random_fields(ctx, &hash, wish, move |found| wish.answer(found)),
        None => Reply::Array(Vec::new()),
    })
}

/// How many random fields are asked for.
#[derive(Clone, Copy)]
struct Wish {
    count: usize,
    /// No field twice, so perhaps fewer.
    distinct: bool,
    with_values: bool,
}

impl Wish {
    fn answer(self, found: Vec<(Reply, Reply)>) -> Reply {
        if self.with_values {
            return Reply::Pairs(found);
        }
        Reply::Array(found.into_iter().map(|(field, _)| field).collect())
    }

    /// Chooses among all fields.
    fn choose<'f>(
        self,
        fields: impl Iterator<Item = (&'f [u8], StringRef<'f>)>,
        random: &mut Random,
    ) -> Result<Vec<(Reply, Reply)>, ReplyError> {
        let mut all: Vec<_> = fields.collect();
        let mut copied = Copied::default();
        let mut reply = |(field, value): &(&[u8], StringRef<'_>)| {
            copied.add(field.len())?;
            copied.add(value.copied_bytes())?;
            Ok((Reply::bulk(field), bulk(value)))
        };
        if all.is_empty() {
            return Ok(Vec::new());
        }
        if !self.distinct {
            let mut draw = || &all[random.below(all.len() as u64) as usize];
            return (0..self.count).map(|_| reply(draw())).collect();
        }
        let count = self.count.min(all.len());
        for chosen in 0..count {
            let other = random.below((all.len() - chosen) as u64) as usize;
            all.swap(chosen, chosen + other);
        }
        all[..count].iter().map(reply).collect()
    }
}

/// Random fields: of a long hash once its slot is locked no more, unless they are few.
fn random_fields(
    ctx: &Read<'_>,
    hash: &HashRef<'_>,
    wish: Wish,
    answer: impl Fn(Vec<(Reply, Reply)>) -> Reply + Send + Sync + 'static,
) -> Reply {
    let mut random = ctx.random();
    if hash.stored() <= LONG_FIELDS {
        let chosen = wish.choose(hash.iter(), &mut random);
        return chosen.map_or_else(Reply::Error, answer);
    }
    if wish.count <= DRAWN_FIELDS
        && let Some(found) = draw(hash, wish, &mut random)
    {
        return answer(found);
    }
    let seed = random.next();
    match hash.share() {
        Some(fields) => ctx.leave(fields.bytes(), move || {
            let mut random = Random::new(seed);
            let chosen = wish.choose(fields.iter(), &mut random);
            chosen.map_or_else(Reply::Error, &answer)
        }),
        None => answer(Vec::new()),
    }
}

/// Draws fields one by one; nothing when it meets too many that are due, or that it has already.
fn draw(hash: &HashRef<'_>, wish: Wish, random: &mut Random) -> Option<Vec<(Reply, Reply)>> {
    let mut found = Vec::with_capacity(wish.count);
    let mut names = BTreeSet::new();
    for _ in 0..64 + 4 * wish.count {
        if found.len() == wish.count {
            return Some(found);
        }
        let Some((field, value)) = hash.draw(random) else {
            continue;
        };
        if !wish.distinct || names.insert(field) {
            found.push((Reply::bulk(field), bulk(&value)));
        }
    }
    None
}

/// HSCAN.
pub fn hscan(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, cursor) = (args.word()?, args.cursor()?);
    // As in Redis, the options of a call about no hash are not looked at.
    let Some(hash) = ctx.hash(key)? else {
        return Ok(scan::page(0, Vec::new()));
    };
    let options = scan::Options::parse(args, scan::Of::Fields)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, &mut |field, value| {
        if options.matches(field) {
            found.push(Reply::bulk(field));
            if !options.names_only {
                found.push(bulk(&value));
            }
        }
    });
    Ok(scan::page(next, found))
}

/// HSET.
pub fn hset(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    set_fields(ctx, args, "hset").map(Reply::count)
}

/// HSETNX.
pub fn hsetnx(ctx: &mut Write<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, field, value) = (args.word()?, args.word()?, args.word()?);
    let hash = ctx.hash(key)?;
    if hash.is_some_and(|hash| hash.get(field).is_some()) {
        return Ok(Reply::flag(false));
    }
    ctx.hash_set(key, &[(field, value)])?;
    ctx.note(Class::Hash, "hset", key);
    Ok(Reply::flag(true))
}

/// HSTRLEN.
pub fn hstrlen(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    with_field(ctx, args, |value| {
        Reply::count(value.map_or(0, |value| value.bytes().len()))
    })
}

/// HVALS.
pub fn hvals(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    each_field(ctx, args, |(_, value)| bulk(&value))
}

/// Sets `field value …`; gives how many fields are new.
fn set_fields(
    ctx: &mut Write<'_>,
    args: &mut Args<'_>,
    command: &'static str,
) -> Result<usize, ReplyError> {
    let key = args.word()?;
    let pairs = args.pairs(command)?;
    let added = ctx.hash_set(key, &pairs)?;
    ctx.note(Class::Hash, "hset", key);
    Ok(added)
}

/// Answers from the value of the field `key field`.
fn with_field(
    ctx: &Read<'_>,
    args: &mut Args<'_>,
    answer: impl FnOnce(Option<StringRef<'_>>) -> Reply,
) -> Outcome {
    let (key, field) = (args.word()?, args.word()?);
    let hash = ctx.hash(key)?;
    Ok(answer(hash.as_ref().and_then(|hash| hash.get(field))))
}

/// What a reply has of each field.
trait Entry: Sized + 'static {
    /// What the fields are together.
    const SHAPE: Shape;
    /// Appends the items of one.
    fn push(self, into: &mut Vec<Reply>);
    /// The reply with all of them.
    fn list(all: Vec<Self>) -> Reply;
}

impl Entry for Reply {
    const SHAPE: Shape = Shape::Array;

    fn push(self, into: &mut Vec<Reply>) {
        into.push(self);
    }

    fn list(all: Vec<Self>) -> Reply {
        Self::Array(all)
    }
}

impl Entry for (Reply, Reply) {
    const SHAPE: Shape = Shape::Map;

    fn push(self, into: &mut Vec<Reply>) {
        into.extend([self.0, self.1]);
    }

    fn list(all: Vec<Self>) -> Reply {
        Reply::Map(all)
    }
}

/// Makes an entry of a field and its value.
type Take<T> = fn((&[u8], StringRef<'_>)) -> T;

/// The fields of a long hash as parts of a reply.
struct Fields<T> {
    of: SharedHash,
    take: Take<T>,
}

impl<T: Entry> Blocks for Fields<T> {
    fn block(&self, index: usize) -> Option<Vec<Reply>> {
        let mut items = Vec::new();
        let entries = self.of.chunk(index)?.map(self.take);
        entries.for_each(|entry| entry.push(&mut items));
        Some(items)
    }

    fn kept(&self) -> usize {
        self.of.kept()
    }
}

/// Answers from every field of the hash `key`: of a long one as the reply is written.
fn each_field<T: Entry>(ctx: &Read<'_>, args: &mut Args<'_>, take: Take<T>) -> Outcome {
    let Some(hash) = ctx.hash(args.word()?)? else {
        return Ok(T::list(Vec::new()));
    };
    if hash.stored() > LONG_FIELDS
        && let Some(of) = hash.share()
    {
        let fields = Arc::new(Fields { of, take });
        let width = if T::SHAPE == Shape::Map { 2 } else { 1 };
        return Ok(ctx.leave(fields.of.bytes(), move || {
            let items = width * fields.of.count();
            Reply::Parts(Parts::new(T::SHAPE, items, fields.clone()))
        }));
    }
    Ok(T::list(hash.iter().map(take).collect()))
}
