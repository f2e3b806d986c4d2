//! What is said on channels, over a connection of one's own: through whichever node it is said.
//!
//! Knows addresses and nothing of routes. A connection that broke is told once, and made anew by
//! whoever goes on to listen; what was said meanwhile is lost.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dht_proto::rpc::{self, Meta};
use dht_proto::{Reply, limits};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::command::{Args, Command};
use crate::connection::{self, FrameReader, Frames, Writer};
use crate::error::{Cause, Error, Result};
use crate::url::{Scheme, Target};
use crate::word::Word;

/// Silence after which the node is asked for a sign of life, and after as much again is given up.
const SILENCE: Duration = Duration::from_secs(1);
/// The id of questions for a sign of life.
const SIGN: u64 = 0;

/// Something that was said on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pattern that was listened to, if it was one.
    pub pattern: Option<Bytes>,
    /// It was said with SPUBLISH.
    pub sharded: bool,
    /// Where it was said.
    pub channel: Bytes,
    /// What was said.
    pub text: Bytes,
}

/// Listens to channels, over a connection that is made when it is needed.
///
/// ```no_run
/// # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
/// let mut news = client.subscription();
/// news.subscribe(["news"]).await?;
/// news.psubscribe(["sport.*"]).await?;
/// loop {
///     match news.next().await {
///         Ok(message) => println!("{:?}: {:?}", message.channel, message.text),
///         Err(error) if error.is_unreachable() => return Err(error),
///         Err(error) => println!("something may have been missed: {error}"),
///     }
/// }
/// # }
/// ```
pub struct Subscription {
    frames: Frames,
    target: Target,
    /// The seed that is connected, or tried first, by index.
    seed: usize,
    line: Option<Line>,
    /// What is listened to: the command's name and its argument.
    names: BTreeSet<(&'static str, Bytes)>,
    /// Heard while an answer was waited for.
    heard: VecDeque<Message>,
    deadline: Duration,
}

/// An open connection.
struct Line {
    frames: FrameReader,
    writer: Writer,
    last_id: u64,
    /// The node was asked for a sign of life.
    asked: bool,
}

/// What a frame holds.
enum Heard {
    Message(Message),
    Answer(u64, Reply),
    Nothing,
}

impl Subscription {
    /// Listens to nothing yet; takes the first of the seeds that can be reached.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self::through(Frames::Tcp(target.credentials.clone()), target)
    }

    pub(crate) const fn through(frames: Frames, target: Target) -> Self {
        Self {
            frames,
            target,
            seed: 0,
            line: None,
            names: BTreeSet::new(),
            heard: VecDeque::new(),
            deadline: limits::DEADLINE,
        }
    }

    /// Listens to channels.
    ///
    /// # Errors
    /// Any of [`Error`] but a mismatch.
    pub async fn subscribe(&mut self, channels: impl Args) -> Result<()> {
        self.run(with("SUBSCRIBE", channels)).await.map(drop)
    }

    /// Listens to the channels that match patterns.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn psubscribe(&mut self, patterns: impl Args) -> Result<()> {
        self.run(with("PSUBSCRIBE", patterns)).await.map(drop)
    }

    /// Listens to channels of one slot, to which is spoken with SPUBLISH.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn ssubscribe(&mut self, channels: impl Args) -> Result<()> {
        self.run(with("SSUBSCRIBE", channels)).await.map(drop)
    }

    /// Ends to listen to channels.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn unsubscribe(&mut self, channels: impl Args) -> Result<()> {
        self.run(with("UNSUBSCRIBE", channels)).await.map(drop)
    }

    /// Sends a command of those that begin and end to listen.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn run(&mut self, command: Command) -> Result<Reply> {
        let deadline = Instant::now() + self.deadline;
        let answered = timeout_at(deadline, self.ask(&command.words)).await;
        let reply = answered.unwrap_or_else(|_| {
            self.line = None;
            Err(Error::Unknown(Cause::Deadline))
        })?;
        if let Reply::Error(error) = reply {
            return Err(Error::Reply(error));
        }
        self.note(&command.words);
        Ok(reply)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// The connection broke, which is told once, or none can be made. Who asks again listens again,
    /// at another node if need be.
    pub async fn next(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return Ok(message);
            }
            if self.line.is_none() {
                self.connect().await?;
            }
            if let Heard::Message(message) = self.hear().await? {
                return Ok(message);
            }
        }
    }

    /// The messages, and what kept them from being heard; it ends when no node can be reached.
    pub fn into_stream(self) -> impl Stream<Item = Result<Message>> {
        stream::unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            let next = subscription.next().await;
            let is_over = next.as_ref().is_err_and(Error::is_unreachable);
            Some((next, (!is_over).then_some(subscription)))
        })
    }

    /// Whether nothing is listened to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    async fn ask(&mut self, words: &[Word]) -> Result<Reply> {
        if self.line.is_none() {
            self.connect().await?;
        }
        let id = self.send(words).await?;
        loop {
            match self.hear().await? {
                Heard::Answer(to, reply) if to == id => return Ok(reply),
                Heard::Message(message) => self.heard.push_back(message),
                Heard::Answer(..) | Heard::Nothing => (),
            }
        }
    }

    /// Connects to the first seed that can be reached, and listens there to everything.
    async fn connect(&mut self) -> Result<()> {
        if self.target.scheme != Scheme::Dht {
            let why = "messages come in frames: listen at a node of dht, by dht://";
            return Err(Error::Address(why.to_owned()));
        }
        let seeds = self.target.seeds.len();
        let mut last = Error::Address("there is no address".to_owned());
        for _ in 0..seeds {
            let address = &self.target.seeds[self.seed];
            match connection::open(address, &self.frames).await {
                Ok((frames, writer)) => {
                    self.line = Some(Line {
                        frames,
                        writer,
                        last_id: SIGN,
                        asked: false,
                    });
                    return self.listen_again().await;
                }
                Err(error) => last = error,
            }
            self.seed = (self.seed + 1) % seeds;
        }
        Err(last)
    }

    async fn listen_again(&mut self) -> Result<()> {
        for (name, word) in self.names.clone() {
            self.send(&[Bytes::from_static(name.as_bytes()), word])
                .await?;
        }
        Ok(())
    }

    /// Sends a command; gives its id.
    async fn send(&mut self, words: &[impl AsRef<[u8]>]) -> Result<u64> {
        let Some(line) = &mut self.line else {
            return Err(self.broken(&io::ErrorKind::NotConnected.into()));
        };
        line.last_id += 1;
        let id = line.last_id;
        let mut out = BytesMut::new();
        rpc::encode_request(id, words, &Meta::default(), &mut out);
        match connection::write(&mut line.writer, &out).await {
            Ok(()) => Ok(id),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Waits for a frame, or for the end of the connection.
    async fn hear(&mut self) -> Result<Heard> {
        let heard = match &mut self.line {
            Some(line) => line.hear().await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        heard.map_err(|error| self.broken(&error))
    }

    fn broken(&mut self, error: &io::Error) -> Error {
        let seeds = self.target.seeds.len().max(1);
        let address = self.target.seeds.get(self.seed).cloned();
        self.line = None;
        self.seed = (self.seed + 1) % seeds;
        Error::Unknown(Cause::Broken {
            address: address.unwrap_or_default(),
            why: error.to_string(),
        })
    }

    /// Keeps in mind what is listened to.
    fn note(&mut self, words: &[Word]) {
        const NAMES: [&str; 3] = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"];
        const ENDS: [&str; 3] = ["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"];
        let Some((name, words)) = words.split_first() else {
            return;
        };
        let is = |it: &&str| name.eq_ignore_ascii_case(it.as_bytes());
        if let Some(name) = NAMES.into_iter().find(is) {
            let words = words.iter().cloned().map(Bytes::from);
            self.names.extend(words.map(|word| (name, word)));
        }
        if let Some(at) = ENDS.iter().position(is) {
            let (name, all) = (NAMES[at], words.is_empty());
            self.names
                .retain(|(it, word)| *it != name || !all && !words.iter().any(|it| **it == **word));
        }
    }
}

impl Line {
    async fn hear(&mut self) -> io::Result<Heard> {
        loop {
            match timeout(SILENCE, self.frames.next()).await {
                Ok(Some(frame)) => {
                    self.asked = false;
                    return understood(&frame?);
                }
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) if self.asked => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => {
                    self.asked = true;
                    let mut out = BytesMut::new();
                    rpc::encode_request(SIGN, &["PING"], &Meta::default(), &mut out);
                    connection::write(&mut self.writer, &out).await?;
                }
            }
        }
    }
}

fn understood(frame: &[u8]) -> io::Result<Heard> {
    match rpc::decode(frame).map_err(io::Error::other)? {
        rpc::Message::Response { id, reply } => Ok(Heard::Answer(id, reply)),
        rpc::Message::Notification(words) if words.first().is_some_and(|it| is_farewell(it)) => {
            Err(io::Error::other("the node ends"))
        }
        rpc::Message::Notification(words) => {
            Ok(message(&words).map_or(Heard::Nothing, Heard::Message))
        }
        rpc::Message::Request(_) => Err(io::Error::other("it sent what is no answer")),
    }
}

fn is_farewell(word: &[u8]) -> bool {
    word == rpc::CLOSING.as_bytes()
}

fn message(words: &[Cow<'_, [u8]>]) -> Option<Message> {
    let (kind, words) = words.split_first()?;
    let bytes = |word: &[u8]| Bytes::copy_from_slice(word);
    let (pattern, sharded, channel, text) = match (&kind[..], words) {
        (b"message", [channel, text]) => (None, false, channel, text),
        (b"pmessage", [pattern, channel, text]) => (Some(bytes(pattern)), false, channel, text),
        (b"smessage", [channel, text]) => (None, true, channel, text),
        _ => return None,
    };
    Some(Message {
        pattern,
        sharded,
        channel: bytes(channel),
        text: bytes(text),
    })
}

fn with(name: &'static str, words: impl Args) -> Command {
    let mut command = Command::new(name);
    words.append_to(&mut command);
    command
}
