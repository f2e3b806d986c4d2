//! docs/commands.md, made from the command table. Knows nothing that the table does not say.

use std::fmt::Write;

use crate::commands::TABLE;
use crate::spec::{Kind, Spec};

const HEAD: &str = "\
# Commands

Made from the command table in `proto/src/commands.rs`; a test keeps it current. `[…]` may be left
out, `a | b` is a choice, `…` repeats what precedes it, and words in upper case are sent as they
are, in any case.
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
    text
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
    format!(
        "### {name}\n\n```\n{usage}\n```\n\n{summary}\n\n\
         - Cost: {complexity}.\n- Since: Redis {since}.\n- {place}\n"
    )
}

/// Where a command of this kind runs, in a sentence.
const fn place(kind: Kind) -> &'static str {
    match kind {
        Kind::READ => "Reads one slot.",
        Kind::WRITE => "Changes one slot, atomically.",
        Kind::READ_EACH => "Reads keys of any slots; each slot by itself.",
        Kind::WRITE_EACH => "Changes keys of any slots; atomic within each slot.",
        Kind::READ_ALL | Kind::WRITE_ALL => "Covers the whole cluster, shard by shard.",
        Kind::CURSOR => "Covers the whole cluster with one cursor.",
        Kind::META => "Is decided by the cluster's meta group.",
        Kind::SESSION => "Runs where the slot's shard is led.",
        Kind::LOCAL => "Concerns the connection or its node only.",
        Kind::HANDSHAKE | Kind::ENDING => {
            "Concerns the connection only; allowed before authentication."
        }
        Kind::TRANSACTION => "Concerns the connection and the shard of its keys, all of one slot.",
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
        let limits = [
            ("KEY_BYTES", KEY_BYTES.to_string()),
            ("FIELD_BYTES", FIELD_BYTES.to_string()),
            ("VALUE_BYTES", VALUE_BYTES.to_string()),
            ("ARGUMENTS", ARGUMENTS.to_string()),
            ("INLINE_BYTES", INLINE_BYTES.to_string()),
            (
                "UNAUTHENTICATED_ARGUMENTS",
                UNAUTHENTICATED_ARGUMENTS.to_string(),
            ),
            ("UNAUTHENTICATED_BYTES", UNAUTHENTICATED_BYTES.to_string()),
            ("QUERY_BYTES", QUERY_BYTES.to_string()),
            ("FRAME_BYTES", FRAME_BYTES.to_string()),
            ("HANDSHAKE_BYTES", HANDSHAKE_BYTES.to_string()),
            ("NESTING", NESTING.to_string()),
            ("TRANSACTION_BYTES", TRANSACTION_BYTES.to_string()),
            ("TRANSACTION_WORDS", TRANSACTION_WORDS.to_string()),
            ("WATCHERS", WATCHERS.to_string()),
            ("WATCHED_BYTES", WATCHED_BYTES.to_string()),
            ("WATCH", format!("{} s", WATCH.as_secs())),
            ("IN_FLIGHT", IN_FLIGHT.to_string()),
            ("OUTPUT_BYTES", OUTPUT_BYTES.to_string()),
            ("OUTPUT_SOFT_BYTES", OUTPUT_SOFT_BYTES.to_string()),
            ("CONNECTIONS", CONNECTIONS.to_string()),
            ("FIRST_REQUEST", format!("{} s", FIRST_REQUEST.as_secs())),
            ("DEADLINE", format!("{} s", DEADLINE.as_secs())),
            ("SESSIONS", SESSIONS.to_string()),
            ("SESSION_IDLE", format!("{} s", SESSION_IDLE.as_secs())),
            ("SESSION_WINDOW", SESSION_WINDOW.to_string()),
            ("SESSION_ANSWER_BYTES", SESSION_ANSWER_BYTES.to_string()),
            ("SESSION_BYTES", SESSION_BYTES.to_string()),
            ("PEER_FRAME_BYTES", PEER_FRAME_BYTES.to_string()),
            ("PEER_OUTPUT_BYTES", PEER_OUTPUT_BYTES.to_string()),
            ("PEER_INPUT_BYTES", PEER_INPUT_BYTES.to_string()),
        ];
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
}
