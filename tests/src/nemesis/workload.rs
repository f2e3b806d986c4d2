//! Clients of several kinds that work on few keys, each doing one thing after the other, and take
//! down what they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use bytes::Bytes;
use dht_client::{Client, Command, Error, Pipeline};
use dht_proto::Reply;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::recorder::Recorder;
use crate::check::history::{Call, History, Op};
use crate::check::programs::{Mix, Program, Step};
use crate::native_client::NativeClient;
use crate::random::Random;
use crate::resp_client::RespClient;
use crate::wait;

/// Time to connect in.
const CONNECT: Duration = Duration::from_secs(1);
/// How long clients wait for an answer; some have more patience than the nodes, some less.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(7)];
/// Keys of each kind at a time.
const KEYS: usize = 6;
/// Times to live, in milliseconds.
const TTL_MS: (u64, u64) = (200, 2000);
/// After so long all clients go on to other keys: what happened on one key stays short enough to
/// be judged.
const CHAPTER: Duration = Duration::from_secs(3);

/// Where clients connect, and with what password.
#[derive(Clone, Debug)]
pub struct Target {
    /// Ports of nodes for any client.
    pub nodes: Vec<SocketAddr>,
    /// What the nodes want to hear.
    pub password: String,
}

/// Clients at work.
pub struct Workload {
    stop: Arc<AtomicBool>,
    /// What they do.
    pub recorder: Arc<Recorder>,
    thread: JoinHandle<()>,
}

impl Workload {
    /// Sets so many clients to work, on a thread of their own. Between two operations each pauses
    /// up to `pause_ms`.
    #[must_use]
    pub fn start(target: &Target, clients: usize, pause_ms: u64, random: &mut Random) -> Self {
        let (stop, recorder) = (Arc::<AtomicBool>::default(), Arc::<Recorder>::default());
        let workers: Vec<Worker> = (0..clients)
            .map(|number| Worker {
                number,
                clients,
                pause_ms,
                target: target.clone(),
                recorder: Arc::clone(&recorder),
                stop: Arc::clone(&stop),
                random: random.fork(),
                start: Instant::now(),
                chapter: 0,
                program: Program::new(number as u64, mix(0)),
            })
            .collect();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work(workers));
        });
        Self {
            stop,
            recorder,
            thread,
        }
    }

    /// Lets the clients bring to an end what they have begun; gives all they did.
    ///
    /// # Panics
    /// A client has panicked.
    #[must_use]
    pub fn stop(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no client panics");
        self.recorder.take()
    }
}

async fn work(workers: Vec<Worker>) {
    let tasks: Vec<_> = workers
        .into_iter()
        .map(|worker| tokio::spawn(worker.work()))
        .collect();
    for task in tasks {
        task.await.expect("no client panics");
    }
}

fn mix(chapter: u64) -> Mix {
    Mix {
        prefix: format!("{chapter}/"),
        ..Mix::everything(KEYS, TTL_MS.0, TTL_MS.1)
    }
}

/// One client, whatever connections it makes.
struct Worker {
    number: usize,
    clients: usize,
    pause_ms: u64,
    target: Target,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
    random: Random,
    start: Instant,
    chapter: u64,
    program: Program,
}

impl Worker {
    async fn work(mut self) {
        while self.goes_on() {
            match self.number % 4 {
                0 | 1 => self.use_resp().await,
                2 => self.use_native().await,
                _ => self.use_library().await,
            }
            self.pause().await;
        }
    }

    async fn use_resp(&mut self) {
        let node = *self.random.pick(&self.target.nodes);
        if let Ok(Ok(client)) = timeout(CONNECT, RespClient::connect(node)).await {
            self.use_connection(Connection::Resp(client)).await;
        }
    }

    async fn use_native(&mut self) {
        let node = *self.random.pick(&self.target.nodes);
        if let Ok(Ok(client)) = timeout(CONNECT, NativeClient::connect(node)).await {
            self.use_connection(Connection::Native(client)).await;
        }
    }

    /// Works until the connection breaks, or an answer does not come.
    async fn use_connection(&mut self, mut connection: Connection) {
        let client = self.recorder.client();
        let patience = PATIENCE[self.number / 4 % PATIENCE.len()];
        let login = ["AUTH".into(), self.target.password.clone().into()];
        if !matches!(timeout(CONNECT, connection.call(&login)).await, Ok(Ok(_))) {
            return;
        }
        while self.goes_on() {
            let step = self.next();
            if self
                .take(step, client, &mut connection, patience)
                .await
                .is_none()
            {
                return;
            }
            self.pause().await;
        }
    }

    /// Takes a step, and takes it down; gives nothing when the connection is of no use any more.
    async fn take(
        &self,
        step: Step,
        client: u64,
        connection: &mut Connection,
        patience: Duration,
    ) -> Option<()> {
        let op = step.op();
        let last = match step {
            Step::Single(argv) => argv,
            Step::Transaction { watch, commands } => {
                if !watch.is_empty() {
                    let argv = [vec![Bytes::from("WATCH")], watch.clone()].concat();
                    let call = self.recorder.call(client, Op::Watch(watch));
                    let reply = connection.answer(&argv, patience).await?;
                    self.recorder.reply(call, reply);
                }
                for argv in [vec![vec![Bytes::from("MULTI")]], commands].concat() {
                    connection.answer(&argv, patience).await?;
                }
                vec![Bytes::from("EXEC")]
            }
        };
        let call = self.recorder.call(client, op);
        let reply = connection.answer(&last, patience).await?;
        self.recorder.reply(call, reply);
        Some(())
    }

    /// Works with the client library, which sees to its connections by itself.
    async fn use_library(&mut self) {
        let nodes: Vec<String> = self.target.nodes.iter().map(ToString::to_string).collect();
        let url = format!("dht://:{}@{}", self.target.password, nodes.join(","));
        let Ok(library) = Client::connect(&url).await else {
            return;
        };
        let client = self.recorder.client();
        while self.goes_on() {
            let step = self.next();
            self.take_by_library(step, client, &library).await;
            self.pause().await;
        }
    }

    /// Takes a step, and takes it down.
    async fn take_by_library(&self, step: Step, client: u64, library: &Client) {
        let op = step.op();
        match step {
            Step::Single(argv) => {
                let call = self.recorder.call(client, op);
                self.take_down(call, library.call(argv).await);
            }
            Step::Transaction { watch, commands } if watch.is_empty() => {
                let call = self.recorder.call(client, op);
                let answers = queued(library, &commands).exec().await;
                self.take_down(call, answers.map(Reply::Array));
            }
            Step::Transaction { watch, commands } => {
                let watching = self.recorder.call(client, Op::Watch(watch.clone()));
                let watched = library.watch(watch).await;
                let (told, watched) = match watched {
                    Ok(watched) => (Ok(Reply::Ok), Some(watched)),
                    Err(error) => (Err(error), None),
                };
                self.take_down(watching, told);
                if let Some(watched) = watched {
                    let call = self.recorder.call(client, op);
                    let answers = watched.exec(queued(library, &commands)).await;
                    self.take_down(call, answers.map(|it| it.map_or(Reply::Nil, Reply::Array)));
                }
            }
        }
    }

    fn take_down(&self, call: Call, result: dht_client::Result<Reply>) {
        match result {
            Ok(reply) => self.recorder.reply(call, reply),
            Err(Error::Reply(error)) => self.recorder.reply(call, Reply::Error(error)),
            Err(Error::NotDone(_) | Error::Shape(_) | Error::Address(_)) => {
                self.recorder.not_done(call);
            }
            Err(Error::Unknown(_) | Error::Mismatch { .. }) => {}
        }
    }

    fn next(&mut self) -> Step {
        let chapter = self.start.elapsed().as_secs() / CHAPTER.as_secs();
        if chapter != self.chapter {
            self.chapter = chapter;
            let number = self.number as u64 + chapter * self.clients as u64;
            self.program = Program::new(number, mix(chapter));
        }
        self.program.next(&mut self.random)
    }

    async fn pause(&mut self) {
        let pause_ms = self.random.between(0, self.pause_ms);
        wait::pause(Duration::from_millis(pause_ms)).await;
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn queued<'a>(library: &'a Client, commands: &[Vec<Bytes>]) -> Pipeline<'a> {
    let commands = commands.iter().cloned().map(Command::from_words);
    commands.fold(library.pipeline(), Pipeline::command)
}

/// A connection to one node.
enum Connection {
    Resp(RespClient),
    Native(NativeClient),
}

impl Connection {
    /// The answer, if it comes in time and the connection does not break.
    async fn answer(&mut self, argv: &[Bytes], patience: Duration) -> Option<Reply> {
        timeout(patience, self.call(argv)).await.ok()?.ok()
    }

    async fn call(&mut self, argv: &[Bytes]) -> io::Result<Reply> {
        match self {
            Self::Resp(client) => client.call(argv).await,
            Self::Native(client) => client.call(argv).await,
        }
    }
}
