//! One connection: requests in, replies out, in order; what has to go to a shard is asked for.
//!
//! Knows neither sockets nor the bytes of a protocol: the requests are parsed by [`super::wire`],
//! and what has to be written, asked for or closed is left in [`Effects`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, Bytes, BytesMut};
use dht_proto::resp::{Decoded, RequestReader};
use dht_proto::rpc::{self, Message, Request};
use dht_proto::spec::{self, CommandId, Kind};
use dht_proto::topology::Topology;
use dht_proto::{Reply, ReplyError, limits};
use smallvec::SmallVec;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use super::ahead;
use super::client::{Client, Protocol};
use super::execute::{Command, Here, Look};
use super::gather::{Gather, Part};
use super::mutation::{self, Mutation};
use super::node::{Node, View};
use super::random::Random;
use super::replication::machine::session_unknown;
use super::replication::replica::{Mode, Pending};
use super::replication::task::{self, Task};
use super::replication::worker::Request as Asked;
use super::router::{self, Route, Router};
use super::store::SlotSet;
use super::time::{Now, UnixMs};
use super::wire::{self, Origin, Wire};

#[cfg(test)]
mod placed_tests;
mod transactions;

/// The words of a request.
type Words<'a> = SmallVec<[&'a [u8]; 8]>;

/// A connection's state between two calls of the shell.
pub struct Session {
    /// Who is at the other end.
    pub client: Client,
    /// Absent only while requests are read from it.
    wire: Option<Wire>,
    /// Requests whose replies are not yet in the output, oldest first, where their order counts.
    turns: VecDeque<Turn>,
    /// The number of the first of `turns`; a request's number never changes.
    first_turn: u64,
    /// Requests that wait for shards, by number, where replies are told apart by their ids. One
    /// that waits for long holds up no other.
    loose: BTreeMap<u64, Waiting>,
    /// The last number among those.
    last_loose: u64,
    /// Bytes of replies that wait in `turns` for an earlier one.
    held_bytes: usize,
    /// How many tasks each shard has not yet answered; empty before the first.
    asked: Vec<u32>,
    /// Seeds of commands.
    random: Random,
}

/// A request that has been taken.
enum Turn {
    /// Shards have to answer first.
    Waiting(Box<Waiting>),
    /// Answered, and encoded; it waits for an earlier one.
    Ready(BytesMut),
}

struct Waiting {
    origin: Origin,
    gather: Gather,
}

/// What the shell has to do after a call; it takes what it finds and leaves the rest empty.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be written to the connection.
    pub output: BytesMut,
    /// Tasks for shards. Each with a ticket is settled exactly once by [`Session::settle`].
    pub asked: Vec<Asked<Ticket>>,
    /// Close the connection once the output is written.
    pub close: bool,
}

/// A part of a request that a shard has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The request's number on its connection.
    pub turn: u64,
    /// The part's number in the request.
    pub part: usize,
}

/// Whether more can be done without the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every complete request was taken: read more input.
    Input,
    /// Output has to be written, or a task settled, before the rest of the input is
    /// taken: call [`Session::receive`] again after that.
    Blocked,
}

impl Session {
    /// A connection that has just been accepted, its protocol known from the first byte.
    #[must_use]
    pub fn new(client: Client, seed: u64) -> Self {
        Self {
            wire: Some(Wire::new(client.protocol)),
            client,
            turns: VecDeque::new(),
            first_turn: 0,
            loose: BTreeMap::new(),
            last_loose: 0,
            held_bytes: 0,
            asked: Vec::new(),
            random: Random::new(seed),
        }
    }

    /// Tells a client that has the words for it that what is not answered will not be executed;
    /// says whether it has them.
    pub fn say_farewell(&self, output: &mut BytesMut) -> bool {
        let is_native = self.client.protocol == Protocol::Native;
        if is_native {
            wire::encode_farewell(output);
        }
        is_native
    }

    /// Takes every complete request from `input`, as long as the output stays below its soft limit.
    pub fn receive(
        &mut self,
        node: &Node,
        now: Now,
        input: &mut BytesMut,
        effects: &mut Effects,
    ) -> Progress {
        let view = node.view.load();
        let mut step = Step {
            node,
            view: &view,
            now,
            stamp: node.stamp(now),
            taken: 0,
            effects,
        };
        let progress = match self.wire.take() {
            Some(Wire::Resp(mut reader)) => {
                let progress = self.receive_resp(&mut step, &mut reader, input);
                self.wire = Some(Wire::Resp(reader));
                progress
            }
            Some(Wire::Native(mut codec)) => {
                let progress = self.receive_frames(&mut step, &mut codec, input);
                self.wire = Some(Wire::Native(codec));
                progress
            }
            None => unreachable!("it is put back above"),
        };
        if self.client.closing {
            input.clear();
        }
        self.forget(node, now, step.effects);
        self.note(&step);
        step.effects.close |= self.client.closing && self.in_flight() == 0;
        progress
    }

    fn receive_resp(
        &mut self,
        step: &mut Step<'_>,
        reader: &mut RequestReader,
        input: &mut BytesMut,
    ) -> Progress {
        let (mut at, mut fetched) = (0, 0);
        let progress = loop {
            if let Some(progress) = self.pause(step.effects) {
                break progress;
            }
            let origin = Origin::resp(self.client.protocol);
            match reader.read(&input[at..], self.client.authenticated) {
                Ok(Decoded::Request(length)) => {
                    let next = at + length;
                    if next >= fetched {
                        fetched = next + ahead::fetch(&step.node.store, &input[next..]);
                    }
                    let words: Words<'_> = reader.words(&input[at..]).collect();
                    self.request(step, origin, &words);
                    at = next;
                }
                Ok(Decoded::Nothing(length)) => at += length,
                Ok(Decoded::Incomplete) => break Progress::Input,
                Err(error) => {
                    self.answer(step.effects, origin, &error.into());
                    self.client.closing = true;
                }
            }
        };
        input.advance(at);
        progress
    }

    fn receive_frames(
        &mut self,
        step: &mut Step<'_>,
        codec: &mut LengthDelimitedCodec,
        input: &mut BytesMut,
    ) -> Progress {
        loop {
            if let Some(progress) = self.pause(step.effects) {
                return progress;
            }
            codec.set_max_frame_length(wire::frame_bytes(self.client.authenticated));
            let refusal = match codec.decode(input) {
                Ok(Some(frame)) => self.message(step, &frame).err(),
                Ok(None) => return Progress::Input,
                Err(_) => Some("a frame is longer than allowed"),
            };
            if let Some(what) = refusal {
                let error = ReplyError::Protocol(what.into());
                wire::encode_refusal(&error, &mut step.effects.output);
                self.client.closing = true;
            }
        }
    }

    /// Takes what a frame holds.
    fn message(&mut self, step: &mut Step<'_>, frame: &[u8]) -> Result<(), &'static str> {
        let (origin, argv) = match rpc::decode(frame).map_err(|malformed| malformed.0)? {
            Message::Request(Request { id, argv, meta }) => {
                let place = meta.place();
                let origin = Origin::Native {
                    id,
                    deadline_ms: meta.deadline_ms.unwrap_or(wire::DEADLINE_MS),
                    place: place.clone().unwrap_or_default(),
                };
                if let Err(error) = place {
                    self.answer(step.effects, origin, &error.into());
                    return Ok(());
                }
                (origin, argv)
            }
            Message::Notification(argv) => (Origin::Silent, argv),
            Message::Response { .. } => return Err("a response to no request"),
        };
        let words: Words<'_> = argv.iter().map(AsRef::as_ref).collect();
        self.request(step, origin, &words);
        Ok(())
    }

    /// Why no further request is taken at present, if so.
    fn pause(&self, effects: &Effects) -> Option<Progress> {
        let blocked = effects.output.len() + self.held_bytes >= limits::OUTPUT_SOFT_BYTES
            || self.in_flight() >= limits::IN_FLIGHT;
        match (self.client.closing, blocked) {
            (true, _) => Some(Progress::Input),
            (false, true) => Some(Progress::Blocked),
            (false, false) => None,
        }
    }

    /// Takes the answer of a shard.
    pub fn settle(&mut self, ticket: Ticket, reply: Reply, effects: &mut Effects) {
        if let Some(shard) = self.settle_part(ticket, reply, effects) {
            self.asked[usize::from(shard)] -= 1;
        }
        effects.close |= self.client.closing && self.in_flight() == 0;
    }

    /// How many requests wait for shards, or for one that does.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.turns.len() + self.loose.len()
    }

    /// Counts once a batch what would cost too much once a request.
    fn note(&self, step: &Step<'_>) {
        if step.taken > 0 {
            step.node.stats.commands.fetch_add(step.taken, Relaxed);
            self.client
                .facts
                .last_mono_ms
                .store(step.now.mono_ms, Relaxed);
        }
        let led_here = |asked: &&Asked<Ticket>| match &step.view.topology {
            Ok(topology) => topology
                .shards
                .get(usize::from(asked.shard))
                .is_none_or(|shard| shard.leader == step.view.me),
            Err(_) => true,
        };
        let asked = &step.effects.asked;
        let forwarded = asked.len() - asked.iter().filter(led_here).count();
        if forwarded > 0 {
            let stats = &step.node.stats;
            stats.forwarded.fetch_add(forwarded as u64, Relaxed);
        }
    }

    fn request(&mut self, step: &mut Step<'_>, origin: Origin, argv: &[&[u8]]) {
        step.taken += 1;
        if self.client.transaction.is_open() {
            self.request_in_transaction(step, origin, argv);
        } else {
            self.request_now(step, origin, argv);
        }
    }

    fn request_now(&mut self, step: &mut Step<'_>, origin: Origin, argv: &[&[u8]]) {
        match self.place(step, argv) {
            Ok((command, route)) if command.id.spec().kind == Kind::TRANSACTION => {
                self.transact(step, origin, &command, &route);
            }
            Ok((command, route)) if origin.place().is_some() && !has_place(&command, &route) => {
                let error = no_place(&route);
                self.answer(step.effects, origin, &error.into());
            }
            Ok((command, Route::Here)) if command.id.spec().kind.is_long() => {
                let aside = step.node.settings.aside;
                aside(&mut || self.do_here(step, origin, &command));
            }
            Ok((command, Route::Here)) => self.do_here(step, origin, &command),
            Ok((command, Route::Meta)) => {
                let meta = step.node.meta_shard();
                let gather = Gather::whole(meta, command.id.spec().kind.writes());
                let turn = self.wait(origin, gather);
                let ticket = Ticket { turn, part: 0 };
                let task = task::command(argv);
                self.ask(step, origin, (meta, Mode::Repeatable), ticket, task);
            }
            Ok((command, Route::Led)) => {
                let reply = self.look_through(step, &command);
                self.answer(step.effects, origin, &reply);
            }
            Ok((command, Route::Shard(shard))) => match self.mode(step, &command, shard) {
                Ok(reply) => self.answer_aside(step, origin, reply),
                Err(mode) => {
                    let gather = Gather::whole(shard, command.id.spec().kind.writes());
                    let turn = self.wait(origin, gather);
                    let ticket = Ticket { turn, part: 0 };
                    let task = match command.id.spec().kind {
                        Kind::SESSION => Task::Open.to_bytes(),
                        _ => task::command(argv),
                    };
                    self.ask(step, origin, (shard, mode), ticket, task);
                }
            },
            Ok((command, Route::Spread(parts))) => self.spread(step, origin, &command, &parts),
            Err(error) => self.answer(step.effects, origin, &error.into()),
        }
    }

    /// Finds the command, if the client may use it now.
    fn find(&self, argv: &[&[u8]]) -> Result<CommandId, ReplyError> {
        let id = spec::find(argv);
        let allowed =
            self.client.authenticated || id.as_ref().is_ok_and(|id| id.spec().kind.before_auth());
        if !allowed {
            return Err(ReplyError::NoAuth);
        }
        let id = id?;
        self.client
            .facts
            .last_command
            .store(id.index() as u64 + 1, Relaxed);
        Ok(id)
    }

    /// Finds the command and where it runs.
    fn place<'a>(
        &self,
        step: &Step<'_>,
        argv: &'a [&'a [u8]],
    ) -> Result<(Command<'a>, Route), ReplyError> {
        let id = self.find(argv)?;
        let kind = id.spec().kind;
        if kind.is_local() || kind == Kind::TRANSACTION && id.schema().keys.is_none() {
            return Ok((Command::new(id, argv, &[]), Route::Here));
        }
        let keys = router::keys(id, argv)?;
        let route = self.router(step)?.route(id, argv, &keys)?;
        Ok((Command::new(id, argv, &keys), route))
    }

    fn router<'a>(&self, step: &'a Step<'_>) -> Result<Router<'a>, ReplyError> {
        Ok(Router {
            topology: step.topology()?,
            me: step.view.me,
            door: self.client.door,
            standalone: step.node.settings.standalone,
        })
    }

    fn do_here(&mut self, step: &mut Step<'_>, origin: Origin, command: &Command<'_>) {
        let reply = self.execute(step, command);
        // HELLO and RESET answer in the version that they have chosen.
        let origin = origin.in_version_of(self.client.protocol);
        self.answer_aside(step, origin, reply);
    }

    /// Answers at once. What is long is encoded and freed where it holds up no other connection.
    fn answer_aside(&mut self, step: &mut Step<'_>, origin: Origin, reply: Reply) {
        if !reply.is_long() {
            return self.answer(step.effects, origin, &reply);
        }
        let mut reply = Some(reply);
        (step.node.settings.aside)(&mut || {
            if let Some(reply) = reply.take() {
                self.answer(step.effects, origin, &reply);
            }
        });
    }

    fn execute(&mut self, step: &Step<'_>, command: &Command<'_>) -> Reply {
        let here = self.here(step);
        here.run(&mut self.client, command)
            .unwrap_or_else(Reply::Error)
    }

    const fn here<'a>(&mut self, step: &Step<'a>) -> Here<'a> {
        Here {
            node: step.node,
            now: step.now,
            stamp: step.stamp,
            seed: self.random.next(),
        }
    }

    /// The answer, if it can be read here and now; else how the shard has to execute the command.
    fn mode(&mut self, step: &Step<'_>, command: &Command<'_>, shard: u16) -> Result<Reply, Mode> {
        match command.id.spec().kind {
            Kind::SESSION => return Err(Mode::Repeatable),
            kind if kind.writes() => return Err(Mode::Write),
            _ => (),
        }
        if self.has_asked(shard) && !mutation::is(Mutation::ReadAhead) {
            return Err(Mode::OrderedRead);
        }
        match self.here(step).look(command, shard) {
            Look::Seen(reply) => Ok(reply),
            Look::NoLease => Err(Mode::Read),
            Look::Early => Err(Mode::OrderedRead),
        }
    }

    /// Reads, slot by slot, from all shards that this node leads.
    fn look_through(&mut self, step: &Step<'_>, command: &Command<'_>) -> Reply {
        let Ok(topology) = &step.view.topology else {
            return Reply::Nil;
        };
        let me = step.view.me;
        let led = (0..)
            .zip(&topology.shards)
            .filter(|(_, at)| at.leader == me);
        let shards: Vec<u16> = led.map(|(shard, _)| shard).collect();
        if shards.iter().any(|shard| self.has_asked(*shard)) {
            let why = "earlier commands of this connection are not answered yet";
            return ReplyError::TryAgain(why.into()).into();
        }
        let slots = SlotSet::new(topology.led_by(me));
        match self.here(step).look_through(command, &slots, &shards) {
            Look::Seen(reply) => reply,
            Look::NoLease | Look::Early => {
                let why = "this node is not sure to lead its shards; nothing was changed";
                ReplyError::TryAgain(why.into()).into()
            }
        }
    }

    /// Whether the shard has not yet answered all tasks of this connection.
    fn has_asked(&self, shard: u16) -> bool {
        let asked = self.asked.get(usize::from(shard));
        asked.is_some_and(|asked| *asked > 0)
    }

    /// Has the parts of a command answered, each by its shard.
    fn spread(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        command: &Command<'_>,
        parts: &[Part],
    ) {
        let writes = command.id.spec().kind.writes();
        let asked = parts.iter().any(|part| self.has_asked(part.shard));
        if !writes
            && !asked
            && !parts[0].keys.is_empty()
            && let Look::Seen(reply) = self.here(step).look(command, parts[0].shard)
        {
            return self.answer(step.effects, origin, &reply);
        }
        let turn = self.wait(origin, Gather::split(parts.to_vec(), writes));
        for (part, place) in parts.iter().enumerate() {
            let words = part_of(command, place);
            let outcome = router::keys(command.id, &words).map(|keys| {
                let command = Command::new(command.id, &words, &keys);
                self.mode(step, &command, place.shard)
            });
            let ticket = Ticket { turn, part };
            match outcome {
                Ok(Err(mode)) => {
                    let task = task::command(&words);
                    self.ask(step, origin, (place.shard, mode), ticket, task);
                }
                Ok(Ok(reply)) => _ = self.settle_part(ticket, reply, step.effects),
                Err(error) => _ = self.settle_part(ticket, error.into(), step.effects),
            }
        }
    }

    /// Takes the answer of a part; gives its shard, if somebody waited for it.
    fn settle_part(&mut self, ticket: Ticket, reply: Reply, effects: &mut Effects) -> Option<u16> {
        if let Some(waiting) = self.loose.get_mut(&ticket.turn) {
            let shard = waiting.gather.shard(ticket.part);
            if waiting.gather.settle(ticket.part, reply)
                && let Some(Waiting { origin, gather }) = self.loose.remove(&ticket.turn)
            {
                origin.encode(&gather.reply(), &mut effects.output);
            }
            return shard;
        }
        let index = (ticket.turn as usize).checked_sub(self.first_turn as usize)?;
        let Turn::Waiting(waiting) = self.turns.get_mut(index)? else {
            return None;
        };
        let shard = waiting.gather.shard(ticket.part);
        if waiting.gather.settle(ticket.part, reply) {
            self.finish(index, effects);
        }
        shard
    }

    /// Leaves a task for a shard; a write with the place that the client has given it.
    fn ask(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        (shard, mode): (u16, Mode),
        ticket: Ticket,
        task: Bytes,
    ) {
        let (task, mode) = match (origin.place(), mode) {
            (Some(place), Mode::Write) => (task::placed(place, &task), Mode::Repeatable),
            _ => (task, mode),
        };
        if self.asked.is_empty() {
            self.asked = vec![0; step.node.words.len() + 1];
        }
        self.asked[usize::from(shard)] += 1;
        step.effects.asked.push(Asked {
            shard,
            pending: Pending {
                task,
                mode,
                deadline_mono_ms: step.now.mono_ms.saturating_add(origin.deadline_ms()),
                ticket: Some(ticket),
            },
        });
    }

    /// Keeps a place in the order of replies, if there is one; gives the request's number.
    fn wait(&mut self, origin: Origin, gather: Gather) -> u64 {
        let waiting = Waiting { origin, gather };
        if !origin.is_ordered() {
            self.last_loose += 1;
            self.loose.insert(self.last_loose, waiting);
            return self.last_loose;
        }
        self.turns.push_back(Turn::Waiting(Box::new(waiting)));
        self.first_turn + self.turns.len() as u64 - 1
    }

    /// Answers a request at once, or as soon as the earlier ones are answered.
    fn answer(&mut self, effects: &mut Effects, origin: Origin, reply: &Reply) {
        if self.turns.is_empty() {
            origin.encode(reply, &mut effects.output);
            return;
        }
        let mut encoded = BytesMut::new();
        origin.encode(reply, &mut encoded);
        self.held_bytes += encoded.len();
        self.turns.push_back(Turn::Ready(encoded));
    }

    /// Encodes the answer of a request that waited, and lets out what it held up.
    fn finish(&mut self, index: usize, effects: &mut Effects) {
        let Some(turn) = self.turns.get_mut(index) else {
            return;
        };
        let Turn::Waiting(waiting) = std::mem::replace(turn, Turn::Ready(BytesMut::new())) else {
            return;
        };
        let Waiting { origin, gather } = *waiting;
        let mut encoded = BytesMut::new();
        origin.encode(&gather.reply(), &mut encoded);
        self.held_bytes += encoded.len();
        self.turns[index] = Turn::Ready(encoded);
        while let Some(Turn::Ready(encoded)) = self.turns.front() {
            effects.output.extend_from_slice(encoded);
            self.held_bytes -= encoded.len();
            self.turns.pop_front();
            self.first_turn += 1;
        }
    }
}

/// What one call of [`Session::receive`] works with.
struct Step<'a> {
    node: &'a Node,
    view: &'a View,
    now: Now,
    stamp: UnixMs,
    /// Requests taken.
    taken: u64,
    effects: &'a mut Effects,
}

impl Step<'_> {
    fn topology(&self) -> Result<&Topology, ReplyError> {
        self.view
            .topology
            .as_ref()
            .map_err(|why| ReplyError::ClusterDown(why.clone().into()))
    }
}

/// Whether a place in a session means anything for the command: it is a write of one shard, or
/// repeating it does no harm.
fn has_place(command: &Command<'_>, route: &Route) -> bool {
    matches!(route, Route::Shard(_)) || !command.id.spec().kind.writes()
}

/// Why a write has no place in a session.
fn no_place(route: &Route) -> ReplyError {
    match route {
        Route::Here => session_unknown(),
        _ => ReplyError::err("a command that is split over shards has no place in a session"),
    }
}

/// The words of a command that belong to a part: its name, and the part's keys with what follows
/// each.
fn part_of<'a>(command: &Command<'a>, part: &Part) -> Vec<&'a [u8]> {
    let words = command.id.words();
    let step = command.id.schema().keys.map_or(1, |keys| keys.step.max(1));
    let arguments = &command.argv[words..];
    if part.keys.is_empty() {
        return command.argv.to_vec();
    }
    let groups = part
        .keys
        .iter()
        .flat_map(|key| &arguments[key * step..(key + 1) * step]);
    command.argv[..words]
        .iter()
        .chain(groups)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client::Door;
    use crate::core::commands::testing::{self, Desk};
    use crate::core::node::Settings;

    /// Keys of shard 0, which this node leads and may read, and of shards 1 and 2.
    const HERE: [&str; 2] = ["b", "hello"];
    const THERE: [&str; 2] = ["bar", "foo"];

    /// A connection and its node, driven by inline commands.
    pub(super) struct Line {
        pub(super) desk: Node,
        pub(super) now: Now,
        pub(super) session: Session,
        pub(super) effects: Effects,
    }

    impl Line {
        pub(super) fn new(node: Node, change: impl FnOnce(&mut Client)) -> Self {
            let mut desk = Desk::at(node);
            change(&mut desk.client);
            let session = Session::new(desk.client, 1);
            desk.node.words[0].grant(u64::MAX);
            Self {
                desk: desk.node,
                now: desk.now,
                session,
                effects: Effects::default(),
            }
        }

        pub(super) fn send(&mut self, input: &str) -> Progress {
            self.receive(&mut BytesMut::from(input))
        }

        pub(super) fn receive(&mut self, input: &mut BytesMut) -> Progress {
            self.session
                .receive(&self.desk, self.now, input, &mut self.effects)
        }

        /// Answers the task that was asked as the so-many-eth.
        pub(super) fn settle(&mut self, asked: usize, reply: Reply) {
            if let Some(ticket) = self.effects.asked[asked].pending.ticket {
                self.session.settle(ticket, reply, &mut self.effects);
            }
        }

        pub(super) fn output(&mut self) -> String {
            String::from_utf8(self.effects.output.split().to_vec()).unwrap()
        }

        /// Which shard was asked for what, in which way.
        pub(super) fn asked(&self) -> Vec<(u16, Mode, Bytes)> {
            let asked = self.effects.asked.iter();
            asked
                .map(|asked| (asked.shard, asked.pending.mode, asked.pending.task.clone()))
                .collect()
        }

        fn set_here(&mut self, key: &str, value: &str) {
            let alone = Settings {
                standalone: true,
                ..self.desk.settings.clone()
            };
            let settings = std::mem::replace(&mut self.desk.settings, alone);
            self.send(&format!("SET {key} {value}\r\n"));
            self.desk.settings = settings;
            assert_eq!(self.output(), "+OK\r\n");
        }
    }

    pub(super) fn alone() -> Line {
        Line::new(testing::node(), |_| ())
    }

    pub(super) fn member() -> Line {
        Line::new(testing::cluster(), |_| ())
    }

    pub(super) fn task(line: &str) -> Bytes {
        task::command(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn all_that_has_arrived_is_answered_at_once_and_in_order() {
        let mut line = alone();
        line.send("SET b 1\r\nINCR b\r\nGET b\r\nPI");
        assert_eq!(line.output(), "+OK\r\n:2\r\n$1\r\n2\r\n");
        assert!(line.effects.asked.is_empty());
    }

    #[test]
    fn hello_answers_in_the_version_that_it_chooses() {
        let mut line = alone();
        line.send("HELLO 3\r\n");
        assert!(line.output().starts_with("%7\r\n"));
        line.send("RESET\r\nGET b\r\n");
        assert_eq!(line.output(), "+RESET\r\n$-1\r\n");
    }

    #[test]
    fn a_read_is_answered_here_only_under_a_lease() {
        let mut line = member();
        line.set_here("b", "1");
        line.send("GET b\r\n");
        assert_eq!(line.output(), "$1\r\n1\r\n");
        line.desk.words[0].clear();
        line.send("GET b\r\n");
        assert_eq!(line.asked(), [(0, Mode::Read, task("GET b"))]);
    }

    #[test]
    fn a_key_that_is_due_by_the_clock_alone_is_read_through_the_log() {
        let mut line = member();
        line.set_here("b", "1 PX 100");
        let due_ms = line.now.unix_ms() + 101;
        line.now.unix_us = due_ms * 1000;
        line.send("GET b\r\n");
        assert_eq!(line.asked(), [(0, Mode::OrderedRead, task("GET b"))]);
        line.desk.words[0].advance(due_ms);
        line.settle(0, Reply::Nil);
        line.send("GET b\r\n");
        assert_eq!(line.output(), "$-1\r\n".repeat(2));
    }

    #[test]
    fn a_key_that_is_due_in_its_shard_is_dead_beside_one_of_a_shard_that_is_behind() {
        let mut line = member();
        line.set_here("b", "1 PX 100");
        line.desk.words[0].advance(line.now.unix_ms() + 101);
        line.desk.words[1].grant(u64::MAX);
        line.send("MGET b bar\r\n");
        assert_eq!(line.output(), "*2\r\n$-1\r\n$-1\r\n");
    }

    #[test]
    fn a_read_behind_an_unanswered_write_of_its_shard_keeps_its_place() {
        let mut line = member();
        line.send("SET b 2\r\nGET b\r\n");
        let write = (0, Mode::Write, task("SET b 2"));
        assert_eq!(line.asked(), [write, (0, Mode::OrderedRead, task("GET b"))]);
        line.settle(1, Reply::bulk("2"));
        line.settle(0, Reply::Ok);
        assert_eq!(line.output(), "+OK\r\n$1\r\n2\r\n");
        line.send("GET b\r\n");
        assert_eq!(line.output(), "$-1\r\n", "read here again");
    }

    #[test]
    fn a_question_holds_back_the_replies_behind_it() {
        let mut line = member();
        line.send("PING\r\nGET foo\r\nGET b\r\nGET bar\r\nPING\r\n");
        assert_eq!(line.output(), "+PONG\r\n");
        let read = |shard, text| (shard, Mode::Read, task(text));
        assert_eq!(line.asked(), [read(2, "GET foo"), read(1, "GET bar")]);
        line.settle(1, Reply::Int(2));
        assert_eq!(line.output(), "", "the first one is still out");
        line.settle(0, Reply::Int(1));
        assert_eq!(line.output(), ":1\r\n$-1\r\n:2\r\n+PONG\r\n");
        assert_eq!(line.session.in_flight(), 0);
        line.settle(0, Reply::Int(1));
        assert_eq!(line.output(), "", "a ticket is settled once");
    }

    #[test]
    fn commands_on_keys_of_several_shards_are_split_and_joined() {
        let mut line = member();
        line.set_here("b", "1");
        let keys = [THERE[0], HERE[0], THERE[1], HERE[1]].join(" ");
        line.send(&format!("MGET {keys}\r\n"));
        let read = |shard, text| (shard, Mode::Read, task(text));
        assert_eq!(line.asked(), [read(1, "MGET bar"), read(2, "MGET foo")]);
        let one = |text: &str| Reply::Array(vec![Reply::bulk(text)]);
        line.settle(1, one("foo"));
        line.settle(0, one("bar"));
        assert_eq!(
            line.output(),
            "*4\r\n$3\r\nbar\r\n$1\r\n1\r\n$3\r\nfoo\r\n$-1\r\n"
        );
    }

    #[test]
    fn a_write_that_some_shards_refused_is_unknown() {
        let mut line = member();
        line.send("MSET b 1 foo 2\r\n");
        let write = |shard, text| (shard, Mode::Write, task(text));
        assert_eq!(line.asked(), [write(0, "MSET b 1"), write(2, "MSET foo 2")]);
        line.settle(0, Reply::Ok);
        line.settle(1, ReplyError::ClusterDown("no".into()).into());
        assert!(line.output().starts_with("-UNKNOWN "));
    }

    #[test]
    fn a_key_without_its_value_is_refused_before_anything_is_split() {
        let mut line = member();
        line.send("MSET foo 1 b\r\n");
        let refused = "-ERR wrong number of arguments for 'mset' command\r\n";
        assert_eq!(line.output(), refused);
        assert!(line.effects.asked.is_empty());
    }

    #[test]
    fn whole_commands_ask_every_shard_or_the_led_ones() {
        let mut line = member();
        line.send("FLUSHALL\r\nDBSIZE\r\n");
        let shards: Vec<u16> = line.asked().iter().map(|(shard, ..)| *shard).collect();
        assert_eq!(shards, [0, 1, 2, 3, 0, 1, 2, 3]);
        let mut line = Line::new(testing::cluster(), |client| client.door = Door::Redirect);
        let led = testing::cluster().view.load().topology.clone().unwrap();
        let led = led.shards.iter().filter(|shard| shard.leader == 0).count();
        line.send("FLUSHALL\r\n");
        assert_eq!(line.asked().len(), led);
        for word in &line.desk.words {
            word.grant(u64::MAX);
        }
        line.send("SCAN 0\r\n");
        (0..led).for_each(|asked| line.settle(asked, Reply::Ok));
        let refused = "-TRYAGAIN earlier commands of this connection are not answered yet\r\n";
        assert_eq!(line.output(), format!("+OK\r\n{refused}"));
        line.send("DBSIZE\r\nSCAN 0\r\n");
        assert_eq!(line.output(), ":0\r\n*2\r\n$1\r\n0\r\n*0\r\n");
    }

    #[test]
    fn the_redirecting_door_says_where_to_go() {
        let mut line = Line::new(testing::cluster(), |client| client.door = Door::Redirect);
        line.send("GET foo\r\nDEL b hello\r\n");
        let output = line.output();
        let mut replies = output.split("\r\n");
        assert_eq!(replies.next(), Some("-MOVED 12182 [::1]:8403"));
        let crossed = "-CROSSSLOT Keys in request don't hash to the same slot";
        assert!(replies.next().unwrap().starts_with(crossed));
    }

    #[test]
    fn nothing_runs_before_the_password() {
        let mut line = Line::new(testing::node(), |client| client.authenticated = false);
        line.send("SET b 1\r\nnonsense\r\n");
        let refused = "-NOAUTH Authentication required.\r\n";
        assert_eq!(line.output(), refused.repeat(2));
        assert_eq!(line.desk.store.keys_in_slot(3300), 0);
    }

    #[test]
    fn a_connection_closes_behind_its_last_reply() {
        let mut line = member();
        line.send("GET foo\r\nQUIT\r\nSET b 1\r\n");
        assert!(!line.effects.close);
        assert_eq!(line.asked().len(), 1);
        line.settle(0, Reply::Nil);
        assert_eq!(line.output(), "$-1\r\n+OK\r\n");
        assert!(line.effects.close);

        let mut line = member();
        line.send("*1\r\n!\r\nPING\r\n");
        assert_eq!(
            line.output(),
            "-ERR Protocol error: expected '$', got '!'\r\n"
        );
        assert!(line.effects.close);
    }

    #[test]
    fn a_full_output_stops_the_intake_until_it_is_written() {
        let mut line = alone();
        let text = |n: usize| {
            format!(
                "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n${n}\r\n{}\r\n",
                "x".repeat(n)
            )
        };
        let mut input = BytesMut::from(text(limits::OUTPUT_SOFT_BYTES).as_str());
        input.extend_from_slice(b"GET b\r\nPING\r\n");
        assert_eq!(line.receive(&mut input), Progress::Blocked);
        assert_eq!(&input[..], b"PING\r\n");
        line.effects.output.clear();
        assert_eq!(line.receive(&mut input), Progress::Input);
        assert_eq!(line.output(), "+PONG\r\n");
    }

    #[test]
    fn native_requests_are_answered_by_id_in_any_order() {
        let mut line = Line::new(testing::cluster(), |c| c.protocol = Protocol::Native);
        let mut input = BytesMut::new();
        let meta = rpc::Meta {
            deadline_ms: Some(70),
            ..rpc::Meta::default()
        };
        rpc::encode_request(7, &["GET", "foo"], &meta, &mut input);
        rpc::encode_request(8, &["PING"], &meta, &mut input);
        line.receive(&mut input);
        let deadline_mono_ms = line.effects.asked[0].pending.deadline_mono_ms;
        assert_eq!(deadline_mono_ms, line.now.mono_ms + 70);
        let mut expect = BytesMut::new();
        rpc::encode_response(8, &Reply::Status("PONG".into()), &mut expect);
        assert_eq!(line.effects.output, expect);
        line.settle(0, Reply::Int(1));
        rpc::encode_response(7, &Reply::Int(1), &mut expect);
        assert_eq!(line.effects.output, expect);
        assert_eq!(line.session.in_flight(), 0);
    }

    #[test]
    fn a_deadline_beyond_all_time_is_no_error() {
        let mut line = Line::new(testing::cluster(), |c| c.protocol = Protocol::Native);
        let mut input = BytesMut::new();
        let meta = rpc::Meta {
            deadline_ms: Some(u64::MAX),
            ..rpc::Meta::default()
        };
        rpc::encode_request(1, &["GET", "foo"], &meta, &mut input);
        line.receive(&mut input);
        assert_eq!(line.effects.asked[0].pending.deadline_mono_ms, u64::MAX);
    }

    #[test]
    fn who_has_not_authenticated_sends_short_frames() {
        let set = |authenticated| {
            let mut line = Line::new(testing::node(), |client| {
                client.protocol = Protocol::Native;
                client.authenticated = authenticated;
            });
            let mut input = BytesMut::new();
            let value = vec![b'x'; limits::UNAUTHENTICATED_BYTES];
            let words = [b"SET".as_slice(), b"b", &value];
            rpc::encode_request(1, &words, &rpc::Meta::default(), &mut input);
            line.receive(&mut input);
            (line.effects.close, input.is_empty())
        };
        assert_eq!(set(true), (false, true));
        assert_eq!(set(false), (true, true));
    }
}
