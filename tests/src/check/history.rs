//! What clients asked, when, and what they were told. Knows nothing of what is right.
//!
//! Whoever drives clients calls [`History::call`] before it sends something and
//! [`History::reply`] when the answer is there. What never gets an answer may have happened.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use dht_proto::slot::key_slot;
use dht_proto::{Reply, ReplyError};

use super::command::{Command, NotModelled, show};
use crate::expect::render;

/// What one client asked at once, on keys of one slot; takes effect in one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A command by itself.
    Single(Command),
    /// WATCH; the next transaction of this client depends on it.
    Watch(Vec<Bytes>),
    /// MULTI to EXEC; the reply is that of EXEC.
    Transaction {
        /// Every key that the client watches at EXEC. None: it can not be aborted.
        watch: Vec<Bytes>,
        /// The commands between.
        commands: Vec<Command>,
    },
}

impl Op {
    /// Reads a command, or WATCH.
    ///
    /// # Errors
    /// The model does not know it, or its keys are of several slots.
    pub fn parse(argv: &[Bytes]) -> Result<Self, NotModelled> {
        let op = match argv {
            [name, keys @ ..] if name.eq_ignore_ascii_case(b"WATCH") && !keys.is_empty() => {
                Self::Watch(keys.to_vec())
            }
            _ => Self::Single(Command::parse(argv)?),
        };
        op.of_one_slot()
    }

    /// A transaction of these commands; `watch` are the keys that are watched when it starts.
    ///
    /// # Errors
    /// The model does not know a command, or the keys are of several slots.
    pub fn transaction(watch: &[Bytes], commands: &[Vec<Bytes>]) -> Result<Self, NotModelled> {
        let commands = commands.iter().map(|argv| Command::parse(argv));
        let op = Self::Transaction {
            watch: watch.to_vec(),
            commands: commands.collect::<Result<_, _>>()?,
        };
        op.of_one_slot()
    }

    fn of_one_slot(self) -> Result<Self, NotModelled> {
        let slots: BTreeSet<u16> = self.keys().map(|key| key_slot(key)).collect();
        if slots.len() == 1 {
            return Ok(self);
        }
        Err(NotModelled(format!("{self}: its keys are not of one slot")))
    }

    /// Its commands.
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        match self {
            Self::Single(command) => std::slice::from_ref(command),
            Self::Watch(_) => &[],
            Self::Transaction { commands, .. } => commands,
        }
    }

    /// Its commands, to be changed.
    pub fn commands_mut(&mut self) -> &mut [Command] {
        match self {
            Self::Single(command) => std::slice::from_mut(command),
            Self::Watch(_) => &mut [],
            Self::Transaction { commands, .. } => commands,
        }
    }

    /// The keys that it watches, or has watched.
    #[must_use]
    pub fn watched(&self) -> &[Bytes] {
        match self {
            Self::Single(_) => &[],
            Self::Watch(keys) | Self::Transaction { watch: keys, .. } => keys,
        }
    }

    /// Every key that matters to it, perhaps more than once.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let keys = self.commands().iter().flat_map(|command| &command.keys);
        keys.chain(self.watched())
    }

    /// Whether it changes nothing, whatever it finds.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            Self::Watch(_) => false,
            op => op.commands().iter().all(Command::is_read),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(command) => command.fmt(f),
            Self::Watch(keys) => write!(f, "WATCH {}", show(keys)),
            Self::Transaction { watch, commands } => {
                if !watch.is_empty() {
                    write!(f, "(watched {}) ", show(watch))?;
                }
                f.write_str("MULTI; ")?;
                commands
                    .iter()
                    .try_for_each(|command| write!(f, "{command}; "))?;
                f.write_str("EXEC")
            }
        }
    }
}

/// What became of an operation, as far as its client was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It took effect between the call and the return, and this was its answer.
    Done {
        /// The answer; an error such as `WRONGTYPE` is one too.
        reply: Reply,
        /// When the client had it.
        return_us: u64,
    },
    /// Refused: it took no effect and never will.
    NotDone,
    /// It may take effect at any time after the call, or never.
    Unknown,
}

/// An operation of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Who asked: one connection. Of what it asked, that which is done took effect in the order in
    /// which it was asked, also when it did not wait for answers.
    pub client: u64,
    /// What was asked.
    pub what: Op,
    /// When.
    pub call_us: u64,
    /// What came of it.
    pub outcome: Outcome,
}

impl Operation {
    /// The answer, if there was one that counts, and when.
    #[must_use]
    pub const fn done(&self) -> Option<(&Reply, u64)> {
        match &self.outcome {
            Outcome::Done { reply, return_us } => Some((reply, *return_us)),
            Outcome::NotDone | Outcome::Unknown => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.call_us;
        match &self.outcome {
            Outcome::Done { reply, return_us } => {
                write!(f, "[{from:>9} .. {return_us:>9}] ")?;
                write!(
                    f,
                    "client {}: {} -> {}",
                    self.client,
                    self.what,
                    render(reply)
                )
            }
            Outcome::NotDone => {
                write!(
                    f,
                    "[{from:>9} ..      none] client {}: {} -> not done",
                    self.client, self.what
                )
            }
            Outcome::Unknown => {
                write!(
                    f,
                    "[{from:>9} ..       ???] client {}: {} -> unknown",
                    self.client, self.what
                )
            }
        }
    }
}

/// The operation that [`History::call`] recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call(usize);

/// Everything that the clients of a run did, in the order of the calls of each.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
}

impl History {
    /// A client is about to send this. Until more is known, it may have happened.
    pub fn call(&mut self, client: u64, what: Op, now_us: u64) -> Call {
        self.operations.push(Operation {
            client,
            what,
            call_us: now_us,
            outcome: Outcome::Unknown,
        });
        Call(self.operations.len() - 1)
    }

    /// The client got this answer.
    pub fn reply(&mut self, call: Call, reply: Reply, now_us: u64) {
        self.operations[call.0].outcome = outcome(reply, now_us);
    }

    /// It never left the client: the connection could not be opened.
    pub fn not_sent(&mut self, call: Call) {
        self.operations[call.0].outcome = Outcome::NotDone;
    }

    /// How many are done.
    #[must_use]
    pub fn done(&self) -> usize {
        let operations = self.operations.iter();
        operations.filter(|op| op.done().is_some()).count()
    }

    /// What was asked, and what came of it.
    #[must_use]
    pub fn operation(&self, call: Call) -> &Operation {
        &self.operations[call.0]
    }

    /// How many may have happened or not.
    #[must_use]
    pub fn unknown(&self) -> usize {
        let operations = self.operations.iter();
        let unknown = operations.filter(|op| op.outcome == Outcome::Unknown);
        unknown.count()
    }

    /// Whether it may have changed something, and its client was told that it is done.
    #[must_use]
    pub fn is_acknowledged_write(&self, call: Call) -> bool {
        let operation = &self.operations[call.0];
        let is_done = |(reply, _): (&Reply, u64)| !matches!(reply, Reply::Error(_));
        !operation.what.is_read() && operation.done().is_some_and(is_done)
    }

    /// Every command that took effect or may have, with what it answered if that is known:
    /// transactions taken apart, those left out that were refused, aborted or failed.
    pub fn effects(&self) -> impl Iterator<Item = Effect<'_>> {
        self.operations.iter().flat_map(|operation| {
            let commands = operation.what.commands();
            let replies: Vec<Option<&Reply>> = match (&operation.what, operation.done()) {
                _ if operation.outcome == Outcome::NotDone => vec![],
                (_, None) => vec![None; commands.len()],
                (Op::Single(_), Some((reply, _))) => vec![Some(reply)],
                (_, Some((Reply::Array(replies), _))) => replies.iter().map(Some).collect(),
                (_, Some(_)) => vec![],
            };
            let effects = commands.iter().zip(replies);
            let effects = effects.map(|(command, reply)| Effect {
                operation,
                command,
                reply,
            });
            effects.filter(|effect| !matches!(effect.reply, Some(Reply::Error(_))))
        })
    }
}

/// A command that took effect, or may have.
#[derive(Clone, Copy, Debug)]
pub struct Effect<'a> {
    /// What it is part of.
    pub operation: &'a Operation,
    /// The command.
    pub command: &'a Command,
    /// Its answer; none if it is unknown whether it took effect.
    pub reply: Option<&'a Reply>,
}

/// What an answer says about what happened.
fn outcome(reply: Reply, return_us: u64) -> Outcome {
    match &reply {
        Reply::Error(error) if is_refusal(error) => Outcome::NotDone,
        Reply::Error(error) if error.prefix() == "UNKNOWN" => Outcome::Unknown,
        _ => Outcome::Done { reply, return_us },
    }
}

/// Whether the error promises that nothing happened, and depends on the servers rather than the
/// data.
fn is_refusal(error: &ReplyError) -> bool {
    let prefixes = [
        "CLUSTERDOWN",
        "TRYAGAIN",
        "LOADING",
        "MISCONF",
        "MOVED",
        "ASK",
        "EXECABORT",
    ];
    prefixes.contains(&error.prefix())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{history, words};

    #[test]
    fn an_answer_says_whether_it_is_done() {
        let received = |text: &str| Reply::Error(ReplyError::Received(text.to_owned()));
        let not_done = [
            received("CLUSTERDOWN no majority"),
            received("MOVED 1 127.0.0.1:1"),
            Reply::Error(ReplyError::TryAgain("moving".into())),
        ];
        for reply in not_done {
            assert_eq!(outcome(reply, 1), Outcome::NotDone);
        }
        assert_eq!(
            outcome(received("UNKNOWN leader lost"), 1),
            Outcome::Unknown
        );
        for reply in [Reply::Nil, Reply::Error(ReplyError::WrongType)] {
            let done = outcome(reply.clone(), 1);
            assert_eq!(
                done,
                Outcome::Done {
                    reply,
                    return_us: 1
                }
            );
        }
    }

    #[test]
    fn what_is_never_answered_is_unknown() {
        let mut history = History::default();
        let op = Op::parse(&words("SET k v")).unwrap();
        let call = history.call(1, op, 5);
        assert_eq!(history.operations[0].outcome, Outcome::Unknown);
        history.not_sent(call);
        assert_eq!(history.operations[0].outcome, Outcome::NotDone);
        assert_eq!(history.done(), 0);
    }

    #[test]
    fn an_operation_has_one_slot() {
        assert!(Op::parse(&words("MSET {t}a 1 {t}b 2")).is_ok());
        assert!(Op::parse(&words("MSET a 1 b 2")).is_err());
        assert!(Op::parse(&words("WATCH a b")).is_err());
        assert!(Op::transaction(&words("a"), &[words("GET b")]).is_err());
    }

    #[test]
    fn effects_are_what_may_have_happened() {
        let history = history(
            "1 0..1 SET a 1 -> OK
             1 2..3 INCR a -> -WRONGTYPE Operation
             1 4..5 INCR b -> -TRYAGAIN moving
             1 6..  INCR c
             1 7..8 MULTI; INCR {t}d; HLEN {t}a; INCR {t}e; EXEC -> [1 -WRONGTYPE Operation, 2]
             1 9..9 f WATCHED; MULTI; INCR f; EXEC -> nil
             1 9..  MULTI; INCR g; INCR g; EXEC",
        );
        let effects = history.effects();
        let shown = effects.map(|effect| format!("{} {}", effect.command, effect.reply.is_some()));
        let expect = [
            "SET a 1 true",
            "INCR c false",
            "INCR {t}d true",
            "INCR {t}e true",
            "INCR g false",
            "INCR g false",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn operations_are_shown_on_a_line() {
        let mut history = History::default();
        let commands = [words("GET {t}b"), words("INCR {t}c")];
        let op = Op::transaction(&words("{t}a"), &commands).unwrap();
        let call = history.call(3, op, 5);
        history.reply(call, Reply::Nil, 17);
        assert_eq!(
            history.operations[0].to_string(),
            "[        5 ..        17] client 3: \
             (watched {t}a) MULTI; GET {t}b; INCR {t}c; EXEC -> nil"
        );
    }
}
