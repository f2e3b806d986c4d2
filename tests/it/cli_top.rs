//! `dht-cli top`: what it shows of a cluster, on a terminal and into a pipe, and how it ends.

use std::process::Command;

use dht_tests::process::{Processes, program};
use dht_tests::real_redis::{Mode, RealRedis};

use crate::cli::{Terminal, run, text};

#[test]
fn tables_tell_of_every_node_and_of_what_was_slow() {
    let mut cluster = Processes::start(3);
    cluster.await_safe(0);
    for line in [
        "CONFIG SET slowlog-log-slower-than 0",
        "HSET user:1 name Alice",
        "GET",
    ] {
        cluster.ask(1, line).unwrap();
    }
    cluster.kill(2);
    let port = cluster.client(0).port().to_string();
    let mut command = Command::new(program("dht-cli"));
    let ended = run(command.args(["-p", &port, "top", "--count", "2"]), "");
    assert!(ended.status.success(), "{ended:?}");
    let shown = text(&ended.stdout);
    let tables: Vec<&str> = shown.split("ADDRESS").skip(1).collect();
    assert_eq!(tables.len(), 2, "{shown}");
    for table in tables {
        let cells = |node: usize| -> Vec<&str> {
            let address = cluster.client(node).to_string();
            let mut lines = table.lines();
            let line = lines.find(|line| line.starts_with(&address));
            line.unwrap_or_else(|| panic!("{shown}"))
                .split_whitespace()
                .skip(1)
                .collect()
        };
        let mut slots = 0;
        for node in [0, 1] {
            let [state, rate, clients, memory, led, ..] = cells(node)[..] else {
                panic!("{shown}");
            };
            assert_eq!(state, "up", "{shown}");
            assert!(rate.parse::<u64>().is_ok(), "{shown}");
            assert!(
                clients.parse::<u64>().is_ok_and(|clients| clients > 0),
                "{shown}"
            );
            assert!(memory.ends_with('M'), "{shown}");
            slots += led.parse::<u32>().unwrap();
        }
        assert!((1..=16384).contains(&slots), "{shown}");
        let gone = cells(2);
        assert!(["silent", "down"].contains(&gone[0]), "{shown}");
        assert_eq!(gone[1..4], ["-", "-", "-"], "{shown}");
        // The errors of a node are the last column.
        assert!(
            cells(1).last().unwrap().parse::<u64>().unwrap() > 0,
            "{shown}"
        );
        let slow = table
            .lines()
            .find(|line| line.contains(r#""HSET" "user:1" "name" "Alice""#));
        let slow = slow.unwrap_or_else(|| panic!("{shown}"));
        assert!(slow.contains(&cluster.client(1).to_string()), "{shown}");
    }
}

#[test]
fn a_screen_is_renewed_until_a_key_ends_it() {
    const OPENED: &str = "\x1b[?1049h";
    let cluster = Processes::start(1);
    let home = tempfile::tempdir().unwrap();
    for key in ["q", "\x03"] {
        let mut terminal = Terminal::start(cluster.client(0), home.path(), "top");
        terminal.await_text(OPENED);
        for _ in 0..2 {
            terminal.await_text("\x1b[HADDRESS");
            terminal.await_text("q to quit");
        }
        terminal.type_keys(key);
        terminal.await_text("\x1b[?1049l");
        assert_eq!(terminal.end(), Some(0));
    }
}

#[test]
fn other_servers_are_not_shown() {
    let redis = RealRedis::start(Mode::Alone).unwrap();
    let mut command = Command::new(program("dht-cli"));
    command.args(["-u", &format!("redis://{}", redis.address), "top"]);
    let ended = run(&mut command, "");
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(
        text(&ended.stderr).contains("--stat shows other servers"),
        "{ended:?}"
    );
}
