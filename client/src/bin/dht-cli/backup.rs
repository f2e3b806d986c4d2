//! `dht-cli backup`: all keys of a cluster into a file. Each shard is copied as it was at one
//! moment, while it goes on being written to; the next one as it is a little later.

mod file;
mod keys;
pub mod restore;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use dht_client::Client;
use dht_proto::slot::SLOTS;

use self::file::{Block, Damage, Writer};
use self::keys::Keys;
use crate::Outcome;
use crate::modes::Stop;
use crate::progress::Bar;
use crate::say::say;

/// How often a shard is begun, when its leader goes away meanwhile, and how long is waited before.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What to write.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(disable_help_flag = true, no_binary_name = false)]
pub struct Options {
    /// The file to be made; it must not exist
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Copies all keys of a cluster into a file.
///
/// # Errors
/// See [`Stop`]; then there is no file.
pub async fn run(client: &Client, options: &Options) -> Result<Outcome, Stop> {
    let Options { to, .. } = options;
    if to.exists() {
        return Err(refused(to, "there is such a file already"));
    }
    let mut unfinished = to.clone().into_os_string();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let writer = Writer::create(&unfinished).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => refused(
            &unfinished,
            "there is such a file already: another backup is writing it, or one has ended too \
             early; then remove it",
        ),
        _ => Stop::of(&unfinished, error.into()),
    })?;
    let written = copy(client, writer).await;
    let (shards, keys, bytes) = match written {
        Ok(written) => written,
        Err(stop) => {
            // What is left of it is of no use, and says so itself.
            let _ = fs::remove_file(&unfinished);
            return Err(stop);
        }
    };
    fs::rename(&unfinished, to)?;
    let folder = to.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    say!(
        "{keys} keys of {shards} shards in {}: {bytes} bytes",
        to.display()
    )?;
    Ok(Outcome::Done)
}

/// Writes the whole file; gives the numbers of shards, keys and bytes.
async fn copy(client: &Client, mut writer: Writer) -> Result<(u32, u64, u64), Stop> {
    let total = client.dbsize().await?;
    let bar = Bar::new(total, "keys");
    let (mut shards, mut keys, mut slot) = (0, 0, 0);
    while slot < SLOTS {
        let (copied, next) = persistently(client, &mut writer, (slot, keys), &bar).await?;
        shards += 1;
        keys += copied;
        slot = next;
    }
    writer.write(&Block::End(shards, keys))?;
    Ok((shards, keys, writer.finish()?))
}

/// Copies the shard that begins with a slot, from the beginning again where it was interrupted.
async fn persistently(
    client: &Client,
    writer: &mut Writer,
    (slot, before): (u16, u64),
    bar: &Bar,
) -> Result<(u64, u16), Stop> {
    let mark = writer.mark();
    let mut tries = 1;
    loop {
        match shard(client, writer, (slot, before), bar).await {
            Err(Stop::Server(_)) if tries < TRIES => {
                tries += 1;
                writer.rewind(mark)?;
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Copies the shard that begins with a slot; gives how many keys it had, and the slot after it.
async fn shard(
    client: &Client,
    writer: &mut Writer,
    (slot, before): (u16, u64),
    bar: &Bar,
) -> Result<(u64, u16), Stop> {
    let opened = client.cluster_snapshot(slot.into()).await?;
    let slots = |first: u64, last: u64| {
        let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
        (first == slot && (slot..SLOTS).contains(&last)).then_some(slot..=last)
    };
    // What comes behind them is the shard's time.
    let (id, slots) = match opened[..] {
        [id, first, last, _] => (id, slots(first, last)),
        _ => (0, None),
    };
    let slots = slots.ok_or_else(|| senseless(slot))?;
    writer.write(&Block::Shard(slots.clone()))?;
    let next = slots.end() + 1;
    let mut keys = Keys::of(slots);
    for number in 0.. {
        let piece = client.cluster_snapshot_piece(slot.into(), id, number);
        let (bytes, is_last) = piece.await?;
        let taken = keys.take(&bytes, &mut |_| {});
        if taken.is_err() || is_last != keys.is_over() {
            return Err(senseless(slot));
        }
        writer.write(&Block::Piece(bytes.into()))?;
        bar.show(before + keys.count())?;
        if is_last {
            break;
        }
    }
    Ok((keys.count(), next))
}

fn senseless(slot: u16) -> Stop {
    Stop::Refused(format!("what a node says of slot {slot} makes no sense"))
}

/// Nothing was done to or with a file, in one line.
fn refused(path: &Path, why: impl std::fmt::Display) -> Stop {
    Stop::Refused(format!("{}: {why}", path.display()))
}

impl Stop {
    /// What is wrong with a file.
    fn of(path: &Path, damage: Damage) -> Self {
        match damage {
            Damage::System(error) => Self::System(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            )),
            damage => refused(path, damage),
        }
    }
}
