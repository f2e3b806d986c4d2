//! What a session does about transactions: commands are queued between MULTI and EXEC and then
//! executed together, here or as one task of a shard; watches are kept where their keys are.

use dht_proto::{Reply, ReplyError, slot, spec};

use super::measured::ids;
use super::{Asked, Effects, Session, Step, Ticket};
use crate::core::atomic::{self, Batch, Occasion};
use crate::core::execute::{Command, Handler, handler};
use crate::core::gather::{Gather, interleave};
use crate::core::node::Node;
use crate::core::replication::replica::{Mode, Pending};
use crate::core::replication::task::{Task, Words};
use crate::core::rest::ReplyRoom;
use crate::core::router::{self, Route};
use crate::core::store::Key;
use crate::core::time::Now;
use crate::core::transaction::{Next, Taken};
use crate::core::wire::{DEADLINE_MS, Origin};

/// A node that is alone keeps a watch as long as its connection: by its watches' time no time
/// passes.
const ALONE: u64 = 0;

/// Commands, and which place each has among those of its transaction.
type Placed<'a> = Vec<(usize, Words<'a>)>;

impl Session {
    /// The connection has ended: what it watches is forgotten, and it listens to nothing.
    pub fn end(&mut self, node: &Node, now: Now, effects: &mut Effects) {
        self.client.transaction.end();
        self.forget(node, now, effects);
        self.tell_rest(effects);
        let id = self.client.facts.id;
        node.hub.leave_all(id, &mut self.client.subscriptions);
    }

    /// Takes a request between MULTI and EXEC.
    pub(super) fn request_in_transaction(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        argv: &[&[u8]],
    ) {
        match self.enqueue(step, argv) {
            Ok(true) => {
                let queued = Reply::Status("QUEUED".into());
                self.answer(step.effects, origin, &queued);
            }
            Ok(false) => self.request_now(step, origin, argv),
            Err(error) => {
                Self::refused(step, argv);
                self.client.transaction.refuse();
                self.answer(step.effects, origin, &error.into());
            }
        }
    }

    /// Queues a command, unless it is one that never waits.
    fn enqueue(&mut self, step: &Step<'_>, argv: &[&[u8]]) -> Result<bool, ReplyError> {
        let id = self.find(argv)?;
        let kind = id.spec().kind;
        if kind.is_immediate() {
            return Ok(false);
        }
        if !id.schema().may_be_queued {
            return Err(ReplyError::NotInTransaction);
        }
        let keys = router::keys(id, argv)?;
        if !kind.is_local() {
            self.router(step)?.route_queued(id, &keys)?;
        }
        self.client.transaction.push(argv, &keys)?;
        self.see(step, &keys);
        Ok(true)
    }

    /// Executes a command about the transaction.
    pub(super) fn transact(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        command: &Command<'_>,
        route: &Route,
    ) {
        let Handler::Transaction(run) = handler(command.id) else {
            unreachable!("the kind of a command says which handler it has")
        };
        match run(&mut self.client.transaction) {
            Ok(Next::Answer(reply)) => self.answer(step.effects, origin, &reply),
            Ok(Next::Watch) => self.watch(step, origin, command, route),
            Ok(Next::Execute(taken)) => self.exec_in_time(step, origin, taken),
            Err(error) => self.answer(step.effects, origin, &error.into()),
        }
    }

    fn watch(&mut self, step: &mut Step<'_>, origin: Origin, command: &Command<'_>, route: &Route) {
        let keys = match self.keys_to_watch(command, route) {
            Ok(keys) => keys,
            Err(error) => return self.answer(step.effects, origin, &error.into()),
        };
        let token = self.random.next();
        let watcher = self.client.transaction.watch(keys[0].bytes(), token);
        if let Route::Shard(shard) = route {
            let words = keys.iter().map(|key| key.bytes()).collect();
            let task = Task::Watch(watcher, words).to_bytes();
            let turn = self.wait(origin, Gather::whole(*shard, true));
            if let Some(waiting) = self.waiting(turn) {
                waiting.watch = Some(watcher.token);
            }
            let ticket = Ticket { turn, part: 0 };
            self.ask(step, origin, (*shard, Mode::Write), ticket, task);
        } else {
            let data = (&*step.node.store, &step.node.watched);
            let outcome = atomic::watch(data, watcher, &keys, (step.stamp, ALONE));
            let reply = outcome.unwrap_or_else(Reply::Error);
            if matches!(reply, Reply::Error(_)) {
                self.client.transaction.watch_failed(watcher.token);
            }
            self.answer(step.effects, origin, &reply);
        }
    }

    /// The keys of a WATCH; by shards they are watched in the slot of the first one only.
    fn keys_to_watch<'a>(
        &self,
        command: &Command<'a>,
        route: &Route,
    ) -> Result<router::Keys<'a>, ReplyError> {
        let keys = router::keys(command.id, command.argv)?;
        match (self.client.transaction.watched().map(Key::new), route) {
            (Some(first), Route::Shard(_)) if first.slot() != keys[0].slot() => {
                Err(router::crossed(first, keys[0]))
            }
            _ => Ok(keys),
        }
    }

    pub(super) fn exec(&mut self, step: &mut Step<'_>, origin: Origin, taken: &Taken) {
        let commands = taken.commands();
        let (local, data) = by_place(commands.clone());
        if step.node.settings.standalone || data.is_empty() && taken.watch.is_none() {
            let stopwatch = step.node.settings.stopwatch;
            let start_us = stopwatch();
            let reply = self.exec_here(step, &local, &data, taken);
            let took_us = stopwatch().saturating_sub(start_us);
            Self::executed(&mut step.effects.done, &commands, &reply, took_us);
            let origin = origin.in_version_of(self.client.protocol);
            return self.answer(step.effects, origin, &reply);
        }
        match self.shard_of(step, taken) {
            Ok(shard) => {
                let placed = self.run_local(step, &local);
                let held = std::mem::take(&mut self.client.news);
                let origin = origin.in_version_of(self.client.protocol);
                let watcher = taken.watch.as_ref().map(|watch| watch.watcher);
                let task = Task::Exec(watcher, data).to_bytes();
                let turn = self.wait(origin, Gather::transaction(shard, placed));
                self.hold(turn, held);
                if let Some(waiting) = self.waiting(turn) {
                    waiting.asked.together = ids(&commands);
                }
                let ticket = Ticket { turn, part: 0 };
                self.ask(step, origin, (shard, Mode::Write), ticket, task);
            }
            Err(error) => {
                self.client.transaction.give_up(taken.watch.clone());
                self.answer(step.effects, origin, &error.into());
            }
        }
    }

    fn shard_of(&self, step: &Step<'_>, taken: &Taken) -> Result<u16, ReplyError> {
        let keys: router::Keys<'_> = taken.key()?.into_iter().collect();
        match self.router(step)?.one_slot(&keys)? {
            Route::Shard(shard) => Ok(shard),
            Route::Here | Route::Spread(_) | Route::Led | Route::Meta => {
                unreachable!("a command that is for a shard has a key")
            }
        }
    }

    /// Executes a transaction on a node that is alone, or one about the connection only.
    fn exec_here(
        &mut self,
        step: &Step<'_>,
        local: &[(usize, Words<'_>)],
        data: &[Words<'_>],
        taken: &Taken,
    ) -> Reply {
        let batch = Batch::new(data);
        let at = Occasion {
            stamp: step.stamp,
            seed: self.random.next(),
            watch_time: ALONE,
        };
        let watcher = taken.watch.as_ref().map(|watch| watch.watcher);
        let Node { store, watched, .. } = step.node;
        let mut found = Reply::NilArray.into();
        let mut execute = || found = batch.execute((store, watched), watcher, at);
        let aside = &step.node.settings.aside;
        if batch.is_whole {
            aside.run(&mut execute);
        } else {
            execute();
        }
        match found.reply(aside) {
            Reply::Array(items) => Reply::Array(interleave(items, self.run_local(step, local))),
            aborted => aborted,
        }
    }

    /// Executes the commands of a transaction that are about the connection or its node.
    fn run_local(
        &mut self,
        step: &Step<'_>,
        commands: &[(usize, Words<'_>)],
    ) -> Vec<(usize, Reply)> {
        let mut run = |argv: &Words<'_>| match self.find(argv) {
            Ok(id) => self.execute(step, &Command::new(id, argv, &[])),
            Err(error) => error.into(),
        };
        let mut room = ReplyRoom::default();
        let mut replies = Vec::with_capacity(commands.len());
        for (place, argv) in commands {
            let reply = run(argv);
            let bytes = reply.own_bytes();
            replies.push((*place, room.take(reply, bytes, false)));
        }
        // A transaction does not sleep, whatever its commands do.
        self.client.sleeps = false;
        replies
    }

    /// Tells where they are kept that watches are of no use any more. Nobody waits for that; what
    /// gets lost ends with its time.
    pub(super) fn forget(&mut self, node: &Node, now: Now, effects: &mut Effects) {
        for watch in self.client.transaction.take_dropped() {
            let token = watch.watcher.token;
            if node.settings.standalone {
                node.watched.forget(token);
                continue;
            }
            let shard = slot::shard_of(Key::new(&watch.first).slot(), node.words.len());
            effects.asked.push(Asked {
                shard: shard as u16,
                pending: Pending {
                    task: Task::Forget(token).to_bytes(),
                    mode: Mode::Write,
                    deadline_mono_ms: now.mono_ms.saturating_add(DEADLINE_MS),
                    ticket: None,
                },
            });
        }
    }
}

/// Those about the connection or its node, with their places, and those on data.
fn by_place(commands: Vec<Words<'_>>) -> (Placed<'_>, Vec<Words<'_>>) {
    let (mut local, mut data) = (Vec::new(), Vec::new());
    for (place, argv) in commands.into_iter().enumerate() {
        match spec::find(&argv) {
            Ok(id) if id.spec().kind.is_local() => local.push((place, argv)),
            _ => data.push(argv),
        }
    }
    (local, data)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use bytes::Bytes;

    use super::super::line_tests::{Line, alone, member, task};
    use super::*;
    use dht_proto::limits::FRAME_BYTES;

    use crate::core::client::Door;
    use crate::core::commands::testing;
    use crate::core::random::Random;
    use crate::core::store::Watcher;

    fn exec(watcher: Option<Watcher>, lines: &[&'static str]) -> Bytes {
        let words = |line: &&'static str| line.split(' ').map(str::as_bytes).collect();
        Task::Exec(watcher, lines.iter().map(words).collect()).to_bytes()
    }

    #[test]
    fn a_transaction_is_one_task_for_its_shard() {
        let mut line = member();
        line.send("MULTI\r\nPING\r\nSET foo 1\r\nECHO x\r\nINCR foo\r\nEXEC\r\nGET foo\r\n");
        let all = exec(None, &["SET foo 1", "INCR foo"]);
        let read = (2, Mode::OrderedRead, task("GET foo"));
        assert_eq!(line.asked(), [(2, Mode::Write, all), read]);
        line.settle(0, Reply::Array(vec![Reply::Ok, Reply::Int(2)]));
        let queued = "+QUEUED\r\n".repeat(4);
        let answer = "*4\r\n+PONG\r\n+OK\r\n$1\r\nx\r\n:2\r\n";
        assert_eq!(line.output(), format!("+OK\r\n{queued}{answer}"));
        line.send("MULTI\r\nPING\r\nEXEC\r\n");
        line.settle(1, Reply::Nil);
        let answer = "$-1\r\n+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n";
        assert_eq!(line.output(), answer, "about no key: by nobody else");
    }

    #[test]
    fn commands_of_a_transaction_are_measured_each() {
        let counts = |line: &mut Line, name: &str| {
            let (measures, client) = (&line.desk.measures, &line.session.client.facts);
            measures.add(&mut line.effects.done, client, || 0);
            let of = measures.of(spec::look_up(&[name.as_bytes()]).unwrap());
            let counters = [&of.calls, &of.took_us, &of.failed];
            counters.map(|count| count.load(Relaxed))
        };
        let mut line = alone();
        line.send("SET b x\r\nMULTI\r\nGET b\r\nGET hello\r\nINCR b\r\nEXEC\r\n");
        assert_eq!(counts(&mut line, "GET")[0], 2);
        assert_eq!(counts(&mut line, "INCR")[2], 1);
        assert_eq!(counts(&mut line, "EXEC")[2], 0);
        assert_eq!(line.desk.measures.errors()["ERR"], 1);
        assert_eq!(line.desk.store.lookups.counts(), (1, 1));
        let mut line = member();
        line.effects.done.slow_from_us = line.desk.measures.slow_from_us();
        line.send("MULTI\r\nSET foo x\r\nPING\r\nINCR foo\r\nEXEC\r\n");
        assert_eq!(counts(&mut line, "INCR"), [0; 3], "nothing is executed yet");
        line.effects.now_us = 30_000;
        let failed = ReplyError::NotInteger.into();
        line.settle(0, Reply::Array(vec![Reply::Ok, failed]));
        assert_eq!(counts(&mut line, "INCR"), [1, 10_000, 1]);
        assert_eq!(counts(&mut line, "SET"), [1, 10_000, 0]);
        let entries = line.desk.measures.slowlog.latest(9).into_iter();
        let shown: Vec<_> = entries.map(|entry| entry.slow.argv.concat()).collect();
        let note = b"... (one of 2 commands of a transaction in 30000 us)";
        let expect = [&b"INCRfoo"[..], b"SETfoox"].map(|words| [words, note].concat());
        assert_eq!(shown, expect);
    }

    #[test]
    fn what_exec_answers_is_bounded_whatever_it_is_made_of() {
        let mut line = alone();
        let value = "v".repeat(4000);
        line.send(&format!("SET k {value}\r\nHSET h f {value}\r\n"));
        line.output();
        let error = format!("-{}\r\n", ReplyError::reply_too_long(false));
        for (command, times) in [
            ("DUMP k", 20_000),
            ("GET k", 20_000),
            ("HRANDFIELD h -1000 WITHVALUES", 40),
            ("COMMAND DOCS", 1000),
        ] {
            let queue = format!("{command}\r\n").repeat(times);
            line.send(&format!("MULTI\r\n{queue}"));
            line.output();
            line.send("EXEC\r\n");
            let answer = line.output_bytes();
            let begin = format!("*{times}\r\n");
            assert!(answer.starts_with(begin.as_bytes()), "{command}");
            assert!(answer.ends_with(error.as_bytes()), "{command}");
            assert!(answer.len() < 2 * FRAME_BYTES, "{command}");
        }
        line.send("HRANDFIELD h -1000000 WITHVALUES\r\n");
        assert_eq!(line.output(), error);
    }

    #[test]
    fn exec_names_its_watch() {
        let mut line = member();
        line.send("WATCH foo\r\nWATCH {foo}2 foo\r\nMULTI\r\nEXEC\r\n");
        let token = Random::new(1).next();
        let watch = |rounds, keys: &[&'static str]| {
            let keys = keys.iter().map(|key| key.as_bytes()).collect();
            Task::Watch(Watcher { token, rounds }, keys).to_bytes()
        };
        let watcher = Watcher { token, rounds: 2 };
        let tasks = [
            watch(1, &["foo"]),
            watch(2, &["{foo}2", "foo"]),
            exec(Some(watcher), &[]),
        ];
        assert_eq!(line.asked(), tasks.map(|task| (2, Mode::Write, task)));
        line.settle(0, Reply::Ok);
        line.settle(1, Reply::Ok);
        line.settle(2, Reply::Nil);
        assert_eq!(line.output(), "+OK\r\n+OK\r\n+OK\r\n*-1\r\n");
    }

    #[test]
    fn a_watch_that_is_given_up_is_forgotten_by_its_shard() {
        for end in [
            "UNWATCH",
            "RESET",
            "MULTI\r\nDISCARD",
            "MULTI\r\nGET\r\nEXEC",
            "END",
        ] {
            let mut line = member();
            line.send("WATCH foo\r\n");
            if end == "END" {
                let Line {
                    session,
                    desk,
                    now,
                    effects,
                } = &mut line;
                session.end(desk, *now, effects);
            } else {
                line.send(&format!("{end}\r\n"));
            }
            let forgotten = &line.effects.asked[1];
            let task = Task::Forget(Random::new(1).next()).to_bytes();
            assert_eq!(
                (forgotten.shard, &forgotten.pending.task),
                (2, &task),
                "{end}"
            );
            assert_eq!(forgotten.pending.ticket, None);
            line.settle(0, Reply::Ok);
            assert_eq!(line.session.in_flight(), 0, "nobody waits for it");
        }
    }

    #[test]
    fn a_watch_that_failed_is_none() {
        for error in [
            ReplyError::ClusterDown("x".into()),
            ReplyError::Unknown("x".into()),
        ] {
            let mut line = member();
            line.send("WATCH foo\r\n");
            line.settle(0, error.into());
            line.send("MULTI\r\nSET b 1\r\nEXEC\r\n");
            let forget = Task::Forget(Random::new(1).next()).to_bytes();
            let expect = [(0, exec(None, &["SET b 1"])), (2, forget)];
            let asked = line.asked().split_off(1);
            let asked: Vec<_> = asked.into_iter().map(|(at, _, task)| (at, task)).collect();
            assert_eq!(asked, expect);
        }
        // One that was sent together with the transaction leaves it in doubt: EXEC answers nil.
        let mut line = member();
        line.send("WATCH foo\r\nMULTI\r\n");
        line.settle(0, ReplyError::ClusterDown("x".into()).into());
        line.send("EXEC\r\n");
        let token = Random::new(1).next();
        let watcher = Some(Watcher { token, rounds: 1 });
        assert_eq!(line.asked()[1].2, exec(watcher, &[]));
    }

    #[test]
    fn a_node_alone_watches_by_itself() {
        let mut line = alone();
        let aborted = "WATCH b\r\nSET b 1\r\nMULTI\r\nEXEC\r\n";
        line.send(aborted);
        assert_eq!(line.output(), "+OK\r\n+OK\r\n+OK\r\n*-1\r\n");
        assert!(line.desk.watched.is_empty());
        line.send("WATCH b\r\n");
        assert!(!line.desk.watched.is_empty());
        line.session.end(&line.desk, line.now, &mut line.effects);
        assert!(line.desk.watched.is_empty());
        assert!(line.effects.asked.is_empty());
    }

    #[test]
    fn the_redirecting_door_takes_only_what_is_led_here() {
        let mut line = Line::new(testing::cluster(), |client| client.door = Door::Redirect);
        line.send("MULTI\r\nGET b\r\nGET foo\r\nEXEC\r\nWATCH foo\r\n");
        let moved = "-MOVED 12182 [::1]:8403\r\n";
        let refused = "-EXECABORT Transaction discarded because of previous errors.\r\n";
        let expect = format!("+OK\r\n+QUEUED\r\n{moved}{refused}{moved}");
        assert_eq!(line.output(), expect);
        assert!(line.effects.asked.is_empty());
    }

    #[test]
    fn a_transaction_before_the_password_is_refused() {
        let mut line = Line::new(testing::node(), |client| client.authenticated = false);
        line.send("MULTI\r\nWATCH b\r\n");
        assert_eq!(
            line.output(),
            "-NOAUTH Authentication required.\r\n".repeat(2)
        );
    }
}
