//! `dht-cli top`: what every node does, again every second: a screen on a terminal, and elsewhere
//! one table after the other.

use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;

use clap::Parser;
use dht_client::{Client, Command, Error, FromReply, Node, Reply};
use dht_proto::resp::quoted;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::Outcome;
use crate::modes::Stop;
use crate::status::{self, Row, aligned};

/// How long a node may take to answer before it is shown as silent.
const PATIENCE: Duration = Duration::from_secs(1);
/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Commands that took longest, of so many that each node has noted last.
const SLOWEST: usize = 5;
const NOTED: u32 = 32;
/// Characters of a command that are shown.
const COMMAND_CHARS: usize = 60;
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
    let client = client.clone().with_deadline(PATIENCE);
    let mut text = look(&client).await?;
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
        let looked = look(&client).await;
        text = looked.unwrap_or_else(|error| format!("{error}\n"));
    }
    Ok(Outcome::Done)
}

/// How many microseconds a command took; where, and its words.
type Slow = (i64, String, String);

/// What all nodes do at present.
async fn look(client: &Client) -> Result<String, Error> {
    let mut rows = status::nodes(client.run(Command::new("CLUSTER NODES")).await?)?;
    let questions: Vec<_> = rows
        .iter()
        .map(|row| tokio::spawn(ask(client.node(&row.redirect))))
        .collect();
    let (mut lines, mut slow) = (Vec::new(), Vec::new());
    for (row, question) in rows.iter_mut().zip(questions) {
        let told = question.await.ok().and_then(Result::ok);
        if told.is_none() && row.state == "up" {
            row.state = "silent";
        }
        let (info, log) = told.unwrap_or_default();
        lines.push(cells(row, &info));
        let entries = log.into_iter();
        slow.extend(entries.filter_map(|entry| noted(&row.address, entry)));
    }
    Ok(table(lines, slow))
}

/// What a node says of itself, and the commands that it has noted as slow.
async fn ask(node: Node) -> Result<(String, Vec<Reply>), Error> {
    let info = Command::from_words(["INFO", "clients", "memory", "stats"]);
    let log = Command::new("SLOWLOG GET").arg(NOTED);
    let (info, log) = tokio::join!(node.run(info), node.run(log));
    Ok((String::from_reply(info?)?, <Vec<Reply>>::from_reply(log?)?))
}

fn cells(row: &Row, info: &str) -> [String; 7] {
    let fact = |name: &str| {
        let mut lines = info.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or("-").to_owned()
    };
    [
        row.address.clone(),
        row.state.to_owned(),
        fact("instantaneous_ops_per_sec"),
        fact("connected_clients"),
        fact("used_memory_human"),
        row.led(),
        fact("total_error_replies"),
    ]
}

/// An entry of SLOWLOG GET: its number, time and duration, the words of the command.
fn noted(node: &str, entry: Reply) -> Option<Slow> {
    let mut entry = <Vec<Reply>>::from_reply(entry).ok()?.into_iter().skip(2);
    let us = i64::from_reply(entry.next()?).ok()?;
    let words = <Vec<bytes::Bytes>>::from_reply(entry.next()?).ok()?;
    // What a client has sent may hold anything, and is shown on a terminal.
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let command = words.join(" ").chars().take(COMMAND_CHARS).collect();
    Some((us, node.to_owned(), command))
}

fn table(nodes: Vec<[String; 7]>, mut slow: Vec<Slow>) -> String {
    let head = [
        "ADDRESS", "STATE", "CALLS/S", "CLIENTS", "MEMORY", "SLOTS", "ERRORS",
    ];
    let head = std::iter::once(head.map(str::to_owned));
    let nodes = aligned(&head.chain(nodes).collect::<Vec<_>>());
    slow.sort_by_key(|(us, ..)| std::cmp::Reverse(*us));
    let head = ["SLOWEST OF LATE", "NODE", "COMMAND"].map(str::to_owned);
    let slow = slow.into_iter().take(SLOWEST);
    let slow = slow.map(|(us, node, command)| {
        let ms = us as f64 / 1000.0;
        [format!("{ms:.1} ms"), node, command]
    });
    let slow = aligned(&std::iter::once(head).chain(slow).collect::<Vec<_>>());
    format!("{nodes}\n{slow}")
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

    /// In the place of what was shown.
    fn show(text: &str) -> io::Result<()> {
        let lines = text.replace('\n', "\x1b[K\n");
        write_now(&format!("\x1b[H{lines}\x1b[Kq to quit\x1b[K\x1b[J"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_come_first_and_hold_no_escapes() {
        let entry = |us, word: &str| {
            let words = Reply::Array(vec![Reply::bulk(word), Reply::bulk("k")]);
            let entry = vec![Reply::Int(7), Reply::Int(1), Reply::Int(us), words];
            noted("a:1", Reply::Array(entry))
        };
        let slow: Vec<Slow> = [(9, "GET"), (12_345, "\x1b[31m"), (20, &*"x".repeat(99))]
            .iter()
            .filter_map(|(us, word)| entry(*us, word))
            .collect();
        let text = table(Vec::new(), slow);
        let lines: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(lines[0], r#"12.3 ms          a:1   "\x1b[31m" "k""#);
        let long = format!("0.0 ms           a:1   \"{}", "x".repeat(59));
        assert_eq!(lines[1], long);
        assert_eq!(lines[2], r#"0.0 ms           a:1   "GET" "k""#);
        assert_eq!(noted("a:1", Reply::Nil), None);
    }
}
