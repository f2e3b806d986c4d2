//! Who watches which keys. A change of a key ends every watch that it is part of; so what is still
//! here has not changed.
//!
//! Knows nothing of transactions. In a cluster it is a part of a shard's replicated state; a node
//! that is alone has one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use dashmap::RwLock;
use dht_proto::ReplyError;
use dht_proto::frame::Malformed;
use dht_proto::limits::{WATCH, WATCHED_BYTES, WATCHERS};

use crate::core::pack::{self, Reader};
use crate::core::time::UnixMs;

/// What a watched key costs besides its bytes.
const KEY_BYTES: usize = 64;
/// How long a watch lasts, in milliseconds.
const WATCH_MS: u64 = WATCH.as_millis() as u64;

/// One connection's watch, from its first WATCH to its EXEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Drawn at random for this watch.
    pub token: u64,
    /// How many times keys were added: were one of them missing here, the watch would guard less
    /// than its client believes.
    pub rounds: u64,
}

/// The watched keys of a shard, or of a node.
#[derive(Debug, Default)]
pub struct Watched {
    /// How many watches there are. Set while the slots of the watched keys are locked, so that who
    /// locks one of these slots later sees it.
    watches: AtomicUsize,
    table: RwLock<Table>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    watches: BTreeMap<u64, Watch>,
    /// Since when there is each watch.
    ages: BTreeSet<(UnixMs, u64)>,
    /// Who watches a key.
    tokens: BTreeMap<Bytes, BTreeSet<u64>>,
    /// What the keys of all watches take.
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Watch {
    since: UnixMs,
    rounds: u64,
    keys: Vec<Bytes>,
}

impl Watched {
    /// Whether nobody watches anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watches.load(Relaxed) == 0
    }

    /// Adds keys to a watch, whose `rounds` counts this time. Their slots are locked. A watch that
    /// is here no more, or lacks an earlier round, is not begun again: it will not be claimed.
    ///
    /// # Errors
    /// Too much is watched; the keys are not.
    pub fn watch(&self, watcher: Watcher, keys: &[&[u8]], now: UnixMs) -> Result<(), ReplyError> {
        self.change(|table| {
            table.expire(now);
            table.watch(watcher, keys, now)
        })
    }

    /// A key was changed; its slot is locked. Ends the watches that it is part of.
    pub fn touch(&self, key: &[u8]) {
        if !self.is_empty() {
            self.change(|table| {
                for token in table.tokens.remove(key).unwrap_or_default() {
                    table.remove(token);
                }
            });
        }
    }

    /// Ends a watch.
    pub fn forget(&self, token: u64) {
        self.change(|table| _ = table.remove(token));
    }

    /// Ends a watch that should have been added to so many times; gives its keys, if none of them
    /// has changed. They may have become due, if their slots were not locked all the time.
    pub fn claim(&self, watcher: Watcher, now: UnixMs) -> Option<Vec<Bytes>> {
        self.change(|table| {
            table.expire(now);
            let watch = table.remove(watcher.token)?;
            (watch.rounds == watcher.rounds).then_some(watch.keys)
        })
    }

    /// The keys of a watch, if it is here.
    #[must_use]
    pub fn keys(&self, token: u64) -> Vec<Bytes> {
        let table = self.table.read();
        let watch = table.watches.get(&token);
        watch.map(|watch| watch.keys.clone()).unwrap_or_default()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        let mut table = self.table.write();
        let result = change(&mut table);
        self.watches.store(table.watches.len(), Relaxed);
        result
    }

    /// Appends all watches, for a copy of the shard.
    pub fn encode(&self, out: &mut BytesMut) {
        let table = self.table.read();
        pack::array(out, table.watches.len());
        for (token, watch) in &table.watches {
            for number in [*token, watch.since, watch.rounds] {
                pack::uint(out, number);
            }
            pack::array(out, watch.keys.len());
            watch.keys.iter().for_each(|key| pack::bin(out, key));
        }
    }

    /// Reads what [`Self::encode`] has written.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut table = Table::default();
        for _ in 0..from.array(WATCHERS)? {
            let token = from.uint()?;
            let (since, rounds) = (from.uint()?, from.uint()?);
            table.begin(token, since, rounds);
            for _ in 0..from.array(WATCHED_BYTES / KEY_BYTES)? {
                table.add(token, from.bin()?);
            }
        }
        Ok(Self {
            watches: table.watches.len().into(),
            table: RwLock::new(table),
        })
    }
}

impl Clone for Watched {
    fn clone(&self) -> Self {
        let table = self.table.read().clone();
        Self {
            watches: table.watches.len().into(),
            table: RwLock::new(table),
        }
    }
}

impl Table {
    fn watch(&mut self, watcher: Watcher, keys: &[&[u8]], now: UnixMs) -> Result<(), ReplyError> {
        let Watcher { token, rounds } = watcher;
        let before = self.watches.get(&token).map(|watch| watch.rounds);
        if before.unwrap_or_default() + 1 != rounds {
            // Some of its keys have changed already, or are not known here.
            self.remove(token);
            return Ok(());
        }
        let more: usize = keys.iter().map(|key| key.len() + KEY_BYTES).sum();
        let is_full = before.is_none() && self.watches.len() >= WATCHERS;
        if is_full || self.bytes + more > WATCHED_BYTES {
            let why = "too many keys are watched here; these are not";
            return Err(ReplyError::TryAgain(why.into()));
        }
        match self.watches.get_mut(&token) {
            Some(watch) => watch.rounds = rounds,
            None => self.begin(token, now, rounds),
        }
        keys.iter().for_each(|key| self.add(token, key));
        Ok(())
    }

    fn begin(&mut self, token: u64, since: UnixMs, rounds: u64) {
        let watch = Watch {
            since,
            rounds,
            keys: Vec::new(),
        };
        self.watches.insert(token, watch);
        self.ages.insert((since, token));
    }

    fn add(&mut self, token: u64, key: &[u8]) {
        let key = Bytes::copy_from_slice(key);
        let tokens = self.tokens.entry(key.clone()).or_default();
        if let Some(watch) = self.watches.get_mut(&token)
            && tokens.insert(token)
        {
            self.bytes += key.len() + KEY_BYTES;
            watch.keys.push(key);
        }
    }

    fn remove(&mut self, token: u64) -> Option<Watch> {
        let watch = self.watches.remove(&token)?;
        self.ages.remove(&(watch.since, token));
        for key in &watch.keys {
            self.bytes -= key.len() + KEY_BYTES;
            if let Some(tokens) = self.tokens.get_mut(key) {
                tokens.remove(&token);
                if tokens.is_empty() {
                    self.tokens.remove(key);
                }
            }
        }
        Some(watch)
    }

    fn expire(&mut self, now: UnixMs) {
        while let Some((since, token)) = self.ages.first().copied()
            && since + WATCH_MS <= now
        {
            self.remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn watcher(token: u64, rounds: u64) -> Watcher {
        Watcher { token, rounds }
    }

    fn watch(watched: &Watched, token: u64, rounds: u64, keys: &[&[u8]]) {
        watched.watch(watcher(token, rounds), keys, 0).unwrap();
    }

    #[test]
    fn a_change_ends_every_watch_of_the_key() {
        let watched = Watched::default();
        assert!(watched.is_empty());
        watch(&watched, 1, 1, &[b"a", b"a"]);
        watch(&watched, 2, 1, &[b"a"]);
        watch(&watched, 3, 1, &[b"b"]);
        watched.touch(b"a");
        watched.touch(b"c");
        assert_eq!(watched.claim(watcher(1, 1), 0), None);
        assert_eq!(watched.claim(watcher(2, 1), 0), None);
        assert_eq!(watched.claim(watcher(3, 1), 0), Some(vec!["b".into()]));
        assert_eq!(watched.claim(watcher(3, 1), 0), None, "claimed once");
        assert!(watched.is_empty());
        assert_eq!(*watched.table.read(), Table::default());
    }

    #[test]
    fn a_watch_that_lacks_a_round_is_never_claimed() {
        let watched = Watched::default();
        watch(&watched, 1, 1, &[b"a"]);
        assert_eq!(watched.claim(watcher(1, 2), 0), None);
        watch(&watched, 2, 1, &[b"a"]);
        watched.touch(b"a");
        watch(&watched, 2, 2, &[b"b"]);
        assert_eq!(watched.claim(watcher(2, 2), 0), None);
        watch(&watched, 3, 1, &[b"a"]);
        watch(&watched, 3, 1, &[b"b"]);
        assert_eq!(watched.claim(watcher(3, 1), 0), None, "two of one token");
        watch(&watched, 4, 1, &[b"a"]);
        watch(&watched, 4, 2, &[b"b"]);
        let keys = vec!["a".into(), "b".into()];
        assert_eq!(watched.keys(4), keys);
        assert_eq!(watched.claim(watcher(4, 2), 0), Some(keys));
    }

    #[test]
    fn a_watch_ends_with_its_time() {
        let watched = Watched::default();
        for token in [1, 2] {
            watch(&watched, token, 1, &[b"a"]);
        }
        let claimed = |token, now| watched.claim(watcher(token, 1), now).is_some();
        assert!(claimed(1, WATCH_MS - 1));
        assert!(!claimed(2, WATCH_MS));
    }

    #[test]
    fn there_is_a_limit_to_watches_and_to_their_bytes() {
        let watched = Watched::default();
        for token in 0..WATCHERS as u64 {
            watch(&watched, token, 1, &[b"a"]);
        }
        let more = |token, keys: &[&[u8]]| watched.watch(watcher(token, 1), keys, 0);
        let refused = more(u64::MAX, &[b"a"]).unwrap_err();
        assert!(matches!(refused, ReplyError::TryAgain(_)), "{refused}");
        watched.forget(0);
        assert_eq!(more(0, &[b"a"]), Ok(()));
        watched.forget(0);
        let key = vec![b'x'; WATCHED_BYTES];
        assert!(more(0, &[&key]).is_err());
        assert_eq!(watched.claim(watcher(0, 1), 0), None);
    }

    #[test]
    fn a_copy_is_the_same() {
        let watched = Watched::default();
        watch(&watched, 9, 1, &[b"a", b"b"]);
        watch(&watched, 7, 1, &[b"b"]);
        watch(&watched, 7, 2, &[b""]);
        let mut bytes = BytesMut::new();
        watched.encode(&mut bytes);
        let copy = Watched::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(*copy.table.read(), *watched.table.read());
        assert!(!copy.is_empty());
        assert_eq!(*watched.clone().table.read(), *watched.table.read());
    }
}
