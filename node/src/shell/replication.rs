//! The thread on which a node's replication runs: gathers what has arrived, lets the core take a
//! turn, and hands on what it leaves. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::mpsc::UnboundedSender;
use tracing::info;

use super::peers::{PeerEvent, Peers};
use super::{Clock, random};
use crate::core::formation::Formation;
use crate::core::node::Node;
use crate::core::replication::replica::Pending;
use crate::core::replication::worker::{Outbox, Request, Worker};
use crate::core::session::Ticket;
use dht_proto::Reply;

/// How long the thread sleeps at most when nothing arrives: less than a tick.
const NAP: Duration = Duration::from_millis(10);
/// Events taken into one turn at most.
const EVENTS: usize = 4096;

/// Everything that can happen to the replication of a node.
pub enum Event {
    /// A connection will ask for something; where its answers go.
    Connect(u64, UnboundedSender<Settled>),
    /// A connection asks.
    Ask(u64, Vec<Request<Ticket>>),
    /// A connection is gone.
    Disconnect(u64),
    /// Something has come from another node.
    Peer(PeerEvent),
    /// The node leaves: leaderships are handed over, then it is said that they are.
    Leave(tokio::sync::oneshot::Sender<()>),
    /// The node has ended.
    Stop,
}

/// Answers to what a connection has asked.
pub type Settled = Vec<(Ticket, Reply)>;

/// Who waits for a task: a connection, and its name for the task.
type Waiting = (u64, Ticket);

/// Where events go.
#[derive(Clone)]
pub struct Replication(Sender<Event>);

impl Replication {
    /// A place for events, and where they come out.
    #[must_use]
    pub fn new() -> (Self, Receiver<Event>) {
        let (sender, receiver) = channel();
        (Self(sender), receiver)
    }

    /// Has an event dealt with; after the end it is of no interest.
    pub fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

/// Starts the thread.
///
/// # Errors
/// The system gives no thread, or no random seed.
pub fn start(
    (node, formation): (Arc<Node>, Formation),
    clock: Arc<Clock>,
    peers: Peers,
    events: Receiver<Event>,
) -> io::Result<()> {
    let seed = u64::from_ne_bytes(random()?);
    let worker = Worker::new(Arc::clone(&node), formation, seed, clock.now());
    let thread = Thread {
        node,
        worker,
        is_ready: false,
        missing: String::new(),
        clock,
        peers,
        connections: BTreeMap::new(),
        leaving: None,
        out: Outbox::default(),
    };
    thread::Builder::new()
        .name("replication".to_owned())
        .spawn(move || thread.run(&events))
        .map(drop)
}

struct Thread {
    node: Arc<Node>,
    worker: Worker<Waiting>,
    /// It was said that the node serves clients.
    is_ready: bool,
    /// What was last said to be missing for that.
    missing: String,
    clock: Arc<Clock>,
    peers: Peers,
    connections: BTreeMap<u64, UnboundedSender<Settled>>,
    leaving: Option<tokio::sync::oneshot::Sender<()>>,
    out: Outbox<Waiting>,
}

impl Thread {
    fn run(mut self, events: &Receiver<Event>) {
        let mut more = false;
        loop {
            let nap = if more { Duration::ZERO } else { NAP };
            let mut next = match events.recv_timeout(nap) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for _ in 0..EVENTS {
                match next.take() {
                    Some(Event::Stop) => return info!("replication has ended"),
                    Some(event) => self.handle(event),
                    None => break,
                }
                next = events.try_recv().ok();
            }
            more = self.turn();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connect(connection, answers) => _ = self.connections.insert(connection, answers),
            Event::Ask(connection, asked) => {
                for Request { shard, pending } in asked {
                    let request = Request {
                        shard,
                        pending: from_connection(connection, pending),
                    };
                    self.worker.request(request, &mut self.out);
                }
            }
            Event::Disconnect(connection) => _ = self.connections.remove(&connection),
            Event::Peer(event) => self.hear(event),
            Event::Leave(left) => self.leaving = Some(left),
            Event::Stop => (),
        }
    }

    fn hear(&mut self, event: PeerEvent) {
        let now = self.clock.now();
        match event {
            PeerEvent::Up { peer, seat } => self.worker.link(peer, &seat, true),
            PeerEvent::Down { peer, seat } => self.worker.link(peer, &seat, false),
            PeerEvent::Frame { from, frame } => {
                self.worker.receive(from, &frame, now, &mut self.out);
            }
        }
    }

    fn turn(&mut self) -> bool {
        let more = self.worker.turn(self.clock.now(), &mut self.out);
        for (to, frame) in self.out.frames.drain(..) {
            // What cannot be sent is lost; its senders try again.
            let _ = self.peers.send(to, frame);
        }
        self.answer();
        if let Some(left) = self.leaving.take_if(|_| self.worker.leave()) {
            // Whoever waited for it may have lost patience.
            let _ = left.send(());
        }
        self.announce();
        more
    }

    /// Logs once that the node serves, and until then what it waits for.
    fn announce(&mut self) {
        if self.is_ready {
            return;
        }
        let view = self.node.view.load();
        match &view.topology {
            Ok(topology) if view.unled.is_empty() => {
                let (nodes, epoch) = (topology.members.len(), topology.epoch);
                info!(nodes, epoch, "Ready to accept connections");
                self.is_ready = true;
            }
            Ok(_) => (),
            Err(why) if *why != self.missing => {
                info!(why, "no cluster yet");
                self.missing.clone_from(why);
            }
            Err(_) => (),
        }
    }

    /// Hands out the answers, those of one connection together.
    fn answer(&mut self) {
        let mut settled = std::mem::take(&mut self.out.settled);
        settled.sort_by_key(|((connection, _), _)| *connection);
        let mut settled = settled.into_iter().peekable();
        while let Some(((connection, ticket), reply)) = settled.next() {
            let mut answers = vec![(ticket, reply)];
            while let Some(((_, ticket), reply)) =
                settled.next_if(|((next, _), _)| *next == connection)
            {
                answers.push((ticket, reply));
            }
            if let Some(to) = self.connections.get(&connection) {
                // A connection that is gone waits for nothing.
                let _ = to.send(answers);
            }
        }
    }
}

fn from_connection(connection: u64, pending: Pending<Ticket>) -> Pending<Waiting> {
    Pending {
        task: pending.task,
        mode: pending.mode,
        deadline_mono_ms: pending.deadline_mono_ms,
        ticket: pending.ticket.map(|ticket| (connection, ticket)),
    }
}
