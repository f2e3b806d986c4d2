//! Records as bytes: MessagePack arrays whose first item says what they are.

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;

use super::{Base, Group, Hard, Record, Who};
use crate::core::pack::{self, Reader};
use crate::core::replication::raft::Point;

/// Most items of anything: nothing is reserved for what is only promised.
const ITEMS: usize = u32::MAX as usize;

const START: u64 = 0;
const CUT: u64 = 1;
const ENTRIES: u64 = 2;
const HARD: u64 = 3;
const GONE: u64 = 4;
const CLUSTER: u64 = 5;

/// Appends a record.
pub(super) fn encode(record: &Record, out: &mut BytesMut) {
    match record {
        Record::Start(who, base) => encode_base(out, START, *who, base),
        Record::Cut(who, base) => encode_base(out, CUT, *who, base),
        Record::Entries(who, entries) => {
            head(out, 4, ENTRIES, *who);
            pack::array(out, 3 * entries.len());
            for (at, entry) in entries {
                point(out, *at);
                pack::bin(out, entry);
            }
        }
        Record::Hard(who, Hard { term, vote, commit }) => {
            head(out, 6, HARD, *who);
            for number in [term, vote, commit] {
                pack::uint(out, *number);
            }
        }
        Record::Gone(who) => head(out, 3, GONE, *who),
        Record::Cluster(bytes) => {
            pack::array(out, 2);
            pack::uint(out, CLUSTER);
            pack::bin(out, bytes);
        }
    }
}

fn head(out: &mut BytesMut, items: usize, kind: u64, (group, peer): Who) {
    pack::array(out, items);
    for number in [kind, group.into(), peer] {
        pack::uint(out, number);
    }
}

fn point(out: &mut BytesMut, at: Point) {
    pack::uint(out, at.index);
    pack::uint(out, at.term);
}

fn encode_base(out: &mut BytesMut, kind: u64, who: Who, base: &Base) {
    head(out, 7, kind, who);
    point(out, base.at);
    pack::bin(out, &base.members);
    // No file has the number 0.
    pack::uint(out, base.snapshot.unwrap_or(0));
}

/// Takes the next record.
///
/// # Errors
/// There is none.
pub(super) fn decode(from: &mut Reader<'_>) -> Result<Record, Malformed> {
    let items = from.array(7)?;
    let kind = from.uint()?;
    if kind == CLUSTER {
        return Ok(Record::Cluster(take_bytes(from)?));
    }
    let group = Group::try_from(from.uint()?).map_err(|_| Malformed("no number of a group"))?;
    let who = (group, from.uint()?);
    Ok(match (kind, items) {
        (START, 7) => Record::Start(who, take_base(from)?),
        (CUT, 7) => Record::Cut(who, take_base(from)?),
        (ENTRIES, 4) => Record::Entries(who, take_entries(from)?),
        (HARD, 6) => Record::Hard(
            who,
            Hard {
                term: from.uint()?,
                vote: from.uint()?,
                commit: from.uint()?,
            },
        ),
        (GONE, 3) => Record::Gone(who),
        _ => return Err(Malformed("a record of an unknown kind")),
    })
}

fn take_base(from: &mut Reader<'_>) -> Result<Base, Malformed> {
    Ok(Base {
        at: take_point(from)?,
        members: take_bytes(from)?,
        snapshot: Some(from.uint()?).filter(|number| *number > 0),
    })
}

fn take_entries(from: &mut Reader<'_>) -> Result<Vec<(Point, Bytes)>, Malformed> {
    let items = from.array(ITEMS)?;
    if !items.is_multiple_of(3) {
        return Err(Malformed("a part of an entry"));
    }
    let entry = |_| Ok((take_point(from)?, take_bytes(from)?));
    (0..items / 3).map(entry).collect()
}

fn take_point(from: &mut Reader<'_>) -> Result<Point, Malformed> {
    Ok(Point {
        index: from.uint()?,
        term: from.uint()?,
    })
}

/// Copied, so that what is kept does not hold on to a whole segment.
fn take_bytes(from: &mut Reader<'_>) -> Result<Bytes, Malformed> {
    from.bin().map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Point = Point {
        index: 300,
        term: 7,
    };

    fn records() -> Vec<Record> {
        let who = (64, u64::MAX);
        let base = |snapshot| Base {
            at: AT,
            members: Bytes::from_static(b"members"),
            snapshot,
        };
        let entry = |data: &'static [u8]| (AT, Bytes::from_static(data));
        let hard = Hard {
            term: 3,
            vote: 0,
            commit: u64::MAX,
        };
        vec![
            Record::Start(who, base(None)),
            Record::Start(who, base(Some(9))),
            Record::Cut(who, base(Some(8))),
            Record::Cut(who, base(None)),
            Record::Entries(who, vec![entry(b""), entry(&[1; 300])]),
            Record::Hard(who, hard),
            Record::Gone(who),
            Record::Cluster(Bytes::from_static(b"cluster")),
        ]
    }

    fn encoded(record: &Record) -> BytesMut {
        let mut out = BytesMut::new();
        encode(record, &mut out);
        out
    }

    #[test]
    fn records_come_back_one_by_one() {
        let all: Vec<u8> = records().iter().flat_map(encoded).collect();
        let mut from = Reader::new(&all);
        for record in records() {
            assert_eq!(decode(&mut from).unwrap(), record);
        }
        assert!(from.is_empty());
    }

    #[test]
    fn every_record_is_refused_when_cut_short() {
        for bytes in records().iter().map(encoded) {
            for length in 0..bytes.len() {
                assert!(decode(&mut Reader::new(&bytes[..length])).is_err());
            }
        }
    }
}
