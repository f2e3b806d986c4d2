//! What is said on channels, over a connection of one's own: through whichever node it is said.
//!
//! Knows neither routes nor protocols. A connection that broke is told once, and made anew by
//! whoever goes on to listen; what was said meanwhile is lost.

use std::time::Duration;

use bytes::Bytes;
use dht_proto::{Reply, limits};
use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::random;
use crate::command::{Args, Command};
use crate::connection::{Frames, settled};
use crate::ear::{Change, Ear, Names, WAYS, change};
use crate::error::{Cause, Error, Result};
use crate::url::Target;
use crate::verdict::{Backoff, Fate};
use crate::word::Word;

/// Pauses between tries to listen again, in milliseconds.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 1000;

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
    ear: Ear,
    names: Names,
    deadline: Duration,
}

impl Subscription {
    /// Listens to nothing yet; takes the first of the seeds that can be reached.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let frames = Frames::Tcp(target.credentials.clone());
        Self::through(frames, target, limits::DEADLINE)
    }

    pub(crate) fn through(frames: Frames, target: Target, deadline: Duration) -> Self {
        Self {
            ear: Ear::new(frames, target),
            names: Names::new(),
            deadline,
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
        let asking = self.ear.ask(&command.words, &self.names);
        let reply = match timeout_at(deadline, asking).await {
            Ok(answered) => answered?,
            Err(_) => {
                self.ear.close();
                return Err(Error::Unknown(Cause::Deadline));
            }
        };
        let reply = settled(Fate::Answered(reply))?;
        self.note(&command.words);
        Ok(reply)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// The connection broke, which is told once. Who asks again listens again, at another node if
    /// need be; that none can be reached until the deadline of a call is told as well.
    pub async fn next(&mut self) -> Result<Message> {
        let deadline = Instant::now() + self.deadline;
        let mut backoff = Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
        loop {
            match self.ear.next(&self.names).await {
                Err(error @ Error::NotDone(_)) => {
                    let pause = backoff.pause(random());
                    if Instant::now() + pause >= deadline {
                        return Err(error);
                    }
                    sleep(pause).await;
                }
                next => return next,
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

    /// Keeps in mind what is listened to.
    fn note(&mut self, words: &[Word]) {
        let Some((name, words)) = words.split_first() else {
            return;
        };
        let Some((way, change)) = change(name) else {
            return;
        };
        let (name, _) = WAYS[way];
        if change == Change::Begin {
            let words = words.iter().cloned().map(Bytes::from);
            self.names.extend(words.map(|word| (name, word)));
        } else {
            let all = words.is_empty();
            let ends = |it: &Bytes| all || words.iter().any(|word| **word == **it);
            self.names.retain(|(it, word)| *it != name || !ends(word));
        }
    }
}

fn with(name: &'static str, words: impl Args) -> Command {
    let mut command = Command::new(name);
    words.append_to(&mut command);
    command
}
