//! A small sequential keyspace: what each command answers and changes, one after another.
//!
//! Written apart from the product on purpose. A key with a time to live has a span in which it may
//! vanish, since nobody outside knows which clock judged it: [`State::views`] gives every keyspace
//! that an operation may find.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use dht_proto::Reply;

use super::answer::Answer;
use super::command::{Command, Set, SetTtl, Verb, integer, show};
use super::history::Op;

const WRONG_TYPE: Answer =
    Answer::Error("WRONGTYPE Operation against a key holding the wrong kind of value");
const NOT_INTEGER: Answer = Answer::Error("ERR value is not an integer or out of range");
const HASH_NOT_INTEGER: Answer = Answer::Error("ERR hash value is not an integer");
const OVERFLOW: Answer = Answer::Error("ERR increment or decrement would overflow");
const INVALID_EXPIRE: Answer = Answer::Error("ERR invalid expire time in 'set' command");

/// From a time to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Not before.
    pub from_us: u64,
    /// Not after.
    pub to_us: u64,
}

/// When an operation was under way, by a clock that may differ from that of the servers.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Its call and its return; without return the end of time.
    pub span: Span,
    /// By how much the servers' time may differ from the clients' over a time to live.
    pub clock_error_us: u64,
}

impl Interval {
    /// When a key vanishes that was given a time to live within this interval.
    fn deadline(&self, ttl_ms: i64) -> Span {
        let ttl_us = u64::try_from(ttl_ms).unwrap_or(0).saturating_mul(1000);
        let from = self.span.from_us.saturating_add(ttl_us);
        let to = self.span.to_us.saturating_add(ttl_us);
        Span {
            from_us: from.saturating_sub(self.clock_error_us),
            to_us: to.saturating_add(self.clock_error_us),
        }
    }
}

/// The keys that operations share, and who watches them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    keys: BTreeMap<Bytes, Entry>,
    watches: BTreeMap<usize, Watch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    value: Value,
    deadline: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Value {
    String(Bytes),
    Hash(Fields),
}

type Fields = BTreeMap<Bytes, Field>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Field {
    value: Bytes,
    deadline: Option<Span>,
}

impl From<Bytes> for Field {
    fn from(value: Bytes) -> Self {
        Self {
            value,
            deadline: None,
        }
    }
}

/// What a client watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Watch {
    Clean(BTreeSet<Bytes>),
    /// One of the keys was changed.
    Dirty,
}

impl State {
    /// Every keyspace that an operation on these keys may find at a time within `now`: a key or
    /// field whose time has come may be gone or not, one whose time is over is gone.
    #[must_use]
    pub fn views<'a>(&self, keys: impl Iterator<Item = &'a Bytes>, now: Span) -> Vec<Self> {
        let mut views = vec![self.clone()];
        for key in keys {
            for (field, deadline) in self.deadlines(key) {
                if deadline.from_us > now.to_us {
                    continue;
                }
                let field = field.as_ref();
                let alive = views.iter().filter(|view| view.has(key, field));
                let mut gone: Vec<_> = alive.cloned().collect();
                gone.iter_mut().for_each(|view| view.lose(key, field));
                if deadline.to_us < now.from_us {
                    views.retain(|view| !view.has(key, field));
                }
                views.append(&mut gone);
            }
        }
        views
    }

    /// When a key and its fields vanish, of those that do.
    fn deadlines(&self, key: &Bytes) -> Vec<(Option<Bytes>, Span)> {
        let Some(entry) = self.keys.get(key) else {
            return vec![];
        };
        let mut all: Vec<_> = entry.deadline.map(|at| (None, at)).into_iter().collect();
        if let Value::Hash(fields) = &entry.value {
            let timed =
                |(name, field): (&Bytes, &Field)| Some((Some(name.clone()), field.deadline?));
            all.extend(fields.iter().filter_map(timed));
        }
        all
    }

    fn has(&self, key: &Bytes, field: Option<&Bytes>) -> bool {
        match (self.keys.get(key).map(|entry| &entry.value), field) {
            (Some(Value::Hash(fields)), Some(field)) => fields.contains_key(field),
            (found, None) => found.is_some(),
            _ => false,
        }
    }

    /// A key or a field vanishes; a hash with its last field.
    fn lose(&mut self, key: &Bytes, field: Option<&Bytes>) {
        if let (Some(field), Some(entry)) = (field, self.keys.get_mut(key))
            && let Value::Hash(fields) = &mut entry.value
        {
            fields.remove(field);
            if !fields.is_empty() {
                return;
            }
        }
        self.keys.remove(key);
    }

    /// Executes an operation at one moment; `during` says when it was under way. A WATCH and its
    /// transaction have the same `watch`.
    pub fn execute(&mut self, watch: Option<usize>, op: &Op, during: Interval) -> Answer {
        match op {
            Op::Single(command) => self.run(command, during),
            Op::Watch(keys) => {
                watch.into_iter().for_each(|watch| self.watch(watch, keys));
                Answer::Ok
            }
            Op::Transaction { commands, .. } => {
                if self.unwatch(watch) == Some(Watch::Dirty) {
                    return Answer::Nil;
                }
                let run = |command| self.run(command, during);
                Answer::Array(commands.iter().map(run).collect())
            }
        }
    }

    fn watch(&mut self, watch: usize, more: &[Bytes]) {
        let none = || Watch::Clean(BTreeSet::new());
        match self.watches.entry(watch).or_insert_with(none) {
            Watch::Clean(keys) => keys.extend(more.iter().cloned()),
            Watch::Dirty => {}
        }
    }

    fn unwatch(&mut self, watch: Option<usize>) -> Option<Watch> {
        self.watches.remove(&watch?)
    }

    /// A key was changed.
    fn touch(&mut self, key: &Bytes) {
        for watch in self.watches.values_mut() {
            if matches!(watch, Watch::Clean(keys) if keys.contains(key)) {
                *watch = Watch::Dirty;
            }
        }
    }

    fn run(&mut self, command: &Command, during: Interval) -> Answer {
        let Some(key) = command.keys.first() else {
            return Answer::Nil;
        };
        let answer = match &command.verb {
            Verb::Get => self.get(key),
            Verb::GetMany => Ok(self.get_many(&command.keys)),
            Verb::Strlen => self.strlen(key),
            Verb::Set(set) => self.set(key, set, during),
            Verb::SetMany(values) => Ok(self.set_many(&command.keys, values)),
            Verb::Append(tail) => self.append(key, tail),
            Verb::Add(by) => self.add(key, *by),
            Verb::Delete => Ok(self.delete(&command.keys)),
            Verb::Exists => Ok(self.exists(&command.keys)),
            Verb::HashSet(pairs) => self.hash_set(key, pairs),
            Verb::HashSetNew(field, value) => self.hash_set_new(key, field, value),
            Verb::HashGet(field) => self.hash_get(key, field),
            Verb::HashDelete(fields) => self.hash_delete(key, fields),
            Verb::HashAll => self.hash_all(key),
            Verb::HashLen => self.hash(key).map(|hash| Answer::count(hash.len())),
            Verb::HashAdd(field, by) => self.hash_add(key, field, *by),
            Verb::HashSetTtl(field, value, ttl_ms) => {
                self.hash_set_ttl(key, field, value, during.deadline(*ttl_ms))
            }
            Verb::HashExpire(field, ttl_ms) => {
                self.hash_expire(key, field, Some(during.deadline(*ttl_ms)))
            }
            Verb::HashPersist(field) => self.hash_expire(key, field, None),
            Verb::HashTtl(field) => self.hash_ttl(key, field),
            Verb::HashSwap(field, expected, new) => {
                self.hash_swap(key, field, expected.as_ref(), new.as_ref())
            }
            Verb::Expire(ttl_ms, rule) => Ok(self.expire(key, *ttl_ms, *rule, during)),
            Verb::Persist => Ok(self.persist(key)),
            Verb::Ttl => Ok(self.ttl(key)),
        };
        answer.unwrap_or_else(|error| error)
    }
}

/// An answer, or one that is an error.
type Answered = Result<Answer, Answer>;

/// Strings.
impl State {
    fn string(&self, key: &Bytes) -> Result<Option<&Bytes>, Answer> {
        match self.keys.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(Value::Hash(_)) => Err(WRONG_TYPE),
        }
    }

    /// Sets a string; the time to live stays unless the key is new.
    fn put(&mut self, key: &Bytes, value: Bytes) {
        let deadline = self.keys.get(key).and_then(|entry| entry.deadline);
        let value = Value::String(value);
        self.keys.insert(key.clone(), Entry { value, deadline });
        self.touch(key);
    }

    fn get(&self, key: &Bytes) -> Answered {
        Ok(Answer::bulk_or_nil(self.string(key)?))
    }

    fn get_many(&self, keys: &[Bytes]) -> Answer {
        let value = |key| Answer::bulk_or_nil(self.string(key).unwrap_or(None));
        Answer::Array(keys.iter().map(value).collect())
    }

    fn strlen(&self, key: &Bytes) -> Answered {
        Ok(Answer::count(self.string(key)?.map_or(0, Bytes::len)))
    }

    fn set(&mut self, key: &Bytes, set: &Set, during: Interval) -> Answered {
        if matches!(set.ttl, SetTtl::Ms(ttl) if ttl <= 0) {
            return Err(INVALID_EXPIRE);
        }
        let before = if set.get { Some(self.get(key)?) } else { None };
        let is_present = self.keys.contains_key(key);
        if set.present.is_some_and(|present| present != is_present) {
            return Ok(before.unwrap_or(Answer::Nil));
        }
        self.put(key, set.value.clone());
        if let Some(entry) = self.keys.get_mut(key) {
            match set.ttl {
                SetTtl::Keep => {}
                SetTtl::Clear => entry.deadline = None,
                SetTtl::Ms(ttl) => entry.deadline = Some(during.deadline(ttl)),
            }
        }
        Ok(before.unwrap_or(Answer::Ok))
    }

    fn set_many(&mut self, keys: &[Bytes], values: &[Bytes]) -> Answer {
        for (key, value) in keys.iter().zip(values) {
            self.keys.remove(key);
            self.put(key, value.clone());
        }
        Answer::Ok
    }

    fn append(&mut self, key: &Bytes, tail: &Bytes) -> Answered {
        let mut value = self.string(key)?.cloned().unwrap_or_default().to_vec();
        value.extend_from_slice(tail);
        let length = value.len();
        self.put(key, value.into());
        Ok(Answer::count(length))
    }

    fn add(&mut self, key: &Bytes, by: i64) -> Answered {
        let before = match self.string(key)? {
            None => 0,
            Some(text) => integer(text).ok_or(NOT_INTEGER)?,
        };
        let after = before.checked_add(by).ok_or(OVERFLOW)?;
        self.put(key, after.to_string().into());
        Ok(Answer::Int(after))
    }
}

/// Keys of any type.
impl State {
    fn delete(&mut self, keys: &[Bytes]) -> Answer {
        let mut deleted = 0;
        for key in keys {
            if self.keys.remove(key).is_some() {
                self.touch(key);
                deleted += 1;
            }
        }
        Answer::Int(deleted)
    }

    fn exists(&self, keys: &[Bytes]) -> Answer {
        let found = keys.iter().filter(|key| self.keys.contains_key(*key));
        Answer::count(found.count())
    }

    fn expire(&mut self, key: &Bytes, ttl: i64, rule: Option<bool>, during: Interval) -> Answer {
        let Some(entry) = self.keys.get_mut(key) else {
            return Answer::Int(0);
        };
        if rule.is_some_and(|has_ttl| has_ttl != entry.deadline.is_some()) {
            return Answer::Int(0);
        }
        if ttl <= 0 {
            return self.delete(std::slice::from_ref(key));
        }
        entry.deadline = Some(during.deadline(ttl));
        self.touch(key);
        Answer::Int(1)
    }

    fn persist(&mut self, key: &Bytes) -> Answer {
        let deadline = self
            .keys
            .get_mut(key)
            .and_then(|entry| entry.deadline.take());
        if deadline.is_some() {
            self.touch(key);
        }
        Answer::Int(i64::from(deadline.is_some()))
    }

    fn ttl(&self, key: &Bytes) -> Answer {
        match self.keys.get(key) {
            None => Answer::Int(-2),
            Some(Entry { deadline: None, .. }) => Answer::Int(-1),
            Some(_) => Answer::TimeLeft,
        }
    }
}

/// Hashes.
impl State {
    fn hash(&self, key: &Bytes) -> Result<&Fields, Answer> {
        static NONE: Fields = BTreeMap::new();
        match self.keys.get(key).map(|entry| &entry.value) {
            None => Ok(&NONE),
            Some(Value::Hash(hash)) => Ok(hash),
            Some(Value::String(_)) => Err(WRONG_TYPE),
        }
    }

    /// Changes a hash, which is created before and removed after if it has no fields then.
    fn change<R>(
        &mut self,
        key: &Bytes,
        change: impl FnOnce(&mut Fields) -> R,
    ) -> Result<R, Answer> {
        let empty = || Entry {
            value: Value::Hash(BTreeMap::new()),
            deadline: None,
        };
        let entry = self.keys.entry(key.clone()).or_insert_with(empty);
        let Value::Hash(hash) = &mut entry.value else {
            return Err(WRONG_TYPE);
        };
        let changed = change(hash);
        if hash.is_empty() {
            self.keys.remove(key);
        }
        Ok(changed)
    }

    fn hash_set(&mut self, key: &Bytes, pairs: &[(Bytes, Bytes)]) -> Answered {
        let new = self.change(key, |hash| {
            let before = hash.len();
            let pairs = pairs.iter().cloned();
            hash.extend(pairs.map(|(field, value)| (field, value.into())));
            hash.len() - before
        })?;
        self.touch(key);
        Ok(Answer::count(new))
    }

    fn hash_all(&self, key: &Bytes) -> Answered {
        let fields = self.hash(key)?.iter();
        let pairs = fields.map(|(name, field)| (name.clone(), field.value.clone()));
        Ok(Answer::Pairs(pairs.collect()))
    }

    fn hash_set_ttl(
        &mut self,
        key: &Bytes,
        field: &Bytes,
        value: &Bytes,
        deadline: Span,
    ) -> Answered {
        let field = field.clone();
        let value = Field {
            value: value.clone(),
            deadline: Some(deadline),
        };
        self.change(key, |hash| hash.insert(field, value))?;
        self.touch(key);
        Ok(Answer::Int(1))
    }

    /// Sets a deadline, or takes it away.
    fn hash_expire(&mut self, key: &Bytes, field: &Bytes, deadline: Option<Span>) -> Answered {
        let before = self.change(key, |hash| {
            let field = hash.get_mut(field)?;
            Some(std::mem::replace(&mut field.deadline, deadline))
        })?;
        let answer = match (before, deadline) {
            (None, _) => -2,
            (Some(None), None) => -1,
            _ => 1,
        };
        if answer == 1 {
            self.touch(key);
        }
        Ok(Answer::Array(vec![Answer::Int(answer)]))
    }

    fn hash_ttl(&self, key: &Bytes, field: &Bytes) -> Answered {
        let found = self.hash(key)?.get(field);
        let answer = match found.map(|field| field.deadline) {
            None => Answer::Int(-2),
            Some(None) => Answer::Int(-1),
            Some(Some(_)) => Answer::TimeLeft,
        };
        Ok(Answer::Array(vec![answer]))
    }

    fn hash_swap(
        &mut self,
        key: &Bytes,
        name: &Bytes,
        expected: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> Answered {
        let found = self.hash(key)?.get(name);
        if found.map(|field| &field.value) != expected {
            return Ok(Answer::Int(0));
        }
        let deadline = found.and_then(|field| field.deadline);
        let field = new.map(|value| Field {
            value: value.clone(),
            deadline,
        });
        let is_changed = expected.is_some() || new.is_some();
        self.change(key, |hash| match field {
            Some(field) => _ = hash.insert(name.clone(), field),
            None => _ = hash.remove(name),
        })?;
        if is_changed {
            self.touch(key);
        }
        Ok(Answer::Int(1))
    }

    fn hash_set_new(&mut self, key: &Bytes, field: &Bytes, value: &Bytes) -> Answered {
        if self.hash(key)?.contains_key(field) {
            return Ok(Answer::Int(0));
        }
        self.hash_set(key, &[(field.clone(), value.clone())])
    }

    fn hash_get(&self, key: &Bytes, field: &Bytes) -> Answered {
        let found = self.hash(key)?.get(field);
        Ok(Answer::bulk_or_nil(found.map(|field| &field.value)))
    }

    fn hash_delete(&mut self, key: &Bytes, fields: &[Bytes]) -> Answered {
        let deleted = self.change(key, |hash| {
            let before = hash.len();
            hash.retain(|field, _| !fields.contains(field));
            before - hash.len()
        })?;
        if deleted > 0 {
            self.touch(key);
        }
        Ok(Answer::count(deleted))
    }

    fn hash_add(&mut self, key: &Bytes, field: &Bytes, by: i64) -> Answered {
        let found = self.hash(key)?.get(field);
        let deadline = found.and_then(|field| field.deadline);
        let before = match found {
            None => 0,
            Some(field) => integer(&field.value).ok_or(HASH_NOT_INTEGER)?,
        };
        let after = before.checked_add(by).ok_or(OVERFLOW)?;
        let value = after.to_string().into();
        let field = field.clone();
        self.change(key, |hash| hash.insert(field, Field { value, deadline }))?;
        self.touch(key);
        Ok(Answer::Int(after))
    }
}

/// Something that a client did, as the search takes it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where it stands in the history.
    pub index: usize,
    /// Who.
    pub client: u64,
    /// What a transaction and the WATCHes before it have in common.
    pub watch: Option<usize>,
    /// What.
    pub op: Op,
    /// When it was under way.
    pub during: Interval,
    /// The answer, if known.
    pub reply: Option<Reply>,
}

impl Event {
    /// Every state after it, if it takes effect on `state` at a time within `now` and gives the
    /// answer that it gave.
    #[must_use]
    pub fn after(&self, state: &State, now: Span) -> Vec<State> {
        let keys = self.op.commands().iter().flat_map(|command| &command.keys);
        let mut views = state.views(keys, now);
        views.retain_mut(|view| self.happens(view));
        views
    }

    /// Does it; false if the answer would have been another.
    fn happens(&self, state: &mut State) -> bool {
        let Some(reply) = &self.reply else {
            state.execute(self.watch, &self.op, self.during);
            return true;
        };
        let may_abort = matches!(&self.op, Op::Transaction { watch, .. } if !watch.is_empty());
        if may_abort && *reply == Reply::Nil {
            // For whatever reason: a watch may be dropped, and an expired key may count or not.
            state.unwatch(self.watch);
            return true;
        }
        let answer = state.execute(self.watch, &self.op, self.during);
        answer.fits(reply)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keys.is_empty() {
            f.write_str("no keys")?;
        }
        for (index, (key, entry)) in self.keys.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} = ", show(std::slice::from_ref(key)))?;
            match &entry.value {
                Value::String(value) => f.write_str(&show(std::slice::from_ref(value)))?,
                Value::Hash(hash) => {
                    let words = hash.iter().flat_map(|(name, field)| [name, &field.value]);
                    let words: Vec<_> = words.cloned().collect();
                    write!(f, "{{{}}}", show(&words))?;
                }
            }
            if let Some(at) = entry.deadline {
                write!(f, " (vanishes {} .. ", at.from_us)?;
                match at.to_us {
                    u64::MAX => f.write_str("any time)")?,
                    to => write!(f, "{to})")?,
                }
            }
        }
        for watch in self.watches.values() {
            match watch {
                Watch::Clean(keys) => {
                    let keys: Vec<_> = keys.iter().cloned().collect();
                    write!(f, "; {} watched, unchanged", show(&keys))?;
                }
                Watch::Dirty => f.write_str("; watched keys changed")?,
            }
        }
        Ok(())
    }
}
