//! From a row of the command table to its handler.

use dht_proto::spec::CommandId;
use dht_proto::{Reply, ReplyError, for_each_command, spec};

use super::args::Args;
use super::client::Client;
use super::commands;
use super::keyspace::{Read, Whole, Write};
use super::lease::Word;
use super::local::Local;
use super::node::Node;
use super::router;
use super::store::{Key, Keys, SlotSet, Store};

pub use super::store::Moment;
use super::time::{Now, UnixMs};

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
    (WRITE_ALL $path:path) => {
        Handler::Whole($path)
    };
    (CURSOR $path:path) => {
        Handler::Whole($path)
    };
    (SESSION $path:path) => {
        Handler::Local($path)
    };
    (LOCAL $path:path) => {
        Handler::Local($path)
    };
    (HANDSHAKE $path:path) => {
        Handler::Local($path)
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
    keys: Option<Keys<'a>>,
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
    slots: &SlotSet,
    stamp: UnixMs,
    seed: u64,
    argv: &[&[u8]],
) -> Outcome {
    let id = spec::find(argv)?;
    let keys = router::keys(id, argv)?;
    if keys.iter().any(|key| !slots.contains(key.slot())) {
        return Err(ReplyError::TryAgain(
            "the key belongs to another shard".into(),
        ));
    }
    let mut args = Args::new(argv, id.words());
    match (handler(id), &Keys::of(&keys)) {
        (Handler::Read(read), Some(keys)) => {
            store.read(keys, Moment::sure(stamp), |slots| read(slots, &mut args))
        }
        (Handler::Write(write), Some(keys)) => {
            store.write(keys, stamp, seed, |slots| write(slots, &mut args))
        }
        (Handler::Whole(whole), _) => whole(&store.whole(slots, stamp, false), &mut args),
        (Handler::Local(_), _) | (_, None) => {
            Err(ReplyError::TryAgain("the command is about no key".into()))
        }
    }
}

/// Reads for a command, outside of the log. Nothing when it has to go through the log: it found a
/// key that is due by the clock alone, or it is no reading command of this shard.
pub fn peek(store: &Store, slots: &SlotSet, moment: Moment, argv: &[&[u8]]) -> Option<Reply> {
    let id = spec::find(argv).ok()?;
    let keys = router::keys(id, argv).ok()?;
    if keys.iter().any(|key| !slots.contains(key.slot())) {
        return None;
    }
    let mut args = Args::new(argv, id.words());
    let outcome = match (handler(id), &Keys::of(&keys)) {
        (Handler::Read(read), Some(keys)) => store.read(keys, moment, |slots| {
            let outcome = read(slots, &mut args);
            (!slots.is_early()).then_some(outcome)
        })?,
        (Handler::Whole(whole), _) if !id.spec().kind.writes() => {
            whole(&store.whole(slots, moment.shard, false), &mut args)
        }
        _ => return None,
    };
    Some(outcome.unwrap_or_else(Reply::Error))
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
        let store = &self.node.store;
        let mut args = Args::new(command.argv, command.id.words());
        match (handler(command.id), &command.keys) {
            (Handler::Read(read), Some(keys)) => {
                store.read(keys, Moment::sure(self.stamp), |slots| {
                    read(slots, &mut args)
                })
            }
            (Handler::Write(write), Some(keys)) => {
                store.write(keys, self.stamp, self.seed, |slots| write(slots, &mut args))
            }
            (Handler::Whole(whole), _) => {
                whole(&store.whole(&SlotSet::all(), self.stamp, true), &mut args)
            }
            (Handler::Local(local), _) => local(
                &mut Local {
                    client,
                    node: self.node,
                    now: self.now,
                },
                &mut args,
            ),
            (Handler::Read(_) | Handler::Write(_), None) => {
                unreachable!("the table gives every command on slots a key")
            }
        }
    }

    /// Reads from this node's replicas on the connection's own thread, if the leases allow it.
    #[must_use]
    pub fn look(&self, command: &Command<'_>, shard: u16) -> Look {
        let Some(keys) = &command.keys else {
            let slots = SlotSet::new(vec![self.node.slots_of(shard)]);
            return self.look_through(command, &slots, &[shard]);
        };
        let words = |slot: &u16| self.node.word_of(*slot);
        let shard_time = keys.slots().iter().map(words).map(Word::time).min();
        let moment = Moment {
            wall: self.now.unix_ms(),
            shard: shard_time.unwrap_or_default(),
        };
        let Handler::Read(read) = handler(command.id) else {
            return Look::NoLease;
        };
        let mut args = Args::new(command.argv, command.id.words());
        self.node.store.read(keys, moment, |slots| {
            // Only now, with the slots locked, does a word say something about what is read.
            if !keys
                .slots()
                .iter()
                .map(words)
                .all(|word| word.allows(self.now.mono_ms))
            {
                return Look::NoLease;
            }
            let reply = read(slots, &mut args).unwrap_or_else(Reply::Error);
            if slots.is_early() {
                Look::Early
            } else {
                Look::Seen(reply)
            }
        })
    }

    /// Reads slot by slot what these shards have.
    #[must_use]
    pub fn look_through(&self, command: &Command<'_>, slots: &SlotSet, shards: &[u16]) -> Look {
        let words = || {
            shards
                .iter()
                .map(|shard| &self.node.words[usize::from(*shard)])
        };
        let leased = || words().all(|word| word.allows(self.now.mono_ms));
        let (Handler::Whole(whole), true) = (handler(command.id), leased()) else {
            return Look::NoLease;
        };
        let stamp = words().map(Word::time).max().unwrap_or_default();
        let hop = shards.len() > 1;
        let mut args = Args::new(command.argv, command.id.words());
        let outcome = whole(&self.node.store.whole(slots, stamp, hop), &mut args);
        // Every slot had its lock for itself: a lease that ended meanwhile makes the answer void.
        if !leased() {
            return Look::NoLease;
        }
        Look::Seen(outcome.unwrap_or_else(Reply::Error))
    }
}
