//! What people type: `scripts/cluster` and what it says.

use std::env;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::time::{Duration, Instant};

use dht_tests::process::{ask, target};

#[test]
fn a_cluster_goes_up_loses_a_node_and_leaves_nothing_behind() {
    let script = Script::on_free_ports(0);
    let up = script.run("up", true);
    assert!(up.contains("The cluster is ready"), "{up}");
    assert!(
        up.contains("2) \"Alice\""),
        "the example was not answered: {up}"
    );
    for (node, line) in up.lines().skip(1).take(3).enumerate() {
        let address = format!("127.0.0.1:{}", script.base + u16::try_from(node).unwrap());
        assert!(line.contains(&address), "{line}");
        let log = line
            .split(" log ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        assert!(Path::new(log.unwrap()).is_file(), "{line}");
    }
    let shown: Vec<&str> = up
        .lines()
        .filter_map(|line| line.strip_prefix("  $ "))
        .collect();
    let answers: Vec<String> = shown.iter().map(|line| script.type_in(line)).collect();
    assert_eq!(answers[..2], ["0\n", "name\nAlice\nage\n25\n"], "{shown:?}");
    assert!(answers[2].contains("127.0.0.1:"), "{}", answers[2]);
    assert!(script.run("up", true).contains("already up"));

    assert!(script.run("kill 1", true).contains("was killed"));
    assert!(
        script
            .run("status", true)
            .contains("not running (scripts/cluster start 1)")
    );
    assert!(script.run("kill 1", false).contains("is not running"));
    assert!(script.run("start 1", true).contains("is ready"));
    assert!(script.run("start 1", false).contains("already running"));
    what_was_written_outlives_all_nodes(&script);
    for named in ["3", "-1", "one", "003"] {
        let refused = script.run(&format!("kill {named}"), false);
        assert!(
            refused.contains(&format!("there is no node '{named}'")),
            "{refused}"
        );
        assert!(refused.contains("are 0 to 2"), "{refused}");
    }

    assert!(script.run("down", true).contains("is down"));
    assert!(
        !script.state().exists(),
        "{} was left",
        script.state().display()
    );
    assert!(script.ports().all(is_free), "a node still listens");
    for command in ["status", "kill 0", "start 0", "down"] {
        let refused = script.run(command, false);
        assert!(
            refused.contains("no cluster on port"),
            "{command}: {refused}"
        );
    }
    assert!(script.run("sideways", false).starts_with("usage: "));
}

/// However they are started again.
fn what_was_written_outlives_all_nodes(script: &Script) {
    let node = format!("127.0.0.1:{}", script.base).parse().unwrap();
    assert_eq!(ask(node, "SET kept 1").unwrap(), "+OK\r\n");
    let kill_all = || (0..3).for_each(|node| _ = script.run(&format!("kill {node}"), true));
    kill_all();
    let alone = script.run("start 0", true);
    assert!(
        alone.contains("serves as soon as more than half"),
        "{alone}"
    );
    assert!(script.run("start 2", true).contains("Node 2 is ready"));
    assert!(script.run("start 1", true).contains("Node 1 is ready"));
    assert_eq!(ask(node, "GET kept").unwrap(), "$1\r\n1\r\n");
    kill_all();
    let other = script.run("up 5", false);
    assert!(
        other.contains("the data of a cluster of 3 nodes"),
        "{other}"
    );
    let up = script.run("up", true);
    assert!(up.contains("have the data that they had before"), "{up}");
    assert_eq!(ask(node, "GET kept").unwrap(), "$1\r\n1\r\n");
}

#[test]
fn a_port_in_use_is_noticed_at_once_and_named() {
    let script = Script::on_free_ports(1);
    let taken = TcpListener::bind(("127.0.0.1", script.base + 1)).unwrap();
    let begun = Instant::now();
    let refused = script.run("up", false);
    assert!(
        refused.contains("Node 1 ended before it was ready"),
        "{refused}"
    );
    assert!(refused.contains("in use"), "{refused}");
    assert!(
        begun.elapsed() < Duration::from_secs(50),
        "{:?}",
        begun.elapsed()
    );
    assert!(!script.state().exists());
    drop(taken);
}

/// Whether the runner says with a variable of which package a test is. Some packages are compiled
/// anew where that changes, and all that depends on them, which takes minutes.
fn is_about_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// scripts/cluster with a cluster of its own, which is ended with this value.
struct Script {
    base: u16,
    /// Where it is run: not in the repository, and with a way to the programs that is not their
    /// path.
    folder: tempfile::TempDir,
}

impl Script {
    /// Tests run at the same time, and each of them has a part of the ports.
    fn on_free_ports(part: u16) -> Self {
        let start = u16::try_from(id() % 300).unwrap() * 8;
        let candidates = (0..300).map(|step| 20_000 + part * 2400 + (start + step * 8) % 2400);
        let mut scripts = candidates.map(|base| {
            let folder = tempfile::tempdir().unwrap();
            symlink(target(), folder.path().join("built")).unwrap();
            Self { base, folder }
        });
        let free = scripts.find(|script| {
            let free = script.ports().all(is_free);
            free && !script.state().exists()
        });
        free.expect("ports that are free")
    }

    /// What it prints; `succeeds` says how it must end.
    fn run(&self, args: &str, succeeds: bool) -> String {
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cluster"));
        for (name, _) in env::vars_os().filter(|(name, _)| is_about_package(name)) {
            script.env_remove(name);
        }
        let ended = script
            .args(args.split(' '))
            .env("DHT_PORT", self.base.to_string())
            .env("DHT_PROFILE", "dev")
            .env("CARGO_TARGET_DIR", "built")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let printed = [ended.stdout, ended.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        assert_eq!(ended.status.success(), succeeds, "{args}: {printed}");
        printed
    }

    /// What a line prints that somebody types where the script is run.
    fn type_in(&self, line: &str) -> String {
        let mut shell = Command::new("bash");
        let ended = shell.args(["-c", line]).current_dir(self.folder.path());
        let ended = ended.output().unwrap();
        assert!(ended.status.success(), "{line}: {ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let base = self.base;
        (base..base + 3).chain(base + 1000..base + 1003)
    }

    fn state(&self) -> PathBuf {
        target().join("cluster").join(self.base.to_string())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if self.state().exists() {
            self.run("down", true);
        }
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
