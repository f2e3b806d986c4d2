//! Services: functions that one program offers under a name and others call through any node. What
//! is handed over, and what comes back, is MessagePack, by serde.
//!
//! A provider has a connection of its own, over which it is asked; it makes another one, at another
//! node if need be, when it breaks.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dht_proto::{Reply, ReplyError, rpc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::{self, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::client::{Client, random};
use crate::command::{Arg, Command};
use crate::connection;
use crate::error::{Cause, Error, Result};
use crate::line::{Line, SILENCE, Seeds};
use crate::value::FromReply;
use crate::verdict::{Backoff, Fate};
use crate::word::Word;

/// Pauses between tries to register, in milliseconds.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 1000;
/// A connection that has lasted for so long was a good one, and the next pause is the first again.
const LASTING: Duration = Duration::from_secs(10);

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

/// A service that this program offers, until this is dropped: calls that are not answered then end,
/// too.
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
    /// once. Gives the provider once the service is registered, for which all seeds are tried again
    /// until the deadline.
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
    /// [`Error::Reply`] when the cluster refuses the name, [`Error::Address`] when what is there
    /// are no nodes of dht, otherwise as for any command.
    pub async fn provide<F, A>(&self, name: &str, answer: F) -> Result<Provider>
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answered> + Send + 'static,
    {
        let mut post = Post {
            seeds: self.shared().seeds(),
            name: name.to_owned(),
        };
        let deadline = Instant::now() + self.deadline();
        let line = post.begin(deadline).await?;
        Ok(Provider(tokio::spawn(post.serve(line, Arc::new(answer)))))
    }
}

/// What becomes of a call: its answer, or why there is none.
type Answered = std::result::Result<Answer, String>;

/// Where a service is offered.
struct Post {
    seeds: Seeds,
    name: String,
}

impl Post {
    /// Registers at any node that can be reached in time.
    async fn begin(&mut self, deadline: Instant) -> Result<Line> {
        let mut last = Error::NotDone(Cause::Deadline);
        let mut backoff = new_backoff();
        let trying = async {
            loop {
                match self.register().await {
                    Err(error @ Error::NotDone(_)) => last = error,
                    registered => return registered,
                }
                sleep(backoff.pause(random())).await;
            }
        };
        let begun = timeout_at(deadline, trying).await;
        begun.unwrap_or_else(|_| Err(last))
    }

    /// Registers at the first node that can be reached.
    async fn register(&mut self) -> Result<Line> {
        let name = &self.name;
        self.seeds.connect(|line| register(line, name)).await
    }

    /// Answers calls, over one connection after the other.
    async fn serve<F, A>(mut self, mut line: Line, answer: Arc<F>)
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answered> + Send + 'static,
    {
        let mut backoff = new_backoff();
        loop {
            let since = Instant::now();
            let error = serve(line, &answer).await;
            let service = &self.name;
            tracing::debug!(service, %error, "the provider's connection broke");
            self.seeds.pass();
            if since.elapsed() >= LASTING {
                backoff = new_backoff();
            }
            line = loop {
                sleep(backoff.pause(random())).await;
                match self.register().await {
                    Ok(line) => break line,
                    Err(error) => {
                        let service = &self.name;
                        tracing::debug!(service, %error, "the service is not registered");
                    }
                }
            };
        }
    }
}

const fn new_backoff() -> Backoff {
    Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS)
}

/// Registers a service on a connection. Without an answer it is not registered: the connection is
/// given up.
async fn register(mut line: Line, name: &str) -> Result<Line> {
    let id = line.request(&["SERVICE", "REGISTER", name]);
    let answered = timeout(SILENCE, line.hear()).await;
    let frame = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let reply = frame.and_then(|frame| match rpc::decode(&frame) {
        Ok(rpc::Message::Response { id: to, reply }) if to == id => Ok(reply),
        _ => Err(io::Error::other("it sent what is no answer")),
    });
    let reply = reply.map_err(|error| Error::NotDone(line.broken(&error)))?;
    connection::settled(Fate::Answered(reply)).map(|_| line)
}

/// Answers calls until the connection breaks; gives the reason. What was not answered by then is of
/// use to nobody, and ends.
async fn serve<F, A>(mut line: Line, answer: &Arc<F>) -> io::Error
where
    F: Fn(Asked) -> A + Send + Sync + 'static,
    A: Future<Output = Answered> + Send + 'static,
{
    let mut working = JoinSet::new();
    // The numbers of the calls.
    let mut calls = HashMap::new();
    loop {
        tokio::select! {
            frame = line.hear() => match frame {
                Ok(frame) => {
                    if let Some((number, asked)) = asked(&frame) {
                        let answer = Arc::clone(answer);
                        let work = working.spawn(async move { answer(asked).await });
                        calls.insert(work.id(), number);
                    }
                }
                Err(error) => return error,
            },
            Some(worked) = working.join_next_with_id() => {
                let (work, reply) = outcome(worked);
                if let Some(number) = calls.remove(&work) {
                    rpc::encode_response(number, &reply, true, &mut line.out);
                }
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
fn outcome(worked: std::result::Result<(task::Id, Answered), JoinError>) -> (task::Id, Reply) {
    match worked {
        Ok((work, Ok(Answer(bytes)))) => (work, Reply::Bulk(bytes)),
        Ok((work, Err(why))) => (work, ReplyError::Received(why).into()),
        Err(error) => {
            let why = "the provider has failed".to_owned();
            (error.id(), ReplyError::Received(why).into())
        }
    }
}

fn shape(error: impl std::fmt::Display) -> Error {
    Error::Shape(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::connection::Frames;
    use crate::testing::{Act, FakeNode, refuse};
    use crate::url::{Scheme, Target};

    fn client(scheme: Scheme, nodes: &[&FakeNode]) -> Client {
        let seeds = nodes.iter().map(|node| node.address.clone()).collect();
        let mut target: Target = "dht://:secret@h".parse().unwrap();
        (target.scheme, target.seeds) = (scheme, seeds);
        Client::over(Arc::new(Frames::Tcp(None)), target)
    }

    async fn provide(client: &Client) -> Result<Provider> {
        client
            .provide("S", |asked| async move { asked.answer(&()) })
            .await
    }

    #[tokio::test]
    async fn nobody_but_a_node_is_told_the_password() {
        let server = FakeNode::start(|_| Act::Answer(Reply::Ok)).await;
        for scheme in [Scheme::Redis, Scheme::RedisTls, Scheme::ClusterTls] {
            let refused = provide(&client(scheme, &[&server])).await.err();
            assert!(matches!(refused, Some(Error::Address(_))), "{refused:?}");
        }
        assert_eq!(server.seen(), [""; 0]);
    }

    #[tokio::test]
    async fn every_seed_is_tried_until_one_registers() {
        let down = FakeNode::start(|command| match command {
            "AUTH secret" => Act::Answer(Reply::Ok),
            _ => refuse("LOADING the node reads its data"),
        });
        let tries = Arc::new(AtomicUsize::new(0));
        let late = FakeNode::start(move |command| match command {
            "SERVICE REGISTER S" if tries.fetch_add(1, Relaxed) == 0 => Act::Hang,
            _ => Act::Answer(Reply::Ok),
        });
        let (down, late) = (down.await, late.await);
        let client = client(Scheme::Dht, &[&down, &late]);
        assert!(provide(&client).await.is_ok());
        let registered = |node: &FakeNode| {
            let seen = node.seen();
            seen.iter().filter(|it| it.starts_with("SERVICE")).count()
        };
        assert_eq!((registered(&down), registered(&late)), (2, 2));
    }

    #[tokio::test]
    async fn what_a_node_refuses_for_good_is_told_at_once() {
        let node = FakeNode::start(|command| match command {
            "AUTH secret" => Act::Answer(Reply::Ok),
            _ => refuse("ERR a name of a service is too long"),
        });
        let node = node.await;
        let refused = provide(&client(Scheme::Dht, &[&node])).await.err();
        assert!(matches!(refused, Some(Error::Reply(_))), "{refused:?}");
        assert_eq!(node.seen(), ["AUTH secret", "SERVICE REGISTER S"]);
    }
}
