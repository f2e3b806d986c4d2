//! One connection: requests in, replies out, in order; what has to go to a shard is asked for.
//!
//! Knows neither sockets nor the bytes of a protocol: the requests are parsed by [`super::wire`],
//! and what has to be written, asked for or closed is left in [`Effects`].

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, Bytes, BytesMut};
use dht_proto::resp::{Decoded, RequestReader};
use dht_proto::rpc::{self, Message, Request};
use dht_proto::spec::{self, CommandId, Kind};
use dht_proto::{Output, Reply, ReplyError, limits};
use smallvec::SmallVec;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use super::ahead;
use super::client::{Client, Mark, Order, Protocol};
use super::execute::{Command, Here, Look};
use super::gather::Gather;
use super::measures::Done;
use super::mutation::{self, Mutation};
use super::node::{Node, View};
use super::pubsub::News;
use super::random::Random;
use super::replication::machine::session_unknown;
use super::replication::replica::{Mode, Pending};
use super::replication::task::{self, Task};
use super::replication::worker::Request as Asked;
use super::router::{self, Route, Router};
use super::services::Call;
use super::store::SlotSet;
use super::time::{Now, UnixMs};
use super::wire::{self, Origin, Wire};

mod calls;
mod held;
#[cfg(test)]
mod line_tests;
mod measured;
mod messages;
#[cfg(test)]
mod placed_tests;
mod spread;
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
    /// What was said since, each with the number of the last of those that were asked for before.
    said: VecDeque<(u64, Vec<News>)>,
    /// The last request that reads whole shards: nothing that comes after it may be seen by it.
    long: Option<u64>,
    /// A request that `CLIENT PAUSE` has wait, and everything behind it.
    waits: Option<Box<held::Waits>>,
    /// Bytes of replies, and of what was said, that wait for an earlier request.
    held_bytes: usize,
    /// Replies among those that are still to be made.
    unmade: usize,
    /// Bytes of the tasks of all requests that wait for shards.
    asked_bytes: usize,
    /// How many tasks each shard has not yet answered; empty before the first.
    asked: Vec<u32>,
    /// The command that is being executed.
    current: Option<CommandId>,
    /// What the stopwatch showed when it was looked at last.
    lap_us: u64,
    /// The present request is the last that has arrived.
    is_last: bool,
    /// Seeds of commands.
    random: Random,
    /// Which keys are counted as examples of all.
    chance: Random,
}

/// Room for so many requests is kept for those to come.
const KEPT_TURNS: usize = 128;

/// A request that has been taken.
enum Turn {
    /// Shards have to answer first.
    Waiting(Box<Waiting>),
    /// Answered, and encoded; it waits for an earlier one.
    Ready(Ready),
}

/// What waits for earlier requests to be answered.
#[derive(Default)]
struct Ready {
    output: Output,
    /// What it says: who hears it finds done what came before it.
    news: Vec<News>,
}

impl Ready {
    fn bytes(&self) -> usize {
        self.output.len() + messages::bytes_of(&self.news)
    }
}

struct Waiting {
    origin: Origin,
    gather: Gather,
    /// To be told if it is a transaction that was executed.
    held: Vec<News>,
    /// The name of a watch that keys are added to.
    watch: Option<u64>,
    /// What shards were asked for.
    asked: Question,
    /// Bytes of the tasks that shards were asked for.
    asked_bytes: usize,
}

/// What is known of a command that shards have to answer.
struct Question {
    command: Option<CommandId>,
    /// Of a transaction: its commands, in order.
    together: Vec<CommandId>,
    /// What the stopwatch showed when it was taken.
    since_us: u64,
    /// The first of its tasks.
    task: Option<Bytes>,
}

/// What the shell has to do after a call; it takes what it finds and leaves the rest empty.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be written to the connection.
    pub output: Output,
    /// Said by the shell before a call: bytes of earlier output that the socket has not taken.
    pub unsent: usize,
    /// Tasks for shards. Each with a ticket is settled exactly once by [`Session::settle`].
    pub asked: Vec<Asked<Ticket>>,
    /// To be told to all nodes, this one among them, in this order.
    pub news: Vec<News>,
    /// Said by the shell before a call: what the stopwatch shows.
    pub now_us: u64,
    /// What was measured; before a call the shell says what is wanted.
    pub done: Done,
    /// To be done besides.
    pub orders: Vec<Order>,
    /// Calls of services, each with the time for its answer, in milliseconds. Settled as tasks are.
    pub calls: Vec<(Ticket, Call, u64)>,
    /// The client's answers to calls that it was asked, by their numbers.
    pub answers: Vec<(u64, Reply)>,
    /// It speaks HTTP: somebody may have a browser attack the node.
    pub attack: bool,
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
    /// `CLIENT PAUSE` has a request wait: call [`Session::receive`] again when that is over.
    Held,
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
            said: VecDeque::new(),
            long: None,
            waits: None,
            held_bytes: 0,
            unmade: 0,
            asked_bytes: 0,
            asked: Vec::new(),
            current: None,
            lap_us: 0,
            is_last: false,
            random: Random::new(seed),
            chance: Random::new(!seed),
        }
    }

    /// Tells a client that has the words for it that what is not answered will not be executed;
    /// says whether it has them.
    pub fn say_farewell(&self, output: &mut Output) -> bool {
        let is_native = self.client.protocol == Protocol::Native;
        if is_native {
            wire::encode_farewell(output);
        }
        is_native
    }

    /// Takes every complete request from `input`, as long as the output stays below its soft limit,
    /// with what the socket has not taken of it.
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
            lookups: Cell::default(),
            effects,
        };
        self.lap_us = step.effects.now_us;
        self.take_up(&mut step);
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
        if step.effects.done.is_open() {
            self.lap(&mut step);
        }
        if self.client.closing {
            input.clear();
        }
        self.forget(node, now, step.effects);
        self.note(&step);
        step.effects.orders.append(&mut self.client.orders);
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
                    let origin = self.client.next_origin();
                    self.is_last = next == input.len();
                    self.request(step, origin, &words);
                    self.end_request();
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
        reader.rest();
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
                Ok(Some(frame)) => {
                    self.is_last = input.is_empty();
                    self.message(step, &frame).err()
                }
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
                    writes: false,
                };
                if let Err(error) = place {
                    self.answer(step.effects, origin, &error.into());
                    return Ok(());
                }
                (origin, argv)
            }
            Message::Notification(argv) => (Origin::Silent, argv),
            Message::Response { id, reply } => {
                return self.answered((id, reply), frame.len(), step.effects);
            }
        };
        let words: Words<'_> = argv.iter().map(AsRef::as_ref).collect();
        self.request(step, origin, &words);
        Ok(())
    }

    /// Why no further request is taken at present, if so.
    fn pause(&self, effects: &Effects) -> Option<Progress> {
        if self.waits.is_some() {
            return Some(Progress::Held);
        }
        let unread = effects.unsent + effects.output.len() + self.held_bytes;
        let blocked = unread >= limits::OUTPUT_SOFT_BYTES
            || effects.output.is_unmade()
            || self.unmade > 0
            || self.asked_bytes >= limits::IN_FLIGHT_BYTES
            || self.in_flight() >= limits::IN_FLIGHT
            || self.long.is_some_and(|turn| self.waits(turn));
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

    /// Bytes that are kept for the client: of a request that has begun, or that a pause holds,
    /// replies that wait for earlier ones, and what it has queued since MULTI.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let begun = match &self.wire {
            Some(Wire::Resp(reader)) => reader.kept_bytes(),
            Some(Wire::Native(_)) | None => 0,
        };
        let waiting = self.waits.as_ref().map_or(0, |waits| waits.bytes());
        begun + self.held_bytes + self.client.transaction.queued_bytes() + waiting
    }

    /// Drops what is kept for the client, of whom nothing more is taken.
    pub fn let_go(&mut self) {
        self.client.closing = true;
        self.wire = Some(Wire::new(self.client.protocol));
        self.client.transaction.refuse();
        self.turns.clear();
        self.loose.clear();
        self.said.clear();
        self.waits = None;
        (self.held_bytes, self.unmade) = (0, 0);
        self.asked_bytes = 0;
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
            step.node.store.lookups.add(step.lookups.get());
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
        if self.hold_back(step, origin, argv) {
            return;
        }
        step.taken += 1;
        let before = self.begin(step, argv);
        if speaks_http(argv) {
            step.effects.attack = true;
            self.client.closing = true;
        } else if self.client.transaction.is_open() {
            self.request_in_transaction(step, origin, argv);
        } else {
            self.request_now(step, origin, argv);
        }
        self.client
            .facts
            .marks
            .queue(self.client.transaction.queued());
        self.done(step, argv, &before);
    }

    fn request_now(&mut self, step: &mut Step<'_>, origin: Origin, argv: &[&[u8]]) {
        match self.place(step, argv) {
            Ok((command, route)) => {
                self.found(step, command.id);
                let origin = origin.of_kind(command.id.spec().kind);
                self.run(step, origin, argv, (command, route));
            }
            Err(error) => {
                Self::refused(step, argv);
                self.answer(step.effects, origin, &error.into());
            }
        }
    }

    fn run(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        argv: &[&[u8]],
        placed: (Command<'_>, Route),
    ) {
        match placed {
            (command, route) if command.id.spec().kind.is_transaction() => {
                self.transact(step, origin, &command, &route);
            }
            (command, route) if origin.place().is_some() && !has_place(&command, &route) => {
                let error = no_place(&route);
                self.answer(step.effects, origin, &error.into());
            }
            (command, Route::Here) if command.id.spec().kind == Kind::CALL => {
                self.call(step, origin, &command);
            }
            (command, Route::Here) if command.id.spec().kind.is_long() => {
                let aside = &step.node.settings.aside;
                aside.run(&mut || self.do_here(step, origin, &command));
            }
            (command, Route::Here) => self.do_here(step, origin, &command),
            (command, Route::Meta) => {
                let meta = step.node.meta_shard();
                let gather = Gather::whole(meta, command.id.spec().kind.writes());
                let turn = self.wait(origin, gather);
                let ticket = Ticket { turn, part: 0 };
                let task = task::command(argv);
                self.ask(step, origin, (meta, Mode::Repeatable), ticket, task);
            }
            (command, Route::Led) => {
                let reply = self.look_through(step, &command);
                self.answer(step.effects, origin, &reply);
            }
            (command, Route::Shard(shard)) => match self.mode(step, &command, shard) {
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
            (command, Route::Spread(parts)) => {
                self.spread_aside(step, origin, &command, &parts);
            }
        }
    }

    /// Finds the command, if the client may use it now. An EXEC that it may not use ends the
    /// transaction, as in Redis.
    fn find(&mut self, argv: &[&[u8]]) -> Result<CommandId, ReplyError> {
        self.find_usable(argv).map_err(|error| {
            let meant = spec::look_up(argv);
            if meant.is_ok_and(|id| id.spec().kind == Kind::EXECUTION) {
                self.client.transaction.end();
                return ReplyError::Discarded(Box::new(error));
            }
            error
        })
    }

    fn find_usable(&self, argv: &[&[u8]]) -> Result<CommandId, ReplyError> {
        let id = match spec::find(argv) {
            // Redis has such a command, which would have to wait for the password.
            Err(ReplyError::Absent { .. }) if !self.client.authenticated => {
                return Err(ReplyError::NoAuth);
            }
            found => found?,
        };
        if !self.client.authenticated && !id.spec().kind.before_auth() {
            return Err(ReplyError::NoAuth);
        }
        if self.client.only_listens() && !id.spec().kind.while_listening() {
            return Err(ReplyError::OnlyListening(id.spec().full_name()));
        }
        self.client.check(id)?;
        self.client
            .facts
            .last_command
            .store(id.index() as u64 + 1, Relaxed);
        Ok(id)
    }

    /// Finds the command and where it runs.
    fn place<'a>(
        &mut self,
        step: &Step<'_>,
        argv: &'a [&'a [u8]],
    ) -> Result<(Command<'a>, Route), ReplyError> {
        let id = self.find(argv)?;
        let kind = id.spec().kind;
        if kind.is_local() || kind.is_transaction() && id.schema().keys.is_none() {
            return Ok((Command::new(id, argv, &[]), Route::Here));
        }
        let keys = router::keys(id, argv)?;
        let route = self.router(step)?.route(id, argv, &keys)?;
        self.see(step, &keys);
        Ok((Command::new(id, argv, &keys), route))
    }

    fn router<'a>(&self, step: &'a Step<'_>) -> Result<Router<'a>, ReplyError> {
        let standalone = step.node.settings.standalone;
        let mut router = Router::new(step.view, self.client.door, standalone)?;
        router.is_readonly = self.client.facts.marks.has(Mark::ReadOnly);
        Ok(router)
    }

    fn do_here(&mut self, step: &mut Step<'_>, origin: Origin, command: &Command<'_>) {
        let reply = self.execute(step, command);
        // HELLO and RESET answer in the version that they have chosen, CLIENT REPLY as it has.
        let origin = origin.as_wanted_by(&self.client);
        if std::mem::take(&mut self.client.sleeps) {
            let slept = held::Slept::new(command, self.lap_us);
            self.current = None;
            self.waits = Some(Box::new(held::Waits::Answer(origin, reply, slept)));
            return;
        }
        self.answer_aside(step, origin, reply);
    }

    /// Answers at once. What is long is encoded and freed where it holds up no other connection.
    fn answer_aside(&mut self, step: &mut Step<'_>, origin: Origin, reply: Reply) {
        if !reply.is_long() {
            return self.answer(step.effects, origin, &reply);
        }
        let mut reply = Some(reply);
        let aside = &step.node.settings.aside;
        aside.run(&mut || {
            if let Some(reply) = reply.take() {
                self.answer(step.effects, origin, &reply);
            }
        });
    }

    fn execute(&mut self, step: &Step<'_>, command: &Command<'_>) -> Reply {
        let here = self.here(step);
        let outcome = here.run(&mut self.client, command);
        step.count(&here);
        outcome.unwrap_or_else(Reply::Error)
    }

    fn here<'a>(&mut self, step: &Step<'a>) -> Here<'a> {
        Here {
            lookups: Cell::default(),
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
        if command.id.spec().kind == Kind::SNAPSHOT {
            // It is opened between two entries: by who applies them.
            return Err(Mode::Read);
        }
        let here = self.here(step);
        let look = here.look(command, shard);
        step.count(&here);
        match look {
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

    /// Takes the answer of a part; gives its shard, if somebody waited for it.
    fn settle_part(&mut self, ticket: Ticket, reply: Reply, effects: &mut Effects) -> Option<u16> {
        if matches!(reply, Reply::Error(_))
            && let Some(token) = self.waiting(ticket.turn).and_then(|it| it.watch)
        {
            self.client.transaction.watch_failed(token);
        }
        if let Some(waiting) = self.loose.get_mut(&ticket.turn) {
            let shard = waiting.gather.shard(ticket.part);
            if waiting.gather.settle(ticket.part, reply)
                && let Some(waiting) = self.loose.remove(&ticket.turn)
            {
                self.asked_bytes -= waiting.asked_bytes;
                let now_us = effects.now_us;
                waiting.encode(
                    &mut effects.output,
                    &mut effects.news,
                    (now_us, &mut effects.done),
                );
                self.let_out(effects);
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
        self.asked_bytes += task.len();
        if let Some(waiting) = self.waiting(ticket.turn) {
            waiting.asked_bytes += task.len();
            waiting.asked.task.get_or_insert_with(|| task.clone());
        }
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

    /// The request of a number, as long as shards have to answer.
    fn waiting(&mut self, turn: u64) -> Option<&mut Waiting> {
        if let Some(waiting) = self.loose.get_mut(&turn) {
            return Some(waiting);
        }
        let index = turn.checked_sub(self.first_turn)?;
        match self.turns.get_mut(usize::try_from(index).ok()?)? {
            Turn::Waiting(waiting) => Some(waiting),
            Turn::Ready(_) => None,
        }
    }

    /// Keeps a place in the order of replies, if there is one; gives the request's number.
    fn wait(&mut self, origin: Origin, gather: Gather) -> u64 {
        let waiting = Waiting {
            origin,
            gather,
            held: Vec::new(),
            watch: None,
            asked: Question {
                command: self.current,
                together: Vec::new(),
                since_us: self.lap_us,
                task: None,
            },
            asked_bytes: 0,
        };
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
        if let Reply::Error(error) = reply {
            effects.done.error(error);
        }
        if self.turns.is_empty() {
            self.tell(effects);
            origin.encode(reply, &mut effects.output);
            return;
        }
        let mut ready = Ready {
            output: Output::default(),
            news: std::mem::take(&mut self.client.news),
        };
        origin.encode(reply, &mut ready.output);
        self.held_bytes += ready.bytes();
        self.unmade += usize::from(ready.output.is_unmade());
        self.turns.push_back(Turn::Ready(ready));
    }

    /// Encodes the answer of a request that waited, and lets out what it held up.
    fn finish(&mut self, index: usize, effects: &mut Effects) {
        let Some(turn) = self.turns.get_mut(index) else {
            return;
        };
        let Turn::Waiting(waiting) = std::mem::replace(turn, Turn::Ready(Ready::default())) else {
            return;
        };
        self.asked_bytes -= waiting.asked_bytes;
        let mut ready = Ready::default();
        let now_us = effects.now_us;
        waiting.encode(
            &mut ready.output,
            &mut ready.news,
            (now_us, &mut effects.done),
        );
        self.held_bytes += ready.bytes();
        self.unmade += usize::from(ready.output.is_unmade());
        self.turns[index] = Turn::Ready(ready);
        while let Some(Turn::Ready(ready)) = self.turns.front_mut() {
            self.held_bytes -= ready.bytes();
            self.unmade -= usize::from(ready.output.is_unmade());
            effects.output.append(&mut ready.output);
            effects.news.append(&mut ready.news);
            self.turns.pop_front();
            self.first_turn += 1;
        }
        // Who has once had thousands of requests on their way may be idle from now on.
        if self.turns.is_empty() && self.turns.capacity() > KEPT_TURNS {
            self.turns.shrink_to(KEPT_TURNS);
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
    /// Keys that were read and were there, and that were not.
    lookups: Cell<(u32, u32)>,
    effects: &'a mut Effects,
}

impl Step<'_> {
    fn count(&self, here: &Here<'_>) {
        let ((hits, misses), (here_hits, here_misses)) = (self.lookups.get(), here.lookups.get());
        self.lookups.set((hits + here_hits, misses + here_misses));
    }
}

/// Whether the client's first word is one that a browser sends, as in Redis: a page can make it
/// speak to a node that only its own machine reaches.
fn speaks_http(argv: &[&[u8]]) -> bool {
    match argv.first() {
        Some(word @ [b'p' | b'P', _, _, _]) => word.eq_ignore_ascii_case(b"POST"),
        Some(word @ [b'h' | b'H', _, _, _, _]) => word.eq_ignore_ascii_case(b"HOST:"),
        _ => false,
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
