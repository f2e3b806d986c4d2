//! What core may use of other crates and of std: whatever is not named here it may not, so that a
//! dependency which waits, reads or spawns does not come in by a name that nobody has thought of.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use super::source::{Source, is_word, line_of, root};

/// Paths with which a use of another crate may begin: data structures, arithmetic and encodings.
const ALLOWED: [&str; 38] = [
    "arc_swap::",
    "bytes::",
    "consistent_hash_ring::",
    "crc32c::",
    "dashmap::",
    "dht_proto::",
    "hashbrown::",
    "itoa::",
    "protobuf::",
    "raft::",
    "rmp::",
    "rmp_serde::",
    "serde::",
    "slog::",
    "smallvec::",
    "std::arch::",
    "std::borrow::",
    "std::cell::",
    "std::cmp::",
    "std::collections::",
    "std::error::",
    "std::fmt",
    "std::hash::",
    "std::hint::",
    "std::iter::",
    "std::marker::",
    "std::mem",
    "std::ops::",
    "std::panic::",
    "std::ptr::",
    "std::result::",
    "std::slice::",
    "std::sync::Arc",
    "std::sync::OnceLock",
    "std::sync::atomic",
    "std::time::Duration",
    "std::vec::",
    "xxhash_rust::",
];
/// The one part of a crate that waits otherwise: how frames are cut.
const CODEC: &str = "tokio_util::codec::";

/// The crates that node depends on, as they are named in code, and those of every program.
static CRATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let manifest = fs::read_to_string(root().join("node/Cargo.toml")).expect("it exists");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let lines = dependencies
        .lines()
        .take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ']).next());
    let names = names
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"));
    let crates: BTreeSet<_> = names
        .chain(["std", "core", "alloc"].map(str::to_owned))
        .collect();
    assert!(
        crates.len() > 10 && crates.contains("tokio_util"),
        "{crates:?}"
    );
    crates
});

/// The lines of core's product that name a part of a crate which is not allowed.
pub fn foreign(source: &Source) -> Vec<usize> {
    let code = source.product();
    let faults = code.match_indices("::").filter_map(|(at, _)| {
        let head = &code[..at];
        let start = head.rfind(|c| !is_word(c)).map_or(0, |before| before + 1);
        // `crate::core` is a module of ours.
        let is_crate = !head[..start].ends_with("::") && CRATES.contains(&head[start..]);
        let path = &code[start..];
        let is_allowed = ALLOWED
            .iter()
            .chain([&CODEC])
            .any(|allowed| path.starts_with(allowed));
        (is_crate && !is_allowed).then(|| line_of(&code, start))
    });
    let lines: BTreeSet<_> = faults.chain(whole_crates(&code)).collect();
    lines.into_iter().collect()
}

/// A crate that is imported as a whole, perhaps under another name.
fn whole_crates(code: &str) -> impl Iterator<Item = usize> {
    let lines = (1..).zip(code.lines());
    lines.filter_map(|(number, line)| {
        let path = line
            .trim_start()
            .trim_start_matches("pub ")
            .strip_prefix("use ")?;
        let end = path.find(|c| !is_word(c))?;
        let is_whole = path[end..].starts_with(';') || path[end..].starts_with(" as ");
        (is_whole && CRATES.contains(&path[..end])).then_some(number)
    })
}

#[test]
fn whatever_is_not_named_is_caught() {
    let lines = |code: &str| foreign(&Source::new("node/src/core/x.rs", code));
    for foreign in [
        "use tokio_util::time::DelayQueue;",
        "use rustix::fs;",
        "use std::sync::mpsc;",
        "use std::sync::Mutex;",
        "use std::{fs, io};",
        "fn f() { socket2::Socket::new(); }",
        "fn f() { let x: Vec<tracing::Span>; }",
        "use tokio as quiet;",
        "use std;",
        "use core::time::Duration;",
    ] {
        assert_eq!(lines(foreign), [1], "{foreign}");
    }
    for own in [
        "use tokio_util::codec::Decoder;",
        "use crate::core::time::Now;",
        "use std::fmt;",
        "use std::fmt::{self, Write};",
        "use super::bytes;",
        "// use tokio::net;",
        "#[cfg(test)]\nmod tests { use tokio::net::TcpStream; }",
    ] {
        assert_eq!(lines(own), [0; 0], "{own}");
    }
}
