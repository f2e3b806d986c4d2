//! The dht server as a library: a pure [`core`] and the [`shell`] around it that waits.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use dht_node::Node;
//!
//! let node = Node::builder().start().await?;
//! let table = node.client();
//! table.hset("user:1", [("name", "Alice")]).await?;
//! assert_eq!(table.hget("user:1", "name").await?.as_deref(), Some(&b"Alice"[..]));
//! println!("others are served at {}", node.client_addr);
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `cli` is the program `dht-node`: flags, its log, its allocator. `backend` lets a node have a
//! Redis do what it is asked. A program that embeds a node needs neither.

#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct Guide;

pub mod config;
pub mod core;
mod embed;
pub mod shell;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use dashmap::DashMap;
use dht_proto::limits;
use dht_proto::peer::PeerHello;
use dht_proto::topology::NodeId;
use socket2::SockRef;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use self::config::{Config, ConfigError};
use self::core::client::Door;
use self::core::formation::{Formation, Terms};
use self::core::meta::ClusterId;
use self::core::node::{Node as Core, Settings};
use self::core::notify::Setting;
use self::core::time::Now;
pub use self::embed::{Builder, StartError};
pub use self::shell::Asked;
use self::shell::broadcast::{Broadcast, Ears};
use self::shell::burdens::Burdens;
use self::shell::disk::DataDir;
use self::shell::inside::Inside;
use self::shell::peers::{PeerEvent, Peers};
pub use self::shell::replication::Failure;
use self::shell::replication::{self, Event, Replication};
use self::shell::services::Services;
use self::shell::{Alarm, Clock, Shell, listener, random};

/// Time for open connections to end in at a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Time for handing leaderships over at a shutdown.
const HAND_OVER: Duration = Duration::from_millis(500);
/// Connections that may wait to be accepted; the system may allow for fewer.
const BACKLOG: i32 = 4096;

const NO_PORT: &str = "a node needs a port for clients";
/// What has ended a node that had to be ended.
const PANICKED: &str = "a thread has panicked, which is a bug: what it said stands above";

/// The ports of a node, bound already.
pub struct Listeners {
    /// For clients and for other nodes; the first is the one that is advertised.
    pub clients: Vec<TcpListener>,
    /// For cluster-aware clients.
    pub redirect: TcpListener,
}

impl Listeners {
    /// Binds what the configuration says.
    ///
    /// # Errors
    /// An address cannot be bound: which, and why.
    pub fn bind(config: &Config) -> io::Result<Self> {
        let bind = |addr: SocketAddr| {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{addr}: {error}"));
            let listener = TcpListener::bind(addr).map_err(named)?;
            // The standard library asks for 128, which a burst of clients exceeds.
            SockRef::from(&listener).listen(BACKLOG)?;
            Ok(listener)
        };
        Ok(Self {
            clients: config
                .listen
                .iter()
                .copied()
                .map(bind)
                .collect::<io::Result<_>>()?,
            redirect: bind(config.redirect_listen())?,
        })
    }

    /// Says in a configuration where they are bound.
    fn describe(&self, config: &mut Config) -> io::Result<()> {
        let addresses = self.clients.iter().map(TcpListener::local_addr);
        config.listen = addresses.collect::<Result<_, _>>()?;
        config.cluster_listen = Some(self.redirect.local_addr()?);
        Ok(())
    }

    /// Any free ports of this machine.
    ///
    /// # Errors
    /// There are none.
    pub fn any() -> io::Result<Self> {
        Self::bind(&Config::embedded())
    }

    /// Where the first of them is reached: what others [`join`](Builder::join).
    ///
    /// # Errors
    /// There is none.
    pub fn address(&self) -> io::Result<String> {
        let none = || io::Error::other(NO_PORT);
        let first = self.clients.first().ok_or_else(none)?;
        Ok(first.local_addr()?.to_string())
    }
}

/// A node that runs, until this is dropped. [`Node::builder`] starts one inside of a program.
pub struct Node {
    /// Where clients are served.
    pub client_addr: SocketAddr,
    /// Where cluster-aware clients are served.
    pub redirect_addr: SocketAddr,
    /// The core.
    pub node: Arc<Core>,
    inside: Arc<Inside>,
    serving: TaskTracker,
    shutdown: CancellationToken,
    end: CancellationToken,
    asked: watch::Sender<Option<Asked>>,
    replication: Replication,
    failure: oneshot::Receiver<Failure>,
    alarm: Alarm,
    /// Set once the node serves.
    ready: CancellationToken,
    /// Set when the thread of replication has ended, and when the data directory is let go.
    ended: Vec<CancellationToken>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end.cancel();
        self.replication.send(Event::Stop);
    }
}

/// Starts a node inside of a tokio runtime.
///
/// # Errors
/// The system refuses something, or the data directory cannot be used.
pub fn start(config: &Config, listeners: Listeners) -> io::Result<Node> {
    let Some(first) = listeners.clients.first() else {
        return Err(io::Error::other(NO_PORT));
    };
    let (client_addr, redirect_addr) = (first.local_addr()?, listeners.redirect.local_addr()?);
    let clock = Arc::new(Clock::new());
    let settings = settings(config, client_addr, redirect_addr);
    let dir = config.data_dir.as_deref().map(DataDir::open).transpose()?;
    let node = node(config, settings, dir.as_ref(), clock.now())?;
    info!(id = %node.id, clients = %client_addr, redirecting = %redirect_addr, "started");
    let (end, ready) = (CancellationToken::new(), CancellationToken::new());
    let (replication, events) = Replication::new();
    let burdens = Burdens::new(limits::HELD_BYTES, limits::HELD_MOST_BYTES);
    let ears = Ears::new(Arc::clone(&node), Arc::clone(&clock), Arc::clone(&burdens));
    let (peers, broadcast, services) = links(config, (ears, &clock), &replication, &end);
    let (sender, failure) = oneshot::channel();
    let (running, ended) = ends(dir.as_ref());
    let alarm = Alarm::default();
    let start = |formation| replication::Start {
        node: Arc::clone(&node),
        formation,
        clock: Arc::clone(&clock),
        peers: peers.clone(),
        broadcast: broadcast.clone(),
        join: config.join.clone(),
        dir,
        failure: sender,
        alarm: alarm.clone(),
        ready: ready.clone(),
        running,
    };
    if let Some(backend) = &config.backend {
        start_backend(backend, events, alarm.clone())?;
        ready.cancel();
    } else if node.settings.standalone {
        info!("Ready to accept connections");
        ready.cancel();
    } else {
        let start = start(formation(config, &node)?);
        replication::start(start, (replication.clone(), events))?;
    }
    let links = (peers, broadcast, services);
    let shell = shell(&node, links, &replication, (clock, burdens), &end);
    listen(&shell, listeners, config.backend.is_some())?;
    shell.start();
    Ok(Node {
        client_addr,
        redirect_addr,
        node,
        inside: Arc::new(Inside::new(&shell, u64::from_ne_bytes(random()?))),
        serving: shell.serving.clone(),
        shutdown: shell.shutdown.clone(),
        end,
        asked: shell.asked.clone(),
        replication,
        failure,
        alarm,
        ready,
        ended,
    })
}

/// What the connections of a node share.
fn shell(
    node: &Arc<Core>,
    (peers, broadcast, services): (Peers, Broadcast, Arc<Services>),
    replication: &Replication,
    (clock, burdens): (Arc<Clock>, Arc<Burdens>),
    end: &CancellationToken,
) -> Arc<Shell> {
    Arc::new(Shell {
        broadcast,
        peers,
        services,
        replication: replication.clone(),
        clock,
        burdens,
        next_client: AtomicU64::new(1),
        lines: DashMap::new(),
        resumed: Notify::new(),
        asked: watch::Sender::new(None),
        serving: TaskTracker::new(),
        shutdown: end.child_token(),
        end: end.clone(),
        node: Arc::clone(node),
    })
}

/// What is dropped when replication has ended, and what shows that it has, and that the data
/// directory is free again.
fn ends(dir: Option<&DataDir>) -> (DropGuard, Vec<CancellationToken>) {
    let ended = CancellationToken::new();
    let running = ended.clone().drop_guard();
    let all = std::iter::once(ended).chain(dir.map(DataDir::released));
    (running, all.collect())
}

/// Accepts connections on all ports.
fn listen(shell: &Arc<Shell>, listeners: Listeners, has_backend: bool) -> io::Result<()> {
    let doors = listeners
        .clients
        .into_iter()
        .map(|listener| (listener, Door::Forward));
    // Where there is a backend nobody leads anything, and there is nowhere to redirect to.
    let second = if has_backend {
        Door::Forward
    } else {
        Door::Redirect
    };
    for (listener, door) in doors.chain([(listeners.redirect, second)]) {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        shell
            .serving
            .spawn(listener::accept(Arc::clone(shell), listener, door));
    }
    Ok(())
}

/// What is wrong with the URL of a backend.
#[cfg(feature = "backend")]
fn backend_mistake(url: &str) -> Option<String> {
    shell::backend::mistake(url)
}

/// Nothing that is wrong with the URL; to start it will fail.
#[cfg(not(feature = "backend"))]
const fn backend_mistake(_: &str) -> Option<String> {
    None
}

#[cfg(feature = "backend")]
fn start_backend(url: &str, events: Receiver<Event>, alarm: Alarm) -> io::Result<()> {
    shell::backend::start(url, events, alarm)
}

#[cfg(not(feature = "backend"))]
fn start_backend(_: &str, _: Receiver<Event>, _: Alarm) -> io::Result<()> {
    let why = "--backend: this node was built without dht-node's feature 'backend'";
    Err(io::Error::other(why))
}

impl Node {
    /// Waits until the node cannot go on, which may never come; gives the reason, once.
    pub async fn failed(&mut self) -> Failure {
        tokio::select! {
            biased;
            Ok(failure) = &mut self.failure => failure,
            () = self.alarm.rung() => Failure::Fatal(PANICKED.into()),
        }
    }

    /// Waits until a client asks for the end of the node by `SHUTDOWN`, which is refused as long as
    /// nobody waits so; tells how.
    pub fn asked(&self) -> impl Future<Output = Asked> + use<> {
        self.node.may_be_shut_down.store(true, Relaxed);
        let mut asked = self.asked.subscribe();
        async move {
            match asked.wait_for(Option::is_some).await.map(|asked| *asked) {
                Ok(Some(asked)) => asked,
                // The node has ended otherwise.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Ends: hands leaderships over, accepts nothing more, writes the replies to what was executed,
    /// closes the connections, and lets go of ports and of the data directory.
    pub async fn shutdown(self) {
        self.hand_over().await;
        self.drain().await;
    }

    /// Ends likewise, but leads on as long as it is there; others take over when they notice.
    pub async fn shutdown_now(self) {
        self.drain().await;
    }

    async fn hand_over(&self) {
        let (left, leaving) = tokio::sync::oneshot::channel();
        self.replication.send(Event::Leave(left));
        // Whoever is alone has nothing to hand over, and hangs up at once.
        match timeout(HAND_OVER, leaving).await {
            Ok(Ok(())) => info!("leaderships handed over"),
            Ok(Err(_)) => (),
            Err(_) => warn!("not every leadership could be handed over"),
        }
    }

    async fn drain(&self) {
        self.shutdown.cancel();
        self.serving.close();
        if timeout(DRAIN, self.serving.wait()).await.is_err() {
            warn!(
                tasks = self.serving.len(),
                "cut off: they did not end in time"
            );
        }
        self.end.cancel();
        self.replication.send(Event::Stop);
        let ended = async {
            for ended in &self.ended {
                ended.cancelled().await;
            }
        };
        if timeout(DRAIN, ended).await.is_err() {
            warn!("the threads of the node did not end in time");
        }
    }
}

fn settings(config: &Config, client_addr: SocketAddr, redirect_addr: SocketAddr) -> Settings {
    let client = config
        .advertise
        .clone()
        .unwrap_or_else(|| client_addr.to_string());
    let host = client.rsplit_once(':').map_or("", |(host, _)| host);
    Settings {
        password: config.password.clone(),
        standalone: config.join.is_empty() && config.data_dir.is_none() && config.backend.is_none(),
        backend: config.backend.as_deref().map(shell::without_password),
        is_durable: config.data_dir.is_some(),
        has_file: config.has_file(),
        max_clients: config.max_clients,
        // One stands for all that a backend has.
        shards: config.backend.as_ref().map_or(config.shards, |_| 1),
        debug: config.enable_debug_command,
        stopwatch: shell::stopwatch,
        aside: shell::turns::aside(),
        redirect: format!("{host}:{}", redirect_addr.port()),
        client,
    }
}

/// The core, under the name that its data directory has for it, if there is one.
fn node(
    config: &Config,
    settings: Settings,
    dir: Option<&DataDir>,
    now: Now,
) -> io::Result<Arc<Core>> {
    let id = match dir {
        Some(dir) => dir.identity().node,
        None => NodeId(random()?),
    };
    let node = Arc::new(Core::new(id, settings, now));
    if dir.is_some() {
        node.show_loading();
    }
    if let Some(flags) = config.notify_keyspace_events {
        node.store.events.adopt(Setting { version: 1, flags });
    }
    Ok(node)
}

/// The links to other nodes, and what is told over them to those who listen and who offer services.
fn links(
    config: &Config,
    (ears, clock): (Ears, &Arc<Clock>),
    replication: &Replication,
    end: &CancellationToken,
) -> (Peers, Broadcast, Arc<Services>) {
    let services = Services::new(Arc::clone(&ears.node), Arc::clone(clock));
    let (ears, services) = (Arc::new(ears), Arc::new(services));
    let peers = peers(config, (&ears, &services), replication, end);
    services.link(peers.clone());
    let broadcast = Broadcast::new(ears, peers.clone());
    (peers, broadcast, services)
}

/// The links to other nodes: messages go to those who listen, all else to replication.
fn peers(
    config: &Config,
    (ears, services): (&Arc<Ears>, &Arc<Services>),
    replication: &Replication,
    end: &CancellationToken,
) -> Peers {
    let node = &ears.node;
    let hello = PeerHello {
        node: node.id,
        client: node.settings.client.clone(),
        alone: node.settings.standalone || node.settings.backend.is_some(),
    };
    let (ears, replication) = (Arc::clone(ears), replication.clone());
    let services = Arc::downgrade(services);
    Peers::new(
        config.cluster_secret(),
        hello,
        end.child_token(),
        move |event| {
            // It holds the links, and so may not be held by them.
            let services = services.upgrade();
            match event {
                PeerEvent::Frame { frame, .. } if ears.hear(&frame) => return,
                PeerEvent::Frame { from, ref frame }
                    if services.as_ref().is_some_and(|it| it.hear(from, frame)) =>
                {
                    return;
                }
                PeerEvent::Down { peer, .. } => {
                    services.iter().for_each(|services| services.down(peer));
                }
                _ => (),
            }
            replication.send(Event::Peer(event));
        },
    )
}

fn formation(config: &Config, node: &Core) -> io::Result<Formation> {
    // Whoever keeps its data and was told of nobody is a cluster of one.
    let alone = config.join.is_empty().then(|| node.settings.client.clone());
    let terms = Terms {
        seats: config.join.iter().cloned().chain(alone).collect(),
        shards: config.shards,
        copies: config.replicas,
    };
    let me = node.settings.member(node.id);
    Ok(Formation::new(me, terms, ClusterId(random()?)))
}
