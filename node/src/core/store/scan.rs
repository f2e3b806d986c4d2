//! The order in which SCAN visits keys: slot by slot, and inside a slot by position.
//!
//! A key's position is its hash with the low bits reversed, so that the keys that share a home
//! bucket of a table are neighbours whatever the size of the table: in one of 2^k buckets, bucket
//! `b` holds the positions whose top k bits are `b` reversed. A cursor therefore keeps its meaning
//! when a table grows or shrinks, and on another node. It is the idea of Redis's reverse binary
//! cursor, kept as a position instead of a bucket number.

use super::record::Record;
use super::table::{self, Table};
use crate::core::random::Random;
use dht_proto::slot::SLOTS;

/// Bits of a position: those of a hash below the slot's.
const POSITION_BITS: u32 = 43;
const POSITIONS: u64 = 1 << POSITION_BITS;
/// Tables of at most this many buckets are swept, not walked.
const SWEPT_BUCKETS: usize = 64;
/// A sweep looks at every record, a walk costs about so many times as much for each home bucket.
const WALK_COST: usize = 16;
/// Most home buckets that one step of a walk visits for each key that is asked for.
const WALK_PATIENCE: usize = 16;

/// Where a scan of the keyspace goes on: as a number, what SCAN answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The slot; [`SLOTS`] at the end.
    pub slot: u16,
    /// The first position in it that has not been visited.
    pub(super) position: u64,
}

impl Cursor {
    /// The beginning of a slot.
    #[must_use]
    pub const fn at_slot(slot: u16) -> Self {
        Self { slot, position: 0 }
    }

    /// A random place in a slot.
    pub(super) const fn draw(slot: u16, random: &mut Random) -> Self {
        let position = random.below(POSITIONS);
        Self { slot, position }
    }

    /// Whether a scan that is here has visited what has this slot and position.
    pub(super) const fn has_passed(self, slot: u16, position: u64) -> bool {
        slot < self.slot || slot == self.slot && position < self.position
    }

    /// Reads what a client sent; a number that no scan gives is the end.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let slot = u16::try_from(number >> POSITION_BITS).unwrap_or(SLOTS);
        Self {
            slot: slot.min(SLOTS),
            position: number & (POSITIONS - 1),
        }
    }

    /// The number for the client: 0 at the end.
    #[must_use]
    pub fn to_number(self) -> u64 {
        if self.slot >= SLOTS {
            0
        } else {
            u64::from(self.slot) << POSITION_BITS | self.position
        }
    }
}

/// A key's position in its slot.
pub(super) const fn position_of_hash(hash: u64) -> u64 {
    (hash << (u64::BITS - POSITION_BITS)).reverse_bits()
}

/// Visits the records of a slot's table from position `from` on until about `count` were visited;
/// gives the position to go on from, nothing at the end. Its work is bounded by `count`, not by the
/// table.
pub(super) fn step<'t>(
    table: &'t Table,
    from: u64,
    count: usize,
    visit: &mut dyn FnMut(&'t Record),
) -> Option<u64> {
    let small = SWEPT_BUCKETS.max(count.saturating_mul(WALK_COST));
    if table.buckets() <= small {
        sweep(table, from, count, position_of_hash, visit)
    } else {
        walk(table, from, count, visit)
    }
}

/// Looks at every record and visits the `count` first ones from position `from` on, and those at
/// the same position as the last.
pub(super) fn sweep<'t>(
    table: &'t Table,
    from: u64,
    count: usize,
    position_of_hash: fn(u64) -> u64,
    visit: &mut dyn FnMut(&'t Record),
) -> Option<u64> {
    let mut ahead: Vec<(u64, &Record)> = table::records(table)
        .map(|record| (position_of_hash(table::hash_of(record)), record))
        .filter(|(position, _)| *position >= from)
        .collect();
    ahead.sort_unstable_by_key(|(position, _)| *position);
    let last = ahead
        .get(count.saturating_sub(1))
        .map(|(position, _)| *position);
    let taken = last.map_or(ahead.len(), |last| {
        ahead.partition_point(|(position, _)| *position <= last)
    });
    for (_, record) in &ahead[..taken] {
        visit(record);
    }
    ahead.get(taken).map(|(position, _)| *position)
}

/// Goes from home bucket to home bucket in the order of positions.
fn walk<'t>(
    table: &'t Table,
    from: u64,
    count: usize,
    visit: &mut dyn FnMut(&'t Record),
) -> Option<u64> {
    let bits = table.buckets().trailing_zeros();
    let shift = POSITION_BITS - bits;
    let mut rank = from >> shift;
    let patience = rank + count.saturating_mul(WALK_PATIENCE) as u64;
    let mut visited = 0;
    while visited < count && rank < patience {
        let home = (rank << (u64::BITS - bits)).reverse_bits() as usize;
        for (hash, record) in table::residents(table, home) {
            if position_of_hash(hash) >= from {
                visit(record);
                visited += 1;
            }
        }
        rank += 1;
        if rank == 1 << bits {
            return None;
        }
    }
    Some(rank << shift)
}
