//! What is said on channels, over a connection of one's own: through whichever node it is said.
//!
//! Knows nothing of routes. A connection that broke is told once, and made anew by
//! whoever goes on to listen; what was said meanwhile is lost.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::future::ready;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use dht_proto::{Reply, limits, rpc};
use futures_util::{Stream, stream};
use tokio::time::{Instant, timeout_at};

use crate::command::{Args, Command};
use crate::connection::Frames;
use crate::error::{Cause, Error, Result};
use crate::line::{Line, Seeds};
use crate::url::Target;
use crate::word::Word;

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
    seeds: Seeds,
    line: Option<Line>,
    /// What is listened to: the command's name and its argument.
    names: BTreeSet<(&'static str, Bytes)>,
    /// Heard while an answer was waited for.
    heard: VecDeque<Message>,
    deadline: Duration,
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
        let frames = Frames::Tcp(target.credentials.clone());
        Self::through(Seeds::new(frames, target))
    }

    pub(crate) const fn through(seeds: Seeds) -> Self {
        Self {
            seeds,
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
            self.connect().await?;
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
        let id = self.connect().await?.request(words);
        loop {
            match self.hear().await? {
                Heard::Answer(to, reply) if to == id => return Ok(reply),
                Heard::Message(message) => self.heard.push_back(message),
                Heard::Answer(..) | Heard::Nothing => (),
            }
        }
    }

    /// Connects where there is no connection, and listens there to everything.
    async fn connect(&mut self) -> Result<&mut Line> {
        let line = match self.line.take() {
            Some(line) => line,
            None => {
                let mut line = self.seeds.connect(|line| ready(Ok(line))).await?;
                for (name, word) in &self.names {
                    line.request(&[name.as_bytes(), word]);
                }
                line
            }
        };
        Ok(self.line.insert(line))
    }

    /// Waits for a frame, or for the end of the connection.
    async fn hear(&mut self) -> Result<Heard> {
        let line = self.connect().await?;
        match line.hear().await.and_then(|frame| understood(&frame)) {
            Ok(heard) => Ok(heard),
            Err(error) => {
                let cause = line.broken(&error);
                self.line = None;
                self.seeds.pass();
                Err(Error::Unknown(cause))
            }
        }
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
