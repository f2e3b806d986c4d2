//! Writes keys as they are elsewhere: values, the expiries of keys and those of fields.
//!
//! A command that could not be executed at once is sent again behind the others of its pipeline; so
//! what has to come before something else is sent, and answered, before.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use dht_client::{Client, Command, Error, Pipeline};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::say::say;

/// Fields of a hash in one command, and their bytes, about.
const FIELDS: usize = 500;
const FIELD_BYTES: usize = 1024 * 1024;

/// When something expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// So many milliseconds from now.
    In(u64),
    /// At this Unix time, in milliseconds.
    At(u64),
}

/// A field, its value and expiry.
pub type Field = (Bytes, Bytes, Option<Life>);

/// Some of them.
pub type Fields = Vec<Field>;

/// A key, or a part of a large hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// When it expires; of a part that is not the last, never.
    pub expiry: Option<Life>,
    /// What it holds.
    pub value: Value,
    /// What is there goes first, so that no field of it is left.
    pub clears: bool,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    String(Bytes),
    /// A hash, or some of its fields.
    Fields(Fields),
}

impl Entry {
    /// Its bytes, about.
    pub fn bytes(&self) -> usize {
        let value = match &self.value {
            Value::String(value) => value.len(),
            Value::Fields(fields) => fields
                .iter()
                .map(|(field, value, _)| field.len() + value.len())
                .sum(),
        };
        self.key.len() + value
    }
}

/// Fields whose expiries the other side did not take, and what it said of the last.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    fields: u64,
    why: Option<String>,
}

impl Refused {
    /// Says so, if there are any.
    pub fn told(&self) -> io::Result<Outcome> {
        let Self { fields, why } = self;
        let Some(why) = why else {
            return Ok(Outcome::Done);
        };
        say!("{fields} fields do not expire, as they should: the other side says '{why}'")?;
        Ok(Outcome::ErrorReply)
    }
}

/// Writes keys. Where the other side does not know that fields expire, they stay.
///
/// # Errors
/// The first that there was; some of the keys may be written.
pub async fn put(to: &Client, entries: &[Entry], refused: &mut Refused) -> Result<(), Error> {
    let clears = |entry: &&Entry| entry.clears && matches!(entry.value, Value::Fields(_));
    let cleared = entries.iter().filter(clears);
    done(cleared.fold(to.pipeline(), |all, entry| all.unlink([&entry.key]))).await?;
    done(entries.iter().fold(to.pipeline(), value)).await?;

    let (mut commands, mut fields_of) = (Vec::new(), Vec::new());
    for entry in entries {
        let Value::Fields(fields) = &entry.value else {
            continue;
        };
        for (life, fields) in lives(fields) {
            fields_of.push(fields.len());
            commands.push(fields_expire(&entry.key, life, &fields));
        }
        if let Some(life) = entry.expiry {
            fields_of.push(0);
            commands.push(expire(&entry.key, life));
        }
    }
    let last = commands.into_iter().fold(to.pipeline(), Pipeline::command);
    for (result, fields) in last.send().await.into_iter().zip(fields_of) {
        match result {
            Err(why) if fields > 0 && is_unknown(&why) => {
                refused.fields += fields as u64;
                refused.why = Some(why.to_string());
            }
            result => drop(result?),
        }
    }
    Ok(())
}

/// Whether the other side says that it has no such command. Nothing but the text tells that from
/// other errors, after which a field may not stay for ever.
fn is_unknown(error: &Error) -> bool {
    let reply = error.reply();
    reply.is_some_and(|reply| reply.to_string().starts_with("ERR unknown command"))
}

async fn done(pipeline: Pipeline<'_>) -> Result<(), Error> {
    let results = pipeline.send().await;
    results.into_iter().try_for_each(|result| result.map(drop))
}

/// Sets the value of a key; of a string the expiry too.
fn value<'a>(all: Pipeline<'a>, entry: &Entry) -> Pipeline<'a> {
    let key = &entry.key;
    match &entry.value {
        Value::String(value) => {
            let set = Command::new("SET").arg(key).arg(value);
            all.command(match entry.expiry {
                Some(Life::In(ms)) => set.arg("PX").arg(ms),
                Some(Life::At(ms)) => set.arg("PXAT").arg(ms),
                None => set,
            })
        }
        Value::Fields(fields) => portions(fields).fold(all, |all, fields| {
            let set = Command::new("HSET").arg(key);
            let fields = fields.iter();
            all.command(fields.fold(set, |set, (field, value, _)| set.arg(field).arg(value)))
        }),
    }
}

fn expire(key: &Bytes, life: Life) -> Command {
    match life {
        Life::In(ms) => Command::new("PEXPIRE").arg(key).arg(ms),
        Life::At(ms) => Command::new("PEXPIREAT").arg(key).arg(ms),
    }
}

fn fields_expire(key: &Bytes, life: Life, fields: &[&Bytes]) -> Command {
    let command = match life {
        Life::In(ms) => Command::new("HPEXPIRE").arg(key).arg(ms),
        Life::At(ms) => Command::new("HPEXPIREAT").arg(key).arg(ms),
    };
    let command = command.arg("FIELDS").arg(fields.len() as u64);
    fields.iter().fold(command, |all, field| all.arg(*field))
}

/// Fields that are written together: not too many, and not too long.
fn portions(mut fields: &[Field]) -> impl Iterator<Item = &[Field]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(field, value, _): &&Field| {
            let is_first = bytes == 0;
            bytes += field.len() + value.len() + 1;
            is_first || bytes <= FIELD_BYTES
        };
        let count = fields.iter().take(FIELDS).take_while(fits).count();
        let (portion, rest) = fields.split_at(count);
        fields = rest;
        (count > 0).then_some(portion)
    })
}

/// Fields that expire, those together that expire at the same time, and not too many of them.
fn lives(fields: &[Field]) -> Vec<(Life, Vec<&Bytes>)> {
    let mut together: BTreeMap<Life, Vec<&Bytes>> = BTreeMap::new();
    for (field, _, life) in fields {
        if let Some(life) = life {
            together.entry(*life).or_default().push(field);
        }
    }
    let portions = together.into_iter().flat_map(|(life, fields)| {
        let portions = fields.chunks(FIELDS).map(<[_]>::to_vec);
        portions.map(|fields| (life, fields)).collect::<Vec<_>>()
    });
    portions.collect()
}

#[cfg(test)]
mod tests {
    use dht_client::{Cause, ReplyError};

    use super::*;

    fn fields(count: usize, bytes: usize, life: impl Fn(usize) -> Option<Life>) -> Fields {
        let field = |n: usize| (Bytes::from(n.to_string()), vec![0; bytes].into(), life(n));
        (0..count).map(field).collect()
    }

    #[test]
    fn no_command_is_too_long() {
        let check = |count, bytes, expect: &[usize]| {
            let fields = fields(count, bytes, |_| None);
            let counts: Vec<usize> = portions(&fields).map(<[_]>::len).collect();
            assert_eq!(counts, expect, "{count} of {bytes}");
        };
        check(0, 1, &[]);
        check(1, 0, &[1]);
        check(1001, 0, &[500, 500, 1]);
        check(3, 2 * FIELD_BYTES, &[1, 1, 1]);
        check(5, FIELD_BYTES / 2 - 10, &[2, 2, 1]);
    }

    #[test]
    fn only_a_command_that_is_not_known_leaves_fields_without_expiry() {
        let check = |error: &str, expect| {
            let error = Error::Reply(ReplyError::Received(error.to_owned()));
            assert_eq!(is_unknown(&error), expect, "{error}");
        };
        check(
            "ERR unknown command 'HPEXPIRE', with args beginning with: 'k'",
            true,
        );
        check("ERR unknown command `HPEXPIREAT`", true);
        check(
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            false,
        );
        check("ERR invalid expire time in 'hpexpire' command", false);
        check(
            "NOPERM this user has no permissions to run 'hpexpire'",
            false,
        );
        assert!(!is_unknown(&Error::Unknown(Cause::Deadline)));
    }

    #[test]
    fn fields_that_expire_together_are_told_together() {
        let life = |n| (n % 3 > 0).then_some(Life::At(n as u64 % 3));
        let fields = fields(1800, 1, life);
        let told: Vec<(Life, usize)> = lives(&fields)
            .into_iter()
            .map(|(life, fields)| (life, fields.len()))
            .collect();
        let (one, two) = (Life::At(1), Life::At(2));
        assert_eq!(told, [(one, 500), (one, 100), (two, 500), (two, 100)]);
    }
}
