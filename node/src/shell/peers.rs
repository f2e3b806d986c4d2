//! Links between nodes: dialling, answering, and the handshake on both sides. A link carries frames
//! one way, from the node that dialled, so each of two nodes dials the other. Before the handshake
//! is over, nothing that arrives goes any further. What is in a frame is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use dht_proto::frame::{self, Role};
use dht_proto::limits;
use dht_proto::peer::{Acceptor, Dialer, PeerError, PeerHello, Step};
use dht_proto::topology::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::link::{self, Frame, Outlet};
use super::random;

/// Time for connecting and for the handshake together.
const DIAL: Duration = Duration::from_secs(2);
/// The pause after the first failure to dial; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What to do about a node that takes part in no cluster.
const ALONE: &str = "start it with the same --join as the others";

/// What happens between this node and another.
#[derive(Debug)]
pub enum PeerEvent {
    /// A node was found at an address, and frames can be sent to it. It may be this node itself:
    /// then nothing can be sent, and the link never goes down.
    Up {
        /// Who it is.
        peer: NodeId,
        /// Where it was dialled.
        seat: String,
    },
    /// The link is broken, and what was not sent over it is lost. There may be another one to the
    /// same node.
    Down {
        /// Who was at the other end.
        peer: NodeId,
        /// Where it was dialled.
        seat: String,
    },
    /// Another process has the identity of this node.
    Double {
        /// Where it serves clients, by its own word.
        client: String,
    },
    /// Another node has sent a frame, over the link that it has dialled.
    Frame {
        /// Who has sent it.
        from: NodeId,
        /// What it has sent.
        frame: Frame,
    },
}

/// The links of a node. Clones share them.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    secret: String,
    hello: PeerHello,
    sink: Box<dyn Fn(PeerEvent) + Send + Sync>,
    /// The links that are up; two when a node was found at two addresses.
    links: DashMap<NodeId, Vec<Outlet>>,
    /// The addresses that are dialled, each until its token is cancelled.
    dialled: Mutex<BTreeMap<String, CancellationToken>>,
    runtime: Handle,
    end: CancellationToken,
}

impl Peers {
    /// No links yet. The sink is told what happens, until the end; it must not wait. Called inside
    /// of a tokio runtime.
    #[must_use]
    pub fn new(
        secret: &str,
        hello: PeerHello,
        end: CancellationToken,
        sink: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            secret: secret.to_owned(),
            hello,
            sink: Box::new(sink),
            links: DashMap::new(),
            dialled: Mutex::default(),
            runtime: Handle::current(),
            end,
        }))
    }

    /// Keeps links to the nodes at these addresses from now on, and at no others.
    pub fn dial(&self, addresses: impl IntoIterator<Item = String>) {
        let addresses: BTreeSet<String> = addresses.into_iter().collect();
        let dialled = self.0.dialled.lock();
        // Whoever has panicked has left whole entries.
        let mut dialled = dialled.unwrap_or_else(PoisonError::into_inner);
        dialled.retain(|address, token| {
            let stays = addresses.contains(address);
            if !stays {
                token.cancel();
            }
            stays
        });
        for address in addresses {
            dialled.entry(address).or_insert_with_key(|address| {
                let token = self.0.end.child_token();
                let linking = keep_linked(Arc::clone(&self.0), address.clone());
                let until = token.clone();
                self.0.runtime.spawn(async move {
                    until.run_until_cancelled(linking).await;
                });
                token
            });
        }
    }

    /// Whether there is a link to the node.
    #[must_use]
    pub fn reaches(&self, node: NodeId) -> bool {
        self.0.links.contains_key(&node)
    }

    /// Sends a frame, unless there is no link to the node, or too much waits for it already. Says
    /// whether it was taken: it may still get lost. Frames that arrive do so in order.
    pub fn send(&self, to: NodeId, frame: Bytes) -> bool {
        let links = self.0.links.get(&to);
        let link = links.as_ref().and_then(|links| links.first());
        link.is_some_and(|link| link.send(frame))
    }

    /// Sends a frame to every node to which there is a link, where it makes no more than `room`
    /// bytes wait; says how many nodes miss it.
    pub fn send_all(&self, frame: &Bytes, room: usize) -> u64 {
        let links = self.0.links.iter();
        let missed = links.filter(|links| {
            let link = links.first();
            link.is_some_and(|link| !link.send_within(frame.clone(), room))
        });
        missed.count() as u64
    }

    /// Answers a node that has sent the preface of one; from then on takes its frames.
    ///
    /// # Errors
    /// The connection is broken, or the other side is no node of this cluster.
    pub async fn accept(
        &self,
        mut stream: TcpStream,
        addr: SocketAddr,
        deadline: Instant,
    ) -> io::Result<()> {
        let Shared { secret, hello, .. } = &*self.0;
        let mut acceptor = Acceptor::new(secret.as_bytes(), random()?, hello.clone());
        let handshake = shake_hands(&mut stream, |frame| acceptor.on_frame(frame));
        let PeerHello {
            node: from, client, ..
        } = timeout_at(deadline, handshake).await??;
        if hello.alone {
            warn!(%addr, "a node wanted to join, but this one was started alone: {ALONE}");
            return Ok(());
        }
        if from == hello.node {
            self.0.note_double(client);
            return Ok(());
        }
        link::tune(&stream)?;
        debug!(%addr, node = %from, "a node has connected");
        let shared = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            let sink = |frame| (shared.sink)(PeerEvent::Frame { from, frame });
            let frames = link::receive(stream, sink);
            let serve = async {
                let error = tokio::select! {
                    error = frames => error,
                    never = dial_back(&shared, from, &client) => never,
                };
                debug!(%addr, node = %from, %error, "a node has disconnected");
            };
            shared.end.run_until_cancelled(serve).await;
        });
        Ok(())
    }
}

impl Shared {
    /// A node with this one's identity serves clients there. If it is not this one, one of the two
    /// was started with a copy of the other's data directory.
    fn note_double(&self, client: String) {
        if client != self.hello.client {
            (self.sink)(PeerEvent::Double { client });
        }
    }
}

/// Keeps a link to the node at an address, until it turns out to be this one.
async fn keep_linked(shared: Arc<Shared>, seat: String) {
    let mut pause = FIRST_PAUSE;
    let mut last_failure = String::new();
    loop {
        let failure = match timeout(DIAL, dial(&shared, &seat)).await {
            Ok(Ok((_, hello))) if hello.node == shared.hello.node => {
                let peer = hello.node;
                shared.note_double(hello.client);
                return (shared.sink)(PeerEvent::Up { peer, seat });
            }
            Ok(Ok((_, hello))) if hello.alone => format!("it was started alone: {ALONE}"),
            Ok(Ok((stream, hello))) => {
                let error = stay_linked(&shared, &seat, hello.node, stream).await;
                warn!(seat, node = %hello.node, %error, "link down");
                pause = FIRST_PAUSE;
                String::new()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if !failure.is_empty() && failure != last_failure {
            warn!(seat, failure, "no link");
        }
        last_failure = failure;
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Has a node that has dialled this one reached, too, where none of the addresses that are dialled
/// leads to it: it waits for answers.
async fn dial_back(shared: &Shared, node: NodeId, address: &str) -> ! {
    loop {
        sleep(jittered(LONGEST_PAUSE)).await;
        if shared.links.contains_key(&node) {
            continue;
        }
        match timeout(DIAL, dial(shared, address)).await {
            Ok(Ok((stream, hello))) if hello.node == node => {
                let error = stay_linked(shared, address, node, stream).await;
                debug!(address, %node, %error, "link back down");
            }
            Ok(Ok(_)) => debug!(address, %node, "no link back: another node is there"),
            Ok(Err(error)) => debug!(address, %node, %error, "no link back"),
            Err(_) => debug!(address, %node, "no link back in time"),
        }
    }
}

/// Sends frames over a link until it breaks; gives the reason.
async fn stay_linked(shared: &Shared, seat: &str, peer: NodeId, stream: TcpStream) -> io::Error {
    let (outlet, frames) = link::open();
    let _up = Up::new(shared, seat, peer, outlet);
    info!(seat, node = %peer, "link up");
    frames.send_over(stream).await
}

/// A link that is up, until this is dropped.
struct Up<'a> {
    shared: &'a Shared,
    seat: &'a str,
    peer: NodeId,
    outlet: Outlet,
}

impl<'a> Up<'a> {
    fn new(shared: &'a Shared, seat: &'a str, peer: NodeId, outlet: Outlet) -> Self {
        let mut links = shared.links.entry(peer).or_default();
        links.push(outlet.clone());
        drop(links);
        (shared.sink)(PeerEvent::Up {
            peer,
            seat: seat.to_owned(),
        });
        Self {
            shared,
            seat,
            peer,
            outlet,
        }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let peer = self.peer;
        if let Some(mut links) = self.shared.links.get_mut(&peer) {
            links.retain(|link| !link.is(&self.outlet));
        }
        self.shared
            .links
            .remove_if(&peer, |_, links| links.is_empty());
        (self.shared.sink)(PeerEvent::Down {
            peer,
            seat: self.seat.to_owned(),
        });
    }
}

async fn dial(shared: &Shared, seat: &str) -> io::Result<(TcpStream, PeerHello)> {
    let mut stream = TcpStream::connect(seat).await?;
    link::tune(&stream)?;
    let mut dialer = Dialer::new(shared.secret.as_bytes(), random()?, shared.hello.clone());
    stream.write_all(&frame::preface(Role::Peer)).await?;
    stream.write_all(&dialer.challenge()).await?;
    let hello = shake_hands(&mut stream, |frame| dialer.on_frame(frame)).await?;
    Ok((stream, hello))
}

/// Exchanges frames until both sides know each other.
async fn shake_hands(
    stream: &mut TcpStream,
    mut on_frame: impl FnMut(&[u8]) -> Result<Step, PeerError>,
) -> io::Result<PeerHello> {
    loop {
        let frame = read_frame(stream).await?;
        match on_frame(&frame).map_err(io::Error::other)? {
            Step::Send(answer) => stream.write_all(&answer).await?,
            Step::Done { send, hello } => {
                stream.write_all(&send).await?;
                return Ok(hello);
            }
        }
    }
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if length as usize > limits::HANDSHAKE_BYTES {
        return Err(io::Error::other("a frame too long for a handshake"));
    }
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

/// Between a half and the whole, so that nodes that lost each other do not meet in step.
fn jittered(pause: Duration) -> Duration {
    let random = random::<1>().map_or(0, |[byte]| u32::from(byte));
    pause / 2 + pause * random / 512
}
