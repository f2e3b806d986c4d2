//! A node inside of a program: what it is started with, and how the program talks to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{fmt, io};

use dht_client::Client;

use super::{Config, ConfigError, Failure, Listeners, Node};
use crate::config;
use crate::core::node::Permission;

/// What a node is started with. Every flag of the program that is about the node is a method of the
/// same name; what is not said is as there, except that any free ports of this machine are served.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dht_node::Node;
///
/// let mut nodes = Vec::new();
/// for node in Node::cluster(3)? {
///     nodes.push(node.start().await?);
/// }
/// for node in &mut nodes {
///     node.ready().await?;
/// }
/// nodes[0].client().set("greeting", "hello").await?;
/// assert_eq!(nodes[2].client().get("greeting").await?.as_deref(), Some(&b"hello"[..]));
/// # Ok(())
/// # }
/// ```
#[must_use = "a node runs when it is started"]
pub struct Builder {
    config: Config,
    listeners: Option<Listeners>,
    /// Why the letters of events that were said last make no sense.
    mistake: Option<String>,
}

impl Node {
    /// Begins to say what a node is started with.
    pub fn builder() -> Builder {
        Builder {
            config: Config::embedded(),
            listeners: None,
            mistake: None,
        }
    }

    /// As many nodes that know each other's addresses, as so many processes would, on any free
    /// ports of this machine: for tests, and to try.
    ///
    /// # Errors
    /// There are no such ports.
    pub fn cluster(count: usize) -> io::Result<Vec<Builder>> {
        let ports: Vec<Listeners> = (0..count)
            .map(|_| Listeners::any())
            .collect::<Result<_, _>>()?;
        let addresses = ports.iter().map(Listeners::address);
        let join: Vec<String> = addresses.collect::<Result<_, _>>()?;
        let builder = |ports| Self::builder().listeners(ports).join(join.clone());
        Ok(ports.into_iter().map(builder).collect())
    }

    /// A client in this process: every command of the cluster, through this node, without a socket
    /// and without a password. What this node leads is read at once; what others lead goes over the
    /// links between nodes. Once the node has ended, nothing is done any more.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::inside(self.inside.clone())
    }

    /// Waits until the node serves the whole keyspace: its cluster has formed, and every shard has
    /// a leader.
    ///
    /// # Errors
    /// It cannot go on, and ends.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        let ready = self.ready.clone();
        tokio::select! {
            biased;
            () = ready.cancelled() => Ok(()),
            failure = self.failed() => Err(StartError::Failed(failure)),
        }
    }
}

impl Builder {
    /// Where clients and other nodes are served.
    pub fn listen(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.config.listen = addresses.into_iter().collect();
        self
    }

    /// Where cluster-aware clients are served and redirected; 1000 above the first of
    /// [`listen`](Self::listen) unless it is said.
    pub fn cluster_listen(mut self, address: SocketAddr) -> Self {
        self.config.cluster_listen = Some(address);
        self
    }

    /// The ports, bound already, in the place of `listen` and `cluster_listen`.
    pub fn listeners(mut self, listeners: Listeners) -> Self {
        self.listeners = Some(listeners);
        self
    }

    /// Under which `host:port` others reach this node; the first of the ports unless it is said.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.config.advertise = Some(address.into());
        self
    }

    /// The addresses of all nodes of the cluster, this one's too; the same on each of them.
    pub fn join(mut self, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.join = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Has another server, at this URL, do what is asked; needs the feature `backend`.
    pub fn backend(mut self, url: impl Into<String>) -> Self {
        self.config.backend = Some(url.into());
        self
    }

    /// Into how many parts the slots are divided: a power of two, the same on every node.
    pub fn shards(mut self, count: u32) -> Self {
        self.config.shards = count;
        self
    }

    /// How many copies of each shard a new cluster keeps: 1, 3 or 5.
    pub fn replicas(mut self, count: u32) -> Self {
        self.config.replicas = count;
        self
    }

    /// Where the node keeps its data; without it, in memory only. A disk that fails ends the whole
    /// process: nobody knows then what of the last writes it has.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.data_dir = Some(path.into());
        self
    }

    /// What clients have to give to AUTH, except those in this process.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.config.password = said(password);
        self
    }

    /// What nodes prove to each other that they know; the password unless it is said.
    pub fn cluster_secret(mut self, secret: impl Into<String>) -> Self {
        self.config.cluster_secret = said(secret);
        self
    }

    /// Serves the network without a password.
    pub const fn insecure(mut self, insecure: bool) -> Self {
        self.config.insecure = insecure;
        self
    }

    /// How many clients may be connected at a time.
    pub const fn max_clients(mut self, count: usize) -> Self {
        self.config.max_clients = count;
        self
    }

    /// Which events of keys are told to those who listen, in the letters of Redis, such as `KEA`.
    pub fn notify_keyspace_events(mut self, letters: &str) -> Self {
        let events = config::events(letters);
        self.mistake = events.as_ref().err().cloned();
        self.config.notify_keyspace_events = events.ok();
        self
    }

    /// From where clients may use `DEBUG`; from nowhere unless it is said.
    pub const fn enable_debug_command(mut self, whence: Permission) -> Self {
        self.config.enable_debug_command = whence;
        self
    }

    /// Starts the node, on the runtime that this is called in. It takes part in its cluster from
    /// now on; [`Node::ready`] waits until it serves, as commands do of themselves.
    ///
    /// # Errors
    /// A setting makes no sense, a port or the data directory cannot be used.
    pub async fn start(self) -> Result<Node, StartError> {
        let Self {
            mut config,
            listeners,
            mistake,
        } = self;
        if let Some(why) = mistake {
            let why = format!("notify_keyspace_events: {why}");
            return Err(StartError::Config(ConfigError::Wrong(why)));
        }
        if let Some(listeners) = &listeners {
            listeners.describe(&mut config).map_err(StartError::Io)?;
        }
        config.check().map_err(StartError::Config)?;
        // It opens files, and looks twice for a lock.
        let started = tokio::task::spawn_blocking(move || {
            let listeners = listeners.map_or_else(|| Listeners::bind(&config), Ok)?;
            super::start(&config, listeners)
        });
        match started.await {
            Ok(started) => started.map_err(StartError::Io),
            Err(error) => Err(StartError::Io(io::Error::other(error))),
        }
    }
}

/// An empty secret protects nothing, and counts as none.
fn said(secret: impl Into<String>) -> Option<String> {
    Some(secret.into()).filter(|secret| !secret.is_empty())
}

/// Why a node does not run.
#[derive(Debug)]
pub enum StartError {
    /// A setting makes no sense.
    Config(ConfigError),
    /// The system refuses something: a port, a thread, the data directory.
    Io(io::Error),
    /// It ran, and cannot go on.
    Failed(Failure),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Failed(Failure::Fatal(why)) => f.write_str(why),
            Self::Failed(Failure::StartAgain) => {
                f.write_str("the data is damaged, and set aside; started again it is a new node")
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_ends_the_node() {
        let mut node = Node::builder().start().await.unwrap();
        let held = node.alarm.clone();
        let thread = std::thread::spawn(move || {
            let _alarm = held;
            panic!("a test has it panic");
        });
        assert!(thread.join().is_err());
        let Failure::Fatal(why) = node.failed().await else {
            panic!("another failure");
        };
        assert!(why.contains("panicked"), "{why}");
    }

    #[tokio::test]
    async fn mistakes_are_errors_of_their_own() {
        let check = async |builder: Builder, expect: &str| {
            let error = builder.start().await.err().map(|error| match error {
                StartError::Config(error) => error.to_string(),
                other => panic!("{other}"),
            });
            assert!(
                error.as_ref().is_some_and(|it| it.contains(expect)),
                "{error:?}"
            );
        };
        let new = Node::builder;
        check(new().shards(3), "shards: it has to be a power of two").await;
        check(new().replicas(2), "replicas: it has to be 1, 3 or 5").await;
        check(new().join(["nowhere"]), "join: it has to be HOST:PORT").await;
        check(new().advertise("x"), "advertise: it has to be").await;
        check(
            new().notify_keyspace_events("Q"),
            "notify_keyspace_events: it has to be letters of g$lshzxetdKEnA",
        )
        .await;
        let open = [SocketAddr::from(([0, 0, 0, 0], 0))];
        check(new().listen(open), "refusing to serve 0.0.0.0:0").await;
        let bound = |clients: &str, redirect: &str| Listeners {
            clients: vec![std::net::TcpListener::bind(clients).unwrap()],
            redirect: std::net::TcpListener::bind(redirect).unwrap(),
        };
        for (clients, redirect) in [("0.0.0.0:0", "127.0.0.1:0"), ("127.0.0.1:0", "0.0.0.0:0")] {
            let builder = new().listeners(bound(clients, redirect));
            check(builder, "refusing to serve 0.0.0.0:").await;
        }
        let nameless = new().listeners(bound("0.0.0.0:0", "127.0.0.1:0"));
        let nameless = nameless.password("x").join(["127.0.0.1:1"]);
        check(nameless, "say with --advertise").await;
        check(new().listen(open).password(""), "refusing to serve").await;
        let both = new().backend("redis://h").data_dir("/nowhere");
        check(both, "backend: a node with a backend keeps no data").await;
    }

    #[tokio::test]
    async fn what_is_said_last_counts() {
        let node = Node::builder()
            .notify_keyspace_events("Q")
            .notify_keyspace_events("KEA")
            .start();
        assert!(node.await.is_ok());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let started = Node::builder().listen([address]).start().await;
        let Err(StartError::Io(error)) = started else {
            panic!("it started");
        };
        assert!(
            error.to_string().starts_with(&address.to_string()),
            "{error}"
        );
    }

    #[cfg(feature = "cli")]
    #[test]
    fn every_flag_of_a_node_is_a_method_here() {
        use clap::CommandFactory;

        // What is about the program, or has a simpler form in one.
        const OF_THE_PROGRAM: [&str; 6] = [
            "password_file",
            "cluster_secret_file",
            "threads",
            "log_format",
            "log",
            "config",
        ];
        let source = include_str!("embed.rs");
        for arg in Config::command().get_arguments() {
            let name = arg.get_id().as_str();
            let is_method = source.contains(&format!("fn {name}(mut self"));
            assert!(is_method != OF_THE_PROGRAM.contains(&name), "{name}");
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn what_is_not_said_is_as_with_the_program() {
        let words = ["dht-node", "--listen", "127.0.0.1:0", "--log", ""];
        let flags = Config::from_args(words).unwrap();
        assert_eq!(format!("{:?}", Config::embedded()), format!("{flags:?}"));
    }
}
