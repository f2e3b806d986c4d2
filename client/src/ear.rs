//! Where somebody listens: a connection of one's own, in frames or in the protocol of Redis; and
//! what was heard and waits to be asked for.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::future::ready;
use std::io;

use bytes::Bytes;
use dht_proto::{Reply, limits, rpc};

use crate::connection::Frames;
use crate::error::{Cause, Error, Result};
use crate::line::{Line, Seeds};
use crate::subscription::Message;
use crate::url::Target;
use crate::word::Word;

/// What a message takes besides its words while it waits.
const MESSAGE_BYTES: usize = 64;
/// What is said when more is heard than asked for.
pub const TOO_MUCH: &str = "more is said than is asked for";

/// What is listened to: the command's name and its argument.
pub type Names = BTreeSet<(&'static str, Bytes)>;

/// The three ways to listen, each with the command that begins it and the one that ends it.
pub const WAYS: [(&str, &str); 3] = [
    ("SUBSCRIBE", "UNSUBSCRIBE"),
    ("PSUBSCRIBE", "PUNSUBSCRIBE"),
    ("SSUBSCRIBE", "SUNSUBSCRIBE"),
];

/// What a command does to a way to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins it.
    Begin,
    /// It ends it.
    End,
}

/// The way of a command, by its index, and what the command does to it.
pub fn change(name: &[u8]) -> Option<(usize, Change)> {
    let is = |it: &str| name.eq_ignore_ascii_case(it.as_bytes());
    (0..).zip(WAYS).find_map(|(way, (begin, end))| {
        let begins = is(begin).then_some(Change::Begin);
        let change = begins.or_else(|| is(end).then_some(Change::End))?;
        Some((way, change))
    })
}

/// Listens over whatever the target speaks.
pub enum Ear {
    /// In frames.
    Frames(Box<FrameEar>),
    /// In the protocol of Redis.
    #[cfg(feature = "redis")]
    Redis(Box<crate::redis::ear::Ear>),
}

impl Ear {
    /// Nothing is connected yet.
    pub fn new(frames: Frames, target: Target) -> Self {
        #[cfg(feature = "redis")]
        if target.scheme != crate::url::Scheme::Dht {
            return Self::Redis(Box::new(crate::redis::ear::Ear::new(target)));
        }
        Self::Frames(Box::new(FrameEar::new(Seeds::new(frames, target))))
    }

    /// Sends a command of those that begin and end to listen, and waits for its answer. Where there
    /// is no connection, one is made first, to the first seed that can be reached, and all the
    /// names are listened to there.
    ///
    /// # Errors
    /// There is no connection, or it broke.
    pub async fn ask(&mut self, words: &[Word], names: &Names) -> Result<Reply> {
        match self {
            Self::Frames(ear) => ear.ask(words, names).await,
            #[cfg(feature = "redis")]
            Self::Redis(ear) => ear.ask(words, names).await,
        }
    }

    /// Waits for a message. Nothing is lost when it is dropped and called again.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn next(&mut self, names: &Names) -> Result<Message> {
        match self {
            Self::Frames(ear) => ear.next(names).await,
            #[cfg(feature = "redis")]
            Self::Redis(ear) => ear.next(names).await,
        }
    }

    /// Gives the connection up.
    pub fn close(&mut self) {
        match self {
            Self::Frames(ear) => ear.line = None,
            #[cfg(feature = "redis")]
            Self::Redis(ear) => ear.close(),
        }
    }
}

/// Messages that wait to be asked for, within [`limits::MESSAGES_BYTES`] unless it is one alone.
#[derive(Debug, Default)]
pub struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Waiting {
    /// Puts a message behind the others; false when there is no room.
    pub fn push(&mut self, message: Message) -> bool {
        let bytes = self.bytes + weight(&message);
        if bytes > limits::MESSAGES_BYTES && !self.messages.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.messages.push_back(message);
        true
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= weight(&message);
        Some(message)
    }
}

fn weight(message: &Message) -> usize {
    let pattern = message.pattern.as_ref().map_or(0, Bytes::len);
    pattern + message.channel.len() + message.text.len() + MESSAGE_BYTES
}

/// What a frame holds.
enum Heard {
    Message(Message),
    Answer(u64, Reply),
    Nothing,
}

/// Listens in frames. The node is read from only when somebody waits for something; what it has to
/// say meanwhile waits there.
pub struct FrameEar {
    seeds: Seeds,
    line: Option<Line>,
    /// Heard while an answer was waited for.
    heard: Waiting,
}

impl FrameEar {
    fn new(seeds: Seeds) -> Self {
        Self {
            seeds,
            line: None,
            heard: Waiting::default(),
        }
    }

    async fn ask(&mut self, words: &[Word], names: &Names) -> Result<Reply> {
        let id = self.connect(names).await?.request(words);
        loop {
            match self.hear(names).await? {
                Heard::Answer(to, reply) if to == id => return Ok(reply),
                Heard::Message(message) => {
                    if !self.heard.push(message) {
                        return Err(self.broken(&io::Error::other(TOO_MUCH)));
                    }
                }
                Heard::Answer(..) | Heard::Nothing => (),
            }
        }
    }

    async fn next(&mut self, names: &Names) -> Result<Message> {
        loop {
            if let Some(message) = self.heard.pop() {
                return Ok(message);
            }
            if let Heard::Message(message) = self.hear(names).await? {
                return Ok(message);
            }
        }
    }

    /// Connects where there is no connection, and listens there to everything.
    async fn connect(&mut self, names: &Names) -> Result<&mut Line> {
        let line = match self.line.take() {
            Some(line) => line,
            None => {
                let mut line = self.seeds.connect(|line| ready(Ok(line))).await?;
                for (name, word) in names {
                    line.request(&[name.as_bytes(), word]);
                }
                line
            }
        };
        Ok(self.line.insert(line))
    }

    /// Waits for a frame, or for the end of the connection.
    async fn hear(&mut self, names: &Names) -> Result<Heard> {
        let line = self.connect(names).await?;
        let heard = line.hear().await.and_then(|frame| understood(&frame));
        heard.map_err(|error| self.broken(&error))
    }

    fn broken(&mut self, error: &io::Error) -> Error {
        self.seeds.pass();
        let line = self.line.take();
        Error::Unknown(line.map_or(Cause::Deadline, |line| line.broken(error)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_a_way() {
        assert_eq!(change(b"subscribe"), Some((0, Change::Begin)));
        assert_eq!(change(b"PUNSUBSCRIBE"), Some((1, Change::End)));
        assert_eq!(change(b"SSubscribe"), Some((2, Change::Begin)));
        assert_eq!(change(b"PING"), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let message = |bytes: usize| Message {
            pattern: None,
            sharded: false,
            channel: "c".into(),
            text: vec![b'x'; bytes].into(),
        };
        let mut waiting = Waiting::default();
        assert!(waiting.push(message(limits::MESSAGES_BYTES + 1)), "alone");
        assert!(!waiting.push(message(0)));
        assert!(waiting.pop().is_some() && waiting.pop().is_none());
        let piece = limits::MESSAGES_BYTES / 8;
        let room = (0..20).take_while(|_| waiting.push(message(piece))).count();
        assert_eq!(room, 7, "each takes a little more than its words");
        assert!(waiting.pop().is_some() && waiting.push(message(piece)));
    }
}
