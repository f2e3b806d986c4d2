//! The style of the repository, checked line by line: what core may import, how long things may be,
//! which words are unfinished work. Every rule has a canary, a bad snippet that it must catch.

#[path = "style/imports.rs"]
mod imports;
#[path = "style/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;

use dht_proto::commands::TABLE;
use source::{Source, is_rust, is_word, line_of, repository, root};

/// Lines of a function, its signature included.
const FUNCTION_LINES: usize = 70;
/// Lines of a function in the middle of all functions of the product.
const MEDIAN_LINES: usize = 10;
/// Lines of a file.
const FILE_LINES: usize = 1000;
/// Characters of a line.
const COLUMNS: usize = 100;
/// Lines of ARCHITECTURE.md.
const ARCHITECTURE_LINES: usize = 300;
/// The files of a node that may name the client: what asks other servers, and the door of a program
/// that embeds the node.
const CLIENTS: [&str; 3] = [
    "node/src/shell/backend.rs",
    "node/src/shell/inside.rs",
    "node/src/embed.rs",
];
/// The one file of the tests that may sleep: it asks again and again until something is so.
const POLLING: &str = "tests/src/wait.rs";
/// The one file that may be long: the command table.
const COMMAND_TABLE: &str = "proto/src/commands.rs";

struct Rule {
    name: &'static str,
    covers: fn(&str) -> bool,
    /// The lines at fault.
    faults: fn(&Source) -> Vec<usize>,
    /// A file that the rule covers and that breaks it.
    canary: fn() -> Source,
}

static RULES: &[Rule] = &[
    Rule {
        name: "core performs no I/O, reads neither clock nor randomness, spawns and awaits nothing",
        covers: is_core,
        faults: |source| {
            let words = [
                "tokio",
                "std::net",
                "std::fs",
                "std::io",
                "std::thread",
                "std::{",
                "Instant",
                "SystemTime",
                "rand",
                "getrandom",
                "async",
                ".await",
                "print!",
                "println!",
                "eprintln!",
                "std::env::var",
                "std::env::args",
                "std::process",
            ];
            lines_with(&source.product(), &words)
        },
        canary: || Source::new("node/src/core/x.rs", "use std::time::Instant;\n"),
    },
    Rule {
        name: "core uses of std and other crates only what tests/it/style/imports.rs names",
        covers: is_core,
        faults: imports::foreign,
        canary: || Source::new("node/src/core/x.rs", "use rustix::fs;\n"),
    },
    Rule {
        name: "core has no map whose order differs from run to run, and shares no locks",
        covers: is_core,
        faults: |source| {
            let code = source.product();
            lines_with(
                &code,
                &[
                    "collections::HashMap",
                    "collections::HashSet",
                    "RandomState",
                ],
            )
            .into_iter()
            .chain(lines_with(&code, &["Arc<Mutex<", "Arc<RwLock<"]))
            .collect()
        },
        canary: || Source::new("node/src/core/x.rs", "type State = Arc<Mutex<u8>>;\n"),
    },
    Rule {
        name: "core does not know the shell",
        covers: is_core,
        faults: |source| lines_with(&source.code, &["shell"]),
        canary: || Source::new("node/src/core/x.rs", "use crate::shell::Listener;\n"),
    },
    Rule {
        name: "proto performs no I/O, reads no clock and spawns no thread",
        covers: |path| path.starts_with("proto/src/"),
        faults: |source| {
            let words = [
                "tokio::",
                "std::net",
                "std::fs",
                "std::thread",
                "Instant",
                "SystemTime",
            ];
            lines_with(&source.product(), &words)
        },
        canary: || Source::new("proto/src/x.rs", "use std::net::TcpStream;\n"),
    },
    Rule {
        name: "a module says first what it is for",
        covers: is_rust,
        faults: |source| {
            let said =
                source.text.starts_with("//! ") && source.text.lines().next() != Some("//! x");
            if said { vec![] } else { vec![1] }
        },
        canary: || Source::new("node/src/x.rs", "use std::fmt;\n"),
    },
    Rule {
        name: "functions have at most 70 lines",
        covers: is_rust,
        faults: |source| {
            let functions = source.functions().into_iter();
            let long = functions.filter(|(_, _, lines)| *lines > FUNCTION_LINES);
            long.map(|(_, line, _)| line).collect()
        },
        canary: || {
            Source::new(
                "node/src/x.rs",
                &format!("fn f() {{{}}}\n", "\n".repeat(FUNCTION_LINES)),
            )
        },
    },
    Rule {
        name: "files have at most 1000 lines",
        covers: |path| path != COMMAND_TABLE,
        faults: |source| {
            let lines = source.text.lines().count();
            if lines > FILE_LINES {
                vec![lines]
            } else {
                vec![]
            }
        },
        canary: || Source::new("node/src/x.rs", &"\n".repeat(FILE_LINES + 1)),
    },
    Rule {
        name: "lines have at most 100 columns",
        covers: |path| is_rust(path) || ![".txt", ".toml"].iter().any(|end| path.ends_with(end)),
        faults: |source| lines_where(&source.text, |line| line.chars().count() > COLUMNS),
        canary: || Source::new("scripts/x", &"x".repeat(COLUMNS + 1)),
    },
    Rule {
        name: "nothing is unfinished",
        covers: is_rust,
        faults: |source| {
            let words = ["todo!", "unimplemented!", "dbg!", "unreachable!()"];
            let mut faults = lines_with(&source.code, &words);
            faults.extend(lines_where(&source.text, |line| {
                line.contains(concat!("TO", "DO")) || line.contains(concat!("FIX", "ME"))
            }));
            faults
        },
        canary: || Source::new("node/src/x.rs", "fn f() {\n    todo!()\n}\n"),
    },
    Rule {
        name: "no lint is silenced by #[allow(…)]; #[expect(…, reason = …)] does it",
        covers: is_rust,
        faults: |source| {
            lines_with(
                &source.code,
                &["#[allow", "#![allow", "cfg_attr(test, allow"],
            )
        },
        canary: || Source::new("client/src/x.rs", "#[allow(dead_code)]\nfn f() {}\n"),
    },
    Rule {
        name: "product code neither unwraps nor panics",
        covers: is_rust,
        faults: |source| {
            let words = [
                ".unwrap()",
                ".unwrap_err()",
                ".unwrap_unchecked()",
                "panic!",
            ];
            let mut faults = lines_with(&source.product(), &words);
            // A parser may have a method of this name; whose it is in other places, clippy knows.
            let code = source.product().replace("self.expect(", "");
            faults.extend(lines_with(&code, &[".expect("]));
            faults
        },
        canary: || Source::new("client/src/x.rs", "fn f() {\n    g().unwrap();\n}\n"),
    },
    Rule {
        name: "tests wait for something, never for some time",
        covers: |path| is_rust(path) && path != POLLING,
        faults: |source| {
            let mut faults = lines_with(&source.code, &["thread::sleep", "time::sleep"]);
            let product = lines_with(&source.product(), &["thread::sleep", "time::sleep"]);
            faults.retain(|line| !product.contains(line));
            faults
        },
        canary: || {
            Source::new(
                "tests/it/x.rs",
                "fn f() {\n    std::thread::sleep(second);\n}\n",
            )
        },
    },
    Rule {
        name: "proto depends on no other package of the workspace",
        covers: |path| path == "proto/Cargo.toml",
        faults: |source| lines_with(&source.code, &["dht-node", "dht-client", "dht-tests"]),
        canary: || {
            Source::new(
                "proto/Cargo.toml",
                "[dependencies]\ndht-node.workspace = true\n",
            )
        },
    },
    Rule {
        name: "client depends on neither node nor the tests",
        covers: |path| path == "client/Cargo.toml",
        faults: |source| lines_with(&source.code, &["dht-node", "dht-tests"]),
        canary: || {
            Source::new(
                "client/Cargo.toml",
                "[dependencies]\ndht-node.workspace = true\n",
            )
        },
    },
    Rule {
        name: "node does not depend on the tests",
        covers: |path| path == "node/Cargo.toml",
        faults: |source| lines_with(&source.code, &["dht-tests"]),
        canary: || {
            Source::new(
                "node/Cargo.toml",
                "[dependencies]\ndht-tests.workspace = true\n",
            )
        },
    },
    Rule {
        name: "only the backend, and what embeds a node, name the client",
        covers: |path| path.starts_with("node/src/") && !CLIENTS.contains(&path),
        faults: |source| lines_with(&source.code, &["dht_client"]),
        canary: || Source::new("node/src/core/a.rs", "use dht_client::Client;\n"),
    },
];

#[test]
fn the_repository_keeps_every_rule() {
    let files = repository();
    assert!(files.len() > 30, "the files were not found");
    let mut faults = String::new();
    for rule in RULES {
        for source in files.iter().filter(|source| (rule.covers)(&source.path)) {
            for line in (rule.faults)(source) {
                faults += &format!("{}:{line}: {}\n", source.path, rule.name);
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn most_functions_are_short() {
    let files = repository();
    let product = files.iter().filter(|source| !source.product().is_empty());
    let mut lines: Vec<usize> = product
        .filter(|source| is_rust(&source.path))
        .flat_map(Source::functions)
        .map(|(_, _, lines)| lines)
        .collect();
    let middle = lines.len() / 2;
    let (_, median, _) = lines.select_nth_unstable(middle);
    assert!(*median <= MEDIAN_LINES, "the median is {median}");
}

#[test]
fn every_rule_catches_its_canary() {
    for rule in RULES {
        let canary = (rule.canary)();
        assert!(
            (rule.covers)(&canary.path),
            "{}: does not cover {}",
            rule.name,
            canary.path
        );
        assert!(
            !(rule.faults)(&canary).is_empty(),
            "{}: not caught",
            rule.name
        );
    }
}

#[test]
fn the_command_table_is_in_order() {
    for pair in TABLE.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let sorted = (before.family, before.name) < (after.family, after.name);
        assert!(sorted, "{} {} are out of order", before.name, after.name);
    }
    for spec in TABLE {
        assert!(spec.summary.ends_with('.'), "{}: no full stop", spec.name);
        assert_eq!(spec.name, spec.name.to_uppercase());
    }
}

#[test]
fn documents_name_only_what_exists() {
    let others = [
        "docs/protocol.md",
        "docs/consistency.md",
        "docs/operating.md",
    ];
    let documents = ["README.md", "ARCHITECTURE.md"].into_iter().chain(others);
    for document in documents {
        let text = fs::read_to_string(root().join(document)).expect(document);
        let paths = paths_in(&text);
        let is_map = !document.starts_with("docs/");
        assert!(
            !is_map || paths.len() > 5,
            "{document} names hardly any file"
        );
        for path in paths {
            assert!(root().join(path).exists(), "{document}: there is no {path}");
        }
    }
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it exists");
    assert!(
        text.lines().count() <= ARCHITECTURE_LINES,
        "it is too long to be read"
    );
}

#[test]
fn the_code_map_has_every_file_and_every_crate() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it exists");
    let paths = paths_in(&text);
    let files = repository();
    let product = files.iter().filter(|source| {
        let package = source.path.split("/src/").next().unwrap_or_default();
        is_rust(&source.path) && ["proto", "node", "client"].contains(&package)
    });
    for Source { path, .. } in product {
        let is_found =
            |named: &&str| *named == path || named.ends_with('/') && path.starts_with(named);
        let is_plain = ["/lib.rs", "/mod.rs", "/testing.rs"]
            .iter()
            .any(|end| path.ends_with(end));
        assert!(
            is_plain || paths.iter().any(is_found),
            "ARCHITECTURE.md lacks {path}"
        );
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it exists");
    let crates = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .expect("a section");
    let crates = crates.split("\n[").next().unwrap_or_default().lines();
    for name in crates
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
    {
        let is_ours = name.starts_with("dht-") || name.starts_with('#');
        assert!(
            is_ours || text.contains(name),
            "ARCHITECTURE.md lacks the crate {name}"
        );
    }
}

#[test]
fn a_package_uses_what_it_depends_on() {
    let files = repository();
    let manifests = files
        .iter()
        .filter(|source| source.path.matches('/').count() == 1);
    for Source { path, text, .. } in manifests.filter(|source| source.path.ends_with("Cargo.toml"))
    {
        let package = path.trim_end_matches("Cargo.toml");
        let dependencies = text.split("dependencies]").skip(1);
        let lines =
            dependencies.flat_map(|part| part.lines().take_while(|line| !line.starts_with('[')));
        for name in lines.filter_map(|line| line.split(['.', ' ']).next()) {
            let word = name.replace('-', "_");
            let is_used = |source: &Source| {
                let is_ours = source.path.starts_with(package) && is_rust(&source.path);
                // A derive names the module that encodes a field in a string.
                let in_derive = format!("with = \"{word}\"");
                is_ours
                    && (!lines_with(&source.code, &[&word]).is_empty()
                        || source.text.contains(&in_derive))
            };
            assert!(
                name.is_empty() || files.iter().any(is_used),
                "{path}: {name} is not used"
            );
        }
    }
}

#[test]
fn paths_are_found_in_prose() {
    let text =
        "See `node/src/lib.rs`, (scripts/cluster up) and README.md. `HSET`, a/b, target/debug";
    assert_eq!(
        paths_in(text),
        ["node/src/lib.rs", "scripts/cluster", "README.md"]
    );
}

/// The words of a document that are paths inside the repository.
fn paths_in(text: &str) -> Vec<&str> {
    let folders = [
        "proto/", "node/", "client/", "tests/", "scripts/", "docs/", ".ci/", ".config/",
    ];
    text.split(|c: char| c.is_whitespace() || "`()|,;\"'".contains(c))
        .map(|word| word.trim_end_matches(['.', ':']).trim_start_matches("./"))
        .filter(|word| {
            let is_file = [".md", ".toml", ".rs"]
                .iter()
                .any(|end| word.ends_with(end));
            folders.iter().any(|folder| word.starts_with(folder)) || is_file
        })
        .collect()
}

fn is_core(path: &str) -> bool {
    path.starts_with("node/src/core/")
}

/// The lines that hold one of the words, where a word ends where an identifier does.
fn lines_with(code: &str, words: &[&str]) -> Vec<usize> {
    let hits = words.iter().flat_map(|word| {
        code.match_indices(word).filter(move |(start, _)| {
            let before = code[..*start].chars().next_back();
            let after = code[start + word.len()..].chars().next();
            let joined = |inner: Option<char>, outer: Option<char>| {
                inner.is_some_and(is_word) && outer.is_some_and(is_word)
            };
            !joined(word.chars().next(), before) && !joined(word.chars().next_back(), after)
        })
    });
    let lines: BTreeSet<_> = hits.map(|(start, _)| line_of(code, start)).collect();
    lines.into_iter().collect()
}

fn lines_where(text: &str, is_bad: fn(&str) -> bool) -> Vec<usize> {
    let lines = (1..).zip(text.lines());
    lines
        .filter(|(_, line)| is_bad(line))
        .map(|(number, _)| number)
        .collect()
}
