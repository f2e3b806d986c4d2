//! `dht-cli --hotkeys`: the keys that are asked for most, of all nodes together; `top` shows them
//! too.

use std::collections::BTreeMap;

use dht_client::{Client, Command, Error, FromReply};

use crate::modes::Stop;
use crate::say::say;
use crate::{Outcome, status};

/// A key, and how often it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKey {
    /// In quotes, with escapes.
    pub key: String,
    pub calls_per_s: f64,
}

/// Prints them, the first of all first.
///
/// # Errors
/// A node that is up does not answer.
pub async fn run(client: &Client) -> Result<Outcome, Stop> {
    let nodes = status::nodes(client.run(Command::new("CLUSTER NODES")).await?)?;
    let up = nodes.into_iter().filter(|node| node.state == "up");
    let questions: Vec<_> = up
        .map(|row| tokio::spawn(ask(client.clone(), row.redirect)))
        .collect();
    let mut told = Vec::new();
    for question in questions {
        let info = question.await.map_err(std::io::Error::other)?;
        told.extend(of(&info?));
    }
    say!("{:>12}  KEY", "CALLS/S")?;
    for HotKey { key, calls_per_s } in together(told) {
        say!("{calls_per_s:>12.1}  {key}")?;
    }
    Ok(Outcome::Done)
}

async fn ask(client: Client, node: String) -> Result<String, Error> {
    let info = Command::from_words(["INFO", "hotkeys"]);
    String::from_reply(client.node(&node).run(info).await?)
}

/// The keys that INFO tells of.
pub fn of(info: &str) -> Vec<HotKey> {
    let line = |line: &str| {
        let (_, facts) = line.strip_prefix("hotkey_")?.split_once(':')?;
        let (rate, key) = facts.strip_prefix("calls_per_s=")?.split_once(",key=")?;
        // A node escapes what is none of these; this goes to a terminal.
        let is_shown = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let calls_per_s = rate.parse().ok()?;
        let key = key.to_owned();
        is_shown.then_some(HotKey { key, calls_per_s })
    };
    info.lines().filter_map(line).collect()
}

/// Those of all nodes, each once.
pub fn together(told: Vec<HotKey>) -> Vec<HotKey> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for HotKey { key, calls_per_s } in told {
        *sums.entry(key).or_default() += calls_per_s;
    }
    let keys = sums.into_iter();
    let mut keys: Vec<HotKey> = keys
        .map(|(key, calls_per_s)| HotKey { key, calls_per_s })
        .collect();
    keys.sort_by(|one, other| other.calls_per_s.total_cmp(&one.calls_per_s));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_tell_is_added_up() {
        let one = "# Hotkeys\r\nhotkey_1:calls_per_s=9.5,key=\"a,key=\\\"\"\r\n\
                   hotkey_2:calls_per_s=2.0,key=\"b\"\r\n\
                    hotkey_3:calls_per_s=2.0,key=\"\x1b[2J\"\r\n";
        let other = "hotkey_1:calls_per_s=8.0,key=\"b\"\r\nhotkey_2:calls_per_s=x,key=\"c\"\r\n";
        let all = together([of(one), of(other)].concat());
        let shown: Vec<_> = all.iter().map(|hot| (&*hot.key, hot.calls_per_s)).collect();
        assert_eq!(shown, [("\"b\"", 10.0), ("\"a,key=\\\"\"", 9.5)]);
    }
}
