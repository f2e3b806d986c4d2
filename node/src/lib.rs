//! The dht server as a library: a pure [`core`] and the [`shell`] around it that waits.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dht_node::{Config, Listeners};
//!
//! let config = Config::from_args(["dht-node", "--listen", "127.0.0.1:0"])?;
//! let running = dht_node::start(&config, Listeners::bind(&config)?)?;
//! println!("serving {}", running.client_addr);
//! running.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod config;
pub mod core;
pub mod shell;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use dht_proto::peer::PeerHello;
use dht_proto::topology::NodeId;
use socket2::SockRef;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use self::config::Config;
use self::core::client::Door;
use self::core::formation::{Formation, Terms};
use self::core::meta::ClusterId;
use self::core::node::{Node, Settings};
use self::shell::peers::Peers;
use self::shell::replication::{self, Event, Replication};
use self::shell::{Clock, Shell, listener, random};

/// Time for open connections to end in at a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Time for handing leaderships over at a shutdown.
const HAND_OVER: Duration = Duration::from_millis(500);
/// Connections that may wait to be accepted; the system may allow for fewer.
const BACKLOG: i32 = 4096;

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
}

/// A node that runs, until this is dropped.
pub struct Running {
    /// Where clients are served.
    pub client_addr: SocketAddr,
    /// Where cluster-aware clients are served.
    pub redirect_addr: SocketAddr,
    /// The core.
    pub node: Arc<Node>,
    serving: TaskTracker,
    shutdown: CancellationToken,
    _end: DropGuard,
    replication: Replication,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.replication.send(Event::Stop);
    }
}

/// Starts a node inside of a tokio runtime.
///
/// # Errors
/// The system refuses something.
pub fn start(config: &Config, listeners: Listeners) -> io::Result<Running> {
    let Some(first) = listeners.clients.first() else {
        return Err(io::Error::other("a node needs a port for clients"));
    };
    let (client_addr, redirect_addr) = (first.local_addr()?, listeners.redirect.local_addr()?);
    let clock = Arc::new(Clock::new());
    let settings = settings(config, client_addr, redirect_addr);
    let node = Arc::new(Node::new(NodeId(random()?), settings, clock.now()));
    info!(id = %node.id, clients = %client_addr, redirecting = %redirect_addr, "started");
    let end = CancellationToken::new();
    let (replication, events) = Replication::new();
    let sink = replication.clone();
    let hello = PeerHello {
        node: node.id,
        client: node.settings.client.clone(),
        alone: node.settings.standalone,
    };
    let peers = Peers::new(
        config.cluster_secret(),
        hello,
        end.child_token(),
        move |event| {
            sink.send(Event::Peer(event));
        },
    );
    if node.settings.standalone {
        info!("Ready to accept connections");
    } else {
        let formation = formation(config, &node)?;
        replication::start(
            (Arc::clone(&node), formation),
            Arc::clone(&clock),
            peers.clone(),
            events,
        )?;
        peers.dial(config.join.iter().cloned());
    }
    let shell = Arc::new(Shell {
        peers,
        replication: replication.clone(),
        clock,
        next_client: AtomicU64::new(1),
        serving: TaskTracker::new(),
        shutdown: end.child_token(),
        end: end.clone(),
        node: Arc::clone(&node),
    });
    let doors = listeners
        .clients
        .into_iter()
        .map(|listener| (listener, Door::Forward));
    for (listener, door) in doors.chain([(listeners.redirect, Door::Redirect)]) {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        shell
            .serving
            .spawn(listener::accept(Arc::clone(&shell), listener, door));
    }
    shell.start();
    Ok(Running {
        client_addr,
        redirect_addr,
        node,
        serving: shell.serving.clone(),
        shutdown: shell.shutdown.clone(),
        _end: end.drop_guard(),
        replication,
    })
}

impl Running {
    /// Ends: hands leaderships over, accepts nothing more, writes the replies to what was executed,
    /// closes the connections.
    pub async fn shutdown(self) {
        let (left, leaving) = tokio::sync::oneshot::channel();
        self.replication.send(Event::Leave(left));
        // Whoever is alone has nothing to hand over, and hangs up at once.
        match timeout(HAND_OVER, leaving).await {
            Ok(Ok(())) => info!("leaderships handed over"),
            Ok(Err(_)) => (),
            Err(_) => warn!("not every leadership could be handed over"),
        }
        self.shutdown.cancel();
        self.serving.close();
        if timeout(DRAIN, self.serving.wait()).await.is_err() {
            warn!(
                tasks = self.serving.len(),
                "cut off: they did not end in time"
            );
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
        standalone: config.join.is_empty(),
        max_clients: config.max_clients,
        shards: config.shards,
        aside: shell::aside,
        redirect: format!("{host}:{}", redirect_addr.port()),
        client,
    }
}

fn formation(config: &Config, node: &Node) -> io::Result<Formation> {
    let terms = Terms {
        seats: config.join.iter().cloned().collect(),
        shards: config.shards,
        copies: config.replicas,
    };
    let me = node.settings.member(node.id);
    Ok(Formation::new(me, terms, ClusterId(random()?)))
}
