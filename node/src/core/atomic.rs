//! Several commands as one: executed under the locks of all their slots, unless a key that was
//! watched for them has changed. Knows neither connections nor logs.

use dht_proto::{Reply, ReplyError, spec};

use super::args::Args;
use super::execute::{self, Command, Handler, Outcome, handler};
use super::keyspace::Write;
use super::random::Random;
use super::replication::task::Words;
use super::rest::{Found, ReplyRoom};
use super::router;
use super::store::{Key, Keys, SlotSet, Store, Watched, Watcher};
use super::time::UnixMs;

/// Fields of a watched hash that are due, which WATCH removes at most.
const WATCHED_FIELDS: usize = 4096;

/// Commands on data that are executed together.
pub struct Batch<'a> {
    commands: Vec<Result<Command<'a>, ReplyError>>,
    keys: Vec<Key<'a>>,
    /// Whether one of them is about the whole keyspace.
    pub is_whole: bool,
}

/// When commands are executed together.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// Their time: decides what is due.
    pub stamp: UnixMs,
    /// Their random seed.
    pub seed: u64,
    /// By what time watches end.
    pub watch_time: UnixMs,
}

impl<'a> Batch<'a> {
    /// Finds the commands in the table; what is wrong with one will be its answer.
    #[must_use]
    pub fn new(argvs: &'a [Words<'_>]) -> Self {
        let mut batch = Self {
            commands: Vec::with_capacity(argvs.len()),
            keys: Vec::new(),
            is_whole: false,
        };
        for argv in argvs {
            let command = batch.find(argv);
            batch.commands.push(command);
        }
        batch
    }

    fn find(&mut self, argv: &'a [&'a [u8]]) -> Result<Command<'a>, ReplyError> {
        let id = spec::find(argv)?;
        let keys = router::keys(id, argv)?;
        self.is_whole |= id.spec().kind.is_whole();
        self.keys.extend_from_slice(&keys);
        Ok(Command::new(id, argv, &keys))
    }

    /// Whether the commands are about keys of these slots alone.
    #[must_use]
    pub fn is_of(&self, slots: &SlotSet) -> bool {
        !self.is_whole && self.keys.iter().all(|key| slots.contains(key.slot()))
    }

    /// Executes the commands, none of which sees the keys as others have left them in between, nor
    /// do others see them half done. An error of one is its answer and stops no other. Ends the
    /// watch; nil when one of its keys has changed, or it is not known.
    #[must_use]
    pub fn execute(
        &self,
        (store, watched): (&Store, &Watched),
        watcher: Option<Watcher>,
        at: Occasion,
    ) -> Found {
        let guarded = watcher.map(|watcher| watched.keys(watcher.token));
        let guarded = guarded.unwrap_or_default();
        let keys = self.keys.iter().copied();
        let keys: Vec<Key<'_>> = keys
            .chain(guarded.iter().map(|key| Key::new(key)))
            .collect();
        let mut keys = Keys::any(&keys);
        if self.is_whole {
            keys = keys.everywhere();
        }
        store.write_watched(&keys, (at.stamp, at.seed), Some(watched), |write| {
            let is_unchanged = watcher.is_none_or(|watcher| {
                let claimed = watched.claim(watcher, at.watch_time);
                claimed.is_some_and(|keys| !keys.iter().any(|key| write.has_due(key)))
            });
            if !is_unchanged {
                return Reply::NilArray.into();
            }
            let mut seeds = Random::new(at.seed);
            let mut room = ReplyRoom::default();
            let found = self.commands.iter().map(|command| {
                write.seed = seeds.next();
                match command {
                    Ok(command) => {
                        let found = run(write, command);
                        let bytes = found.bytes();
                        room.take(found, bytes, command.id.spec().kind.writes())
                    }
                    Err(error) => error.clone().into(),
                }
            });
            Found::list(found.collect())
        })
    }
}

fn run(write: &mut Write<'_>, command: &Command<'_>) -> Found {
    let mut args = Args::new(command.argv, command.id.words());
    let outcome = match handler(command.id) {
        Handler::Read(read) => {
            return write.reading(|slots| slots.found(read(slots, &mut args)));
        }
        Handler::Write(change) => change(write, &mut args),
        Handler::Whole(whole) => write.whole(&SlotSet::all(), |slots| whole(slots, &mut args)),
        Handler::Local(_) | Handler::Transaction(_) => Err(execute::not_of_this_shard()),
    };
    outcome.unwrap_or_else(Reply::Error).into()
}

/// Adds keys to a watch; they and the connection's earlier ones are compared at its EXEC. `times`
/// are the one that decides what is due and the one by which watches end.
///
/// # Errors
/// Too much is watched.
pub fn watch(
    (store, watched): (&Store, &Watched),
    watcher: Watcher,
    keys: &[Key<'_>],
    (stamp, watch_time): (UnixMs, UnixMs),
) -> Outcome {
    let slots = Keys::any(keys);
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.bytes()).collect();
    store.write_watched(&slots, (stamp, 0), Some(watched), |write| {
        // What is due is gone for the client already; found due at EXEC, it was there at WATCH, or
        // there was so much of it that the client has to try again.
        keys.iter()
            .for_each(|key| _ = write.expire(key, WATCHED_FIELDS));
        watched.watch(watcher, &keys, watch_time)?;
        Ok(Reply::Ok)
    })
}
