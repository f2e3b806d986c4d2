//! The thread on which a node's replication runs: gathers what has arrived, lets the core take a
//! turn, and hands on what it leaves. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use std::{io, thread};

use dht_proto::slot::SLOTS;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info, warn};

use super::broadcast::Broadcast;
use super::disk::load::{Fault, Loaded, load};
use super::disk::{DataDir, log, snapshots};
use super::peers::{PeerEvent, Peers};
use super::{Alarm, Clock, random};
use crate::core::disk::{Batch, Report, Save};
use crate::core::formation::Formation;
use crate::core::node::Node;
use crate::core::replication::mail::{Long, Made};
use crate::core::replication::replica::Pending;
use crate::core::replication::worker::{Outbox, Request, Trouble, Worker};
use crate::core::rest::Found;
use crate::core::session::Ticket;

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
    /// A long answer was made.
    Made(Made),
    /// The disk has done something.
    Disk(Report),
    /// The node leaves: leaderships are handed over, then it is said that they are.
    Leave(oneshot::Sender<()>),
    /// The node has ended.
    Stop,
}

/// Answers to what a connection has asked.
pub type Settled = Vec<(Ticket, Found)>;

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

/// What the replication of a node starts with.
pub struct Start {
    /// The node.
    pub node: Arc<Node>,
    /// How it comes to belong to a cluster.
    pub formation: Formation,
    /// The time.
    pub clock: Arc<Clock>,
    /// The links to others.
    pub peers: Peers,
    /// To whom it is told what happens to keys.
    pub broadcast: Broadcast,
    /// Where others are looked for.
    pub join: Vec<String>,
    /// Its data directory, if it has one.
    pub dir: Option<DataDir>,
    /// Told when the node cannot go on.
    pub failure: oneshot::Sender<Failure>,
    /// Rings when a thread panics.
    pub alarm: Alarm,
    /// Set once the node serves.
    pub ready: CancellationToken,
    /// Dropped when the thread has ended.
    pub running: DropGuard,
}

/// Why a node cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// What is wrong, in one line.
    Fatal(String),
    /// Its data is damaged, and marked so: if it is started again it is a new node, which gets its
    /// data from the others.
    StartAgain,
}

/// Starts the thread.
///
/// # Errors
/// The system gives no thread, or no random seed.
pub fn start(
    start: Start,
    (replication, events): (Replication, Receiver<Event>),
) -> io::Result<()> {
    let seed = u64::from_ne_bytes(random()?);
    let (makers, long) = channel();
    let made = replication.clone();
    let alarms = (start.alarm.clone(), start.alarm.clone());
    thread::Builder::new()
        .name("long answers".to_owned())
        .spawn(move || {
            let _alarm = alarms.0;
            make_all(&long, &made);
        })?;
    thread::Builder::new()
        .name("replication".to_owned())
        .spawn(move || {
            let _alarm = alarms.1;
            live(start, seed, makers, (&replication, &events));
        })
        .map(drop)
}

/// Where the other members are that were known before.
fn others_of(worker: &Worker<Waiting>, node: &Node) -> impl Iterator<Item = String> {
    let members = worker.state().map(|state| state.members.iter());
    let others = members
        .into_iter()
        .flatten()
        .filter(|member| member.id != node.id);
    let seats: Vec<String> = others.map(|member| member.seat.clone()).collect();
    seats.into_iter()
}

/// What the thread does from the beginning to the end.
fn live(
    start: Start,
    seed: u64,
    makers: Sender<Long>,
    (replication, events): (&Replication, &Receiver<Event>),
) {
    let Start {
        node,
        formation,
        clock,
        peers,
        broadcast,
        join,
        dir,
        failure,
        alarm,
        ready,
        running: _running,
    } = start;
    let copies = formation.copies() as usize;
    let begun = match &dir {
        None => {
            let worker = Worker::new(Arc::clone(&node), formation, seed, clock.now());
            Ok((worker, None))
        }
        Some(dir) => recover((dir, replication, &alarm), &node, formation, seed, &clock)
            .map(|(worker, disk)| (worker, Some(disk))),
    };
    let (worker, disk) = match begun {
        Ok(begun) => begun,
        Err(fault) => {
            let others = join.len() > 1;
            // Nobody listens when the node is being ended.
            let _ = failure.send(fail(fault, dir.as_ref(), others));
            return;
        }
    };
    let others = join.len() > 1 || worker.state().is_some_and(|it| it.members.len() > 1);
    let failing = dir.map(|dir| Failing {
        dir,
        others,
        failure,
    });
    peers.dial(others_of(&worker, &node).chain(join));
    let thread = Thread {
        node,
        worker,
        disk,
        failing,
        is_over: false,
        has_complained: false,
        ready,
        copies,
        missing: String::new(),
        clock,
        peers,
        broadcast,
        connections: BTreeMap::new(),
        leaving: None,
        makers,
        out: Outbox::default(),
    };
    thread.run(events);
}

/// Reads the data directory, and starts the threads that write to it.
fn recover(
    (dir, replication, alarm): (&DataDir, &Replication, &Alarm),
    node: &Arc<Node>,
    formation: Formation,
    seed: u64,
    clock: &Clock,
) -> Result<(Worker<Waiting>, Disk), Fault> {
    let begun = clock.now();
    let Loaded { restart, journal } = load(dir, node)?;
    let now = clock.now();
    let entries = restart.recovered.groups.values();
    let entries: usize = entries.map(|kept| kept.entries.len()).sum();
    let took_ms = now.mono_ms - begun.mono_ms;
    let keys: usize = (0..SLOTS).map(|slot| node.store.keys_in_slot(slot)).sum();
    info!(dir = %dir.path().display(), keys, entries, took_ms, "data read");
    let worker = Worker::recover(Arc::clone(node), formation, seed, now, restart);
    let worker = worker.map_err(|(group, why)| {
        Fault::Damaged(format!(
            "what the log says of group {group} makes no sense: {why}"
        ))
    })?;
    let disk = Disk {
        batches: log::start(dir.clone(), journal, (replication.clone(), alarm.clone()))?,
        saves: snapshots::start(dir.clone(), (replication.clone(), alarm.clone()))?,
    };
    Ok((worker, disk))
}

/// What becomes of a node whose data directory cannot be used.
fn fail(fault: Fault, dir: Option<&DataDir>, has_others: bool) -> Failure {
    let path = dir.map(|dir| dir.path().display());
    let path = path.map(|path| path.to_string()).unwrap_or_default();
    match (fault, dir) {
        (Fault::Damaged(why), Some(dir)) if has_others => {
            error!(why, dir = path, "the data directory is damaged");
            match dir.mark_damaged(&why) {
                Ok(()) => Failure::StartAgain,
                Err(error) => Failure::Fatal(error.to_string()),
            }
        }
        (Fault::Damaged(why), _) => Failure::Fatal(format!(
            "{path}: {why}; there is no other node to get the data from: restore a backup into an \
             empty directory, or name the others with --join"
        )),
        (Fault::Io(error), _) => Failure::Fatal(error.to_string()),
    }
}

/// What is done when the node cannot go on.
struct Failing {
    dir: DataDir,
    /// There are other nodes in the cluster.
    others: bool,
    failure: oneshot::Sender<Failure>,
}

impl Failing {
    fn damaged(self, why: String) {
        let failure = fail(Fault::Damaged(why), Some(&self.dir), self.others);
        // Nobody listens when the node is being ended.
        let _ = self.failure.send(failure);
    }

    fn refuse(self, why: &str) {
        let why = format!("{}: {why}", self.dir.path().display());
        let _ = self.failure.send(Failure::Fatal(why));
    }
}

/// The threads that write to the data directory.
struct Disk {
    batches: Sender<Batch>,
    saves: Sender<Save>,
}

struct Thread {
    node: Arc<Node>,
    worker: Worker<Waiting>,
    disk: Option<Disk>,
    failing: Option<Failing>,
    is_over: bool,
    /// Something was said to be wrong that it goes on in spite of.
    has_complained: bool,
    /// Set once the node serves clients, and that was said.
    ready: CancellationToken,
    /// The copies that this node was told there are to be.
    copies: usize,
    /// What was last said to be missing for that.
    missing: String,
    clock: Arc<Clock>,
    peers: Peers,
    broadcast: Broadcast,
    connections: BTreeMap<u64, UnboundedSender<Settled>>,
    /// Whether the node is about to end, and who waits for it to lead nothing any more.
    leaving: Option<Option<oneshot::Sender<()>>>,
    /// Where long answers are made. No more wait there than other nodes may have tasks on their way
    /// here: one that comes again waits for the answer that is being made.
    makers: Sender<Long>,
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
            match self.turn() {
                Some(at_once) if !self.is_over => more = at_once,
                _ => return,
            }
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
            Event::Made(made) => self.worker.made(made, self.clock.now(), &mut self.out),
            Event::Disk(report) => self.worker.report(report, self.clock.now(), &mut self.out),
            Event::Leave(left) => self.leaving = Some(Some(left)),
            Event::Stop => (),
        }
    }

    fn hear(&mut self, event: PeerEvent) {
        let now = self.clock.now();
        match event {
            PeerEvent::Up { peer, seat } => self.worker.link(peer, &seat, true),
            PeerEvent::Down { peer, seat } => self.worker.link(peer, &seat, false),
            PeerEvent::Double { client } => {
                let why = format!(
                    "the node at {client} was started with a copy of this data directory, or this \
                     is the copy"
                );
                self.is_over |= self.refuse(&why);
            }
            PeerEvent::Frame { from, frame } => {
                self.worker.receive(from, &frame, now, &mut self.out);
            }
        }
    }

    /// Whether the node cannot go on because of this; then it is told why.
    fn is_fatal(&mut self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::Lost(group) => {
                if let Some(failing) = self.failing.take() {
                    failing.damaged(format!(
                        "entries of group {group} are missing in the log that were durable"
                    ));
                }
                true
            }
            Trouble::Stranger(mine, other) => {
                let why = format!(
                    "it belongs to cluster {mine}, but the nodes of --join are cluster {other}"
                );
                self.refuse(&why)
            }
        }
    }

    /// A node that does not serve yet ends over what one that serves only complains of, once.
    fn refuse(&mut self, why: &str) -> bool {
        if !self.ready.is_cancelled()
            && let Some(failing) = self.failing.take()
        {
            failing.refuse(why);
            return true;
        }
        if !std::mem::replace(&mut self.has_complained, true) {
            warn!(why, "something is wrong with the cluster");
        }
        false
    }

    /// Says whether more could be done at once; nothing when the node cannot go on.
    fn turn(&mut self) -> Option<bool> {
        let more = self.worker.turn(self.clock.now(), &mut self.out);
        if let Some(trouble) = self.out.trouble.take()
            && self.is_fatal(trouble)
        {
            return None;
        }
        if let Some(disk) = &self.disk {
            // Whoever writes to a disk that fails ends the process.
            if let Some(batch) = self.out.batch.take() {
                let _ = disk.batches.send(batch);
            }
            for save in self.out.saves.drain(..) {
                let _ = disk.saves.send(save);
            }
        }
        for (to, frame) in self.out.frames.drain(..) {
            // What cannot be sent is lost; its senders try again.
            let _ = self.peers.send(to, frame);
        }
        for long in self.out.long.drain(..) {
            // It is gone when the node has ended.
            let _ = self.makers.send(long);
        }
        self.broadcast.announce();
        self.answer();
        self.leave();
        self.announce();
        Some(more)
    }

    /// Keeps a node that is about to end from leading anything.
    fn leave(&mut self) {
        if let Some(waiting) = &mut self.leaving
            && self.worker.leave()
            && let Some(left) = waiting.take()
        {
            // Whoever waited for it may have lost patience.
            let _ = left.send(());
        }
    }

    /// Logs once that the node serves, and until then what it waits for.
    fn announce(&mut self) {
        if self.ready.is_cancelled() {
            return;
        }
        let view = self.node.view.load();
        match &view.topology {
            Ok(topology) if view.unled.is_empty() => {
                let (nodes, epoch) = (topology.members.len(), topology.epoch);
                info!(nodes, epoch, "Ready to accept connections");
                self.ready.cancel();
                self.compare_copies();
            }
            Ok(_) => (),
            Err(_) if view.is_loading => (),
            Err(why) if *why != self.missing => {
                info!(why, "no cluster yet");
                self.missing.clone_from(why);
            }
            Err(_) => (),
        }
    }

    /// Says that the cluster has other copies than this node was told.
    fn compare_copies(&self) {
        let (told, state) = (self.copies, self.worker.state());
        if let Some(made) = state.map(|state| state.copies)
            && made != told
        {
            warn!("the cluster was made with --replicas {made}: --replicas {told} does not count");
        }
    }

    /// Hands out the answers, those of one connection together.
    fn answer(&mut self) {
        let mut settled = std::mem::take(&mut self.out.settled);
        settled.sort_by_key(|((connection, _), _)| *connection);
        let mut settled = settled.into_iter().peekable();
        while let Some(((connection, ticket), found)) = settled.next() {
            let mut answers = vec![(ticket, found)];
            while let Some(((_, ticket), found)) =
                settled.next_if(|((next, _), _)| *next == connection)
            {
                answers.push((ticket, found));
            }
            if let Some(to) = self.connections.get(&connection) {
                // A connection that is gone waits for nothing.
                let _ = to.send(answers);
            }
        }
    }
}

/// Makes one long answer after the other, so that they take no more than one processor and one
/// answer's memory.
fn make_all(long: &Receiver<Long>, made: &Replication) {
    while let Ok(long) = long.recv() {
        made.send(Event::Made(long.make()));
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
