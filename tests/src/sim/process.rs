//! A node under simulation: the core as the shell would drive it, with its connections, on clocks
//! of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::BytesMut;
use dht_node::core::client::{Client, Door, Facts, Labels, Protocol};
use dht_node::core::formation::{Formation, Terms};
use dht_node::core::meta::ClusterId;
use dht_node::core::node::{Aside, Node, Permission, Settings};
use dht_node::core::replication::worker::{Outbox, Restart, Worker};
use dht_node::core::session::{Effects, Session, Ticket};
use dht_node::core::time::Now;
use dht_proto::topology::NodeId;

use super::clock::Clock;
use super::disk::Disk;
use super::plan::Disks;
use crate::random::Random;

/// Who waits for a task: a connection, and its name for the task.
pub type Waiting = (u64, Ticket);

/// One life of the node in a seat.
pub struct Process {
    /// Its number among all lives.
    pub life: u32,
    /// Where it listens.
    pub seat: usize,
    /// What its connections share.
    pub node: Arc<Node>,
    /// Its replication.
    pub worker: Worker<Waiting>,
    /// What its worker leaves.
    pub out: Outbox<Waiting>,
    /// Its clocks.
    pub clock: Clock,
    /// Its open connections.
    pub connections: BTreeMap<u64, Connection>,
    /// When its worker has its next turn.
    pub turn_us: u64,
    /// The process stands still until then.
    pub paused_until_us: u64,
    /// Its worker stands still until then.
    pub stalled_until_us: u64,
    /// To whom it has links, by seat.
    pub links: BTreeMap<usize, (NodeId, u32)>,
}

/// The server's end of a connection.
pub struct Connection {
    /// The core's part.
    pub session: Session,
    /// What has arrived and is not taken.
    pub input: BytesMut,
    /// When the last reply arrives at the client: none overtakes another.
    pub replied_us: u64,
}

/// The address of a seat.
#[must_use]
pub fn address(seat: usize) -> String {
    format!("node{}:7400", seat + 1)
}

impl Process {
    /// A process that starts now in this seat: with what is on its disk, if it has one.
    ///
    /// # Panics
    /// What is on the disk is not what was written.
    #[must_use]
    pub fn start(
        (life, seat): (u32, usize),
        terms: Terms,
        clock: Clock,
        now_us: u64,
        (random, disk): (&mut Random, Option<(&mut Disk, Disks)>),
    ) -> Self {
        let settings = Settings {
            password: None,
            standalone: false,
            backend: None,
            is_durable: false,
            has_file: false,
            client: address(seat),
            redirect: format!("node{}:8400", seat + 1),
            max_clients: 10_000,
            shards: terms.shards,
            debug: Permission::No,
            stopwatch: || 0,
            aside: Aside::none(),
        };
        let now = clock.now(now_us);
        let owner = match &disk {
            Some((disk, _)) => disk.owner,
            None => id(life, random),
        };
        let node = Arc::new(Node::new(owner, settings, now));
        let mut cluster = [0; 16];
        cluster[..8].copy_from_slice(&random.next().to_be_bytes());
        let me = node.settings.member(node.id);
        let formation = Formation::new(me, terms, ClusterId(cluster));
        let seed = random.next();
        let worker = match disk {
            Some((disk, plan)) => {
                let recovered = disk.read();
                let found = Restart {
                    machines: disk.load(&recovered, &node),
                    recovered,
                    log_bytes: plan.log_bytes,
                    piece_bytes: plan.piece_bytes,
                };
                Worker::recover(Arc::clone(&node), formation, seed, now, found)
                    .expect("the disk keeps what is durable")
            }
            None => Worker::new(Arc::clone(&node), formation, seed, now),
        };
        Self {
            life,
            seat,
            worker,
            node,
            out: Outbox::default(),
            clock,
            connections: BTreeMap::new(),
            turn_us: u64::MAX,
            paused_until_us: 0,
            stalled_until_us: 0,
            links: BTreeMap::new(),
        }
    }

    /// What its clocks say.
    #[must_use]
    pub fn now(&self, now_us: u64) -> Now {
        self.clock.now(now_us)
    }

    /// A client has connected.
    pub fn accept(&mut self, number: u64, protocol: Protocol, now_us: u64, seed: u64) {
        let facts = Facts {
            id: number,
            addr: "client:1".to_owned(),
            laddr: address(self.seat),
            since_mono_ms: self.now(now_us).mono_ms,
            last_mono_ms: AtomicU64::new(0),
            last_command: AtomicU64::new(0),
            marks: Default::default(),
            is_killed: AtomicBool::new(false),
            labels: arc_swap::ArcSwap::from_pointee(Labels::default()),
        };
        let client = Client::new(Arc::new(facts), protocol, Door::Forward, true);
        let connection = Connection {
            session: Session::new(client, seed),
            input: BytesMut::new(),
            replied_us: 0,
        };
        self.connections.insert(number, connection);
    }

    /// Lets a connection take what has arrived.
    pub fn serve(&mut self, number: u64, bytes: &[u8], now_us: u64) -> Effects {
        let now = self.now(now_us);
        let mut effects = Effects::default();
        if let Some(connection) = self.connections.get_mut(&number) {
            let Connection { session, input, .. } = connection;
            input.extend_from_slice(bytes);
            let _ = session.receive(&self.node, now, input, &mut effects);
        }
        effects
    }

    /// Gives a connection what its shards have answered.
    pub fn settle(
        &mut self,
        number: u64,
        answers: Vec<(Ticket, dht_proto::Reply)>,
        now_us: u64,
    ) -> Effects {
        let now = self.now(now_us);
        let mut effects = Effects::default();
        if let Some(connection) = self.connections.get_mut(&number) {
            let Connection { session, input, .. } = connection;
            for (ticket, reply) in answers {
                session.settle(ticket, reply, &mut effects);
            }
            if !input.is_empty() {
                let _ = session.receive(&self.node, now, input, &mut effects);
            }
        }
        effects
    }
}

/// An identity that was never used, and tells nothing of the order of lives.
#[must_use]
pub fn id(life: u32, random: &mut Random) -> NodeId {
    let mut id = [0; 20];
    id[..8].copy_from_slice(&random.next().to_be_bytes());
    id[16..].copy_from_slice(&life.to_be_bytes());
    NodeId(id)
}
