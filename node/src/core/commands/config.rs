//! What `CONFIG GET` shows: the settings that have a name in Redis and a true value here.

use dht_proto::limits;

use super::cluster::host_and_port;
use crate::core::node::Settings;

/// Names and values, sorted by name.
pub fn values(settings: &Settings) -> [(&'static str, String); 11] {
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
        ("maxclients", limits::CONNECTIONS.to_string()),
        ("maxmemory", text("0")),
        ("maxmemory-policy", text("noeviction")),
        ("port", port.to_string()),
        ("proto-max-bulk-len", limits::VALUE_BYTES.to_string()),
        ("save", text("")),
        ("timeout", text("0")),
    ]
}
