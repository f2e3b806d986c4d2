//! MessagePack, an item at a time and without copying. Knows nothing of what the items mean.

use rmp::Marker;
use rmp::decode::{RmpRead, ValueReadError, read_marker};
use serde::de::DeserializeOwned;

use crate::frame::Malformed;
use crate::limits::NESTING;

/// A value, or the beginning of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// Nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer of up to 64 bits, signed or unsigned.
    Int(i128),
    /// A float.
    Float(f64),
    /// Text; whether it is UTF-8 is not checked.
    Str(&'a [u8]),
    /// Bytes.
    Bin(&'a [u8]),
    /// So many values follow; they are known to have a byte each.
    Array(usize),
    /// So many pairs of values follow; they are known to have two bytes each.
    Map(usize),
    /// An extension's type and data.
    Ext(i8, &'a [u8]),
}

/// Takes the next item off the bytes.
///
/// # Errors
/// They end too early, or begin with no item.
pub fn item<'a>(rest: &mut &'a [u8]) -> Result<Item<'a>, Malformed> {
    let marker = read_marker(rest).map_err(|_| ENDS)?;
    read(marker, rest)
        .map_err(|_| ENDS)
        .and_then(|head| finish(head, rest))
}

const ENDS: Malformed = Malformed("the message ends too early");

/// What a marker and the length behind it say.
#[derive(Clone, Copy)]
enum Head {
    Done(Item<'static>),
    Str(usize),
    Bin(usize),
    Array(usize),
    Map(usize),
    /// Type and length.
    Ext(i8, usize),
    Reserved,
}

fn read(marker: Marker, rest: &mut &[u8]) -> Result<Head, ValueReadError> {
    let int = |value: i128| Head::Done(Item::Int(value));
    Ok(match marker {
        Marker::Null => Head::Done(Item::Nil),
        Marker::True => Head::Done(Item::Bool(true)),
        Marker::False => Head::Done(Item::Bool(false)),
        Marker::FixPos(value) => int(value.into()),
        Marker::FixNeg(value) => int(value.into()),
        Marker::U8 => int(rest.read_data_u8()?.into()),
        Marker::U16 => int(rest.read_data_u16()?.into()),
        Marker::U32 => int(rest.read_data_u32()?.into()),
        Marker::U64 => int(rest.read_data_u64()?.into()),
        Marker::I8 => int(rest.read_data_i8()?.into()),
        Marker::I16 => int(rest.read_data_i16()?.into()),
        Marker::I32 => int(rest.read_data_i32()?.into()),
        Marker::I64 => int(rest.read_data_i64()?.into()),
        Marker::F32 => Head::Done(Item::Float(rest.read_data_f32()?.into())),
        Marker::F64 => Head::Done(Item::Float(rest.read_data_f64()?)),
        Marker::FixStr(length) => Head::Str(length.into()),
        Marker::Str8 => Head::Str(rest.read_data_u8()?.into()),
        Marker::Str16 => Head::Str(rest.read_data_u16()?.into()),
        Marker::Str32 => Head::Str(rest.read_data_u32()? as usize),
        Marker::Bin8 => Head::Bin(rest.read_data_u8()?.into()),
        Marker::Bin16 => Head::Bin(rest.read_data_u16()?.into()),
        Marker::Bin32 => Head::Bin(rest.read_data_u32()? as usize),
        Marker::FixArray(count) => Head::Array(count.into()),
        Marker::Array16 => Head::Array(rest.read_data_u16()?.into()),
        Marker::Array32 => Head::Array(rest.read_data_u32()? as usize),
        Marker::FixMap(count) => Head::Map(count.into()),
        Marker::Map16 => Head::Map(rest.read_data_u16()?.into()),
        Marker::Map32 => Head::Map(rest.read_data_u32()? as usize),
        Marker::FixExt1 => extension(1, rest)?,
        Marker::FixExt2 => extension(2, rest)?,
        Marker::FixExt4 => extension(4, rest)?,
        Marker::FixExt8 => extension(8, rest)?,
        Marker::FixExt16 => extension(16, rest)?,
        Marker::Ext8 => extension(rest.read_data_u8()?.into(), rest)?,
        Marker::Ext16 => extension(rest.read_data_u16()?.into(), rest)?,
        Marker::Ext32 => extension(rest.read_data_u32()? as usize, rest)?,
        Marker::Reserved => Head::Reserved,
    })
}

fn extension(length: usize, rest: &mut &[u8]) -> Result<Head, ValueReadError> {
    Ok(Head::Ext(rest.read_data_i8()?, length))
}

/// Takes what belongs to the item, or checks that what it announces can be there at all.
fn finish<'a>(head: Head, rest: &mut &'a [u8]) -> Result<Item<'a>, Malformed> {
    let there = rest.len();
    let mut take = |length| {
        let taken = rest.split_off(..length);
        taken.ok_or(ENDS)
    };
    match head {
        Head::Done(item) => Ok(item),
        Head::Str(length) => take(length).map(Item::Str),
        Head::Bin(length) => take(length).map(Item::Bin),
        Head::Ext(kind, length) => take(length).map(|data| Item::Ext(kind, data)),
        Head::Array(count) if count <= there => Ok(Item::Array(count)),
        Head::Map(count) if count <= there / 2 => Ok(Item::Map(count)),
        Head::Array(_) | Head::Map(_) => Err(ENDS),
        Head::Reserved => Err(Malformed("a reserved type")),
    }
}

/// Takes a value of a type that serde knows off the bytes; unknown keys of a map are ignored.
///
/// # Errors
/// It is another type, too deep, or ends too early.
pub fn message_pack<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, Malformed> {
    let mut deserializer = rmp_serde::Deserializer::new(rest);
    deserializer.set_max_depth(NESTING);
    T::deserialize(&mut deserializer).map_err(|_| Malformed("not the fields that were expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_every_width() {
        let check = |bytes: &[u8], expect: Item<'_>| {
            let mut rest = bytes;
            assert_eq!(item(&mut rest), Ok(expect), "{bytes:?}");
            for end in 0..bytes.len() - rest.len() {
                assert!(item(&mut &bytes[..end]).is_err(), "{bytes:?} up to {end}");
            }
        };
        check(b"\xc0", Item::Nil);
        check(b"\xc3", Item::Bool(true));
        check(b"\x7f", Item::Int(127));
        check(b"\xe0", Item::Int(-32));
        check(b"\xcc\xff", Item::Int(255));
        check(b"\xcd\x01\x00", Item::Int(256));
        check(b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff", Item::Int(-1));
        check(
            b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            Item::Int(u64::MAX.into()),
        );
        check(b"\xca\x3f\x80\x00\x00", Item::Float(1.0));
        check(b"\xa2ab", Item::Str(b"ab"));
        check(b"\xd9\x02ab", Item::Str(b"ab"));
        check(b"\xc5\x00\x02ab", Item::Bin(b"ab"));
        check(b"\xd6\x01abcd", Item::Ext(1, b"abcd"));
        check(b"\xc7\x03\xffabc", Item::Ext(-1, b"abc"));
        let mut rest: &[u8] = b"\xdc\x00\x02\xc0\xc0";
        assert_eq!(item(&mut rest), Ok(Item::Array(2)));
        let mut rest: &[u8] = b"\x82\xc0\xc0\xc0";
        assert_eq!(item(&mut rest), Err(ENDS));
    }
}
