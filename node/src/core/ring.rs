//! The consistent hash ring: in which order a shard prefers the members. It knows seats and numbers
//! of shards, nothing of loads.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher};

use consistent_hash_ring::RingBuilder;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Points of a member on the ring: the share of a member varies by about 1 / √256 = 6 %.
const VIRTUAL_NODES: usize = 256;

/// The ring over a set of members, each named by its seat.
pub struct Ring(consistent_hash_ring::Ring<Seat, FixedHasher>);

impl Ring {
    /// The ring over these seats. Every node that is given the same seats has the same ring.
    #[must_use]
    pub fn new(seats: &BTreeSet<String>) -> Self {
        let seats = seats.iter().enumerate().map(|(index, address)| Seat {
            address: address.clone(),
            index,
        });
        Self(
            RingBuilder::new(FixedHasher(0))
                .vnodes(VIRTUAL_NODES)
                .nodes_iter(seats)
                .build(),
        )
    }

    /// All members, as indices into the sorted seats, in the order in which the shard prefers them.
    pub fn candidates(&self, shard: usize) -> impl Iterator<Item = usize> {
        self.0.replicas(Shard(shard as u64)).map(|seat| seat.index)
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Seat {
    address: String,
    index: usize,
}

// Written out, here and for `Shard`: what a derived `Hash` feeds is no stable format, and every
// node has to hash the same bytes whatever its compiler and platform.
impl Hash for Seat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.address.as_bytes());
    }
}

struct Shard(u64);

impl Hash for Shard {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// XXH3 without a random seed; its value so far seeds the next write.
#[derive(Clone)]
struct FixedHasher(u64);

impl BuildHasher for FixedHasher {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        self.clone()
    }
}

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(seats: &[&str]) -> Ring {
        Ring::new(&seats.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_member_is_a_candidate_once() {
        let ring = ring(&["a:1", "b:1", "c:1", "d:1"]);
        for shard in 0..256 {
            let mut order: Vec<usize> = ring.candidates(shard).collect();
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3], "shard {shard}");
        }
    }

    #[test]
    fn the_order_never_changes_between_versions() {
        let ring = ring(&["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"]);
        let first: Vec<usize> = (0..12).filter_map(|s| ring.candidates(s).next()).collect();
        assert_eq!(first, [2, 2, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0]);
    }

    #[test]
    fn a_member_that_leaves_moves_only_what_preferred_it() {
        let four = ring(&["a:1", "b:1", "c:1", "d:1"]);
        let three = ring(&["a:1", "b:1", "c:1"]);
        for shard in 0..1024 {
            let before = four.candidates(shard).next();
            if before != Some(3) {
                assert_eq!(three.candidates(shard).next(), before, "shard {shard}");
            }
        }
    }
}
