//! A node that keeps no data: what its connections ask is done by a Redis, a Valkey or a Redis
//! Cluster, through the client library, in the place of the replication thread.
//!
//! It knows of commands only what the client does. Commands of one connection go on in the order in
//! which they came.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::{io, thread};

use dht_client::{Cause, Client, Command, Error, Pipeline, Target, Watch};
use dht_proto::{Reply, ReplyError};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::info;

use super::Alarm;
use super::replication::{Event, Settled};
use crate::core::pack::Reader;
use crate::core::replication::task::{self, Task, Words};
use crate::core::replication::worker::Request;
use crate::core::session::Ticket;
use crate::core::store::Watcher;

/// Requests of a connection that go on together at most.
const BATCH: usize = 1024;

/// What a connection asks.
type Asked = Vec<Request<Ticket>>;

/// What is wrong with a backend's URL.
pub fn mistake(url: &str) -> Option<String> {
    url.parse::<Target>().err().map(|error| error.to_string())
}

/// Starts the thread that hands on what connections ask. Has to be called inside a tokio runtime.
///
/// # Errors
/// The URL makes no sense, or the system gives no thread.
pub fn start(url: &str, events: Receiver<Event>, alarm: Alarm) -> io::Result<()> {
    let target = url.parse().map_err(io::Error::other)?;
    let client = Client::open(target).map_err(io::Error::other)?;
    let runtime = Handle::current();
    let run = move || {
        let _alarm = alarm;
        hand_on(&client, &runtime, &events);
    };
    thread::Builder::new()
        .name("backend".to_owned())
        .spawn(run)?;
    info!("Ready to accept connections");
    Ok(())
}

fn hand_on(client: &Client, runtime: &Handle, events: &Receiver<Event>) {
    let mut connections: BTreeMap<u64, UnboundedSender<Asked>> = BTreeMap::new();
    while let Ok(event) = events.recv() {
        match event {
            Event::Connect(id, answers) => {
                let (sender, asked) = unbounded_channel();
                runtime.spawn(serve(client.clone(), asked, answers));
                connections.insert(id, sender);
            }
            Event::Ask(id, asked) => {
                // A session has few requests that are not answered, so few wait here.
                let _ = connections.get(&id).map(|to| to.send(asked));
            }
            Event::Disconnect(id) => _ = connections.remove(&id),
            Event::Leave(left) => _ = left.send(()),
            Event::Stop => return info!("the backend is not used any more"),
            Event::Peer(_) | Event::Made(_) | Event::Disk(_) => {}
        }
    }
}

/// Does what one connection asks.
async fn serve(
    client: Client,
    mut asked: UnboundedReceiver<Asked>,
    answers: UnboundedSender<Settled>,
) {
    let mut line = Line {
        client: &client,
        queue: Vec::new(),
        watch: None,
        settled: Vec::new(),
    };
    let mut batches = Vec::new();
    while asked.recv_many(&mut batches, BATCH).await > 0 {
        for request in batches.drain(..).flatten() {
            line.take(request).await;
        }
        line.flush().await;
        if answers.send(std::mem::take(&mut line.settled)).is_err() {
            return;
        }
    }
}

/// What is known of one connection.
struct Line<'a> {
    client: &'a Client,
    /// Commands that go on together.
    queue: Vec<(Option<Ticket>, Command)>,
    /// What the connection watches, and under which token.
    watch: Option<(u64, Watch)>,
    settled: Settled,
}

impl Line<'_> {
    async fn take(&mut self, request: Request<Ticket>) {
        let ticket = request.pending.ticket;
        let found = task::decode(&mut Reader::new(&request.pending.task));
        let reply = match found {
            // One shard stands for the backend; what is for another is about a cluster of nodes.
            Ok(_) if request.shard > 0 => refusal("this node has a backend, and no cluster"),
            Ok(Task::Command(words)) => return self.queue.push((ticket, command(&words))),
            Ok(Task::Watch(watcher, keys)) => {
                self.flush().await;
                self.watch(watcher, &keys).await
            }
            Ok(Task::Exec(watcher, commands)) => {
                self.flush().await;
                self.exec(watcher, &commands).await
            }
            Ok(Task::Forget(token)) => {
                self.watch.take_if(|(watching, _)| *watching == token);
                Reply::Ok
            }
            Ok(Task::Open | Task::OpenLane | Task::Placed(..)) => {
                refusal("the backend of this node has no sessions")
            }
            Ok(Task::Nothing | Task::Expire(_)) | Err(_) => refusal("no task for a backend"),
        };
        self.settle(ticket, reply);
    }

    /// Has all commands done that wait.
    async fn flush(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let (tickets, commands): (Vec<_>, Vec<_>) = self.queue.drain(..).unzip();
        let results = pipeline(self.client, commands).send().await;
        for (ticket, result) in tickets.into_iter().zip(results) {
            let reply = result.unwrap_or_else(told);
            self.settle(ticket, reply);
        }
    }

    fn settle(&mut self, ticket: Option<Ticket>, reply: Reply) {
        self.settled
            .extend(ticket.map(|ticket| (ticket, reply.into())));
    }

    async fn watch(&mut self, watcher: Watcher, keys: &Words<'_>) -> Reply {
        let known = self
            .watch
            .take()
            .filter(|(token, _)| *token == watcher.token);
        let result = match known {
            Some((token, watch)) => {
                let words = [&b"WATCH"[..]].into_iter().chain(keys.iter().copied());
                let more = watch.call(words).await;
                more.map(|_| (token, watch))
            }
            None => {
                let watch = self.client.watch(keys).await;
                watch.map(|watch| (watcher.token, watch))
            }
        };
        match result {
            Ok(watch) => {
                self.watch = Some(watch);
                Reply::Ok
            }
            Err(error) => told(error),
        }
    }

    async fn exec(&mut self, watcher: Option<Watcher>, commands: &[Words<'_>]) -> Reply {
        let commands = commands.iter().map(command).collect();
        let commands = pipeline(self.client, commands);
        let Some(watcher) = watcher else {
            return commands.exec().await.map_or_else(told, Reply::Array);
        };
        let known = self
            .watch
            .take()
            .filter(|(token, _)| *token == watcher.token);
        // A watch that was lost cannot say that nothing has changed.
        let Some((_, watch)) = known else {
            return Reply::NilArray;
        };
        let answers = watch.exec(commands).await;
        answers.map_or_else(told, |answers| {
            answers.map_or(Reply::NilArray, Reply::Array)
        })
    }
}

fn command(words: &Words<'_>) -> Command {
    Command::from_words(words.iter().copied())
}

fn pipeline(client: &Client, commands: Vec<Command>) -> Pipeline<'_> {
    commands
        .into_iter()
        .fold(client.pipeline(), Pipeline::command)
}

fn refusal(why: &'static str) -> Reply {
    ReplyError::err(why).into()
}

/// What a client is told of a command that gave no value.
fn told(error: Error) -> Reply {
    let text = match error {
        Error::Reply(error) if is_unknown_command(&error) => {
            "ERR the backend does not know this command, and this node cannot do it in its place"
                .to_owned()
        }
        Error::Reply(error) => return error.into(),
        Error::NotDone(Cause::Cluster(error)) if error.prefix() == "TRYAGAIN" => {
            return error.into();
        }
        Error::NotDone(cause) => format!("CLUSTERDOWN the backend did not do it: {cause}"),
        Error::Unknown(cause) => {
            format!("UNKNOWN the backend may or may not have done it: {cause}")
        }
        other => format!("ERR the backend: {other}"),
    };
    ReplyError::Received(text).into()
}

fn is_unknown_command(error: &ReplyError) -> bool {
    error.to_string().starts_with("ERR unknown ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_is_told() {
        let check = |error: Error, expect: &str| {
            let Reply::Error(error) = told(error) else {
                panic!("no error");
            };
            assert!(error.to_string().starts_with(expect), "{error}");
        };
        let received = |text: &str| ReplyError::Received(text.to_owned());
        let moved = Cause::Cluster(received("MOVED 1 h:1"));
        check(
            Error::NotDone(moved),
            "CLUSTERDOWN the backend did not do it",
        );
        check(
            Error::NotDone(Cause::Cluster(received("TRYAGAIN x"))),
            "TRYAGAIN x",
        );
        check(Error::Unknown(Cause::Deadline), "UNKNOWN ");
        check(Error::Reply(received("WRONGTYPE x")), "WRONGTYPE x");
        let unknown = received("ERR unknown command 'HCAS', with args beginning with: ");
        check(Error::Reply(unknown), "ERR the backend does not know");
    }
}
