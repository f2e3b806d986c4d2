//! Keys as the store looks them up: bytes and their hash, which carries the slot.
//!
//! A hash has three parts that do not meet: DashMap takes a key's shard from bits 43..56, where the
//! slot is put; hashbrown takes its 7-bit tag from the top, and the index in a table from the low
//! bits. It is the same on every node and in every version, since scan cursors depend on it.

use std::hash::{BuildHasher, Hasher};

use dht_proto::slot::{SLOTS, key_slot};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

/// The lowest bit of a hash that DashMap takes the shard from.
const SLOT_SHIFT: u32 = 43;
const SLOT_MASK: u64 = (SLOTS as u64 - 1) << SLOT_SHIFT;

/// The hash by which a table finds a key or a field: without the slot, whose bits no table looks
/// at.
pub(super) fn table_hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// A key with its hash and its slot.
#[derive(Clone, Copy, Debug)]
pub struct Key<'k> {
    bytes: &'k [u8],
    hash: u64,
}

impl<'k> Key<'k> {
    /// Hashes a key.
    #[must_use]
    pub fn new(bytes: &'k [u8]) -> Self {
        let slot = u64::from(key_slot(bytes)) << SLOT_SHIFT;
        Self {
            bytes,
            hash: table_hash(bytes) & !SLOT_MASK | slot,
        }
    }

    /// The key itself.
    #[must_use]
    pub const fn bytes(self) -> &'k [u8] {
        self.bytes
    }

    /// The slot.
    #[must_use]
    pub const fn slot(self) -> u16 {
        slot_of_hash(self.hash)
    }

    pub(super) const fn hash(self) -> u64 {
        self.hash
    }

    /// Hashes `bytes`, unless they are this very key in the same place.
    pub(super) fn or_new(self, bytes: &'k [u8]) -> Self {
        if std::ptr::eq(self.bytes, bytes) {
            self
        } else {
            Self::new(bytes)
        }
    }
}

const fn slot_of_hash(hash: u64) -> u16 {
    ((hash & SLOT_MASK) >> SLOT_SHIFT) as u16
}

/// The keys that a command names: the first one hashed, and the slots to be locked.
#[derive(Clone, Debug)]
pub struct Keys<'k> {
    first: Key<'k>,
    /// Ascending, each once: the order in which they are locked.
    slots: SmallVec<[u16; 8]>,
}

impl<'k> Keys<'k> {
    /// A single key.
    #[must_use]
    pub fn one(key: Key<'k>) -> Self {
        Self {
            first: key,
            slots: SmallVec::from_slice(&[key.slot()]),
        }
    }

    /// Keys of any slots; nothing when there is none.
    #[must_use]
    pub fn of(keys: &[Key<'k>]) -> Option<Self> {
        let (first, rest) = keys.split_first()?;
        let mut all = Self::one(*first);
        if !rest.is_empty() {
            all.slots.extend(rest.iter().map(|key| key.slot()));
            all.slots.sort_unstable();
            all.slots.dedup();
        }
        Some(all)
    }

    /// These keys, or none.
    #[must_use]
    pub fn any(keys: &[Key<'k>]) -> Self {
        Self::of(keys).unwrap_or_else(|| Self {
            first: Key::new(b""),
            slots: SmallVec::new(),
        })
    }

    /// The same keys, and every slot.
    #[must_use]
    pub fn everywhere(self) -> Self {
        Self {
            slots: (0..SLOTS).collect(),
            ..self
        }
    }

    /// The first key.
    #[must_use]
    pub const fn first(&self) -> Key<'k> {
        self.first
    }

    /// The slots of the keys, ascending, each once.
    #[must_use]
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }
}

/// Hashes keys for DashMap, so that its shard is the key's slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn write(&mut self, key: &[u8]) {
        self.0 = Key::new(key).hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl BuildHasher for SlotHasher {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

/// Any hash that belongs to a slot.
pub(super) const fn hash_in_slot(slot: u16) -> u64 {
    (slot as u64) << SLOT_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_carries_the_slot() {
        for key in [&b""[..], b"a", b"user:1", &[0xff; 300]] {
            let hashed = Key::new(key);
            assert_eq!(hashed.slot(), key_slot(key));
            assert_eq!(hashed.hash() & !SLOT_MASK, table_hash(key) & !SLOT_MASK);
        }
    }

    #[test]
    fn slots_are_sorted_and_unique() {
        let names: Vec<String> = (0..50).map(|n| format!("key:{}", n % 30)).collect();
        let keys = Keys::of(
            &names
                .iter()
                .map(|name| Key::new(name.as_bytes()))
                .collect::<Vec<_>>(),
        )
        .unwrap();
        assert!(keys.slots().is_sorted_by(|a, b| a < b));
        for name in &names {
            assert!(keys.slots().contains(&key_slot(name.as_bytes())));
        }
        assert_eq!(keys.first().bytes(), b"key:0");
        assert!(Keys::of(&[]).is_none());
    }
}
