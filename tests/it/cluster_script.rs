//! What people type: `scripts/cluster` and what it says.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, id};

use dht_tests::process::target;

#[test]
fn a_cluster_goes_up_loses_a_node_and_leaves_nothing_behind() {
    let script = Script::on_free_ports();
    let up = script.run("up", true);
    assert!(up.contains("The cluster is ready"), "{up}");
    assert!(
        up.contains("2) \"Alice\""),
        "the example was not answered: {up}"
    );
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
    assert!(script.run("kill 3", false).contains("there is no node 3"));

    assert!(script.run("down", true).contains("is down"));
    assert!(
        !script.state().exists(),
        "{} was left",
        script.state().display()
    );
    assert!(script.ports().all(is_free), "a node still listens");
    assert!(script.run("status", false).contains("no cluster"));
    assert!(script.run("sideways", false).starts_with("usage: "));
}

/// scripts/cluster with a cluster of its own, which is ended with this value.
struct Script {
    base: u16,
}

impl Script {
    fn on_free_ports() -> Self {
        let start = u16::try_from(id() % 1000).unwrap() * 8;
        let candidates = (0..1000).map(|step| 20_000 + (start + step * 8) % 8000);
        let mut scripts = candidates.map(|base| Self { base });
        let free = scripts.find(|script| {
            let free = script.ports().all(is_free);
            free && !script.state().exists()
        });
        free.expect("ports that are free")
    }

    /// What it prints; `succeeds` says how it must end.
    fn run(&self, args: &str, succeeds: bool) -> String {
        let ended = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cluster"))
            .args(args.split(' '))
            .env("DHT_PORT", self.base.to_string())
            .env("DHT_PROFILE", "dev")
            .env("CARGO_TARGET_DIR", target())
            .output()
            .unwrap();
        let printed = [ended.stdout, ended.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        assert_eq!(ended.status.success(), succeeds, "{args}: {printed}");
        printed
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
