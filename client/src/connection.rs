//! The task behind a node's handle: connects, writes requests, reads answers, and settles every
//! request.
//!
//! It knows one address and nothing of routes. What it cannot do it says at once; when to try again
//! is for others.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dht_proto::frame::{self, Role};
use dht_proto::link::{Link, Unanswered};
use dht_proto::rpc::{self, Message, Meta};
use dht_proto::{Reply, limits};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::client::random;
use crate::error::Cause;
use crate::node::Request;
use crate::url::Credentials;
use crate::verdict::{Backoff, Fate};

/// Time for connecting and for the answer to AUTH.
const CONNECT: Duration = Duration::from_secs(2);
/// Pauses after failed connections, in milliseconds; requests that come meanwhile fail at once.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 1000;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long after a deadline, in milliseconds, the node's own word on it is waited for.
const GRACE_MS: u64 = 100;
/// Requests are gathered into writes of about so many bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// Serves requests to one address until all handles are gone.
pub async fn serve(
    address: Arc<str>,
    credentials: Option<Credentials>,
    mut requests: mpsc::Receiver<Request>,
) {
    let new_backoff = || Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
    let mut backoff = new_backoff();
    // Until then the address is not tried again, and this is the answer.
    let mut resting: Option<(Instant, Fate)> = None;
    while let Some(request) = requests.recv().await {
        if let Some((until, fate)) = &resting
            && Instant::now() < *until
        {
            request.settle(fate.clone());
            continue;
        }
        match dial(&address, credentials.as_ref()).await {
            Ok((frames, writer)) => {
                (backoff, resting) = (new_backoff(), None);
                let connection = Connection::new(&address, frames, writer);
                connection.run(request, &mut requests).await;
            }
            Err(fate) => {
                tracing::debug!(%address, ?fate, "no connection");
                request.settle(fate.clone());
                resting = Some((Instant::now() + backoff.pause(random()), fate));
            }
        }
    }
}

type Frames = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

/// Connects and authenticates; otherwise the fate of all who wait for the connection.
async fn dial(
    address: &str,
    credentials: Option<&Credentials>,
) -> Result<(Frames, OwnedWriteHalf), Fate> {
    let unreachable = |why: String| {
        let address = address.to_owned();
        Fate::NotSent(Cause::Unreachable { address, why })
    };
    match timeout(CONNECT, greet(address, credentials)).await {
        Ok(Ok((frames, writer, Reply::Ok))) => Ok((frames, writer)),
        Ok(Ok((_, _, refusal))) => Err(Fate::Answered(refusal)),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable("it does not answer".to_owned())),
    }
}

/// Gives the connection and the answer to AUTH, which is OK when none was needed.
async fn greet(
    address: &str,
    credentials: Option<&Credentials>,
) -> io::Result<(Frames, OwnedWriteHalf, Reply)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut frames = FramedRead::new(reader, frame::codec(limits::FRAME_BYTES));
    let mut out = BytesMut::from(&frame::preface(Role::Client)[..]);
    let Some(Credentials { user, password }) = credentials else {
        writer.write_all(&out).await?;
        return Ok((frames, writer, Reply::Ok));
    };
    let words = ["AUTH"]
        .into_iter()
        .chain(user.as_deref())
        .chain([password.as_str()]);
    let words: Vec<&str> = words.collect();
    // The link counts from 1.
    rpc::encode_request(0, &words, &Meta::default(), &mut out);
    writer.write_all(&out).await?;
    let frame = frames.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
    match rpc::decode(&frame) {
        Ok(Message::Response { id: 0, reply }) => Ok((frames, writer, reply)),
        _ => Err(io::Error::other("its answer to AUTH is not understood")),
    }
}

/// An open connection.
struct Connection<'a> {
    address: &'a str,
    frames: Frames,
    writer: OwnedWriteHalf,
    link: Link<oneshot::Sender<Fate>>,
    /// Encoded, and not written yet.
    out: BytesMut,
    /// The node has said that it will execute nothing more.
    closing: bool,
    /// Where the milliseconds of the link begin.
    start: Instant,
}

impl<'a> Connection<'a> {
    fn new(address: &'a str, frames: Frames, writer: OwnedWriteHalf) -> Self {
        Self {
            address,
            frames,
            writer,
            link: Link::default(),
            out: BytesMut::new(),
            closing: false,
            start: Instant::now(),
        }
    }

    /// Works until the connection breaks, or nobody needs it any more.
    async fn run(mut self, first: Request, requests: &mut mpsc::Receiver<Request>) {
        self.accept(first);
        let why = match self.exchange(requests).await {
            Ok(()) => "nobody needs it",
            Err(error) => &error.to_string(),
        };
        tracing::debug!(address = self.address, why, "connection closed");
        let cause = Cause::Broken {
            address: self.address.to_owned(),
            why: why.to_owned(),
        };
        for (ticket, unanswered) in self.link.disconnect() {
            let unanswered = if self.closing {
                Unanswered::NotSent
            } else {
                unanswered
            };
            settle(ticket, unanswered, cause.clone());
        }
    }

    async fn exchange(&mut self, requests: &mut mpsc::Receiver<Request>) -> io::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut needed = true;
        let mut batch = Vec::new();
        while needed || !self.link.is_empty() {
            if self.out.is_empty() {
                self.link
                    .transmit(self.mono_ms(Instant::now()), WRITE_BYTES, &mut self.out);
            }
            let room = limits::IN_FLIGHT - self.link.len();
            tokio::select! {
                // A connection that is closed is noticed before another request is written to it.
                biased;
                frame = self.frames.next() => {
                    self.answer(&frame.ok_or(io::ErrorKind::UnexpectedEof)??)?;
                }
                written = self.writer.write_buf(&mut self.out), if !self.out.is_empty() => {
                    written?;
                }
                count = requests.recv_many(&mut batch, room), if needed && room > 0 => {
                    needed = count > 0;
                    batch.drain(..).for_each(|request| self.accept(request));
                }
                _ = tick.tick(), if !self.link.is_empty() => self.expire(),
            }
        }
        Ok(())
    }

    fn accept(&mut self, request: Request) {
        let deadline_ms = self.mono_ms(request.deadline);
        let argv: Vec<Bytes> = request.argv;
        if let Err(ticket) = self.link.push(argv, deadline_ms, request.ticket) {
            settle(ticket, Unanswered::NotSent, Cause::Busy);
        }
    }

    /// Takes an answer. One to a request that was given up is dropped.
    fn answer(&mut self, frame: &[u8]) -> io::Result<()> {
        match rpc::decode(frame) {
            Ok(Message::Response { id, reply }) => {
                if let Some(ticket) = self.link.answered(id) {
                    // The caller may have gone.
                    let _ = ticket.send(Fate::Answered(reply));
                }
                Ok(())
            }
            Ok(Message::Notification(words)) if is_farewell(&words) => {
                self.closing = true;
                Err(io::Error::other("the node ends"))
            }
            Ok(_) => Err(io::Error::other("it sent what is no answer")),
            Err(malformed) => Err(io::Error::other(malformed)),
        }
    }

    fn expire(&mut self) {
        let late_ms = self.mono_ms(Instant::now()).saturating_sub(GRACE_MS);
        for (ticket, unanswered) in self.link.expire(late_ms) {
            settle(ticket, unanswered, Cause::Deadline);
        }
    }

    fn mono_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

fn is_farewell(words: &[Cow<'_, [u8]>]) -> bool {
    words
        .first()
        .is_some_and(|name| **name == *rpc::CLOSING.as_bytes())
}

fn settle(ticket: oneshot::Sender<Fate>, unanswered: Unanswered, cause: Cause) {
    // The caller may have gone.
    let _ = ticket.send(match unanswered {
        Unanswered::NotSent => Fate::NotSent(cause),
        Unanswered::Lost => Fate::Lost(cause),
    });
}
