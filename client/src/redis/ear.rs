//! Listens in the protocol of Redis, version 3, over connections of the `redis` crate that nobody
//! shares. It reads whatever comes, so what nobody asks for waits here, within a limit.
//!
//! Channels without a slot are heard at any server of a cluster, the others only at the server that
//! has their slot: there is one connection to each of those. When one of them breaks, or a slot
//! moves away, all are made anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dht_proto::Reply;
use dht_proto::slot::key_slot;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{CONNECT, Redis, reply};
use crate::backend::Keyspace;
use crate::connection::settled;
use crate::ear::{Change, Names, TOO_MUCH, WAYS, Waiting, change};
use crate::error::{Cause, Error, Result};
use crate::line::SILENCE;
use crate::subscription::Message;
use crate::url::Target;
use crate::verdict::{Fate, Repeat, Turn, Verdict, judge};
use crate::word::Word;

/// How often a slot is followed to where it has gone.
const HOPS: usize = 5;
/// The way to listen that has slots, by its index.
const SHARDED: usize = 2;

/// Listens at the first seed that can be reached, and where slots are.
pub struct Ear {
    redis: Redis,
    seeds: Vec<String>,
    /// The seed that is connected, or tried first, by index.
    next: usize,
    open: Option<Open>,
}

impl Ear {
    /// Nothing is connected yet.
    pub fn new(target: Target) -> Self {
        Self {
            redis: Redis::new(&target),
            seeds: target.seeds,
            next: 0,
            open: None,
        }
    }

    /// See [`Ear::ask`](crate::ear::Ear::ask).
    pub async fn ask(&mut self, words: &[Word], names: &Names) -> Result<Reply> {
        let asked = self.connect(names).await?.ask(words, names).await;
        self.noted(asked)
    }

    /// See [`Ear::next`](crate::ear::Ear::next).
    pub async fn next(&mut self, names: &Names) -> Result<Message> {
        let next = self.connect(names).await?.mail.next().await;
        self.noted(next)
    }

    /// Gives the connections up.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Gives the connections up where one of them broke, and turns to another seed.
    fn noted<T>(&mut self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::Unknown(_))) {
            self.close();
            self.pass();
        }
        result
    }

    fn pass(&mut self) {
        self.next = (self.next + 1) % self.seeds.len().max(1);
    }

    /// Connects where there is no connection, and listens there to everything.
    async fn connect(&mut self, names: &Names) -> Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.open(names).await?,
        };
        Ok(self.open.insert(open))
    }

    /// The first seed at which all the names can be listened to.
    async fn open(&mut self, names: &Names) -> Result<Open> {
        let mut found = Error::Address("there is no address".to_owned());
        for _ in 0..self.seeds.len() {
            let seed = self.seeds[self.next].as_str();
            let opening = timeout(CONNECT, Open::new(self.redis.clone(), seed, names)).await;
            match opening {
                Ok(Ok(open)) => return Ok(open),
                Ok(Err(error)) if !matches!(found, Error::Reply(_)) => found = not_done(error),
                Ok(Err(_)) => (),
                Err(_) => found = not_done(broken(seed, "it does not answer")),
            }
            self.pass();
        }
        Err(found)
    }
}

/// Of a connection that has never served anybody nothing was missed.
fn not_done(error: Error) -> Error {
    match error {
        Error::Unknown(Cause::Broken { address, why }) => {
            Error::NotDone(Cause::Unreachable { address, why })
        }
        other => other,
    }
}

fn broken(address: &str, why: &str) -> Error {
    Error::Unknown(Cause::Broken {
        address: address.to_owned(),
        why: why.to_owned(),
    })
}

/// Open connections.
struct Open {
    redis: Redis,
    mail: Arc<Mailbox>,
    /// By `host:port`.
    lines: HashMap<Arc<str>, MultiplexedConnection>,
    /// Where everything is listened to that has no slot.
    home: Arc<str>,
    /// Where slots are, as far as another server has said so.
    owners: HashMap<u16, Arc<str>>,
    /// They find out whether the servers are still there, until this is dropped.
    pulses: JoinSet<()>,
}

impl Open {
    async fn new(redis: Redis, home: &str, names: &Names) -> Result<Self> {
        let home: Arc<str> = home.into();
        let mut open = Self {
            redis,
            mail: Arc::default(),
            lines: HashMap::new(),
            home: Arc::clone(&home),
            owners: HashMap::new(),
            pulses: JoinSet::new(),
        };
        open.line(&home).await?;
        for (way, (begin, _)) in (0..).zip(WAYS) {
            let of_way = names.iter().filter(|(name, _)| *name == begin);
            let words: Vec<Bytes> = of_way.map(|(_, word)| word.clone()).collect();
            let answers = open.say(way, Change::Begin, &words).await?;
            for answer in answers {
                settled(Fate::Answered(answer))?;
            }
        }
        Ok(open)
    }

    /// Sends a command, and waits for its answer: all of it is done, or nothing.
    async fn ask(&mut self, words: &[Word], names: &Names) -> Result<Reply> {
        let (name, args) = words
            .split_first()
            .map_or((&[][..], &[][..]), |it| (it.0, it.1));
        let mut args: Vec<Bytes> = args.iter().cloned().map(Bytes::from).collect();
        let Some((way, change)) = change(name) else {
            return self.ask_home(words).await;
        };
        let begin = WAYS[way].0;
        if args.is_empty() && change == Change::End {
            let of_way = names.iter().filter(|(name, _)| *name == begin);
            args = of_way.map(|(_, word)| word.clone()).collect();
        }
        if args.is_empty() {
            return self.ask_home(words).await;
        }
        let answers = self.say(way, change, &args).await?;
        let refused = answers.iter().find(|it| matches!(it, Reply::Error(_)));
        let Some(refused) = refused.cloned() else {
            return Ok(Reply::Array(answers));
        };
        if change == Change::Begin {
            let is_new = |word: &Bytes| !names.contains(&(begin, word.clone()));
            let done = args
                .iter()
                .zip(&answers)
                .filter(|(word, answer)| !matches!(answer, Reply::Error(_)) && is_new(word));
            let done: Vec<Bytes> = done.map(|(word, _)| word.clone()).collect();
            self.say(way, Change::End, &done).await?;
        }
        Ok(refused)
    }

    /// Sends what is about no name.
    async fn ask_home(&mut self, words: &[Word]) -> Result<Reply> {
        let home = Arc::clone(&self.home);
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(&word[..]);
        }
        let line = self.line(&home).await?;
        let sent = line.send_packed_command(&command).await;
        let value = sent.map_err(|error| broken(&home, &error.to_string()))?;
        Ok(match confirmation(&value) {
            Some((answer, _)) => Reply::Array(vec![answer]),
            None => reply(value),
        })
    }

    /// Begins or ends to listen to each of these names where it has to be said; gives what is
    /// answered to each.
    async fn say(&mut self, way: usize, change: Change, words: &[Bytes]) -> Result<Vec<Reply>> {
        let mut answers = vec![Reply::Nil; words.len()];
        let mut open: Vec<usize> = (0..words.len()).collect();
        for _ in 0..HOPS {
            let mut places: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
            for index in open.drain(..) {
                let place = self.place(way, &words[index]);
                places.entry(place).or_default().push(index);
            }
            for (address, indexes) in places {
                let there: Vec<&Bytes> = indexes.iter().map(|index| &words[*index]).collect();
                let replies = self.send(&address, (way, change), &there).await?;
                for (index, reply) in indexes.into_iter().zip(replies) {
                    if let Some((slot, to)) = self.moved(&reply) {
                        self.owners.insert(slot, to);
                        open.push(index);
                    }
                    answers[index] = reply;
                }
            }
            if open.is_empty() {
                break;
            }
        }
        Ok(answers)
    }

    /// Where a name is listened to.
    fn place(&self, way: usize, word: &Bytes) -> Arc<str> {
        let is_sharded = way == SHARDED && self.redis.keyspace == Keyspace::Slots;
        let owner = is_sharded
            .then(|| self.owners.get(&key_slot(word)))
            .flatten();
        Arc::clone(owner.unwrap_or(&self.home))
    }

    /// Where a slot is, if that is what was answered.
    fn moved(&self, answer: &Reply) -> Option<(u16, Arc<str>)> {
        let has_slots = self.redis.keyspace == Keyspace::Slots;
        match judge(Fate::Answered(answer.clone()), Repeat::Never) {
            Verdict::Again(_, Turn::Moved { slot, to }) if has_slots => Some((slot, to.into())),
            _ => None,
        }
    }

    /// Says it to one server, each name in a command of its own, so that each has one answer.
    async fn send(
        &mut self,
        address: &Arc<str>,
        (way, change): (usize, Change),
        words: &[&Bytes],
    ) -> Result<Vec<Reply>> {
        let (begin, end) = WAYS[way];
        let name = if change == Change::Begin { begin } else { end };
        let mut pipeline = redis::Pipeline::with_capacity(words.len());
        for word in words {
            pipeline.cmd(name).arg(&word[..]);
        }
        if change == Change::End {
            self.mail.expect_ends(words);
        }
        let line = self.line(address).await?;
        let sent = line.send_packed_commands(&pipeline, 0, words.len()).await;
        let values = sent.map_err(|error| broken(address, &error.to_string()))?;
        let mut replies = Vec::with_capacity(words.len());
        for (word, value) in words.iter().zip(values) {
            replies.push(match (confirmation(&value), value) {
                (Some((answer, of)), _) if of == **word => answer,
                (None, value @ Value::ServerError(_)) => {
                    self.mail.take_end(word);
                    reply(value)
                }
                // A slot has moved away meanwhile.
                _ => return Err(broken(address, "its answers are in disorder")),
            });
        }
        Ok(replies)
    }

    /// The connection to a server, which is made if there is none.
    async fn line(&mut self, address: &Arc<str>) -> Result<&mut MultiplexedConnection> {
        if !self.lines.contains_key(address) {
            let is_heard = Arc::new(AtomicBool::new(false));
            let (mail, at, heard) = (
                Arc::clone(&self.mail),
                Arc::clone(address),
                Arc::clone(&is_heard),
            );
            let push = move |push: PushInfo| {
                heard.store(true, Ordering::Relaxed);
                mail.take(&at, push);
                Ok::<(), ()>(())
            };
            let connected = match self.redis.dial(address, push).await {
                Ok(connected) => connected,
                Err(fate) => {
                    // Where the slots are that were there, another server may know.
                    self.owners.retain(|_, owner| owner != address);
                    return Err(settled(fate).err().unwrap_or_else(|| broken(address, "")));
                }
            };
            let pulse = pulse(
                connected.clone(),
                Arc::clone(address),
                is_heard,
                Arc::clone(&self.mail),
            );
            self.pulses.spawn(pulse);
            self.lines.insert(Arc::clone(address), connected);
        }
        self.lines
            .get_mut(address)
            .ok_or_else(|| broken(address, "it is gone"))
    }
}

/// Asks a silent server for a sign of life; ends when there is none.
async fn pulse(
    mut line: MultiplexedConnection,
    address: Arc<str>,
    is_heard: Arc<AtomicBool>,
    mail: Arc<Mailbox>,
) {
    loop {
        sleep(SILENCE).await;
        if is_heard.swap(false, Ordering::Relaxed) {
            continue;
        }
        let sign = timeout(SILENCE, line.send_packed_command(&redis::cmd("PING"))).await;
        match sign {
            Ok(Ok(_)) => (),
            Ok(Err(error)) => return mail.end(broken(&address, &error.to_string())),
            Err(_) if is_heard.load(Ordering::Relaxed) => (),
            Err(_) => return mail.end(broken(&address, "it does not answer")),
        }
    }
}

/// What was heard on all connections.
#[derive(Default)]
struct Mailbox {
    state: Mutex<Mail>,
    news: Notify,
}

#[derive(Default)]
struct Mail {
    waiting: Waiting,
    /// Why nothing more is heard.
    end: Option<Error>,
    /// Names with a slot whose end was asked for, and not confirmed yet.
    ends: Vec<Bytes>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next(&self) -> Result<Message> {
        loop {
            {
                let mut mail = self.lock();
                if let Some(message) = mail.waiting.pop() {
                    return Ok(message);
                }
                if let Some(end) = &mail.end {
                    return Err(end.clone());
                }
            }
            self.news.notified().await;
        }
    }

    /// Takes what came on a connection.
    fn take(&self, address: &str, push: PushInfo) {
        let PushInfo { kind, data } = push;
        match kind {
            PushKind::Disconnection => self.end(broken(address, "it was closed")),
            PushKind::SUnsubscribe => {
                let name = data.into_iter().next().and_then(bytes);
                if name.is_some_and(|name| !self.take_end(&name)) {
                    self.end(broken(address, "a slot has moved away"));
                }
            }
            _ => {
                if let Some(message) = message(&kind, data) {
                    self.put(address, message);
                }
            }
        }
    }

    fn put(&self, address: &str, message: Message) {
        let mut mail = self.lock();
        if mail.end.is_none() && !mail.waiting.push(message) {
            mail.end = Some(broken(address, TOO_MUCH));
        }
        drop(mail);
        self.news.notify_one();
    }

    /// Nothing more is heard behind what waits.
    fn end(&self, why: Error) {
        self.lock().end.get_or_insert(why);
        self.news.notify_one();
    }

    fn expect_ends(&self, words: &[&Bytes]) {
        let words = words.iter().map(|word| (*word).clone());
        self.lock().ends.extend(words);
    }

    /// Whether the end of this name was asked for, which is then confirmed.
    fn take_end(&self, word: &Bytes) -> bool {
        let mut mail = self.lock();
        let at = mail.ends.iter().position(|it| it == word);
        at.map(|at| mail.ends.swap_remove(at)).is_some()
    }
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

fn message(kind: &PushKind, data: Vec<Value>) -> Option<Message> {
    let has_pattern = match kind {
        PushKind::Message | PushKind::SMessage => false,
        PushKind::PMessage => true,
        _ => return None,
    };
    let mut words = data.into_iter().filter_map(bytes);
    Some(Message {
        pattern: if has_pattern {
            Some(words.next()?)
        } else {
            None
        },
        sharded: *kind == PushKind::SMessage,
        channel: words.next()?,
        text: words.next()?,
    })
}

/// The answer of who has begun or ended to listen, as frames have it, and the name that it is
/// about.
fn confirmation(value: &Value) -> Option<(Reply, Bytes)> {
    let Value::Push { kind, data } = value else {
        return None;
    };
    let name = data.first().cloned().and_then(bytes).unwrap_or_default();
    let kind = Reply::bulk(kind.to_string());
    let rest = data.iter().cloned().map(reply);
    Some((
        Reply::Array(std::iter::once(kind).chain(rest).collect()),
        name,
    ))
}
