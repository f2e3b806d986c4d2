//! The client of a whole cluster: finds the node for each command, and tries again where that does
//! no harm.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use dht_proto::{Reply, ReplyError, limits};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::command::{Args, Command, Place};
use crate::error::{Cause, Error, Result};
use crate::node::Node;
use crate::pipeline::Pipeline;
use crate::routes::Routes;
use crate::sessions::{Gate, Seat, Sessions, Way};
use crate::url::Target;
use crate::verdict::{Backoff, Fate, Repeat, Turn, Verdict, judge};

/// Pauses between tries of a command, in milliseconds.
const PAUSE_FIRST_MS: u64 = 10;
const PAUSE_MOST_MS: u64 = 500;
/// Least time between two questions for the routes; up to as much again is added at random.
const REFRESH: Duration = Duration::from_millis(250);

/// A client of one cluster. Cheap to clone; all clones share one connection a node.
///
/// A command whose keys lie in one slot goes to the slot's leader, any other to a seed, which does
/// it or has it done. Until the deadline that is sent again which was not executed for certain, or
/// whose answer was lost: a read, or a write to one slot, which its shard recognizes and executes
/// once. Another write whose answer was lost is [`Error::Unknown`].
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
    sessions: Sessions,
}

/// A command between its first try and its result.
struct Call {
    command: Command,
    place: Place,
    /// Where the next try goes, whatever the routes say, because a node said so.
    redirected: Option<String>,
    /// It only reads.
    is_repeatable: bool,
    /// Its number in a session, which it keeps over all tries.
    seat: Option<Seat>,
    /// An earlier try may have done it.
    in_doubt: bool,
    /// Where it was tried last.
    address: Arc<str>,
    /// Its result, or what it would be if the next try were the last.
    result: Result<Reply>,
}

impl Client {
    /// Connects to a cluster: `dht://:password@host:port,host:port`, or only addresses. One seed
    /// has to answer.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::NotDone`] when no seed answers, [`Error::Reply`] when the
    /// password is wrong.
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
            sessions: Sessions::default(),
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
        self.run_until(command, Instant::now() + self.deadline)
            .await
    }

    async fn run_until(&self, command: Command, deadline: Instant) -> Result<Reply> {
        let mut calls = [Call::new(command)];
        self.settle(&mut calls, deadline).await;
        let [call] = calls;
        call.result
    }

    /// Executes commands without waiting between them; each has its own result, in their order.
    pub(crate) async fn run_all(&self, commands: Vec<Command>) -> Vec<Result<Reply>> {
        let mut calls: Vec<Call> = commands.into_iter().map(Call::new).collect();
        self.settle(&mut calls, Instant::now() + self.deadline)
            .await;
        calls.into_iter().map(|call| call.result).collect()
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

    /// Tries the calls, all at first, then those for which another try can do no harm, until none
    /// is left or the time is over.
    async fn settle(&self, calls: &mut [Call], deadline: Instant) {
        let mut backoff = Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
        let mut open = self.seat_all(calls, deadline).await;
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

    /// Gives each write to one slot its number in a session with the slot's shard; gives the calls
    /// that can be tried, which are all but those for which there was no time to open a session.
    async fn seat_all(&self, calls: &mut [Call], deadline: Instant) -> Vec<usize> {
        let mut missing = Vec::new();
        for (index, call) in calls.iter_mut().enumerate() {
            if let Some(slot) = call.wants_seat() {
                match self.shared.sessions.way(slot, Instant::now()) {
                    Way::In(seat) => call.seat = Some(seat),
                    Way::Without => (),
                    Way::Open(_) => missing.push((index, slot)),
                }
            }
        }
        let goes_out = |index: &usize| calls[*index].place != Place::OwnConnection;
        let mut open: Vec<usize> = (0..calls.len()).filter(goes_out).collect();
        let mut seating = JoinSet::new();
        for (index, slot) in missing {
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
        open
    }

    /// A number in a session with the shard of a slot, which is opened if need be; none where there
    /// are no sessions.
    async fn seat(&self, slot: u16, deadline: Instant) -> std::result::Result<Option<Seat>, Cause> {
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
        Box::pin(self.run_until(command, deadline))
    }

    /// Tries the open calls once, in their order; leaves open those to be tried again and gives
    /// their turns.
    async fn try_once(
        &self,
        calls: &mut [Call],
        open: &mut Vec<usize>,
        deadline: Instant,
    ) -> Vec<Turn> {
        let mut answers = Vec::with_capacity(open.len());
        for index in open.iter() {
            let call = &mut calls[*index];
            let node = match call.redirected.take() {
                Some(address) => self.shared.node(&address),
                None => self.shared.node_for(call.place),
            };
            call.address.clone_from(node.shared_address());
            let place = call.seat.as_ref().map(Seat::place);
            answers.push(node.send(call.command.clone(), place, deadline).await);
        }
        let mut turns = Vec::new();
        let mut again = Vec::new();
        for (index, answer) in open.drain(..).zip(answers) {
            let call = &mut calls[index];
            match call.judge(answer.fate().await) {
                Verdict::Final(result) => self.shared.finish(call, result),
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
        let (place, is_repeatable) = command.plan();
        let nowhere = "a transaction needs a connection of its own, and this client shares its \
                       connections; ask a node directly";
        let result = match place {
            Place::OwnConnection => Err(Error::Reply(ReplyError::err(nowhere))),
            Place::Slot(_) | Place::Anywhere => Err(Error::NotDone(Cause::Deadline)),
        };
        Self {
            command,
            place,
            redirected: None,
            is_repeatable,
            seat: None,
            in_doubt: false,
            address: Arc::default(),
            result,
        }
    }
}

impl Call {
    /// The slot in whose session it needs a number.
    fn wants_seat(&self) -> Option<u16> {
        match self.place {
            Place::Slot(slot) if !self.is_repeatable => Some(slot),
            _ => None,
        }
    }

    fn judge(&mut self, fate: Fate) -> Verdict {
        let repeat = match &self.seat {
            _ if self.is_repeatable => Repeat::Freely,
            Some(_) => Repeat::InPlace,
            None => Repeat::Never,
        };
        let is_lost = matches!(fate, Fate::Lost(_));
        let verdict = judge(fate, repeat);
        if self.in_doubt {
            return verdict.in_doubt();
        }
        self.in_doubt = is_lost && repeat == Repeat::InPlace;
        verdict
    }
}

impl Shared {
    /// Takes the result of a call. A node that knows nothing of its place may have forgotten the
    /// session.
    fn finish(&self, call: &mut Call, result: Result<Reply>) {
        if let (Some(seat), Err(Error::Unknown(Cause::Cluster(_)))) = (&call.seat, &result) {
            self.sessions.forget(seat);
        }
        call.seat = None;
        call.result = result;
    }

    fn node_for(&self, place: Place) -> Node {
        let routes = self.routes.load();
        match place {
            Place::Slot(slot) => routes.leader_of(slot),
            Place::Anywhere | Place::OwnConnection => None,
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
            Turn::Moved { slot, to } => {
                self.learn(*slot, to);
                call.redirected = Some(to.clone());
            }
            Turn::Elsewhere => {
                self.avoid_seed(&call.address);
                call.place = Place::Anywhere;
            }
            // Another seed may be better off.
            Turn::Later => self.avoid_seed(&call.address),
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

    /// Takes the routes from the first seed that answers; what it answers may be that there are
    /// none.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::slots_reply;
    use crate::testing::{Act, FakeNode, refuse};

    /// What a seed answers that says this node leads all slots.
    fn leads_all(address: &str) -> Reply {
        let (host, port) = address.rsplit_once(':').unwrap();
        slots_reply(&[(0, 16383, host, port.parse().unwrap())])
    }

    /// A seed that knows this leader, and answers other commands as the function says.
    async fn seed(leader: &str, act: impl Fn(&str) -> Act + Clone + Send + 'static) -> FakeNode {
        let slots = leads_all(leader);
        FakeNode::start(move |command| match command {
            "CLUSTER SLOTS" => Act::Answer(slots.clone()),
            other => act(other),
        })
        .await
    }

    fn answer(text: &'static str) -> impl Fn(&str) -> Act + Clone + Send + 'static {
        move |_| Act::Answer(Reply::bulk(text))
    }

    fn short(client: Client) -> Client {
        client.with_deadline(Duration::from_millis(300))
    }

    #[tokio::test]
    async fn single_slots_go_to_their_leader_and_the_rest_to_a_seed() {
        let leader = FakeNode::start(answer("leader")).await;
        let seed = seed(&leader.address, answer("seed")).await;
        let client = Client::connect(&seed.address).await.unwrap();
        for (line, expect) in [
            ("GET a", "leader"),
            ("HSET a f 1", "leader"),
            ("MGET {a}1 {a}2", "leader"),
            ("MGET a b", "seed"),
            ("DBSIZE", "seed"),
            ("CLIENT ID", "seed"),
        ] {
            let reply = client.call(line.split(' ')).await;
            assert_eq!(reply, Ok(Reply::bulk(expect)), "{line}");
        }
    }

    #[tokio::test]
    async fn a_redirection_is_followed_and_learned() {
        let new = FakeNode::start(answer("new")).await;
        let text = format!("MOVED 12182 {}", new.address);
        let old = FakeNode::start(move |_| refuse(&text)).await;
        let seed = seed(&old.address, answer("seed")).await;
        let client = Client::connect(&seed.address).await.unwrap();
        // The routes, asked for again, still tell of the old leader; only the first call can meet
        // it.
        *client.shared.next_refresh.lock().unwrap() += Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(
                client.call(["SET", "foo", "1"]).await,
                Ok(Reply::bulk("new"))
            );
        }
        assert_eq!(old.seen(), ["SET foo 1"]);
        assert_eq!(new.seen().len(), 3);
    }

    #[tokio::test]
    async fn a_write_whose_answer_is_lost_is_unknown_and_not_sent_again() {
        let leader = FakeNode::start(|_| Act::Hang).await;
        let seed = seed(&leader.address, answer("seed")).await;
        let client = Client::connect(&seed.address).await.unwrap();
        let error = client.call(["INCR", "n"]).await.unwrap_err();
        assert!(
            matches!(error, Error::Unknown(Cause::Broken { .. })),
            "{error}"
        );
        assert_eq!(leader.seen(), ["INCR n"]);
        assert_eq!(seed.seen(), ["CLUSTER SLOTS"]);
        let read = client.call(["GET", "n"]).await;
        assert_eq!(
            read,
            Ok(Reply::bulk("seed")),
            "a read is repeated elsewhere"
        );
    }

    #[tokio::test]
    async fn a_write_that_a_node_leaves_undone_as_it_ends_is_sent_again() {
        let leader = FakeNode::start(|_| Act::Leave).await;
        let seed = seed(&leader.address, answer("seed")).await;
        let client = Client::connect(&seed.address).await.unwrap();
        assert_eq!(client.call(["INCR", "n"]).await, Ok(Reply::bulk("seed")));
        assert_eq!(leader.seen(), ["INCR n"]);
    }

    #[tokio::test]
    async fn no_answer_within_the_deadline() {
        let silent = FakeNode::start(|_| Act::Ignore).await;
        let seed = seed(&silent.address, answer("seed")).await;
        let client = short(Client::connect(&seed.address).await.unwrap());
        let start = Instant::now();
        let result = client.call(["INCR", "n"]).await;
        assert_eq!(result, Err(Error::Unknown(Cause::Deadline)));
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn a_leader_that_is_gone_is_passed_by() {
        let gone = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let seed = seed(&gone, answer("seed")).await;
        let client = Client::connect(&format!("{gone},{}", seed.address))
            .await
            .unwrap();
        assert_eq!(client.call(["INCR", "n"]).await, Ok(Reply::bulk("seed")));
        assert_eq!(client.call(["PING"]).await, Ok(Reply::bulk("seed")));
        let nowhere = short(Client::open(gone.parse().unwrap()));
        let error = nowhere.call(["INCR", "n"]).await.unwrap_err();
        assert!(error.is_unreachable(), "{error}");
        assert!(Client::connect(&gone).await.is_err());
    }

    #[tokio::test]
    async fn not_done_is_tried_again_until_the_deadline() {
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        let moment = FakeNode::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => refuse("TRYAGAIN in a moment"),
            _ => Act::Answer(Reply::Int(1)),
        })
        .await;
        let seed = seed(&moment.address, answer("seed")).await;
        let client = Client::connect(&seed.address).await.unwrap();
        assert_eq!(client.incr("n").await, Ok(1));
        assert_eq!(tries.load(Ordering::Relaxed), 3);

        let down = FakeNode::start(|_| refuse("CLUSTERDOWN no leader")).await;
        let client = short(Client::open(down.address.parse().unwrap()));
        let error = client.incr("n").await.unwrap_err();
        assert!(
            matches!(error, Error::NotDone(Cause::Cluster(_))),
            "{error}"
        );
        assert!(
            down.seen()
                .iter()
                .filter(|command| *command == "INCR n")
                .count()
                > 2
        );
    }

    #[tokio::test]
    async fn a_pipeline_keeps_order_and_retries_only_what_was_not_done() {
        let echo = |command: &str| Act::Answer(Reply::bulk(command));
        let right = FakeNode::start(echo).await;
        let (host, port) = right.address.rsplit_once(':').unwrap();
        let text = format!("MOVED 15495 {host}:{port}");
        let left = FakeNode::start(move |command| match command {
            "GET a" => refuse(&text),
            "GET c" => refuse("WRONGTYPE no string"),
            other => echo(other),
        })
        .await;
        let seed = seed(&left.address, echo).await;
        let client = Client::connect(&seed.address).await.unwrap();
        let results = client
            .pipeline()
            .set("b", 1)
            .get("a")
            .get("c")
            .mget(["a", "b"])
            .set("b", 2)
            .send()
            .await;
        let wrong = Error::Reply(dht_proto::ReplyError::Received(
            "WRONGTYPE no string".to_owned(),
        ));
        let expect = [
            Ok(Reply::bulk("SET b 1")),
            Ok(Reply::bulk("GET a")),
            Err(wrong),
            Ok(Reply::bulk("MGET a b")),
            Ok(Reply::bulk("SET b 2")),
        ];
        assert_eq!(results, expect);
        assert_eq!(left.seen(), ["SET b 1", "GET a", "GET c", "SET b 2"]);
        assert_eq!(right.seen(), ["GET a"]);
        assert_eq!(client.pipeline().send().await, []);
    }

    #[tokio::test]
    async fn the_password_comes_first_and_a_wrong_one_is_told() {
        let node = FakeNode::start(|command| match command {
            "AUTH secret" | "AUTH me secret" => Act::Answer(Reply::Ok),
            "CLUSTER SLOTS" => Act::Answer(Reply::Array(Vec::new())),
            "PING" => Act::Answer(Reply::Status("PONG".into())),
            _ => refuse("WRONGPASS invalid"),
        })
        .await;
        let target = |login: &str| format!("dht://{login}@{}", node.address);
        let client = Client::connect(&target(":secret")).await.unwrap();
        assert_eq!(client.ping().await, Ok("PONG".to_owned()));
        assert_eq!(node.seen(), ["AUTH secret", "CLUSTER SLOTS", "PING"]);
        assert!(Client::connect(&target("me:secret")).await.is_ok());
        let Err(Error::Reply(error)) = Client::connect(&target(":wrong")).await.map(drop) else {
            panic!("a wrong password was accepted");
        };
        assert_eq!(error.prefix(), "WRONGPASS");
    }

    #[tokio::test]
    async fn a_node_is_asked_once_and_reconnected() {
        let node = FakeNode::start(|command| match command {
            "QUIT" => Act::Hang,
            _ => refuse("MOVED 1 other:1"),
        })
        .await;
        let handle = Node::new(&node.address, None);
        let moved = handle.call(["SET", "k", "v"]).await.unwrap_err();
        assert_eq!(
            moved.reply().map(ToString::to_string).as_deref(),
            Some("MOVED 1 other:1")
        );
        assert!(matches!(
            handle.call(["QUIT"]).await,
            Err(Error::NotDone(_) | Error::Unknown(_))
        ));
        assert!(handle.call(["PING"]).await.unwrap_err().reply().is_some());
        assert_eq!(node.seen(), ["SET k v", "QUIT", "PING"]);
    }

    #[tokio::test]
    async fn many_calls_share_a_connection() {
        let node = FakeNode::start(|command| Act::Answer(Reply::bulk(command))).await;
        let client = Client::open(node.address.parse().unwrap());
        let calls: Vec<_> = (0..20_000)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move { client.call(["ECHO", &n.to_string()]).await })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Ok(Reply::bulk(format!("ECHO {n}"))));
        }
    }
}
