//! `dht-cli cluster status`: every node, what it leads and holds, and whether it answers.

use std::ops::RangeInclusive;
use std::time::Duration;

use dht_client::{Client, Command, Error, Scheme};
use dht_proto::Reply;
use dht_proto::slot::SLOTS;

use crate::print::{Form, shown};
use crate::session::Session;

/// How long a node may take to answer before it is shown as silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line of CLUSTER NODES and what the node itself says.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub id: String,
    /// `host:port` for clients.
    pub address: String,
    /// `host:port` where a node answers for itself only.
    pub redirect: String,
    /// Up or not, as the others say.
    pub state: &'static str,
    /// The slots that it leads.
    led: Vec<RangeInclusive<u16>>,
    keys: Option<i64>,
    epoch: u64,
}

/// The status of the cluster as one node sees it.
pub async fn status(session: &mut Session, form: Form) -> Result<Vec<u8>, Error> {
    let mut rows = nodes(session.run(&Command::new("CLUSTER NODES")).await?)?;
    if !is_dht(session).await? {
        answer_where_they_say(&mut rows);
    }
    ask_for_keys(&session.client, &mut rows).await;
    Ok(match form {
        Form::Json => shown(&Reply::Array(rows.iter().map(Row::reply).collect()), form),
        Form::Human | Form::Raw | Form::Delimited(_) | Form::Csv => {
            let backend = backend(session).await;
            (table(&rows) + &backend).into_bytes()
        }
    })
}

/// A line about the server that has the data, where the node has none.
async fn backend(session: &mut Session) -> String {
    let info = session
        .run(&Command::new("CLUSTER INFO"))
        .await
        .and_then(text);
    let info = info.unwrap_or_default();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("cluster_backend:"));
    line.map_or_else(String::new, |url| {
        format!("no data is kept here: {url} has it, and its consistency is what counts\n")
    })
}

/// Whether it is nodes of dht that answer, also in the protocol of Redis.
async fn is_dht(session: &mut Session) -> Result<bool, Error> {
    if session.target().scheme == Scheme::Dht {
        return Ok(true);
    }
    let info = session
        .run(&Command::from_words(["INFO", "server"]))
        .await?;
    Ok(text(info)?
        .lines()
        .any(|line| line.starts_with("dht_version:")))
}

/// Behind the `@` there is the port for clients only in what nodes of dht say; servers of Redis
/// speak with each other there.
fn answer_where_they_say(rows: &mut [Row]) {
    for row in &mut *rows {
        row.address.clone_from(&row.redirect);
    }
    rows.sort_by(|a, b| a.address.cmp(&b.address));
}

/// The nodes that CLUSTER NODES tells of, by their addresses; those are right of nodes of dht.
pub fn nodes(reply: Reply) -> Result<Vec<Row>, Error> {
    let mut rows: Vec<Row> = text(reply)?.lines().filter_map(row).collect();
    rows.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(rows)
}

fn text(reply: Reply) -> Result<String, Error> {
    dht_client::FromReply::from_reply(reply)
}

/// Reads a line of CLUSTER NODES; nothing when it is none.
fn row(line: &str) -> Option<Row> {
    let mut words = line.split(' ');
    let id = words.next()?;
    let (redirect, port) = words.next()?.split_once('@')?;
    let flags = words.next()?;
    let epoch = words.nth(3)?.parse().ok()?;
    let led = words.skip(1).filter_map(slots_in).collect();
    let host = redirect.rsplit_once(':')?.0;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    Some(Row {
        id: id.to_owned(),
        address: format!("{host}:{port}"),
        redirect: format!("{host}:{}", redirect.rsplit_once(':')?.1),
        state: if flags.contains("fail") { "down" } else { "up" },
        led,
        keys: None,
        epoch,
    })
}

/// The slots of a range, `5` or `0-99`.
fn slots_in(range: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS).then_some(first..=last)
}

/// Asks all nodes at once, also those that are said to be down.
async fn ask_for_keys(client: &Client, rows: &mut [Row]) {
    let client = client.clone().with_deadline(PATIENCE);
    let questions: Vec<_> = rows
        .iter()
        .map(|row| {
            let node = client.node(&row.redirect);
            tokio::spawn(async move { node.run(Command::new("DBSIZE")).await })
        })
        .collect();
    for (row, question) in rows.iter_mut().zip(questions) {
        match question.await {
            Ok(Ok(Reply::Int(keys))) => row.keys = Some(keys),
            // It is there, and does not know at present whether it still leads its slots.
            Ok(Err(error)) if error.reply().is_some() => row.state = "unsure",
            _ if row.state == "up" => row.state = "silent",
            _ => {}
        }
    }
}

impl Row {
    /// How many slots it leads.
    pub fn slots(&self) -> usize {
        self.led.iter().map(ExactSizeIterator::len).sum()
    }

    /// Whether it leads a slot.
    pub fn leads(&self, slot: u16) -> bool {
        self.led.iter().any(|range| range.contains(&slot))
    }

    fn share(&self) -> String {
        let share = self.slots() as f64 * 100.0 / f64::from(SLOTS);
        format!("{} ({share:.1} %)", self.slots())
    }

    fn cells(&self) -> [String; 6] {
        [
            self.id.chars().take(8).collect(),
            self.address.clone(),
            self.state.to_owned(),
            self.share(),
            self.keys
                .map_or_else(|| "-".to_owned(), |keys| keys.to_string()),
            self.epoch.to_string(),
        ]
    }

    fn reply(&self) -> Reply {
        let members = [
            ("id", Reply::bulk(&self.id)),
            ("address", Reply::bulk(&self.address)),
            ("state", Reply::bulk(self.state)),
            ("slots", Reply::count(self.slots())),
            ("keys", self.keys.map_or(Reply::Nil, Reply::Int)),
            (
                "epoch",
                Reply::Int(i64::try_from(self.epoch).unwrap_or(i64::MAX)),
            ),
        ];
        Reply::Map(
            members
                .map(|(name, value)| (Reply::bulk(name), value))
                .into(),
        )
    }
}

fn table(rows: &[Row]) -> String {
    let head = ["NODE", "ADDRESS", "STATE", "SLOTS LED", "KEYS", "EPOCH"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head)
        .chain(rows.iter().map(Row::cells))
        .collect();
    aligned(&lines) + &summary(rows) + "\n"
}

/// Lines whose columns stand below each other.
pub fn aligned<const COLUMNS: usize>(lines: &[[String; COLUMNS]]) -> String {
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn summary(rows: &[Row]) -> String {
    let up = rows
        .iter()
        .filter(|row| ["up", "unsure"].contains(&row.state));
    let sure = rows.iter().filter(|row| row.state == "up");
    let (count, served) = (up.count(), sure.map(Row::slots).sum::<usize>());
    let keys: i64 = rows.iter().filter_map(|row| row.keys).sum();
    let verdict = if served == usize::from(SLOTS) {
        "ok"
    } else {
        "degraded"
    };
    format!(
        "{verdict}: {count} of {} nodes up, {served} of {SLOTS} slots served, keys: {keys}",
        rows.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:8400@7400 myself,master - 0 0 4 connected \
0-8191 16383
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 ::1:8401@7401 master,fail - 0 0 4 disconnected 8192-16382
not a node
";

    fn rows() -> Vec<Row> {
        NODES.lines().filter_map(row).collect()
    }

    #[test]
    fn lines_become_rows() {
        let [first, second] = rows().try_into().unwrap();
        assert_eq!(first.address, "127.0.0.1:7400");
        assert_eq!(first.redirect, "127.0.0.1:8400");
        assert_eq!((first.state, first.slots(), first.epoch), ("up", 8193, 4));
        assert!(first.leads(8191) && !first.leads(8192) && first.leads(16383));
        assert_eq!(second.address, "[::1]:7401");
        assert_eq!((second.state, second.slots()), ("down", 8191));
    }

    #[test]
    fn servers_of_redis_have_a_bus_behind_the_at() {
        let line = "07c3 127.0.0.1:7001@17001,name master - 0 0 1 connected 0-1";
        let mut rows: Vec<Row> = row(line).into_iter().collect();
        answer_where_they_say(&mut rows);
        assert_eq!(rows[0].address, "127.0.0.1:7001");
    }

    #[test]
    fn a_table_has_aligned_columns_and_a_summary() {
        let mut rows = rows();
        rows[0].keys = Some(42);
        assert_eq!(
            table(&rows),
            "\
NODE      ADDRESS         STATE  SLOTS LED      KEYS  EPOCH
07c37dfe  127.0.0.1:7400  up     8193 (50.0 %)  42    4
67ed2db8  [::1]:7401      down   8191 (50.0 %)  -     4
degraded: 1 of 2 nodes up, 8193 of 16384 slots served, keys: 42
"
        );
    }

    #[test]
    fn a_node_that_is_not_sure_to_lead_is_up_and_serves_nothing() {
        let mut rows = rows();
        rows[1].state = "unsure";
        let expect = "degraded: 2 of 2 nodes up, 8193 of 16384 slots served, keys: 0";
        assert_eq!(summary(&rows), expect);
    }
}
