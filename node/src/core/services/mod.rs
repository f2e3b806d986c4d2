//! Services: who of this node's connections answers calls under which names, which other nodes have
//! somebody who does, and the calls that are not answered yet. Knows neither what a call means nor
//! how anything is sent.

mod mail;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use bytes::Bytes;
use dashmap::RwLock;
use dht_proto::reply::shown;
use dht_proto::topology::NodeId;
use dht_proto::{Reply, ReplyError, limits};

pub use self::mail::{Mail, is_mail, read_all};
use super::session::Ticket;

/// What a call costs besides its words.
const CALL_BYTES: usize = 64;
/// So much earlier than its deadline a call is given up, so that the caller hears of it in time.
const MARGIN_MS: u64 = 120;
/// How long a call waits for somebody to have its name, who may be about to say so.
const UNKNOWN_MS: u64 = 1500;

/// What somebody asks of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The service.
    pub name: Bytes,
    /// The method, and what is handed to it.
    pub words: Vec<Bytes>,
}

impl Call {
    /// What it takes up while it waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let words: usize = self.words.iter().map(Bytes::len).sum();
        CALL_BYTES + self.name.len() + words
    }

    /// Whether it is no longer than a call may be.
    ///
    /// # Errors
    /// It is longer.
    pub fn check(&self) -> Result<(), ReplyError> {
        if self.bytes() - CALL_BYTES > limits::SERVICE_CALL_BYTES {
            return Err(ReplyError::TooLong {
                what: "call",
                limit: limits::SERVICE_CALL_BYTES,
            });
        }
        Ok(())
    }
}

/// Who waits for the answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A connection of this node, and its name for the request.
    Here(u64, Ticket),
    /// Another node, and its number for the call.
    There(NodeId, u64),
}

/// What has to be done; each is for the shell.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// A connection has to be asked, under this number.
    Ask(u64, u64, Call),
    /// A connection has the answer to its request.
    Settle(u64, Ticket, Reply),
    /// Another node has to be told something.
    Send(NodeId, Mail),
}

/// Who answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Here(u64),
    There(NodeId),
}

/// A call that is not answered.
#[derive(Debug)]
struct Open {
    caller: Caller,
    stage: Stage,
    deadline_mono_ms: u64,
}

/// How far a call has come.
#[derive(Debug)]
enum Stage {
    /// Nobody has its name, as far as is known; somebody may come to have it until then.
    Waits(Call, u64),
    /// It is with somebody. Its words are not kept: it goes to nobody else.
    With(Provider),
}

/// A connection that answers calls.
#[derive(Debug, Default)]
struct Desk {
    names: BTreeSet<Bytes>,
    /// It can be asked.
    is_open: bool,
    /// Calls that it was given and has not answered.
    open: usize,
    /// The calls that wait for its socket, and their bytes.
    waiting: usize,
    bytes: usize,
}

/// The services that are known at a node.
#[derive(Debug, Default)]
pub struct Services(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    desks: BTreeMap<u64, Desk>,
    elsewhere: BTreeMap<NodeId, BTreeSet<Bytes>>,
    open: BTreeMap<u64, Open>,
    last_call: u64,
    /// It was said that there are services here, and the others may still think so.
    is_known: bool,
}

impl Services {
    /// A connection will answer calls under a name.
    ///
    /// # Errors
    /// The name is too long, or there are too many.
    pub fn register(&self, connection: u64, name: &[u8]) -> Result<bool, ReplyError> {
        if name.is_empty() {
            return Err(ReplyError::Other("a service needs a name".into()));
        }
        if name.len() > limits::SERVICE_NAME_BYTES {
            return Err(ReplyError::TooLong {
                what: "name of a service",
                limit: limits::SERVICE_NAME_BYTES,
            });
        }
        let mut state = self.0.write();
        let names: usize = state.desks.values().map(|desk| desk.names.len()).sum();
        if names >= limits::SERVICES {
            let why = format!("a node has no more than {} services", limits::SERVICES);
            return Err(ReplyError::Other(why.into()));
        }
        let desk = state.desks.entry(connection).or_default();
        Ok(desk.names.insert(Bytes::copy_from_slice(name)))
    }

    /// A connection that has offered a service can be asked from now on.
    pub fn opened(&self, connection: u64, now_mono_ms: u64, out: &mut Vec<Action>) {
        let mut state = self.0.write();
        if let Some(desk) = state.desks.get_mut(&connection) {
            desk.is_open = true;
        }
        state.place_all(now_mono_ms, out);
    }

    /// A connection answers no further calls under a name; says whether it did.
    pub fn unregister(&self, connection: u64, name: &[u8]) -> bool {
        let mut state = self.0.write();
        let desk = state.desks.get_mut(&connection);
        desk.is_some_and(|desk| desk.names.remove(name))
    }

    /// Whether a connection has ever offered a service.
    #[must_use]
    pub fn has(&self, connection: u64) -> bool {
        self.0.read().desks.contains_key(&connection)
    }

    /// The names that are known, and how many answer calls under each: connections of this node,
    /// and other nodes.
    #[must_use]
    pub fn list(&self) -> BTreeMap<Bytes, usize> {
        let state = self.0.read();
        let here = state.desks.values().flat_map(|desk| &desk.names);
        let there = state.elsewhere.values().flatten();
        let mut counts = BTreeMap::new();
        for name in here.chain(there) {
            *counts.entry(name.clone()).or_default() += 1;
        }
        counts
    }

    /// What the other nodes have to be told of this one; nothing where they know that it has none.
    #[must_use]
    pub fn offer(&self) -> Option<Mail> {
        let mut state = self.0.write();
        let here = state.desks.values().flat_map(|desk| &desk.names);
        let names: BTreeSet<Bytes> = here.cloned().collect();
        let before = std::mem::replace(&mut state.is_known, !names.is_empty());
        (before || !names.is_empty()).then_some(Mail::Offer(names))
    }

    /// A call has come.
    pub fn call(
        &self,
        (caller, call): (Caller, Call),
        deadline_mono_ms: u64,
        now_mono_ms: u64,
        out: &mut Vec<Action>,
    ) {
        let left_ms = deadline_mono_ms.saturating_sub(now_mono_ms);
        let mut state = self.0.write();
        state.last_call += 1;
        let number = state.last_call;
        let open = Open {
            caller,
            stage: Stage::Waits(call, now_mono_ms + UNKNOWN_MS),
            deadline_mono_ms: deadline_mono_ms - MARGIN_MS.min(left_ms / 4),
        };
        state.open.insert(number, open);
        state.place(number, now_mono_ms, out);
    }

    /// A connection has answered a call, or answers what it was not asked.
    pub fn answer(&self, connection: u64, number: u64, reply: Reply, out: &mut Vec<Action>) {
        let mut state = self.0.write();
        if state.is_with(number, Provider::Here(connection)) {
            state.settle(number, reply, out);
        }
    }

    /// A connection's socket has taken a call.
    pub fn taken(&self, connection: u64, call: &Call) {
        if let Some(desk) = self.0.write().desks.get_mut(&connection) {
            desk.waiting = desk.waiting.saturating_sub(1);
            desk.bytes = desk.bytes.saturating_sub(call.bytes());
        }
    }

    /// A call could not be sent to another node.
    pub fn unsent(&self, number: u64, out: &mut Vec<Action>) {
        let why = "the node of the provider cannot be reached";
        let error = ReplyError::TryAgain(why.into());
        self.0.write().settle(number, error.into(), out);
    }

    /// Another node has told something.
    pub fn hear(&self, from: NodeId, mail: Mail, now_mono_ms: u64, out: &mut Vec<Action>) {
        match mail {
            Mail::Offer(names) => {
                let mut state = self.0.write();
                if names.is_empty() {
                    state.elsewhere.remove(&from);
                } else {
                    state.elsewhere.insert(from, names);
                }
                state.place_all(now_mono_ms, out);
            }
            Mail::Call(number, left_ms, call) => {
                let caller = Caller::There(from, number);
                let deadline_ms = now_mono_ms.saturating_add(left_ms);
                self.call((caller, call), deadline_ms, now_mono_ms, out);
            }
            Mail::Answer(number, reply) => {
                let mut state = self.0.write();
                if state.is_with(number, Provider::There(from)) {
                    state.settle(number, reply, out);
                }
            }
        }
    }

    /// A connection is gone: it answers nothing any more, and waits for nothing.
    pub fn gone(&self, connection: u64, out: &mut Vec<Action>) {
        let mut state = self.0.write();
        state.forget(|caller| matches!(caller, Caller::Here(it, _) if it == connection));
        if state.desks.remove(&connection).is_some() {
            state.lose(Provider::Here(connection), out);
        }
    }

    /// Another node cannot be reached.
    pub fn down(&self, node: NodeId, out: &mut Vec<Action>) {
        let mut state = self.0.write();
        state.elsewhere.remove(&node);
        state.forget(|caller| matches!(caller, Caller::There(it, _) if it == node));
        state.lose(Provider::There(node), out);
    }

    /// Gives up what has waited for too long.
    pub fn expire(&self, now_mono_ms: u64, out: &mut Vec<Action>) {
        if self.0.read().open.is_empty() {
            return;
        }
        let mut state = self.0.write();
        let late = state.open.iter().filter_map(|(number, open)| {
            let is_late = open.deadline_mono_ms <= now_mono_ms;
            let error = match &open.stage {
                Stage::With(_) if is_late => unknown("the provider has not answered in time"),
                Stage::Waits(call, until) if is_late || *until <= now_mono_ms => no_such(call),
                _ => return None,
            };
            Some((*number, error))
        });
        for (number, error) in late.collect::<Vec<_>>() {
            state.settle(number, error.into(), out);
        }
    }

    /// How many calls are not answered.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.read().open.len()
    }
}

impl State {
    fn is_with(&self, number: u64, provider: Provider) -> bool {
        let open = self.open.get(&number);
        open.is_some_and(|open| open.is_with(provider))
    }

    /// Hands a call to somebody who has its name, if anybody has.
    fn place(&mut self, number: u64, now_mono_ms: u64, out: &mut Vec<Action>) {
        let Some(Open {
            caller,
            stage: Stage::Waits(call, _),
            ..
        }) = self.open.get(&number)
        else {
            return;
        };
        let has_it = |desk: &Desk| desk.is_open && desk.names.contains(&call.name);
        let desks = self.desks.iter().filter(|(_, desk)| has_it(desk));
        let desks = desks.map(|(connection, desk)| (desk.load(call), *connection));
        let here = desks.min();
        // What another node hands on goes no further.
        let is_own = matches!(caller, Caller::Here(..));
        let elsewhere = self.elsewhere.iter().filter(|_| is_own);
        let there = elsewhere.filter(|(_, names)| names.contains(&call.name));
        let there: Vec<NodeId> = there.map(|(node, _)| *node).collect();
        let turn = number as usize % there.len().max(1);
        match (here, there.get(turn)) {
            (Some(((true, _), _)), None) => {
                let why = "the provider has too many calls to answer";
                self.settle(number, ReplyError::TryAgain(why.into()).into(), out);
            }
            (Some(((false, _), connection)), _) => self.ask(number, connection, out),
            (_, Some(node)) => self.send(number, *node, now_mono_ms, out),
            (None, None) if !is_own => {
                let error = no_such(call);
                self.settle(number, error.into(), out);
            }
            (None, None) => (),
        }
    }

    fn ask(&mut self, number: u64, connection: u64, out: &mut Vec<Action>) {
        let open = self.open.get_mut(&number);
        let call = open.and_then(|open| open.hand_to(Provider::Here(connection)));
        if let (Some(call), Some(desk)) = (call, self.desks.get_mut(&connection)) {
            desk.open += 1;
            desk.waiting += 1;
            desk.bytes += call.bytes();
            out.push(Action::Ask(connection, number, call));
        }
    }

    fn send(&mut self, number: u64, node: NodeId, now_mono_ms: u64, out: &mut Vec<Action>) {
        if let Some(open) = self.open.get_mut(&number)
            && let Some(call) = open.hand_to(Provider::There(node))
        {
            let left_ms = open.deadline_mono_ms.saturating_sub(now_mono_ms);
            out.push(Action::Send(node, Mail::Call(number, left_ms, call)));
        }
    }

    /// Tries again to place the calls whose names nobody had.
    fn place_all(&mut self, now_mono_ms: u64, out: &mut Vec<Action>) {
        let waits = |open: &Open| matches!(open.stage, Stage::Waits(..));
        let open = self.open.iter().filter(|(_, open)| waits(open));
        let numbers: Vec<u64> = open.map(|(number, _)| *number).collect();
        for number in numbers {
            self.place(number, now_mono_ms, out);
        }
    }

    fn settle(&mut self, number: u64, reply: Reply, out: &mut Vec<Action>) {
        out.extend(self.close(number).map(|caller| match caller {
            Caller::Here(connection, ticket) => Action::Settle(connection, ticket, reply),
            Caller::There(node, number) => Action::Send(node, Mail::Answer(number, reply)),
        }));
    }

    /// Ends a call; gives who waits for its answer.
    fn close(&mut self, number: u64) -> Option<Caller> {
        let open = self.open.remove(&number)?;
        if let Stage::With(Provider::Here(connection)) = open.stage
            && let Some(desk) = self.desks.get_mut(&connection)
        {
            desk.open = desk.open.saturating_sub(1);
        }
        Some(open.caller)
    }

    /// Ends the calls for whose answers nobody waits any more.
    fn forget(&mut self, is_gone: impl Fn(Caller) -> bool) {
        let open = self.open.iter().filter(|(_, open)| is_gone(open.caller));
        let numbers: Vec<u64> = open.map(|(number, _)| *number).collect();
        for number in numbers {
            self.close(number);
        }
    }

    /// Settles what a provider will not answer any more.
    fn lose(&mut self, provider: Provider, out: &mut Vec<Action>) {
        let open = self.open.iter();
        let open = open.filter(|(_, open)| open.is_with(provider));
        let numbers: Vec<u64> = open.map(|(number, _)| *number).collect();
        for number in numbers {
            self.settle(number, unknown("the provider is gone").into(), out);
        }
    }
}

impl Open {
    fn is_with(&self, provider: Provider) -> bool {
        matches!(self.stage, Stage::With(it) if it == provider)
    }

    /// Gives the call away, if nobody has it.
    fn hand_to(&mut self, provider: Provider) -> Option<Call> {
        match mem::replace(&mut self.stage, Stage::With(provider)) {
            Stage::Waits(call, _) => Some(call),
            before @ Stage::With(_) => {
                self.stage = before;
                None
            }
        }
    }
}

impl Desk {
    /// Whether it has too much to answer already for another call, and how many calls it has. One
    /// that does not read has few to answer, since they are given up, but many that wait.
    fn load(&self, call: &Call) -> (bool, usize) {
        let calls = self.open.max(self.waiting);
        let is_full = calls >= limits::SERVICE_CALLS
            || self.bytes + call.bytes() > limits::SERVICE_WAITING_BYTES;
        (is_full, calls)
    }
}

fn no_such(call: &Call) -> ReplyError {
    let name = shown(&call.name, limits::SERVICE_NAME_BYTES);
    ReplyError::Other(format!("no service is registered under the name '{name}'").into())
}

fn unknown(why: &'static str) -> ReplyError {
    ReplyError::Unknown(why.into())
}

/// What a provider's error is for the caller: under a prefix of its own, so that it is not taken
/// for one of a node's.
#[must_use]
pub fn refusal(text: &str) -> ReplyError {
    ReplyError::Received(format!("SERVICE {}", text.replace(['\r', '\n'], " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([7; 20]);

    fn ticket(turn: u64) -> Ticket {
        Ticket { turn, part: 0 }
    }

    fn call(name: &'static str) -> Call {
        Call {
            name: Bytes::from_static(name.as_bytes()),
            words: vec![Bytes::from_static(b"add")],
        }
    }

    /// A node on whose connection 1 there is a calculator.
    fn services() -> Services {
        let services = Services::default();
        services.register(1, b"Calculator").unwrap();
        services.opened(1, 0, &mut Vec::new());
        services
    }

    fn done(act: impl FnOnce(&mut Vec<Action>)) -> Vec<Action> {
        let mut out = Vec::new();
        act(&mut out);
        out
    }

    fn ask(services: &Services, caller: u64, name: &'static str) -> Vec<Action> {
        let caller = Caller::Here(caller, ticket(caller));
        done(|out| services.call((caller, call(name)), 5000, 0, out))
    }

    #[test]
    fn a_call_goes_to_who_has_its_name_and_its_answer_back() {
        let services = services();
        let asked = ask(&services, 5, "Calculator");
        assert_eq!(asked, [Action::Ask(1, 1, call("Calculator"))]);
        // Nobody else can answer it, nor can it be answered twice.
        assert!(done(|out| services.answer(2, 1, Reply::Ok, out)).is_empty());
        let answered = done(|out| services.answer(1, 1, Reply::Int(5), out));
        assert_eq!(answered, [Action::Settle(5, ticket(5), Reply::Int(5))]);
        assert!(done(|out| services.answer(1, 1, Reply::Int(6), out)).is_empty());
    }

    #[test]
    fn a_provider_that_is_gone_is_told_to_who_waits() {
        let services = services();
        ask(&services, 5, "Calculator");
        let lost = done(|out| services.gone(1, out));
        let error = unknown("the provider is gone").into();
        assert_eq!(lost, [Action::Settle(5, ticket(5), error)]);
        assert!(services.list().is_empty());
        assert_eq!(services.open(), 0);
    }

    #[test]
    fn a_call_ends_before_its_deadline() {
        let services = services();
        ask(&services, 5, "Calculator");
        assert!(done(|out| services.expire(4879, out)).is_empty());
        let late = done(|out| services.expire(4880, out));
        let error = unknown("the provider has not answered in time").into();
        assert_eq!(late, [Action::Settle(5, ticket(5), error)]);
    }

    #[test]
    fn a_name_that_nobody_has_is_waited_for_a_while() {
        let services = services();
        assert!(ask(&services, 5, "Oracle").is_empty());
        assert!(ask(&services, 6, "Prophet").is_empty());
        // Another node has the one.
        let offer = Mail::Offer([Bytes::from_static(b"Oracle")].into());
        let sent = done(|out| services.hear(NODE, offer, 100, out));
        let asked = Mail::Call(1, 4780, call("Oracle"));
        assert_eq!(sent, [Action::Send(NODE, asked)]);
        // Nobody has the other.
        let given_up = done(|out| services.expire(UNKNOWN_MS, out));
        let [Action::Settle(6, _, Reply::Error(error))] = &given_up[..] else {
            panic!("{given_up:?}");
        };
        let text = "ERR no service is registered under the name 'Prophet'";
        assert_eq!(error.to_string(), text);
        // The first is lost with its node.
        let lost = done(|out| services.down(NODE, out));
        assert!(matches!(lost[..], [Action::Settle(5, _, Reply::Error(_))]));
    }

    #[test]
    fn another_node_is_answered_and_never_sent_on() {
        let services = services();
        let asked = Mail::Call(33, 1000, call("Calculator"));
        let placed = done(|out| services.hear(NODE, asked, 0, out));
        assert_eq!(placed, [Action::Ask(1, 1, call("Calculator"))]);
        let answered = done(|out| services.answer(1, 1, Reply::Int(5), out));
        let answer = Mail::Answer(33, Reply::Int(5));
        assert_eq!(answered, [Action::Send(NODE, answer)]);
        let offer = Mail::Offer([Bytes::from_static(b"Oracle")].into());
        services.hear(NODE, offer, 0, &mut Vec::new());
        let asked = Mail::Call(34, 1000, call("Oracle"));
        let refused = done(|out| services.hear(NODE, asked, 0, out));
        let [Action::Send(NODE, Mail::Answer(34, Reply::Error(_)))] = &refused[..] else {
            panic!("{refused:?}");
        };
    }

    #[test]
    fn names_have_an_end() {
        let services = Services::default();
        let long = [b'x'; limits::SERVICE_NAME_BYTES + 1];
        assert!(services.register(1, &long).is_err());
        assert!(services.register(1, b"").is_err());
        assert_eq!(services.register(1, &long[1..]), Ok(true));
        assert_eq!(services.register(1, &long[1..]), Ok(false));
        for n in 1..limits::SERVICES {
            services.register(2, n.to_string().as_bytes()).unwrap();
        }
        assert!(services.register(3, b"one more").is_err());
        assert!(services.unregister(2, b"1"));
        assert_eq!(services.register(3, b"one more"), Ok(true));
    }

    #[test]
    fn what_waits_for_a_provider_has_an_end() {
        let services = services();
        for n in 0..limits::SERVICE_CALLS as u64 {
            assert_eq!(ask(&services, n, "Calculator").len(), 1);
        }
        let refused = ask(&services, 1, "Calculator");
        let is_refused = |refused: &[Action]| {
            matches!(
                refused,
                [Action::Settle(1, _, Reply::Error(ReplyError::TryAgain(_)))]
            )
        };
        assert!(is_refused(&refused));
        // What was given up counts until the socket has taken it.
        services.expire(5000, &mut Vec::new());
        assert_eq!(services.open(), 0);
        assert!(is_refused(&ask(&services, 1, "Calculator")));
        services.taken(1, &call("Calculator"));
        assert!(matches!(
            ask(&services, 1, "Calculator")[..],
            [Action::Ask(..)]
        ));
    }

    #[test]
    fn a_call_whose_caller_is_gone_is_none_that_its_provider_has_to_answer() {
        let services = services();
        for n in 0..limits::SERVICE_CALLS as u64 {
            let asked = match n % 2 {
                0 => ask(&services, 5, "Calculator"),
                _ => {
                    let mail = Mail::Call(n, 1000, call("Calculator"));
                    done(|out| services.hear(NODE, mail, 0, out))
                }
            };
            assert!(matches!(asked[..], [Action::Ask(..)]), "{asked:?}");
            services.taken(1, &call("Calculator"));
        }
        assert!(done(|out| services.gone(5, out)).is_empty());
        assert!(done(|out| services.down(NODE, out)).is_empty());
        assert_eq!(services.open(), 0);
        for _ in 0..limits::SERVICE_CALLS {
            let asked = ask(&services, 6, "Calculator");
            assert!(matches!(asked[..], [Action::Ask(..)]), "{asked:?}");
            services.taken(1, &call("Calculator"));
        }
    }

    #[test]
    fn a_call_goes_past_a_provider_that_does_not_read() {
        let services = services();
        ask(&services, 5, "Calculator");
        services.expire(5000, &mut Vec::new());
        // What the first was asked still waits for its socket.
        services.register(2, b"Calculator").unwrap();
        services.opened(2, 0, &mut Vec::new());
        let asked = ask(&services, 5, "Calculator");
        assert_eq!(asked, [Action::Ask(2, 2, call("Calculator"))]);
        // One whose bytes are too many is passed by, though it has fewer calls.
        let long = Call {
            name: Bytes::from_static(b"Calculator"),
            words: vec![vec![0; limits::SERVICE_WAITING_BYTES - 2 * CALL_BYTES].into()],
        };
        services.taken(1, &call("Calculator"));
        let caller = Caller::Here(5, ticket(5));
        let asked = done(|out| services.call((caller, long), 5000, 0, out));
        assert!(matches!(asked[..], [Action::Ask(1, ..)]), "{asked:?}");
        ask(&services, 5, "Calculator");
        let asked = ask(&services, 5, "Calculator");
        assert_eq!(asked, [Action::Ask(2, 5, call("Calculator"))]);
    }

    #[test]
    fn what_is_handed_over_is_not_kept_until_it_is_answered() {
        let services = services();
        let argument = Bytes::from(vec![0; 1000]);
        let asked = Call {
            name: Bytes::from_static(b"Calculator"),
            words: vec![argument.clone()],
        };
        let caller = Caller::Here(5, ticket(5));
        let out = done(|out| services.call((caller, asked), 5000, 0, out));
        drop(out);
        assert_eq!(services.open(), 1);
        assert!(argument.is_unique());
    }

    #[test]
    fn bytes_that_wait_for_a_provider_have_an_end() {
        let services = services();
        let large = |bytes: usize| Call {
            name: Bytes::from_static(b"Calculator"),
            words: vec![vec![0; bytes].into()],
        };
        let most = limits::SERVICE_CALL_BYTES - b"Calculator".len();
        assert!(large(most).check().is_ok() && large(most + 1).check().is_err());
        let room = limits::SERVICE_WAITING_BYTES / large(most).bytes();
        for n in 0..=room {
            let caller = Caller::Here(9, ticket(n as u64));
            let out = done(|out| services.call((caller, large(most)), 5000, 0, out));
            assert_eq!(matches!(out[..], [Action::Ask(..)]), n < room);
        }
    }

    #[test]
    fn others_are_told_what_there_is_and_once_that_there_is_nothing() {
        let services = services();
        let names = BTreeSet::from([Bytes::from_static(b"Calculator")]);
        assert_eq!(services.offer(), Some(Mail::Offer(names)));
        services.unregister(1, b"Calculator");
        assert_eq!(services.offer(), Some(Mail::Offer(BTreeSet::new())));
        assert_eq!(services.offer(), None);
    }

    #[test]
    fn an_error_of_a_provider_is_not_taken_for_one_of_a_node() {
        let error = refusal("MOVED 1 h:1\r\n+OK");
        assert_eq!(error.to_string(), "SERVICE MOVED 1 h:1  +OK");
        assert_eq!(error.prefix(), "SERVICE");
    }
}
