//! What the workers of two nodes say to each other. A frame holds any number of mails; a lost frame
//! is made up for by whoever waits for an answer.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;
use dht_proto::limits::{FRAME_BYTES, SHARDS};
use dht_proto::topology::NodeId;
use dht_proto::{Reply, ReplyError, parts, rpc};

use super::machine::{Answer, session_unknown};
use super::raft::{Copy, Message, PeerId, codec};
use super::task;
use crate::core::kinds;
use crate::core::pack::{self, Reader};
use crate::core::rest::Rest;

/// One thing said by one worker to another.
#[derive(Debug)]
pub enum Mail<'a> {
    /// Between members of a group: the meta group is 0, a shard's group its number plus one.
    Raft(u16, Message),
    /// A task on its way to the leader of its shard.
    Task(Sent<'a>),
    /// What became of a task.
    Answer(Answered),
    /// The receiver does not lead the shard: nothing that was sent to it since the last answer
    /// will be answered.
    Refused(u16),
    /// Asks the leader of a shard for a session.
    Open(u16),
    /// The session.
    Opened(u16, u64),
    /// The epoch of the state that the sender knows, and the groups that it leads.
    Leads(u64, Vec<Led>),
    /// How the cluster forms; for [`crate::core::formation`].
    Formation(&'a [u8]),
    /// The members and replicas as the sender knows them.
    State(&'a [u8]),
    /// Asks the meta group for a change.
    Wish(&'a [u8]),
    /// A piece of a full copy.
    Chunk(Chunk<'a>),
    /// What has arrived of a full copy.
    Received(Received),
    /// The sender is about to end, and wants to lead nothing any more.
    Leaves,
    /// Whether the sender's disk has room.
    Room(bool),
    /// The sender is being given full copies: what is handed to it meanwhile waits behind them.
    Learns,
}

/// A group that the sender leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Led {
    /// Which group: the meta group is 0, a shard's group its number plus one.
    pub group: u16,
    /// The term in which it leads.
    pub term: u64,
    /// Every replica that there is to be is one, has a vote, and is heard from.
    pub whole: bool,
}

/// A task on its way, from a node to the leader of the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Which shard.
    pub shard: u16,
    /// What it is called in the answer.
    pub number: Number,
    /// The sender's session; 0 for a read without one.
    pub session: u64,
    /// For a read: the last write before it. For a write: the last acknowledged answer.
    pub after: u64,
    /// The encoded task.
    pub task: &'a [u8],
}

/// What a task is called between its sender and the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// Goes through the log: its sequence in the session.
    Logged(u64),
    /// A read that does not: unique for the sender.
    Read(u64),
}

/// What became of a task.
#[derive(Debug, PartialEq)]
pub struct Answered {
    /// Which shard.
    pub shard: u16,
    /// Which task.
    pub number: Number,
    /// In which session; 0 for a read without one.
    pub session: u64,
    /// What became of it.
    pub answer: Answer,
}

/// A piece of a full copy on its way.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Which shard.
    pub shard: u16,
    /// Who shall get the copy.
    pub to: PeerId,
    /// Where the copy stands.
    pub copy: Copy,
    /// Names this attempt, together with the sender.
    pub attempt: u64,
    /// The piece's number, from 0 on.
    pub number: u64,
    /// Whether it is the last.
    pub last: bool,
    /// The piece.
    pub bytes: &'a [u8],
}

/// What has arrived of a full copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which shard.
    pub shard: u16,
    /// Who gets the copy.
    pub to: PeerId,
    /// Which attempt.
    pub attempt: u64,
    /// How many pieces have arrived; `u64::MAX` when the attempt is of no use any more.
    pub pieces: u64,
}

/// An answer to another node whose reply takes long to make: to be made where that holds up
/// nobody, then given back by [`Post::made`].
#[derive(Debug)]
pub struct Long {
    to: NodeId,
    answered: Answered,
}

impl Long {
    /// Makes the reply; takes long.
    #[must_use]
    pub fn make(self) -> Made {
        let mut frame = BytesMut::new();
        encode_answer(&self.answered, &mut frame);
        Made {
            to: self.to,
            name: self.answered.name(),
            frame: frame.freeze(),
        }
    }
}

/// An answer that was made.
#[derive(Debug)]
pub struct Made {
    to: NodeId,
    name: Name,
    frame: Bytes,
}

/// What an answer is to: shard, session and number of the task.
type Name = (u16, u64, Number);

impl Answered {
    const fn name(&self) -> Name {
        (self.shard, self.session, self.number)
    }
}

/// Mails that wait to be sent.
#[derive(Debug, Default)]
pub struct Post {
    /// By receiver.
    frames: Vec<(NodeId, BytesMut)>,
    /// Answers that are still to be made.
    long: Vec<Long>,
    /// Those that are being made.
    making: BTreeSet<(NodeId, Name)>,
}

impl Post {
    /// Answers another node. An answer that is being made is the one to a task that has come again
    /// meanwhile, too.
    pub fn answer(&mut self, to: NodeId, answered: Answered) {
        if self.making.contains(&(to, answered.name())) {
            return;
        }
        if matches!(answered.answer, Answer::Later(_)) {
            self.making.insert((to, answered.name()));
            self.long.push(Long { to, answered });
        } else {
            self.send(to, &Mail::Answer(answered));
        }
    }

    /// Takes the answers that are to be made.
    pub fn take_long(&mut self) -> Vec<Long> {
        std::mem::take(&mut self.long)
    }

    /// Takes an answer that was made; gives its frame.
    pub fn made(&mut self, made: Made) -> (NodeId, Bytes) {
        self.making.remove(&(made.to, made.name));
        (made.to, made.frame)
    }

    /// The frame for a node.
    fn to(&mut self, node: NodeId) -> &mut BytesMut {
        let index = match self.frames.iter().position(|(to, _)| *to == node) {
            Some(index) => index,
            None => {
                self.frames.push((node, BytesMut::new()));
                self.frames.len() - 1
            }
        };
        &mut self.frames[index].1
    }

    /// Takes the frames.
    pub fn take(&mut self) -> Vec<(NodeId, Bytes)> {
        let frames = self
            .frames
            .iter_mut()
            .filter(|(_, frame)| !frame.is_empty());
        frames
            .map(|(to, frame)| (*to, frame.split().freeze()))
            .collect()
    }

    /// Adds a mail.
    pub fn send(&mut self, to: NodeId, mail: &Mail<'_>) {
        let out = self.to(to);
        match mail {
            Mail::Raft(group, message) => {
                numbers(out, &[kinds::RAFT, u64::from(*group)]);
                codec::encode(message, out);
            }
            Mail::Task(sent) => {
                let (kind, number) = number(sent.number);
                pack::uint(out, kinds::TASK);
                numbers(
                    out,
                    &[sent.shard.into(), kind, number, sent.session, sent.after],
                );
                out.extend_from_slice(sent.task);
            }
            Mail::Answer(answered) => encode_answer(answered, out),
            Mail::Refused(shard) => numbers(out, &[kinds::REFUSED, u64::from(*shard)]),
            Mail::Open(shard) => numbers(out, &[kinds::OPEN, u64::from(*shard)]),
            Mail::Opened(shard, session) => {
                numbers(out, &[kinds::OPENED, u64::from(*shard), *session]);
            }
            Mail::Leads(epoch, groups) => {
                numbers(out, &[kinds::LEADS, *epoch]);
                pack::array(out, groups.len());
                for Led { group, term, whole } in groups {
                    numbers(out, &[u64::from(*group), *term, u64::from(*whole)]);
                }
            }
            Mail::Formation(bytes) => blob(out, kinds::FORMATION, bytes),
            Mail::State(bytes) => blob(out, kinds::STATE, bytes),
            Mail::Wish(bytes) => blob(out, kinds::WISH, bytes),
            Mail::Chunk(chunk) => encode_chunk(chunk, out),
            Mail::Room(has_room) => numbers(out, &[kinds::ROOM, u64::from(*has_room)]),
            Mail::Received(received) => {
                let Received {
                    shard,
                    to,
                    attempt,
                    pieces,
                } = *received;
                let values = [shard.into(), to, attempt, pieces];
                pack::uint(out, kinds::RECEIVED);
                numbers(out, &values);
            }
            Mail::Leaves => numbers(out, &[kinds::LEAVES]),
            Mail::Learns => numbers(out, &[kinds::LEARNS]),
        }
    }
}

fn numbers(out: &mut BytesMut, numbers: &[u64]) {
    numbers.iter().for_each(|number| pack::uint(out, *number));
}

fn blob(out: &mut BytesMut, kind: u64, bytes: &[u8]) {
    pack::uint(out, kind);
    pack::bin(out, bytes);
}

const fn number(number: Number) -> (u64, u64) {
    match number {
        Number::Logged(sequence) => (0, sequence),
        Number::Read(id) => (1, id),
    }
}

fn encode_answer(answered: &Answered, out: &mut BytesMut) {
    let (kind, number) = number(answered.number);
    pack::uint(out, kinds::TASK_ANSWER);
    numbers(
        out,
        &[answered.shard.into(), kind, number, answered.session],
    );
    match &answered.answer {
        Answer::Done(reply) => {
            pack::uint(out, 0);
            encode_reply(reply, answered.number, out);
        }
        // What is long to make is long to read, too: as bytes, whose end is found at once.
        Answer::Later(rest) => {
            let mut bytes = BytesMut::new();
            encode_reply(&rest.make(), answered.number, &mut bytes);
            pack::uint(out, 3);
            pack::bin(out, &bytes);
        }
        Answer::Gap => pack::uint(out, 1),
        Answer::Unknown => pack::uint(out, 2),
    }
}

/// Appends a reply, or what is said instead of one that the client's frames would not hold either:
/// that of a task of the log may be one to a write.
fn encode_reply(reply: &Reply, to: Number, out: &mut BytesMut) {
    let start = out.len();
    rpc::append_reply(reply, out);
    if out.len() - start > FRAME_BYTES {
        out.truncate(start);
        let writes = matches!(to, Number::Logged(_));
        rpc::append_reply(&ReplyError::reply_too_long(writes).into(), out);
    }
}

fn encode_chunk(chunk: &Chunk<'_>, out: &mut BytesMut) {
    let Chunk {
        shard,
        to,
        attempt,
        number,
        last,
        ..
    } = *chunk;
    pack::uint(out, kinds::CHUNK);
    numbers(out, &[shard.into(), to, attempt, number, last.into()]);
    codec::encode_copy(&chunk.copy, out);
    pack::bin(out, chunk.bytes);
}

/// Takes the next mail off a frame.
///
/// # Errors
/// There is none: the rest of the frame is of no use.
pub fn decode<'a>(from: &mut Reader<'a>) -> Result<Mail<'a>, Malformed> {
    Ok(match from.uint()? {
        kinds::RAFT => Mail::Raft(short(from)?, codec::decode(from)?),
        kinds::TASK => Mail::Task(Sent {
            shard: short(from)?,
            number: decode_number(from)?,
            session: from.uint()?,
            after: from.uint()?,
            task: from.span(|from| task::decode(from).map(drop))?,
        }),
        kinds::TASK_ANSWER => Mail::Answer(Answered {
            shard: short(from)?,
            number: decode_number(from)?,
            session: from.uint()?,
            answer: decode_answer(from)?,
        }),
        kinds::REFUSED => Mail::Refused(short(from)?),
        kinds::OPEN => Mail::Open(short(from)?),
        kinds::OPENED => Mail::Opened(short(from)?, from.uint()?),
        kinds::LEADS => {
            let epoch = from.uint()?;
            let count = from.array(SHARDS + 1)?;
            let led = |_| {
                Ok(Led {
                    group: short(from)?,
                    term: from.uint()?,
                    whole: from.uint()? != 0,
                })
            };
            let groups = (0..count).map(led).collect::<Result<_, Malformed>>()?;
            Mail::Leads(epoch, groups)
        }
        kinds::FORMATION => Mail::Formation(from.bin()?),
        kinds::STATE => Mail::State(from.bin()?),
        kinds::WISH => Mail::Wish(from.bin()?),
        kinds::CHUNK => Mail::Chunk(Chunk {
            shard: short(from)?,
            to: from.uint()?,
            attempt: from.uint()?,
            number: from.uint()?,
            last: from.uint()? != 0,
            copy: codec::decode_copy(from)?,
            bytes: from.bin()?,
        }),
        kinds::RECEIVED => Mail::Received(Received {
            shard: short(from)?,
            to: from.uint()?,
            attempt: from.uint()?,
            pieces: from.uint()?,
        }),
        kinds::LEAVES => Mail::Leaves,
        kinds::LEARNS => Mail::Learns,
        kinds::ROOM => Mail::Room(from.uint()? != 0),
        _ => return Err(Malformed("an unknown kind of mail")),
    })
}

fn short(from: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(from.uint()?).map_err(|_| Malformed("a shard's number was expected"))
}

fn decode_number(from: &mut Reader<'_>) -> Result<Number, Malformed> {
    match from.uint()? {
        0 => from.uint().map(Number::Logged),
        1 => from.uint().map(Number::Read),
        _ => Err(Malformed("an unknown kind of task number")),
    }
}

fn decode_answer(from: &mut Reader<'_>) -> Result<Answer, Malformed> {
    Ok(match from.uint()? {
        0 => Answer::Done(from.reply()?),
        1 => Answer::Gap,
        2 => Answer::Unknown,
        3 => {
            let bytes = Bytes::copy_from_slice(from.bin()?);
            Answer::Later(Rest::new(bytes.len(), move || unpack(&bytes)))
        }
        _ => return Err(Malformed("an unknown kind of answer")),
    })
}

/// The reply in an answer that was long to make.
fn unpack(bytes: &Bytes) -> Reply {
    parts::unpack(bytes).unwrap_or_else(|_| session_unknown().into())
}

/// Whether a message may be given to the engine of a member.
#[must_use]
pub fn is_for(message: &Message, peer: PeerId) -> bool {
    message.to == peer && message.from != 0 && message.from != peer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pubsub::is_news;

    const THERE: NodeId = NodeId([2; 20]);

    fn frame(mail: &Mail<'_>) -> Bytes {
        let mut post = Post::default();
        post.send(THERE, mail);
        post.take().remove(0).1
    }

    fn answered(answer: Answer) -> Answered {
        Answered {
            shard: 3,
            number: Number::Logged(7),
            session: 9,
            answer,
        }
    }

    #[test]
    fn a_task_that_comes_again_waits_for_the_answer_that_is_being_made() {
        let mut post = Post::default();
        let rest = || Answer::Later(Rest::new(0, || Reply::bulk("long")));
        post.answer(THERE, answered(rest()));
        post.answer(THERE, answered(rest()));
        // What is kept of an answer for a retry is less than the answer.
        let retry = Answer::Done(session_unknown().into());
        post.answer(THERE, answered(retry));
        assert!(post.take().is_empty());
        let mut long = post.take_long();
        assert_eq!(long.len(), 1);
        let (to, frame) = post.made(long.remove(0).make());
        let Ok(Mail::Answer(came)) = decode(&mut Reader::new(&frame)) else {
            panic!("no answer");
        };
        assert_eq!((to, came), (THERE, answered(rest())));
        post.answer(THERE, answered(rest()));
        assert_eq!(post.take_long().len(), 1, "asked for again after that");
    }

    #[test]
    fn no_mail_is_taken_for_news() {
        let received = Received {
            shard: 0,
            to: 1,
            attempt: 1,
            pieces: 1,
        };
        let mails = [
            Mail::Answer(answered(Answer::Gap)),
            Mail::Refused(0),
            Mail::Open(0),
            Mail::Opened(0, 1),
            Mail::Leads(1, Vec::new()),
            Mail::Formation(b"f"),
            Mail::State(b"s"),
            Mail::Wish(b"w"),
            Mail::Received(received),
            Mail::Leaves,
            Mail::Learns,
            Mail::Room(false),
        ];
        let mut kinds = BTreeSet::new();
        for mail in &mails {
            let frame = frame(mail);
            assert!(!is_news(&frame), "{mail:?}");
            kinds.insert(Reader::new(&frame).uint().unwrap());
            let came = decode(&mut Reader::new(&frame));
            assert_eq!(format!("{came:?}"), format!("Ok({mail:?})"));
        }
        assert_eq!(kinds.len(), mails.len());
    }

    #[test]
    fn an_answer_that_fits_into_no_frame_says_whether_something_was_done() {
        let long = Reply::bulk(vec![0; FRAME_BYTES]);
        for (number, prefix) in [(Number::Logged(1), "UNKNOWN"), (Number::Read(1), "ERR")] {
            let reply = long.clone();
            for answer in [
                Answer::Done(long.clone()),
                Answer::Later(Rest::new(0, move || reply.clone())),
            ] {
                let sent = Answered {
                    number,
                    ..answered(answer)
                };
                let frame = frame(&Mail::Answer(sent));
                let Ok(Mail::Answer(came)) = decode(&mut Reader::new(&frame)) else {
                    panic!("no answer");
                };
                let Reply::Error(error) = came.answer.found().made() else {
                    panic!("no error");
                };
                assert_eq!(error.prefix(), prefix);
            }
        }
    }
}
