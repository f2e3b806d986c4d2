//! What `CONFIG GET` shows, the settings that have a name in Redis and a true value here, and what
//! `CONFIG SET` changes of them.

use dht_proto::{ReplyError, limits, reply};

use super::cluster::host_and_port;
use crate::core::args::parse_int;
use crate::core::glob;
use crate::core::node::Node;
use crate::core::notify::{Flags, UNTOLD};
use crate::core::pubsub::News;
use crate::core::store::PACKED_FIELDS;
use crate::core::time::UnixMs;

/// Changed at all nodes together.
const NOTIFY: &str = "notify-keyspace-events";
/// From how many microseconds on a command is slow; -1 for never.
const SLOWER_THAN: &str = "slowlog-log-slower-than";
/// How many slow commands are kept.
const SLOWLOG_LENGTH: &str = "slowlog-max-len";
/// From how many milliseconds on an event is noted; 0 for never.
const LATENCY_THRESHOLD: &str = "latency-monitor-threshold";

/// Changes settings, all that are named or none; gives what other nodes have to know.
///
/// # Errors
/// One is unknown, cannot be changed, is named twice, or cannot have this value.
pub fn set(node: &Node, now: UnixMs, words: &[&[u8]]) -> Result<Option<News>, ReplyError> {
    let (pairs, odd) = words.as_chunks();
    if !odd.is_empty() {
        return Err(ReplyError::Syntax);
    }
    let known = values(node);
    let mut changes: Vec<(&str, Change)> = Vec::new();
    for [name, value] in pairs {
        let shown = reply::shown(name, name.len());
        let found = known
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        let Some((known, present)) = found else {
            let what = "Unknown option or number of arguments for CONFIG SET";
            return Err(ReplyError::Other(format!("{what} - '{shown}'").into()));
        };
        let is_twice = changes.iter().any(|(changed, _)| changed == known);
        let change = match Change::parse(known, value) {
            Ok(Some(_)) | Err(_) if is_twice => Err("duplicate parameter".to_owned()),
            Ok(Some(change)) => Ok(change),
            // What stands for a password is none.
            Ok(None) if present != HIDDEN && value.eq_ignore_ascii_case(present.as_bytes()) => {
                continue;
            }
            Ok(None) => Err("can't set immutable config".to_owned()),
            Err(why) => Err(why),
        };
        changes.push((known, change.map_err(|why| refused(&shown, &why))?));
    }
    let tells = |change: &Change| matches!(change, Change::Notify(flags) if !flags.is_empty());
    if node.settings.backend.is_some() && changes.iter().any(|(_, change)| tells(change)) {
        return Err(refused(NOTIFY, UNTOLD));
    }
    let news = changes
        .into_iter()
        .map(|(_, change)| change.apply(node, now));
    // At most one is for others, since no setting is named twice.
    Ok(news.fold(None, |one, other| one.or(other)))
}

fn refused(setting: &str, why: &str) -> ReplyError {
    let what = "CONFIG SET failed (possibly related to argument";
    ReplyError::Other(format!("{what} '{setting}') - {why}").into())
}

/// A setting that is to be changed, and its value.
enum Change {
    Notify(Flags),
    SlowerThan(i64),
    SlowlogLength(usize),
    LatencyThreshold(u64),
}

impl Change {
    /// Nothing for a setting that cannot be changed.
    fn parse(name: &str, value: &[u8]) -> Result<Option<Self>, String> {
        let change = match name {
            NOTIFY => Flags::parse(value)
                .map(Self::Notify)
                .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtdn'.".to_owned())?,
            SLOWER_THAN => Self::SlowerThan(number(value, -1, i64::MAX)?),
            SLOWLOG_LENGTH => {
                let most = limits::SLOWLOG_ENTRIES as i64;
                Self::SlowlogLength(number(value, 0, most)? as usize)
            }
            LATENCY_THRESHOLD => Self::LatencyThreshold(number(value, 0, i64::MAX)? as u64),
            _ => return Ok(None),
        };
        Ok(Some(change))
    }

    /// Changes the setting; gives what other nodes have to know.
    fn apply(self, node: &Node, now: UnixMs) -> Option<News> {
        match self {
            // Who has not heard of the latest setting yet must not repeat an earlier one.
            Self::Notify(flags) => return Some(News::Notify(node.store.events.set(flags, now))),
            Self::SlowerThan(us) => node.measures.slowlog.set_threshold_us(us),
            Self::SlowlogLength(most) => node.measures.slowlog.set_most(most),
            Self::LatencyThreshold(ms) => node.measures.latency.set_threshold_ms(ms),
        }
        None
    }
}

fn number(value: &[u8], least: i64, most: i64) -> Result<i64, String> {
    let number = parse_int(value);
    let number = number.ok_or("argument couldn't be parsed into an integer")?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!(
            "argument must be between {least} and {most} inclusive"
        ))
    }
}

/// The settings that match a pattern, in the order of their names. One that is asked for without a
/// pattern has its name as it was asked for, as in Redis.
pub fn matching(node: &Node, patterns: &[&[u8]]) -> Vec<(String, String)> {
    let named = |(name, value): (&str, String)| {
        let pattern = patterns
            .iter()
            .find(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))?;
        let name = if pattern.eq_ignore_ascii_case(name.as_bytes()) {
            String::from_utf8_lossy(pattern).into_owned()
        } else {
            name.to_owned()
        };
        Some((name, value))
    };
    values(node).into_iter().filter_map(named).collect()
}

/// What stands in the place of a password.
const HIDDEN: &str = "(hidden)";

/// Names and values, sorted by name.
fn values(node: &Node) -> [(&'static str, String); 18] {
    let settings = &node.settings;
    let (host, port) = host_and_port(&settings.client);
    let text = str::to_owned;
    let slowlog = &node.measures.slowlog;
    let threshold_ms = node.measures.latency.threshold_ms().unwrap_or(0);
    [
        (
            "appendonly",
            text(if settings.is_durable { "yes" } else { "no" }),
        ),
        ("bind", text(host)),
        (
            "cluster-enabled",
            text(if settings.standalone { "no" } else { "yes" }),
        ),
        ("databases", text("1")),
        ("enable-debug-command", text(settings.debug.name())),
        ("hash-max-listpack-entries", PACKED_FIELDS.to_string()),
        (LATENCY_THRESHOLD, threshold_ms.to_string()),
        ("maxclients", settings.max_clients.to_string()),
        ("maxmemory", text("0")),
        ("maxmemory-policy", text("noeviction")),
        (NOTIFY, node.store.events.setting().flags.to_string()),
        ("port", port.to_string()),
        ("proto-max-bulk-len", limits::VALUE_BYTES.to_string()),
        (
            "requirepass",
            text(settings.password.as_ref().map_or("", |_| HIDDEN)),
        ),
        ("save", text("")),
        (SLOWER_THAN, slowlog.slower_than_us().to_string()),
        (SLOWLOG_LENGTH, slowlog.most().to_string()),
        ("timeout", text("0")),
    ]
}
