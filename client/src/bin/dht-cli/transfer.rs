//! `dht-cli import` and `export`: copies the keyspace of one server or cluster into another.
//!
//! Strings and hashes go with their times to live, those of fields too where both sides know such;
//! keys of other types are counted and left. What was done is kept in a file, if one is named, so
//! that an interrupted copy goes on where it was.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Parser;
use dht_client::{Client, Error, FromReply, Reply, ScanOptions};
use dht_proto::resp::quoted;

use crate::Outcome;
use crate::modes::Stop;
use crate::progress::Bar;
use crate::put::{Entry, Fields, Life, Refused, Value, put};

/// Fields of a hash that are asked about together.
const FIELDS: usize = 500;
/// Keys looked at together, and as many are compared at the end.
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

/// What has been done.
#[derive(Debug, Default)]
struct Tally {
    copied: u64,
    left: BTreeMap<String, u64>,
    /// It is asked when fields expire.
    reads_lives: bool,
    refused: Refused,
    /// Keys to be compared.
    samples: Vec<Bytes>,
}

/// Copies everything from one side to the other.
///
/// # Errors
/// See [`Stop`].
pub async fn run(from: &Client, to: &Client, options: &Options) -> Result<Outcome, Stop> {
    let total = from.dbsize().await?;
    let mut cursor = match &options.resume {
        Some(file) => begun(file)?,
        None => 0,
    };
    let scan = ScanOptions {
        pattern: options.pattern.clone(),
        count: Some(KEYS),
    };
    let bar = Bar::new(total, "keys");
    let mut tally = Tally {
        reads_lives: knows_lives(from).await?,
        ..Tally::default()
    };
    loop {
        let (next, keys) = from.scan(cursor, &scan).await?;
        tally.take(from, to, keys).await?;
        cursor = next;
        bar.show(tally.seen())?;
        if cursor == 0 {
            break;
        }
        if let Some(file) = &options.resume {
            keep(file, cursor)?;
        }
    }
    if let Some(file) = &options.resume {
        // There is none when it was all one page.
        let _ = std::fs::remove_file(file);
    }
    drop(bar);
    tally.verify(from, to).await
}

/// Keeps how far a copy has come: whenever it is ended, the file says either this or what it said
/// before.
fn keep(file: &Path, cursor: u64) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, cursor.to_string())?;
    std::fs::rename(new, file)
}

/// Where an earlier copy was, if there was one.
fn begun(file: &PathBuf) -> io::Result<u64> {
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(|_| {
            io::Error::other(format!(
                "{} does not say how far a copy has come",
                file.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

impl Tally {
    fn seen(&self) -> u64 {
        self.copied + self.left.values().sum::<u64>()
    }

    /// Copies the keys of a page.
    async fn take(&mut self, from: &Client, to: &Client, keys: Vec<Bytes>) -> Result<(), Error> {
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
                _ if ttl == GONE => continue,
                "string" => reads.get(&key),
                "hash" => reads.hgetall(&key),
                _ => {
                    *self.left.entry(kind).or_default() += 1;
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
                Reply::Nil => continue,
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
        if self.reads_lives {
            read_lives(from, &mut entries).await?;
        }
        // A hash without fields went meanwhile.
        entries.retain(|entry| !matches!(&entry.value, Value::Fields(fields) if fields.is_empty()));
        put(to, &entries, &mut self.refused).await?;
        for entry in entries {
            self.copied += 1;
            if self.copied.is_power_of_two() || self.copied.is_multiple_of(KEYS) {
                self.samples.push(entry.key);
            }
        }
        Ok(())
    }

    /// Compares what is on both sides of some of the keys, and says how it went.
    async fn verify(self, from: &Client, to: &Client) -> Result<Outcome, Stop> {
        let (mut equal, mut differ) = (0, Vec::new());
        let count = self.samples.len();
        for key in self.samples {
            if value(from, &key).await? == value(to, &key).await? {
                equal += 1;
            } else {
                differ.push(key);
            }
        }
        println!("{} keys copied", self.copied);
        for (kind, keys) in &self.left {
            println!("{keys} keys left: type {kind}, which is not known here");
        }
        println!("{equal} of {count} keys compared are equal");
        for key in &differ {
            println!("differs: {}", quoted(key));
        }
        println!("keys there now: {}", to.dbsize().await?);
        let told = self.refused.told();
        Ok(match differ.is_empty() {
            true => told,
            false => Outcome::ErrorReply,
        })
    }
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

/// A value, its fields in an order of their own.
async fn value(client: &Client, key: &Bytes) -> Result<Vec<(Bytes, Bytes)>, Error> {
    match client.hgetall(key).await {
        Ok(mut fields) => {
            fields.sort();
            Ok(fields)
        }
        Err(Error::Reply(_)) => {
            let value = client.get(key).await?;
            Ok(value
                .map(|value| (Bytes::new(), value))
                .into_iter()
                .collect())
        }
        Err(error) => Err(error),
    }
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
