//! Whether a copy is whole: the counts against what the source has, and values of some keys of all
//! of it against those on the other side.

use std::collections::BTreeSet;

use bytes::Bytes;
use dht_client::{Client, Command, Error, FromReply, Reply};
use dht_proto::resp::quoted;

use super::kept::Counts;
use super::keys_known;
use crate::Outcome;
use crate::modes::Stop;
use crate::say::say;

/// So many keys are asked for at random, of all that the source has.
const RANDOM: usize = 200;
/// Keys that are not as they should be are named up to so many.
const NAMED: usize = 20;

/// Says what was done, and compares.
///
/// # Errors
/// See [`Stop`].
pub async fn verify(
    (from, to): (&Client, &Client),
    counts: &Counts,
    pattern: Option<&str>,
) -> Result<Outcome, Stop> {
    say!("{} keys copied", counts.copied)?;
    for (kind, keys) in &counts.left {
        say!("{keys} keys left: type {kind}, which is not known here")?;
    }
    if counts.gone > 0 {
        say!(
            "{} keys expired or were deleted before they were read",
            counts.gone
        )?;
    }
    let mut keys: BTreeSet<Bytes> = counts.samples().collect();
    // Whether one of those matches a pattern is not known here.
    if pattern.is_none() {
        keys.extend(at_random(from).await?);
    }
    let compared = compare(from, to, &keys).await?;
    let mut outcome = compared.say()?;
    if pattern.is_none() {
        let there = from.dbsize().await?;
        let seen = counts.seen();
        if there > seen {
            say!(
                "not whole: the source has {there} keys, and only {seen} were seen; keys were \
                 added meanwhile, or some are missing: copy once more"
            )?;
            outcome = Outcome::ErrorReply;
        }
    }
    say!("keys there now: {}", to.dbsize().await?)?;
    match counts.undying.told()? {
        Outcome::Done => Ok(outcome),
        worse => Ok(worse),
    }
}

/// Some of the keys of the source that can be copied.
async fn at_random(from: &Client) -> Result<Vec<Bytes>, Error> {
    let questions = (0..RANDOM).map(|_| Command::new("RANDOMKEY"));
    let answers = questions.fold(from.pipeline(), dht_client::Pipeline::command);
    let mut keys = Vec::new();
    for answer in answers.send().await {
        keys.extend(Option::<Bytes>::from_reply(answer?)?);
    }
    keys_known(from, keys).await
}

/// How some keys compare.
#[derive(Debug, Default)]
struct Compared {
    equal: usize,
    differ: Vec<Bytes>,
    missing: Vec<Bytes>,
}

async fn compare(from: &Client, to: &Client, keys: &BTreeSet<Bytes>) -> Result<Compared, Error> {
    let mut compared = Compared::default();
    for key in keys {
        let (mut one, mut other) = (value(from, key).await?, value(to, key).await?);
        if one != other {
            // It may have expired or changed between the two questions.
            (one, other) = (value(from, key).await?, value(to, key).await?);
        }
        match (one == other, other.is_empty()) {
            (true, _) => compared.equal += 1,
            (false, false) => compared.differ.push(key.clone()),
            (false, true) => compared.missing.push(key.clone()),
        }
    }
    Ok(compared)
}

impl Compared {
    fn say(&self) -> std::io::Result<Outcome> {
        let Self {
            equal,
            differ,
            missing,
        } = self;
        let count = equal + differ.len() + missing.len();
        say!("{equal} of {count} keys compared are equal")?;
        for key in differ.iter().take(NAMED) {
            say!("differs: {}", quoted(key))?;
        }
        for key in missing.iter().take(NAMED) {
            say!("missing: {}", quoted(key))?;
        }
        Ok(match count == *equal {
            true => Outcome::Done,
            false => Outcome::ErrorReply,
        })
    }
}

/// A value, its fields in an order of their own; nothing of a type that is not copied.
async fn value(client: &Client, key: &Bytes) -> Result<Vec<(Bytes, Bytes)>, Error> {
    match client.hgetall(key).await {
        Ok(mut fields) => {
            fields.sort();
            return Ok(fields);
        }
        Err(Error::Reply(_)) => {}
        Err(error) => return Err(error),
    }
    let got = client.run(Command::new("GET").arg(key)).await;
    match got {
        Ok(Reply::Bulk(value)) => Ok(vec![(Bytes::new(), value)]),
        Ok(_) | Err(Error::Reply(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
