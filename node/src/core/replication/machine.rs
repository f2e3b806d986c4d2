//! The state machine of a shard: applies the tasks of committed entries to the store. The same
//! entries give the same state on every replica.

use std::sync::Arc;

use bytes::BytesMut;
use dht_proto::frame::Malformed;
use dht_proto::{Reply, ReplyError};

use super::sessions::{Admission, Order, Sessions};
use super::task::{Entry, Place, Task, Words};
use crate::core::atomic::{self, Batch};
use crate::core::execute;
use crate::core::lease::Word;
use crate::core::mutation::{self, Mutation};
use crate::core::pack::{self, Reader};
use crate::core::random::Random;
use crate::core::rest::{Found, Rest};
use crate::core::store::{Key, SlotSet, Store, Watched, Watcher};
use crate::core::time::UnixMs;

/// A shard's replicated state, besides the data in the store.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The shard's slots: no task touches others.
    pub slots: SlotSet,
    /// The greatest stamp applied.
    pub time: UnixMs,
    /// What makes retries harmless.
    pub sessions: Sessions,
    /// What transactions to come depend on.
    pub watched: Watched,
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was executed, now or before.
    Done(Reply),
    /// Likewise, but the reply is still to be made.
    Later(Rest),
    /// An earlier one of its session is missing; it was not executed.
    Gap,
    /// Its session is unknown here; it was not executed now, perhaps before.
    Unknown,
}

impl From<Found> for Answer {
    fn from(found: Found) -> Self {
        match found {
            Found::Reply(reply) => Self::Done(reply),
            Found::Rest(rest) => Self::Later(rest),
        }
    }
}

impl Answer {
    /// What a client is told.
    #[must_use]
    pub fn found(self) -> Found {
        match self {
            Self::Done(reply) => reply.into(),
            Self::Later(rest) => Found::Rest(rest),
            Self::Gap | Self::Unknown => session_unknown().into(),
        }
    }
}

impl Machine {
    /// The state of a new shard.
    #[must_use]
    pub fn new(slots: SlotSet) -> Self {
        Self {
            slots,
            time: 0,
            sessions: Sessions::default(),
            watched: Watched::default(),
        }
    }

    /// Appends the state, for a copy of the shard.
    pub fn encode(&self, out: &mut BytesMut) {
        pack::uint(out, self.time);
        self.sessions.encode(out);
        self.watched.encode(out);
    }

    /// Reads what [`Self::encode`] has written.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(bytes: &[u8], slots: SlotSet) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        Ok(Self {
            slots,
            time: from.uint()?,
            sessions: Sessions::decode(&mut from)?,
            watched: Watched::decode(&mut from)?,
        })
    }

    /// Applies an entry; gives an answer a task, in order.
    ///
    /// # Errors
    /// The entry is malformed: what stood before the fault is applied, on every replica alike.
    pub fn apply(
        &mut self,
        store: &Arc<Store>,
        word: &Arc<Word>,
        data: &[u8],
    ) -> Result<Vec<Answer>, Malformed> {
        let mut entry = Entry::read(data)?;
        self.time = self.time.max(entry.stamp);
        word.advance(self.time);
        let mut seeds = Random::new(entry.seed);
        let mut answers = Vec::new();
        while let Some((place, task)) = entry.next_task()? {
            let seed = seeds.next();
            let aside = match &task {
                Task::Command(words) => {
                    execute::through((store, word), &self.slots, self.time, words)
                }
                _ => None,
            };
            answers.push(match (place, aside) {
                (None, Some(found)) => found.into(),
                (None, None) => self.execute(store, seed, &task).into(),
                // Its answer is not kept, and it may be read again: nothing of its connection comes
                // behind it before it is answered.
                (Some(place), Some(found)) => {
                    let execute = |_: &mut Self| found.clone();
                    match self.admit(place, Order::Strict, execute) {
                        Answer::Done(_) => found.into(),
                        answer => answer,
                    }
                }
                (Some(place), None) => {
                    let execute = |machine: &mut Self| machine.execute(store, seed, &task);
                    self.admit(place, Order::Strict, execute)
                }
            });
        }
        Ok(answers)
    }

    fn admit(
        &mut self,
        place: Place,
        order: Order,
        execute: impl FnOnce(&mut Self) -> Found,
    ) -> Answer {
        match self.sessions.admit(place, order, self.time) {
            Admission::Execute => {
                let found = execute(self);
                self.sessions.keep(place, order, &found);
                found.into()
            }
            Admission::Again(_) if mutation::is(Mutation::RetryTwice) => execute(self).into(),
            Admission::Again(reply) => Answer::Done(reply),
            Admission::Gap => Answer::Gap,
            Admission::Unknown => Answer::Unknown,
        }
    }

    fn execute(&mut self, store: &Store, seed: u64, task: &Task<'_>) -> Found {
        match task {
            Task::Nothing => Reply::Nil.into(),
            Task::Command(words) => {
                execute::on_slots(store, &self.watched, &self.slots, (self.time, seed), words)
                    .unwrap_or_else(Found::from)
            }
            Task::Open => self.open(Order::Loose, seed).into(),
            Task::OpenLane => self.open(Order::Strict, seed).into(),
            Task::Expire(keys) => {
                Reply::count(store.expire(keys, self.time, Some(&self.watched))).into()
            }
            Task::Watch(watcher, keys) => self.watch(store, *watcher, keys).into(),
            Task::Forget(token) => {
                self.watched.forget(*token);
                Reply::Ok.into()
            }
            Task::Exec(watcher, commands) => self.exec(store, seed, *watcher, commands),
            Task::Placed(place, task) => {
                let execute = |machine: &mut Self| machine.execute(store, seed, task);
                self.admit(*place, Order::Loose, execute).found()
            }
        }
    }

    fn watch(&self, store: &Store, watcher: Watcher, keys: &Words<'_>) -> Reply {
        let hashed: Vec<Key<'_>> = keys.iter().copied().map(Key::new).collect();
        if hashed.iter().any(|key| !self.slots.contains(key.slot())) {
            return execute::not_of_this_shard().into();
        }
        let moment = (self.time, self.time);
        atomic::watch((store, &self.watched), watcher, &hashed, moment).unwrap_or_else(Reply::Error)
    }

    fn exec(
        &self,
        store: &Store,
        seed: u64,
        watcher: Option<Watcher>,
        commands: &[Words<'_>],
    ) -> Found {
        let batch = Batch::new(commands);
        if !batch.is_of(&self.slots) {
            return execute::not_of_this_shard().into();
        }
        let at = atomic::Occasion {
            stamp: self.time,
            seed,
            watch_time: self.time,
        };
        batch.execute((store, &self.watched), watcher, at)
    }

    /// Opens a session. Its id is random, so that one of a cluster that is gone is not taken for
    /// one of the cluster that has come in its place.
    fn open(&mut self, order: Order, seed: u64) -> Reply {
        let mut ids = Random::new(seed);
        let id = loop {
            // Replies have signed numbers; 0 stands for no session.
            let id = ids.next() >> 1;
            if id != 0 && !self.sessions.has(id) {
                break id;
            }
        };
        if let Err(error) = self.sessions.open(order, id, self.time) {
            return error.into();
        }
        let slot = |slot: Option<u16>| i64::from(slot.unwrap_or_default());
        let (first, last) = (self.slots.iter().min(), self.slots.iter().max());
        let parts = [id as i64, slot(first), slot(last)];
        Reply::Array(parts.map(Reply::Int).to_vec())
    }
}

/// What a client is told whose task has met a session that is known no more.
#[must_use]
pub fn session_unknown() -> ReplyError {
    ReplyError::Unknown("the answer is kept no more; it may or may not have happened".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::replication::task::{self, EntryWriter, command};
    use dht_proto::slot::key_slot;

    struct Shard {
        machine: Machine,
        store: Arc<Store>,
        word: Arc<Word>,
        entries: u64,
    }

    impl Shard {
        fn new() -> Self {
            Self {
                machine: Machine::new(SlotSet::all()),
                store: Arc::new(Store::new()),
                word: Arc::default(),
                entries: 0,
            }
        }

        fn apply(&mut self, stamp: UnixMs, tasks: &[(Option<Place>, &str)]) -> Vec<Answer> {
            let mut entry = EntryWriter::new();
            for (place, line) in tasks {
                let words: Vec<&str> = line.split(' ').collect();
                entry.push(*place, &command(&words));
            }
            self.apply_entry(stamp, entry)
        }

        /// WATCH, EXEC or whatever else.
        fn task(&mut self, stamp: UnixMs, task: &Task<'_>) -> Answer {
            self.tasks(stamp, &[(None, task)]).remove(0)
        }

        fn tasks(&mut self, stamp: UnixMs, tasks: &[(Option<Place>, &Task<'_>)]) -> Vec<Answer> {
            let mut entry = EntryWriter::new();
            for (place, task) in tasks {
                entry.push(*place, &task.to_bytes());
            }
            self.apply_entry(stamp, entry)
        }

        fn apply_entry(&mut self, stamp: UnixMs, entry: EntryWriter) -> Vec<Answer> {
            self.entries += 1;
            let entry = entry.finish(stamp, self.entries);
            self.machine.apply(&self.store, &self.word, &entry).unwrap()
        }

        /// Opens a session of a client, or of a node, and gives its id.
        fn open(&mut self, task: &Task<'_>) -> u64 {
            let Answer::Done(Reply::Array(parts)) = self.task(1, task) else {
                panic!("no session");
            };
            let &[Reply::Int(id), Reply::Int(first), Reply::Int(last)] = &parts[..] else {
                panic!("{parts:?}");
            };
            assert_eq!((first, last), (0, 16383));
            id as u64
        }
    }

    fn place(session: u64, sequence: u64) -> Place {
        Place {
            session,
            sequence,
            acknowledged: 0,
        }
    }

    fn done(reply: Reply) -> Answer {
        Answer::Done(reply)
    }

    #[test]
    fn tasks_of_an_entry_see_each_other_in_order() {
        let mut shard = Shard::new();
        let answers = shard.apply(5, &[(None, "INCR n"), (None, "GET n"), (None, "INCR n")]);
        let expect = [Reply::Int(1), Reply::bulk("1"), Reply::Int(2)].map(done);
        assert_eq!(answers, expect);
        assert_eq!((shard.machine.time, shard.word.time()), (5, 5));
    }

    #[test]
    fn a_retry_changes_nothing() {
        let mut shard = Shard::new();
        let session = shard.open(&Task::OpenLane);
        let place = |sequence| Some(place(session, sequence));
        let one = done(Reply::Int(1));
        assert_eq!(
            shard.apply(1, &[(place(1), "INCR n")]),
            std::slice::from_ref(&one)
        );
        assert_eq!(shard.apply(1, &[(place(1), "INCR n")]), [one]);
        assert_eq!(shard.apply(1, &[(place(3), "INCR n")]), [Answer::Gap]);
        let elsewhere = Some(Place {
            session: 99,
            ..place(2).unwrap()
        });
        assert_eq!(shard.apply(1, &[(elsewhere, "INCR n")]), [Answer::Unknown]);
        assert_eq!(shard.apply(1, &[(None, "GET n")]), [done(Reply::bulk("1"))]);
    }

    fn words(line: &str) -> Words<'_> {
        line.split(' ').map(str::as_bytes).collect()
    }

    const fn watcher(rounds: u64) -> Watcher {
        Watcher { token: 9, rounds }
    }

    fn exec<'a>(watcher: Option<Watcher>, lines: &[&'a str]) -> Task<'a> {
        Task::Exec(watcher, lines.iter().copied().map(words).collect())
    }

    fn array(replies: impl IntoIterator<Item = Reply>) -> Answer {
        done(Reply::Array(replies.into_iter().collect()))
    }

    #[test]
    fn a_transaction_is_one_task_and_its_errors_are_elements() {
        let mut shard = Shard::new();
        let task = exec(None, &["SET a x", "INCR a", "GET a", "MGET a b", "NONE"]);
        let Answer::Done(Reply::Array(replies)) = shard.task(1, &task) else {
            panic!("no list");
        };
        assert_eq!(replies[..2], [Reply::Ok, ReplyError::NotInteger.into()]);
        assert_eq!(replies[2], Reply::bulk("x"));
        let both = vec![Reply::bulk("x"), Reply::Nil];
        assert_eq!(replies[3], Reply::Array(both));
        assert!(matches!(replies[4], Reply::Error(_)));
        assert_eq!(shard.task(1, &exec(None, &[])), array([]));
    }

    #[test]
    fn a_transaction_with_a_long_reply_is_executed_at_once_and_answered_later() {
        let mut shard = Shard::new();
        let pairs: Vec<String> = (0..2000).map(|n| format!("{n} v")).collect();
        let fill = format!("HSET h {}", pairs.join(" "));
        let session = shard.open(&Task::OpenLane);
        let place = |sequence| Some(place(session, sequence));
        let task = exec(None, &[&fill, "HKEYS h", "DEL h"]);
        let answer = shard.tasks(1, &[(place(1), &task)]).remove(0);
        assert_eq!(shard.apply(1, &[(None, "HLEN h")]), [done(Reply::Int(0))]);
        let Answer::Later(rest) = answer else {
            panic!("{answer:?}");
        };
        let Reply::Array(replies) = rest.make() else {
            panic!("no list");
        };
        assert_eq!(replies[0], Reply::Int(2000));
        assert!(matches!(&replies[1], Reply::Parts(keys) if keys.whole().len() == 2000));
        assert_eq!(replies[2], Reply::Int(1));
        let again = shard.tasks(1, &[(place(1), &task)]).remove(0);
        assert_eq!(again, done(super::super::sessions::not_kept().into()));
    }

    #[test]
    fn a_transaction_with_a_key_of_another_shard_does_nothing() {
        let mut shard = Shard::new();
        shard.machine.slots = SlotSet::new(vec![0..=key_slot(b"a") - 1]);
        for line in ["SET a 1", "DBSIZE"] {
            let answer = shard.task(1, &exec(None, &["SET b 1", line]));
            assert_eq!(answer, done(execute::not_of_this_shard().into()), "{line}");
        }
        let watch = Task::Watch(watcher(1), words("b a"));
        let refused = done(execute::not_of_this_shard().into());
        assert_eq!(shard.task(1, &watch), refused);
        assert_eq!(shard.apply(1, &[(None, "GET b")]), [done(Reply::Nil)]);
    }

    /// Watches `a` and `b`, applies something, and says whether EXEC was executed.
    fn holds(between: impl FnOnce(&mut Shard)) -> bool {
        let mut shard = Shard::new();
        shard.apply(1000, &[(None, "SET a 1 PX 1000")]);
        shard.task(1000, &Task::Watch(watcher(1), words("a b")));
        between(&mut shard);
        let answer = shard.task(shard.machine.time, &exec(Some(watcher(1)), &["SET done 1"]));
        let executed = answer == array([Reply::Ok]);
        assert!(executed || answer == done(Reply::NilArray), "{answer:?}");
        let there = [done(Reply::flag(executed))];
        assert_eq!(shard.apply(0, &[(None, "EXISTS done")]), there);
        assert!(shard.machine.watched.is_empty());
        executed
    }

    #[test]
    fn exec_does_nothing_after_a_change() {
        let command = |line: &'static str| holds(|shard| _ = shard.apply(1000, &[(None, line)]));
        for line in [
            "GET a",
            "SET c 2",
            "DEL b",
            "HDEL b f",
            "INCR c",
            "PERSIST b",
        ] {
            assert!(command(line), "{line}");
        }
        for line in [
            "SET a 1",
            "DEL a",
            "APPEND b x",
            "PERSIST a",
            "MSET c 1 b 2",
            "FLUSHALL",
        ] {
            assert!(!command(line), "{line}");
        }
        assert!(!holds(
            |shard| _ = shard.task(1000, &exec(None, &["GET a", "INCR b"]))
        ));
        assert!(!holds(|shard| _ = shard.task(1000, &Task::Forget(9))));
        assert!(!holds(|shard| {
            shard.task(1000, &Task::Watch(watcher(3), words("d")));
        }));
    }

    #[test]
    fn exec_does_nothing_after_a_watched_key_has_expired() {
        assert!(holds(|shard| _ = shard.apply(2000, &[])));
        // Found due by EXEC itself, by a reader, by the sweep, and by a writer.
        assert!(!holds(|shard| _ = shard.apply(2001, &[])));
        assert!(!holds(|shard| _ = shard.apply(2001, &[(None, "GET a")])));
        let sweep = Task::Expire(words("a b"));
        assert!(!holds(|shard| _ = shard.task(2001, &sweep)));
        assert!(!holds(|shard| _ = shard.apply(2001, &[(None, "DEL a")])));
    }

    #[test]
    fn exec_does_nothing_after_a_field_of_a_watched_key_has_expired() {
        let exec_at = |stamp, between: &str| {
            let mut shard = Shard::new();
            shard.apply(1000, &[(None, "HSETEX a PXAT 2000 FIELDS 1 f 1")]);
            shard.apply(1000, &[(None, "HSET a g 1")]);
            shard.task(1000, &Task::Watch(watcher(1), words("a")));
            shard.apply(stamp, &[(None, between)]);
            shard.task(stamp, &exec(Some(watcher(1)), &["HSET a h 2"])) == array([Reply::Int(1)])
        };
        assert!(exec_at(2000, "HGET a f"));
        for between in ["HGET a f", "HSET a g 2", "HDEL a f"] {
            assert!(!exec_at(2001, between), "{between}");
        }
        let mut shard = Shard::new();
        shard.apply(1000, &[(None, "HSETEX a PXAT 1500 FIELDS 1 f 1")]);
        shard.apply(1000, &[(None, "HSET a g 1")]);
        shard.task(2000, &Task::Watch(watcher(1), words("a")));
        let answer = shard.task(2001, &exec(Some(watcher(1)), &["HSET a h 2"]));
        assert_eq!(
            answer,
            array([Reply::Int(1)]),
            "it was due when it was watched"
        );
    }

    #[test]
    fn a_key_that_was_due_when_it_was_watched_may_go() {
        let mut shard = Shard::new();
        shard.apply(1000, &[(None, "SET a 1 PX 10")]);
        shard.task(2000, &Task::Watch(watcher(1), words("a")));
        shard.task(2000, &Task::Expire(words("a")));
        let answer = shard.task(2000, &exec(Some(watcher(1)), &["SET a 2"]));
        assert_eq!(answer, array([Reply::Ok]));
    }

    #[test]
    fn a_watch_is_used_once_and_not_for_ever() {
        let mut shard = Shard::new();
        let ping = exec(Some(watcher(1)), &[]);
        assert_eq!(shard.task(1, &ping), done(Reply::NilArray), "unknown");
        let watch = Task::Watch(watcher(1), words("a"));
        shard.task(1, &watch);
        assert_eq!(shard.task(1, &ping), array([]));
        assert_eq!(shard.task(1, &ping), done(Reply::NilArray), "consumed");
        shard.task(1, &watch);
        let late = 1 + dht_proto::limits::WATCH.as_millis() as u64;
        assert_eq!(shard.task(late, &ping), done(Reply::NilArray), "expired");
    }

    #[test]
    fn a_retried_exec_gets_its_first_answer() {
        let mut shard = Shard::new();
        let place = Some(place(shard.open(&Task::OpenLane), 1));
        shard.task(1, &Task::Watch(watcher(1), words("n")));
        let task = exec(Some(watcher(1)), &["INCR n"]);
        for _ in 0..2 {
            let answers = shard.tasks(1, &[(place, &task)]);
            assert_eq!(answers, [array([Reply::Int(1)])]);
        }
    }

    #[test]
    fn a_copy_goes_on_with_the_same_watches() {
        let mut shard = Shard::new();
        shard.task(5, &Task::Watch(watcher(1), words("a")));
        let mut bytes = BytesMut::new();
        shard.machine.encode(&mut bytes);
        let copy = || Shard {
            machine: Machine::decode(&bytes, SlotSet::all()).unwrap(),
            ..Shard::new()
        };
        let task = exec(Some(watcher(1)), &["SET a 1"]);
        assert_eq!(copy().task(5, &task), array([Reply::Ok]));
        let mut other = copy();
        other.apply(5, &[(None, "SET a 2")]);
        assert_eq!(other.task(5, &task), done(Reply::NilArray));
    }

    #[test]
    fn a_clients_write_is_executed_once_whichever_nodes_bring_it() {
        let mut shard = Shard::new();
        let client = shard.open(&Task::Open);
        let [lane, other] = [(); 2].map(|()| shard.open(&Task::OpenLane));
        let mut incr = |by: Option<Place>, place| {
            let mut entry = EntryWriter::new();
            entry.push(by, &task::placed(place, &command(&["INCR", "n"])));
            let entry = entry.finish(1, 7);
            shard
                .machine
                .apply(&shard.store, &shard.word, &entry)
                .unwrap()
        };
        let one = [done(Reply::Int(1))];
        assert_eq!(incr(Some(place(lane, 1)), place(client, 1)), one);
        assert_eq!(incr(Some(place(other, 1)), place(client, 1)), one);
        assert_eq!(incr(None, place(client, 1)), one);
        assert_eq!(incr(None, place(client, 3)), [done(Reply::Int(2))]);
        assert_eq!(incr(None, place(client, 2)), [done(Reply::Int(3))]);
        let unknown = [done(session_unknown().into())];
        assert_eq!(incr(Some(place(lane, 2)), place(77, 1)), unknown);
        assert_eq!(incr(Some(place(lane, 4)), place(client, 4)), [Answer::Gap]);
        // Nobody uses what belongs to the other kind.
        assert_eq!(incr(None, place(lane, 9)), unknown);
        assert_eq!(
            incr(Some(place(client, 9)), place(client, 9)),
            [Answer::Unknown]
        );
        let value = shard.apply(1, &[(None, "GET n")]);
        assert_eq!(value, [done(Reply::bulk("3"))]);
    }

    #[test]
    fn whole_shards_are_read_later_unless_their_data_is_gone() {
        let mut shard = Shard::new();
        shard.apply(1, &[(None, "SET a 1"), (None, "SET b 1")]);
        let answers = shard.apply(1, &[(None, "KEYS *"), (None, "DEL a")]);
        let Answer::Later(rest) = &answers[0] else {
            panic!("{answers:?}");
        };
        assert_eq!(rest.make(), Reply::Array(vec![Reply::bulk("b")]));
        shard.word.end(|| shard.store.clear(0..=16383));
        let Reply::Error(error) = rest.make() else {
            panic!("what is gone is not taken for nothing");
        };
        assert_eq!(error.prefix(), "TRYAGAIN");
    }

    #[test]
    fn whole_shards_are_read_again_for_a_retry() {
        let mut shard = Shard::new();
        let place = Some(place(shard.open(&Task::OpenLane), 1));
        for _ in 0..2 {
            let Answer::Later(rest) = shard.apply(1, &[(place, "DBSIZE")]).remove(0) else {
                panic!("a retry is told something else");
            };
            assert_eq!(rest.make(), Reply::Int(0));
        }
    }

    #[test]
    fn the_id_of_a_session_says_nothing_of_its_place_in_the_log() {
        let id = |seed| {
            let mut entry = EntryWriter::new();
            entry.push(None, &Task::Open.to_bytes());
            let mut shard = Shard::new();
            shard
                .machine
                .apply(&shard.store, &shard.word, &entry.finish(1, seed))
                .unwrap()
        };
        assert_ne!(id(1), id(2));
    }

    #[test]
    fn time_does_not_go_back() {
        let mut shard = Shard::new();
        shard.apply(1000, &[(None, "SET k v PX 100")]);
        shard.apply(2000, &[]);
        assert_eq!(shard.apply(500, &[(None, "GET k")]), [done(Reply::Nil)]);
        assert_eq!(shard.machine.time, 2000);
    }

    #[test]
    fn a_key_of_another_shard_is_refused() {
        let mut shard = Shard::new();
        shard.machine.slots = SlotSet::new(vec![0..=key_slot(b"k") - 1]);
        let answers = shard.apply(1, &[(None, "SET k v")]);
        assert!(matches!(&answers[..], [Answer::Done(Reply::Error(_))]));
        assert_eq!(shard.store.keys_in_slot(key_slot(b"k")), 0);
    }
}
