//! The client of a whole cluster: finds the node for each command, and tries again where that does no harm.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use dht_proto::{Reply, limits};
use tokio::time::Instant;

use crate::command::{Args, Command, Place};
use crate::error::{Cause, Error, Result};
use crate::node::Node;
use crate::pipeline::Pipeline;
use crate::routes::Routes;
use crate::url::Target;
use crate::verdict::{Backoff, Turn, Verdict, judge};

/// Pauses between tries of a command, in milliseconds.
const PAUSE_FIRST_MS: u64 = 10;
const PAUSE_MOST_MS: u64 = 500;
/// Least time between two questions for the routes; up to as much again is added at random.
const REFRESH: Duration = Duration::from_millis(250);

/// A client of one cluster. Cheap to clone; all clones share one connection a node.
///
/// A command whose keys lie in one slot goes to the slot's leader, any other to a seed, which does it or has it
/// done. What was not executed for certain is sent again until the deadline, and so is a read whose answer was
/// lost. A write whose answer was lost is [`Error::Unknown`].
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
}

struct Shared {
    target: Target,
    nodes: Mutex<HashMap<Arc<str>, Node>>,
    routes: ArcSwap<Routes>,
    /// The seed that answered last, by index.
    seed: AtomicUsize,
    next_refresh: Mutex<Instant>,
}

/// A command between its first try and its result.
struct Call {
    command: Command,
    place: Place,
    repeatable: bool,
    /// Where it was tried last.
    address: Arc<str>,
    /// Its result, or what it would be if the next try were the last.
    result: Result<Reply>,
}

impl Client {
    /// Connects to a cluster: `dht://:password@host:port,host:port`, or only addresses. One seed has to answer.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::NotDone`] when no seed answers, [`Error::Reply`] when the password is wrong.
    pub async fn connect(target: &str) -> Result<Self> {
        let client = Self::open(target.parse()?);
        client.shared.refresh().await?;
        Ok(client)
    }

    /// A client that connects when it is used.
    #[must_use]
    pub fn open(target: Target) -> Self {
        let shared = Shared {
            target,
            nodes: Mutex::default(),
            routes: ArcSwap::default(),
            seed: AtomicUsize::new(0),
            next_refresh: Mutex::new(Instant::now()),
        };
        Self {
            shared: Arc::new(shared),
            deadline: limits::DEADLINE,
        }
    }

    /// The same client with another deadline for each call; [`limits::DEADLINE`] at first.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
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
        let mut calls = [Call::new(command)];
        self.settle(&mut calls).await;
        let [call] = calls;
        call.result
    }

    /// Executes commands without waiting between them; each has its own result, in their order.
    pub(crate) async fn run_all(&self, commands: Vec<Command>) -> Vec<Result<Reply>> {
        let mut calls: Vec<Call> = commands.into_iter().map(Call::new).collect();
        self.settle(&mut calls).await;
        calls.into_iter().map(|call| call.result).collect()
    }

    /// Begins a pipeline: commands that are sent together.
    pub const fn pipeline(&self) -> Pipeline<'_> {
        Pipeline::new(self)
    }

    /// Exactly the node at an address, to which commands go without routing and without second tries.
    #[must_use]
    pub fn node(&self, address: &str) -> Node {
        self.shared.node(address).with_deadline(self.deadline)
    }

    /// Tries the calls, all at first, then those for which another try can do no harm, until none is left or the
    /// time is over.
    async fn settle(&self, calls: &mut [Call]) {
        let deadline = Instant::now() + self.deadline;
        let mut backoff = Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
        let mut open: Vec<usize> = (0..calls.len()).collect();
        let mut first = true;
        loop {
            let turns = self.try_once(calls, &mut open, deadline).await;
            if open.is_empty() {
                return;
            }
            self.shared.refresh_soon();
            // One detour or redirection is followed at once; after that the cluster is given time.
            let pause = if first && !turns.contains(&Turn::Later) {
                Duration::ZERO
            } else {
                backoff.pause(random())
            };
            if Instant::now() + pause >= deadline {
                return;
            }
            tokio::time::sleep(pause).await;
            first = false;
        }
    }

    /// Tries the open calls once, in their order; leaves open those to be tried again and gives their turns.
    async fn try_once(
        &self,
        calls: &mut [Call],
        open: &mut Vec<usize>,
        deadline: Instant,
    ) -> Vec<Turn> {
        let mut answers = Vec::with_capacity(open.len());
        for index in open.iter() {
            let call = &mut calls[*index];
            let node = self.shared.node_for(call.place);
            call.address.clone_from(node.shared_address());
            answers.push(node.send(call.command.clone(), deadline).await);
        }
        let mut turns = Vec::new();
        let mut again = Vec::new();
        for (index, answer) in open.drain(..).zip(answers) {
            let call = &mut calls[index];
            match judge(answer.fate().await, call.repeatable) {
                Verdict::Final(result) => call.result = result,
                Verdict::Again(error, turn) => {
                    call.result = Err(error);
                    self.shared.redirect(call, &turn);
                    again.push(index);
                    turns.push(turn);
                }
            }
        }
        *open = again;
        turns
    }
}

impl Call {
    fn new(command: Command) -> Self {
        let (place, repeatable) = command.plan();
        Self {
            command,
            place,
            repeatable,
            address: Arc::default(),
            result: Err(Error::NotDone(Cause::Deadline)),
        }
    }
}

impl Shared {
    fn node_for(&self, place: Place) -> Node {
        let routes = self.routes.load();
        match place {
            Place::Slot(slot) => routes.leader_of(slot),
            Place::Anywhere => None,
        }
        .map_or_else(|| self.node(self.seed()), |leader| self.node(leader))
    }

    fn seed(&self) -> &str {
        let seeds = &self.target.seeds;
        let index = self.seed.load(Ordering::Relaxed);
        seeds.get(index).map_or("", String::as_str)
    }

    fn node(&self, address: &str) -> Node {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return node.clone();
        }
        let node = Node::new(address, self.target.credentials.clone());
        nodes.insert(node.shared_address().clone(), node.clone());
        node
    }

    /// Prepares the next try of a call.
    fn redirect(&self, call: &mut Call, turn: &Turn) {
        match turn {
            Turn::Moved { slot, to } => self.learn(*slot, to),
            Turn::Elsewhere => {
                self.avoid_seed(&call.address);
                call.place = Place::Anywhere;
            }
            Turn::Later => {}
        }
    }

    fn learn(&self, slot: u16, to: &str) {
        let known = |routes: &Routes| routes.leader_of(slot).is_some_and(|leader| **leader == *to);
        if !known(&self.routes.load()) {
            self.routes.rcu(|routes| routes.with_leader(slot, to));
        }
    }

    /// Goes on to the next seed, if this is the one in use.
    fn avoid_seed(&self, address: &str) {
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

    /// Asks for the routes in the background, unless that was done a moment ago.
    fn refresh_soon(self: &Arc<Self>) {
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
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = shared.refresh().await {
                tracing::debug!(%error, "no seed told the routes");
            }
        });
    }

    /// Takes the routes from the first seed that answers; what it answers may be that there are none.
    async fn refresh(&self) -> Result<()> {
        let mut failure = Error::Address("there is no address to connect to".to_owned());
        for _ in &self.target.seeds {
            let seed = self.seed().to_owned();
            match self.node(&seed).call(["CLUSTER", "SLOTS"]).await {
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
    }
}

/// A random number, from the seeds of the standard library's hash maps.
pub fn random() -> u64 {
    RandomState::new().hash_one(())
}
