//! What a command may do with data: reading verbs under a shared lock, writing verbs under an exclusive one.
//!
//! A handler is given a [`Read`] or a [`Write`] with its slot (or slots) already locked. Keys that are due at the
//! command's stamp do not exist for either.

use bytes::Bytes;
use dht_proto::ReplyError;

use super::time::UnixMs;

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A plain string.
    String,
    /// A hash.
    Hash,
}

/// What becomes of a key's time to live when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Stays as it is.
    Keep,
    /// No expiry.
    Never,
    /// At this time.
    At(UnixMs),
}

/// Reads the keys of the command's slots.
pub struct Read<'a> {
    /// The command's time: what is due at it does not exist.
    pub stamp: UnixMs,
    marker: std::marker::PhantomData<&'a ()>,
}

impl Read<'_> {
    /// The type of a key, if it exists.
    #[must_use]
    pub fn kind(&self, key: &[u8]) -> Option<ValueKind> {
        unreachable!("{key:?}")
    }

    /// The expiry of a key that exists: `Some(None)` when it has none.
    #[must_use]
    pub fn expiry(&self, key: &[u8]) -> Option<Option<UnixMs>> {
        unreachable!("{key:?}")
    }

    /// A string's bytes.
    ///
    /// # Errors
    /// Another type.
    pub fn string(&self, key: &[u8]) -> Result<Option<StringRef<'_>>, ReplyError> {
        unreachable!("{key:?}")
    }

    /// A hash.
    ///
    /// # Errors
    /// Another type.
    pub fn hash(&self, key: &[u8]) -> Result<Option<HashRef<'_>>, ReplyError> {
        unreachable!("{key:?}")
    }
}

/// Changes the keys of the command's slots.
pub struct Write<'a> {
    /// The command's time, put on it by the leader.
    pub stamp: UnixMs,
    /// The command's random seed, put on it by the leader.
    pub seed: u64,
    marker: std::marker::PhantomData<&'a ()>,
}

impl Write<'_> {
    /// The type of a key, if it exists.
    #[must_use]
    pub fn kind(&self, key: &[u8]) -> Option<ValueKind> {
        unreachable!("{key:?}")
    }

    /// The expiry of a key that exists: `Some(None)` when it has none.
    #[must_use]
    pub fn expiry(&self, key: &[u8]) -> Option<Option<UnixMs>> {
        unreachable!("{key:?}")
    }

    /// A string's bytes.
    ///
    /// # Errors
    /// Another type.
    pub fn string(&self, key: &[u8]) -> Result<Option<StringRef<'_>>, ReplyError> {
        unreachable!("{key:?}")
    }

    /// A hash.
    ///
    /// # Errors
    /// Another type.
    pub fn hash(&self, key: &[u8]) -> Result<Option<HashRef<'_>>, ReplyError> {
        unreachable!("{key:?}")
    }

    /// Sets a string, whatever the key held.
    ///
    /// # Errors
    /// The key or the value is longer than its limit; nothing has changed.
    pub fn set_string(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Expiry,
    ) -> Result<(), ReplyError> {
        unreachable!("{key:?} {value:?} {expiry:?}")
    }

    /// Appends to a string, made when absent; gives the new length. The expiry stays.
    ///
    /// # Errors
    /// Another type, or longer than the limit; nothing has changed.
    pub fn append(&mut self, key: &[u8], tail: &[u8]) -> Result<usize, ReplyError> {
        unreachable!("{key:?} {tail:?}")
    }

    /// Sets fields of a hash, made when absent; gives how many are new. Nothing changes on an error.
    ///
    /// # Errors
    /// Another type; a key, field or value longer than its limit.
    pub fn hash_set(&mut self, key: &[u8], pairs: &[(&[u8], &[u8])]) -> Result<usize, ReplyError> {
        unreachable!("{key:?} {pairs:?}")
    }

    /// Removes fields of a hash, and the key with the last one; gives how many there were.
    ///
    /// # Errors
    /// Another type.
    pub fn hash_remove(&mut self, key: &[u8], fields: &[&[u8]]) -> Result<usize, ReplyError> {
        unreachable!("{key:?} {fields:?}")
    }

    /// Removes a key; says whether there was one. A huge value is freed in slices, later.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        unreachable!("{key:?}")
    }

    /// Sets or clears the expiry of a key; says whether the key exists.
    pub fn set_expiry(&mut self, key: &[u8], at: Option<UnixMs>) -> bool {
        unreachable!("{key:?} {at:?}")
    }
}

/// A string's bytes, in place.
pub struct StringRef<'a>(std::marker::PhantomData<&'a ()>);

impl StringRef<'_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        unreachable!()
    }

    /// The bytes, copied when short and shared when long.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        unreachable!()
    }
}

/// A hash, in place.
pub struct HashRef<'a>(std::marker::PhantomData<&'a ()>);

impl HashRef<'_> {
    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        unreachable!()
    }

    /// Whether it has no field; a hash that is stored always has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<StringRef<'_>> {
        unreachable!("{field:?}")
    }

    /// Every field with its value: a small hash in the order of insertion, a large one in hash order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], StringRef<'_>)> {
        std::iter::empty()
    }

    /// Visits about `count` fields from `cursor` on; gives the cursor to go on from, 0 at the end. What is in the
    /// hash from the first call to the last is visited at least once. A small hash is visited whole.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], StringRef<'_>),
    ) -> u64 {
        let _ = visit;
        cursor + count as u64
    }
}

/// The keys of a set of slots, for commands about the whole keyspace. Locks one slot at a time.
pub struct Whole<'a> {
    /// The command's time.
    pub stamp: UnixMs,
    marker: std::marker::PhantomData<&'a ()>,
}

impl Whole<'_> {
    /// Number of keys in the slots; keys that are due and not yet removed count, as in Redis.
    #[must_use]
    pub fn len(&self) -> usize {
        unreachable!()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits every live key of the slots.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8], ValueKind)) {
        let _ = visit;
    }

    /// Visits about `count` keys from `cursor` on; gives the cursor to go on from, 0 at the end. A key that is there
    /// from the first call to the last is visited at least once, on whichever nodes the calls run.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], ValueKind)) -> u64 {
        let _ = visit;
        cursor + count as u64
    }

    /// Removes every key of the slots; memory is freed in slices, later.
    pub fn clear(&self) {}
}
