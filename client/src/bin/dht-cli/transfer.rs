//! `dht-cli import` and `export`: copies the keyspace of one server or cluster into another.
//!
//! Strings and hashes go with their times to live, those of fields too where both sides know such;
//! keys of other types are counted and left. What was done is kept in a file, if one is named, so
//! that an interrupted copy goes on where it was. At the end the counts, and some values, are
//! compared with what the source has.

mod kept;
mod verify;

use std::path::PathBuf;

use bytes::Bytes;
use clap::Parser;
use dht_client::{Client, Command, Error, FromReply, Reply, ScanOptions, Scheme, Target};

use self::kept::{Copy, Counts, Kept, url};
use crate::modes::Stop;
use crate::progress::Bar;
use crate::put::{Entry, Fields, Life, Value, put};
use crate::say::complain;
use crate::{Outcome, status};

/// Fields of a hash that are asked about together.
const FIELDS: usize = 500;
/// Keys looked at together.
const KEYS: u64 = 200;
/// What PTTL and HPTTL say of what is not there, or not any more.
const GONE: i64 = -2;

/// What to copy.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(disable_help_flag = true, no_binary_name = false)]
pub struct Options {
    /// redis://, rediss://, redis-cluster:// or dht://: the other side
    #[arg(value_name = "URL")]
    pub url: String,
    /// Only keys that match this pattern
    #[arg(long, value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Where to keep how far it has come; it goes on there if the file exists
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// A side of a copy.
pub struct Side<'a> {
    /// Where it is.
    pub target: &'a Target,
    /// Who speaks with it.
    pub client: &'a Client,
}

/// Copies everything from one side to the other.
///
/// # Errors
/// See [`Stop`].
pub async fn run(
    direction: &str,
    from: Side<'_>,
    to: Side<'_>,
    options: &Options,
) -> Result<Outcome, Stop> {
    let copy = Copy {
        direction: direction.to_owned(),
        from: url(from.target),
        to: url(to.target),
        pattern: options.pattern.clone(),
    };
    let mut kept = Kept::new(copy, running(&from).await?);
    if let Some(file) = &options.resume
        && kept.resume(file)?
    {
        complain!("the source has been started again meanwhile, so everything is copied anew");
    }
    let (from, to) = (from.client, to.client);
    copy_all(from, to, options, &mut kept).await?;
    let outcome = verify::verify((from, to), &kept.counts, options.pattern.as_deref()).await?;
    if let Some(file) = &options.resume {
        // There is none when it was all one page.
        let _ = std::fs::remove_file(file);
    }
    Ok(outcome)
}

/// Copies page by page, from where it was.
async fn copy_all(
    from: &Client,
    to: &Client,
    options: &Options,
    kept: &mut Kept,
) -> Result<(), Stop> {
    let scan = ScanOptions {
        pattern: options.pattern.clone(),
        count: Some(KEYS),
    };
    // Nobody knows how many keys match a pattern.
    let bar = match options.pattern {
        Some(_) => Bar::open("keys", kept.counts.seen()),
        None => Bar::new(from.dbsize().await?, "keys").since(kept.counts.seen()),
    };
    let reads_lives = knows_lives(from).await?;
    loop {
        let (next, keys) = from.scan(kept.cursor, &scan).await?;
        take((from, to), keys, reads_lives, &mut kept.counts).await?;
        kept.cursor = next;
        bar.show(kept.counts.seen())?;
        if next == 0 {
            return Ok(());
        }
        if let Some(file) = &options.resume {
            kept.keep(file)?;
        }
    }
}

/// Which run of which servers a cursor of SCAN is of. Those of nodes of dht are the same in all
/// runs, and on all nodes; a server of Redis begins each with another order.
async fn running(side: &Side<'_>) -> Result<String, Error> {
    let Side { target, client } = side;
    let run_of = |info: String| {
        let line = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        line.unwrap_or("unknown").to_owned()
    };
    if matches!(target.scheme, Scheme::Redis | Scheme::RedisTls) {
        return Ok(run_of(client.info(["server"]).await?));
    }
    let rows = status::nodes(client.run(Command::new("CLUSTER NODES")).await?)?;
    let mut runs = Vec::new();
    for row in rows.iter().filter(|row| row.slots() > 0) {
        if target.scheme == Scheme::Dht {
            runs.push(row.id.clone());
            continue;
        }
        let info = Command::from_words(["INFO", "server"]);
        let info = client.node(&row.redirect).run(info).await?;
        runs.push(run_of(String::from_reply(info)?));
    }
    runs.sort_unstable();
    Ok(runs.join(" "))
}

/// Those of some keys that are of types that can be copied.
async fn keys_known(from: &Client, keys: Vec<Bytes>) -> Result<Vec<Bytes>, Error> {
    let kinds = keys
        .iter()
        .fold(from.pipeline(), |all, key| all.key_type(key));
    let kinds = kinds.send().await.into_iter();
    let mut known = Vec::new();
    for (key, kind) in keys.into_iter().zip(kinds) {
        if ["string", "hash"].contains(&&*String::from_reply(kind?)?) {
            known.push(key);
        }
    }
    Ok(known)
}

/// Copies the keys of a page.
async fn take(
    (from, to): (&Client, &Client),
    keys: Vec<Bytes>,
    reads_lives: bool,
    counts: &mut Counts,
) -> Result<(), Error> {
    let mut entries = read(from, keys, counts).await?;
    if reads_lives {
        read_lives(from, &mut entries).await?;
    }
    // A hash without fields went meanwhile.
    let named = entries.len();
    entries.retain(|entry| !matches!(&entry.value, Value::Fields(fields) if fields.is_empty()));
    counts.gone += (named - entries.len()) as u64;
    put(to, &entries, &mut counts.undying).await?;
    for entry in entries {
        counts.note(&entry.key);
    }
    Ok(())
}

/// Reads keys, and counts those that cannot be.
async fn read(from: &Client, keys: Vec<Bytes>, counts: &mut Counts) -> Result<Vec<Entry>, Error> {
    let questions = keys
        .iter()
        .fold(from.pipeline(), |all, key| all.key_type(key).pttl(key));
    let mut answers = questions.send().await.into_iter();
    let mut reads = from.pipeline();
    let mut known = Vec::new();
    for key in keys {
        let (Some(kind), Some(ttl)) = (answers.next(), answers.next()) else {
            break;
        };
        let (kind, ttl) = (String::from_reply(kind?)?, i64::from_reply(ttl?)?);
        reads = match &*kind {
            // It went between the two questions, or before.
            _ if ttl == GONE => {
                counts.gone += 1;
                continue;
            }
            "string" => reads.get(&key),
            "hash" => reads.hgetall(&key),
            _ => {
                *counts.left.entry(kind).or_default() += 1;
                continue;
            }
        };
        known.push((key, ttl));
    }
    let mut entries = Vec::new();
    for ((key, ttl), value) in known.into_iter().zip(reads.send().await) {
        let value = match value? {
            Reply::Bulk(value) => Value::String(value),
            // It has expired meanwhile.
            Reply::Nil => {
                counts.gone += 1;
                continue;
            }
            fields => {
                let fields = <Vec<(Bytes, Bytes)>>::from_reply(fields)?.into_iter();
                Value::Fields(fields.map(|(field, value)| (field, value, None)).collect())
            }
        };
        entries.push(Entry {
            key,
            expiry: life(ttl),
            value,
            clears: true,
        });
    }
    Ok(entries)
}

/// What is left of something that lives for so many milliseconds, or without end.
fn life(ttl: i64) -> Option<Life> {
    // What is due this very millisecond is so in the next one.
    let ms = u64::try_from(ttl).ok()?;
    Some(Life::In(ms.max(1)))
}

/// Whether a server knows that fields expire.
async fn knows_lives(server: &Client) -> Result<bool, Error> {
    let known = server.command_info(["HPTTL"]).await?;
    let known = <Vec<Reply>>::from_reply(known)?;
    Ok(known
        .iter()
        .any(|info| !matches!(info, Reply::Nil | Reply::NilArray)))
}

/// Asks when the fields of hashes expire.
async fn read_lives(from: &Client, entries: &mut [Entry]) -> Result<(), Error> {
    let mut questions = from.pipeline();
    for entry in &*entries {
        if let Value::Fields(fields) = &entry.value {
            for chunk in fields.chunks(FIELDS) {
                questions = questions.hpttl(&entry.key, chunk.iter().map(|(field, _, _)| field));
            }
        }
    }
    let mut answers = questions.send().await.into_iter();
    for entry in entries {
        let Value::Fields(fields) = &mut entry.value else {
            continue;
        };
        let mut lives: Vec<i64> = Vec::with_capacity(fields.len());
        for chunk in fields.chunks(FIELDS) {
            match answers.next() {
                Some(Ok(told)) => lives.extend(<Vec<i64>>::from_reply(told)?),
                // It has become a string meanwhile: none of its fields is there any more.
                Some(Err(Error::Reply(_))) | None => lives.extend(chunk.iter().map(|_| GONE)),
                Some(Err(error)) => return Err(error),
            }
        }
        *fields = alive(std::mem::take(fields), lives);
    }
    Ok(())
}

/// Those of the fields that are still there, with what PTTL or HPTTL says of each.
fn alive(fields: Fields, lives: Vec<i64>) -> Fields {
    let told = fields.into_iter().zip(lives);
    let there = told.filter(|(_, ttl)| *ttl != GONE);
    let timed = there.map(|((field, value, _), ttl)| (field, value, life(ttl)));
    timed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_went_meanwhile_is_left_out() {
        let names = ["stays", "gone", "expires", "due"];
        let fields = names.map(|name| (Bytes::from(name), Bytes::from("v"), None));
        let left = alive(fields.into(), vec![-1, GONE, 7, 0]);
        let left: Vec<_> = left
            .iter()
            .map(|(field, _, life)| (&**field, *life))
            .collect();
        assert_eq!(
            left,
            [
                (&b"stays"[..], None),
                (b"expires", Some(Life::In(7))),
                (b"due", Some(Life::In(1))),
            ]
        );
    }
}
