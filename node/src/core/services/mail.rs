//! What nodes tell each other about services. Frames of such mails hold nothing else.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;
use dht_proto::{Reply, limits, rpc};

use super::Call;
use crate::core::kinds::{CALL, CALL_ANSWER, OFFER};
use crate::core::pack::{self, Reader};

/// Something that one node tells another.
#[derive(Clone, Debug, PartialEq)]
pub enum Mail {
    /// All names under which its connections answer calls.
    Offer(BTreeSet<Bytes>),
    /// A call: its number, the time that is left in milliseconds.
    Call(u64, u64, Call),
    /// The answer to the call of a number.
    Answer(u64, Reply),
}

impl Mail {
    /// Appends it to a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Offer(names) => {
                pack::uint(out, OFFER);
                pack::array(out, names.len());
                names.iter().for_each(|name| pack::bin(out, name));
            }
            Self::Call(number, left_ms, call) => {
                pack::uint(out, CALL);
                pack::uint(out, *number);
                pack::uint(out, *left_ms);
                pack::bin(out, &call.name);
                pack::array(out, call.words.len());
                call.words.iter().for_each(|word| pack::bin(out, word));
            }
            Self::Answer(number, reply) => {
                pack::uint(out, CALL_ANSWER);
                pack::uint(out, *number);
                match reply {
                    // What a node says of a call comes as an error, not as a part of a list.
                    Reply::Error(error) => {
                        pack::uint(out, 1);
                        pack::bin(out, error.to_string().as_bytes());
                    }
                    reply => {
                        pack::uint(out, 0);
                        rpc::append_reply(reply, out);
                    }
                }
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.uint()? {
            OFFER => {
                let count = from.array(limits::SERVICES)?;
                let names = (0..count).map(|_| from.bin().map(Bytes::copy_from_slice));
                Self::Offer(names.collect::<Result<_, _>>()?)
            }
            CALL => Self::Call(from.uint()?, from.uint()?, take_call(from)?),
            CALL_ANSWER => Self::Answer(
                from.uint()?,
                match from.uint()? {
                    0 => from.reply()?,
                    _ => rpc::received(from.bin()?),
                },
            ),
            _ => return Err(Malformed("no mail about services")),
        })
    }
}

fn take_call(from: &mut Reader<'_>) -> Result<Call, Malformed> {
    let name = Bytes::copy_from_slice(from.bin()?);
    let count = from.array(limits::ARGUMENTS)?;
    let words = (0..count).map(|_| from.bin().map(Bytes::copy_from_slice));
    let words = words.collect::<Result<_, _>>()?;
    Ok(Call { name, words })
}

/// Whether a frame holds mails about services.
#[must_use]
pub fn is_mail(frame: &[u8]) -> bool {
    let kind = Reader::new(frame).uint();
    kind.is_ok_and(|kind| matches!(kind, OFFER | CALL | CALL_ANSWER))
}

/// Takes the mails off a frame, as far as they make sense.
pub fn read_all(frame: &[u8], take: &mut dyn FnMut(Mail)) {
    let mut from = Reader::new(frame);
    while !from.is_empty() {
        match Mail::take(&mut from) {
            Ok(mail) => take(mail),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use dht_proto::ReplyError;

    use super::*;

    #[test]
    fn mails_come_out_as_they_went_in() {
        let word = |word: &'static str| Bytes::from_static(word.as_bytes());
        let call = Call {
            name: word("Calculator"),
            words: vec![word("add"), word("")],
        };
        let error = ReplyError::Received("SERVICE no".to_owned());
        let mails = [
            Mail::Offer(BTreeSet::new()),
            Mail::Offer([word("a"), word("b")].into()),
            Mail::Call(7, 5000, call),
            Mail::Answer(u64::MAX, Reply::Array(vec![Reply::Int(5), Reply::Nil])),
            Mail::Answer(1, Reply::Error(error)),
        ];
        let mut frame = BytesMut::new();
        mails.iter().for_each(|mail| mail.encode(&mut frame));
        assert!(is_mail(&frame));
        let mut read = Vec::new();
        read_all(&frame, &mut |mail| read.push(mail));
        assert_eq!(read, mails);
        // What is cut off is not there; what is before it is.
        read.clear();
        read_all(&frame[..frame.len() - 1], &mut |mail| read.push(mail));
        assert_eq!(read, mails[..4]);
        for frame in [&b""[..], b"\x00", b"\xc1", b"\x15\x01", b"\x14\xc0"] {
            read_all(frame, &mut |mail| panic!("{mail:?}"));
        }
    }
}
