//! What dht-cli does besides commands: looks through the whole keyspace, watches a server, measures
//! the time that an answer takes, takes commands in bulk.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use dht_client::{Client, Command, Error, FromReply, Reply, ScanOptions, Scheme};
use dht_proto::resp::{Decoded, RequestReader, quoted};
use futures_util::TryStreamExt;

use crate::say::{complain, say};
use crate::{Outcome, Repeat, hot};

/// Keys that are asked about together, and commands that are sent together.
const BATCH: usize = 500;
/// A line of `--stat` in so many has the names of the columns above it.
const HEADER_LINES: u64 = 20;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `--scan`.
    Scan,
    /// `--bigkeys`.
    BigKeys,
    /// `--stat`.
    Stat,
    /// `--latency`.
    Latency,
    /// `--hotkeys`.
    HotKeys,
    /// `--pipe`.
    Pipe,
}

impl Mode {
    /// What is said where something is asked of other servers that only nodes of dht can do.
    pub const fn needs_dht(&self) -> Option<&'static str> {
        match self {
            Self::HotKeys => {
                Some("--hotkeys asks nodes of dht in frames: name one with -u dht://HOST:PORT")
            }
            Self::Scan | Self::BigKeys | Self::Stat | Self::Latency | Self::Pipe => None,
        }
    }
}

/// Why a mode has ended early.
pub enum Stop {
    /// The server said no, or nothing.
    Server(Error),
    /// The other side, which is such a server, cannot be reached.
    Other(Scheme, Error),
    /// What was said on the command line does not fit, for this reason.
    Usage(String),
    /// The terminal, the input, a file.
    System(io::Error),
    /// What there is cannot be used, for this reason.
    Refused(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Does it.
///
/// # Errors
/// See [`Stop`].
pub async fn run(
    mode: &Mode,
    client: &Client,
    options: ScanOptions,
    repeat: &Repeat,
) -> Result<Outcome, Stop> {
    match mode {
        Mode::Scan => scan(client, options).await,
        Mode::BigKeys => big_keys(client, options).await,
        Mode::Stat => stat(client, repeat).await,
        Mode::Latency => latency(client, repeat).await,
        Mode::HotKeys => hot::run(client).await,
        Mode::Pipe => pipe(client, io::stdin().lock()).await,
    }
}

/// All keys of the whole cluster that match, a line each.
async fn scan(client: &Client, options: ScanOptions) -> Result<Outcome, Stop> {
    let mut keys = client.scan_keys(options);
    let mut out = io::BufWriter::new(io::stdout());
    while let Some(key) = keys.try_next().await? {
        out.write_all(&key)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// What has been seen of the keys of one type.
#[derive(Debug, Default)]
struct Sort {
    keys: u64,
    bytes: u64,
    parts: u64,
    /// The key of most bytes.
    most: Option<(u64, Bytes)>,
}

/// The biggest key of each type, and sums.
async fn big_keys(client: &Client, options: ScanOptions) -> Result<Outcome, Stop> {
    say!("# Looking through the whole keyspace for the biggest key of each type.\n")?;
    let mut keys = client.scan_keys(options).try_chunks(BATCH);
    let mut sorts: BTreeMap<String, Sort> = BTreeMap::new();
    while let Some(page) = keys.try_next().await.map_err(|error| error.1)? {
        for (key, kind, bytes, parts) in measured(client, page).await? {
            let sort = sorts.entry(kind.clone()).or_default();
            sort.keys += 1;
            sort.bytes += bytes;
            sort.parts += parts;
            if sort.most.as_ref().is_none_or(|(most, _)| *most < bytes) {
                say!("Biggest {kind} so far: {} with {bytes} bytes", quoted(&key))?;
                sort.most = Some((bytes, key));
            }
        }
    }
    let total: u64 = sorts.values().map(|sort| sort.keys).sum();
    say!("\n# {total} keys")?;
    for (kind, sort) in &sorts {
        let Sort {
            keys,
            bytes,
            parts,
            most,
        } = sort;
        let unit = if kind == "hash" {
            "fields"
        } else {
            "bytes of text"
        };
        let average = parts.checked_div(*keys).unwrap_or(0);
        let biggest = most.as_ref().map(|(most, key)| {
            let key = quoted(key);
            format!("; the biggest is {key} with {most} bytes")
        });
        let biggest = biggest.unwrap_or_default();
        say!("{kind}: {keys} keys, {bytes} bytes, {parts} {unit} ({average} a key){biggest}")?;
    }
    Ok(Outcome::Done)
}

/// Of each key that is still there: its type, its bytes of memory, its length or fields.
async fn measured(
    client: &Client,
    keys: Vec<Bytes>,
) -> Result<Vec<(Bytes, String, u64, u64)>, Error> {
    let types = keys
        .iter()
        .fold(client.pipeline(), |all, key| all.key_type(key));
    let types = types.send().await.into_iter();
    let types = types
        .map(|reply| String::from_reply(reply?))
        .collect::<Result<Vec<_>, _>>()?;
    let mut sizes = client.pipeline();
    let mut known = Vec::new();
    for (key, kind) in keys.into_iter().zip(types) {
        sizes = sizes.memory_usage(&key);
        sizes = match &*kind {
            "hash" => sizes.hlen(&key),
            "string" => sizes.strlen(&key),
            _ => sizes.exists([&key]),
        };
        known.push((key, kind));
    }
    let mut sizes = sizes.send().await.into_iter();
    let mut found = Vec::with_capacity(known.len());
    for (key, kind) in known {
        let (bytes, parts) = (sizes.next(), sizes.next());
        let number = |reply: Option<Result<Reply, Error>>| match reply {
            Some(Ok(Reply::Int(number))) => u64::try_from(number).ok(),
            // It has changed its type meanwhile, or is gone.
            _ => None,
        };
        if let (Some(bytes), Some(parts)) = (number(bytes), number(parts)) {
            found.push((key, kind, bytes, parts));
        }
    }
    Ok(found)
}

/// A line of counters a second.
async fn stat(client: &Client, repeat: &Repeat) -> Result<Outcome, Stop> {
    let mut before = None;
    for line in repeat.or_for_ever() {
        if line % HEADER_LINES == 0 {
            say!(
                "{:>12} {:>10} {:>8} {:>14} {:>10}",
                "KEYS",
                "MEMORY",
                "CLIENTS",
                "COMMANDS",
                "A SECOND"
            )?;
        }
        let (keys, info) = tokio::join!(client.dbsize(), client.info([""; 0]));
        let (keys, info, now) = (keys?, info?, Instant::now());
        let fact = |name: &str| {
            let line = info
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or("-").to_owned()
        };
        let commands: u64 = fact("total_commands_processed").parse().unwrap_or(0);
        let rate = before.map_or(0.0, |(then, at): (u64, Instant)| {
            commands.saturating_sub(then) as f64 / (now - at).as_secs_f64()
        });
        before = Some((commands, now));
        let (memory, clients) = (fact("used_memory_human"), fact("connected_clients"));
        say!("{keys:>12} {memory:>10} {clients:>8} {commands:>14} {rate:>10.0}")?;
        repeat.rest(line).await;
    }
    Ok(Outcome::Done)
}

/// How long answers to PING take, in milliseconds.
async fn latency(client: &Client, repeat: &Repeat) -> Result<Outcome, Stop> {
    let shows = io::stdout().is_terminal();
    let window = repeat.pause.unwrap_or(Duration::from_secs(1));
    let (mut least, mut most, mut sum, mut count) = (f64::MAX, 0.0_f64, 0.0, 0_u32);
    let start = Instant::now();
    let mut told = start;
    while shows || start.elapsed() < window {
        let sent = Instant::now();
        client.ping().await?;
        let took_ms = sent.elapsed().as_secs_f64() * 1000.0;
        (least, most) = (least.min(took_ms), most.max(took_ms));
        sum += took_ms;
        count += 1;
        if shows && told.elapsed() >= Duration::from_millis(100) {
            told = Instant::now();
            let average = sum / f64::from(count);
            let mut out = io::stdout().lock();
            let shown = format!("\rmin: {least:.2}, max: {most:.2}, avg: {average:.2} ms");
            write!(out, "{shown} ({count} samples)")?;
            out.flush()?;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    say!(
        "{least:.2} {most:.2} {:.2} {count}",
        sum / f64::from(count.max(1))
    )?;
    Ok(Outcome::Done)
}

/// Executes the requests that come on the input, a line each or as Redis's protocol has them.
async fn pipe(client: &Client, mut input: impl BufRead) -> Result<Outcome, Stop> {
    let mut reader = RequestReader::default();
    let mut bytes = BytesMut::new();
    let (mut replies, mut errors) = (0_u64, 0_u64);
    let mut over = false;
    while !over {
        let more = input.fill_buf()?;
        over = more.is_empty();
        bytes.extend_from_slice(if over { b"\n" } else { more });
        let length = more.len();
        input.consume(length);
        loop {
            let commands = take(&mut reader, &mut bytes)?;
            if commands.is_empty() {
                break;
            }
            let pipeline = commands.into_iter();
            let pipeline = pipeline.fold(client.pipeline(), dht_client::Pipeline::command);
            for result in pipeline.send().await {
                replies += 1;
                match result {
                    Ok(_) => {}
                    Err(error) if error.reply().is_some() => {
                        errors += 1;
                        complain!("{error}");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    say!("errors: {errors}, replies: {replies}")?;
    if !bytes.is_empty() {
        return Err(io::Error::other("the input ends in the middle of a request").into());
    }
    Ok(match errors {
        0 => Outcome::Done,
        _ => Outcome::ErrorReply,
    })
}

/// The complete requests at the front of the input, so many that they may be sent together.
fn take(reader: &mut RequestReader, bytes: &mut BytesMut) -> io::Result<Vec<Command>> {
    let mut commands = Vec::new();
    while commands.len() < BATCH {
        match reader.read(bytes, true) {
            Ok(Decoded::Request(length)) => {
                commands.push(Command::from_words(reader.words(bytes)));
                bytes.advance(length);
            }
            Ok(Decoded::Nothing(length)) => bytes.advance(length),
            Ok(Decoded::Incomplete) => break,
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
    }
    Ok(commands)
}
