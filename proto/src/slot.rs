//! Hash slots, exactly those of Redis Cluster. Knows nothing of shards or nodes.

use std::ops::RangeInclusive;

/// Number of slots.
pub const SLOTS: u16 = 16384;

/// The slot of a key: CRC16/XMODEM of the key, or of its `{tag}`, modulo [`SLOTS`].
///
/// The tag is what lies between the first `{` and the next `}` after it, unless that is nothing.
#[inline]
#[must_use]
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hashed_part(key)) % SLOTS
}

/// The shard of a slot, of `shards` equal, contiguous ranges.
#[must_use]
pub fn shard_of(slot: u16, shards: usize) -> usize {
    usize::from(slot) * shards / usize::from(SLOTS)
}

/// The slots of a shard, of `shards`.
#[must_use]
pub fn slots_of(shard: usize, shards: usize) -> RangeInclusive<u16> {
    let width = usize::from(SLOTS) / shards;
    let first = u16::try_from(shard * width).unwrap_or(SLOTS);
    let last = u16::try_from((shard + 1) * width - 1).unwrap_or(SLOTS - 1);
    first..=last
}

fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        None | Some(0) => key,
        Some(close) => &after[..close],
    }
}

/// CRC16/XMODEM: polynomial 0x1021, start 0, neither reflected nor inverted. Eight bytes a step, by
/// the slicing method of Kounavis and Berry (2005).
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0;
    let (blocks, tail) = bytes.as_chunks::<8>();
    for block in blocks {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = *block;
        let [high, low] = u16::to_be_bytes(crc);
        crc = TABLES[7][usize::from(b0 ^ high)]
            ^ TABLES[6][usize::from(b1 ^ low)]
            ^ TABLES[5][usize::from(b2)]
            ^ TABLES[4][usize::from(b3)]
            ^ TABLES[3][usize::from(b4)]
            ^ TABLES[2][usize::from(b5)]
            ^ TABLES[1][usize::from(b6)]
            ^ TABLES[0][usize::from(b7)];
    }
    for byte in tail {
        let [high, low] = crc.to_be_bytes();
        crc = (u16::from(low) << 8) ^ TABLES[0][usize::from(byte ^ high)];
    }
    crc
}

/// `TABLES[n][byte]` is the remainder of `byte` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[zeros - 1][byte];
            tables[zeros][byte] = (shorter << 8) ^ tables[0][(shorter >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, slot: u16) {
        assert_eq!(key_slot(key.as_bytes()), slot, "{key:?}");
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        check("", 0);
        check("123456789", 0x31C3);
        check("foo", 12182);
        check("somekey", 11058);
        check("foo{hash_tag}", 2515);
        check("bar{hash_tag}", 2515);
        check("hash_tag", 2515);
    }

    #[test]
    fn only_a_tag_that_is_not_empty_counts() {
        let same = |key: &str, part: &str| {
            assert_eq!(hashed_part(key.as_bytes()), part.as_bytes(), "{key:?}");
        };
        same("{user1000}.following", "user1000");
        same("foo{}{bar}", "foo{}{bar}");
        same("foo{{bar}}zap", "{bar");
        same("foo{bar}{zap}", "bar");
        same("foo}bar{", "foo}bar{");
        same("foo{bar", "foo{bar");
        same("}{a}", "a");
    }

    #[test]
    fn eight_bytes_a_step_equal_one_bit_a_step() {
        let mut key = Vec::new();
        for round in 0..300u16 {
            let mut crc = 0u16;
            for byte in &key {
                crc ^= u16::from(*byte) << 8;
                for _ in 0..8 {
                    crc = (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 };
                }
            }
            assert_eq!(crc16(&key), crc, "{key:?}");
            key.push(u8::try_from(round * 167 % 251).unwrap());
        }
    }
}
