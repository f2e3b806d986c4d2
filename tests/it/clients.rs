//! Other people's clients in their cluster modes, against three processes.

use std::process::Command;

use dht_tests::process::Processes;
use dht_tests::python;

#[test]
fn redis_py_finds_the_nodes_and_their_slots() {
    let cluster = Processes::start(3);
    let redirecting = (0..3).map(|node| cluster.redirect(node));
    let addresses = std::iter::once(cluster.client(1)).chain(redirecting);
    let ports: Vec<_> = addresses
        .map(|address| address.port().to_string())
        .collect();
    assert_eq!(python::run("python/cluster_client.py", &ports), "right\n");
}

#[test]
fn redis_py_executes_transactions_through_every_node() {
    let cluster = Processes::start(3);
    let ports = (0..3).map(|node| cluster.client(node).port().to_string());
    let ports: Vec<_> = ports.collect();
    assert_eq!(python::run("python/transactions.py", &ports), "right\n");
}

#[test]
fn redis_cli_follows_redirections() {
    let cluster = Processes::start(3);
    let port = cluster.redirect(0).port();
    let mut moved = 0;
    for i in 0..12 {
        let (key, value) = (format!("user:{i}"), i.to_string());
        assert_eq!(redis_cli(port, &["-c", "SET", &key, &value]), "OK\n");
        assert_eq!(redis_cli(port, &["-c", "GET", &key]), format!("{value}\n"));
        let redirected = redis_cli(port, &["GET", &key]);
        moved += usize::from(redirected.starts_with("MOVED "));
    }
    assert!(
        (1..12).contains(&moved),
        "{moved} of 12 keys were redirected"
    );
}

#[test]
fn redis_cli_finds_no_fault_in_the_cluster() {
    let cluster = Processes::start(3);
    let node = cluster.redirect(2).to_string();
    let found = redis_cli(cluster.redirect(2).port(), &["--cluster", "check", &node]);
    assert!(
        found.contains("[OK] All nodes agree about slots configuration."),
        "{found}"
    );
    assert!(found.contains("[OK] All 16384 slots covered."), "{found}");
}

/// What redis-cli prints; an error reply is printed too.
fn redis_cli(port: u16, args: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let ended = command
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(args)
        .output();
    let printed = ended
        .expect("redis-cli is there: scripts/test installs it")
        .stdout;
    String::from_utf8_lossy(&printed).into_owned()
}
