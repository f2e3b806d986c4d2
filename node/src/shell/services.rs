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
pub enum Told {
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
    connections: DashMap<u64, UnboundedSender<Told>>,
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
    pub fn open(&self, connection: u64) -> UnboundedReceiver<Told> {
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

    /// Another node cannot be reached.
    pub fn down(&self, node: NodeId) {
        self.act(|out| self.node.services.down(node, out));
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
                    self.tell(connection, Told::Ask(number, call));
                }
                Action::Settle(connection, ticket, reply) => {
                    self.tell(connection, Told::Settled(ticket, reply));
                }
                Action::Send(node, mail) => self.send(node, &mail),
            }
        }
    }

    fn tell(&self, connection: u64, told: Told) {
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
