//! The clients: each runs its program against whatever node it is connected to, and remembers what
//! it asked and what it was told.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use dht_node::core::client::Protocol;
use dht_proto::Reply;
use dht_proto::rpc::Place;
use dht_proto::slot::slots_of;

use super::line::Line;
use super::plan::{Habits, Plan};
use super::sessions::{Numbered, Sessions, shard_of_write};
use super::world::{Event, World};
use crate::check::finals::Finals;
use crate::check::history::{Call, History, Op, Operation};
use crate::check::programs::{Program, Step};
use crate::random::Random;

/// From a connection that is lost to the next one, in microseconds: from and to.
const RECONNECT_US: (u64, u64) = (1000, 50_000);
/// From one look at whether a lull is over to the next, in microseconds.
const LULL_US: u64 = 5000;
/// The time that servers have for a read at the end, in milliseconds.
const FINAL_MS: u64 = 1000;
/// Time after which a read at the end that was refused is tried again, in microseconds.
const AGAIN_US: u64 = 100_000;

/// All clients, and what they know.
pub struct Clients {
    /// Nobody writes until then: who is behind is behind in nothing.
    pub lull_until_us: u64,
    /// They do nothing new any more.
    pub are_done: bool,
    /// What they asked and were told.
    pub history: History,
    /// What is there at the end.
    pub finals: Finals,
    /// What is still to be read at the end.
    pub unread: Vec<Vec<Bytes>>,
    /// Writes that were acknowledged.
    pub writes: usize,
    /// Writes that were sent again under their numbers.
    pub repeats: usize,
    all: Vec<Client>,
    /// Whose connection it is: a client, by its number.
    owners: BTreeMap<u64, usize>,
    last_connection: u64,
}

struct Client {
    habits: Habits,
    program: Program,
    random: Random,
    sessions: Sessions,
    open: Option<Open>,
}

/// An open connection.
struct Open {
    number: u64,
    life: u32,
    line: Line<Want>,
    /// How many batches were sent.
    batches: u64,
    /// When the last bytes arrive at the server.
    sent_us: u64,
}

/// What a reply is wanted for.
enum Want {
    /// Nothing.
    Nothing,
    /// It answers an operation of the history.
    Call(Call),
    /// It answers a write that has a number.
    Numbered(Numbered),
    /// It is a session with this shard.
    Session(u16),
    /// It shows what is there at the end.
    Final(Vec<Bytes>),
}

impl Clients {
    /// The clients of a plan, and one more that reads at the end.
    #[must_use]
    pub fn new(plan: &Plan, random: &mut Random) -> Self {
        let reader = Habits {
            protocol: Protocol::Resp2,
            has_sessions: false,
            reads_only: true,
            pipeline: 1,
            think_us: (0, 0),
            deadline_ms: FINAL_MS,
            patience_us: 3_000_000,
        };
        let habits = plan.clients.iter().cloned().chain([reader]);
        let client = |(number, habits): (usize, Habits)| Client {
            habits,
            program: Program::new(number as u64, plan.mix.clone()),
            random: random.fork(),
            sessions: Sessions::default(),
            open: None,
        };
        Self {
            lull_until_us: 0,
            are_done: false,
            history: History::default(),
            finals: Finals::default(),
            unread: Vec::new(),
            writes: 0,
            repeats: 0,
            all: habits.enumerate().map(client).collect(),
            owners: BTreeMap::new(),
            last_connection: 0,
        }
    }

    /// Whether all have their answers, or have given up.
    #[must_use]
    pub fn are_quiet(&self) -> bool {
        let mut open = self.all.iter().filter_map(|client| client.open.as_ref());
        open.all(|open| open.line.is_quiet())
    }

    /// All that was asked is over; begins to read what is there.
    pub fn begin_finals(&mut self) {
        self.unread = Finals::reads(&self.history);
    }
}

impl Client {
    fn next_step(&mut self) -> Step {
        loop {
            let step = self.program.next(&mut self.random);
            if !self.habits.reads_only || step.op().is_read() {
                return step;
            }
        }
    }
}

impl World {
    /// A client sends its next batch, on a new connection if it has none.
    pub fn wake(&mut self, client: usize) {
        if self.clients.are_done {
            return;
        }
        if self.has_to_rest(client) {
            let again_us = self.now_us + LULL_US;
            return self.queue.add(again_us, Event::Wake(client));
        }
        if !self.connect(client) {
            return;
        }
        self.wake_again(client);
        let habits = &self.clients.all[client].habits;
        let (pipeline, deadline_ms) = (habits.pipeline, habits.deadline_ms);
        let batch = 1 + self.clients.all[client].random.next() % pipeline;
        let mut out = BytesMut::new();
        for write in self.clients.all[client].sessions.take_again() {
            self.clients.repeats += 1;
            self.ask_numbered(client, write, deadline_ms, &mut out);
        }
        for _ in 0..batch {
            let it = &mut self.clients.all[client];
            let step = it.next_step();
            self.ask_step(client, &step, deadline_ms, &mut out);
        }
        self.post(client, out.freeze());
    }

    /// Whether a client would have something logged in a lull: a write, or a read that has to come
    /// after another one.
    fn has_to_rest(&self, client: usize) -> bool {
        let it = &self.clients.all[client];
        let is_lull = self.now_us < self.clients.lull_until_us;
        let waits = it.open.as_ref().is_some_and(|open| !open.line.is_quiet());
        is_lull && (!it.habits.reads_only || waits)
    }

    /// Who waits for no answer goes on after a time.
    fn wake_again(&mut self, client: usize) {
        let it = &mut self.clients.all[client];
        if it.habits.reads_only {
            let (from, to) = it.habits.think_us;
            let next_us = self.now_us + it.random.between(from, to);
            self.queue.add(next_us, Event::Wake(client));
        }
    }

    /// Sees to it that a client has a connection; says whether it has.
    fn connect(&mut self, client: usize) -> bool {
        if self.clients.all[client].open.is_some() {
            return true;
        }
        let seat = self.random.below(self.seats.len());
        let Some(life) = self.seats[seat].as_ref().map(|process| process.life) else {
            let again_us = self.now_us + self.random.between(RECONNECT_US.0, RECONNECT_US.1);
            self.queue.add(again_us, Event::Wake(client));
            return false;
        };
        self.clients.last_connection += 1;
        let number = self.clients.last_connection;
        let protocol = self.clients.all[client].habits.protocol;
        self.trace.add(
            self.now_us,
            format_args!("client {client} connects to {life} as {number} ({protocol:?})"),
        );
        let sent_us = self.now_us + self.client_delay_us();
        self.queue.add(
            sent_us,
            Event::Connect {
                life,
                connection: number,
                protocol,
            },
        );
        self.clients.owners.insert(number, client);
        self.clients.all[client].open = Some(Open {
            number,
            life,
            line: Line::new(protocol),
            batches: 0,
            sent_us,
        });
        true
    }

    /// Appends a write with its number.
    fn ask_numbered(
        &mut self,
        client: usize,
        write: Numbered,
        deadline_ms: u64,
        out: &mut BytesMut,
    ) {
        let Operation { what, .. } = self.clients.history.operation(write.call);
        self.trace.add(
            self.now_us,
            format_args!("client {client} asks {what} as {:?}", write.place),
        );
        if let Some(open) = &mut self.clients.all[client].open {
            let (place, argv) = (Some(write.place), write.argv.clone());
            open.line
                .ask_in(place, (&argv, deadline_ms), Want::Numbered(write), out);
        }
    }

    /// A number for a write, if it is to have one; else a session is asked for, for the next.
    fn number(
        &mut self,
        client: usize,
        argv: &[Bytes],
        deadline_ms: u64,
        out: &mut BytesMut,
    ) -> Option<(u16, Place)> {
        let it = &mut self.clients.all[client];
        if !it.habits.has_sessions || it.habits.protocol != Protocol::Native {
            return None;
        }
        let shards = self.plan.shards as usize;
        let shard = shard_of_write(argv, shards)?;
        if it.sessions.ask(shard)
            && let Some(open) = &mut it.open
        {
            let slot = slots_of(shard.into(), shards).start().to_string();
            let words = ["CLUSTER".into(), "SESSION".into(), slot.into()];
            open.line
                .ask(&words, deadline_ms, Want::Session(shard), out);
        }
        it.sessions.place(shard).map(|place| (shard, place))
    }

    /// Appends the requests of a step, each remembered as what it is.
    fn ask_step(&mut self, client: usize, step: &Step, deadline_ms: u64, out: &mut BytesMut) {
        if let Step::Single(argv) = step
            && let Some((shard, place)) = self.number(client, argv, deadline_ms, out)
        {
            // It may take effect on another connection, behind what this one asks for later.
            self.clients.last_connection += 1;
            let alone = self.clients.last_connection;
            let call = self.clients.history.call(alone, step.op(), self.now_us);
            let write = Numbered::new(call, argv.clone(), shard, place);
            return self.ask_numbered(client, write, deadline_ms, out);
        }
        let (now_us, clients) = (self.now_us, &mut self.clients);
        let Some(open) = &mut clients.all[client].open else {
            return;
        };
        let history = &mut clients.history;
        let trace = &mut self.trace;
        let mut call = |op: Op| {
            trace.add(now_us, format_args!("client {client} asks {op}"));
            Want::Call(history.call(open.number, op, now_us))
        };
        let word = |word: &'static str| vec![Bytes::from(word)];
        match step {
            Step::Single(argv) => {
                let want = call(step.op());
                open.line.ask(argv, deadline_ms, want, out);
            }
            Step::Transaction { watch, commands } => {
                if !watch.is_empty() {
                    let argv: Vec<Bytes> = word("WATCH").into_iter().chain(watch.clone()).collect();
                    let want = call(Op::Watch(watch.clone()));
                    open.line.ask(&argv, deadline_ms, want, out);
                }
                let want = call(step.op());
                open.line
                    .ask(&word("MULTI"), deadline_ms, Want::Nothing, out);
                for argv in commands {
                    open.line.ask(argv, deadline_ms, Want::Nothing, out);
                }
                open.line.ask(&word("EXEC"), deadline_ms, want, out);
            }
        }
    }

    /// Sends a batch on its way, and sees to it that the client does not wait for ever.
    fn post(&mut self, client: usize, bytes: Bytes) {
        let at_us = self.now_us + self.client_delay_us();
        let patience_us = self.clients.all[client].habits.patience_us;
        let Some(open) = &mut self.clients.all[client].open else {
            return;
        };
        open.sent_us = open.sent_us.max(at_us);
        open.batches += 1;
        let impatience = Event::Impatience(client, open.number, open.batches);
        let request = Event::Request {
            life: open.life,
            connection: open.number,
            bytes,
        };
        self.queue.add(open.sent_us, request);
        self.queue.add(self.now_us + patience_us, impatience);
    }

    /// Bytes of a server have arrived, or it has hung up.
    pub fn hear(&mut self, connection: u64, bytes: Option<&[u8]>) {
        let Some(client) = self.clients.owners.get(&connection).copied() else {
            return;
        };
        let open = &mut self.clients.all[client].open;
        let Some(open) = open.as_mut().filter(|open| open.number == connection) else {
            return;
        };
        let taken = bytes.map(|bytes| open.line.take(bytes));
        let is_quiet = open.line.is_quiet();
        let mut is_refused = false;
        let Some(Ok(taken)) = taken else {
            if let Some(Err(malformed)) = taken {
                self.watch.wrong("protocol", malformed.0.to_owned());
            }
            return self.lose_connection(client);
        };
        for (want, reply) in taken {
            is_refused |= matches!(reply, Reply::Error(_));
            self.note(client, want, reply);
        }
        if is_quiet && !self.clients.all[client].habits.reads_only {
            let think_us = self.clients.all[client].habits.think_us;
            let (from, to) = if is_refused { RECONNECT_US } else { think_us };
            let next_us = self.now_us + self.clients.all[client].random.between(from, to);
            self.queue.add(next_us, Event::Wake(client));
        }
    }

    /// Remembers what a client was told.
    fn note(&mut self, client: usize, want: Want, reply: Reply) {
        let now_us = self.now_us;
        let clients = &mut self.clients;
        let sessions = &mut clients.all[client].sessions;
        let call = match want {
            Want::Numbered(write) if write.is_in_doubt() && is_retriable(&reply) => {
                return sessions.lost(write);
            }
            Want::Numbered(write) => {
                sessions.settled(&write);
                if is_unknown(&reply) {
                    sessions.forget(&write);
                }
                Want::Call(write.call)
            }
            other => other,
        };
        match call {
            Want::Nothing | Want::Numbered(_) => (),
            Want::Session(shard) => sessions.opened(shard, Some(&reply)),
            Want::Call(call) => {
                let Operation { what, call_us, .. } = clients.history.operation(call);
                self.trace.add(
                    now_us,
                    format_args!("client {client} is told {reply:?} of {what} at {call_us}"),
                );
                clients.history.reply(call, reply, now_us);
                clients.writes += usize::from(clients.history.is_acknowledged_write(call));
            }
            Want::Final(read) if matches!(reply, Reply::Error(_)) => clients.unread.push(read),
            Want::Final(read) => {
                if let Err(why) = clients.finals.add(&read, &reply) {
                    self.watch.wrong("finals", why);
                }
            }
        }
    }

    /// Turns away from a server that has been silent since a batch.
    pub fn lose_patience(&mut self, client: usize, connection: u64, batch: u64) {
        let open = self.clients.all[client].open.as_ref();
        let still = |open: &&Open| (open.number, open.batches) == (connection, batch);
        if open.filter(still).is_some_and(|open| !open.line.is_quiet()) {
            self.lose_connection(client);
        }
    }

    /// What is unanswered on the connection stays unknown.
    fn lose_connection(&mut self, client: usize) {
        let it = &mut self.clients.all[client];
        let Some(Open {
            number,
            life,
            sent_us,
            line,
            ..
        }) = it.open.take()
        else {
            return;
        };
        for want in line.give_up() {
            match want {
                Want::Numbered(write) => it.sessions.lost(write),
                Want::Session(shard) => it.sessions.opened(shard, None),
                Want::Nothing | Want::Call(_) | Want::Final(_) => (),
            }
        }
        self.trace
            .add(self.now_us, format_args!("client {client} loses {number}"));
        self.clients.owners.remove(&number);
        let gone_us = sent_us.max(self.now_us);
        self.queue.add(gone_us, Event::HangUp(life, number));
        if self.clients.all[client].habits.reads_only {
            return;
        }
        let again_us = self.now_us + self.random.between(RECONNECT_US.0, RECONNECT_US.1);
        self.queue.add(again_us, Event::Wake(client));
    }

    /// Reads what is there at the end, as far as it is not known yet.
    pub fn read_finals(&mut self) {
        let reader = self.clients.all.len() - 1;
        self.queue.add(self.now_us + AGAIN_US, Event::ReadFinals);
        let waits = |open: &Open| !open.line.is_quiet();
        let is_busy = self.clients.all[reader].open.as_ref().is_some_and(waits);
        if is_busy || self.clients.unread.is_empty() || !self.connect(reader) {
            return;
        }
        let mut out = BytesMut::new();
        let clients = &mut self.clients;
        let Some(open) = &mut clients.all[reader].open else {
            return;
        };
        for read in std::mem::take(&mut clients.unread) {
            let want = Want::Final(read.clone());
            open.line.ask(&read, FINAL_MS, want, &mut out);
        }
        self.post(reader, out.freeze());
    }
}

/// Whether it says that this try was not executed, and nothing of others.
fn is_retriable(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(error) if error.is_beforehand())
}

fn is_unknown(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(error) if error.prefix() == "UNKNOWN")
}
