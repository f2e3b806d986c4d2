//! The transaction of one connection: the keys that it watches, and the commands that wait for
//! EXEC. Knows neither where they are executed nor whether a key has changed.

use bytes::{Bytes, BytesMut};
use dht_proto::{Reply, ReplyError, limits};

use super::pack::Reader;
use super::replication::task::{self, Words};
use super::router;
use super::store::{Key, Watcher};

/// What a word costs besides its bytes.
const WORD_BYTES: usize = 5;

/// A connection's transaction.
#[derive(Debug, Default)]
pub struct Transaction {
    /// From the first WATCH on.
    watch: Option<Box<Watch>>,
    /// From MULTI on.
    queue: Option<Box<Queue>>,
    /// Watches that were given up; where they are kept that is not yet known.
    dropped: Vec<Watch>,
}

/// What a connection watches.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Under what name it does so, and how often keys were added.
    pub watcher: Watcher,
    /// The first of the keys; in a cluster the others have its slot.
    pub first: Bytes,
}

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub struct Queue {
    /// Encoded one after the other.
    commands: BytesMut,
    count: usize,
    words: usize,
    /// A command could not be queued.
    is_refused: bool,
    /// The first key of the transaction, watched ones included.
    first: Option<Bytes>,
    /// The error that names it and the first key of another slot.
    crossed: Option<ReplyError>,
}

/// A transaction that is to be executed.
#[derive(Debug)]
pub struct Taken {
    /// What it depends on.
    pub watch: Option<Box<Watch>>,
    queue: Box<Queue>,
}

/// What follows from a command about the transaction.
#[derive(Debug)]
pub enum Next {
    /// It is done.
    Answer(Reply),
    /// Its keys are to be watched.
    Watch,
    /// The commands are to be executed.
    Execute(Taken),
}

impl Transaction {
    /// Whether commands wait for EXEC.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// How many commands wait for EXEC; nothing without MULTI.
    #[must_use]
    pub fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.count)
    }

    /// Begins to queue commands.
    pub fn begin(&mut self) {
        let first = self.watch.as_ref().map(|watch| watch.first.clone());
        self.queue = Some(Box::new(Queue {
            first,
            ..Queue::default()
        }));
    }

    /// Queues a command.
    ///
    /// # Errors
    /// The transaction would be longer than its limit.
    pub fn push(&mut self, argv: &[&[u8]], keys: &[Key<'_>]) -> Result<(), ReplyError> {
        self.queue
            .as_mut()
            .map_or(Ok(()), |queue| queue.push(argv, keys))
    }

    /// A command could not be queued: EXEC will execute none.
    pub fn refuse(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.is_refused = true;
            queue.commands = BytesMut::new();
        }
    }

    /// Hands out what was queued, and what it depends on.
    ///
    /// # Errors
    /// Nothing was begun, or a command could not be queued.
    pub fn take(&mut self) -> Result<Taken, ReplyError> {
        let queue = self
            .queue
            .take()
            .ok_or(ReplyError::err("EXEC without MULTI"))?;
        if queue.is_refused {
            self.unwatch();
            return Err(ReplyError::ExecAbort);
        }
        let watch = self.watch.take();
        Ok(Taken { watch, queue })
    }

    /// Forgets what was queued and what is watched.
    pub fn end(&mut self) {
        self.queue = None;
        self.unwatch();
    }

    /// Forgets what is watched.
    pub fn unwatch(&mut self) {
        let watch = self.watch.take();
        self.give_up(watch);
    }

    /// What was to be executed is not, and what it depended on is of no use any more.
    pub fn give_up(&mut self, watch: Option<Box<Watch>>) {
        self.dropped.extend(watch.map(|watch| *watch));
    }

    /// The first of the watched keys.
    #[must_use]
    pub fn watched(&self) -> Option<&[u8]> {
        self.watch.as_ref().map(|watch| &watch.first[..])
    }

    /// Keys are added to what is watched, the first of them `key`; were there none before, `token`
    /// is the watch's name.
    pub fn watch(&mut self, key: &[u8], token: u64) -> Watcher {
        let watch = self.watch.get_or_insert_with(|| {
            let watcher = Watcher { token, rounds: 0 };
            let first = Bytes::copy_from_slice(key);
            Box::new(Watch { watcher, first })
        });
        watch.watcher.rounds += 1;
        watch.watcher
    }

    /// Keys could not be added to the watch of this name: it is as it was before. Once MULTI has
    /// been sent it stays in doubt, so that EXEC executes nothing.
    pub fn watch_failed(&mut self, token: u64) {
        let named = |watch: &&mut Box<Watch>| watch.watcher.token == token;
        if self.is_open() {
            return;
        }
        if let Some(watch) = self.watch.as_mut().filter(named) {
            watch.watcher.rounds -= 1;
            if watch.watcher.rounds == 0 {
                self.unwatch();
            }
        }
    }

    /// Bytes of the commands since MULTI.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.commands.len())
    }

    /// Hands out the watches that were given up.
    pub fn take_dropped(&mut self) -> Vec<Watch> {
        std::mem::take(&mut self.dropped)
    }
}

impl Queue {
    fn push(&mut self, argv: &[&[u8]], keys: &[Key<'_>]) -> Result<(), ReplyError> {
        if self.is_refused {
            return Ok(());
        }
        let bytes: usize = argv.iter().map(|word| word.len() + WORD_BYTES).sum();
        if self.commands.len() + bytes + WORD_BYTES > limits::TRANSACTION_BYTES {
            return Err(ReplyError::TooLong {
                what: "transaction",
                limit: limits::TRANSACTION_BYTES,
            });
        }
        if self.words + argv.len() > limits::TRANSACTION_WORDS {
            let what = format!(
                "transaction has more than {} words",
                limits::TRANSACTION_WORDS
            );
            return Err(ReplyError::Other(what.into()));
        }
        self.note_slot(keys);
        task::append_words(argv, &mut self.commands);
        self.count += 1;
        self.words += argv.len();
        Ok(())
    }

    fn note_slot(&mut self, keys: &[Key<'_>]) {
        let Some(key) = keys.first() else {
            return;
        };
        let first = self
            .first
            .get_or_insert_with(|| Bytes::copy_from_slice(key.bytes()));
        let first = Key::new(first);
        if self.crossed.is_none()
            && let Some(other) = keys.iter().find(|key| key.slot() != first.slot())
        {
            self.crossed = Some(router::crossed(first, *other));
        }
    }
}

impl Taken {
    /// Bytes of the commands.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.queue.commands.len()
    }

    /// The commands, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<Words<'_>> {
        let (mut from, mut left) = (Reader::new(&self.queue.commands), self.queue.words);
        (0..self.queue.count)
            .map_while(|_| task::take_words(&mut from, &mut left).ok())
            .collect()
    }

    /// The first key of the commands and of those watched, if there is one.
    ///
    /// # Errors
    /// `-CROSSSLOT`: another one is of another slot.
    pub fn key(&self) -> Result<Option<Key<'_>>, ReplyError> {
        match &self.queue.crossed {
            Some(error) => Err(error.clone()),
            None => Ok(self.queue.first.as_deref().map(Key::new)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(transaction: &mut Transaction, line: &str, keys: &[&str]) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let keys: Vec<Key<'_>> = keys.iter().map(|key| Key::new(key.as_bytes())).collect();
        transaction.push(&words, &keys).unwrap();
    }

    #[test]
    fn commands_come_out_as_they_went_in() {
        let mut transaction = Transaction::default();
        transaction.begin();
        push(&mut transaction, "SET a 1", &["a"]);
        push(&mut transaction, "PING", &[]);
        let taken = transaction.take().unwrap();
        let expect: [&[&[u8]]; 2] = [&[b"SET", b"a", b"1"], &[b"PING"]];
        assert_eq!(taken.commands(), expect.map(Words::from_slice));
        assert_eq!(taken.key().unwrap().unwrap().bytes(), b"a");
        assert!(!transaction.is_open());
    }

    #[test]
    fn keys_of_two_slots_are_named_also_when_one_is_watched() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.watch(b"a", 7).rounds, 1);
        let second = transaction.watch(b"a", 8);
        assert_eq!((second.token, second.rounds), (7, 2));
        transaction.begin();
        push(&mut transaction, "SET b 1", &["b"]);
        let error = transaction.take().unwrap().key().unwrap_err().to_string();
        assert!(
            error.contains("('a' is in slot 15495, 'b' in slot 3300"),
            "{error}"
        );
    }

    #[test]
    fn a_watch_that_failed_leaves_the_earlier_ones() {
        let mut transaction = Transaction::default();
        transaction.watch(b"a", 7);
        transaction.watch_failed(6);
        transaction.watch(b"a", 8);
        transaction.watch_failed(7);
        assert_eq!(transaction.watch(b"a", 9).rounds, 2);
        transaction.begin();
        transaction.watch_failed(7);
        let watch = transaction.take().unwrap().watch.unwrap();
        assert_eq!(watch.watcher.rounds, 2, "in doubt");
        transaction.watch(b"a", 10);
        transaction.watch_failed(10);
        assert!(transaction.watched().is_none());
        assert_eq!(transaction.take_dropped().len(), 1);
    }

    #[test]
    fn a_refused_command_spoils_the_rest_and_the_watch() {
        let mut transaction = Transaction::default();
        transaction.watch(b"a", 7);
        transaction.begin();
        transaction.refuse();
        push(&mut transaction, "SET a 1", &["a"]);
        assert_eq!(transaction.take().unwrap_err(), ReplyError::ExecAbort);
        assert_eq!(transaction.take_dropped().len(), 1);
        assert!(transaction.watched().is_none());
        assert_eq!(transaction.take_dropped().len(), 0);
    }

    #[test]
    fn there_is_a_limit() {
        let mut transaction = Transaction::default();
        transaction.begin();
        let long = vec![b'x'; limits::TRANSACTION_BYTES / 2];
        let set: [&[u8]; 3] = [b"SET", b"a", &long];
        assert_eq!(transaction.push(&set, &[]), Ok(()));
        let error = transaction.push(&set, &[]).unwrap_err();
        assert!(matches!(error, ReplyError::TooLong { .. }), "{error}");
        let many = vec![&b"x"[..]; limits::TRANSACTION_WORDS];
        let mut transaction = Transaction::default();
        transaction.begin();
        assert_eq!(transaction.push(&many, &[]), Ok(()));
        assert!(transaction.push(&[b"PING"], &[]).is_err());
    }
}
