//! A real redis-server of its own for a test, in a temporary directory, without persistence.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{ask, free_addresses};
use crate::wait;

/// Longest time a server takes to start.
const START: Duration = Duration::from_secs(20);

/// A running server; it ends when this is dropped.
pub struct RealRedis {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    _home: TempDir,
}

/// Alone, or as a cluster of one node that has every slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As redis-server is by default.
    Alone,
    /// With `cluster-enabled yes`.
    Cluster,
}

impl RealRedis {
    /// Starts a server and waits until it accepts connections.
    ///
    /// # Errors
    /// There is no redis-server, or it does not start.
    pub fn start(mode: Mode) -> io::Result<Self> {
        let program = program()?;
        let home = tempfile::tempdir()?;
        let addresses = free_addresses(2);
        let (address, bus) = (addresses[0], addresses[1]);
        let mut command = Command::new(program);
        command
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(home.path())
            .args(["--logfile", "redis.log"]);
        if mode == Mode::Cluster {
            command.args([
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus.port().to_string(),
            ]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Self {
            child,
            address,
            _home: home,
        };
        wait::until("redis-server", START, || ask(address, "PING").ok());
        if mode == Mode::Cluster {
            ask(address, "CLUSTER ADDSLOTSRANGE 0 16383")?;
            let is_up = |info: &String| info.contains("cluster_state:ok");
            wait::until("the slots", START, || {
                ask(address, "CLUSTER INFO").ok().filter(is_up)
            });
        }
        Ok(server)
    }
}

impl Drop for RealRedis {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end and nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `$REDIS_SERVER`, the one that `scripts/test` has put aside, or the one on the path.
fn program() -> io::Result<PathBuf> {
    let set_aside =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/redis/redis-server");
    let named = std::env::var_os("REDIS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
    named
        .into_iter()
        .chain([set_aside])
        .chain(on_path)
        .find(|program| program.is_file())
        .ok_or_else(|| io::Error::other("no redis-server: set REDIS_SERVER or run scripts/test"))
}
