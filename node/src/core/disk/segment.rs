//! Segments of the log as bytes: a header, then batches, each with checksums of its own.
//!
//! ```text
//! segment  magic (8), number of its first batch (8), checksum (4); then batches
//! batch    magic (4), length of its records (4), its number (8), durable mark (8), oldest
//!          segment needed (8), checksum of the records (4), checksum of all before (4); records
//! ```
//!
//! Numbers have the lowest byte first. Checksums are CRC32C and begin with the log's salt: bytes
//! of another log do not pass, nor do those of a client who has seen one. Knows nothing of what
//! the records say.

use bytes::BytesMut;

/// What a segment begins with; the last byte is the version.
const SEGMENT: [u8; 8] = *b"dht-log\x01";
/// What a batch begins with.
const BATCH: [u8; 4] = [0xd7, 0x8a, 0x1f, 0xb4];
/// Bytes of a segment's header.
pub const SEGMENT_HEAD_BYTES: usize = 20;
/// Bytes of a batch's header.
pub const BATCH_HEAD_BYTES: usize = 40;

/// A number that only this log has: with it nothing else is taken for a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub u64);

/// What the header of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHead {
    /// Bytes of the records.
    pub(super) length: usize,
    /// The batch's number.
    pub(super) number: u64,
    /// The number of the last batch that was durable when this one was written.
    pub(super) mark: u64,
    /// The first segment without which the log does not say everything.
    pub(super) oldest: u64,
}

impl Salt {
    /// The checksum of some bytes, which only this log has for them.
    pub(super) fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.0.to_le_bytes()), bytes)
    }
}

/// Appends the header of a segment whose first batch has this number.
pub(super) fn put_head(salt: Salt, first: u64, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(&SEGMENT);
    out.extend_from_slice(&first.to_le_bytes());
    let checksum = salt.checksum(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Whether a segment begins with this header.
pub(super) fn has_head(salt: Salt, first: u64, bytes: &[u8]) -> bool {
    let mut expected = BytesMut::with_capacity(SEGMENT_HEAD_BYTES);
    put_head(salt, first, &mut expected);
    bytes.starts_with(&expected)
}

/// Appends a batch whose records `put` appends.
///
/// # Errors
/// It is longer than a batch may be.
pub(super) fn put_batch(
    salt: Salt,
    (number, mark, oldest): (u64, u64, u64),
    out: &mut BytesMut,
    put: impl FnOnce(&mut BytesMut),
) -> Result<(), &'static str> {
    let start = out.len();
    out.extend_from_slice(&[0; BATCH_HEAD_BYTES]);
    put(out);
    let (head, records) = out[start..].split_at_mut(BATCH_HEAD_BYTES);
    let length = u32::try_from(records.len()).map_err(|_| "a batch of more than 4 GiB")?;
    head[..4].copy_from_slice(&BATCH);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    for (place, value) in [(8, number), (16, mark), (24, oldest)] {
        head[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    head[32..36].copy_from_slice(&salt.checksum(records).to_le_bytes());
    let checksum = salt.checksum(&head[..36]);
    head[36..].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// The header of a batch, if there is one at the front of these bytes.
pub(super) fn batch_head(salt: Salt, bytes: &[u8]) -> Option<BatchHead> {
    let head: &[u8; BATCH_HEAD_BYTES] = bytes.first_chunk()?;
    let is_head = head.starts_with(&BATCH) && four(head, 36) == salt.checksum(&head[..36]);
    is_head.then(|| BatchHead {
        length: four(head, 4) as usize,
        number: eight(head, 8),
        mark: eight(head, 16),
        oldest: eight(head, 24),
    })
}

/// The records behind a batch's header, if all are there and as they were written.
pub(super) fn records(salt: Salt, head: BatchHead, bytes: &[u8]) -> Option<&[u8]> {
    let (front, behind) = bytes.split_at_checked(BATCH_HEAD_BYTES)?;
    let records = behind.get(..head.length)?;
    (four(front, 32) == salt.checksum(records)).then_some(records)
}

/// The headers of batches that lie anywhere in these bytes.
pub(super) fn find_heads(salt: Salt, bytes: &[u8]) -> impl Iterator<Item = BatchHead> + '_ {
    let starts = bytes.windows(BATCH.len()).enumerate();
    let starts = starts.filter(|(_, window)| *window == BATCH);
    starts.filter_map(move |(at, _)| batch_head(salt, &bytes[at..]))
}

fn four(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes[at..].first_chunk();
    chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes[at..].first_chunk();
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(7);

    fn batch(records: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        put_batch(SALT, (9, 8, 3), &mut out, |out| {
            out.extend_from_slice(records);
        })
        .unwrap();
        out
    }

    #[test]
    fn no_changed_bit_of_a_batch_goes_unnoticed() {
        let whole = batch(b"records");
        let head = batch_head(SALT, &whole).unwrap();
        assert_eq!(records(SALT, head, &whole), Some(&b"records"[..]));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let head = batch_head(SALT, &bytes);
            assert_eq!(head.and_then(|head| records(SALT, head, &bytes)), None);
        }
    }

    #[test]
    fn a_batch_of_another_log_is_none() {
        assert_eq!(batch_head(Salt(8), &batch(b"")), None);
        let mut out = BytesMut::new();
        put_head(SALT, 1, &mut out);
        assert_eq!(out.len(), SEGMENT_HEAD_BYTES);
        assert!(has_head(SALT, 1, &out) && !has_head(Salt(8), 1, &out) && !has_head(SALT, 2, &out));
    }

    #[test]
    fn headers_are_found_wherever_they_lie() {
        let bytes = [&b"x"[..], &batch(b"y"), &BATCH, &batch(b"z")[..39]].concat();
        let found: Vec<_> = find_heads(SALT, &bytes).map(|head| head.length).collect();
        assert_eq!(found, [1]);
        let bytes = [&batch(b"y")[..], &batch(b"")].concat();
        assert_eq!(find_heads(SALT, &bytes).count(), 2);
    }
}
