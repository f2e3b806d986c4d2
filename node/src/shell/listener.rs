//! Accepting connections and finding out what they are: by the first byte, RESP or native; by the
//! preface, a client or a node of the cluster.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use dht_proto::frame::{self, MAGIC_BYTE, PREFACE_BYTES, Role};
use dht_proto::limits;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::connection::{Connection, linger, out_of_patience};
use super::stream::Stream;
use super::{Shell, random};
use crate::core::client::{Client, Door, Facts, Labels, Protocol};
use crate::core::node::Node;
use crate::core::session::Session;

/// After which silence the system asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(300);
/// Pause after an accept failed, which it does when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections beyond the limit of clients: room for nodes, and for clients to be told.
const RESERVE: usize = 64;

const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// Accepts connections until the shutdown.
pub async fn accept(shell: Arc<Shell>, listener: TcpListener, door: Door) {
    let shutdown = shell.shutdown.clone();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, addr)) => admit(&shell, stream, addr, door),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(shell: &Arc<Shell>, stream: TcpStream, addr: SocketAddr, door: Door) {
    let stats = &shell.node.stats;
    if shell.serving.len() >= shell.node.settings.max_clients + RESERVE {
        stats.rejected.fetch_add(1, Relaxed);
        // A socket that was just accepted has room for this line.
        let _ = SockRef::from(&stream).send(FULL);
        return;
    }
    stats.connections.fetch_add(1, Relaxed);
    if let Err(error) = tune(&stream) {
        debug!(%addr, %error, "cannot tune a connection");
        return;
    }
    let serving = serve(Arc::clone(shell), stream, addr, door);
    shell.serving.spawn(async move {
        if let Err(error) = serving.await {
            debug!(%addr, %error, "connection refused");
        }
    });
}

/// No waiting for more to send, and a question after a long silence.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// What a connection turned out to be.
enum Opening {
    Resp,
    Native(Role),
    /// Closed before it sent anything.
    Nothing,
}

async fn serve(
    shell: Arc<Shell>,
    mut stream: TcpStream,
    addr: SocketAddr,
    door: Door,
) -> io::Result<()> {
    let deadline = Instant::now() + limits::FIRST_REQUEST;
    let shutdown = shell.shutdown.child_token();
    let opening = timeout_at(deadline, recognize(&mut stream));
    let Some(opening) = shutdown.run_until_cancelled(opening).await else {
        return Ok(());
    };
    let Ok(opening) = opening else {
        stream.write_all(out_of_patience().as_bytes()).await?;
        linger(&mut stream).await;
        return Ok(());
    };
    match opening? {
        Opening::Resp => serve_client(shell, stream, addr, (door, Protocol::Resp2), deadline).await,
        Opening::Native(Role::Client) => {
            serve_client(shell, stream, addr, (door, Protocol::Native), deadline).await
        }
        Opening::Native(Role::Peer) => shell.peers.accept(stream, addr, deadline).await,
        Opening::Nothing => Ok(()),
    }
}

async fn recognize(stream: &mut TcpStream) -> io::Result<Opening> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(Opening::Nothing);
    }
    if first != [MAGIC_BYTE] {
        return Ok(Opening::Resp);
    }
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    let role = frame::read_preface(preface).map_err(io::Error::other)?;
    Ok(Opening::Native(role))
}

async fn serve_client(
    shell: Arc<Shell>,
    mut stream: TcpStream,
    addr: SocketAddr,
    (door, protocol): (Door, Protocol),
    deadline: Instant,
) -> io::Result<()> {
    let addresses = (addr.to_string(), stream.local_addr()?.to_string());
    let session = session(&shell, addresses, addr.ip().is_loopback(), (door, protocol))?;
    let (_registered, count) = Registered::new(&shell.node, &session.client.facts);
    if count > shell.node.settings.max_clients {
        shell.node.stats.rejected.fetch_add(1, Relaxed);
        stream.write_all(FULL).await?;
        linger(&mut stream).await;
        return Ok(());
    };
    let stream = Stream::Tcp(stream);
    Connection::new(Arc::clone(&shell), stream, session, Some(deadline))
        .run()
        .await;
    Ok(())
}

/// The session of a connection that is known by now: from where, and to where.
pub fn session(
    shell: &Shell,
    (addr, laddr): (String, String),
    is_local: bool,
    (door, protocol): (Door, Protocol),
) -> io::Result<Session> {
    let now_ms = shell.clock.now().mono_ms;
    let labels = Labels {
        resp: protocol.resp(),
        ..Labels::default()
    };
    let facts = Facts {
        id: shell.next_client.fetch_add(1, Relaxed),
        addr,
        laddr,
        since_mono_ms: now_ms,
        last_mono_ms: AtomicU64::new(now_ms),
        last_command: AtomicU64::new(0),
        marks: Default::default(),
        is_killed: AtomicBool::new(false),
        labels: ArcSwap::from_pointee(labels),
    };
    let authenticated = shell.node.settings.password.is_none();
    let mut client = Client::new(Arc::new(facts), protocol, door, authenticated);
    let debug = shell.node.settings.debug;
    client.may_debug = debug.allows(is_local);
    let seed = u64::from_ne_bytes(random()?);
    Ok(Session::new(client, seed))
}

/// A client's entry in the node's list, while the connection lasts.
pub struct Registered<'a> {
    node: &'a Node,
    id: u64,
}

impl<'a> Registered<'a> {
    /// Gives also how many clients there are with it.
    pub fn new(node: &'a Node, facts: &Arc<Facts>) -> (Self, usize) {
        node.clients.insert(facts.id, Arc::clone(facts));
        let registered = Self { node, id: facts.id };
        (registered, node.clients.len())
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.node.clients.remove(&self.id);
    }
}
