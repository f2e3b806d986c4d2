//! From a row of the command table to its handler.

use std::cell::Cell;
use std::sync::Arc;

use dht_proto::spec::{CommandId, Kind};
use dht_proto::{Reply, ReplyError, for_each_command, spec};

use super::args::Args;
use super::client::Client;
use super::commands;
use super::keyspace::{Read, Whole, Write};
use super::lease::{self, Word};
use super::local::Local;
use super::node::Node;
use super::rest::{Found, Rest};
use super::router;
use super::store::{Key, Keys, SlotSet, Store, Watched};

pub use super::store::Moment;
use super::time::{Now, UnixMs};
use super::transaction::{Next, Transaction};

/// What a handler gives: the reply, or an error that has changed nothing.
pub type Outcome = Result<Reply, ReplyError>;

/// The function of a command, by what it may touch.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Reads locked slots.
    Read(fn(&Read<'_>, &mut Args<'_>) -> Outcome),
    /// Changes locked slots.
    Write(fn(&mut Write<'_>, &mut Args<'_>) -> Outcome),
    /// Works through the whole keyspace, slot by slot.
    Whole(fn(&Whole<'_>, &mut Args<'_>) -> Outcome),
    /// Uses the connection and the node.
    Local(fn(&mut Local<'_>, &mut Args<'_>) -> Outcome),
    /// Changes the transaction of the connection.
    Transaction(fn(&mut Transaction) -> Result<Next, ReplyError>),
}

macro_rules! handler {
    (READ $path:path) => {
        Handler::Read($path)
    };
    (READ_EACH $path:path) => {
        Handler::Read($path)
    };
    (WRITE $path:path) => {
        Handler::Write($path)
    };
    (WRITE_EACH $path:path) => {
        Handler::Write($path)
    };
    (READ_ALL $path:path) => {
        Handler::Whole($path)
    };
    (READ_ANY $path:path) => {
        Handler::Whole($path)
    };
    (WRITE_ALL $path:path) => {
        Handler::Whole($path)
    };
    (CURSOR $path:path) => {
        Handler::Whole($path)
    };
    (SNAPSHOT $path:path) => {
        Handler::Whole($path)
    };
    (SESSION $path:path) => {
        Handler::Local($path)
    };
    (META $path:path) => {
        Handler::Local($path)
    };
    (LOCAL $path:path) => {
        Handler::Local($path)
    };
    (SIGN $path:path) => {
        Handler::Local($path)
    };
    (LISTEN $path:path) => {
        Handler::Local($path)
    };
    (CALL $path:path) => {
        Handler::Local($path)
    };
    (HANDSHAKE $path:path) => {
        Handler::Local($path)
    };
    (ENDING $path:path) => {
        Handler::Local($path)
    };
    (TRANSACTION $path:path) => {
        Handler::Transaction($path)
    };
    (EXECUTION $path:path) => {
        Handler::Transaction($path)
    };
}

macro_rules! handlers {
    ($($family:ident { $($name:literal $file:ident::$handler:ident $kind:ident
        $syntax:literal $since:literal $complexity:literal $summary:literal
        $($info:literal)?;)* })*) => {
        /// The handlers, in the order of the command table.
        static HANDLERS: &[Handler] = &[$($(handler!($kind commands::$file::$handler),)*)*];
    };
}

for_each_command!(handlers);

/// The function of a command.
#[must_use]
pub fn handler(id: CommandId) -> Handler {
    HANDLERS[id.index()]
}

/// A request whose command has been found in the table.
pub struct Command<'a> {
    /// The row.
    pub id: CommandId,
    /// The request, the name included.
    pub argv: &'a [&'a [u8]],
    pub(super) keys: Option<Keys<'a>>,
}

impl<'a> Command<'a> {
    /// A request with these keys.
    #[must_use]
    pub fn new(id: CommandId, argv: &'a [&'a [u8]], keys: &[Key<'a>]) -> Self {
        Self {
            id,
            argv,
            keys: Keys::of(keys),
        }
    }
}

/// Executes a command on a shard's slots, as an entry of its log says.
///
/// # Errors
/// What the handler says, or that the command is none of this shard; nothing has changed then.
pub fn on_slots(
    store: &Store,
    watched: &Watched,
    slots: &SlotSet,
    (stamp, seed): (UnixMs, u64),
    argv: &[&[u8]],
) -> Result<Found, ReplyError> {
    let id = spec::find(argv)?;
    let keys = router::keys(id, argv)?;
    if keys.iter().any(|key| !slots.contains(key.slot())) {
        return Err(not_of_this_shard());
    }
    let mut args = Args::new(argv, id.words());
    let outcome = match (handler(id), &Keys::of(&keys)) {
        (Handler::Read(read), Some(keys)) => {
            return Ok(store.read(keys, Moment::sure(stamp), |slots| {
                slots.sow(seed);
                let found = slots.found(read(slots, &mut args));
                // As in a log every replica executes it.
                if !store.events.is_muted() {
                    store.lookups.add(slots.lookups());
                }
                found
            }));
        }
        (Handler::Write(write), Some(keys)) => {
            store.write_watched(keys, (stamp, seed), Some(watched), |slots| {
                write(slots, &mut args)
            })
        }
        // Whoever applied it would have a snapshot of its own.
        (Handler::Whole(_), _) if id.spec().kind == Kind::SNAPSHOT => {
            let why = "earlier commands of this connection are not answered yet";
            Err(ReplyError::TryAgain(why.into()))
        }
        (Handler::Whole(whole), _) => {
            let slots = store.whole(slots, stamp, false).telling(Some(watched));
            whole(&slots.sown(seed), &mut args)
        }
        (Handler::Local(_) | Handler::Transaction(_), _) | (_, None) => {
            Err(ReplyError::TryAgain("the command is about no key".into()))
        }
    };
    outcome.map(Found::from)
}

/// A command that reads all slots of a shard, or more of a snapshot of it, to be executed
/// where that holds up nobody, some keys at a time: its connection has nothing else done
/// meanwhile, and whatever is written by others may be seen or not.
/// Nothing if it is another command.
#[must_use]
pub fn through(
    (store, word): (&Arc<Store>, &Arc<Word>),
    slots: &SlotSet,
    stamp: UnixMs,
    argv: &[&[u8]],
) -> Option<Found> {
    let id = spec::find(argv).ok()?;
    let Handler::Whole(whole) = handler(id) else {
        return None;
    };
    let is_long = match id.spec().kind {
        Kind::READ_ALL => true,
        // One is opened between two entries, and read at any time.
        Kind::SNAPSHOT => argv.len() > id.schema().min,
        _ => false,
    };
    if !is_long {
        return None;
    }
    let (store, word, slots) = (Arc::clone(store), Arc::clone(word), slots.clone());
    let argv: Vec<Box<[u8]>> = argv.iter().map(|word| (*word).into()).collect();
    let changes = word.changes();
    let bytes = argv.iter().map(|word| word.len()).sum();
    Some(Found::Rest(Rest::new(bytes, move || {
        let argv: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
        let mut args = Args::new(&argv, id.words());
        let read = || whole(&store.whole(&slots, stamp, false), &mut args);
        let outcome = word.read_since(changes, read).unwrap_or_else(|| {
            let why = "the shard was replaced while it was read";
            Err(ReplyError::TryAgain(why.into()))
        });
        outcome.unwrap_or_else(Reply::Error)
    })))
}

/// What is said of a key that has come to a shard that is not its own.
#[must_use]
pub fn not_of_this_shard() -> ReplyError {
    ReplyError::TryAgain("the key belongs to another shard".into())
}

/// Reads for a command, outside of the log. Nothing when it has to go through the log: it found a
/// key that is due by the clock alone, or it is no reading command of this shard.
pub fn peek(
    store: &Store,
    slots: &SlotSet,
    (moment, seed): (Moment, u64),
    argv: &[&[u8]],
) -> Option<Found> {
    let id = spec::find(argv).ok()?;
    let keys = router::keys(id, argv).ok()?;
    if keys.iter().any(|key| !slots.contains(key.slot())) {
        return None;
    }
    let mut args = Args::new(argv, id.words());
    match (handler(id), &Keys::of(&keys)) {
        (Handler::Read(read), Some(keys)) => store.read(keys, moment, |slots| {
            slots.sow(seed);
            let found = slots.found(read(slots, &mut args));
            if !slots.is_early() {
                // Only who leads the shard comes here.
                store.lookups.add(slots.lookups());
            }
            (!slots.is_early()).then_some(found)
        }),
        (Handler::Whole(whole), _) if !id.spec().kind.writes() => {
            let slots = store.whole(slots, moment.shard, false).sown(seed);
            let outcome = whole(&slots, &mut args);
            Some(outcome.unwrap_or_else(Reply::Error).into())
        }
        _ => None,
    }
}

/// This node at the moment of a request.
pub struct Here<'a> {
    /// The node.
    pub node: &'a Node,
    /// The moment of arrival.
    pub now: Now,
    /// The command's time: decides what is due.
    pub stamp: UnixMs,
    /// The command's random seed.
    pub seed: u64,
    /// Keys that were read and were there, and that were not.
    pub lookups: Cell<(u32, u32)>,
}

/// What came of a look at this node's replicas.
#[derive(Debug)]
pub enum Look {
    /// The answer.
    Seen(Reply),
    /// This node may not answer for all of the shards at present.
    NoLease,
    /// A key is due by the clock and not by its shard's time.
    Early,
}

impl Here<'_> {
    /// Executes a command of a node that is alone, or one about the connection.
    ///
    /// # Errors
    /// What the handler says; nothing has changed then.
    pub fn run(&self, client: &mut Client, command: &Command<'_>) -> Outcome {
        if let Some(outcome) = self.run_on_slots(command) {
            return outcome;
        }
        let Node { store, watched, .. } = self.node;
        let mut args = Args::new(command.argv, command.id.words());
        match (handler(command.id), &command.keys) {
            (Handler::Whole(whole), _) => {
                let slots = SlotSet::all();
                let slots = store.whole(&slots, self.stamp, true);
                let slots = slots.telling(Some(watched)).sown(self.seed);
                whole(&slots, &mut args)
            }
            (Handler::Local(local), _) => local(&mut self.local(client), &mut args),
            (Handler::Transaction(_), _) => {
                unreachable!("the session sees to transactions")
            }
            (Handler::Read(_) | Handler::Write(_), _) => {
                unreachable!("the table gives every command on slots a key")
            }
        }
    }

    /// Executes a command of a node that is alone, if it is one on the slots of its keys.
    pub fn run_on_slots(&self, command: &Command<'_>) -> Option<Outcome> {
        let Node { store, watched, .. } = self.node;
        let keys = command.keys.as_ref()?;
        let mut args = Args::new(command.argv, command.id.words());
        match handler(command.id) {
            Handler::Read(read) => {
                let found = store.read(keys, Moment::sure(self.stamp), |slots| {
                    slots.sow(self.seed);
                    let found = slots.found(read(slots, &mut args));
                    self.lookups.set(slots.lookups());
                    found
                });
                Some(Ok(found.reply(&self.node.settings.aside)))
            }
            Handler::Write(write) => {
                let occasion = (self.stamp, self.seed);
                let write = |slots: &mut Write<'_>| write(slots, &mut args);
                Some(store.write_watched(keys, occasion, Some(watched), write))
            }
            _ => None,
        }
    }

    /// What a command about the connection or the node may use.
    pub const fn local<'c>(&'c self, client: &'c mut Client) -> Local<'c> {
        Local {
            client,
            node: self.node,
            now: self.now,
        }
    }

    /// Reads from this node's replicas on the connection's own thread, if the leases allow it.
    #[must_use]
    pub fn look(&self, command: &Command<'_>, shard: u16) -> Look {
        let Some(keys) = &command.keys else {
            let slots = SlotSet::new(vec![self.node.slots_of(shard)]);
            return self.look_through(command, &slots, &[shard]);
        };
        let Handler::Read(read) = handler(command.id) else {
            return Look::NoLease;
        };
        let words = keys.slots().iter().map(|slot| self.node.word_of(*slot));
        let seen = self.node.store.read_leased(keys, words, self.now, |slots| {
            slots.sow(self.seed);
            let mut args = Args::new(command.argv, command.id.words());
            let found = slots.found(read(slots, &mut args));
            if !slots.is_early() {
                self.lookups.set(slots.lookups());
            }
            (!slots.is_early()).then_some(found)
        });
        match seen {
            None => Look::NoLease,
            Some(None) => Look::Early,
            Some(Some(found)) => Look::Seen(found.reply(&self.node.settings.aside)),
        }
    }

    /// Reads slot by slot what these shards have.
    #[must_use]
    pub fn look_through(&self, command: &Command<'_>, slots: &SlotSet, shards: &[u16]) -> Look {
        let Handler::Whole(whole) = handler(command.id) else {
            return Look::NoLease;
        };
        let words = shards
            .iter()
            .map(|shard| &*self.node.words[usize::from(*shard)]);
        let hop = shards.len() > 1;
        let mut args = Args::new(command.argv, command.id.words());
        let outcome = lease::read_through(&words, self.now.mono_ms, |times| {
            let slots = self.node.store.whole(slots, times.greatest, hop);
            whole(&slots.sown(self.seed), &mut args)
        });
        outcome.map_or(Look::NoLease, |outcome| {
            Look::Seen(outcome.unwrap_or_else(Reply::Error))
        })
    }
}

#[cfg(test)]
mod tests {
    use dht_proto::limits;

    use super::*;
    use crate::core::node::Aside;

    const FIELDS: usize = 1_000_000;

    fn run(store: &Store, line: &str) -> Found {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let watched = Watched::default();
        on_slots(store, &watched, &SlotSet::all(), (1, 1), &words).unwrap()
    }

    fn now(found: Found) -> Reply {
        found.reply(&Aside::new(|_| panic!("it takes long to make")))
    }

    /// How many words there are in a reply, and those that are other than they were at first.
    fn count(reply: Reply) -> (usize, usize) {
        let words = match reply {
            Reply::Array(words) => words,
            Reply::Parts(parts) => parts.whole(),
            other => panic!("{other:?}"),
        };
        let is_new = |word: &&Reply| matches!(word, Reply::Bulk(word) if word.starts_with(b"new"));
        (words.len(), words.iter().filter(is_new).count())
    }

    #[test]
    fn nobody_waits_for_who_reads_a_million_fields() {
        let store = Store::new();
        for first in (0..FIELDS).step_by(1000) {
            let pairs: Vec<String> = (first..first + 1000).map(|n| format!("{n} old")).collect();
            now(run(&store, &format!("HSET h {}", pairs.join(" "))));
        }
        let commands = [
            ("HGETALL h", 2 * FIELDS),
            ("HKEYS h", FIELDS),
            ("HVALS h", FIELDS),
        ];
        // What is found under the lock, in or outside of the log, ...
        let found: Vec<_> = commands
            .iter()
            .flat_map(|(line, expect)| {
                let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
                let peeked = peek(&store, &SlotSet::all(), (Moment::sure(1), 0), &words).unwrap();
                [(run(&store, line), *expect), (peeked, *expect)]
            })
            .collect();
        // ... is all that a writer has to wait for: each of these locks the slot itself, ...
        assert_eq!(now(run(&store, "HSET h 7 new new 1")), Reply::Int(1));
        assert_eq!(now(run(&store, "HDEL h 8")), Reply::Int(1));
        assert_eq!(now(run(&store, "DEL h")), Reply::Int(1));
        // ... and nothing of it is seen.
        for (found, expect) in found {
            assert!(matches!(found, Found::Rest(_)));
            assert_eq!(count(found.made()), (expect, 0));
        }
    }

    #[test]
    fn a_scan_looks_at_no_more_than_a_slot_may_be_locked_for() {
        let store = Store::new();
        let keys: Vec<String> = (0..5000).map(|n| format!("key:{n} v")).collect();
        now(run(&store, &format!("MSET {}", keys.join(" "))));
        let Reply::Array(page) = now(run(&store, "SCAN 0 COUNT 1000000")) else {
            panic!("no page");
        };
        assert_ne!(page[0], Reply::bulk("0"));
        assert!((limits::SCAN_COUNT..2000).contains(&count(page[1].clone()).0));
        let pairs: Vec<String> = (0..5000).map(|n| format!("{n} old")).collect();
        now(run(&store, &format!("HSET h {}", pairs.join(" "))));
        let Reply::Array(page) = now(run(&store, "HSCAN h 0 COUNT 1000000")) else {
            panic!("no page");
        };
        assert_ne!(page[0], Reply::bulk("0"));
        assert!(count(page[1].clone()).0 < 5000);
    }
}
