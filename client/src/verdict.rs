//! What to do when a try of a command is over: give its result, or try again. Pure: no connection,
//! no clock.

use std::time::Duration;

use dht_proto::{Reply, ReplyError};

use crate::error::{Cause, Error, Result};

/// How one try of a command ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// The node answered.
    Answered(Reply),
    /// No byte of it was sent.
    NotSent(Cause),
    /// It was sent, at least in part, and no answer came.
    Lost(Cause),
}

/// What follows from it.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// The call is over.
    Final(Result<Reply>),
    /// Another try can do no harm. When there is no time for one, this is the error.
    Again(Error, Turn),
}

/// Where the next try goes, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once to the node that leads the slot, by the word of another.
    Moved {
        /// The slot.
        slot: u16,
        /// `host:port` of its leader.
        to: String,
    },
    /// At once and only this time to the node that the slot is moving to, as a Redis Cluster says.
    Asked {
        /// `host:port`.
        to: String,
    },
    /// To any other node.
    Elsewhere,
    /// To another node, while the answer of the first is waited for.
    Beside {
        /// `host:port`.
        to: String,
    },
    /// To the same node, when the cluster had a moment.
    Later,
}

/// Whether a command may be sent again when its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// No: it might be executed twice.
    Never,
    /// Yes, with the same place in its session.
    InPlace,
    /// Yes: to execute it twice does no harm.
    Freely,
    /// Yes: it reads, and changes nothing whatever becomes of it.
    Reads,
}

/// Judges a try.
#[must_use]
pub fn judge(fate: Fate, repeat: Repeat) -> Verdict {
    match fate {
        Fate::Answered(Reply::Error(error)) => judge_error(error, repeat),
        Fate::Answered(reply) => Verdict::Final(Ok(reply)),
        Fate::NotSent(Cause::Deadline) => Verdict::Final(Err(Error::NotDone(Cause::Deadline))),
        Fate::NotSent(cause @ Cause::Busy) => Verdict::Again(Error::NotDone(cause), Turn::Later),
        Fate::NotSent(cause) => Verdict::Again(Error::NotDone(cause), Turn::Elsewhere),
        Fate::Lost(cause) => match repeat {
            Repeat::Never => Verdict::Final(Err(Error::Unknown(cause))),
            Repeat::InPlace | Repeat::Freely | Repeat::Reads => {
                Verdict::Again(repeat.unanswered(cause), Turn::Elsewhere)
            }
        },
    }
}

impl Repeat {
    /// What is said of a command that was sent, if nothing more is heard of it.
    #[must_use]
    pub const fn unanswered(self, cause: Cause) -> Error {
        match self {
            Self::Reads => Error::NotDone(cause),
            Self::Never | Self::InPlace | Self::Freely => Error::Unknown(cause),
        }
    }
}

impl Verdict {
    /// The same for a write that an earlier try may have done: that it was not done this time says
    /// nothing about that one, and who may have looked it up is still to be asked.
    #[must_use]
    pub fn in_doubt(self) -> Self {
        match self {
            Self::Final(Err(Error::Reply(error))) if error.is_beforehand() => {
                Self::Again(Error::Unknown(Cause::Cluster(error)), Turn::Later)
            }
            Self::Final(result) => Self::Final(result.map_err(doubtful)),
            Self::Again(error, turn) => Self::Again(doubtful(error), turn),
        }
    }
}

/// What it says of a write that an earlier try may have done.
fn doubtful(error: Error) -> Error {
    match error {
        Error::NotDone(cause) => Error::Unknown(cause),
        other => other,
    }
}

fn judge_error(error: ReplyError, repeat: Repeat) -> Verdict {
    match error.prefix() {
        "MOVED" | "ASK" => match redirection(&error) {
            Some(turn) => Verdict::Again(Error::NotDone(Cause::Cluster(error)), turn),
            None => Verdict::Final(Err(Error::Reply(error))),
        },
        // The others are what servers of Redis say that start or have lost their place.
        "CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "MASTERDOWN" | "READONLY" => {
            Verdict::Again(Error::NotDone(Cause::Cluster(error)), Turn::Later)
        }
        "UNKNOWN" if matches!(repeat, Repeat::Freely | Repeat::Reads) => {
            Verdict::Again(repeat.unanswered(Cause::Cluster(error)), Turn::Later)
        }
        "UNKNOWN" => Verdict::Final(Err(Error::Unknown(Cause::Cluster(error)))),
        _ => Verdict::Final(Err(Error::Reply(error))),
    }
}

/// Reads `MOVED slot host:port`, and likewise `ASK`.
fn redirection(error: &ReplyError) -> Option<Turn> {
    let text = error.to_string();
    let mut words = text.split(' ');
    let is_moved = words.next()? == "MOVED";
    let slot = words.next()?.parse().ok()?;
    let to = words.next()?.to_owned();
    Some(match is_moved {
        true => Turn::Moved { slot, to },
        false => Turn::Asked { to },
    })
}

/// Pauses between tries: each twice the one before up to a greatest, and at random between half and
/// all of that, so that clients that failed together do not return together.
#[derive(Debug)]
pub struct Backoff {
    next_ms: u64,
    most_ms: u64,
}

impl Backoff {
    /// Begins with `first_ms` and grows up to `most_ms`.
    #[must_use]
    pub const fn new(first_ms: u64, most_ms: u64) -> Self {
        Self {
            next_ms: first_ms,
            most_ms,
        }
    }

    /// The next pause, from a random number.
    pub fn pause(&mut self, random: u64) -> Duration {
        let whole = self.next_ms;
        self.next_ms = (whole * 2).min(self.most_ms);
        Duration::from_millis(whole / 2 + random % (whole / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> ReplyError {
        ReplyError::Received(text.to_owned())
    }

    #[test]
    fn verdicts() {
        use Repeat::{Freely, InPlace, Never};
        let check = |fate: Fate, repeat, expect: Verdict| {
            let shown = format!("{fate:?} {repeat:?}");
            assert_eq!(judge(fate, repeat), expect, "{shown}");
        };
        let broken = || Cause::Broken {
            address: "a:1".to_owned(),
            why: "reset".to_owned(),
        };
        let error = |text| Fate::Answered(Reply::Error(refused(text)));
        let cluster = |text| Cause::Cluster(refused(text));

        check(
            Fate::Answered(Reply::Nil),
            Never,
            Verdict::Final(Ok(Reply::Nil)),
        );
        check(
            error("ERR syntax error"),
            Freely,
            Verdict::Final(Err(Error::Reply(refused("ERR syntax error")))),
        );
        let again = Verdict::Again(Error::NotDone(broken()), Turn::Elsewhere);
        check(Fate::NotSent(broken()), Never, again);
        check(
            Fate::Lost(broken()),
            Never,
            Verdict::Final(Err(Error::Unknown(broken()))),
        );
        for repeat in [InPlace, Freely] {
            let again = Verdict::Again(Error::Unknown(broken()), Turn::Elsewhere);
            check(Fate::Lost(broken()), repeat, again);
        }
        check(
            Fate::NotSent(Cause::Deadline),
            Freely,
            Verdict::Final(Err(Error::NotDone(Cause::Deadline))),
        );
        let asked = Turn::Asked {
            to: "c:1".to_owned(),
        };
        let moving = Error::NotDone(cluster("ASK 77 c:1"));
        check(error("ASK 77 c:1"), Never, Verdict::Again(moving, asked));
        for text in ["CLUSTERDOWN no", "TRYAGAIN in a moment", "LOADING data"] {
            let again = Verdict::Again(Error::NotDone(cluster(text)), Turn::Later);
            check(error(text), Never, again);
        }
        let unknown = Error::Unknown(cluster("UNKNOWN lost"));
        for repeat in [Never, InPlace] {
            let last = Verdict::Final(Err(unknown.clone()));
            check(error("UNKNOWN lost"), repeat, last);
        }
        check(
            error("UNKNOWN lost"),
            Freely,
            Verdict::Again(unknown, Turn::Later),
        );
        let turn = Turn::Moved {
            slot: 77,
            to: "b:8400".to_owned(),
        };
        let moved = Error::NotDone(cluster("MOVED 77 b:8400"));
        check(error("MOVED 77 b:8400"), Never, Verdict::Again(moved, turn));
        check(
            error("MOVED over there"),
            Never,
            Verdict::Final(Err(Error::Reply(refused("MOVED over there")))),
        );
    }

    #[test]
    fn nothing_is_unknown_of_what_only_reads() {
        let unknown = refused("UNKNOWN lost");
        let again = Verdict::Again(Error::NotDone(Cause::Deadline), Turn::Elsewhere);
        assert_eq!(judge(Fate::Lost(Cause::Deadline), Repeat::Reads), again);
        let answered = Fate::Answered(Reply::Error(unknown.clone()));
        let again = Verdict::Again(Error::NotDone(Cause::Cluster(unknown)), Turn::Later);
        assert_eq!(judge(answered, Repeat::Reads), again);
    }

    #[test]
    fn an_earlier_doubt_is_not_lifted_by_a_later_refusal() {
        let down = || Cause::Cluster(refused("CLUSTERDOWN no"));
        let again = |error| Verdict::Again(error, Turn::Later);
        let doubted = again(Error::NotDone(down())).in_doubt();
        assert_eq!(doubted, again(Error::Unknown(down())));
        let late = Verdict::Final(Err(Error::NotDone(Cause::Deadline))).in_doubt();
        assert_eq!(late, Verdict::Final(Err(Error::Unknown(Cause::Deadline))));
        // Who has refused it so has not looked for its number: others may have.
        for text in [
            "NOAUTH Authentication required.",
            "MISCONF the disk is full",
            "NOPERM this user has no permissions",
            "ERR unknown command 'NEW', with args beginning with: ",
        ] {
            let refusal = Verdict::Final(Err(Error::Reply(refused(text))));
            let unknown = Error::Unknown(Cause::Cluster(refused(text)));
            assert_eq!(refusal.in_doubt(), again(unknown), "{text}");
        }
        for answer in [Ok(Reply::Int(1)), Err(Error::Reply(refused("WRONGTYPE x")))] {
            let known = Verdict::Final(answer.clone()).in_doubt();
            assert_eq!(known, Verdict::Final(answer), "the first answer");
        }
    }

    #[test]
    fn pauses_grow_and_differ() {
        let check = |random: u64, expect_ms: [u128; 4]| {
            let mut backoff = Backoff::new(10, 40);
            let pauses = expect_ms.map(|_| backoff.pause(random).as_millis());
            assert_eq!(pauses, expect_ms);
        };
        check(0, [5, 10, 20, 20]);
        check(5, [10, 15, 25, 25]);
        check(20, [7, 19, 40, 40]);
    }
}
