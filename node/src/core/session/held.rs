//! What a session does while `CLIENT PAUSE` holds its client: the first request that has to wait
//! stays here, and what is behind it in the input.

use bytes::Bytes;
use dht_proto::Reply;
use dht_proto::spec::CommandId;

use super::{Effects, Session, Step, Words};
use crate::core::execute::Command;
use crate::core::measures::slowlog::Slow;
use crate::core::node::Node;
use crate::core::pause::Held;
use crate::core::time::Now;
use crate::core::transaction::Taken;
use crate::core::wire::Origin;

/// What waits.
pub(super) enum Waits {
    /// A request.
    Request(Origin, Vec<Bytes>),
    /// The commands of a transaction.
    Exec(Origin, Taken),
    /// What a command answers that has begun the pause.
    Answer(Origin, Reply, Slept),
}

/// A command that has others wait, and waits itself: that is what it takes.
pub(super) struct Slept {
    id: CommandId,
    argv: Vec<Bytes>,
    since_us: u64,
}

impl Slept {
    pub(super) fn new(command: &Command<'_>, since_us: u64) -> Self {
        let argv = command.argv.iter();
        Self {
            id: command.id,
            argv: argv.map(|word| Bytes::copy_from_slice(word)).collect(),
            since_us,
        }
    }

    /// It is over.
    fn measure(&self, effects: &mut Effects) {
        let took_us = effects.now_us.saturating_sub(self.since_us);
        effects.done.took(self.id, took_us);
        if effects.done.is_slow(self.id, took_us) {
            let words: Words<'_> = self.argv.iter().map(AsRef::as_ref).collect();
            effects.done.slow(self.id, Slow::new(took_us, &words));
        }
    }
}

impl Session {
    /// Keeps a request that has to wait; says whether it is one. What is refused anyhow is refused
    /// at once, as in Redis.
    pub(super) fn hold_back(&mut self, step: &Step<'_>, origin: Origin, argv: &[&[u8]]) -> bool {
        let has_to_wait = match step.node.pause.at(step.now.mono_ms) {
            Held::Nothing => return false,
            Held::Writes => self.says_or_writes(argv),
            Held::All => self
                .find_usable(argv)
                .is_ok_and(|id| !id.schema().is_never_paused),
        };
        if has_to_wait {
            let argv = argv.iter().map(|word| Bytes::copy_from_slice(word));
            let waits = Waits::Request(origin, argv.collect());
            self.waits = Some(Box::new(waits));
        }
        has_to_wait
    }

    /// Executes a transaction, unless it has to wait.
    pub(super) fn exec_in_time(&mut self, step: &mut Step<'_>, origin: Origin, taken: Taken) {
        let is_held = step.node.pause.at(step.now.mono_ms) != Held::Nothing;
        let writes = || {
            taken
                .commands()
                .iter()
                .any(|argv| self.says_or_writes(argv))
        };
        if is_held && writes() {
            self.waits = Some(Box::new(Waits::Exec(origin, taken)));
        } else {
            self.exec(step, origin, &taken);
        }
    }

    /// Goes on with what had to wait.
    pub(super) fn take_up(&mut self, step: &mut Step<'_>) {
        match self.waits.take().map(|waits| *waits) {
            Some(Waits::Request(origin, argv)) => {
                let argv: Words<'_> = argv.iter().map(AsRef::as_ref).collect();
                self.request(step, origin, &argv);
            }
            Some(Waits::Exec(origin, taken)) => self.exec_in_time(step, origin, taken),
            Some(Waits::Answer(origin, reply, slept)) => {
                if step.node.pause.left_ms(step.now.mono_ms) > 0 {
                    self.waits = Some(Box::new(Waits::Answer(origin, reply, slept)));
                } else {
                    slept.measure(step.effects);
                    self.answer(step.effects, origin, &reply);
                }
            }
            None => return,
        }
        self.end_request();
    }

    /// A request has been taken, unless it waits.
    pub(super) fn end_request(&mut self) {
        if self.waits.is_none() {
            self.client.end_request();
        }
    }

    /// For how many milliseconds a request waits that is kept here.
    #[must_use]
    pub fn waits_ms(&self, node: &Node, now: Now) -> Option<u64> {
        let left_ms = node.pause.left_ms(now.mono_ms);
        self.waits.as_ref().map(|_| left_ms)
    }

    /// Whether a command changes data or says something to others.
    fn says_or_writes(&self, argv: &[&[u8]]) -> bool {
        let found = self.find_usable(argv);
        found.is_ok_and(|id| id.spec().kind.writes() || id.schema().says)
    }
}

impl Waits {
    /// Bytes that are kept for the client.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Request(_, argv) => {
                let words = argv.len() * size_of::<Bytes>();
                argv.iter().map(Bytes::len).sum::<usize>() + words
            }
            Self::Exec(_, taken) => taken.bytes(),
            Self::Answer(..) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use bytes::BytesMut;

    use crate::core::session::Progress;
    use crate::core::session::line_tests::{alone, member};

    #[test]
    fn what_writes_waits_and_what_is_behind_it() {
        let mut line = alone();
        let now_ms = line.now.mono_ms;
        line.desk.pause.begin(now_ms, 100, false);
        let mut input = BytesMut::from(
            "GET b\r\nSET b\r\nSET b 1\r\nGET b\r\nMULTI\r\nGET b\r\nEXEC\r\nPUBLISH c m\r\n\
             PING\r\n",
        );
        assert_eq!(line.receive(&mut input), Progress::Held);
        let arity = "-ERR wrong number of arguments for 'set' command\r\n";
        assert_eq!(line.output(), format!("$-1\r\n{arity}"));
        line.now.mono_ms += 99;
        assert_eq!(line.receive(&mut input), Progress::Held);
        assert_eq!(line.session.waits_ms(&line.desk, line.now), Some(1));
        assert_eq!(line.output(), "");
        line.now.mono_ms += 1;
        assert_eq!(line.receive(&mut input), Progress::Input);
        let transaction = "+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n";
        assert_eq!(
            line.output(),
            format!("+OK\r\n$1\r\n1\r\n{transaction}:0\r\n+PONG\r\n")
        );
        assert_eq!(line.session.waits_ms(&line.desk, line.now), None);
    }

    #[test]
    fn a_transaction_waits_if_it_writes() {
        let mut line = member();
        line.send("MULTI\r\nSET foo 1\r\n");
        line.desk.pause.begin(line.now.mono_ms, 100, false);
        let mut input = BytesMut::from("EXEC\r\nPING\r\n");
        assert_eq!(line.receive(&mut input), Progress::Held);
        assert_eq!(line.output(), "+OK\r\n+QUEUED\r\n");
        assert_eq!(line.receive(&mut input), Progress::Held);
        line.desk.pause.end();
        assert!(line.asked().is_empty());
        assert_eq!(line.receive(&mut input), Progress::Input);
        assert_eq!(line.asked().len(), 1);
    }

    #[test]
    fn debug_sleep_is_answered_when_its_time_is_over() {
        let mut line = alone();
        line.session.client.may_debug = true;
        let mut input = BytesMut::from("PING\r\nDEBUG SLEEP 0.05\r\nPING\r\n");
        assert_eq!(line.receive(&mut input), Progress::Held);
        assert_eq!(line.output(), "+PONG\r\n");
        line.now.mono_ms += 49;
        assert_eq!(line.receive(&mut input), Progress::Held);
        assert_eq!(line.output(), "");
        line.now.mono_ms += 1;
        assert_eq!(line.receive(&mut input), Progress::Input);
        assert_eq!(line.output(), "+OK\r\n+PONG\r\n");
    }

    #[test]
    fn debug_sleep_takes_as_long_as_it_sleeps() {
        let mut line = alone();
        line.session.client.may_debug = true;
        line.effects.done.slow_from_us = line.desk.measures.slow_from_us();
        let mut input = BytesMut::from("DEBUG SLEEP 0.05\r\n");
        assert_eq!(line.receive(&mut input), Progress::Held);
        line.now.mono_ms += 50;
        line.effects.now_us = 50_000;
        assert_eq!(line.receive(&mut input), Progress::Input);
        let (measures, client) = (&line.desk.measures, &line.session.client.facts);
        measures.add(&mut line.effects.done, client, || 7);
        let [entry] = &measures.slowlog.latest(2)[..] else {
            panic!("one is kept");
        };
        let words: [&[u8]; 3] = [b"DEBUG", b"SLEEP", b"0.05"];
        assert_eq!(
            (entry.slow.took_us, &entry.slow.argv[..]),
            (50_000, &words.map(Into::into)[..])
        );
        let id = dht_proto::spec::look_up(&words).unwrap();
        let of = measures.of(id);
        let of = [&of.calls, &of.took_us].map(|count| count.load(Relaxed));
        assert_eq!(of, [1, 50_000]);
    }

    #[test]
    fn who_connects_can_end_a_pause_of_any_length() {
        let mut line = alone();
        line.desk.pause.begin(line.now.mono_ms, u64::MAX, true);
        let mut input = BytesMut::from(
            "CLIENT SETINFO LIB-NAME x\r\nCLIENT SETNAME me\r\nCLIENT UNPAUSE\r\nPING\r\n",
        );
        assert_eq!(line.receive(&mut input), Progress::Input);
        assert_eq!(line.output(), "+OK\r\n+OK\r\n+OK\r\n+PONG\r\n");
        line.desk.pause.begin(line.now.mono_ms, u64::MAX, true);
        let mut input = BytesMut::from("HELLO 2 SETNAME you\r\nPING\r\n");
        assert_eq!(line.receive(&mut input), Progress::Held);
        assert!(line.output().contains("redis"), "HELLO is answered");
    }

    #[test]
    fn everything_waits_where_that_is_wanted_and_from_the_next_command_on() {
        let mut line = alone();
        let mut input = BytesMut::from("CLIENT PAUSE 50\r\nnonsense\r\nPING\r\nPING\r\n");
        assert_eq!(line.receive(&mut input), Progress::Held);
        let refused = "-ERR unknown command 'nonsense', with args beginning with: \r\n";
        assert_eq!(line.output(), format!("+OK\r\n{refused}"));
        line.now.mono_ms += 50;
        assert_eq!(line.receive(&mut input), Progress::Input);
        assert_eq!(line.output(), "+PONG\r\n+PONG\r\n");
    }
}
