//! How native frames are cut: the preface of a connection, then length-prefixed frames. Knows
//! nothing of what is in them.

use std::fmt;
use std::ops::Range;

use tokio_util::codec::LengthDelimitedCodec;

use crate::Sink;

/// The first byte of a native connection; a RESP request never begins with it, since it is no
/// ASCII.
pub const MAGIC_BYTE: u8 = 0xD7;
/// Length of the preface, in bytes.
pub const PREFACE_BYTES: usize = 8;
/// The version of the native protocol.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 6] = [MAGIC_BYTE, b'd', b'h', b't', b'\r', b'\n'];

/// Who opened a native connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client.
    Client,
    /// A node of the cluster; a handshake follows, see [`crate::peer`].
    Peer,
}

/// Bytes that the protocol does not allow: what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// The bytes with which a native connection begins: magic, version, role.
#[must_use]
pub const fn preface(role: Role) -> [u8; PREFACE_BYTES] {
    let [a, b, c, d, e, f] = MAGIC;
    let role = match role {
        Role::Client => b'c',
        Role::Peer => b'p',
    };
    [a, b, c, d, e, f, VERSION, role]
}

/// Reads a preface.
///
/// # Errors
/// Another magic, version or role.
pub fn read_preface(bytes: [u8; PREFACE_BYTES]) -> Result<Role, Malformed> {
    let [magic @ .., version, role] = bytes;
    match (version, role) {
        _ if magic != MAGIC => Err(Malformed("unknown protocol")),
        (VERSION, b'c') => Ok(Role::Client),
        (VERSION, b'p') => Ok(Role::Peer),
        (VERSION, _) => Err(Malformed("unknown role")),
        _ => Err(Malformed("unsupported protocol version")),
    }
}

/// Cuts frames: a length of four bytes, big-endian and not counting itself, then so many bytes, at
/// most `limit`.
#[must_use]
pub fn codec(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_type::<u32>()
        .big_endian()
        .max_frame_length(limit)
        .new_codec()
}

/// Where the content of the first frame is in these bytes, if all of it is there and it has at most
/// `limit` bytes.
#[must_use]
pub fn first(bytes: &[u8], limit: usize) -> Option<Range<usize>> {
    let (head, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*head)).ok()?;
    (length <= limit.min(rest.len())).then_some(head.len()..head.len() + length)
}

/// Appends a frame whose content `write` appends; the length is put before it afterwards.
pub(crate) fn append<S: Sink>(out: &mut S, write: impl FnOnce(&mut S)) {
    let start = out.len();
    out.put(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out.patch(start, &length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use tokio_util::codec::Decoder;

    use super::*;

    #[test]
    fn prefaces_are_recognized() {
        for role in [Role::Client, Role::Peer] {
            assert_eq!(read_preface(preface(role)), Ok(role));
        }
        for place in 0..PREFACE_BYTES {
            let mut wrong = preface(Role::Client);
            wrong[place] ^= 0x80;
            assert!(read_preface(wrong).is_err(), "{wrong:?}");
        }
        assert!(!MAGIC_BYTE.is_ascii());
    }

    #[test]
    fn frames_are_cut_and_limited() {
        let mut bytes = BytesMut::new();
        append(&mut bytes, |out| out.put_slice(b"one"));
        append(&mut bytes, |_| ());
        append(&mut bytes, |out| out.put_slice(b"three"));
        let whole = bytes.clone();
        assert_eq!(first(&whole, 4), Some(4..7));
        assert_eq!(first(&whole, 2), None, "the codec says why");
        assert_eq!(first(&whole[..6], 4), None, "not all of it is there");
        assert_eq!(first(&whole[..3], 4), None);
        assert_eq!(first(&whole[7..], 4), Some(4..4));
        let mut codec = codec(4);
        assert_eq!(codec.decode(&mut bytes).unwrap().unwrap(), b"one"[..]);
        assert_eq!(codec.decode(&mut bytes).unwrap().unwrap(), b""[..]);
        assert!(codec.decode(&mut bytes).is_err());
    }
}
