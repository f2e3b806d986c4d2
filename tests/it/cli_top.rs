//! `dht-cli top`: what it shows of a cluster, on a terminal and into a pipe, and how it ends.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dht_tests::process::{Processes, program};
use dht_tests::real_redis::{Mode, RealRedis};
use dht_tests::wait;

use crate::cli::{Terminal, run, text};

/// How long something may take to be shown.
const PATIENCE: Duration = Duration::from_secs(20);

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
            let line = lines.find(|line| line.split_whitespace().nth(1) == Some(&*address));
            line.unwrap_or_else(|| panic!("{shown}"))
                .split_whitespace()
                .skip(2)
                .collect()
        };
        let mut slots = 0;
        for node in [0, 1] {
            let [state, rate, _, _, clients, memory, led, _] = cells(node)[..] else {
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
        assert_eq!(gone[1..6], ["-"; 5], "{shown}");
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

/// A client that goes on with a command until this is dropped.
struct Load(Child);

impl Load {
    fn start(node: SocketAddr, words: &str) -> Self {
        let mut command = Command::new(program("dht-cli"));
        command.args(["-p", &node.port().to_string(), "-r", "-1", "-i", "0.005"]);
        command.args(words.split(' ')).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The words of the line below the one that begins with a head, from that column on.
fn below(screen: &[String], head: &str) -> Option<Vec<String>> {
    let mut lines = screen.iter().skip_while(|line| !line.contains(head));
    let column = lines.next()?.find(head)?;
    let words = lines.next()?.get(column..)?.split_whitespace();
    Some(words.map(str::to_owned).collect())
}

/// A bound of a time, such as `<512us`.
fn is_time(text: &str) -> bool {
    let number = text
        .trim_start_matches('<')
        .trim_end_matches(['u', 'm', 's']);
    text.starts_with('<') && number.parse::<f64>().is_ok_and(|number| number > 0.0)
}

/// What is seen of three nodes with load; nothing while something is not there yet.
fn all_panels(cluster: &Processes, screen: &[String]) -> Option<()> {
    let is_count = |text: &str| text.parse::<f64>().is_ok_and(|count| count > 0.0);
    for node in 0..3 {
        let start = format!("  {}  up ", cluster.client(node));
        let line = screen.iter().find(|line| line.contains(&start))?;
        let mark = line.split(' ').next()?;
        let cells: Vec<&str> = line.split_whitespace().skip(3).collect();
        let [rate, p50, p99, clients, _, slots, _] = cells[..] else {
            return None;
        };
        let counted = [rate, clients, slots].iter().all(|count| is_count(count));
        (counted && is_time(p50) && is_time(p99)).then_some(())?;
        // It leads about a third of the ring.
        let ring = screen
            .iter()
            .find_map(|line| line.strip_prefix("RING    "))?;
        let parts = (ring.len(), ring.matches(mark).count());
        (parts.0 == 64 && (10..35).contains(&parts.1)).then_some(())?;
    }
    let healthy = "SHARDS  each has a leader, and all of its copies";
    screen.iter().find(|line| *line == healthy)?;
    let [command, rate, p50, p99, ..] = &below(screen, "COMMANDS ")?[..] else {
        return None;
    };
    (command == "HINCRBY" && is_count(rate) && is_time(p50) && is_time(p99)).then_some(())?;
    let [key, rate] = &below(screen, "HOT KEYS ")?[..] else {
        return None;
    };
    (key == r#""hot\xc3\xbf""# && is_count(rate)).then_some(())?;
    let slow = below(screen, "SLOWEST OF LATE ")?;
    (is_count(&slow[0]) && slow[1] == "ms").then_some(())?;
    screen.last().filter(|line| *line == "q to quit")?;
    Some(())
}

#[test]
fn every_panel_is_on_the_screen() {
    let cluster = Processes::start(3);
    cluster.await_safe(0);
    cluster
        .ask(1, "CONFIG SET slowlog-log-slower-than 0")
        .unwrap();
    // The key that all three change is the first, and needs to be escaped.
    let load: Vec<_> = (0..3)
        .map(|node| Load::start(cluster.client(node), "hincrby hot\u{ff} f 1"))
        .collect();
    let other = Load::start(cluster.client(0), "get cold");
    let home = tempfile::tempdir().unwrap();
    let at = cluster.client(2);
    let terminal = Terminal::of_size(at, home.path(), "top", (40, 100));
    let shown = || all_panels(&cluster, &terminal.screen());
    wait::until("all panels", PATIENCE, shown);
    // On a small one there is as much as fits, and how to leave.
    let mut small = Terminal::of_size(at, home.path(), "top", (5, 30));
    let shown = || Some(small.screen()).filter(|lines| lines.len() == 5);
    let lines = wait::until("a small screen", PATIENCE, shown);
    assert!(lines[0].starts_with("   ADDRESS"), "{lines:?}");
    assert!(lines[3].starts_with("C  "), "{lines:?}");
    assert_eq!(lines[4], "q to quit");
    small.type_keys("q");
    assert_eq!(small.end(), Some(0));
    let mut command = Command::new(program("dht-cli"));
    let ended = run(
        command.args(["-p", &at.port().to_string(), "--hotkeys"]),
        "",
    );
    let lines: Vec<String> = text(&ended.stdout).lines().map(str::to_owned).collect();
    assert!(lines[0].ends_with("CALLS/S  KEY"), "{lines:?}");
    assert!(lines[1].ends_with(r#"  "hot\xc3\xbf""#), "{lines:?}");
    assert!(lines[2].ends_with(r#"  "cold""#), "{lines:?}");
    drop((load, other));
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
            terminal.await_text("\x1b[H   ADDRESS");
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
    let mut command = Command::new(program("dht-cli"));
    command.args(["-u", &format!("redis://{}", redis.address), "--hotkeys"]);
    let ended = run(&mut command, "");
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}
