//! The file of a shard's snapshot as bytes: a header, then pieces, each with a checksum of its own.
//!
//! ```text
//! file   magic (8), its number (8), checksum (4); then pieces
//! piece  length (4), its number in the file, from 0 on (4), 1 if it is the last (4), checksum (4);
//!        bytes
//! ```
//!
//! Numbers have the lowest byte first. Checksums are CRC32C and begin with the salt and the file's
//! number: a piece of another file does not pass. Knows nothing of what the pieces say.

use bytes::BytesMut;

use super::segment::Salt;

/// What a file begins with; the last byte is the version.
const MAGIC: [u8; 8] = *b"dht-snp\x01";
/// Bytes of a file's header.
pub const HEAD_BYTES: usize = 20;
/// Bytes before those of a piece.
pub const PIECE_HEAD_BYTES: usize = 16;

/// What is said before the bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHead {
    /// How many bytes follow.
    pub length: usize,
    /// There is no piece behind it.
    pub is_last: bool,
    checksum: u32,
}

/// Appends the header of a file.
pub fn put_head(salt: Salt, file: u64, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&file.to_le_bytes());
    let checksum = salt.checksum(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Whether a file begins with this header.
#[must_use]
pub fn has_head(salt: Salt, file: u64, bytes: &[u8]) -> bool {
    let mut expected = BytesMut::with_capacity(HEAD_BYTES);
    put_head(salt, file, &mut expected);
    bytes.starts_with(&expected)
}

/// What goes before a piece of a file.
#[must_use]
pub fn piece_head(
    (salt, file): (Salt, u64),
    number: u32,
    is_last: bool,
    bytes: &[u8],
) -> [u8; PIECE_HEAD_BYTES] {
    let mut head = [0; PIECE_HEAD_BYTES];
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for (place, value) in [(0, length), (4, number), (8, u32::from(is_last))] {
        head[place..place + 4].copy_from_slice(&value.to_le_bytes());
    }
    let checksum = checksum(salt, file, &head[..12], bytes);
    head[12..].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// Reads what goes before the piece with this number; nothing when it is of another piece.
#[must_use]
pub fn read_piece_head(head: &[u8; PIECE_HEAD_BYTES], number: u32) -> Option<PieceHead> {
    let four = |place: usize| {
        let bytes = head[place..].first_chunk();
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    (four(4) == number && four(8) <= 1).then(|| PieceHead {
        length: four(0) as usize,
        is_last: four(8) == 1,
        checksum: four(12),
    })
}

/// Whether these are the bytes of a piece, as they were written.
#[must_use]
pub fn is_whole(
    (salt, file): (Salt, u64),
    head: &[u8; PIECE_HEAD_BYTES],
    piece: PieceHead,
    bytes: &[u8],
) -> bool {
    piece.checksum == checksum(salt, file, &head[..12], bytes)
}

fn checksum(salt: Salt, file: u64, head: &[u8], bytes: &[u8]) -> u32 {
    let start = salt.checksum(&file.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(start, head), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (Salt, u64) = (Salt(7), 9);

    fn reads(file: (Salt, u64), number: u32, head: &[u8; PIECE_HEAD_BYTES], bytes: &[u8]) -> bool {
        let piece = read_piece_head(head, number);
        piece.is_some_and(|piece| is_whole(file, head, piece, bytes))
    }

    #[test]
    fn no_changed_bit_of_a_piece_goes_unnoticed() {
        let head = piece_head(FILE, 3, true, b"piece");
        assert!(reads(FILE, 3, &head, b"piece"));
        for bit in 0..head.len() * 8 {
            let mut head = head;
            head[bit / 8] ^= 1 << (bit % 8);
            assert!(!reads(FILE, 3, &head, b"piece"));
        }
        assert!(!reads(FILE, 3, &head, b"Piece"));
    }

    #[test]
    fn a_piece_of_another_file_or_place_is_none() {
        let head = piece_head(FILE, 3, false, b"piece");
        assert!(!reads(FILE, 4, &head, b"piece"));
        assert!(!reads((Salt(7), 8), 3, &head, b"piece"));
        assert!(!reads((Salt(8), 9), 3, &head, b"piece"));
        let mut out = BytesMut::new();
        put_head(Salt(7), 9, &mut out);
        assert_eq!(out.len(), HEAD_BYTES);
        assert!(has_head(Salt(7), 9, &out));
        assert!(!has_head(Salt(8), 9, &out) && !has_head(Salt(7), 8, &out));
    }
}
