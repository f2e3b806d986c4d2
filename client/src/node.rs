//! One node, asked directly: a handle on the connection that all who talk to that node share.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use dht_proto::{Reply, ReplyError, limits, rpc};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, timeout_at};

use crate::backend::{Backend, Life};
use crate::client::LONGEST;
use crate::command::{Args, Command};
use crate::connection::{ENDED, Frames, unreachable};
use crate::error::{Cause, Error, Result};
use crate::parcel::{Parcel, Ticket};
use crate::url::Credentials;
use crate::verdict::{Fate, Repeat, Verdict, judge};
use crate::word::Word;

/// Requests that may wait for the connection's task, besides those that the link holds.
const QUEUE: usize = 1024;
/// Requests that are handed to it together.
const AT_ONCE: usize = 128;
/// How long after its deadline the connection's own word on a request is waited for.
pub const GRACE: Duration = Duration::from_millis(200);
/// Bytes that a frame needs for a word besides the word.
const WORD_BYTES: usize = 5;

/// A handle on the connection to one node. Cheap to clone; the connection is made when a command
/// needs it, made anew when it broke, and closed when the last handle is gone.
#[derive(Clone)]
pub struct Node {
    peer: Arc<Peer>,
    deadline: Duration,
}

/// Who is at the other end of a connection.
struct Peer {
    address: Arc<str>,
    requests: mpsc::Sender<Request>,
    /// Where its milliseconds begin.
    start: Instant,
    /// When it has last answered what only a node in its place can.
    answered_ms: AtomicU64,
}

/// A command on its way to the connection's task.
pub struct Request {
    /// Its place in a session.
    pub place: Option<rpc::Place>,
    /// When to give up.
    pub deadline: Instant,
    /// It goes to the server that its slot is moving to, which has to be told so.
    pub asking: bool,
    /// Settled exactly once.
    pub(crate) ticket: Ticket,
}

/// The outcome of a request, to be waited for.
pub struct Answer {
    parcel: Arc<Parcel>,
    index: usize,
    node: Node,
    deadline: Instant,
}

/// How a command goes to a node, besides its words.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Its place in a session.
    pub place: Option<rpc::Place>,
    /// See [`Request::asking`].
    pub asking: bool,
    /// When to give up.
    pub deadline: Instant,
}

impl Way {
    /// Until the deadline, and nothing more.
    pub const fn until(deadline: Instant) -> Self {
        Self {
            place: None,
            asking: false,
            deadline,
        }
    }
}

impl Node {
    /// A node of dht at `host:port`. Has to be called inside a tokio runtime, on which the
    /// connection's task runs.
    #[must_use]
    pub fn new(address: &str, credentials: Option<Credentials>) -> Self {
        Self::through(&Frames::Tcp(credentials), address, Life::Renewed)
    }

    pub(crate) fn through(backend: &dyn Backend, address: &str, life: Life) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let address: Arc<str> = address.into();
        tokio::spawn(backend.serve(Arc::clone(&address), receiver, life));
        let peer = Peer {
            address,
            requests: sender,
            start: Instant::now(),
            answered_ms: AtomicU64::new(0),
        };
        Self {
            peer: Arc::new(peer),
            deadline: limits::DEADLINE,
        }
    }

    /// The same node with another deadline for each call; as of
    /// [`Client::with_deadline`](crate::Client::with_deadline).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(LONGEST);
        self
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.peer.address
    }

    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether its connection has ended, and will not be made again.
    pub(crate) fn is_closed(&self) -> bool {
        self.peer.requests.is_closed()
    }

    pub(crate) fn shared_address(&self) -> &Arc<str> {
        &self.peer.address
    }

    /// Sends any command to this node, once.
    ///
    /// # Errors
    /// Any of [`Error`](crate::Error) but a mismatch; `MOVED` comes as not done.
    pub async fn call(&self, words: impl Args) -> Result<Reply> {
        self.run(Command::from_words(words)).await
    }

    /// Sends a command to this node, once.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn run(&self, command: Command) -> Result<Reply> {
        if self.deadline.is_zero() {
            return Err(Error::NotDone(Cause::Deadline));
        }
        let deadline = Instant::now() + self.deadline;
        let repeat = match command.reads() {
            true => Repeat::Reads,
            false => Repeat::Never,
        };
        let fate = self.send(command, Way::until(deadline)).await.fate().await;
        match judge(fate, repeat) {
            Verdict::Final(result) => result,
            Verdict::Again(error, _) => Err(error),
        }
    }

    /// Hands a command to the connection, as soon as there is room for it. Commands handed over one
    /// after the other are sent in that order.
    pub(crate) async fn send(&self, command: Command, way: Way) -> Answer {
        let is_long = command.is_long();
        let parcel = Parcel::of_one(command);
        if let Some(request) = Request::new(parcel.ticket(0, is_long), way) {
            self.hand_over(request).await;
        }
        self.answer_to(parcel, 0, way.deadline)
    }

    /// What is waited for when a command of a parcel has been handed over.
    pub(crate) fn answer_to(&self, parcel: Arc<Parcel>, index: usize, deadline: Instant) -> Answer {
        Answer {
            parcel,
            index,
            node: self.clone(),
            deadline,
        }
    }

    /// Hands a request to the connection, as soon as there is room for it.
    pub(crate) async fn hand_over(&self, request: Request) {
        match self.peer.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => self.hand_over_all(vec![request]).await,
            Err(TrySendError::Closed(request)) => request.settle(self.ended()),
        }
    }

    /// The same of several, in their order.
    pub(crate) async fn hand_over_all(&self, requests: Vec<Request>) {
        let mut requests = requests.into_iter();
        while let Some(next) = requests.as_slice().first() {
            let deadline = next.deadline;
            let count = requests.len().min(AT_ONCE);
            let room = match self.peer.requests.try_reserve_many(count) {
                Ok(room) => Ok(Ok(room)),
                Err(_) => timeout_at(deadline, self.peer.requests.reserve_many(count)).await,
            };
            let next = requests.by_ref().take(count);
            match room {
                Ok(Ok(room)) => next
                    .zip(room)
                    .for_each(|(request, room)| room.send(request)),
                Ok(Err(_)) => next.for_each(|request| request.settle(self.ended())),
                Err(_) => next.for_each(|request| request.settle(Fate::NotSent(Cause::Busy))),
            }
        }
    }

    fn ended(&self) -> Fate {
        unreachable(&self.peer.address, ENDED)
    }
}

/// Whether a command is longer than a server takes, which counts a few bytes a word besides.
pub fn is_too_long(words: &[impl AsRef<[u8]>]) -> bool {
    let lengths = words.iter().map(|word| word.as_ref().len() + WORD_BYTES);
    lengths.sum::<usize>() > limits::QUERY_BYTES
}

/// The server would close the connection on it, with all that waits there.
pub const fn too_long() -> ReplyError {
    ReplyError::TooLong {
        what: "request",
        limit: limits::QUERY_BYTES,
    }
}

impl Request {
    /// A command that is to go this way; nothing if it is too long, which its caller is told.
    pub(crate) fn new(ticket: Ticket, way: Way) -> Option<Self> {
        if is_too_long(ticket.words()) {
            ticket.settle(Fate::Answered(too_long().into()));
            return None;
        }
        Some(Self {
            place: way.place,
            deadline: way.deadline,
            asking: way.asking,
            ticket,
        })
    }

    /// The words of its command.
    #[must_use]
    pub fn words(&self) -> &[Word] {
        self.ticket.words()
    }

    /// Tells the caller.
    pub fn settle(self, fate: Fate) {
        self.ticket.settle(fate);
    }
}

impl Answer {
    /// Waits for it. The connection's task settles every request; that it cannot, or not in time,
    /// is told as the worst.
    pub(crate) async fn fate(mut self) -> Fate {
        let fate = self.fate_by(None).await;
        fate.unwrap_or(Fate::Lost(Cause::Deadline))
    }

    /// Likewise, if it is known by then. Nothing is lost when this is dropped.
    pub(crate) async fn fate_by(&mut self, until: Option<Instant>) -> Option<Fate> {
        let last = self.deadline + GRACE;
        let until = until.map_or(last, |until| until.min(last));
        match timeout_at(until, poll_fn(|context| self.poll(context))).await {
            Ok(fate) => Some(fate),
            Err(_) if until < last => None,
            Err(_) => Some(Fate::Lost(Cause::Deadline)),
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Fate> {
        let fate = self.parcel.poll_fate(self.index, context);
        fate.map(|fate| self.told(fate))
    }

    /// What it is, if it is known.
    pub(crate) fn fate_now(&self) -> Option<Fate> {
        match self.parcel.fate(self.index) {
            Poll::Ready(fate) => Some(self.told(fate)),
            Poll::Pending => None,
        }
    }

    fn told(&self, fate: Option<Fate>) -> Fate {
        let ended = || Cause::Broken {
            address: self.node.address().to_owned(),
            why: "its task has ended".to_owned(),
        };
        fate.unwrap_or_else(|| Fate::Lost(ended()))
    }

    /// The address at which it was asked for.
    pub(crate) fn address(&self) -> &Arc<str> {
        self.node.shared_address()
    }

    /// It was answered as only a node in its place can.
    pub(crate) fn note_progress(&self, now: Instant) {
        let peer = &self.node.peer;
        let since = now.saturating_duration_since(peer.start).as_millis();
        let since_ms = u64::try_from(since).unwrap_or(u64::MAX);
        // Others may note it as well: what is shared is written to as seldom as can be.
        if peer.answered_ms.load(Ordering::Relaxed) < since_ms {
            peer.answered_ms.store(since_ms, Ordering::Relaxed);
        }
    }

    /// When any request to the node was last answered so.
    pub(crate) fn last_progress(&self) -> Instant {
        let peer = &self.node.peer;
        let since_ms = peer.answered_ms.load(Ordering::Relaxed);
        peer.start + Duration::from_millis(since_ms)
    }
}
