//! The article's programs, run with the real packages against a cluster of three processes.
//! tests/article holds them; each departure from the article's text is one line
//! of them that says so.

use std::fs;
use std::path::Path;

use dht_tests::process::Processes;
use dht_tests::python;

#[test]
fn the_tcp_client_prints_an_answer() {
    let cluster = Processes::start(1);
    let port = [cluster.client(0).port().to_string()];
    let printed = python::run("article/tcp_client.py", &port);
    assert!(printed.starts_with("b'-ERR Protocol error"), "{printed}");
    let printed = python::run("article/tcp_client_ping.py", &port);
    assert_eq!(printed, "b'+PONG\\r\\n'\n");
}

#[test]
fn many_threads_work_at_once_and_none_is_answered_wrong() {
    let cluster = Processes::start(3);
    let ports: Vec<_> = (0..3)
        .map(|node| cluster.client(node).port().to_string())
        .collect();
    let printed = python::run("article/threads.py", &ports);
    let right = |line: &&str| line.starts_with("Worker ") && line.ends_with(": 0 wrong");
    assert_eq!(printed.lines().filter(right).count(), 32, "{printed}");
    assert!(printed.ends_with("Together: 1600\n"), "{printed}");
}

#[test]
fn the_redis_program_prints_the_same_on_every_node() {
    let cluster = Processes::start(3);
    for node in 0..3 {
        let port = cluster.client(node).port().to_string();
        let printed = python::run("article/redis_hash.py", &[port]);
        assert_eq!(
            printed, "{b'name': b'Alice', b'age': b'25'}\n",
            "on node {node}"
        );
    }
}

#[test]
fn the_remote_call_is_answered_through_every_node() {
    let cluster = Processes::start(3);
    let port = |node: usize| [cluster.client(node).port().to_string()];
    let _server = python::Running::start("article/calculator_server.py", &port(0));
    for node in 0..3 {
        let printed = python::run("article/calculator_client.py", &port(node));
        assert_eq!(printed, "8\n", "on node {node}");
    }
}

/// Who compares a program with the article has to see at a glance what is not the article's.
#[test]
fn each_departure_is_one_line_that_says_so() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("article");
    for (program, departures, digest) in [
        ("tcp_client.py", 2, 0xb2f1_d44b_30a9_577e),
        ("tcp_client_ping.py", 3, 0x0130_c5a4_c4f0_3c44),
        ("threads.py", 4, 0xa234_8c10_5e26_3611),
        ("calculator_server.py", 3, 0x0f48_4817_89af_69ed),
        ("calculator_client.py", 3, 0x5fa6_0c9a_5f92_af51),
        ("redis_hash.py", 2, 0xac7d_6bbc_3d56_d646),
    ] {
        let text = fs::read_to_string(folder.join(program)).unwrap();
        let is_said = |line: &&str| line.contains("  # Departure: ");
        assert_eq!(
            text.lines().filter(is_said).count(),
            departures,
            "{program}"
        );
        // The others are to be the article's: whoever changes one has to look there.
        let others: String = text
            .lines()
            .filter(|line| !is_said(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let found = fnv(others.as_bytes());
        assert_eq!(
            found, digest,
            "{program} {found:#x}: a line without a mark has changed"
        );
    }
}

/// FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
