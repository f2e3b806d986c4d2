//! docs/commands.md, made from the command table. Knows nothing that the table does not say.

use std::fmt::Write;

use crate::absent::ABSENT;
use crate::commands::TABLE;
use crate::differs;
use crate::spec::{Kind, Spec};

const HEAD: &str = "\
# Commands

Made from the command table in `proto/src/commands.rs`; a test keeps it current. `[…]` may be left
out, `a | b` is a choice, `…` repeats what precedes it, and words in upper case are sent as they
are, in any case. What is not said to be otherwise is as in Redis, to the byte: tests compare it.
";

/// The text of docs/commands.md.
#[must_use]
pub fn commands_md() -> String {
    let mut text = HEAD.to_owned();
    for group in TABLE.chunk_by(|one, next| one.family == next.family) {
        let family = group[0].family;
        // Writing to a string does not fail.
        let _ = write!(text, "\n## {family:?}\n");
        for spec in group {
            let _ = write!(text, "\n{}", entry(spec));
        }
    }
    text.push_str(ABSENT_HEAD);
    for family in ABSENT {
        let names = family.names.replace(' ', ", ").replace('|', " ");
        let _ = writeln!(text, "\n- {}: {names}.", capital(family.why));
    }
    text
}

const ABSENT_HEAD: &str = "
## Absent

Commands of Redis that are out of scope here. They answer `ERR unknown command`, with the reason
given below.
";

fn capital(sentence: &str) -> String {
    let (first, rest) = sentence.split_at(1);
    first.to_ascii_uppercase() + rest
}

fn entry(spec: &Spec) -> String {
    let Spec {
        name,
        syntax,
        summary,
        complexity,
        since,
        ..
    } = spec;
    let usage = format!("{name} {syntax}");
    let (usage, place) = (usage.trim_end(), place(spec.kind));
    let complexity = complexity.trim_end_matches('.');
    let since = if differs::OWN.contains(name) {
        "No Redis has it.".to_owned()
    } else {
        format!("Since: Redis {since}.")
    };
    let otherwise = differs::of(name).map(|how| format!("- Otherwise than in Redis: {how}\n"));
    let otherwise = otherwise.unwrap_or_default();
    format!(
        "### {name}\n\n```\n{usage}\n```\n\n{summary}\n\n\
         - Cost: {complexity}.\n- {since}\n- {place}\n{otherwise}"
    )
}

/// Where a command of this kind runs, in a sentence.
const fn place(kind: Kind) -> &'static str {
    match kind {
        Kind::READ => "Reads one slot.",
        Kind::WRITE => "Changes one slot, atomically.",
        Kind::READ_EACH => "Reads keys of any slots; each slot by itself.",
        Kind::WRITE_EACH => "Changes keys of any slots; atomic within each slot.",
        Kind::READ_ALL | Kind::READ_ANY | Kind::WRITE_ALL => {
            "Covers the whole cluster, shard by shard."
        }
        Kind::CURSOR => "Covers the whole cluster with one cursor.",
        Kind::META => "Is decided by the cluster's meta group.",
        Kind::SESSION | Kind::SNAPSHOT => "Runs where the slot's shard is led.",
        Kind::CALL => "Is answered by a provider, a connection of any node.",
        Kind::LOCAL | Kind::SIGN | Kind::LISTEN => "Concerns the connection or its node only.",
        Kind::HANDSHAKE | Kind::ENDING => {
            "Concerns the connection only; allowed before authentication."
        }
        Kind::TRANSACTION | Kind::EXECUTION => {
            "Concerns the connection and the shard of its keys, all of one slot."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `REWRITE=1` in the environment the file is written instead.
    #[test]
    fn the_committed_file_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
        let text = commands_md();
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/commands.md is not current: run this test with REWRITE=1"
        );
    }

    #[test]
    fn every_command_is_there() {
        let text = commands_md();
        for spec in TABLE {
            assert!(
                text.contains(&format!("\n### {}\n", spec.name)),
                "{}",
                spec.name
            );
        }
    }

    #[test]
    fn every_limit_is_described_with_its_value() {
        use crate::limits::*;
        macro_rules! shown {
            ($($name:ident)*) => {
                [$((stringify!($name), $name.to_string()),)*]
            };
        }
        let counts = shown! {
            KEY_BYTES FIELD_BYTES VALUE_BYTES LCS_PAIRS ARGUMENTS INLINE_BYTES
            UNAUTHENTICATED_ARGUMENTS UNAUTHENTICATED_BYTES QUERY_BYTES FRAME_BYTES
            HANDSHAKE_BYTES NESTING
            TRANSACTION_BYTES TRANSACTION_WORDS WATCHERS WATCHED_BYTES IN_FLIGHT OUTPUT_BYTES
            OUTPUT_SOFT_BYTES CONNECTIONS SESSIONS SEQUENCE SESSION_WINDOW
            SESSION_ANSWER_BYTES
            SESSION_BYTES PEER_FRAME_BYTES PEER_OUTPUT_BYTES PEER_INPUT_BYTES SESSIONS_BYTES LANES
            WAITING LANE_TASKS WISHES ENTRY_TASKS ENTRY_BYTES ENTRIES_IN_FLIGHT APPEND_ENTRIES
            APPEND_BYTES APPENDS MEMBERS SHARDS UNCOMMITTED_BYTES APPLIED_BYTES ROUNDS LOG_BYTES
            LOG_HELD_BYTES LOG_COPY_BYTES PIECE_BYTES PIECES COPY_PIECES COPIED_BYTES
            SUBSCRIPTIONS
            SUBSCRIBED_BYTES CHANNEL_BYTES PATTERN_BYTES MESSAGES_BYTES MESSAGES_SOFT_BYTES
            PEER_MESSAGES_BYTES HELD_BYTES HELD_MOST_BYTES IN_FLIGHT_BYTES SCAN_COUNT SNAPSHOTS
            SNAPSHOT_PIECE_BYTES SNAPSHOT_HELD_BYTES SERVICE_NAME_BYTES SERVICES SERVICE_CALL_BYTES
            SERVICE_CALLS SERVICE_WAITING_BYTES SLOWLOG_ENTRIES SLOWLOG_WORDS SLOWLOG_WORD_BYTES
            LATENCY_SAMPLES HOT_KEYS HOT_KEYS_SHOWN HOT_KEY_BYTES ERROR_KINDS LABEL_BYTES PIPE_BYTES
        };
        let times = [
            ("WATCH", WATCH),
            ("FIRST_REQUEST", FIRST_REQUEST),
            ("DEADLINE", DEADLINE),
            ("MESSAGES_SOFT", MESSAGES_SOFT),
            ("HOT_KEYS_WINDOW", HOT_KEYS_WINDOW),
            ("SESSION_IDLE", SESSION_IDLE),
            ("HELD_STILL", HELD_STILL),
            ("SNAPSHOT_IDLE", SNAPSHOT_IDLE),
        ];
        let times = times.map(|(name, time)| (name, format!("{} s", time.as_secs())));
        let limits: Vec<_> = counts.into_iter().chain(times).collect();
        let declared = include_str!("limits.rs").matches("pub const ").count();
        assert_eq!(limits.len(), declared, "a limit is missing here");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
        let text = std::fs::read_to_string(path).unwrap();
        for (name, value) in limits {
            assert!(
                text.contains(&format!("\n| `{name}` | {value} | ")),
                "{name} is {value}"
            );
        }
    }

    /// What each error leaves behind is said, and those of Redis are one of a kind there.
    #[test]
    fn every_kind_of_error_is_explained() {
        let read = |name: &str| {
            let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        let (protocol, consistency) = (read("protocol.md"), read("consistency.md"));
        let (_, table) = protocol.split_once("| kind | meaning | done? |").unwrap();
        let table = table.split_once("\n\n").unwrap().0;
        let of_redis = [
            "ERR",
            "WRONGTYPE",
            "NOAUTH",
            "WRONGPASS",
            "NOPROTO",
            "CROSSSLOT",
            "EXECABORT",
            "BUSYKEY",
        ];
        let kinds = table.lines().filter_map(|line| line.split('|').nth(1));
        let kinds: Vec<_> = kinds
            .flat_map(|kinds| kinds.split('`').skip(1).step_by(2))
            .collect();
        assert!(kinds.len() > 12, "{kinds:?}");
        for kind in kinds.iter().filter(|kind| !of_redis.contains(kind)) {
            let row = format!("\n| `-{kind} …` | ");
            assert!(consistency.contains(&row), "-{kind} in docs/consistency.md");
        }
    }
}
