//! The client of a whole cluster: finds the node for each command, and tries again where that does
//! no harm.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use dht_proto::{Reply, limits};
use smallvec::SmallVec;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::backend::{Backend, Host, Keyspace, Life};
use crate::call::Call;
use crate::command::{Args, Command, Place};
use crate::connection::Frames;
use crate::error::{Cause, Error, Result};
use crate::line::Seeds;
use crate::node::{GRACE, Node, Request};
use crate::parcel::{Commands, Parcel};
use crate::pipeline::Pipeline;
use crate::routes::Routes;
use crate::sessions::{Gate, Seat, Sessions, Way};
use crate::spread::{Join, spread};
use crate::subscription::Subscription;
use crate::suspects::Suspects;
use crate::url::{Scheme, Target};
use crate::verdict::{Backoff, Fate, Repeat, Turn, Verdict, judge};

/// Pauses between tries of a command, in milliseconds.
const PAUSE_FIRST_MS: u64 = 10;
const PAUSE_MOST_MS: u64 = 500;
/// For so long the answers to commands that were sent together are waited for together, then each
/// by itself: whoever has not answered then may be silent, and those who have are not.
const TOGETHER: Duration = Duration::from_millis(500);
/// Least time between two questions for the routes; up to as much again is added at random.
const REFRESH: Duration = Duration::from_millis(250);

/// Calls that have no result yet, by index.
type Open = SmallVec<[usize; 16]>;

/// The longest deadline: the clock does not reach to the end of the longest [`Duration`].
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// A client of one cluster. Cheap to clone; all clones share one connection a node.
///
/// A command whose keys lie in one slot goes to the slot's leader, any other to a seed, which does
/// it or has it done. Until the deadline that is sent again which was not executed for certain, or
/// whose answer was lost or is late: a read, or a write to one slot, which its shard recognizes and
/// executes once. Another write whose answer was lost is [`Error::Unknown`].
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
}

pub(crate) struct Shared {
    target: Target,
    backend: Arc<dyn Backend>,
    /// How messages are listened to.
    frames: Frames,
    nodes: Mutex<HashMap<Arc<str>, Node>>,
    routes: ArcSwap<Routes>,
    /// The seed that answered last, by index.
    seed: AtomicUsize,
    next_refresh: Mutex<Instant>,
    sessions: Sessions,
    suspects: Suspects,
    /// Connections that transactions had for themselves, and the next may have.
    pub(crate) spare: Mutex<HashMap<Arc<str>, Vec<Node>>>,
}

impl Client {
    /// Connects to a cluster: `dht://:password@host:port,host:port`, or only addresses. One seed
    /// has to answer. With the feature `redis` also to what speaks the protocol of Redis, see
    /// [`Scheme`].
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::NotDone`] when no seed answers, [`Error::Reply`] when the
    /// password is wrong.
    pub async fn connect(target: &str) -> Result<Self> {
        let client = Self::open(target.parse()?)?;
        client.shared.refresh().await?;
        Ok(client)
    }

    /// A client that connects when it is used.
    ///
    /// # Errors
    /// [`Error::Address`] when the scheme needs a feature that this program was built without.
    pub fn open(target: Target) -> Result<Self> {
        let backend = backend(&target)?;
        Ok(Self::over(backend, target))
    }

    /// A client that speaks with its servers by something else than what its target says.
    #[must_use]
    pub fn over(backend: Arc<dyn Backend>, target: Target) -> Self {
        let frames = Frames::Tcp(target.credentials.clone());
        Self::through(backend, target, frames)
    }

    /// A client of the cluster that a node in this process belongs to. Everything goes through that
    /// node, and no socket lies between.
    #[must_use]
    pub fn inside(host: Arc<dyn Host>) -> Self {
        let target = Target {
            scheme: Scheme::Dht,
            seeds: vec!["inside".to_owned()],
            credentials: None,
            database: 0,
        };
        let frames = Frames::Inside(host);
        Self::through(Arc::new(frames.clone()), target, frames)
    }

    fn through(backend: Arc<dyn Backend>, target: Target, frames: Frames) -> Self {
        let shared = Shared {
            target,
            frames,
            backend,
            nodes: Mutex::default(),
            routes: ArcSwap::default(),
            seed: AtomicUsize::new(0),
            next_refresh: Mutex::new(Instant::now()),
            sessions: Sessions::default(),
            suspects: Suspects::default(),
            spare: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            deadline: limits::DEADLINE,
        }
    }

    /// The same client with another deadline for each call; [`limits::DEADLINE`] at first. One that
    /// is longer than ten years is as long as that. With one of zero every call is
    /// [`Error::NotDone`] at once, and nothing is sent.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(LONGEST);
        self
    }

    /// Executes any command: `client.call(["HSET", "user:1", "name", "Alice"])`.
    ///
    /// # Errors
    /// Any of [`Error`] but [`Error::Mismatch`].
    pub async fn call(&self, words: impl Args) -> Result<Reply> {
        self.run(Command::from_words(words)).await
    }

    /// Executes a command.
    ///
    /// # Errors
    /// Any of [`Error`] but [`Error::Mismatch`].
    pub async fn run(&self, command: Command) -> Result<Reply> {
        if self.deadline.is_zero() {
            return Err(Error::NotDone(Cause::Deadline));
        }
        let name = command.words.first().map(|word| word.escape_ascii());
        let span = tracing::debug_span!("call", command = name.map(tracing::field::display));
        if let Some(result) = span.in_scope(|| self.at_once(&command)) {
            // Who asks in a loop leaves other tasks their turn all the same.
            tokio::task::consume_budget().await;
            return result;
        }
        let now = Instant::now();
        let running = self.run_until(command, now, now + self.deadline);
        running.instrument(span).await
    }

    /// The result, where nobody has to be waited for.
    fn at_once(&self, command: &Command) -> Option<Result<Reply>> {
        let reply = self.shared.backend.at_once(command)?;
        match judge(Fate::Answered(reply), Repeat::Never) {
            Verdict::Final(result) => Some(result),
            Verdict::Again(..) => None,
        }
    }

    async fn run_until(&self, command: Command, now: Instant, deadline: Instant) -> Result<Reply> {
        if self.shared.backend.keyspace() == Keyspace::Slots {
            let mut results = self.run_spread(vec![command], deadline).await;
            return results
                .pop()
                .unwrap_or(Err(Error::NotDone(Cause::Deadline)));
        }
        let parcel = Parcel::of_one(command);
        let mut calls = [Call::new(Arc::clone(&parcel), 0, now)];
        self.settle(&parcel, &mut calls, now, deadline).await;
        let [call] = calls;
        call.result
    }

    /// Executes commands without waiting between them; each has its own result, in their order.
    pub(crate) async fn run_all(&self, commands: Vec<Command>) -> Vec<Result<Reply>> {
        if self.deadline.is_zero() {
            let late = |_| Err(Error::NotDone(Cause::Deadline));
            return commands.into_iter().map(late).collect();
        }
        let span = tracing::debug_span!("pipeline", commands = commands.len());
        let now = Instant::now();
        let deadline = now + self.deadline;
        let running = async {
            if self.shared.backend.keyspace() == Keyspace::Slots {
                return self.run_spread(commands, deadline).await;
            }
            let parcel = Parcel::new(commands.into());
            let mut calls: Vec<Call> = Call::each(&parcel, now).collect();
            self.settle(&parcel, &mut calls, now, deadline).await;
            calls.into_iter().map(|call| call.result).collect()
        };
        running.instrument(span).await
    }

    /// The same where no server does for others: a command may be several calls.
    async fn run_spread(&self, commands: Vec<Command>, deadline: Instant) -> Vec<Result<Reply>> {
        if self.shared.routes.load().leaders().is_empty() {
            // Why there are none is told by the calls.
            let _ = timeout_at(deadline, self.shared.refresh()).await;
        }
        let routes = self.shared.routes.load_full();
        let mut cut = Vec::with_capacity(commands.len());
        let mut plans = Vec::with_capacity(commands.len());
        for command in commands {
            let writes = command.plan().repeat == Repeat::Never;
            let Some((parts, join)) = spread(&command, &routes) else {
                cut.push((command, None));
                plans.push((1, None));
                continue;
            };
            plans.push((parts.len(), Some((join, writes))));
            cut.extend(parts.into_iter().map(|part| (part.command, part.server)));
        }
        let (commands, servers): (Commands, Vec<_>) = cut.into_iter().unzip();
        let parcel = Parcel::new(commands);
        let now = Instant::now();
        let calls = Call::each(&parcel, now).zip(servers);
        let mut calls: Vec<Call> = calls.map(|(call, server)| call.at(server)).collect();
        self.settle(&parcel, &mut calls, now, deadline).await;
        let mut results = calls.into_iter().map(|call| call.result);
        let mut joined = |(count, join): (usize, Option<(Join, bool)>)| {
            let mut parts: Vec<Result<Reply>> = results.by_ref().take(count).collect();
            let Some((join, writes)) = join else {
                return parts.pop().unwrap_or(Err(Error::NotDone(Cause::Deadline)));
            };
            match join.join(writes, parts, random())? {
                Reply::Error(error) => Err(Error::Reply(error)),
                reply => Ok(reply),
            }
        };
        plans.into_iter().map(&mut joined).collect()
    }

    /// Listens to nothing yet, with a connection of its own to come.
    #[must_use]
    pub fn subscription(&self) -> Subscription {
        let (frames, target) = (self.shared.frames.clone(), self.shared.target.clone());
        Subscription::through(frames, target, self.deadline)
    }

    /// Begins a pipeline: commands that are sent together.
    pub const fn pipeline(&self) -> Pipeline<'_> {
        Pipeline::new(self)
    }

    /// Exactly the node at an address, to which commands go without routing and without second
    /// tries.
    #[must_use]
    pub fn node(&self, address: &str) -> Node {
        self.shared.node(address).with_deadline(self.deadline)
    }

    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tries the calls of a parcel, all at first, now, then those for which another try can do no
    /// harm, until none is left or the time is over.
    async fn settle(
        &self,
        parcel: &Parcel,
        calls: &mut [Call],
        mut now: Instant,
        deadline: Instant,
    ) {
        let mut backoff = Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
        let goes_out = |index: &usize| calls[*index].goes_out;
        let mut open: Open = (0..calls.len()).filter(goes_out).collect();
        let unseated = self.seat_all(calls, now);
        if !unseated.is_empty() {
            self.open_sessions(calls, &mut open, unseated, deadline)
                .await;
            now = Instant::now();
        }
        let mut first = Some(parcel);
        loop {
            self.hand_over(calls, &open, now, deadline).await;
            let turns = self.hear(calls, &mut open, first, deadline).await;
            if open.is_empty() {
                return;
            }
            let is_trouble = |turn: &Turn| !matches!(turn, Turn::Moved { .. } | Turn::Asked { .. });
            self.shared.refresh_soon(turns.iter().any(is_trouble));
            // One detour or redirection is followed at once; after that the cluster is given time.
            // Who has waited for an answer has given it enough.
            let is_detour = first.is_some() && !turns.contains(&Turn::Later);
            let is_beside = |turn: &Turn| matches!(turn, Turn::Beside { .. });
            let pause = if is_detour || turns.iter().all(is_beside) {
                Duration::ZERO
            } else {
                backoff.pause(random())
            };
            if Instant::now() + pause >= deadline {
                for index in open {
                    calls[index].hear_out(&self.shared).await;
                }
                return;
            }
            tokio::time::sleep(pause).await;
            first = None;
            now = Instant::now();
        }
    }

    /// Gives each write to one slot its number in a session with the slot's shard; those for which
    /// one has to be opened are given back with their slots.
    fn seat_all(&self, calls: &mut [Call], now: Instant) -> Vec<(usize, u16)> {
        let mut unseated = Vec::new();
        if !self.shared.has_others_forward() {
            return unseated;
        }
        for (index, call) in calls.iter_mut().enumerate() {
            if let Some(slot) = call.wants_seat() {
                match self.shared.sessions.way(slot, now) {
                    Way::In(seat) => call.seat = Some(seat),
                    Way::Without => (),
                    Way::Open(_) => unseated.push((index, slot)),
                }
            }
        }
        unseated
    }

    /// Gives these calls their numbers, and opens sessions for that. Those for which there was no
    /// time are open no more.
    async fn open_sessions(
        &self,
        calls: &mut [Call],
        open: &mut Open,
        unseated: Vec<(usize, u16)>,
        deadline: Instant,
    ) {
        let mut seating = JoinSet::new();
        for (index, slot) in unseated {
            let client = self.clone();
            seating.spawn(async move { (index, client.seat(slot, deadline).await) });
        }
        while let Some(seated) = seating.join_next().await {
            match seated {
                Ok((index, Ok(seat))) => calls[index].seat = seat,
                Ok((index, Err(cause))) => {
                    calls[index].result = Err(Error::NotDone(cause));
                    open.retain(|open| *open != index);
                }
                // A task that did not end gives no number: the write goes without.
                Err(error) => tracing::debug!(%error, "no session"),
            }
        }
    }

    /// A number in a session with the shard of a slot, which is opened if need be; none where there
    /// are no sessions.
    pub(crate) async fn seat(
        &self,
        slot: u16,
        deadline: Instant,
    ) -> std::result::Result<Option<Seat>, Cause> {
        let sessions = &self.shared.sessions;
        let mut passed = None;
        loop {
            let gate = match sessions.way(slot, Instant::now()) {
                Way::In(seat) => return Ok(Some(seat)),
                Way::Without => return Ok(None),
                Way::Open(gate) => gate,
            };
            let is_through = |(at, _): &(Gate, _)| Arc::ptr_eq(at, &gate);
            if !passed.as_ref().is_some_and(is_through) {
                // Who held the gate meanwhile may have opened one.
                let Ok(guard) = timeout_at(deadline, Arc::clone(&gate).lock_owned()).await else {
                    return Err(Cause::Deadline);
                };
                passed = Some((gate, guard));
                continue;
            }
            match self.open_session(slot, deadline).await {
                Ok(answer) => sessions.opened(slot, &answer, Instant::now()),
                Err(Error::NotDone(cause) | Error::Unknown(cause)) => return Err(cause),
                Err(error) => {
                    tracing::debug!(%error, slot, "writes go without a session");
                    sessions.refused(slot, Instant::now());
                }
            }
        }
    }

    /// Boxed, since opening a session is a call as well.
    fn open_session(
        &self,
        slot: u16,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let command = Command::from_words(["CLUSTER", "SESSION"]).arg(u64::from(slot));
        Box::pin(self.run_until(command, Instant::now(), deadline))
    }

    /// Hands the open calls over, to each node those that go there, in their order.
    async fn hand_over(&self, calls: &mut [Call], open: &Open, now: Instant, deadline: Instant) {
        if let [index] = open[..] {
            let call = &mut calls[index];
            let node = call.node(&self.shared, &self.shared.routes(), |address| {
                self.shared.node(address)
            });
            if let Some(request) = call.next_try(&node, now, deadline) {
                node.hand_over(request).await;
            }
            return;
        }
        let routes = self.shared.routes();
        let mut loads: Vec<(Node, Vec<Request>)> = Vec::with_capacity(1);
        for (place, index) in open.iter().enumerate() {
            let call = &mut calls[*index];
            let at = call.node(&self.shared, &routes, |address| {
                let known = loads.iter().position(|(to, _)| to.address() == address);
                known.unwrap_or_else(|| {
                    let room = Vec::with_capacity(open.len() - place);
                    loads.push((self.shared.node(address), room));
                    loads.len() - 1
                })
            });
            let (node, requests) = &mut loads[at];
            requests.extend(call.next_try(node, now, deadline));
        }
        drop(routes);
        for (node, requests) in loads {
            node.hand_over_all(requests).await;
        }
    }

    /// Waits for the answers to the open calls, which are perhaps those of one parcel; leaves open
    /// those to be tried again and gives their turns.
    async fn hear(
        &self,
        calls: &mut [Call],
        open: &mut Open,
        together: Option<&Parcel>,
        deadline: Instant,
    ) -> Vec<Turn> {
        let mut whole_at = None;
        if let Some(parcel) = together.filter(|_| open.len() > 1) {
            let until = (Instant::now() + TOGETHER).min(deadline + GRACE);
            let _ = timeout_at(until, parcel.whole()).await;
            whole_at = Some(Instant::now());
        }
        let mut turns = Vec::new();
        let mut again = Open::new();
        for index in open.drain(..) {
            let call = &mut calls[index];
            let heard = whole_at.and_then(|now| call.hear_now(&self.shared, now));
            let turn = match heard {
                Some(turn) => turn,
                None => call.hear(&self.shared).await,
            };
            if let Some(turn) = turn {
                again.push(index);
                turns.push(turn);
            }
        }
        *open = again;
        turns
    }
}

impl Shared {
    /// Gives up a write's place in its session, now that the write has a result. Who knew nothing
    /// of the place may have forgotten the session.
    pub(crate) fn leave<T>(&self, seat: Option<Seat>, result: &Result<T>) {
        if let (Some(seat), Err(Error::Unknown(Cause::Cluster(_)))) = (&seat, result) {
            self.sessions.forget(seat);
        }
        drop(seat);
    }

    /// The nodes, for connections that nobody shares.
    pub(crate) fn seeds(&self) -> Seeds {
        Seeds::new(self.frames.clone(), self.target.clone())
    }

    /// The leaders of the slots, as far as they are known at the moment.
    pub(crate) fn routes(&self) -> Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Where a command goes first, found by its address.
    pub(crate) fn next_for<T>(
        &self,
        routes: &Routes,
        place: Place,
        find: impl FnOnce(&str) -> T,
    ) -> T {
        let leader = match place {
            Place::Slot(slot) => routes.leader_of(slot),
            Place::Anywhere | Place::OwnConnection => None,
        };
        match leader {
            None => find(self.seed()),
            // Others reach it perhaps, or know who leads in its place.
            Some(leader) if self.is_suspect(leader) && self.has_others_forward() => {
                let seed = self.beside(&[leader], false);
                find(seed.as_deref().unwrap_or(leader))
            }
            Some(leader) => find(leader),
        }
    }

    /// Whether any node has done what it cannot do itself, and recognizes what was sent before.
    pub(crate) fn has_others_forward(&self) -> bool {
        self.backend.keyspace() == Keyspace::Dht
    }

    /// Whether an address has not answered lately.
    pub(crate) fn is_suspect(&self, address: &str) -> bool {
        self.suspects.has(address, Instant::now)
    }

    /// An address has not answered in time.
    pub(crate) fn suspect(&self, address: &Arc<str>) {
        self.suspects.add(address, Instant::now());
    }

    /// An address has answered what only a node in its place can.
    pub(crate) fn trust(&self, address: &str) {
        self.suspects.clear(address);
    }

    /// The seed in use, or the next that is not suspect.
    fn seed(&self) -> &str {
        let mut seeds = self.seeds_in_turn();
        let fit = seeds.find(|seed| !self.is_suspect(seed));
        fit.or_else(|| self.seeds_in_turn().next()).unwrap_or("")
    }

    /// The seeds, the one in use first.
    fn seeds_in_turn(&self) -> impl Iterator<Item = &str> {
        let (seeds, index) = (&self.target.seeds, self.seed.load(Ordering::Relaxed));
        let (before, behind) = seeds.split_at(index.min(seeds.len()));
        behind.iter().chain(before).map(String::as_str)
    }

    /// Where to turn from addresses that are silent or gone. What is about one slot goes to another
    /// leader first: a node that leads has another address as a seed, and would be asked a second
    /// time. Else to a seed, if possible on another host.
    pub(crate) fn beside(&self, asked: &[&str], is_of_slot: bool) -> Option<String> {
        let is_free = |address: &&str| !asked.contains(address) && !self.is_suspect(address);
        let routes = self.routes.load();
        let last = asked.last().filter(|_| is_of_slot);
        let others = last.into_iter().flat_map(|last| routes.others(last));
        let leader = others.map(AsRef::as_ref).find(is_free);
        let is_far = |address: &&str| asked.iter().all(|asked| host(asked) != host(address));
        let mut far = self.seeds_in_turn().filter(is_far);
        let found = leader.or_else(|| far.find(is_free));
        let found = found.or_else(|| self.seeds_in_turn().find(is_free));
        let is_new = |address: &&str| !asked.contains(address);
        let found = found.or_else(|| self.seeds_in_turn().find(is_new));
        found.map(str::to_owned)
    }

    pub(crate) fn node(&self, address: &str) -> Node {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return node.clone();
        }
        let node = Node::through(&*self.backend, address, Life::Renewed);
        nodes.insert(node.shared_address().clone(), node.clone());
        node
    }

    /// A connection to a node that nobody else has.
    pub(crate) fn own_node(&self, address: &str) -> Node {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let found = spare.get_mut(address).and_then(|spare| {
            spare.retain(|node| !node.is_closed());
            spare.pop()
        });
        found.unwrap_or_else(|| Node::through(&*self.backend, address, Life::Once))
    }

    pub(crate) fn learn(&self, slot: u16, to: &str) {
        let known = |routes: &Routes| routes.leader_of(slot).is_some_and(|leader| **leader == *to);
        if !known(&self.routes.load()) {
            self.routes.rcu(|routes| routes.with_leader(slot, to));
        }
    }

    /// Goes on to the next seed, if this is the one in use.
    pub(crate) fn avoid_seed(&self, address: &str) {
        let index = self.seed.load(Ordering::Relaxed);
        if self
            .target
            .seeds
            .get(index)
            .is_some_and(|seed| seed == address)
        {
            let next = (index + 1) % self.target.seeds.len();
            // Whoever was faster has gone on already.
            let _ = self
                .seed
                .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Asks for the routes in the background, unless that was done a moment ago; after trouble
    /// another seed than last time, which may be cut off from the rest.
    pub(crate) fn refresh_soon(self: &Arc<Self>, is_trouble: bool) {
        let now = Instant::now();
        let mut next = self
            .next_refresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *next > now {
            return;
        }
        let spread_ms = u64::try_from(REFRESH.as_millis()).unwrap_or(u64::MAX);
        *next = now + REFRESH + Duration::from_millis(random() % spread_ms);
        if is_trouble {
            self.avoid_seed(self.seed());
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = shared.refresh().await {
                tracing::debug!(%error, "no seed told the routes");
            }
        });
    }

    /// Takes the routes from the first seed that answers; what it answers may be that there are
    /// none.
    async fn refresh(&self) -> Result<()> {
        let mut failure = Error::Address("there is no address to connect to".to_owned());
        for _ in &self.target.seeds {
            let seed = self.seed().to_owned();
            let question = match self.backend.keyspace() {
                Keyspace::Whole => Command::new("PING"),
                Keyspace::Dht | Keyspace::Slots => Command::new("CLUSTER SLOTS"),
            };
            match self.node(&seed).run(question).await {
                Ok(reply) => {
                    if let Some(routes) = Routes::from_reply(&reply, &seed) {
                        self.forget_nodes(&routes);
                        self.routes.store(Arc::new(routes));
                    }
                    return Ok(());
                }
                Err(Error::Reply(error)) => return Err(Error::Reply(error)),
                Err(error) => failure = error,
            }
            self.avoid_seed(&seed);
        }
        Err(failure)
    }

    /// Closes connections to nodes that are gone, once their last request is answered.
    fn forget_nodes(&self, routes: &Routes) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_seed = |address: &str| self.target.seeds.iter().any(|seed| seed == address);
        nodes.retain(|address, _| routes.names(address) || is_seed(address));
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.retain(|address, _| routes.names(address) || is_seed(address));
    }
}

/// An address without its port.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// What speaks with the servers of a target.
fn backend(target: &Target) -> Result<Arc<dyn Backend>> {
    match target.scheme {
        Scheme::Dht => Ok(Arc::new(Frames::Tcp(target.credentials.clone()))),
        #[cfg(feature = "redis")]
        _ => Ok(Arc::new(crate::redis::Redis::new(target))),
        #[cfg(not(feature = "redis"))]
        _ => Err(Error::Address(
            "this program was built without the protocol of Redis: dht-client's feature 'redis'"
                .to_owned(),
        )),
    }
}

/// A random number, from the seeds of the standard library's hash maps.
pub fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
