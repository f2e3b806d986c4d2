//! A shard's data as bytes that every platform reads alike: a stream of items, one after another,
//! as it travels to other nodes, to the disk, and into backups.
//!
//! ```text
//! begin       version, first and last slot (2 bytes each)
//! string      key, value
//! hash        key, count, as many fields with values; a whole small hash
//! part        key, fields of the whole hash, count, as many fields with values; of a large hash
//! long        key, length of a long string; its bytes follow as `more`
//! long field  key, fields of the whole hash, field, expiry, length of its value; `more` follows
//! more        bytes
//! end         number of keys
//! ```
//!
//! An item starts with a byte for its kind, to which 0x80 is added where the key has an expiry: 8
//! bytes behind the key, the lowest first. 0x40 is added where fields have expiries: behind each
//! value, or before its length, stands 0, or 1 and an expiry. Numbers and lengths are varints,
//! bytes have their length in front. What comes from outside meets its limit here. Knows nothing of
//! tables and locks.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use crate::frame::Malformed;
use crate::limits;

/// The version of the format; another one is refused.
const VERSION: u8 = 1;
/// On the kind of an item: its key has an expiry.
const VOLATILE: u8 = 0x80;
/// On the kind of an item: some of its fields have expiries.
const TIMED: u8 = 0x40;

/// A point in time, in milliseconds since the Unix epoch.
type UnixMs = u64;

/// Fields with their values and expiries.
pub type Fields<'a> = SmallVec<[(&'a [u8], &'a [u8], Option<UnixMs>); 8]>;

/// The key that an item is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The key.
    pub key: &'a [u8],
    /// When it expires.
    pub expiry: Option<UnixMs>,
}

/// One step of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The first: which slots these are.
    Begin(RangeInclusive<u16>),
    /// A string.
    String(Head<'a>, &'a [u8]),
    /// A small hash.
    Hash(Head<'a>, Fields<'a>),
    /// How many fields a hash has, and some of them.
    Part(Head<'a>, usize, Fields<'a>),
    /// The length of a string, whose bytes follow.
    Long(Head<'a>, usize),
    /// How many fields a hash has; one of them with its expiry; the length of its value, whose
    /// bytes follow.
    LongField(Head<'a>, usize, (&'a [u8], Option<UnixMs>), usize),
    /// The next bytes of a long value.
    More(&'a [u8]),
    /// The last: how many keys there were.
    End(usize),
}

impl<'a> Item<'a> {
    fn kind(&self) -> u8 {
        match self {
            Self::Begin(_) => 0,
            Self::String(..) => 1,
            Self::Hash(..) => 2,
            Self::Part(..) => 3,
            Self::Long(..) => 4,
            Self::LongField(..) => 5,
            Self::More(_) => 6,
            Self::End(_) => 7,
        }
    }

    /// Whether a field of it has an expiry.
    fn is_timed(&self) -> bool {
        match self {
            Self::Hash(_, fields) | Self::Part(_, _, fields) => {
                fields.iter().any(|(_, _, expiry)| expiry.is_some())
            }
            Self::LongField(_, _, (_, expiry), _) => expiry.is_some(),
            _ => false,
        }
    }

    /// Appends the item.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let is_timed = self.is_timed();
        let timed = if is_timed { TIMED } else { 0 };
        out.push(self.kind() | timed);
        match self {
            Self::Begin(slots) => {
                out.push(VERSION);
                out.extend_from_slice(&slots.start().to_le_bytes());
                out.extend_from_slice(&slots.end().to_le_bytes());
            }
            Self::String(head, value) => {
                head.encode(out);
                put_bytes(out, value);
            }
            Self::Hash(head, fields) => {
                head.encode(out);
                put_fields(out, fields, is_timed);
            }
            Self::Part(head, count, fields) => {
                head.encode(out);
                put_number(out, *count);
                put_fields(out, fields, is_timed);
            }
            Self::Long(head, len) => {
                head.encode(out);
                put_number(out, *len);
            }
            Self::LongField(head, fields, (field, expiry), len) => {
                head.encode(out);
                put_number(out, *fields);
                put_bytes(out, field);
                put_expiry(out, *expiry, is_timed);
                put_number(out, *len);
            }
            Self::More(bytes) => put_bytes(out, bytes),
            Self::End(keys) => put_number(out, *keys),
        }
    }

    /// Takes the next item from the front of `from`.
    ///
    /// # Errors
    /// There is none, or one beyond a limit.
    pub fn decode(from: &mut &'a [u8]) -> Result<Self, Malformed> {
        let kind = byte(from)?;
        let is_timed = kind & TIMED != 0;
        let item = match kind & !(VOLATILE | TIMED) {
            0 => Self::Begin(slots(from)?),
            1 => Self::String(head(kind, from)?, bytes(from, limits::VALUE_BYTES)?),
            2 => Self::Hash(head(kind, from)?, fields(from, is_timed)?),
            3 => Self::Part(head(kind, from)?, number(from)?, fields(from, is_timed)?),
            4 => Self::Long(head(kind, from)?, value_len(from)?),
            5 => {
                let (head, fields) = (head(kind, from)?, number(from)?);
                let field = bytes(from, limits::FIELD_BYTES)?;
                let expiry = expiry(from, is_timed)?;
                Self::LongField(head, fields, (field, expiry), value_len(from)?)
            }
            6 => Self::More(bytes(from, limits::VALUE_BYTES)?),
            7 => Self::End(number(from)?),
            _ => return Err(Malformed("an item of an unknown kind")),
        };
        let plain = kind & !(VOLATILE | TIMED);
        let (has_head, has_fields) = ((1..=5).contains(&plain), [2, 3, 5].contains(&plain));
        if kind & VOLATILE != 0 && !has_head || is_timed && !has_fields {
            return Err(Malformed("an expiry without a key or a field"));
        }
        Ok(item)
    }
}

impl Head<'_> {
    /// Behind the kind, which is told of an expiry.
    fn encode(&self, out: &mut Vec<u8>) {
        if self.expiry.is_some()
            && let Some(kind) = out.last_mut()
        {
            *kind |= VOLATILE;
        }
        put_bytes(out, self.key);
        if let Some(expiry) = self.expiry {
            out.extend_from_slice(&expiry.to_le_bytes());
        }
    }
}

/// Seven bits a byte, the lowest first, the top bit set on all but the last.
fn put_number(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_fields(out: &mut Vec<u8>, fields: &[(&[u8], &[u8], Option<UnixMs>)], is_timed: bool) {
    put_number(out, fields.len());
    for (field, value, expiry) in fields {
        put_bytes(out, field);
        put_bytes(out, value);
        put_expiry(out, *expiry, is_timed);
    }
}

fn put_expiry(out: &mut Vec<u8>, expiry: Option<UnixMs>, is_timed: bool) {
    if is_timed {
        out.push(u8::from(expiry.is_some()));
        out.extend(expiry.into_iter().flat_map(UnixMs::to_le_bytes));
    }
}

const TRUNCATED: Malformed = Malformed("an item is cut short");

fn byte(from: &mut &[u8]) -> Result<u8, Malformed> {
    from.split_off_first().copied().ok_or(TRUNCATED)
}

fn fixed<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (first, rest) = from.split_first_chunk().ok_or(TRUNCATED)?;
    *from = rest;
    Ok(*first)
}

fn number(from: &mut &[u8]) -> Result<usize, Malformed> {
    let mut n = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = byte(from)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        n |= bits << shift;
        if byte < 0x80 {
            return usize::try_from(n).map_err(|_| Malformed("a number is too great"));
        }
    }
    Err(Malformed("a number is too great"))
}

fn bytes<'a>(from: &mut &'a [u8], limit: usize) -> Result<&'a [u8], Malformed> {
    let len = number(from)?;
    if len > limit {
        return Err(Malformed("a key, field or value is too long"));
    }
    from.split_off(..len).ok_or(TRUNCATED)
}

fn value_len(from: &mut &[u8]) -> Result<usize, Malformed> {
    match number(from)? {
        0 => Err(Malformed("a long value is empty")),
        len if len > limits::VALUE_BYTES => Err(Malformed("a long value is too long")),
        len => Ok(len),
    }
}

fn slots(from: &mut &[u8]) -> Result<RangeInclusive<u16>, Malformed> {
    if byte(from)? != VERSION {
        return Err(Malformed("the image has another version"));
    }
    let first = u16::from_le_bytes(fixed(from)?);
    Ok(first..=u16::from_le_bytes(fixed(from)?))
}

fn head<'a>(kind: u8, from: &mut &'a [u8]) -> Result<Head<'a>, Malformed> {
    let key = bytes(from, limits::KEY_BYTES)?;
    let expiry = if kind & VOLATILE == 0 {
        None
    } else {
        Some(UnixMs::from_le_bytes(fixed(from)?))
    };
    Ok(Head { key, expiry })
}

fn fields<'a>(from: &mut &'a [u8], is_timed: bool) -> Result<Fields<'a>, Malformed> {
    let count = number(from)?;
    // Nothing is reserved for what is only promised.
    let mut fields = Fields::new();
    for _ in 0..count {
        let field = bytes(from, limits::FIELD_BYTES)?;
        let value = bytes(from, limits::VALUE_BYTES)?;
        fields.push((field, value, expiry(from, is_timed)?));
    }
    if fields.is_empty() {
        return Err(Malformed("a hash or a part of one is empty"));
    }
    Ok(fields)
}

fn expiry(from: &mut &[u8], is_timed: bool) -> Result<Option<UnixMs>, Malformed> {
    if !is_timed {
        return Ok(None);
    }
    match byte(from)? {
        0 => Ok(None),
        1 => Ok(Some(UnixMs::from_le_bytes(fixed(from)?))),
        _ => Err(Malformed("neither an expiry nor none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Item<'static>> {
        let plain = Head {
            key: b"key",
            expiry: None,
        };
        let volatile = Head {
            key: b"",
            expiry: Some(u64::MAX - 1),
        };
        let fields = || Fields::from_slice(&[(&b"f"[..], &b"v"[..], None), (b"", &[7; 300], None)]);
        let timed = || Fields::from_slice(&[(&b"f"[..], &b"v"[..], None), (b"", b"", Some(0))]);
        let mut items = vec![Item::Begin(3..=515), Item::More(b"more"), Item::End(70_000)];
        for head in [plain, volatile] {
            items.push(Item::String(head, b""));
            items.push(Item::String(head, &[1; 200]));
            items.push(Item::Hash(head, fields()));
            items.push(Item::Hash(head, timed()));
            items.push(Item::Part(head, 10_000_000, fields()));
            items.push(Item::Part(head, 2, timed()));
            items.push(Item::LongField(head, 65, (b"field", Some(u64::MAX)), 1));
            items.push(Item::Long(head, limits::VALUE_BYTES));
            items.push(Item::LongField(head, 65, (b"field", None), 1));
        }
        items
    }

    #[test]
    fn items_come_back_one_by_one() {
        let mut out = Vec::new();
        for item in items() {
            item.encode(&mut out);
        }
        let mut left = &out[..];
        for item in items() {
            let read = Item::decode(&mut left).unwrap();
            assert_eq!(format!("{read:?}"), format!("{item:?}"));
        }
        assert!(left.is_empty());
    }

    #[test]
    fn every_item_is_refused_when_cut_short() {
        for item in items() {
            let mut out = Vec::new();
            item.encode(&mut out);
            for len in 0..out.len() {
                assert_eq!(Item::decode(&mut &out[..len]), Err(TRUNCATED), "{item:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let check = |mut bytes: &[u8], expect| {
            assert_eq!(Item::decode(&mut bytes), Err(Malformed(expect)));
        };
        check(&[8], "an item of an unknown kind");
        check(&[0, 2, 0, 0, 9, 0], "the image has another version");
        check(&[0x87, 1], "an expiry without a key or a field");
        check(&[0x41, 0, 0], "an expiry without a key or a field");
        check(&[0x42, 0, 1, 0, 0, 2], "neither an expiry nor none");
        check(&[2, 0, 0], "a hash or a part of one is empty");
        check(&[4, 0, 0], "a long value is empty");
        check(&[4, 0, 0x81, 0x80, 0x80, 0x20], "a long value is too long");
        check(
            &[7, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
            "a number is too great",
        );
        check(&[1, 0x81, 0x80, 4], "a key, field or value is too long");
        let mut most = &[7, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1][..];
        assert_eq!(Item::decode(&mut most), Ok(Item::End(usize::MAX)));
    }
}
