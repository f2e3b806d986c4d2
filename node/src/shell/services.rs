//! Brings calls of services to those who answer them, and answers to those who wait: connections of
//! this node, and other nodes over their links. Who is asked is decided in the core.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use dashmap::DashMap;
use dht_proto::topology::NodeId;
use dht_proto::{Reply, limits};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Clock;
use super::peers::Peers;
use crate::core::node::Node;
use crate::core::services::{self, Action, Call, Caller, Mail};
use crate::core::session::Ticket;

/// What a connection is told.
pub enum Asked {
    /// It is asked, under a number.
    Ask(u64, Call),
    /// A call of its own is answered.
    Settled(Ticket, Reply),
}

/// The services of a node.
pub struct Services {
    node: Arc<Node>,
    clock: Arc<Clock>,
    /// Connections that ask or answer, by their ids.
    connections: DashMap<u64, UnboundedSender<Asked>>,
    peers: OnceLock<Peers>,
}

impl Services {
    /// Nobody asks or answers yet.
    #[must_use]
    pub fn new(node: Arc<Node>, clock: Arc<Clock>) -> Self {
        Self {
            node,
            clock,
            connections: DashMap::new(),
            peers: OnceLock::new(),
        }
    }

    /// Tells it of the links to other nodes, once there are any.
    pub fn link(&self, peers: Peers) {
        // Whoever said so first has said the same.
        let _ = self.peers.set(peers);
    }

    /// A connection begins to ask or to answer; gives what it is told.
    #[must_use]
    pub fn open(&self, connection: u64) -> UnboundedReceiver<Asked> {
        let (sender, told) = unbounded_channel();
        self.connections.insert(connection, sender);
        told
    }

    /// What a connection offers has changed.
    pub fn offered(&self, connection: u64) {
        let now = self.clock.now().mono_ms;
        self.act(|out| self.node.services.opened(connection, now, out));
        self.offer();
    }

    /// A connection is gone.
    pub fn close(&self, connection: u64) {
        self.connections.remove(&connection);
        let offered = self.node.services.has(connection);
        self.act(|out| self.node.services.gone(connection, out));
        if offered {
            self.offer();
        }
    }

    /// A connection calls.
    pub fn call(&self, connection: u64, ticket: Ticket, call: Call, deadline_ms: u64) {
        let now = self.clock.now().mono_ms;
        let deadline = now.saturating_add(deadline_ms);
        let caller = Caller::Here(connection, ticket);
        self.act(|out| self.node.services.call((caller, call), deadline, now, out));
    }

    /// A connection answers.
    pub fn answer(&self, connection: u64, number: u64, reply: Reply) {
        self.act(|out| self.node.services.answer(connection, number, reply, out));
    }

    /// Takes a frame of another node, if it is about services; says whether it is.
    pub fn hear(&self, from: NodeId, frame: &[u8]) -> bool {
        let is_mail = services::is_mail(frame);
        if is_mail {
            let now = self.clock.now().mono_ms;
            let hear = |mail, out: &mut Vec<Action>| self.node.services.hear(from, mail, now, out);
            self.act(|out| services::read_all(frame, &mut |mail| hear(mail, out)));
        }
        is_mail
    }

    /// A link to another node is down; where there is another one, nothing is lost but what was
    /// under way.
    pub fn down(&self, node: NodeId) {
        if !self.peers.get().is_some_and(|peers| peers.reaches(node)) {
            self.act(|out| self.node.services.down(node, out));
        }
    }

    /// Gives up what has waited for too long.
    pub fn expire(&self) {
        let now = self.clock.now().mono_ms;
        self.act(|out| self.node.services.expire(now, out));
    }

    /// Tells the other nodes what there is here.
    pub fn offer(&self) {
        if let (Some(peers), Some(offer)) = (self.peers.get(), self.node.services.offer()) {
            let mut frame = BytesMut::new();
            offer.encode(&mut frame);
            // Who misses it is told again.
            peers.send_all(&frame.freeze(), limits::PEER_MESSAGES_BYTES);
        }
    }

    fn act(&self, decide: impl FnOnce(&mut Vec<Action>)) {
        let mut actions = Vec::new();
        decide(&mut actions);
        for action in actions {
            match action {
                Action::Ask(connection, number, call) => {
                    self.tell(connection, Asked::Ask(number, call));
                }
                Action::Settle(connection, ticket, reply) => {
                    self.tell(connection, Asked::Settled(ticket, reply));
                }
                Action::Send(node, mail) => self.send(node, &mail),
            }
        }
    }

    fn tell(&self, connection: u64, told: Asked) {
        if let Some(to) = self.connections.get(&connection) {
            // One that is gone waits for nothing; what it was asked is lost with it.
            let _ = to.send(told);
        }
    }

    fn send(&self, node: NodeId, mail: &Mail) {
        let mut frame = BytesMut::new();
        mail.encode(&mut frame);
        let sent = self
            .peers
            .get()
            .is_some_and(|peers| peers.send(node, frame.freeze()));
        if let (false, Mail::Call(number, ..)) = (sent, mail) {
            self.act(|out| self.node.services.unsent(*number, out));
        }
    }
}

#[cfg(test)]
mod tests {
    use dht_proto::frame::PREFACE_BYTES;
    use dht_proto::peer::PeerHello;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::core::commands::testing::node;
    use crate::shell::peers::PeerEvent;

    const OTHER: NodeId = NodeId([7; 20]);

    fn links(
        id: NodeId,
        end: &CancellationToken,
        sink: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Peers {
        let hello = PeerHello {
            node: id,
            client: String::new(),
            alone: false,
        };
        Peers::new("secret", hello, end.clone(), sink)
    }

    /// An address at which the other node answers.
    async fn answering(peers: &Peers) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peers = peers.clone();
        tokio::spawn(async move {
            let mut preface = [0; PREFACE_BYTES];
            while let Ok((mut stream, addr)) = listener.accept().await {
                stream.read_exact(&mut preface).await.unwrap();
                let deadline = Instant::now() + limits::DEADLINE;
                peers.accept(stream, addr, deadline).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_node_is_there_until_its_last_link_is_down() {
        let end = CancellationToken::new();
        let _ends = end.clone().drop_guard();
        let other = links(OTHER, &end, |_| ());
        let seats = [answering(&other).await, answering(&other).await];
        let services = Services::new(Arc::new(node()), Arc::new(Clock::new()));
        let (sender, mut events) = unbounded_channel();
        let peers = links(NodeId([1; 20]), &end, move |event| {
            let _ = sender.send(event);
        });
        services.link(peers.clone());
        peers.dial(seats.clone());
        for _ in &seats {
            let up = events.recv().await;
            assert!(matches!(up, Some(PeerEvent::Up { peer: OTHER, .. })));
        }
        let mut offer = BytesMut::new();
        Mail::Offer([b"Calculator"[..].into()].into()).encode(&mut offer);
        assert!(services.hear(OTHER, &offer));
        for left in [&seats[..1], &[]] {
            peers.dial(left.iter().cloned());
            let down = events.recv().await;
            assert!(matches!(down, Some(PeerEvent::Down { peer: OTHER, .. })));
            services.down(OTHER);
            assert_eq!(services.node.services.list().len(), left.len());
        }
    }
}
