//! From a row of the command table to its handler.

use dht_proto::spec::CommandId;
use dht_proto::{Reply, ReplyError, for_each_command, spec};

use super::args::Args;
use super::client::Client;
use super::commands;
use super::keyspace::{Read, Whole, Write};
use super::lease;
use super::local::Local;
use super::node::Node;
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
    (WRITE_ALL $path:path) => {
        Handler::Whole($path)
    };
    (CURSOR $path:path) => {
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
    (HANDSHAKE $path:path) => {
        Handler::Local($path)
    };
    (ENDING $path:path) => {
        Handler::Local($path)
    };
    (TRANSACTION $path:path) => {
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
) -> Outcome {
    let id = spec::find(argv)?;
    let keys = router::keys(id, argv)?;
    if keys.iter().any(|key| !slots.contains(key.slot())) {
        return Err(not_of_this_shard());
    }
    let mut args = Args::new(argv, id.words());
    match (handler(id), &Keys::of(&keys)) {
        (Handler::Read(read), Some(keys)) => {
            store.read(keys, Moment::sure(stamp), |slots| read(slots, &mut args))
        }
        (Handler::Write(write), Some(keys)) => {
            store.write_watched(keys, (stamp, seed), Some(watched), |slots| {
                write(slots, &mut args)
            })
        }
        (Handler::Whole(whole), _) => {
            let slots = store.whole(slots, stamp, false).telling(Some(watched));
            whole(&slots, &mut args)
        }
        (Handler::Local(_) | Handler::Transaction(_), _) | (_, None) => {
            Err(ReplyError::TryAgain("the command is about no key".into()))
        }
    }
}

/// What is said of a key that has come to a shard that is not its own.
#[must_use]
pub fn not_of_this_shard() -> ReplyError {
    ReplyError::TryAgain("the key belongs to another shard".into())
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
        let Node { store, watched, .. } = self.node;
        let mut args = Args::new(command.argv, command.id.words());
        match (handler(command.id), &command.keys) {
            (Handler::Read(read), Some(keys)) => self.now_or_aside(|hurry| {
                store.read(keys, Moment::sure(self.stamp), |slots| {
                    slots.hurry(hurry);
                    let outcome = read(slots, &mut Args::new(command.argv, command.id.words()));
                    (!slots.has_put_off()).then_some(outcome)
                })
            }),
            (Handler::Write(write), Some(keys)) => {
                let occasion = (self.stamp, self.seed);
                store.write_watched(keys, occasion, Some(watched), |slots| {
                    write(slots, &mut args)
                })
            }
            (Handler::Whole(whole), _) => {
                let slots = SlotSet::all();
                let slots = store.whole(&slots, self.stamp, true);
                whole(&slots.telling(Some(watched)), &mut args)
            }
            (Handler::Local(local), _) => local(&mut self.local(client), &mut args),
            (Handler::Transaction(_), _) => {
                unreachable!("the session sees to transactions")
            }
            (Handler::Read(_) | Handler::Write(_), None) => {
                unreachable!("the table gives every command on slots a key")
            }
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
        self.now_or_aside(|hurry| {
            let words = keys.slots().iter().map(|slot| self.node.word_of(*slot));
            let seen = self.node.store.read_leased(keys, words, self.now, |slots| {
                slots.hurry(hurry);
                let mut args = Args::new(command.argv, command.id.words());
                let reply = read(slots, &mut args).unwrap_or_else(Reply::Error);
                if slots.has_put_off() {
                    None
                } else if slots.is_early() {
                    Some(Look::Early)
                } else {
                    Some(Look::Seen(reply))
                }
            });
            seen.unwrap_or(Some(Look::NoLease))
        })
    }

    /// Reads in a hurry; what was put off then, as it takes long, is read aside, where it holds up
    /// no other connection.
    fn now_or_aside<T>(&self, read: impl Fn(bool) -> Option<T>) -> T {
        let mut seen = read(true);
        if seen.is_none() {
            (self.node.settings.aside)(&mut || seen = read(false));
        }
        seen.unwrap_or_else(|| unreachable!("nothing is put off without hurry"))
    }

    /// Reads slot by slot what these shards have.
    #[must_use]
    pub fn look_through(&self, command: &Command<'_>, slots: &SlotSet, shards: &[u16]) -> Look {
        let Handler::Whole(whole) = handler(command.id) else {
            return Look::NoLease;
        };
        let words = shards
            .iter()
            .map(|shard| &self.node.words[usize::from(*shard)]);
        let hop = shards.len() > 1;
        let mut args = Args::new(command.argv, command.id.words());
        let outcome = lease::read_through(&words, self.now.mono_ms, |times| {
            let slots = self.node.store.whole(slots, times.greatest, hop);
            whole(&slots, &mut args)
        });
        outcome.map_or(Look::NoLease, |outcome| {
            Look::Seen(outcome.unwrap_or_else(Reply::Error))
        })
    }
}
