//! What `top` shows, as text: tables, and the ring as a line. Pure.

use std::cmp::Reverse;
use std::time::Duration;

use dht_client::{FromReply, Reply};
use dht_proto::resp::quoted;
use dht_proto::slot::SLOTS;

use super::times::Times;
use crate::hot::HotKey;
use crate::status::{Row, aligned};

/// Lines of each list.
const SHOWN: usize = 5;
/// Characters of a command, and of a key, that are shown.
const COMMAND_CHARS: usize = 60;
const KEY_CHARS: usize = 32;
/// Characters of the ring.
const RING_CHARS: u16 = 64;
/// By which nodes are known in the ring.
const MARKS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// More nodes than marks, and no leader.
const UNMARKED: char = '+';
const UNLED: char = '.';

/// What a node says of itself.
#[derive(Debug, Default)]
pub struct Told {
    /// Sections of INFO.
    pub info: String,
    /// What it has noted as slow.
    pub log: Vec<Reply>,
    /// How long its commands took of late.
    pub times: Times,
}

/// What is shown, of one moment.
pub struct Look<'a> {
    /// All nodes, and what each has said.
    pub nodes: &'a [(Row, Told)],
    /// CLUSTER INFO.
    pub cluster: &'a str,
    /// Since when the times are; nothing where it is since the start.
    pub since: Option<Duration>,
    /// What was asked for most, of all nodes.
    pub hot: &'a [HotKey],
}

impl Look<'_> {
    /// All panels, one below the other.
    pub fn text(&self) -> String {
        let ring = self.ring();
        let lists = beside(&self.commands(), &self.keys());
        let parts = [self.table(), ring, lists, self.slowest()];
        parts.join("\n")
    }

    /// A line a node.
    fn table(&self) -> String {
        let head = [
            "", "ADDRESS", "STATE", "CALLS/S", "P50", "P99", "CLIENTS", "MEMORY", "SLOTS", "ERRORS",
        ];
        let head = std::iter::once(head.map(str::to_owned));
        let nodes = (0..).zip(self.nodes).map(|(index, (row, told))| {
            let fact = |name| fact(&told.info, name).unwrap_or("-").to_owned();
            let times = told.times.together();
            [
                mark(index).to_string(),
                row.address.clone(),
                row.state.to_owned(),
                fact("instantaneous_ops_per_sec"),
                times.below(50),
                times.below(99),
                fact("connected_clients"),
                fact("used_memory_human"),
                row.slots().to_string(),
                fact("total_error_replies"),
            ]
        });
        aligned(&head.chain(nodes).collect::<Vec<_>>())
    }

    /// Who leads which part of the slots, and what is missing of the shards.
    fn ring(&self) -> String {
        let part = SLOTS / RING_CHARS;
        let leader = |first: u16| {
            let led = |row: &Row| {
                (first..first + part)
                    .filter(|slot| row.leads(*slot))
                    .count()
            };
            let all = (0..)
                .zip(self.nodes)
                .map(|(index, (row, _))| (led(row), Reverse(index)));
            let most = all.max().filter(|(slots, _)| *slots > 0);
            most.map_or(UNLED, |(_, Reverse(index))| mark(index))
        };
        let ring: String = (0..RING_CHARS).map(|at| leader(at * part)).collect();
        format!("RING    {ring}\nSHARDS  {}\n", self.shards())
    }

    fn shards(&self) -> String {
        let number = |name| fact(self.cluster, name).unwrap_or("?");
        let unled = match number("cluster_shards_unled") {
            "" => "each has a leader".to_owned(),
            shards => format!("without a leader: {shards}"),
        };
        match number("cluster_groups_short") {
            "0" => format!("{unled}, and all of its copies"),
            groups => format!("{unled}; short of copies: {groups} groups"),
        }
    }

    /// The commands that were sent most, to all nodes together.
    fn commands(&self) -> String {
        let mut all = Times::default();
        self.nodes.iter().for_each(|(_, told)| all.add(&told.times));
        let mut all: Vec<_> = all.0.into_iter().collect();
        all.retain(|(_, counts)| counts.calls() > 0);
        all.sort_by_key(|(_, counts)| Reverse(counts.calls()));
        let lines = all.into_iter().take(SHOWN).map(|(name, counts)| {
            let rate = self
                .since
                .map(|since| counts.calls() as f64 / since.as_secs_f64());
            let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
            [
                name.to_ascii_uppercase().replace('|', " "),
                rate,
                counts.below(50),
                counts.below(99),
            ]
        });
        let head = ["COMMANDS", "CALLS/S", "P50", "P99"].map(str::to_owned);
        aligned(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
    }

    /// The keys that were asked for most.
    fn keys(&self) -> String {
        let lines = self
            .hot
            .iter()
            .take(SHOWN)
            .map(|HotKey { key, calls_per_s }| {
                [clipped(key, KEY_CHARS), format!("{calls_per_s:.1}")]
            });
        let head = ["HOT KEYS", "CALLS/S"].map(str::to_owned);
        aligned(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
    }

    /// The commands that took longest, of those that nodes have noted last.
    fn slowest(&self) -> String {
        let mut slow: Vec<Slow> = Vec::new();
        for (row, told) in self.nodes {
            let entries = told.log.iter().cloned();
            slow.extend(entries.filter_map(|entry| noted(&row.address, entry)));
        }
        slow.sort_by_key(|(us, ..)| Reverse(*us));
        let head = ["SLOWEST OF LATE", "NODE", "COMMAND"].map(str::to_owned);
        let slow = slow.into_iter().take(SHOWN).map(|(us, node, command)| {
            let ms = us as f64 / 1000.0;
            [format!("{ms:.1} ms"), node, command]
        });
        aligned(&std::iter::once(head).chain(slow).collect::<Vec<_>>())
    }
}

/// A fact of INFO, or of CLUSTER INFO.
fn fact<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn mark(index: usize) -> char {
    MARKS.get(index).map_or(UNMARKED, |mark| char::from(*mark))
}

/// So many characters of a text, and a sign where that is not all.
fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Two texts, the second to the right of the first.
fn beside(left: &str, right: &str) -> String {
    let width = left
        .lines()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let (mut left, mut right) = (left.lines(), right.lines());
    let mut text = String::new();
    loop {
        let (one, other) = (left.next(), right.next());
        if one.is_none() && other.is_none() {
            return text;
        }
        let line = format!("{:<width$}    {}", one.unwrap_or(""), other.unwrap_or(""));
        text += line.trim_end();
        text.push('\n');
    }
}

/// How many microseconds a command took; where, and its words.
type Slow = (i64, String, String);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status;

    /// Two nodes; nobody leads the last part of the slots.
    fn nodes() -> Vec<(Row, Told)> {
        let lines = "1 a:8@1 master - 0 0 4 connected 0-8191\n\
                     2 a:9@2 master - 0 0 4 connected 8192-16127\n";
        let rows = status::nodes(Reply::bulk(lines)).unwrap().into_iter();
        rows.map(|row| (row, Told::default())).collect()
    }

    fn look<'a>(nodes: &'a [(Row, Told)], hot: &'a [HotKey]) -> Look<'a> {
        Look {
            nodes,
            cluster: "cluster_groups_short:2\r\ncluster_shards_unled:63\r\n",
            since: None,
            hot,
        }
    }

    #[test]
    fn the_ring_says_who_leads_what_and_what_is_missing() {
        let expect = format!(
            "RING    {}{}.\nSHARDS  without a leader: 63; short of copies: 2 groups\n",
            "A".repeat(32),
            "B".repeat(31)
        );
        assert_eq!(look(&nodes(), &[]).ring(), expect);
        assert_eq!((mark(51), mark(52)), ('z', '+'));
    }

    #[test]
    fn lists_stand_beside_each_other() {
        let hot = |key: &str, calls_per_s| HotKey {
            key: key.to_owned(),
            calls_per_s,
        };
        let hot = [hot("\"k\"", 12.34), hot(&"x".repeat(99), 2.0)];
        let text = look(&nodes(), &hot).text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().next(), Some("ADDRESS"));
        assert_eq!(lines[1].split_whitespace().nth(1), Some("a:1"));
        let (_, key) = lines[8].split_at(lines[7].find("HOT KEYS").unwrap());
        assert!(
            key.starts_with("\"k\" ") && key.ends_with(" 12.3"),
            "{text}"
        );
        let long = format!(" {}…  2.0", "x".repeat(KEY_CHARS));
        assert!(lines[9].ends_with(&long), "{text}");
    }

    #[test]
    fn the_slowest_come_first_and_hold_no_escapes() {
        let entry = |us, word: &str| {
            let words = Reply::Array(vec![Reply::bulk(word), Reply::bulk("k")]);
            Reply::Array(vec![Reply::Int(7), Reply::Int(1), Reply::Int(us), words])
        };
        let mut nodes = nodes();
        let long = "x".repeat(99);
        nodes[0].1.log = vec![entry(9, "GET"), entry(12_345, "\x1b[31m"), entry(20, &long)];
        let text = look(&nodes, &[]).slowest();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines[0], r#"12.3 ms          a:1   "\x1b[31m" "k""#);
        let long = format!("0.0 ms           a:1   \"{}", "x".repeat(59));
        assert_eq!(lines[1], long);
        assert_eq!(lines[2], r#"0.0 ms           a:1   "GET" "k""#);
        assert_eq!(noted("a:1", Reply::Nil), None);
    }
}
