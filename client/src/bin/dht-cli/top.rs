//! `dht-cli top`: what every node does, again every second: a screen on a terminal, and elsewhere
//! one table after the other.

mod panels;
mod times;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use clap::Parser;
use dht_client::{Client, Command, Error, FromReply, Node, Reply};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use self::panels::{Look, Told};
use self::times::Times;
use crate::modes::Stop;
use crate::{Outcome, hot, status};

/// How long a node may take to answer before it is shown as silent.
const PATIENCE: Duration = Duration::from_secs(1);
/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Commands that each node has noted last as slow, among which the slowest are looked for.
const NOTED: u32 = 32;
/// What ends it on a terminal: the letters, Ctrl-C and Ctrl-D.
const LEAVES: &[u8] = b"qQ\x03\x04";

/// How long to look.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(disable_help_flag = true, no_binary_name = false)]
pub struct Options {
    /// Look so many times, instead of for ever
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Looks on until it is told to end, or has looked often enough.
///
/// # Errors
/// No node answers at first, or the terminal fails. A cluster that does not answer later is waited
/// for.
pub async fn run(client: &Client, options: &Options) -> Result<Outcome, Stop> {
    let mut watch = Watch {
        client: client.clone().with_deadline(PATIENCE),
        times: BTreeMap::new(),
        at: None,
    };
    let mut text = watch.look().await?;
    let screen = Screen::open()?;
    for time in 1.. {
        match &screen {
            Some(_) => Screen::show(&text)?,
            None => write_now(&format!("{text}\n"))?,
        }
        if options.count.is_some_and(|count| time >= count) {
            break;
        }
        match &screen {
            Some(_) if Screen::is_left()? => break,
            Some(_) => {}
            None => tokio::time::sleep(PAUSE).await,
        }
        let looked = watch.look().await;
        text = looked.unwrap_or_else(|error| format!("{error}\n"));
    }
    Ok(Outcome::Done)
}

/// What was known of the nodes at the last look.
struct Watch {
    client: Client,
    /// How long commands took since the start, by the addresses of nodes.
    times: BTreeMap<String, Times>,
    at: Option<Instant>,
}

impl Watch {
    /// What all nodes do at present.
    async fn look(&mut self) -> Result<String, Error> {
        let (nodes, cluster) = (Command::new("CLUSTER NODES"), Command::new("CLUSTER INFO"));
        let told = tokio::join!(self.client.run(nodes), self.client.run(cluster));
        let (rows, cluster) = (status::nodes(told.0?)?, String::from_reply(told.1?)?);
        let questions: Vec<_> = rows
            .iter()
            .map(|row| tokio::spawn(ask(self.client.node(&row.redirect))))
            .collect();
        let mut nodes = Vec::new();
        let mut times = BTreeMap::new();
        for (mut row, question) in rows.into_iter().zip(questions) {
            let told = question.await.ok().and_then(Result::ok);
            if told.is_none() && row.state == "up" {
                row.state = "silent";
            }
            let mut told = told.unwrap_or_default();
            times.insert(row.address.clone(), told.times.clone());
            if self.at.is_some() {
                // Of one that was not there before, nothing is known of what is new.
                let before = self.times.get(&row.address).unwrap_or(&told.times);
                told.times = told.times.since(before);
            }
            nodes.push((row, told));
        }
        let now = Instant::now();
        let since = self.at.replace(now).map(|before| now - before);
        self.times = times;
        let hot = nodes.iter().flat_map(|(_, told)| hot::of(&told.info));
        let hot = hot::together(hot.collect());
        let look = Look {
            nodes: &nodes,
            cluster: &cluster,
            since,
            hot: &hot,
        };
        Ok(look.text())
    }
}

/// What a node says of itself.
async fn ask(node: Node) -> Result<Told, Error> {
    let info = Command::from_words(["INFO", "clients", "memory", "stats", "hotkeys"]);
    let log = Command::new("SLOWLOG GET").arg(NOTED);
    let times = Command::new("LATENCY HISTOGRAM");
    let (info, log, times) = tokio::join!(node.run(info), node.run(log), node.run(times));
    Ok(Told {
        info: String::from_reply(info?)?,
        log: <Vec<Reply>>::from_reply(log?)?,
        times: Times::of(times?),
    })
}

/// The terminal as a screen, with keys that are read as they are typed; as it was when dropped.
struct Screen {
    before: Termios,
}

impl Screen {
    /// Nothing where there is none, or nobody who could end it.
    fn open() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut keys = before.clone();
        keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        // Who reads waits for a key, for so many tenths of a second.
        keys.special_codes[SpecialCodeIndex::VMIN] = 0;
        keys.special_codes[SpecialCodeIndex::VTIME] = (PAUSE.as_millis() / 100) as u8;
        tcsetattr(&stdin, OptionalActions::Now, &keys)?;
        let screen = Self { before };
        write_now("\x1b[?1049h\x1b[?25l")?;
        Ok(Some(screen))
    }

    /// In the place of what was shown, as much as there is room for.
    fn show(text: &str) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout());
        // Where nobody knows how large it is, it is not small.
        let room = |cells: u16| if cells == 0 { usize::MAX } else { cells.into() };
        let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row, size.ws_col));
        let mut screen = "\x1b[H".to_owned();
        for line in text.lines().take(room(rows).saturating_sub(1)) {
            screen.extend(line.chars().take(room(columns)));
            screen += "\x1b[K\n";
        }
        write_now(&format!("{screen}q to quit\x1b[K\x1b[J"))
    }

    /// Waits until it is time to look again; says whether that was told to end.
    fn is_left() -> io::Result<bool> {
        let mut key = [0];
        let length = io::stdin().read(&mut key)?;
        Ok(LEAVES.contains(&key[0]) && length > 0)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whether or not somebody still looks.
        let _ = write_now("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn write_now(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
