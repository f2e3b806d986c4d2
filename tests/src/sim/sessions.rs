//! A native client's sessions with shards: a write has a number, under which it is sent again, on
//! other connections too, until it is answered. It knows no connection.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use bytes::Bytes;
use dht_proto::Reply;
use dht_proto::rpc::Place;
use dht_proto::slot::{key_slot, shard_of};
use dht_proto::spec;

use crate::check::history::Call;

/// How often a write is sent at most.
const TRIES: u32 = 12;

/// A client's sessions.
#[derive(Default)]
pub struct Sessions {
    each: BTreeMap<u16, Session>,
    again: Vec<Numbered>,
}

#[derive(Default)]
struct Session {
    /// None while it is asked for.
    id: Option<u64>,
    last: u64,
    /// Numbers without an answer.
    open: BTreeSet<u64>,
}

/// A write with its number.
pub struct Numbered {
    /// What the history calls it.
    pub call: Call,
    /// The command.
    pub argv: Vec<Bytes>,
    /// Its shard.
    pub shard: u16,
    /// Its number, and in which session.
    pub place: Place,
    tries: u32,
}

impl Numbered {
    /// A write that was not sent yet.
    #[must_use]
    pub const fn new(call: Call, argv: Vec<Bytes>, shard: u16, place: Place) -> Self {
        Self {
            call,
            argv,
            shard,
            place,
            tries: 1,
        }
    }

    /// Whether an earlier try may have been executed, so that a refusal says nothing.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        self.tries > 1
    }
}

impl Sessions {
    /// Whether a session with a shard has to be asked for; from now on it is.
    pub fn ask(&mut self, shard: u16) -> bool {
        let is_new = !self.each.contains_key(&shard);
        self.each.entry(shard).or_default();
        is_new
    }

    /// A number for a write, if there is a session.
    pub fn place(&mut self, shard: u16) -> Option<Place> {
        let session = self.each.get_mut(&shard)?;
        let id = session.id?;
        session.last += 1;
        session.open.insert(session.last);
        let oldest = session.open.first().copied().unwrap_or(session.last);
        Some(Place {
            session: id,
            sequence: session.last,
            acknowledged: oldest - 1,
        })
    }

    /// The answer of CLUSTER SESSION; none when it was lost.
    pub fn opened(&mut self, shard: u16, reply: Option<&Reply>) {
        let id = reply.and_then(|reply| match reply {
            Reply::Array(items) => match items.first() {
                Some(Reply::Int(id)) => u64::try_from(*id).ok(),
                _ => None,
            },
            _ => None,
        });
        match (id, self.each.get_mut(&shard)) {
            (Some(id), Some(session)) => session.id = Some(id),
            _ => drop(self.each.remove(&shard)),
        }
    }

    /// A write is answered, or given up.
    pub fn settled(&mut self, write: &Numbered) {
        if let Some(session) = self.each.get_mut(&write.shard)
            && session.id == Some(write.place.session)
        {
            session.open.remove(&write.place.sequence);
        }
    }

    /// The shard knows nothing of the session any more.
    pub fn forget(&mut self, write: &Numbered) {
        let session = self.each.get(&write.shard).and_then(|session| session.id);
        if session == Some(write.place.session) {
            self.each.remove(&write.shard);
        }
    }

    /// The answer of a write is lost, or it was refused after that.
    pub fn lost(&mut self, mut write: Numbered) {
        write.tries += 1;
        if write.tries > TRIES {
            self.settled(&write);
        } else {
            self.again.push(write);
        }
    }

    /// What is to be sent again.
    pub fn take_again(&mut self) -> Vec<Numbered> {
        mem::take(&mut self.again)
    }
}

/// The shard of a write of one key.
#[must_use]
pub fn shard_of_write(argv: &[Bytes], shards: usize) -> Option<u16> {
    let words: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
    let id = spec::find(&words).ok()?;
    if !id.spec().kind.writes() {
        return None;
    }
    let mut keys = id.schema().keys?.positions(argv);
    let key = argv.get(keys.next()?)?;
    let is_alone = keys.next().is_none();
    is_alone.then(|| shard_of(key_slot(key), shards) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::history::{History, Op};

    fn opened(id: i64) -> Sessions {
        let mut sessions = Sessions::default();
        assert!(sessions.ask(1) && !sessions.ask(1));
        assert_eq!(sessions.place(1), None);
        sessions.opened(1, Some(&Reply::Array(vec![Reply::Int(id), Reply::Int(0)])));
        sessions
    }

    fn write(sessions: &mut Sessions) -> Numbered {
        let place = sessions.place(1).unwrap();
        let argv: Vec<Bytes> = vec!["INCR".into(), "n".into()];
        let call = History::default().call(0, Op::parse(&argv).unwrap(), 0);
        Numbered::new(call, argv, 1, place)
    }

    #[test]
    fn a_write_keeps_its_number_and_what_is_answered_is_not_asked_for() {
        let mut sessions = opened(7);
        let [first, second] = [(); 2].map(|()| write(&mut sessions));
        assert_eq!((first.place.sequence, second.place.acknowledged), (1, 0));
        sessions.lost(first);
        sessions.settled(&second);
        assert_eq!(write(&mut sessions).place.acknowledged, 0);
        let [again] = &sessions.take_again()[..] else {
            panic!("it is sent again");
        };
        assert_eq!((again.place.sequence, again.is_in_doubt()), (1, true));
        sessions.settled(again);
        assert_eq!(write(&mut sessions).place.acknowledged, 2);
        sessions.forget(again);
        assert!(sessions.ask(1), "another session");
    }

    #[test]
    fn writes_of_one_key_have_a_shard() {
        let shard = |line: &str| {
            let argv: Vec<Bytes> = line.split(' ').map(|it| it.to_owned().into()).collect();
            shard_of_write(&argv, 4)
        };
        assert!(shard("INCR n").is_some() && shard("HSET h f v").is_some());
        assert_eq!(shard("GET n").or(shard("MSET a 1 b 2")), None);
    }
}
