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

use crate::process::Processes;
use crate::resp_client::RespClient;
use crate::wait;

/// Shards of a cluster that was told nothing else.
const SHARDS: usize = 64;
/// Between an answer and the next question of a prober, and before an error is tried again.
const PAUSE: Duration = Duration::from_millis(10);
/// For how long it is looked on after a node has gone: longer than anybody should have to wait.
const WATCHED: Duration = Duration::from_secs(4);

/// How a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `kill -9`.
    Kill,
    /// SIGTERM.
    Terminate,
}

/// What clients of the other nodes have seen of it, over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// For each shard that the node led and each round, the longest time without a read done.
    pub reads: Vec<Duration>,
    /// The same for writes.
    pub writes: Vec<Duration>,
    /// The same, for reads and writes of the shards that it did not lead.
    pub others: Vec<Duration>,
    /// Errors by their prefix, or by what became of the connection.
    pub errors: BTreeMap<String, usize>,
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
        write!(f, "errors: {:?}", self.errors)
    }
}

fn percentile(mut waits: Vec<Duration>, percent: usize) -> Duration {
    waits.sort();
    let at = (waits.len() * percent).div_ceil(100).saturating_sub(1);
    waits.get(at).copied().unwrap_or_default()
}

/// Has one node after the other go, and come back, under the load of two clients a shard.
///
/// # Panics
/// A node does not come back, or does not end well when it is told to.
#[must_use]
pub fn measure(processes: &mut Processes, nodes: usize, rounds: usize, exit: Exit) -> Waits {
    let mut waits = Waits::default();
    for node in (0..nodes).cycle().take(rounds) {
        processes.await_safe(node);
        let led = led_by(processes, node);
        let stay: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
        let stay = stay.iter().map(|node| processes.client(*node)).collect();
        let probers = Probers::start(stay);
        probers.watch();
        match exit {
            Exit::Kill => processes.kill(node),
            Exit::Terminate => {
                let code = processes.end_by(node, "-TERM");
                assert_eq!(code, Some(0), "node {node} ends as it is told");
            }
        }
        wait::go_on_for(WATCHED);
        for (shard, wait) in probers.stop(&mut waits.errors).into_iter().enumerate() {
            if led[shard] {
                waits.reads.push(wait.read);
                waits.writes.push(wait.write);
            } else {
                waits.others.extend([wait.read, wait.write]);
            }
        }
        processes.restart(node);
    }
    waits
}

/// A key of each shard.
fn keys() -> Vec<String> {
    let key_of = |shard| {
        let mut keys = (0..).map(|number| format!("probe:{number}"));
        keys.find(|key| shard_of(key_slot(key.as_bytes()), SHARDS) == shard)
    };
    (0..SHARDS).filter_map(key_of).collect()
}

fn led_by(processes: &Processes, node: usize) -> Vec<bool> {
    let leads = |key: String| {
        let answer = processes.ask_redirecting(node, &format!("EXISTS {key}"));
        answer.expect("an answer").starts_with(':')
    };
    keys().into_iter().map(leads).collect()
}

/// The longest waits for one shard.
#[derive(Clone, Copy, Debug, Default)]
struct Longest {
    read: Duration,
    write: Duration,
}

/// What the clients share.
#[derive(Default)]
struct Board {
    /// Waits count from now on.
    watched: AtomicBool,
    over: AtomicBool,
    longest: Mutex<Vec<Longest>>,
    errors: Mutex<BTreeMap<String, usize>>,
}

/// Two clients a shard, on a thread of their own.
struct Probers {
    board: Arc<Board>,
    thread: JoinHandle<()>,
}

impl Probers {
    /// Gives back once each has been answered.
    fn start(nodes: Vec<SocketAddr>) -> Self {
        let board = Arc::new(Board {
            longest: Mutex::new(vec![Longest::default(); SHARDS]),
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

    /// The longest waits, by shard; adds the errors.
    fn stop(self, errors: &mut BTreeMap<String, usize>) -> Vec<Longest> {
        self.board.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no client panics");
        let met = self.board.errors.lock();
        for (error, count) in met.unwrap_or_else(PoisonError::into_inner).iter() {
            *errors.entry(error.clone()).or_default() += count;
        }
        let longest = self.board.longest.lock();
        longest.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client that does one thing again and again.
struct Prober {
    node: SocketAddr,
    words: [String; 2],
    shard: usize,
    writes: bool,
    board: Arc<Board>,
    ready: Option<std::sync::mpsc::Sender<()>>,
}

impl Prober {
    async fn probe(mut self) {
        let mut client = RespClient::connect(self.node)
            .await
            .expect("a node that stays");
        let mut asked = Instant::now();
        while !self.board.over.load(Ordering::Relaxed) {
            match client.call(&self.words).await {
                Ok(Reply::Error(error)) => self.count(error.prefix()),
                Ok(_) => {
                    self.note(asked.elapsed());
                    wait::pause(PAUSE).await;
                    asked = Instant::now();
                    continue;
                }
                Err(error) => {
                    self.count(&error.kind().to_string());
                    client = reconnected(self.node).await.unwrap_or(client);
                }
            }
            wait::pause(PAUSE).await;
        }
        // A wait that has not ended counts too.
        self.note(asked.elapsed());
    }

    fn note(&mut self, wait: Duration) {
        if let Some(ready) = self.ready.take() {
            // Nobody listens any more only when the test is over.
            let _ = ready.send(());
        }
        if self.board.watched.load(Ordering::Relaxed) {
            let longest = self.board.longest.lock();
            let at = &mut longest.unwrap_or_else(PoisonError::into_inner)[self.shard];
            let longest = if self.writes {
                &mut at.write
            } else {
                &mut at.read
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

async fn reconnected(node: SocketAddr) -> io::Result<RespClient> {
    RespClient::connect(node).await
}
