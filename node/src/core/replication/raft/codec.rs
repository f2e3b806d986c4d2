//! The engine's messages as MessagePack. No byte from a link reaches the engine's own parser.

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;
use dht_proto::limits::{APPEND_ENTRIES, MEMBERS};
use raft::eraftpb::{
    ConfState, Entry, EntryType, Message, MessageType, Snapshot, SnapshotMetadata,
};

use super::Point;
use crate::core::pack::{self, Reader};

/// Appends a message.
pub fn encode(message: &Message, out: &mut BytesMut) {
    pack::array(out, 15);
    for number in [
        message.msg_type as u64,
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.request_snapshot,
        u64::from(message.reject),
        message.reject_hint,
    ] {
        pack::uint(out, number);
    }
    pack::bin(out, &message.context);
    pack::array(out, message.entries.len());
    for entry in &message.entries {
        encode_entry(entry, out);
    }
    encode_copy(message.get_snapshot().get_metadata(), out);
    pack::bin(out, &message.get_snapshot().data);
}

/// The data of a change of members is the engine's own format: it does not travel, its context
/// says the same.
fn encode_entry(entry: &Entry, out: &mut BytesMut) {
    pack::array(out, 4);
    pack::uint(out, entry.entry_type as u64);
    pack::uint(out, entry.term);
    pack::uint(out, entry.index);
    match entry.get_entry_type() {
        EntryType::EntryNormal => pack::bin(out, &entry.data),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            pack::bin(out, &entry.context);
        }
    }
}

/// Appends an entry as it is kept beside its place.
pub fn encode_kept(entry: &Entry, out: &mut BytesMut) {
    pack::uint(out, entry.entry_type as u64);
    match entry.get_entry_type() {
        EntryType::EntryNormal => out.extend_from_slice(&entry.data),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            out.extend_from_slice(&entry.context);
        }
    }
}

/// The entry that was kept as these bytes at a place.
///
/// # Errors
/// They are none.
pub fn decode_kept(at: Point, bytes: &Bytes) -> Result<Entry, Malformed> {
    let mut from = Reader::new(bytes);
    let kind = kind_of_entry(from.uint()?)?;
    let mut entry = Entry {
        index: at.index,
        term: at.term,
        ..Entry::default()
    };
    entry.set_entry_type(kind);
    let rest = bytes.slice(bytes.len() - from.left()..);
    match kind {
        EntryType::EntryNormal => entry.data = rest,
        _ => entry.context = rest,
    }
    Ok(entry)
}

/// Appends where a full copy stands.
pub fn encode_copy(copy: &SnapshotMetadata, out: &mut BytesMut) {
    let conf = copy.get_conf_state();
    pack::array(out, 6);
    pack::uint(out, copy.index);
    pack::uint(out, copy.term);
    for members in [
        &conf.voters,
        &conf.learners,
        &conf.voters_outgoing,
        &conf.learners_next,
    ] {
        pack::array(out, members.len());
        members.iter().for_each(|member| pack::uint(out, *member));
    }
}

/// Reads a message.
///
/// # Errors
/// It is none.
pub fn decode(from: &mut Reader<'_>) -> Result<Message, Malformed> {
    from.array_of(15)?;
    let mut message = Message::default();
    message.set_msg_type(kind(from.uint()?)?);
    message.to = from.uint()?;
    message.from = from.uint()?;
    message.term = from.uint()?;
    message.log_term = from.uint()?;
    message.index = from.uint()?;
    message.commit = from.uint()?;
    message.commit_term = from.uint()?;
    message.request_snapshot = from.uint()?;
    message.reject = from.uint()? != 0;
    message.reject_hint = from.uint()?;
    message.context = Bytes::copy_from_slice(from.bin()?);
    let mut entries = Vec::with_capacity(from.array(APPEND_ENTRIES)?);
    while entries.len() < entries.capacity() {
        entries.push(decode_entry(from)?);
    }
    message.set_entries(entries.into());
    let copy = decode_copy(from)?;
    let state = from.bin()?;
    if copy.index > 0 {
        let mut snapshot = Snapshot::default();
        snapshot.set_metadata(copy);
        snapshot.data = Bytes::copy_from_slice(state);
        message.set_snapshot(snapshot);
    }
    Ok(message)
}

/// Messages that travel; the engine panics on none of them.
fn kind(number: u64) -> Result<MessageType, Malformed> {
    use MessageType::*;
    [
        MsgAppend,
        MsgAppendResponse,
        MsgRequestVote,
        MsgRequestVoteResponse,
        MsgSnapshot,
        MsgHeartbeat,
        MsgHeartbeatResponse,
        MsgTimeoutNow,
        MsgRequestPreVote,
        MsgRequestPreVoteResponse,
    ]
    .into_iter()
    .find(|kind| *kind as u64 == number)
    .ok_or(Malformed("an unknown kind of Raft message"))
}

fn decode_entry(from: &mut Reader<'_>) -> Result<Entry, Malformed> {
    from.array_of(4)?;
    let kind = kind_of_entry(from.uint()?)?;
    let mut entry = Entry::default();
    entry.set_entry_type(kind);
    entry.term = from.uint()?;
    entry.index = from.uint()?;
    let data = Bytes::copy_from_slice(from.bin()?);
    match kind {
        EntryType::EntryNormal => entry.data = data,
        _ => entry.context = data,
    }
    Ok(entry)
}

const fn kind_of_entry(number: u64) -> Result<EntryType, Malformed> {
    match number {
        0 => Ok(EntryType::EntryNormal),
        2 => Ok(EntryType::EntryConfChangeV2),
        _ => Err(Malformed("an unknown kind of entry")),
    }
}

/// Reads where a full copy stands.
///
/// # Errors
/// It is malformed.
pub fn decode_copy(from: &mut Reader<'_>) -> Result<SnapshotMetadata, Malformed> {
    from.array_of(6)?;
    let mut copy = SnapshotMetadata {
        index: from.uint()?,
        term: from.uint()?,
        ..SnapshotMetadata::default()
    };
    let conf: &mut ConfState = copy.mut_conf_state();
    for members in [
        &mut conf.voters,
        &mut conf.learners,
        &mut conf.voters_outgoing,
        &mut conf.learners_next,
    ] {
        for _ in 0..from.array(MEMBERS)? {
            members.push(from.uint()?);
        }
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let mut message = Message {
            to: 2,
            from: 1,
            term: 7,
            log_term: 6,
            index: u64::MAX,
            commit: 5,
            commit_term: 4,
            request_snapshot: 3,
            reject: true,
            reject_hint: 9,
            context: Bytes::from_static(b"context"),
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgAppend);
        let entry = |index, data: &'static [u8]| Entry {
            index,
            term: 7,
            data: Bytes::from_static(data),
            ..Entry::default()
        };
        message.set_entries(vec![entry(8, b""), entry(9, &[0xff; 300])].into());
        message
    }

    fn travel(message: &Message) -> Result<Message, Malformed> {
        let mut out = BytesMut::new();
        encode(message, &mut out);
        decode(&mut Reader::new(&out))
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        assert_eq!(travel(&message()), Ok(message()));
        let mut copy = message();
        copy.set_msg_type(MessageType::MsgSnapshot);
        copy.mut_snapshot().data = Bytes::from_static(b"state");
        let metadata = copy.mut_snapshot().mut_metadata();
        metadata.index = 44;
        *metadata.mut_conf_state() = ConfState::from((vec![1, 2], vec![3]));
        metadata.mut_conf_state().set_voters_outgoing(vec![9]);
        assert_eq!(travel(&copy), Ok(copy));
    }

    #[test]
    fn a_change_of_members_travels_in_our_words() {
        let mut sent = message();
        let entry = &mut sent.mut_entries()[0];
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = Bytes::from_static(b"the engine's");
        entry.context = Bytes::from_static(b"ours");
        let got = travel(&sent).unwrap();
        assert_eq!(
            (&got.entries[0].data[..], &got.entries[0].context[..]),
            (&b""[..], &b"ours"[..])
        );
    }

    #[test]
    fn local_messages_and_torn_ones_are_refused() {
        let mut local = message();
        local.set_msg_type(MessageType::MsgHup);
        assert!(travel(&local).is_err());
        let mut out = BytesMut::new();
        encode(&message(), &mut out);
        for length in 0..out.len() {
            assert!(
                decode(&mut Reader::new(&out[..length])).is_err(),
                "{length}"
            );
        }
    }
}
