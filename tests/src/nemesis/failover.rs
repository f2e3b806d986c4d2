//! How long clients wait for a shard whose leader goes: measured under load, shard by shard, by
//! clients of the nodes that stay.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dht_proto::Reply;
use dht_proto::slot::{key_slot, shard_of};
use tokio::runtime::Builder;

use crate::process::{Processes, SHARDS};
use crate::resp_client::RespClient;
use crate::wait;

/// Between an answer and the next question of a prober, and before an error is tried again.
const PAUSE: Duration = Duration::from_millis(10);
/// From one look at how busy the machine is to the next.
const NAP: Duration = Duration::from_millis(5);
/// For how long it is looked on after a node has gone: longer than anybody should have to wait.
const WATCHED: Duration = Duration::from_secs(4);

/// How a node goes, and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `kill -9`.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP: it neither answers nor closes its connections.
    Freeze,
}

/// What happens to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// They go.
    Go,
    /// They come back.
    Return,
}

impl Exit {
    /// Lets it happen to a node.
    ///
    /// # Panics
    /// The node does not come back, or does not end well when it is told to.
    pub fn strike(self, processes: &mut Processes, moment: Moment, node: usize) {
        match (moment, self) {
            (Moment::Go, Self::Kill) => processes.kill(node),
            (Moment::Go, Self::Terminate) => {
                let code = processes.end_by(node, "-TERM");
                assert_eq!(code, Some(0), "node {node} ends as it is told");
            }
            (Moment::Go, Self::Freeze) => processes.pause(node),
            (Moment::Return, Self::Freeze) => processes.resume(node),
            (Moment::Return, _) => processes.restart(node),
        }
    }
}

/// Who goes, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The nodes of the cluster.
    pub nodes: usize,
    /// How many of them go at once.
    pub at_once: usize,
    /// How often some go.
    pub rounds: usize,
}

/// What clients of the other nodes have seen of it, over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// For each shard that the nodes led and each round, the longest time without a read done.
    pub reads: Vec<Duration>,
    /// The same for writes.
    pub writes: Vec<Duration>,
    /// The same, for reads and writes of the shards that they did not lead.
    pub others: Vec<Duration>,
    /// Errors by their prefix, or by what became of the connection.
    pub errors: BTreeMap<String, usize>,
    /// Increments that were acknowledged, by shard.
    pub counted: Vec<i64>,
    /// What the counters hold at the end.
    pub held: Vec<i64>,
    /// The longest time for which the machine did not let somebody go on who had only slept.
    pub held_up: Duration,
}

impl Waits {
    /// The wait that so many in a hundred do not exceed; of reads and writes of the shards led.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let led = self.reads.iter().chain(&self.writes).copied();
        percentile(led.collect(), percent)
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("reads", &self.reads),
            ("writes", &self.writes),
            ("other shards", &self.others),
        ];
        for (name, waits) in rows {
            let at = |percent| percentile(waits.clone(), percent);
            let (count, half, most, all) = (waits.len(), at(50), at(99), at(100));
            writeln!(
                f,
                "{name:<12} {count:>5}  p50 {half:>8.1?}  p99 {most:>8.1?}  max {all:>8.1?}"
            )?;
        }
        let (counted, held): (i64, i64) = (self.counted.iter().sum(), self.held.iter().sum());
        write!(
            f,
            "errors: {:?}; {counted} increments, {held} held; held up by the machine for {:.1?}",
            self.errors, self.held_up
        )
    }
}

fn percentile(mut waits: Vec<Duration>, percent: usize) -> Duration {
    waits.sort();
    let at = (waits.len() * percent).div_ceil(100).saturating_sub(1);
    waits.get(at).copied().unwrap_or_default()
}

/// Has some nodes after the others go, and come back, under the load of two clients a shard.
///
/// # Panics
/// The nodes do not come back.
#[must_use]
pub fn measure(
    processes: &mut Processes,
    trial: Trial,
    mut strike: impl FnMut(&mut Processes, Moment, usize),
) -> Waits {
    let before = read_all(processes);
    let mut waits = Waits {
        counted: vec![0; SHARDS],
        ..Waits::default()
    };
    for round in 0..trial.rounds {
        let first = round * trial.at_once;
        let gone = (first..first + trial.at_once).map(|node| node % trial.nodes);
        let gone: Vec<usize> = gone.collect();
        (0..trial.nodes).for_each(|node| processes.await_safe(node));
        let led = led_by(processes, &gone);
        let stay: Vec<_> = (0..trial.nodes)
            .filter(|node| !gone.contains(node))
            .collect();
        let stay = stay.iter().map(|node| processes.client(*node)).collect();
        let probers = Probers::start(stay, processes.password());
        probers.watch();
        for node in &gone {
            strike(processes, Moment::Go, *node);
        }
        waits.held_up = look_on(WATCHED).max(waits.held_up);
        for (shard, seen) in probers.stop(&mut waits.errors).into_iter().enumerate() {
            waits.counted[shard] += seen.counted;
            if led[shard] {
                waits.reads.push(seen.read);
                waits.writes.push(seen.write);
            } else {
                waits.others.extend([seen.read, seen.write]);
            }
        }
        for node in &gone {
            strike(processes, Moment::Return, *node);
        }
    }
    (0..trial.nodes).for_each(|node| processes.await_safe(node));
    let after = read_all(processes).into_iter();
    waits.held = after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    waits
}

/// Goes on for a time; says for how long the machine has held it up at most.
fn look_on(time: Duration) -> Duration {
    let start = Instant::now();
    let mut held_up = Duration::ZERO;
    while start.elapsed() < time {
        let slept = Instant::now();
        wait::go_on_for(NAP);
        held_up = slept.elapsed().saturating_sub(NAP).max(held_up);
    }
    held_up
}

/// What the counters hold, by shard.
fn read_all(processes: &Processes) -> Vec<i64> {
    let read = |key: String| {
        let answer = processes.ask(0, &format!("GET {key}")).expect("an answer");
        let value = answer.lines().nth(1).unwrap_or("0");
        value.parse().expect("a number")
    };
    keys().into_iter().map(read).collect()
}

/// A key of each shard.
fn keys() -> Vec<String> {
    let key_of = |shard| {
        let mut keys = (0..).map(|number| format!("probe:{number}"));
        keys.find(|key| shard_of(key_slot(key.as_bytes()), SHARDS) == shard)
    };
    (0..SHARDS).filter_map(key_of).collect()
}

fn led_by(processes: &Processes, nodes: &[usize]) -> Vec<bool> {
    let leads = |key: String| {
        let exists = format!("EXISTS {key}");
        nodes.iter().any(|node| {
            let answer = processes.ask_redirecting(*node, &exists);
            answer.expect("an answer").starts_with(':')
        })
    };
    keys().into_iter().map(leads).collect()
}

/// What the clients of one shard have seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The longest waits.
    read: Duration,
    write: Duration,
    /// Increments that were acknowledged.
    counted: i64,
}

/// What the clients share.
#[derive(Default)]
struct Board {
    /// Waits count from now on.
    watched: AtomicBool,
    over: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    errors: Mutex<BTreeMap<String, usize>>,
}

/// Two clients a shard, on a thread of their own.
struct Probers {
    board: Arc<Board>,
    thread: JoinHandle<()>,
}

impl Probers {
    /// Gives back once each has been answered.
    fn start(nodes: Vec<SocketAddr>, password: Option<&str>) -> Self {
        let password = password.map(str::to_owned);
        let board = Arc::new(Board {
            seen: Mutex::new(vec![Seen::default(); SHARDS]),
            ..Board::default()
        });
        let (shared, (ready, all_ready)) = (Arc::clone(&board), std::sync::mpsc::channel());
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut clients = Vec::new();
                for (shard, key) in keys().into_iter().enumerate() {
                    for (name, writes) in [("GET", false), ("INCR", true)] {
                        let prober = Prober {
                            node: nodes[clients.len() % nodes.len()],
                            password: password.clone(),
                            words: [name.to_owned(), key.clone()],
                            shard,
                            writes,
                            board: Arc::clone(&shared),
                            ready: Some(ready.clone()),
                        };
                        clients.push(tokio::spawn(prober.probe()));
                    }
                }
                for client in clients {
                    client.await.expect("no client panics");
                }
            });
        });
        for _ in 0..2 * SHARDS {
            all_ready.recv().expect("every client is answered");
        }
        Self { board, thread }
    }

    fn watch(&self) {
        self.board.watched.store(true, Ordering::Relaxed);
    }

    /// What was seen, by shard; adds the errors.
    fn stop(self, errors: &mut BTreeMap<String, usize>) -> Vec<Seen> {
        self.board.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no client panics");
        let met = self.board.errors.lock();
        for (error, count) in met.unwrap_or_else(PoisonError::into_inner).iter() {
            *errors.entry(error.clone()).or_default() += count;
        }
        let seen = self.board.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client that does one thing again and again.
struct Prober {
    node: SocketAddr,
    password: Option<String>,
    words: [String; 2],
    shard: usize,
    writes: bool,
    board: Arc<Board>,
    ready: Option<std::sync::mpsc::Sender<()>>,
}

impl Prober {
    async fn probe(mut self) {
        let mut client = self.connected().await.expect("a node that stays");
        let mut asked = Instant::now();
        while !self.board.over.load(Ordering::Relaxed) {
            match client.call(&self.words).await {
                Ok(Reply::Error(error)) => self.count(error.prefix()),
                Ok(_) => {
                    self.note(asked.elapsed(), true);
                    wait::pause(PAUSE).await;
                    asked = Instant::now();
                    continue;
                }
                Err(error) => {
                    self.count(&error.kind().to_string());
                    client = self.connected().await.unwrap_or(client);
                }
            }
            wait::pause(PAUSE).await;
        }
        // A wait that has not ended counts too.
        self.note(asked.elapsed(), false);
    }

    async fn connected(&self) -> io::Result<RespClient> {
        let mut client = RespClient::connect(self.node).await?;
        if let Some(password) = &self.password {
            client.call(&["AUTH", password]).await?;
        }
        Ok(client)
    }

    fn note(&mut self, wait: Duration, is_done: bool) {
        if let Some(ready) = self.ready.take() {
            // Nobody listens any more only when the test is over.
            let _ = ready.send(());
        }
        let seen = self.board.seen.lock();
        let seen = &mut seen.unwrap_or_else(PoisonError::into_inner)[self.shard];
        seen.counted += i64::from(self.writes && is_done);
        if self.board.watched.load(Ordering::Relaxed) {
            let longest = if self.writes {
                &mut seen.write
            } else {
                &mut seen.read
            };
            *longest = wait.max(*longest);
        }
    }

    fn count(&self, error: &str) {
        let errors = self.board.errors.lock();
        let mut errors = errors.unwrap_or_else(PoisonError::into_inner);
        *errors.entry(error.to_owned()).or_default() += 1;
    }
}
