//! A real redis-server of its own for a test, in a temporary directory, without persistence.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dht_proto::slot::SLOTS;
use tempfile::TempDir;

use crate::process::{ask, free_addresses};
use crate::wait;

/// Longest time a server takes to start.
const START: Duration = Duration::from_secs(20);

/// A running server; it ends when this is dropped.
pub struct RealRedis {
    command: Command,
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where other servers of a cluster reach it, or clients with TLS.
    bus: SocketAddr,
    home: TempDir,
}

/// Alone, or as a cluster of one node that has every slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As redis-server is by default.
    Alone,
    /// With `cluster-enabled yes`.
    Cluster,
    /// Likewise, without any slot yet.
    Member,
    /// Alone, and through TLS as well.
    Tls,
}

/// A Redis Cluster of several servers, each with its share of the slots.
pub struct RealCluster {
    /// The servers.
    pub servers: Vec<RealRedis>,
}

impl RealCluster {
    /// Starts servers and waits until each of them sees the whole cluster.
    ///
    /// # Errors
    /// There is no redis-server, or it does not start.
    pub fn start(count: u16) -> io::Result<Self> {
        let servers = (0..count).map(|_| RealRedis::start(Mode::Member));
        let servers = servers.collect::<io::Result<Vec<_>>>()?;
        let share = SLOTS / count;
        for (place, server) in (0..count).zip(&servers) {
            let first = place * share;
            let last = if place + 1 == count {
                SLOTS - 1
            } else {
                first + share - 1
            };
            ask(
                server.address,
                &format!("CLUSTER ADDSLOTSRANGE {first} {last}"),
            )?;
            // Two servers with one epoch would have to settle that first.
            let epoch = place + 1;
            ask(server.address, &format!("CLUSTER SET-CONFIG-EPOCH {epoch}"))?;
        }
        for server in &servers[1..] {
            let (host, port) = (server.address.ip(), server.address.port());
            let meet = format!("CLUSTER MEET {host} {port} {}", server.bus.port());
            ask(servers[0].address, &meet)?;
        }
        let size = format!("cluster_size:{count}");
        for server in &servers {
            let is_whole =
                |info: &String| info.contains("cluster_state:ok") && info.contains(&size);
            wait::until("the cluster", START, || {
                ask(server.address, "CLUSTER INFO").ok().filter(is_whole)
            });
        }
        Ok(Self { servers })
    }

    /// `redis-cluster://` and the servers' addresses.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses = self.servers.iter().map(|server| server.address.to_string());
        let addresses: Vec<_> = addresses.collect();
        format!("redis-cluster://{}", addresses.join(","))
    }
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
        if mode == Mode::Tls {
            make_certificates(home.path())?;
            command.args(["--tls-port", &bus.port().to_string()]);
            command.args(["--tls-auth-clients", "no"]);
            for (flag, file) in [
                ("cert", "cert.pem"),
                ("key", "key.pem"),
                ("ca-cert", "ca.pem"),
            ] {
                command
                    .arg(format!("--tls-{flag}-file"))
                    .arg(home.path().join(file));
            }
        }
        if matches!(mode, Mode::Cluster | Mode::Member) {
            command.args([
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus.port().to_string(),
            ]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Self {
            command,
            child,
            address,
            bus,
            home,
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

impl RealRedis {
    /// Where it listens for TLS, and the file with the certificate that vouches for it.
    #[must_use]
    pub fn tls(&self) -> (SocketAddr, PathBuf) {
        (self.bus, self.home.path().join("ca.pem"))
    }

    /// Ends it and starts it again, with the data that it had.
    ///
    /// # Errors
    /// It does not save its data, or does not start.
    pub fn restart(&mut self) -> io::Result<()> {
        ask(self.address, "SAVE")?;
        self.child.kill()?;
        self.child.wait()?;
        self.child = self.command.spawn()?;
        wait::until("redis-server", START, || ask(self.address, "PING").ok());
        Ok(())
    }

    /// Stops it where it is, as a machine without time; ended by [`thaw`](Self::thaw).
    ///
    /// # Panics
    /// When there is no such process.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }
}

impl Drop for RealRedis {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end and nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for loopback, its key, and the certificate of who vouches for it.
fn make_certificates(folder: &Path) -> io::Result<()> {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for line in [
        &format!("{new} -x509 -days 2 -subj /CN=test -keyout ca.key -out ca.pem"),
        &format!(
            "{new} -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem \
             -out req.pem"
        ),
        "x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -copy_extensions copy -out cert.pem",
    ] {
        let mut openssl = Command::new("openssl");
        let ended = openssl
            .args(line.split_whitespace())
            .current_dir(folder)
            .output()?;
        if !ended.status.success() {
            let why = String::from_utf8_lossy(&ended.stderr);
            return Err(io::Error::other(format!("openssl {line}: {why}")));
        }
    }
    Ok(())
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
