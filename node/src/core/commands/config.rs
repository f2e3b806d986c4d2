//! What `CONFIG GET` shows: the settings that have a name in Redis and a true value here.

use dht_proto::limits;

use super::cluster::host_and_port;
use crate::core::glob;
use crate::core::node::Settings;
use crate::core::store::PACKED_FIELDS;

/// The settings that match a pattern, in the order of their names. One that is asked for without a
/// pattern has its name as it was asked for, as in Redis.
pub fn matching(settings: &Settings, patterns: &[&[u8]]) -> Vec<(String, String)> {
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
    values(settings).into_iter().filter_map(named).collect()
}

/// Names and values, sorted by name.
fn values(settings: &Settings) -> [(&'static str, String); 12] {
    let (host, port) = host_and_port(&settings.client);
    let text = str::to_owned;
    [
        ("appendonly", text("no")),
        ("bind", text(host)),
        (
            "cluster-enabled",
            text(if settings.standalone { "no" } else { "yes" }),
        ),
        ("databases", text("1")),
        ("hash-max-listpack-entries", PACKED_FIELDS.to_string()),
        ("maxclients", settings.max_clients.to_string()),
        ("maxmemory", text("0")),
        ("maxmemory-policy", text("noeviction")),
        ("port", port.to_string()),
        ("proto-max-bulk-len", limits::VALUE_BYTES.to_string()),
        ("save", text("")),
        ("timeout", text("0")),
    ]
}
