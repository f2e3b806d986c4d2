//! One connection: requests in, replies out, in order; what this node does not lead is forwarded.
//!
//! Knows neither sockets nor the bytes of a protocol: the requests are parsed by [`super::wire`],
//! and what has to be written, sent on or closed is left in [`Effects`].

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, Bytes, BytesMut};
use dht_proto::spec;
use dht_proto::topology::{NodeId, Topology};
use dht_proto::{Reply, ReplyError, limits};

use super::client::Client;
use super::execute::{Command, Here};
use super::gather::{Gather, Part};
use super::node::{Node, View};
use super::router::{self, Route, Router};
use super::time::{Now, UnixMs};
use super::wire::{Next, Origin, Wire};

/// A connection's state between two calls of the shell.
pub struct Session {
    /// Who is at the other end.
    pub client: Client,
    wire: Wire,
    /// Requests whose replies are not yet in the output, oldest first.
    turns: VecDeque<Turn>,
    /// The number of the first of `turns`; a request's number never changes.
    first_turn: u64,
    /// Bytes of replies that wait in `turns` for an earlier one.
    held_bytes: usize,
    /// Source of the seeds that commands carry.
    seed: u64,
}

/// A request that has been taken.
enum Turn {
    /// Other nodes have to answer first.
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
    /// To be sent to other nodes. Each is settled exactly once by [`Session::settle`].
    pub forwards: Vec<Forward>,
    /// Close the connection once the output is written.
    pub close: bool,
}

/// A command for another node.
#[derive(Debug, PartialEq, Eq)]
pub struct Forward {
    /// Which node.
    pub to: NodeId,
    /// Names this command in [`Session::settle`].
    pub ticket: Ticket,
    /// The command as the client sent it, or the part of it for that node.
    pub argv: Vec<Bytes>,
    /// The monotonic time, in milliseconds, at which it is settled without an answer.
    pub deadline_mono_ms: u64,
}

/// A forwarded part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The request's number on its connection.
    pub turn: u64,
    /// The part's number in the request.
    pub part: usize,
}

/// What became of a forwarded command.
#[derive(Debug, PartialEq)]
pub enum Fate {
    /// The node answered.
    Answered(Reply),
    /// No byte of it left this node.
    NotSent,
    /// It was sent, and the link broke or the deadline passed.
    Lost,
}

/// Whether more can be done without the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every complete request was taken: read more input.
    Input,
    /// Output has to be written, or a forwarded command settled, before the rest of the input is
    /// taken: call [`Session::receive`] again after that.
    Blocked,
}

impl Session {
    /// A connection that has just been accepted, its protocol known from the first bytes.
    #[must_use]
    pub const fn new(client: Client, wire: Wire, seed: u64) -> Self {
        Self {
            client,
            wire,
            turns: VecDeque::new(),
            first_turn: 0,
            held_bytes: 0,
            seed,
        }
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
            effects,
        };
        // Taken out for the time of the loop: the words of a request lie in it.
        let mut wire = std::mem::take(&mut self.wire);
        let (mut at, mut taken) = (0, 0);
        let progress = loop {
            if self.client.closing {
                at = input.len();
                break Progress::Input;
            }
            if self.is_blocked(step.effects) {
                break Progress::Blocked;
            }
            let origin = Origin::new(self.client.protocol);
            match wire.next(&input[at..], self.client.authenticated) {
                Ok(Next::Request(words, length)) => {
                    self.request(&mut step, origin, &words);
                    at += length;
                    taken += 1;
                }
                Ok(Next::Blank(length)) => at += length,
                Ok(Next::Incomplete) => break Progress::Input,
                Err(error) => {
                    self.answer(step.effects, origin, &error.into());
                    self.client.closing = true;
                }
            }
        };
        input.advance(at);
        self.wire = wire;
        self.note(&step, taken);
        step.effects.close |= self.client.closing && self.turns.is_empty();
        progress
    }

    /// Takes the fate of a forwarded command.
    pub fn settle(
        &mut self,
        node: &Node,
        to: NodeId,
        ticket: Ticket,
        fate: Fate,
        effects: &mut Effects,
    ) {
        let index = ticket
            .turn
            .checked_sub(self.first_turn)
            .and_then(|i| usize::try_from(i).ok());
        let turn = index.and_then(|index| self.turns.get_mut(index));
        let Some(Turn::Waiting(waiting)) = turn else {
            return;
        };
        let reply = match fate {
            Fate::Answered(reply) => reply,
            Fate::NotSent => not_sent(&node.view.load(), to).into(),
            Fate::Lost if waiting.gather.writes() => {
                ReplyError::Unknown("the node that executes it did not answer in time".into())
                    .into()
            }
            Fate::Lost => {
                let why =
                    "the node that leads the keys did not answer in time; nothing was changed";
                ReplyError::ClusterDown(why.into()).into()
            }
        };
        if waiting.gather.settle(ticket.part, reply)
            && let Some(index) = index
        {
            self.finish(index, effects);
        }
        effects.close |= self.client.closing && self.turns.is_empty();
    }

    /// How many requests wait for other nodes, or for one that does.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.turns.len()
    }

    fn is_blocked(&self, effects: &Effects) -> bool {
        effects.output.len() + self.held_bytes >= limits::OUTPUT_SOFT_BYTES
            || self.turns.len() >= limits::IN_FLIGHT
    }

    /// Counts once a batch what would cost too much once a request.
    fn note(&self, step: &Step<'_>, taken: u64) {
        if taken > 0 {
            step.node.stats.commands.fetch_add(taken, Relaxed);
            self.client
                .facts
                .last_mono_ms
                .store(step.now.mono_ms, Relaxed);
        }
        if !step.effects.forwards.is_empty() {
            let forwards = step.effects.forwards.len() as u64;
            step.node.stats.forwarded.fetch_add(forwards, Relaxed);
        }
    }

    fn request(&mut self, step: &mut Step<'_>, origin: Origin, argv: &[&[u8]]) {
        match self.place(step, argv) {
            Ok((command, Route::Here)) => {
                let reply = self.execute(step, &command);
                self.answer(step.effects, origin, &reply);
            }
            Ok((command, Route::There(member))) => {
                let gather = Gather::whole(command.id.spec().kind.writes());
                let argv = argv
                    .iter()
                    .map(|word| Bytes::copy_from_slice(word))
                    .collect();
                let turn = self.wait(origin, gather);
                step.forward(origin, member, Ticket { turn, part: 0 }, argv);
            }
            Ok((command, Route::Spread(parts))) => self.spread(step, origin, &command, &parts),
            Err(error) => self.answer(step.effects, origin, &error.into()),
        }
    }

    /// Finds the command and where it runs.
    fn place<'a>(
        &self,
        step: &Step<'_>,
        argv: &'a [&'a [u8]],
    ) -> Result<(Command<'a>, Route), ReplyError> {
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
        if id.spec().kind.is_local() {
            return Ok((Command::new(id, argv, &[]), Route::Here));
        }
        let keys = router::keys(id, argv)?;
        let route = Router {
            topology: step.topology()?,
            view: step.view,
            door: self.client.door,
            standalone: step.node.settings.standalone,
        }
        .route(id, argv, &keys)?;
        Ok((Command::new(id, argv, &keys), route))
    }

    fn execute(&mut self, step: &Step<'_>, command: &Command<'_>) -> Reply {
        self.seed = next_seed(self.seed);
        let Step {
            node,
            view,
            now,
            stamp,
            ..
        } = *step;
        let here = Here {
            node,
            view,
            now,
            stamp,
            seed: self.seed,
        };
        here.run(&mut self.client, command)
            .unwrap_or_else(Reply::Error)
    }

    /// Sends out the parts of a command; the part of this node is executed at once.
    fn spread(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        command: &Command<'_>,
        parts: &[Part],
    ) {
        let turn = self.wait(
            origin,
            Gather::split(parts.to_vec(), command.id.spec().kind.writes()),
        );
        for (part, place) in parts.iter().enumerate() {
            let words = part_of(command, place);
            if place.member == step.view.me {
                let reply = match router::keys(command.id, &words) {
                    Ok(keys) => self.execute(step, &Command::new(command.id, &words, &keys)),
                    Err(error) => error.into(),
                };
                if let Some(Turn::Waiting(waiting)) = self.turns.back_mut() {
                    waiting.gather.settle(part, reply);
                }
            } else {
                let argv = words
                    .iter()
                    .map(|word| Bytes::copy_from_slice(word))
                    .collect();
                step.forward(origin, place.member, Ticket { turn, part }, argv);
            }
        }
    }

    /// Keeps a place in the order of replies; gives the request's number.
    fn wait(&mut self, origin: Origin, gather: Gather) -> u64 {
        self.turns
            .push_back(Turn::Waiting(Box::new(Waiting { origin, gather })));
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
    effects: &'a mut Effects,
}

impl Step<'_> {
    fn topology(&self) -> Result<&Topology, ReplyError> {
        self.view
            .topology
            .as_ref()
            .map_err(|why| ReplyError::ClusterDown(why.clone().into()))
    }

    fn forward(&mut self, origin: Origin, member: u16, ticket: Ticket, argv: Vec<Bytes>) {
        let Ok(topology) = &self.view.topology else {
            return;
        };
        let to = topology.members[usize::from(member)].id;
        let deadline_mono_ms = self.now.mono_ms + origin.deadline_ms();
        self.effects.forwards.push(Forward {
            to,
            ticket,
            argv,
            deadline_mono_ms,
        });
    }
}

fn not_sent(view: &View, to: NodeId) -> ReplyError {
    let place = view
        .topology
        .as_ref()
        .ok()
        .and_then(|topology| Some((topology, topology.index_of(to)?)));
    place.map_or_else(
        || {
            ReplyError::ClusterDown(
                "the node that leads the keys has left; nothing was changed".into(),
            )
        },
        |(topology, member)| router::unreachable_member(topology, member),
    )
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

/// SplitMix64 (Steele, Lea, Flood 2014): each state gives one seed, none repeats within 2^64.
const fn next_seed(state: u64) -> u64 {
    state.wrapping_add(0x9e37_79b9_7f4a_7c15)
}
