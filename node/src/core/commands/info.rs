//! The sections of `INFO`: only what is true of this node, under the names that tools read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dht_proto::resp::quoted;
use dht_proto::spec::CommandId;
use xxhash_rust::xxh3::xxh3_64;

use super::cluster::host_and_port;
use super::server::REDIS_VERSION;
use crate::core::local::Local;
use crate::core::measures::hot::HotKey;
use crate::core::node::Usage;
use crate::core::pubsub::Way;
use crate::core::store::SlotSet;

type Facts = Vec<(&'static str, String)>;
type Section = (&'static str, Body);

/// How the lines of a section are made.
#[derive(Clone, Copy)]
enum Body {
    /// A line a fact.
    Facts(fn(&Local<'_>) -> Facts),
    /// A line a command, or an error.
    Lines(fn(&Local<'_>) -> Vec<String>, IfAsked),
}

/// Whether a section is there only if it, or everything, is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfAsked {
    Yes,
    No,
}

/// Every section, in Redis's order.
const SECTIONS: [Section; 13] = [
    ("Server", Body::Facts(server)),
    ("Clients", Body::Facts(clients)),
    ("Memory", Body::Facts(memory)),
    ("Persistence", Body::Facts(persistence)),
    ("Stats", Body::Facts(stats)),
    ("Replication", Body::Facts(replication)),
    ("CPU", Body::Facts(cpu)),
    ("Commandstats", Body::Lines(commandstats, IfAsked::Yes)),
    ("Errorstats", Body::Lines(errorstats, IfAsked::No)),
    ("Latencystats", Body::Lines(latencystats, IfAsked::Yes)),
    ("Cluster", Body::Facts(cluster)),
    ("Keyspace", Body::Facts(keyspace)),
    ("Hotkeys", Body::Lines(hot_keys, IfAsked::Yes)),
];

/// Names that stand for every section.
const ALL: [&str; 2] = ["all", "everything"];

/// The named sections, each once; those of Redis's choice if none is named.
pub fn text(ctx: &Local<'_>, named: &[&[u8]]) -> String {
    let is_named = |name: &str| {
        named
            .iter()
            .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let all = ALL.into_iter().any(is_named);
    let usual = named.is_empty() || is_named("default");
    let is_shown = |(name, body): &Section| {
        let is_usual = !matches!(body, Body::Lines(_, IfAsked::Yes));
        all || usual && is_usual || is_named(name)
    };
    let mut text = String::new();
    for (name, body) in SECTIONS.into_iter().filter(is_shown) {
        if !text.is_empty() {
            text += "\r\n";
        }
        text += &format!("# {name}\r\n");
        match body {
            Body::Facts(facts) => {
                for (field, value) in facts(ctx) {
                    text += &format!("{field}:{value}\r\n");
                }
            }
            Body::Lines(lines, _) => {
                for line in lines(ctx) {
                    text += &format!("{line}\r\n");
                }
            }
        }
    }
    text
}

fn server(ctx: &Local<'_>) -> Facts {
    let settings = &ctx.node.settings;
    let backend = settings.backend.as_ref();
    let usage = ctx.node.stats.sample.load().usage;
    let uptime_s = ctx.now.mono_ms.saturating_sub(ctx.node.started.mono_ms) / 1000;
    let mut facts = vec![
        ("redis_version", REDIS_VERSION.to_owned()),
        ("redis_build_id", build_id(&usage)),
        ("server_name", "dht".to_owned()),
        ("dht_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("redis_mode", settings.mode().to_owned()),
        ("os", usage.os.join(" ")),
        ("arch_bits", usize::BITS.to_string()),
        ("process_id", usage.process_id.to_string()),
        ("run_id", ctx.node.id.to_string()),
        ("tcp_port", host_and_port(&settings.client).1.to_string()),
        (
            "redirect_port",
            host_and_port(&settings.redirect).1.to_string(),
        ),
        ("server_time_usec", ctx.now.unix_us.to_string()),
        ("uptime_in_seconds", uptime_s.to_string()),
        ("uptime_in_days", (uptime_s / 86_400).to_string()),
    ];
    if let Some(backend) = backend {
        facts.push(("dht_backend", backend.clone()));
        facts.push(("dht_consistency", "that of the backend".to_owned()));
    }
    facts
}

/// The same for all programs that were built of one version for one platform.
fn build_id(usage: &Usage) -> String {
    let [system, processor] = usage.os;
    let build = [env!("CARGO_PKG_VERSION"), system, processor].join(" ");
    format!("{:016x}", xxh3_64(build.as_bytes()))
}

fn clients(ctx: &Local<'_>) -> Facts {
    let clients = ctx.node.clients.iter();
    let listening = clients.filter(|client| client.labels.load().is_listening());
    let listening = listening.count();
    vec![
        ("connected_clients", ctx.node.clients.len().to_string()),
        ("maxclients", ctx.node.settings.max_clients.to_string()),
        ("blocked_clients", "0".to_owned()),
        ("tracking_clients", "0".to_owned()),
        ("pubsub_clients", listening.to_string()),
    ]
}

/// The memory in use is what is resident: the allocator's own figure is not asked for, so nothing
/// is known of fragmentation. As in Redis overhead is what there was at the start and the tables
/// of keys, and everything else is data.
fn memory(ctx: &Local<'_>) -> Facts {
    let sample = ctx.node.stats.sample.load();
    let (now, peak) = (sample.usage.rss_bytes, sample.rss_peak_bytes);
    let system = sample.usage.system_bytes;
    let startup = sample.rss_first_bytes;
    let overhead = (startup + ctx.node.store.tables_bytes() as u64).min(now);
    vec![
        ("used_memory", now.to_string()),
        ("used_memory_human", human(now)),
        ("used_memory_rss", now.to_string()),
        ("used_memory_rss_human", human(now)),
        ("used_memory_peak", peak.to_string()),
        ("used_memory_peak_human", human(peak)),
        ("used_memory_overhead", overhead.to_string()),
        ("used_memory_startup", startup.to_string()),
        ("used_memory_dataset", (now - overhead).to_string()),
        ("total_system_memory", system.to_string()),
        ("total_system_memory_human", human(system)),
        ("mem_fragmentation_ratio", "1.00".to_owned()),
        // Nothing is ever evicted.
        ("mem_not_counted_for_evict", "0".to_owned()),
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

fn persistence(ctx: &Local<'_>) -> Facts {
    let (is_loading, settings) = (ctx.view().is_loading, &ctx.node.settings);
    let (is_full, saves) = (ctx.node.is_full.load(Relaxed), &ctx.node.saves);
    let is_saving = saves.is_under_way.load(Relaxed);
    vec![
        ("loading", u8::from(is_loading).to_string()),
        ("async_loading", "0".to_owned()),
        // What is answered is kept where it ever will be: nothing waits for a snapshot.
        ("rdb_changes_since_last_save", "0".to_owned()),
        ("rdb_bgsave_in_progress", u8::from(is_saving).to_string()),
        ("rdb_last_save_time", saves.last_s.load(Relaxed).to_string()),
        // One that fails ends the node, or is tried until it is there.
        ("rdb_last_bgsave_status", "ok".to_owned()),
        ("aof_enabled", u8::from(settings.is_durable).to_string()),
        // No log is ever written anew.
        ("aof_rewrite_in_progress", "0".to_owned()),
        ("aof_last_bgrewrite_status", "ok".to_owned()),
        (
            "aof_last_write_status",
            if is_full { "err" } else { "ok" }.to_owned(),
        ),
    ]
}

fn stats(ctx: &Local<'_>) -> Facts {
    let (stats, store) = (&ctx.node.stats, &ctx.node.store);
    let names = |way| ctx.node.hub.names(way).to_string();
    let count = |counter: &AtomicU64| counter.load(Relaxed).to_string();
    let sample = stats.sample.load();
    let kib = |bytes: u64| format!("{}.{:02}", bytes / 1024, bytes % 1024 * 100 / 1024);
    let (expired_keys, expired_fields) = store.events.expired();
    let (hits, misses) = store.lookups.counts();
    let errors: u64 = ctx.node.measures.errors().values().sum();
    vec![
        ("total_connections_received", count(&stats.connections)),
        ("total_commands_processed", count(&stats.commands)),
        ("total_commands_forwarded", count(&stats.forwarded)),
        (
            "instantaneous_ops_per_sec",
            sample.commands_per_s.to_string(),
        ),
        ("total_net_input_bytes", count(&stats.input_bytes)),
        ("total_net_output_bytes", count(&stats.output_bytes)),
        ("instantaneous_input_kbps", kib(sample.input_bytes_per_s)),
        ("instantaneous_output_kbps", kib(sample.output_bytes_per_s)),
        ("rejected_connections", count(&stats.rejected)),
        // No node copies another.
        ("sync_full", "0".to_owned()),
        ("sync_partial_ok", "0".to_owned()),
        ("sync_partial_err", "0".to_owned()),
        ("expired_keys", expired_keys.to_string()),
        ("expired_subkeys", expired_fields.to_string()),
        ("evicted_keys", "0".to_owned()),
        ("keyspace_hits", hits.to_string()),
        ("keyspace_misses", misses.to_string()),
        ("pubsub_channels", names(Way::Channel)),
        ("pubsub_patterns", names(Way::Pattern)),
        ("pubsubshard_channels", names(Way::Shard)),
        // Nothing is ever forked.
        ("latest_fork_usec", "0".to_owned()),
        ("total_error_replies", errors.to_string()),
        ("dht_messages_dropped", count(&stats.messages_dropped)),
    ]
}

/// Commands that were called or refused.
fn commandstats(ctx: &Local<'_>) -> Vec<String> {
    let line = |id: CommandId| {
        let of = ctx.node.measures.of(id);
        let counters = [&of.calls, &of.took_us, &of.refused, &of.failed];
        let [calls, us, refused, failed] = counters.map(|counter| counter.load(Relaxed));
        let each = us as f64 / calls.max(1) as f64;
        let name = id.spec().full_name();
        (calls + refused + failed > 0).then(|| {
            format!(
                "cmdstat_{name}:calls={calls},usec={us},usec_per_call={each:.2},\
                 rejected_calls={refused},failed_calls={failed}"
            )
        })
    };
    CommandId::all().filter_map(line).collect()
}

/// How often errors were answered, by their first words.
fn errorstats(ctx: &Local<'_>) -> Vec<String> {
    let errors = ctx.node.measures.errors().into_iter();
    let line = |(word, count)| format!("errorstat_{word}:count={count}");
    errors.map(line).collect()
}

/// The times of commands, each to an eighth of it.
fn latencystats(ctx: &Local<'_>) -> Vec<String> {
    let line = |id: CommandId| {
        let times = ctx.node.measures.of(id).times.get()?;
        let [p50, p99, p999] = [5000, 9900, 9990].map(|of| times.percentile(of));
        let name = id.spec().full_name();
        let is_empty = times.by_powers().is_empty();
        (!is_empty).then(|| {
            format!("latency_percentiles_usec_{name}:p50={p50}.000,p99={p99}.000,p99.9={p999}.000")
        })
    };
    CommandId::all().filter_map(line).collect()
}

/// As of a master without replicas: shards are replicated, not nodes.
fn replication(ctx: &Local<'_>) -> Facts {
    vec![
        ("role", "master".to_owned()),
        ("connected_slaves", "0".to_owned()),
        // Nobody else has what this node has.
        ("master_replid", ctx.node.id.to_string()),
        ("master_repl_offset", "0".to_owned()),
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

/// Keys that are looked at for the time that keys have left.
const TTL_SAMPLE: usize = 256;

/// Of this node, not of the cluster. Without keys the database is not mentioned.
fn keyspace(ctx: &Local<'_>) -> Facts {
    let all = SlotSet::all();
    let keys = ctx.node.store.whole(&all, ctx.now.unix_ms(), false).len();
    let expires = ctx.node.store.volatile(&all);
    let timed = ctx.node.store.timed(&all);
    let now = ctx.now.unix_ms();
    let ttl = ctx.node.store.mean_ttl_ms(&all, now, TTL_SAMPLE);
    let line = format!("keys={keys},expires={expires},avg_ttl={ttl},subexpiry={timed}");
    Vec::from_iter((keys > 0).then_some(("db0", line)))
}

/// The keys that clients of this node ask for most, as they are typed between quotes.
fn hot_keys(ctx: &Local<'_>) -> Vec<String> {
    let keys = ctx.node.measures.hot.hottest(ctx.now.mono_ms).into_iter();
    let line = |(place, hot): (usize, HotKey)| {
        let (key, rate) = (quoted(&hot.key), hot.calls_per_s);
        format!("hotkey_{place}:calls_per_s={rate:.1},key={key}")
    };
    (1..).zip(keys).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::commands::testing::Desk;
    use crate::core::keyspace::Expiry;
    use crate::core::store::{Key, Keys};

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
                "Server Clients Memory Persistence Stats Replication CPU Errorstats Cluster \
                 Keyspace",
            ),
            (
                "INFO default commandstats",
                "Server Clients Memory Persistence Stats Replication CPU Commandstats Errorstats \
                 Cluster Keyspace",
            ),
            (
                "INFO everything x",
                "Server Clients Memory Persistence Stats Replication CPU Commandstats Errorstats \
                 Latencystats Cluster Keyspace Hotkeys",
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
            process_id: 77,
            system_bytes: 1 << 32,
            os: ["linux", "x86_64"],
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
            "process_id:77",
            "total_system_memory_human:4.00G",
            "used_memory_overhead:3221225472",
            "used_memory_dataset:0",
            "os:linux x86_64",
            "keyspace_hits:0",
            "expired_subkeys:0",
        ] {
            assert!(
                text.contains(&format!("\r\n{fact}\r\n")),
                "{fact} in {text}"
            );
        }
    }

    #[test]
    fn commands_and_errors_have_a_line_each() {
        let mut desk = Desk::standalone();
        let get = dht_proto::spec::look_up(&[b"GET"]).unwrap();
        let mut done = crate::core::measures::Done::default();
        (0..3).for_each(|_| done.call(get));
        done.lap(100);
        done.refused(get);
        done.failed(get);
        done.error(&dht_proto::ReplyError::WrongType);
        let facts = std::sync::Arc::clone(&desk.client.facts);
        desk.node.measures.add(&mut done, &facts, || 7);
        let expect = "# Commandstats\r\ncmdstat_get:calls=3,usec=100,usec_per_call=33.33,\
                      rejected_calls=1,failed_calls=1\r\n";
        assert_eq!(desk.run("INFO commandstats"), expect);
        let expect = "# Errorstats\r\nerrorstat_WRONGTYPE:count=1\r\n";
        assert_eq!(desk.run("INFO errorstats"), expect);
        let expect = "# Latencystats\r\n\
                      latency_percentiles_usec_get:p50=35.000,p99=35.000,p99.9=35.000\r\n";
        assert_eq!(desk.run("INFO latencystats"), expect);
        let histogram = desk.run("LATENCY HISTOGRAM get set");
        assert_eq!(
            histogram,
            "{\"get\": {\"calls\": 3, \"histogram_usec\": {64: 3}}}"
        );
        desk.run("CONFIG RESETSTAT");
        assert_eq!(desk.run("INFO commandstats"), "# Commandstats\r\n");
    }

    #[test]
    fn hot_keys_are_shown_to_who_asks_for_them() {
        let mut desk = Desk::standalone();
        let now_ms = desk.now.mono_ms;
        let hot = &desk.node.measures.hot;
        (0..9).for_each(|_| hot.add(b"user:1", now_ms));
        (0..2).for_each(|_| hot.add(b"\x00=,\"\r\n", now_ms));
        let expect = "# Hotkeys\r\nhotkey_1:calls_per_s=9.0,key=\"user:1\"\r\n\
                      hotkey_2:calls_per_s=2.0,key=\"\\x00=,\\\"\\r\\n\"\r\n";
        assert_eq!(desk.run("INFO hotkeys"), expect);
        assert!(!desk.run("INFO").contains("user:1"));
        desk.run("CONFIG RESETSTAT");
        assert_eq!(desk.run("INFO hotkeys"), "# Hotkeys\r\n");
    }

    /// What exporters, dashboards and libraries read, and what they get no answer about, since
    /// there is no true one.
    #[test]
    fn tools_find_what_they_read() {
        let text = Desk::standalone().run("INFO everything");
        let fields: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(':').map(|(field, _)| field))
            .collect();
        let read = "redis_version redis_mode run_id tcp_port uptime_in_seconds connected_clients \
                    blocked_clients used_memory used_memory_human used_memory_rss \
                    used_memory_peak maxmemory maxmemory_policy mem_fragmentation_ratio \
                    mem_not_counted_for_evict loading rdb_bgsave_in_progress rdb_last_save_time \
                    aof_enabled aof_last_write_status total_connections_received \
                    total_commands_processed instantaneous_ops_per_sec rejected_connections \
                    sync_full sync_partial_ok sync_partial_err expired_keys expired_subkeys \
                    evicted_keys keyspace_hits keyspace_misses latest_fork_usec role \
                    connected_slaves master_replid master_repl_offset cluster_enabled \
                    used_memory_dataset used_memory_overhead used_memory_startup \
                    rdb_last_bgsave_status rdb_changes_since_last_save \
                    aof_last_bgrewrite_status os redis_build_id";
        let lacking: Vec<&str> = read
            .split_whitespace()
            .filter(|field| !fields.contains(field))
            .collect();
        assert!(lacking.is_empty(), "{lacking:?} in {text}");
        let field = "master_link_status";
        assert!(!fields.contains(&field), "{field} would not be true");
    }

    #[test]
    fn keys_have_so_long_on_average() {
        let mut desk = Desk::standalone();
        let now = desk.now.unix_ms();
        for (key, expiry, shown) in [
            (b"a", Expiry::Never, "keys=1,expires=0,avg_ttl=0,"),
            (
                b"b",
                Expiry::At(now + 1000),
                "keys=2,expires=1,avg_ttl=1000,",
            ),
            (
                b"c",
                Expiry::At(now + 4000),
                "keys=3,expires=2,avg_ttl=2500,",
            ),
        ] {
            let keys = Keys::one(Key::new(key));
            let set = desk
                .node
                .store
                .write_watched(&keys, (now, 0), None, |write| {
                    write.set_string(key, b"v", expiry)
                });
            assert_eq!(set, Ok(()));
            let text = desk.run("INFO keyspace");
            assert_eq!(text, format!("# Keyspace\r\ndb0:{shown}subexpiry=0\r\n"));
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
