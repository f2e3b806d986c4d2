//! `dht-cli restore`: all keys of a backup into a cluster, whatever its nodes and shards.
//!
//! The whole file is read and checked before the first key is written.

use std::path::{Path, PathBuf};

use clap::Parser;
use dht_client::Client;
use dht_proto::slot::SLOTS;

use super::file::{Block, Damage, Reader};
use super::keys::Keys;
use super::refused;
use crate::Outcome;
use crate::modes::Stop;
use crate::progress::Bar;
use crate::put::{Entry, Refused, put};
use crate::say::{complain, say};

/// Keys that are written together, and their bytes, about.
const BATCH_KEYS: usize = 2000;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// What to read.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(disable_help_flag = true, no_binary_name = false)]
pub struct Options {
    /// A file that `backup` has made
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// Restore also into a cluster that has keys: those of the backup replace those of their names
    #[arg(long, conflicts_with = "check")]
    merge: bool,
    /// Only read the file and say whether it is whole
    #[arg(long)]
    check: bool,
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

impl Options {
    /// Whether nothing is written, and no server is needed.
    pub const fn only_checks(&self) -> bool {
        self.check
    }
}

/// Says whether a file is whole.
///
/// # Errors
/// See [`Stop`]: it is not.
pub fn check(options: &Options) -> Result<Outcome, Stop> {
    let (shards, keys) = checked(&options.from)?;
    say!(
        "{} is whole: {keys} keys of {shards} shards",
        options.from.display()
    )?;
    Ok(Outcome::Done)
}

/// Writes all keys of a backup.
///
/// # Errors
/// See [`Stop`]; how far it has come was said then.
pub async fn run(client: &Client, options: &Options) -> Result<Outcome, Stop> {
    let path = &options.from;
    let (_, total) = checked(path)?;
    let there = client.dbsize().await?;
    if there > 0 && !options.merge {
        let why = format!(
            "nothing is restored: there are {there} keys in the cluster. With --merge those of \
             the backup replace the ones of the same name"
        );
        return Err(refused(path, why));
    }
    let mut restoring = Restoring {
        client,
        merges: options.merge,
        bar: Bar::new(total, "keys"),
        batch: Vec::new(),
        done: 0,
        refused: Refused::default(),
    };
    let written = restoring.all(path).await;
    // The bar is gone with the rest of it.
    let Restoring { done, refused, .. } = restoring;
    if let Err(stop) = written {
        complain!(
            "{done} of {total} keys are restored, the last of them perhaps in part; to begin \
             again, say --merge"
        );
        return Err(stop);
    }
    say!("{done} keys restored")?;
    say!("keys there now: {}", client.dbsize().await?)?;
    Ok(refused.told()?)
}

/// Reads all of a file; gives the numbers of shards and keys.
fn checked(path: &Path) -> Result<(u32, u64), Stop> {
    let mut reader = Reader::open(path).map_err(|damage| Stop::of(path, damage))?;
    let bar = Bar::new(reader.length(), "bytes checked");
    let mut shards = Shards::default();
    loop {
        let at = reader.at();
        let block = reader.read().map_err(|damage| Stop::of(path, damage))?;
        let taken = shards.take(block, &mut |_| {});
        let is_over = taken.map_err(|why| Stop::of(path, Damage::Bad(at, why)))?;
        bar.show(reader.at())?;
        if is_over {
            break;
        }
    }
    if reader.at() < reader.length() {
        let why = Damage::Bad(reader.at(), "there is something behind its end");
        return Err(Stop::of(path, why));
    }
    Ok((shards.count, shards.keys))
}

/// What was read of a backup.
#[derive(Default)]
struct Shards {
    count: u32,
    /// Keys of the shards before the current one.
    keys: u64,
    /// The first slot of the next one.
    next: u16,
    current: Option<Keys>,
}

impl Shards {
    /// Takes a block, and hands on the keys in it; says whether it was the last.
    fn take(&mut self, block: Block, each: &mut impl FnMut(Entry)) -> Result<bool, &'static str> {
        match block {
            Block::Piece(bytes) => {
                let keys = self.current.as_mut().ok_or("a piece of no shard")?;
                keys.take(&bytes, each).map_err(|malformed| malformed.0)?;
            }
            Block::Shard(slots) => {
                self.end_shard()?;
                if *slots.start() != self.next || slots.is_empty() || *slots.end() >= SLOTS {
                    return Err("a shard is missing before it");
                }
                self.next = slots.end() + 1;
                self.current = Some(Keys::of(slots));
            }
            Block::End(shards, keys) => {
                self.end_shard()?;
                if (self.next, self.count, self.keys) != (SLOTS, shards, keys) {
                    return Err("shards or keys are missing before its end");
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn end_shard(&mut self) -> Result<(), &'static str> {
        if let Some(keys) = self.current.take() {
            if !keys.is_over() {
                return Err("the shard before it is not whole");
            }
            self.count += 1;
            self.keys += keys.count();
        }
        Ok(())
    }
}

/// A backup on its way into a cluster.
struct Restoring<'a> {
    client: &'a Client,
    /// What is there under the name of a key goes first.
    merges: bool,
    bar: Bar,
    /// What was read and not written.
    batch: Vec<Entry>,
    /// Keys of which at least a part was written.
    done: u64,
    refused: Refused,
}

impl Restoring<'_> {
    async fn all(&mut self, path: &Path) -> Result<(), Stop> {
        let wrong = |damage| Stop::of(path, damage);
        let mut reader = Reader::open(path).map_err(wrong)?;
        let mut shards = Shards::default();
        loop {
            let at = reader.at();
            let block = reader.read().map_err(wrong)?;
            let taken = shards.take(block, &mut |entry| self.batch.push(entry));
            let is_over = taken.map_err(|why| wrong(Damage::Bad(at, why)))?;
            let bytes: usize = self.batch.iter().map(Entry::bytes).sum();
            if is_over || self.batch.len() >= BATCH_KEYS || bytes >= BATCH_BYTES {
                self.write().await?;
            }
            if is_over {
                return Ok(());
            }
        }
    }

    async fn write(&mut self) -> Result<(), Stop> {
        let mut begun = 0;
        for entry in &mut self.batch {
            begun += u64::from(entry.clears);
            entry.clears &= self.merges;
        }
        put(self.client, &self.batch, &mut self.refused).await?;
        self.batch.clear();
        self.done += begun;
        Ok(self.bar.show(self.done)?)
    }
}
