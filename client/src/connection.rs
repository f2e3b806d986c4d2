//! The task behind a node's handle: connects, writes requests, reads answers, and settles every
//! request.
//!
//! It knows one address and nothing of routes. What it cannot do it says at once; when to try again
//! is for others.

use std::borrow::Cow;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use dht_proto::frame::{self, Role};
use dht_proto::link::{Link, Unanswered};
use dht_proto::rpc::{self, Message, Meta};
use dht_proto::{Reply, limits};
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::backend::{Backend, Host, Keyspace, Life};
use crate::client::random;
use crate::command::Command;
use crate::error::{Cause, Error};
use crate::node::Request;
use crate::parcel::Ticket;
use crate::pulse::{Beat, Pulse};
use crate::url::Credentials;
use crate::verdict::{Backoff, Fate, Repeat, Verdict, judge};

/// Time for connecting and for the answer to the greeting.
const CONNECT: Duration = Duration::from_secs(2);
/// Pauses after failed connections, in milliseconds; requests that come meanwhile fail at once.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 1000;
/// For so long after a node has fallen silent requests do not wait for a connection to it.
const SUSPECT: Duration = Duration::from_secs(10);
/// The id of greetings and questions for a sign of life; the link counts from 1.
const GREETING: u64 = 0;
/// Requests that may be with the node: one less than it takes, so that it can always be asked for a
/// sign of life.
const IN_FLIGHT: usize = limits::IN_FLIGHT - 1;
/// How often deadlines and signs of life are looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long after a deadline, in milliseconds, the node's own word on it is waited for.
const GRACE_MS: u64 = 100;
/// What is said of a connection on which nothing was heard any more.
const SILENT: &str = "it does not answer";
/// What is said of a connection that is not made again.
pub const ENDED: &str = "the connection has ended";
/// Requests are gathered into writes of about so many bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// Room for answers that are read at a time, in bytes; for a longer one more is made.
const READ_BYTES: usize = 32 * 1024;

/// The backend that speaks frames with nodes of dht.
#[derive(Clone)]
pub enum Frames {
    /// Over the network; what the nodes ask for.
    Tcp(Option<Credentials>),
    /// With a node in this process, whatever the address.
    Inside(Arc<dyn Host>),
}

impl Backend for Frames {
    fn keyspace(&self) -> Keyspace {
        match self {
            Self::Tcp(_) => Keyspace::Dht,
            // It has everything done, and sends writes again itself where that does no harm.
            Self::Inside(_) => Keyspace::Whole,
        }
    }

    fn serve(
        &self,
        address: Arc<str>,
        requests: mpsc::Receiver<Request>,
        life: Life,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(serve(address, self.clone(), requests, life))
    }

    fn at_once(&self, command: &Command) -> Option<Reply> {
        match self {
            Self::Tcp(_) => None,
            Self::Inside(host) => host.at_once(&command.seen()),
        }
    }
}

async fn serve(
    address: Arc<str>,
    frames: Frames,
    mut requests: mpsc::Receiver<Request>,
    life: Life,
) {
    let mut line = Line {
        address,
        frames,
        backoff: new_backoff(),
        resting: None,
        suspect_until: None,
    };
    while let Some(request) = requests.recv().await {
        line.serve(request, &mut requests).await;
        if life == Life::Once {
            return refuse_rest(&line.address, requests);
        }
    }
}

/// Settles what waits for a connection that will not be made again.
pub fn refuse_rest(address: &str, mut requests: mpsc::Receiver<Request>) {
    requests.close();
    while let Ok(request) = requests.try_recv() {
        request.settle(unreachable(address, ENDED));
    }
}

const fn new_backoff() -> Backoff {
    Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS)
}

/// An address while there is no connection to it.
struct Line {
    address: Arc<str>,
    frames: Frames,
    backoff: Backoff,
    /// Until then the address is not tried again, and this is the answer.
    resting: Option<(Instant, Fate)>,
    /// The node has fallen silent not long ago: until then nobody waits for it to answer.
    suspect_until: Option<Instant>,
}

impl Line {
    /// Takes a request, and all that follow while there is a connection.
    async fn serve(&mut self, request: Request, requests: &mut mpsc::Receiver<Request>) {
        let now = Instant::now();
        if let Some((until, fate)) = &self.resting
            && now < *until
        {
            return request.settle(fate.clone());
        }
        let is_suspect = self.suspect_until.is_some_and(|until| now < until);
        let (dialled, first) = if is_suspect {
            let fate = unreachable(&self.address, "it has not answered a moment ago");
            request.settle(fate.clone());
            let dial = dial(&self.address, &self.frames);
            (refuse_while(dial, requests, &fate).await, None)
        } else {
            let dialled = dial(&self.address, &self.frames).await;
            (dialled, Some(request))
        };
        match dialled {
            Ok(open) => {
                (self.backoff, self.resting, self.suspect_until) = (new_backoff(), None, None);
                let connection = Connection::new((&self.address, &self.frames), open);
                if connection.run(first, requests).await == End::Silence {
                    self.suspect_until = Some(Instant::now() + SUSPECT);
                }
            }
            Err(Refusal { fate, end }) => {
                tracing::debug!(address = %self.address, ?fate, "no connection");
                if let Some(first) = first {
                    first.settle(fate.clone());
                }
                let now = Instant::now();
                if end == End::Silence {
                    self.suspect_until = Some(now + SUSPECT);
                }
                self.resting = Some((now + self.backoff.pause(random()), fate));
            }
        }
    }
}

/// Connects, and refuses all requests meanwhile.
async fn refuse_while<T>(
    dial: impl Future<Output = T>,
    requests: &mut mpsc::Receiver<Request>,
    fate: &Fate,
) -> T {
    let mut dial = pin!(dial);
    let mut needed = true;
    loop {
        tokio::select! {
            dialled = &mut dial => return dialled,
            request = requests.recv(), if needed => match request {
                Some(request) => request.settle(fate.clone()),
                None => needed = false,
            },
        }
    }
}

/// How a connection, or a try to get one, has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was closed or refused.
    Closed,
    /// Nothing was heard any more.
    Silence,
}

/// Why there is no connection.
struct Refusal {
    /// The fate of all who wait for it.
    fate: Fate,
    end: End,
}

pub fn unreachable(address: &str, why: impl Into<String>) -> Fate {
    Fate::NotSent(Cause::Unreachable {
        address: address.to_owned(),
        why: why.into(),
    })
}

/// What is read from a connection.
pub type FrameReader = FramedRead<Box<dyn AsyncRead + Send + Unpin>, LengthDelimitedCodec>;

/// Where a connection is written to.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Connects and authenticates, for somebody who shares the connection with nobody.
///
/// # Errors
/// It cannot be reached, or refuses.
pub async fn open(address: &str, by: &Frames) -> Result<(FrameReader, Writer), Error> {
    match dial(address, by).await {
        Ok(open) => Ok(open),
        Err(refusal) => settled(refusal.fate).and_then(|reply| {
            Err(Error::Mismatch {
                wanted: "a greeting",
                reply,
            })
        }),
    }
}

/// The result of what is tried once.
///
/// # Errors
/// It was not done, or refused.
pub fn settled(fate: Fate) -> Result<Reply, Error> {
    match judge(fate, Repeat::Never) {
        Verdict::Final(result) => result,
        Verdict::Again(error, _) => Err(error),
    }
}

/// Connects and authenticates.
async fn dial(address: &str, by: &Frames) -> Result<(FrameReader, Writer), Refusal> {
    let (fate, end) = match timeout(CONNECT, greet(address, by)).await {
        Ok(Ok((frames, writer, Reply::Ok))) => return Ok((frames, writer)),
        Ok(Ok((_, _, refusal))) => (Fate::Answered(refusal), End::Closed),
        Ok(Err(error)) => (unreachable(address, error.to_string()), End::Closed),
        Err(_) => (unreachable(address, "it does not answer"), End::Silence),
    };
    Err(Refusal { fate, end })
}

/// Gives the connection and the answer to AUTH, which is OK when none was needed. A node without
/// a word is asked for one all the same: the system accepts connections for one that is frozen.
async fn greet(address: &str, by: &Frames) -> io::Result<(FrameReader, Writer, Reply)> {
    let credentials = match by {
        Frames::Inside(host) => {
            let (reader, writer) = tokio::io::split(host.connect()?);
            let frames = framed(Box::new(reader));
            return Ok((frames, Box::new(writer), Reply::Ok));
        }
        Frames::Tcp(credentials) => credentials.as_ref(),
    };
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut frames = framed(Box::new(reader));
    let mut out = BytesMut::from(&frame::preface(Role::Client)[..]);
    let words: Vec<&str> = match credentials {
        Some(Credentials { user, password }) => {
            let user = user.as_deref().into_iter();
            ["AUTH"]
                .into_iter()
                .chain(user)
                .chain([password.as_str()])
                .collect()
        }
        None => vec!["PING"],
    };
    rpc::encode_request(GREETING, &words, &Meta::default(), &mut out);
    writer.write_all(&out).await?;
    let frame = frames.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
    match rpc::decode(&frame) {
        Ok(Message::Response {
            id: GREETING,
            reply,
        }) => {
            let answer = credentials.map_or(Reply::Ok, |_| reply);
            Ok((frames, Box::new(writer), answer))
        }
        _ => Err(io::Error::other(
            "its answer to the greeting is not understood",
        )),
    }
}

/// Whether there is any word from a node, on a connection that is made for that: where work is done
/// for another that takes long, its own connection says nothing. Who it is that asks makes no
/// difference.
async fn visit(address: String) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(&*address).await?;
        let mut out = BytesMut::from(&frame::preface(Role::Client)[..]);
        rpc::encode_request(GREETING, &["PING"], &Meta::default(), &mut out);
        stream.write_all(&out).await?;
        stream.read_u8().await
    };
    let said: io::Result<u8> = asking.await;
    said.is_ok()
}

fn framed(reader: Box<dyn AsyncRead + Send + Unpin>) -> FrameReader {
    FramedRead::with_capacity(reader, frame::codec(limits::FRAME_BYTES), READ_BYTES)
}

/// An open connection.
struct Connection<'a> {
    address: &'a str,
    by: &'a Frames,
    frames: FrameReader,
    writer: Writer,
    link: Link<Ticket>,
    /// How many of the requests work through the whole keyspace.
    long: usize,
    pulse: Pulse,
    /// The node was heard since its pulse was felt, or there was nothing to be heard.
    is_heard: bool,
    /// The node is asked for a sign of life over a connection of its own.
    visit: Option<Visit>,
    /// Bytes of an answer that is not complete.
    partial: usize,
    /// Encoded, and not written yet.
    out: BytesMut,
    /// The node has said that it will execute nothing more.
    closing: bool,
    /// Where the milliseconds of the link begin.
    start: Instant,
}

/// Says whether a node is there.
type Visit = Pin<Box<dyn Future<Output = bool> + Send>>;

impl<'a> Connection<'a> {
    fn new((address, by): (&'a str, &'a Frames), (frames, writer): (FrameReader, Writer)) -> Self {
        Self {
            address,
            by,
            frames,
            writer,
            link: Link::default(),
            long: 0,
            pulse: Pulse::default(),
            is_heard: true,
            visit: None,
            partial: 0,
            out: BytesMut::new(),
            closing: false,
            start: Instant::now(),
        }
    }

    /// Works until the connection breaks, or nobody needs it any more.
    async fn run(mut self, first: Option<Request>, requests: &mut mpsc::Receiver<Request>) -> End {
        first.into_iter().for_each(|first| self.accept(first));
        let (why, end) = match self.exchange(requests).await {
            Ok(()) => ("nobody needs it", End::Closed),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => (SILENT, End::Silence),
            Err(error) => (&*error.to_string(), End::Closed),
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
        end
    }

    async fn exchange(&mut self, requests: &mut mpsc::Receiver<Request>) -> io::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut needed = true;
        let mut batch = Vec::new();
        while needed || !self.link.is_empty() {
            if self.out.is_empty() && self.link.has_queued() {
                let now_ms = self.mono_ms(Instant::now());
                self.link
                    .transmit(now_ms, WRITE_BYTES, Ticket::words, &mut self.out);
            }
            let room = IN_FLIGHT.saturating_sub(self.link.len());
            tokio::select! {
                // A connection that is closed is noticed before another request is written to it.
                biased;
                frame = self.frames.next() => {
                    self.answer(&frame.ok_or(io::ErrorKind::UnexpectedEof)??)?;
                    self.answer_buffered()?;
                }
                written = self.writer.write_buf(&mut self.out), if !self.out.is_empty() => {
                    written?;
                    // Who takes the rest of what did not fit before is there.
                    self.is_heard |= !self.out.is_empty();
                }
                count = requests.recv_many(&mut batch, room), if needed && room > 0 => {
                    needed = count > 0;
                    batch.drain(..).for_each(|request| self.accept(request));
                    needed &= self.gather(requests, &mut batch).await;
                }
                is_there = there(&mut self.visit), if self.visit.is_some() => {
                    self.visit = None;
                    self.is_heard |= is_there;
                }
                _ = tick.tick(), if !self.link.is_empty() => {
                    self.expire();
                    self.feel_pulse()?;
                }
            }
        }
        Ok(())
    }

    /// Who was answered with the last frames asks again in a moment, if there are several: what
    /// they ask goes out in one piece. False when nobody will ask again.
    async fn gather(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        batch: &mut Vec<Request>,
    ) -> bool {
        let room = IN_FLIGHT.saturating_sub(self.link.len());
        if self.link.len() < 2 || room == 0 {
            return true;
        }
        yield_now().await;
        let more = requests.recv_many(batch, room).now_or_never();
        batch.drain(..).for_each(|request| self.accept(request));
        more != Some(0)
    }

    fn accept(&mut self, request: Request) {
        self.is_heard |= self.link.is_empty();
        self.long += usize::from(request.ticket.is_long);
        let deadline_ms = self.mono_ms(request.deadline);
        if let Err(ticket) = self.link.push(request.place, deadline_ms, request.ticket) {
            self.long -= usize::from(ticket.is_long);
            settle(ticket, Unanswered::NotSent, Cause::Busy);
        }
    }

    /// Takes the answers that have arrived with another one, where they are: what is not a whole
    /// frame is left for whoever waits for its rest.
    fn answer_buffered(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(self.frames.read_buffer_mut());
        while let Some(content) = frame::first(&buffer, limits::FRAME_BYTES) {
            self.answer(&buffer[content.clone()])?;
            buffer.advance(content.end);
        }
        if buffer.is_empty() {
            // All of the room is to be used again, not only what is left behind these.
            buffer.reserve(READ_BYTES);
        }
        *self.frames.read_buffer_mut() = buffer;
        Ok(())
    }

    /// Takes an answer. One to a request that was given up is dropped.
    fn answer(&mut self, frame: &[u8]) -> io::Result<()> {
        self.is_heard = true;
        match rpc::decode(frame) {
            Ok(Message::Response { id, reply }) => {
                if let Some(ticket) = self.link.answered(id) {
                    self.long -= usize::from(ticket.is_long);
                    ticket.settle(Fate::Answered(reply));
                }
                Ok(())
            }
            Ok(Message::Notification(words)) if is_farewell(&words) => {
                self.closing = true;
                Err(io::Error::other("the node ends"))
            }
            // Whoever has asked for messages here hears of them elsewhere.
            Ok(Message::Notification(_)) => Ok(()),
            Ok(Message::Request(_)) => Err(io::Error::other("it sent what is no answer")),
            Err(malformed) => Err(io::Error::other(malformed)),
        }
    }

    fn expire(&mut self) {
        let late_ms = self.mono_ms(Instant::now()).saturating_sub(GRACE_MS);
        for (ticket, unanswered) in self.link.expire(late_ms) {
            self.long -= usize::from(ticket.is_long);
            settle(ticket, unanswered, Cause::Deadline);
        }
    }

    /// Finds out whether the node is still there, while an answer is expected of it.
    fn feel_pulse(&mut self) -> io::Result<()> {
        let now_ms = self.mono_ms(Instant::now());
        let partial = self.frames.read_buffer().len();
        let is_arriving = std::mem::replace(&mut self.partial, partial) != partial;
        let has_no_wire = matches!(self.by, Frames::Inside(_));
        let is_heard = std::mem::take(&mut self.is_heard);
        if is_heard || is_arriving || has_no_wire && self.long > 0 || !self.link.is_waiting() {
            self.pulse.heard(now_ms);
            return Ok(());
        }
        match self.pulse.check(now_ms) {
            Beat::Fine => Ok(()),
            Beat::Ask if self.long > 0 => {
                self.visit = Some(Box::pin(visit(self.address.to_owned())));
                Ok(())
            }
            Beat::Ask => {
                rpc::encode_request(GREETING, &["PING"], &Meta::default(), &mut self.out);
                Ok(())
            }
            Beat::Gone => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn mono_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// Waits for a visit to end.
async fn there(visit: &mut Option<Visit>) -> bool {
    match visit {
        Some(visit) => visit.await,
        None => false,
    }
}

fn is_farewell(words: &[Cow<'_, [u8]>]) -> bool {
    words
        .first()
        .is_some_and(|name| **name == *rpc::CLOSING.as_bytes())
}

fn settle(ticket: Ticket, unanswered: Unanswered, cause: Cause) {
    ticket.settle(match unanswered {
        Unanswered::NotSent => Fate::NotSent(cause),
        Unanswered::Lost => Fate::Lost(cause),
    });
}
