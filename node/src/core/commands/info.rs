//! The sections of `INFO`: only what is true of this node, under the names that tools read.

use std::sync::atomic::Ordering::Relaxed;

use super::cluster::host_and_port;
use super::server::REDIS_VERSION;
use crate::core::local::Local;
use crate::core::store::SlotSet;

type Facts = Vec<(&'static str, String)>;
type Section = (&'static str, fn(&Local<'_>) -> Facts);

/// Every section, in Redis's order.
const SECTIONS: [Section; 9] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

/// Names that stand for every section.
const ALL: [&str; 3] = ["all", "default", "everything"];

/// The named sections, each once; every one if none is named.
pub fn text(ctx: &Local<'_>, named: &[&[u8]]) -> String {
    let is_named = |name: &str| {
        named
            .iter()
            .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let all = named.is_empty() || ALL.into_iter().any(is_named);
    let mut text = String::new();
    for (name, facts) in SECTIONS
        .into_iter()
        .filter(|(name, _)| all || is_named(name))
    {
        if !text.is_empty() {
            text += "\r\n";
        }
        text += &format!("# {name}\r\n");
        for (field, value) in facts(ctx) {
            text += &format!("{field}:{value}\r\n");
        }
    }
    text
}

fn server(ctx: &Local<'_>) -> Facts {
    let settings = &ctx.node.settings;
    let uptime_s = ctx.now.mono_ms.saturating_sub(ctx.node.started.mono_ms) / 1000;
    vec![
        ("redis_version", REDIS_VERSION.to_owned()),
        ("server_name", "dht".to_owned()),
        ("dht_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("redis_mode", settings.mode().to_owned()),
        ("arch_bits", usize::BITS.to_string()),
        ("run_id", ctx.node.id.to_string()),
        ("tcp_port", host_and_port(&settings.client).1.to_string()),
        (
            "redirect_port",
            host_and_port(&settings.redirect).1.to_string(),
        ),
        ("server_time_usec", ctx.now.unix_us.to_string()),
        ("uptime_in_seconds", uptime_s.to_string()),
        ("uptime_in_days", (uptime_s / 86_400).to_string()),
    ]
}

fn clients(ctx: &Local<'_>) -> Facts {
    vec![
        ("connected_clients", ctx.node.clients.len().to_string()),
        ("maxclients", ctx.node.settings.max_clients.to_string()),
        ("blocked_clients", "0".to_owned()),
    ]
}

/// The memory in use is what is resident: the allocator's own figure is not asked for.
fn memory(ctx: &Local<'_>) -> Facts {
    let sample = ctx.node.stats.sample.load();
    let (now, peak) = (sample.usage.rss_bytes, sample.rss_peak_bytes);
    vec![
        ("used_memory", now.to_string()),
        ("used_memory_human", human(now)),
        ("used_memory_rss", now.to_string()),
        ("used_memory_rss_human", human(now)),
        ("used_memory_peak", peak.to_string()),
        ("used_memory_peak_human", human(peak)),
        ("maxmemory", "0".to_owned()),
        ("maxmemory_human", human(0)),
        ("maxmemory_policy", "noeviction".to_owned()),
    ]
}

/// Bytes as Redis writes them for people: `512B`, `1.50K`, `2.00G`.
fn human(bytes: u64) -> String {
    let Some((power, unit)) = [(3, 'G'), (2, 'M'), (1, 'K')]
        .into_iter()
        .find(|(power, _)| bytes >= 1024_u64.pow(*power))
    else {
        return format!("{bytes}B");
    };
    let hundredths = u128::from(bytes) * 100 / 1024_u128.pow(power);
    format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
}

fn persistence(_: &Local<'_>) -> Facts {
    vec![
        ("loading", "0".to_owned()),
        ("rdb_bgsave_in_progress", "0".to_owned()),
        ("aof_enabled", "0".to_owned()),
    ]
}

fn stats(ctx: &Local<'_>) -> Facts {
    let stats = &ctx.node.stats;
    vec![
        (
            "total_connections_received",
            stats.connections.load(Relaxed).to_string(),
        ),
        (
            "total_commands_processed",
            stats.commands.load(Relaxed).to_string(),
        ),
        (
            "total_commands_forwarded",
            stats.forwarded.load(Relaxed).to_string(),
        ),
        (
            "instantaneous_ops_per_sec",
            stats.sample.load().commands_per_s.to_string(),
        ),
        (
            "total_net_input_bytes",
            stats.input_bytes.load(Relaxed).to_string(),
        ),
        (
            "total_net_output_bytes",
            stats.output_bytes.load(Relaxed).to_string(),
        ),
        (
            "rejected_connections",
            stats.rejected.load(Relaxed).to_string(),
        ),
        ("evicted_keys", "0".to_owned()),
    ]
}

fn replication(_: &Local<'_>) -> Facts {
    vec![
        ("role", "master".to_owned()),
        ("connected_slaves", "0".to_owned()),
    ]
}

fn cpu(ctx: &Local<'_>) -> Facts {
    let usage = ctx.node.stats.sample.load().usage;
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    vec![
        ("used_cpu_sys", seconds(usage.cpu_system_us)),
        ("used_cpu_user", seconds(usage.cpu_user_us)),
    ]
}

fn cluster(ctx: &Local<'_>) -> Facts {
    vec![(
        "cluster_enabled",
        u8::from(!ctx.node.settings.standalone).to_string(),
    )]
}

/// Of this node, not of the cluster. Without keys the database is not mentioned.
fn keyspace(ctx: &Local<'_>) -> Facts {
    let all = SlotSet::all();
    let keys = ctx.node.store.whole(&all, ctx.now.unix_ms(), false).len();
    let expires = ctx.node.store.volatile(&all);
    let line = format!("keys={keys},expires={expires},avg_ttl=0");
    Vec::from_iter((keys > 0).then_some(("db0", line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::commands::testing::Desk;
    use crate::core::node::Usage;

    #[test]
    fn sections_are_chosen_by_name() {
        let mut desk = Desk::standalone();
        for (line, heads) in [
            ("INFO cluster", "Cluster"),
            (
                "INFO KEYSPACE server Cluster cluster",
                "Server Cluster Keyspace",
            ),
            ("INFO nothing", ""),
            (
                "INFO",
                "Server Clients Memory Persistence Stats Replication CPU Cluster Keyspace",
            ),
            (
                "INFO everything x",
                "Server Clients Memory Persistence Stats Replication CPU Cluster Keyspace",
            ),
        ] {
            let text = desk.run(line);
            let found: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("# "))
                .collect();
            assert_eq!(found.join(" "), heads, "{line}");
        }
        assert_eq!(
            desk.run("INFO cluster cpu"),
            "# CPU\r\nused_cpu_sys:0.000000\r\nused_cpu_user:0.000000\r\n\r\n\
             # Cluster\r\ncluster_enabled:0\r\n"
        );
    }

    #[test]
    fn the_shell_s_figures_are_shown() {
        let mut desk = Desk::standalone();
        let usage = Usage {
            rss_bytes: 3_221_225_472,
            cpu_user_us: 1_500_000,
            ..Usage::default()
        };
        desk.node.stats.take_sample(desk.now, usage);
        desk.node.stats.input_bytes.store(77, Relaxed);
        let text = desk.run("INFO");
        for fact in [
            "used_memory_rss:3221225472",
            "used_memory_peak_human:3.00G",
            "used_cpu_user:1.500000",
            "total_net_input_bytes:77",
            "connected_clients:1",
            "uptime_in_seconds:3",
            "tcp_port:7401",
            "redis_version:7.4.0",
        ] {
            assert!(
                text.contains(&format!("\r\n{fact}\r\n")),
                "{fact} in {text}"
            );
        }
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.50K"),
            (1_048_576, "1.00M"),
            (u64::MAX, "17179869183.99G"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
