//! Services: functions that one program offers under a name and others call through any node. What
//! is handed over, and what comes back, is MessagePack, by serde.
//!
//! A provider has a connection of its own, over which it is asked; it makes another one, at another
//! node if need be, when it breaks.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dht_proto::rpc::{self, Meta};
use dht_proto::{Reply, ReplyError};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::client::{Client, random};
use crate::command::{Arg, Command};
use crate::connection::{self, FrameReader, Frames, Writer};
use crate::error::{Cause, Error, Result};
use crate::value::FromReply;
use crate::verdict::Backoff;
use crate::word::Word;

/// Silence after which the node is asked for a sign of life, and after as much again is given up.
const SILENCE: Duration = Duration::from_secs(1);
/// Pauses between tries to connect, in milliseconds.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 1000;
/// The ids of what a provider asks: to be registered, and for a sign of life.
const REGISTER: u64 = 1;
const SIGN: u64 = 0;

/// A service that others offer, as those see it who call it.
///
/// ```no_run
/// # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
/// let calculator = client.service("Calculator");
/// let sum: i64 = calculator.call("add", &(2, 3)).await?;
/// assert_eq!(sum, 5);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Service {
    client: Client,
    name: Word,
}

impl Service {
    /// Calls a method with arguments, which are a tuple or anything else that is a list.
    ///
    /// # Errors
    /// [`Error::Reply`] when nobody offers the service, or the provider refuses: then its text
    /// stands behind `SERVICE`. [`Error::Unknown`] when the provider has gone or has not answered
    /// in time: it may have done what it was asked. [`Error::Shape`] when a value is not of the
    /// type that is wanted.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: impl Arg,
        arguments: &impl Serialize,
    ) -> Result<T> {
        let arguments = rmp_serde::to_vec(arguments).map_err(shape)?;
        let command = Command::new("SERVICE CALL");
        let command = command.arg(&*self.name).arg(method).arg(arguments);
        let answer = Bytes::from_reply(self.client.run(command).await?)?;
        rmp_serde::from_slice(&answer).map_err(shape)
    }
}

/// A call, as its provider sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is called.
    pub method: String,
    /// What is handed over, encoded.
    pub arguments: Bytes,
}

impl Asked {
    /// The arguments: a tuple, or anything else that is a list.
    ///
    /// # Errors
    /// They are something else, which is what the caller is told.
    pub fn arguments<T: DeserializeOwned>(&self) -> std::result::Result<T, String> {
        rmp_serde::from_slice(&self.arguments).map_err(|error| error.to_string())
    }

    /// An answer.
    ///
    /// # Errors
    /// The value cannot be encoded.
    pub fn answer(&self, value: &impl Serialize) -> std::result::Result<Answer, String> {
        let bytes = rmp_serde::to_vec_named(value).map_err(|error| error.to_string())?;
        Ok(Answer(bytes.into()))
    }

    /// What is said of a method that there is not.
    #[must_use]
    pub fn unknown(&self) -> String {
        format!("there is no method '{}'", self.method.escape_default())
    }
}

/// What a provider answers.
#[derive(Clone, Debug)]
pub struct Answer(Bytes);

/// A service that this program offers, until this is dropped.
#[must_use = "a service ends when its provider is dropped"]
pub struct Provider(JoinHandle<()>);

impl Drop for Provider {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// A service, to be called.
    #[must_use]
    pub fn service(&self, name: &str) -> Service {
        Service {
            client: self.clone(),
            name: Word::copy(name.as_bytes()),
        }
    }

    /// Offers a service: `answer` is called for each call of anybody in the cluster, for many at
    /// once. Gives the provider once the service is registered.
    ///
    /// ```no_run
    /// # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
    /// let provider = client
    ///     .provide("Calculator", |asked| async move {
    ///         match &*asked.method {
    ///             "add" => {
    ///                 let (a, b): (i64, i64) = asked.arguments()?;
    ///                 asked.answer(&(a + b))
    ///             }
    ///             _ => Err(asked.unknown()),
    ///         }
    ///     })
    ///     .await?;
    /// # drop(provider);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Reply`] when the cluster refuses the name, otherwise as for any command.
    pub async fn provide<F, A>(&self, name: &str, answer: F) -> Result<Provider>
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = std::result::Result<Answer, String>> + Send + 'static,
    {
        let (frames, seeds) = self.shared().ways();
        let mut post = Post {
            frames,
            seeds,
            seed: 0,
            name: name.to_owned(),
        };
        let deadline = Instant::now() + self.deadline();
        let line = timeout_at(deadline, post.connect()).await;
        let line = line.map_err(|_| Error::NotDone(Cause::Deadline))??;
        let answer = Arc::new(move |asked| -> Boxed { Box::pin(answer(asked)) });
        Ok(Provider(tokio::spawn(post.serve(line, answer))))
    }
}

type Boxed = std::pin::Pin<Box<dyn Future<Output = std::result::Result<Answer, String>> + Send>>;

/// Where a service is offered.
struct Post {
    frames: Frames,
    seeds: Vec<String>,
    seed: usize,
    name: String,
}

/// A connection on which the service is registered.
struct Line {
    frames: FrameReader,
    writer: Writer,
}

impl Post {
    /// Registers at the first node that can be reached.
    async fn connect(&mut self) -> Result<Line> {
        let mut last = Error::Address("there is no address".to_owned());
        for _ in 0..self.seeds.len() {
            match self.register(&self.seeds[self.seed]).await {
                Ok(line) => return Ok(line),
                Err(error @ Error::Reply(_)) => return Err(error),
                Err(error) => last = error,
            }
            self.seed = (self.seed + 1) % self.seeds.len();
        }
        Err(last)
    }

    async fn register(&self, address: &str) -> Result<Line> {
        let (mut frames, mut writer) = connection::open(address, &self.frames).await?;
        let mut out = BytesMut::new();
        let words = ["SERVICE", "REGISTER", &self.name];
        rpc::encode_request(REGISTER, &words, &Meta::default(), &mut out);
        let broken = |why: String| {
            let address = address.to_owned();
            Error::NotDone(Cause::Broken { address, why })
        };
        let written = connection::write(&mut writer, &out).await;
        written.map_err(|error| broken(error.to_string()))?;
        let answer = match timeout(SILENCE, frames.next()).await {
            Ok(Some(Ok(frame))) => match rpc::decode(&frame) {
                Ok(rpc::Message::Response { reply, .. }) => reply,
                _ => return Err(broken("it sent what is no answer".to_owned())),
            },
            _ => return Err(broken("it does not answer".to_owned())),
        };
        match answer {
            Reply::Error(error) => Err(Error::Reply(error)),
            _ => Ok(Line { frames, writer }),
        }
    }

    async fn serve(mut self, line: Line, answer: Arc<impl Fn(Asked) -> Boxed + Send + Sync>) {
        let mut line = Some(line);
        let mut backoff = Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
        loop {
            if let Some(line) = line.take() {
                let why = line.serve(&*answer).await;
                tracing::debug!(service = self.name, why, "the provider's connection broke");
                backoff = Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
                self.seed = (self.seed + 1) % self.seeds.len();
            }
            match self.connect().await {
                Ok(connected) => line = Some(connected),
                Err(error) => {
                    tracing::debug!(service = self.name, %error, "the service is not registered");
                    sleep(backoff.pause(random())).await;
                }
            }
        }
    }
}

impl Line {
    /// Answers until the connection breaks; gives the reason.
    async fn serve(mut self, answer: &(impl Fn(Asked) -> Boxed + Send + Sync)) -> String {
        let (sender, mut answers) = mpsc::unbounded_channel();
        // What was not answered when the connection breaks is of use to nobody.
        let mut working = JoinSet::new();
        let mut has_asked = false;
        loop {
            while working.try_join_next().is_some() {}
            let mut out = BytesMut::new();
            tokio::select! {
                frame = timeout(SILENCE, self.frames.next()) => match frame {
                    Ok(Some(Ok(frame))) => {
                        has_asked = false;
                        if let Some((id, asked)) = asked(&frame) {
                            let (sender, answer) = (sender.clone(), answer(asked));
                            working.spawn(async move {
                                // Nobody listens when the connection is broken.
                                let _ = sender.send((id, outcome(tokio::spawn(answer)).await));
                            });
                        }
                    }
                    Ok(Some(Err(error))) => return error.to_string(),
                    Ok(None) => return "the node has closed it".to_owned(),
                    Err(_) if has_asked => return "the node does not answer".to_owned(),
                    Err(_) => {
                        has_asked = true;
                        rpc::encode_request(SIGN, &["PING"], &Meta::default(), &mut out);
                    }
                },
                Some((id, reply)) = answers.recv() => {
                    rpc::encode_response(id, &reply, true, &mut out);
                    while let Ok((id, reply)) = answers.try_recv() {
                        rpc::encode_response(id, &reply, true, &mut out);
                    }
                }
            }
            if !out.is_empty()
                && let Err(error) = connection::write(&mut self.writer, &out).await
            {
                return error.to_string();
            }
        }
    }
}

/// What a provider is asked, if that is what the frame holds.
fn asked(frame: &[u8]) -> Option<(u64, Asked)> {
    let Ok(rpc::Message::Request(request)) = rpc::decode(frame) else {
        return None;
    };
    let words = &request.argv;
    let method = String::from_utf8_lossy(words.get(3)?).into_owned();
    let arguments = words.get(4).map_or(&[][..], |word| word);
    let arguments = Bytes::copy_from_slice(arguments);
    Some((request.id, Asked { method, arguments }))
}

/// What became of an answer; a provider that panics has failed at one call only.
async fn outcome(working: JoinHandle<std::result::Result<Answer, String>>) -> Reply {
    match working.await {
        Ok(Ok(Answer(bytes))) => Reply::Bulk(bytes),
        Ok(Err(why)) => ReplyError::Received(why).into(),
        Err(_) => ReplyError::Received("the provider has failed".to_owned()).into(),
    }
}

fn shape(error: impl std::fmt::Display) -> Error {
    Error::Shape(error.to_string())
}
