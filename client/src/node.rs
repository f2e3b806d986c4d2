//! One node, asked directly: a handle on the connection that all who talk to that node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dht_proto::{Reply, ReplyError, limits, rpc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::backend::{Backend, Life};
use crate::client::LONGEST;
use crate::command::{Args, Command};
use crate::connection::{ENDED, Frames, unreachable};
use crate::error::{Cause, Error, Result};
use crate::url::Credentials;
use crate::verdict::{Fate, Repeat, Verdict, judge};

/// Requests that may wait for the connection's task, besides those that the link holds.
const QUEUE: usize = 1024;
/// How long after its deadline the connection's own word on a request is waited for.
const GRACE: Duration = Duration::from_millis(200);
/// Bytes that a frame needs for a word besides the word.
const WORD_BYTES: usize = 5;

/// A handle on the connection to one node. Cheap to clone; the connection is made when a command
/// needs it, made anew when it broke, and closed when the last handle is gone.
#[derive(Clone)]
pub struct Node {
    peer: Arc<Peer>,
    requests: mpsc::Sender<Request>,
    deadline: Duration,
}

/// Who is at the other end of a connection.
struct Peer {
    address: Arc<str>,
    /// Where its milliseconds begin.
    start: Instant,
    /// When it has last answered what only a node in its place can.
    answered_ms: AtomicU64,
}

/// A command on its way to the connection's task.
pub struct Request {
    /// Its words.
    pub argv: Vec<Bytes>,
    /// Its place in a session.
    pub place: Option<rpc::Place>,
    /// When to give up.
    pub deadline: Instant,
    /// It goes to the server that its slot is moving to, which has to be told so.
    pub asking: bool,
    /// Settled exactly once.
    pub ticket: Ticket,
}

/// Who waits for a command.
pub struct Ticket {
    /// Where to say what became of it.
    pub fate: oneshot::Sender<Fate>,
    /// The command works through the whole keyspace, and its connection says nothing meanwhile.
    pub is_long: bool,
}

/// The outcome of a request, to be waited for.
pub struct Answer {
    fate: oneshot::Receiver<Fate>,
    peer: Arc<Peer>,
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
            start: Instant::now(),
            answered_ms: AtomicU64::new(0),
        };
        Self {
            peer: Arc::new(peer),
            requests: sender,
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
        self.requests.is_closed()
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
        let deadline = way.deadline;
        let (sender, fate) = oneshot::channel();
        let ticket = Ticket {
            is_long: command.is_long(),
            fate: sender,
        };
        let request = Request {
            argv: command.words.into_iter().map(Bytes::from).collect(),
            place: way.place,
            asking: way.asking,
            deadline,
            ticket,
        };
        if is_too_long(&request.argv) {
            request.settle(Fate::Answered(too_long().into()));
        } else {
            match timeout_at(deadline, self.requests.reserve()).await {
                Ok(Ok(room)) => room.send(request),
                Ok(Err(_)) => request.settle(unreachable(&self.peer.address, ENDED)),
                Err(_) => request.settle(Fate::NotSent(Cause::Busy)),
            }
        }
        Answer {
            fate,
            peer: Arc::clone(&self.peer),
            deadline,
        }
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
    /// Tells the caller.
    pub fn settle(self, fate: Fate) {
        self.ticket.settle(fate);
    }
}

impl Ticket {
    /// Tells the caller, who may have gone.
    pub fn settle(self, fate: Fate) {
        let _ = self.fate.send(fate);
    }
}

impl Answer {
    /// Waits for it. The connection's task settles every request; that it cannot, or not in time,
    /// is told as the worst.
    pub(crate) async fn fate(mut self) -> Fate {
        let last = self.deadline + GRACE;
        let fate = self.fate_by(last).await;
        fate.unwrap_or(Fate::Lost(Cause::Deadline))
    }

    /// Likewise, if it is known by then. Nothing is lost when this is dropped.
    pub(crate) async fn fate_by(&mut self, until: Instant) -> Option<Fate> {
        let last = self.deadline + GRACE;
        match timeout_at(until.min(last), &mut self.fate).await {
            Ok(Ok(fate)) => Some(fate),
            Ok(Err(_)) => Some(Fate::Lost(Cause::Broken {
                address: self.peer.address.to_string(),
                why: "its task has ended".to_owned(),
            })),
            Err(_) if until < last => None,
            Err(_) => Some(Fate::Lost(Cause::Deadline)),
        }
    }

    /// The address at which it was asked for.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.peer.address
    }

    /// It was answered as only a node in its place can.
    pub(crate) fn note_progress(&self) {
        let since = self.peer.start.elapsed().as_millis();
        let since_ms = u64::try_from(since).unwrap_or(u64::MAX);
        self.peer.answered_ms.store(since_ms, Ordering::Relaxed);
    }

    /// When any request to the node was last answered so.
    pub(crate) fn last_progress(&self) -> Instant {
        let since_ms = self.peer.answered_ms.load(Ordering::Relaxed);
        self.peer.start + Duration::from_millis(since_ms)
    }
}
