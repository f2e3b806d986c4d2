//! What a node is started with: by a program through [`Config::embedded`], or, with the feature
//! `cli`, by flags, `DHT_…` variables and one TOML file. It does not know what the settings are
//! used for.

#[cfg(feature = "cli")]
mod flags;

use std::fmt;
use std::net::SocketAddr;
#[cfg(feature = "cli")]
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[cfg(feature = "cli")]
use clap::Parser;
use dht_proto::limits;
use dht_proto::slot::SLOTS;

#[cfg(feature = "cli")]
pub use self::flags::LogFormat;
use crate::core::node::Permission;
use crate::core::notify::{Flags, UNTOLD};

/// How far the redirecting port lies above the client port.
const REDIRECT_OFFSET: u16 = 1000;
const SHARDS: u32 = 64;
const REPLICAS: u32 = 3;

/// A node of dht, a distributed hash table that speaks the Redis protocol.
///
/// Started without --join it is a table of its own. Nodes started with one --join list form a
/// cluster. With --data-dir what was acknowledged is on the disk of a majority.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "cli", derive(Parser), command(name = "dht-node", version))]
pub struct Config {
    /// Where clients are served; may be given several times.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_LISTEN",
            value_name = "ADDR",
            default_value = "127.0.0.1:7400"
        )
    )]
    #[cfg_attr(feature = "cli", arg(value_delimiter = ','))]
    pub listen: Vec<SocketAddr>,

    /// Where cluster-aware clients are served and redirected [default: 1000 above the first
    /// --listen].
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "DHT_CLUSTER_LISTEN", value_name = "ADDR")
    )]
    pub cluster_listen: Option<SocketAddr>,

    /// Under which host and port others reach this node [default: the first --listen].
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_ADVERTISE",
            value_name = "HOST:PORT",
            value_parser = host_port
        )
    )]
    pub advertise: Option<String>,

    /// The addresses of all nodes of the cluster, this one's too; the same on each of them.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_JOIN",
            value_name = "HOST:PORT",
            value_parser = host_port
        )
    )]
    #[cfg_attr(feature = "cli", arg(value_delimiter = ','))]
    pub join: Vec<String>,

    /// Keep no data, and have another server do what is asked: redis://HOST:PORT,
    /// redis-cluster://HOST:PORT,..., rediss:// and rediss-cluster:// likewise.
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "DHT_BACKEND", value_name = "URL", hide_env_values = true)
    )]
    #[cfg_attr(feature = "cli", arg(conflicts_with_all = ["join", "data_dir"]))]
    pub backend: Option<String>,

    /// Into how many parts the slots are divided: a power of two, the same on every node.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_SHARDS",
            value_name = "N",
            default_value_t = SHARDS,
            value_parser = shards
        )
    )]
    pub shards: u32,

    /// How many copies of each shard a new cluster keeps: 1, 3 or 5.
    #[cfg_attr(feature = "cli", arg(
        long,
        env = "DHT_REPLICAS",
        value_name = "N",
        default_value_t = REPLICAS,
        value_parser = replicas
    ))]
    pub replicas: u32,

    /// Where the node keeps its data; without it, in memory only. It is made if there is none, and
    /// belongs to this node alone.
    #[cfg_attr(feature = "cli", arg(long, env = "DHT_DATA_DIR", value_name = "DIR"))]
    pub data_dir: Option<PathBuf>,

    /// What clients have to give to AUTH [default: nothing].
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_PASSWORD",
            value_name = "TEXT",
            hide_env_values = true
        )
    )]
    pub password: Option<String>,

    /// A file that holds the password.
    #[cfg(feature = "cli")]
    #[arg(long, env = "DHT_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// What nodes prove to each other that they know [default: the password].
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_CLUSTER_SECRET",
            value_name = "TEXT",
            hide_env_values = true
        )
    )]
    pub cluster_secret: Option<String>,

    /// A file that holds the cluster's secret.
    #[cfg(feature = "cli")]
    #[arg(long, env = "DHT_CLUSTER_SECRET_FILE", value_name = "FILE")]
    cluster_secret_file: Option<PathBuf>,

    /// Serve the network without a password.
    #[cfg_attr(feature = "cli", arg(long, env = "DHT_INSECURE"))]
    pub insecure: bool,

    /// How many clients may be connected at a time.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_MAX_CLIENTS",
            value_name = "N",
            default_value_t = limits::CONNECTIONS
        )
    )]
    pub max_clients: usize,

    /// Which events of keys are told to those who listen, in the letters of Redis, such as KEA; the
    /// same on every node [default: none].
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_NOTIFY_KEYSPACE_EVENTS",
            value_name = "LETTERS",
            value_parser = events
        )
    )]
    pub notify_keyspace_events: Option<Flags>,

    /// From where clients may use DEBUG: no, local or yes.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            env = "DHT_ENABLE_DEBUG_COMMAND",
            value_name = "WHENCE",
            default_value = "no",
            value_parser = permission
        )
    )]
    pub enable_debug_command: Permission,

    /// Threads that serve connections [default: half of the cores].
    #[cfg(feature = "cli")]
    #[arg(long, env = "DHT_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// The form of log lines.
    #[cfg(feature = "cli")]
    #[arg(
        long,
        env = "DHT_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or filters such as dht_node::shell=debug.
    #[cfg(feature = "cli")]
    #[arg(long, env = "DHT_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: String,

    /// A TOML file with settings under the names of these flags.
    #[cfg(feature = "cli")]
    #[arg(long, env = "DHT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Config {
    /// The settings of a node in a program that says nothing else: those of the flags, except that
    /// it serves any free ports of this machine.
    #[must_use]
    pub fn embedded() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            cluster_listen: None,
            advertise: None,
            join: Vec::new(),
            backend: None,
            shards: SHARDS,
            replicas: REPLICAS,
            data_dir: None,
            password: None,
            #[cfg(feature = "cli")]
            password_file: None,
            cluster_secret: None,
            #[cfg(feature = "cli")]
            cluster_secret_file: None,
            insecure: false,
            max_clients: limits::CONNECTIONS,
            notify_keyspace_events: None,
            enable_debug_command: Permission::No,
            #[cfg(feature = "cli")]
            threads: None,
            #[cfg(feature = "cli")]
            log_format: LogFormat::Text,
            #[cfg(feature = "cli")]
            log: String::new(),
            #[cfg(feature = "cli")]
            config: None,
        }
    }

    /// Looks at each setting by itself and at all of them together, as the flags are looked at.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn check(&self) -> Result<(), ConfigError> {
        let named = |name: &str, why: String| ConfigError::Wrong(format!("{name}: {why}"));
        for address in &self.join {
            host_port(address).map_err(|why| named("join", why))?;
        }
        if let Some(address) = &self.advertise {
            host_port(address).map_err(|why| named("advertise", why))?;
        }
        shards(&self.shards.to_string()).map_err(|why| named("shards", why))?;
        replicas(&self.replicas.to_string()).map_err(|why| named("replicas", why))?;
        if self.backend.is_some() && (self.data_dir.is_some() || !self.join.is_empty()) {
            let why = "a node with a backend keeps no data and joins nobody".to_owned();
            return Err(named("backend", why));
        }
        let tells = self
            .notify_keyspace_events
            .is_some_and(|flags| !flags.is_empty());
        if self.backend.is_some() && tells {
            return Err(named("notify-keyspace-events", UNTOLD.to_owned()));
        }
        self.mistake()
            .map_or(Ok(()), |why| Err(ConfigError::Wrong(why)))
    }

    /// Whether some of them came from a file.
    #[must_use]
    pub const fn has_file(&self) -> bool {
        #[cfg(feature = "cli")]
        let has_file = self.config.is_some();
        #[cfg(not(feature = "cli"))]
        let has_file = false;
        has_file
    }

    /// What nodes prove to each other that they know; empty when nothing was set.
    #[must_use]
    pub fn cluster_secret(&self) -> &str {
        let secret = self.cluster_secret.as_deref();
        secret.or(self.password.as_deref()).unwrap_or_default()
    }

    /// Where cluster-aware clients are served; at any free port when the client port is one.
    #[must_use]
    pub fn redirect_listen(&self) -> SocketAddr {
        let above = |first: &SocketAddr| {
            let port = match first.port() {
                0 => 0,
                port => port.saturating_add(REDIRECT_OFFSET),
            };
            SocketAddr::new(first.ip(), port)
        };
        let default = self.listen.first().map(above);
        self.cluster_listen
            .or(default)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// What is wrong though every setting by itself is right.
    fn mistake(&self) -> Option<String> {
        if let Some(why) = self.backend.as_deref().and_then(crate::backend_mistake) {
            return Some(format!("--backend: {why}"));
        }
        let first = self.listen.first();
        let no_room = |addr: &&SocketAddr| addr.port() > u16::MAX - REDIRECT_OFFSET;
        if let Some(addr) = first
            .filter(no_room)
            .filter(|_| self.cluster_listen.is_none())
        {
            return Some(format!(
                "there is no port {REDIRECT_OFFSET} above {addr}: name one with --cluster-listen"
            ));
        }
        let open = self.password.as_deref().unwrap_or_default().is_empty() && !self.insecure;
        let redirect = self.redirect_listen();
        let beyond = |addr: &&SocketAddr| !addr.ip().is_loopback();
        let exposed = self.listen.iter().chain([&redirect]).find(beyond);
        if let Some(addr) = exposed.filter(|_| open) {
            return Some(format!(
                "refusing to serve {addr} without a password: set --password, or --insecure if you \
                 mean it"
            ));
        }
        let anywhere = first.is_some_and(|addr| addr.ip().is_unspecified());
        let unreachable = anywhere && self.advertise.is_none() && !self.join.is_empty();
        unreachable.then(|| {
            "say with --advertise under which address the other nodes reach this one".to_owned()
        })
    }
}

/// Why there is no [`Config`].
#[derive(Debug)]
pub enum ConfigError {
    /// The command line or the environment; or help was asked for.
    #[cfg(feature = "cli")]
    Usage(clap::Error),
    /// Anything else: the sentence.
    Wrong(String),
}

impl ConfigError {
    /// Whether it is the help or the version that was asked for, rather than a mistake.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self {
            #[cfg(feature = "cli")]
            Self::Usage(error) => flags::is_answer(error),
            Self::Wrong(_) => false,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "cli")]
            Self::Usage(error) => flags::show(error, f),
            Self::Wrong(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for ConfigError {}

fn host_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("it has to be HOST:PORT".to_owned()),
    }
}

/// The events that letters stand for, as a flag and a program say them.
///
/// # Errors
/// What it has to be.
pub(crate) fn events(text: &str) -> Result<Flags, String> {
    let wrong = "it has to be letters of g$lshzxetdKEnA";
    Flags::parse(text.as_bytes()).ok_or_else(|| wrong.to_owned())
}

#[cfg(feature = "cli")]
fn permission(text: &str) -> Result<Permission, String> {
    Permission::named(text).ok_or_else(|| "it has to be no, local or yes".to_owned())
}

fn replicas(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        _ => Err("it has to be 1, 3 or 5".to_owned()),
    }
}

fn shards(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n) if n.is_power_of_two() && n <= u32::from(SLOTS) => Ok(n),
        _ => Err(format!("it has to be a power of two up to {SLOTS}")),
    }
}
