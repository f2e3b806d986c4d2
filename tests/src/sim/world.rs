//! The simulated world: nodes, network and clients in one order of events, which a seed decides.
//!
//! It does what the shell does around the core, and nothing else: what it leaves out is waiting.

use std::collections::BTreeMap;

use bytes::Bytes;
use dht_node::core::client::Protocol;
use dht_node::core::disk::{Batch, Report, Save};
use dht_node::core::formation::Terms;
use dht_node::core::replication::replica::Pending;
use dht_node::core::replication::worker::Request;
use dht_node::core::session::{Effects, Ticket};
use dht_proto::Reply;
use dht_proto::topology::NodeId;

use super::clients::Clients;
use super::clock::Clock;
use super::disk::Disk;
use super::faults::Fault as Planned;
use super::network::{Network, Way};
use super::plan::Plan;
use super::process::{Process, address, id};
use super::queue::Queue;
use super::tally::{Fault, Tally};
use super::trace::{Trace, hash};
use super::watch::Watch;
use crate::random::Random;

/// From one turn of an idle worker to the next, at most.
const NAP_US: u64 = 10_000;
/// From one thread of a node to another.
const HOP_US: u64 = 20;
/// How many files of a hundred cannot be written to their end.
const UNSAVED_PERCENT: u64 = 5;
/// From one look at the links that are down to the next.
const DIAL_US: u64 = 100_000;
/// How fast a client's bytes get to a server, and back: from and to.
const CLIENT_US: (u64, u64) = (30, 300);

/// Everything that can happen.
#[derive(Debug)]
pub enum Event {
    /// The worker of a life may have its turn.
    Turn(u32),
    /// A frame arrives.
    Frame {
        /// At which life.
        to: u32,
        /// Who has sent it.
        from: NodeId,
        /// What it says.
        bytes: Bytes,
    },
    /// A life dials whom it has no link to.
    Dial(u32),
    /// A client connects.
    Connect {
        /// To which life.
        life: u32,
        /// The connection's number.
        connection: u64,
        /// What it speaks.
        protocol: Protocol,
    },
    /// Bytes of a client arrive.
    Request {
        /// At which life.
        life: u32,
        /// On which connection.
        connection: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// A client has hung up.
    HangUp(u32, u64),
    /// A connection's tasks arrive at the worker.
    Ask(u32, u64, Vec<Request<Ticket>>),
    /// The worker's answers arrive at a connection.
    Settle(u32, u64, Vec<(Ticket, Reply)>),
    /// Bytes of a server arrive at a client; none: the server has hung up.
    Reply(u64, Option<Bytes>),
    /// What the disk of a life was flushing is durable.
    Flushed(u32, u64),
    /// The disk of a life has done something to a file.
    Saved(u32, Save),
    /// A client does something.
    Wake(usize),
    /// A client's patience with a connection is over, if nothing has come since a batch.
    Impatience(usize, u64, u64),
    /// A shard begins anew, this often before clients come.
    BeginAnew(u32),
    /// Something goes wrong.
    Fault,
    /// What went wrong is over.
    Mend(Planned),
    /// The next life begins in a seat.
    Start(usize),
    /// The replicas are looked at.
    Look,
    /// What is left to be read at the end is read.
    ReadFinals,
}

/// The world at a moment.
pub struct World {
    /// What the seed decided.
    pub plan: Plan,
    /// What has happened.
    pub trace: Trace,
    /// The faults that have happened.
    pub tally: Tally,
    /// What all decide by who have no numbers of their own.
    pub random: Random,
    /// The time.
    pub now_us: u64,
    /// What is going to happen.
    pub queue: Queue<Event>,
    /// Between the nodes.
    pub network: Network,
    /// Who lives in each seat.
    pub seats: Vec<Option<Process>>,
    /// What survives whoever lives in a seat.
    pub disks: Vec<Option<Disk>>,
    /// The seat of every life that ever began.
    pub lives: Vec<usize>,
    /// Which life has an identity.
    pub ids: BTreeMap<NodeId, u32>,
    /// Those who ask.
    pub clients: Clients,
    /// Those who look.
    pub watch: Watch,
    /// Whether anything goes wrong any more.
    pub is_calm: bool,
}

impl World {
    /// The world at its beginning: all nodes have just started.
    #[must_use]
    pub fn new(seed: u64, printed: bool) -> Self {
        let mut random = Random::new(seed);
        let mut plan = Plan::new(&mut random);
        // A state of the cluster comes back late to those alone who are not in the meta group.
        let often = if plan.nodes > 3 { 50 } else { 5 };
        if Random::new(!seed).percent(often) {
            plan.anew = 3;
        }
        let mut world = Self {
            trace: Trace::new(printed),
            tally: Tally::default(),
            now_us: 0,
            queue: Queue::new(),
            network: Network::new(random.fork(), plan.weather),
            seats: (0..plan.nodes).map(|_| None).collect(),
            disks: (0..plan.nodes).map(|_| None).collect(),
            lives: Vec::new(),
            ids: BTreeMap::new(),
            clients: Clients::new(&plan, &mut random),
            watch: Watch::new(plan.shards as usize),
            is_calm: false,
            random,
            plan,
        };
        for seat in 0..world.plan.nodes {
            let at_us = world.random.between(0, 100_000);
            world.queue.add(at_us, Event::Start(seat));
        }
        world.begin_anew(world.plan.anew);
        world.queue.add(100_000, Event::Look);
        world
    }

    /// Clients come, and what goes wrong for them.
    pub fn open(&mut self) {
        for client in 0..self.plan.clients.len() {
            let at_us = self.now_us + self.random.between(500_000, 1_500_000);
            self.queue.add(at_us, Event::Wake(client));
        }
        self.queue.add(self.now_us + 2_000_000, Event::Fault);
    }

    /// Lets the next thing happen; says whether there was one before this time.
    pub fn step(&mut self, until_us: u64) -> bool {
        let Some((at_us, order, event)) = self.queue.pop() else {
            return false;
        };
        self.now_us = at_us;
        if let Some(later_us) = self.standstill(&event) {
            self.queue.put_off(later_us, order, event);
        } else {
            self.happen(event);
        }
        at_us < until_us
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(life) => self.turn(life),
            Event::Frame { to, from, bytes } => self.receive(to, from, &bytes),
            Event::Dial(life) => self.dial(life),
            Event::Connect {
                life,
                connection,
                protocol,
            } => self.accept(life, connection, protocol),
            Event::Request {
                life,
                connection,
                bytes,
            } => self.serve(life, connection, &bytes),
            Event::HangUp(life, connection) => {
                if let Some(process) = self.process(life) {
                    process.connections.remove(&connection);
                }
            }
            Event::Ask(life, connection, asked) => self.ask(life, connection, asked),
            Event::Settle(life, connection, answers) => self.settle(life, connection, answers),
            Event::Reply(connection, bytes) => self.hear(connection, bytes.as_deref()),
            Event::Flushed(life, batch) => self.flushed(life, batch),
            Event::Saved(life, save) => self.saved(life, save),
            Event::Wake(client) => self.wake(client),
            Event::Impatience(client, connection, batch) => {
                self.lose_patience(client, connection, batch);
            }
            Event::BeginAnew(times) => self.begin_anew(times),
            Event::Fault => self.fail(),
            Event::Mend(fault) => self.mend(fault),
            Event::Start(seat) => self.start(seat),
            Event::Look => self.look(),
            Event::ReadFinals => self.read_finals(),
        }
    }

    /// The process of a life, while it lasts.
    pub fn process(&mut self, life: u32) -> Option<&mut Process> {
        let seat = *self.lives.get(life as usize)?;
        let process = self.seats[seat].as_mut()?;
        (process.life == life).then_some(process)
    }

    /// All processes that live.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.seats.iter().flatten()
    }

    /// Until when an event has to wait because its process, or its worker, stands still.
    fn standstill(&mut self, event: &Event) -> Option<u64> {
        let (life, of_worker) = match event {
            Event::Turn(life)
            | Event::Ask(life, ..)
            | Event::Flushed(life, _)
            | Event::Saved(life, _)
            | Event::Frame { to: life, .. } => (*life, true),
            Event::Dial(life)
            | Event::HangUp(life, _)
            | Event::Settle(life, ..)
            | Event::Connect { life, .. }
            | Event::Request { life, .. } => (*life, false),
            _ => return None,
        };
        let now_us = self.now_us;
        let process = self.process(life)?;
        let stalled_us = if of_worker {
            process.stalled_until_us
        } else {
            0
        };
        let until_us = stalled_us.max(process.paused_until_us);
        if until_us <= now_us {
            return None;
        }
        if let Event::Turn(_) = event {
            if process.turn_us != now_us {
                return None;
            }
            process.turn_us = until_us;
        }
        Some(until_us)
    }

    /// A new life begins.
    fn start(&mut self, seat: usize) {
        let life = self.lives.len() as u32;
        let clock = Clock::new(self.now_us, self.random.between(0, 5_000_000));
        let terms = Terms {
            seats: (0..self.plan.nodes).map(address).collect(),
            shards: self.plan.shards,
            copies: self.plan.copies,
        };
        self.inspect(seat);
        let is_back = self.disks[seat].is_some();
        if self.plan.disks.is_some() && !is_back {
            let owner = id(life, &mut self.random);
            self.disks[seat] = Some(Disk::new(owner, &mut self.random));
        }
        let is_full = self.is_full(seat);
        let disk = self.disks[seat].as_mut();
        let on = (&mut self.random, disk.zip(self.plan.disks));
        let process = Process::start((life, seat), terms, clock, self.now_us, on);
        self.trace
            .add(self.now_us, format_args!("start {life} at seat {seat}"));
        self.lives.push(seat);
        if is_back {
            self.watch.come_back(&process);
        } else if self.lives.len() > self.seats.len() {
            self.watch.joining.push(life);
        }
        self.ids.insert(process.node.id, life);
        self.seats[seat] = Some(process);
        self.queue.add(self.now_us, Event::Dial(life));
        if is_full {
            self.report(life, Report::Room(false));
        }
        self.poke(life);
    }

    /// Sets a damaged disk aside, as a node does that finds one: in its place comes an empty one.
    /// Nothing else is to be taken for damage.
    fn inspect(&mut self, seat: usize) {
        let Some(disk) = &self.disks[seat] else {
            return;
        };
        let found = disk.damage();
        match (disk.is_spoilt, found) {
            (true, None) => self.watch.wrong("damage", "it was not noticed".to_owned()),
            (false, Some(why)) => self.watch.wrong("damage", format!("there is none: {why}")),
            _ => {}
        }
        if found.is_some() {
            self.disks[seat] = None;
        }
    }

    /// Whether there is a disk without room in a seat.
    fn is_full(&self, seat: usize) -> bool {
        let disk = self.disks[seat].as_ref();
        disk.is_some_and(|disk| disk.full_until_us > self.now_us)
    }

    /// A life dials every seat, its own too: links to nodes that are gone are down.
    fn dial(&mut self, life: u32) {
        let found: Vec<(usize, Option<(NodeId, u32)>)> = (0..self.seats.len())
            .map(|seat| (seat, self.found_at(life, seat)))
            .collect();
        let Some(process) = self.process(life) else {
            return;
        };
        for (seat, found) in found {
            let linked = process.links.get(&seat).copied();
            if linked == found {
                continue;
            }
            if let Some((peer, _)) = linked {
                process.worker.link(peer, &address(seat), false);
                process.links.remove(&seat);
            }
            if let Some((peer, life)) = found {
                process.worker.link(peer, &address(seat), true);
                process.links.insert(seat, (peer, life));
            }
        }
        let again_us = self.now_us + self.random.between(DIAL_US / 2, DIAL_US);
        self.queue.add(again_us, Event::Dial(life));
        self.poke(life);
    }

    /// Whom a life finds when it dials a seat.
    fn found_at(&self, life: u32, seat: usize) -> Option<(NodeId, u32)> {
        let from = self.lives[life as usize];
        let cut = self.network.is_cut(from, seat) || self.network.is_cut(seat, from);
        let there = self.seats[seat].as_ref().filter(|_| !cut);
        there.map(|process| (process.node.id, process.life))
    }

    /// The worker of a life has something to do.
    fn poke(&mut self, life: u32) {
        let soon_us = self.now_us + self.random.between(5, 100);
        self.turn_at(life, soon_us);
    }

    fn turn_at(&mut self, life: u32, at_us: u64) {
        let now_us = self.now_us;
        if let Some(process) = self.process(life)
            && (at_us < process.turn_us || process.turn_us <= now_us)
        {
            process.turn_us = at_us;
            self.queue.add(at_us, Event::Turn(life));
        }
    }

    fn turn(&mut self, life: u32) {
        let now_us = self.now_us;
        let Some(process) = self.process(life) else {
            return;
        };
        // Another turn was planned before this one was.
        if process.turn_us != now_us {
            return;
        }
        let now = process.now(now_us);
        let more = process.worker.turn(now, &mut process.out);
        for long in std::mem::take(&mut process.out.long) {
            process.worker.made(long.make(), now, &mut process.out);
        }
        // Who sees a new leader may cut it off before it has said anything.
        self.look_at(life);
        self.send_out(life);
        let next_us = if more { HOP_US } else { NAP_US };
        self.turn_at(life, now_us + next_us);
    }

    /// Takes what a worker has left: frames for the network, answers for connections.
    fn send_out(&mut self, life: u32) {
        let Some(process) = self.process(life) else {
            return;
        };
        let out = std::mem::take(&mut process.out);
        let (from, seat) = (process.node.id, process.seat);
        self.write(life, out.batch, out.saves);
        for (to, bytes) in out.frames {
            if let Some(to) = self.ids.get(&to).copied() {
                self.send(from, (life, seat), to, &bytes);
            }
        }
        let mut answers: BTreeMap<u64, Vec<(Ticket, Reply)>> = BTreeMap::new();
        for ((connection, ticket), found) in out.settled {
            let reply = found.made();
            answers.entry(connection).or_default().push((ticket, reply));
        }
        for (connection, answers) in answers {
            let event = Event::Settle(life, connection, answers);
            self.queue.add(self.now_us + HOP_US, event);
        }
    }

    /// Gives the disk of a life what its worker leaves for it.
    fn write(&mut self, life: u32, batch: Option<Batch>, saves: Vec<Save>) {
        let (Some(plan), seat) = (self.plan.disks, self.lives[life as usize]) else {
            return;
        };
        let Some(disk) = &mut self.disks[seat] else {
            return;
        };
        let is_slow = disk.slow_until_us > self.now_us;
        let stuck_us = match disk.is_stuck {
            true => disk.full_until_us.saturating_sub(self.now_us),
            false => 0,
        };
        let mut takes_us = || match is_slow {
            true => stuck_us + self.random.between(10_000, 300_000),
            false => stuck_us + self.random.between(plan.flush_us.0, plan.flush_us.1),
        };
        if let Some(batch) = batch {
            let number = batch.number;
            disk.flush(&batch);
            let at_us = self.now_us + takes_us();
            self.queue.add(at_us, Event::Flushed(life, number));
        }
        for save in saves {
            disk.busy_until_us = disk.busy_until_us.max(self.now_us) + takes_us();
            self.queue.add(disk.busy_until_us, Event::Saved(life, save));
        }
    }

    fn flushed(&mut self, life: u32, batch: u64) {
        let seat = self.lives[life as usize];
        if self.process(life).is_none() {
            return;
        }
        if let Some(disk) = &mut self.disks[seat] {
            disk.flushed();
        }
        self.report(life, Report::Durable(batch));
    }

    fn saved(&mut self, life: u32, save: Save) {
        if self.process(life).is_none() {
            return;
        }
        let seat = self.lives[life as usize];
        let is_full = self.is_full(seat);
        let Some(disk) = &mut self.disks[seat] else {
            return;
        };
        let Save::Piece { snapshot, last, .. } = save else {
            return disk.save(save);
        };
        if last && (is_full || self.random.percent(UNSAVED_PERCENT)) {
            disk.save(Save::Remove(snapshot));
            self.tally.count(Fault::Unsaved);
            return self.report(life, Report::Unsaved(snapshot));
        }
        disk.save(save);
        self.report(life, Report::Piece(snapshot));
        if last {
            self.report(life, Report::Saved(snapshot));
        }
    }

    /// The disk of a life says something.
    pub fn report(&mut self, life: u32, report: Report) {
        let now_us = self.now_us;
        if let Some(process) = self.process(life) {
            let now = process.now(now_us);
            process.worker.report(report, now, &mut process.out);
            self.poke(life);
        }
    }

    fn send(&mut self, id: NodeId, from: (u32, usize), to: u32, bytes: &Bytes) {
        let way = Way {
            from,
            to: (to, self.lives[to as usize]),
        };
        let arrivals = self.network.send(way, self.now_us, &mut self.tally);
        self.trace.add(
            self.now_us,
            format_args!(
                "send {} -> {to}: {} bytes {:016x}, arrive {arrivals:?}",
                from.0,
                bytes.len(),
                hash(bytes)
            ),
        );
        for at_us in arrivals.into_iter().flatten() {
            let event = Event::Frame {
                to,
                from: id,
                bytes: bytes.clone(),
            };
            self.queue.add(at_us, event);
        }
    }

    fn receive(&mut self, to: u32, from: NodeId, bytes: &[u8]) {
        let now_us = self.now_us;
        if let Some(process) = self.process(to) {
            let now = process.now(now_us);
            process.worker.receive(from, bytes, now, &mut process.out);
            self.poke(to);
        }
    }

    fn accept(&mut self, life: u32, connection: u64, protocol: Protocol) {
        let (now_us, seed) = (self.now_us, self.random.next());
        match self.process(life) {
            Some(process) => process.accept(connection, protocol, now_us, seed),
            None => self.reply_at(now_us, connection, None),
        }
    }

    fn serve(&mut self, life: u32, connection: u64, bytes: &[u8]) {
        let now_us = self.now_us;
        match self.process(life) {
            Some(process) => {
                let effects = process.serve(connection, bytes, now_us);
                self.carry_out(life, connection, effects);
            }
            None => self.reply_at(now_us, connection, None),
        }
    }

    fn settle(&mut self, life: u32, connection: u64, answers: Vec<(Ticket, Reply)>) {
        let now_us = self.now_us;
        if let Some(process) = self.process(life) {
            let effects = process.settle(connection, answers, now_us);
            self.carry_out(life, connection, effects);
        }
    }

    /// Does what a session leaves to be done.
    fn carry_out(&mut self, life: u32, connection: u64, effects: Effects) {
        let Effects { output, asked, .. } = effects;
        if !asked.is_empty() {
            let event = Event::Ask(life, connection, asked);
            self.queue.add(self.now_us + HOP_US, event);
        }
        if output.is_empty() {
            return;
        }
        let at_us = self.now_us + self.random.between(CLIENT_US.0, CLIENT_US.1);
        let process = self.process(life);
        let open = process.and_then(|process| process.connections.get_mut(&connection));
        if let Some(open) = open {
            open.replied_us = open.replied_us.max(at_us);
            let at_us = open.replied_us;
            self.reply_at(at_us, connection, Some(output.to_vec().into()));
        }
    }

    /// A client hears something of its connection.
    pub fn reply_at(&mut self, at_us: u64, connection: u64, bytes: Option<Bytes>) {
        self.queue.add(at_us, Event::Reply(connection, bytes));
    }

    fn ask(&mut self, life: u32, connection: u64, asked: Vec<Request<Ticket>>) {
        let Some(process) = self.process(life) else {
            return;
        };
        for Request { shard, pending } in asked {
            let pending = Pending {
                task: pending.task,
                mode: pending.mode,
                deadline_mono_ms: pending.deadline_mono_ms,
                ticket: pending.ticket.map(|ticket| (connection, ticket)),
            };
            let request = Request { shard, pending };
            process.worker.request(request, &mut process.out);
        }
        self.poke(life);
    }

    /// How long a client's bytes take to a server.
    pub fn client_delay_us(&mut self) -> u64 {
        self.random.between(CLIENT_US.0, CLIENT_US.1)
    }
}
