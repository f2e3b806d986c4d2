//! What a session measures: how long commands take that it executes itself, all of a batch
//! together, and how long it takes until others have answered: shards, or who offers a service. The
//! clock is looked at once a batch; besides, where a command may have taken long, or somebody wants
//! to know of each.

use dht_proto::spec::{self, CommandId};
use dht_proto::{Reply, limits};

use super::{Effects, Question, Session, Step};
use crate::core::measures::Done;
use crate::core::measures::slowlog::{Slow, commands_of, of_task};
use crate::core::replication::task;
use crate::core::store::Key;

/// More words than this, and a command may take long.
const MANY_WORDS: usize = 256;
/// Words, or a reply, of more bytes than this, and it may, too.
const MANY_BYTES: usize = 64 * 1024;

/// How things were when a request was taken.
pub(super) struct Before {
    asked: usize,
    errors: usize,
    output: usize,
    is_weighty: bool,
}

/// The commands of a transaction.
pub(super) fn ids(argvs: &[task::Words<'_>]) -> Vec<CommandId> {
    let known = argvs.iter().filter_map(|argv| spec::find(argv).ok());
    known.collect()
}

impl Session {
    /// A transaction was executed here, which took so long.
    pub(super) fn executed(
        done: &mut Done,
        argvs: &[task::Words<'_>],
        reply: &Reply,
        took_us: u64,
    ) {
        done.executed(&ids(argvs), reply, took_us);
        if !matches!(reply, Reply::Array(_)) || !done.is_slow_together(took_us) {
            return;
        }
        for argv in argvs.iter().take(limits::SLOWLOG_WORDS) {
            if let Ok(id) = spec::find(argv) {
                let slow = Slow::new(took_us, argv);
                done.slow(id, slow.of_transaction(argvs.len()));
            }
        }
    }

    /// A request is about to be executed.
    pub(super) fn begin(&mut self, step: &mut Step<'_>, argv: &[&[u8]]) -> Before {
        self.current = None;
        let is_weighty = argv.len() > MANY_WORDS
            || argv.iter().map(|word| word.len()).sum::<usize>() > MANY_BYTES;
        if is_weighty {
            self.lap(step);
        }
        Before {
            asked: asked(step.effects),
            errors: step.effects.done.errors(),
            output: step.effects.output.len(),
            is_weighty,
        }
    }

    /// A command was found that is about to be executed.
    pub(super) fn found(&mut self, step: &mut Step<'_>, id: CommandId) {
        self.current = Some(id);
        if id.spec().kind.is_long() {
            self.lap(step);
        }
    }

    /// A request was executed, or asked for, or refused.
    pub(super) fn done(&mut self, step: &mut Step<'_>, argv: &[&[u8]], before: &Before) {
        let Some(id) = self.current.take() else {
            return;
        };
        let effects = &mut *step.effects;
        if effects.done.errors() > before.errors {
            effects.done.failed(id);
        }
        let is_asked = asked(effects) > before.asked;
        if !is_asked {
            effects.done.call(id);
        }
        let is_weighty = before.is_weighty
            || id.spec().kind.is_long()
            || effects.output.len().saturating_sub(before.output) > MANY_BYTES;
        if self.is_last || is_weighty || effects.done.is_exact() {
            let (calls, took_us) = self.lap(step);
            if !is_asked && step.effects.done.is_slow(id, took_us) {
                let slow = Slow::new(took_us, argv);
                step.effects.done.slow(id, slow.among(calls));
            }
        }
    }

    /// Shares the time since the last look at the clock among the commands since then; gives how
    /// many there are, and the time.
    pub(super) fn lap(&mut self, step: &mut Step<'_>) -> (u32, u64) {
        let now_us = (step.node.settings.stopwatch)();
        let took_us = now_us.saturating_sub(self.lap_us);
        self.lap_us = now_us;
        (step.effects.done.lap(took_us), took_us)
    }

    /// A command names these keys, and is not refused.
    pub(super) fn see(&mut self, step: &Step<'_>, keys: &[Key<'_>]) {
        let (hot, now_ms) = (&step.node.measures.hot, step.now.mono_ms);
        hot.see(keys, &mut self.chance, now_ms);
    }

    /// A command was refused before anything was done.
    pub(super) fn refused(step: &mut Step<'_>, argv: &[&[u8]]) {
        if let Ok(id) = spec::look_up(argv) {
            step.effects.done.refused(id);
        }
    }
}

/// What others have to answer: shards, and those who offer services.
fn asked(effects: &Effects) -> usize {
    effects.asked.len() + effects.calls.len()
}

impl Question {
    /// It is answered.
    pub(super) fn measure(&self, reply: &Reply, now_us: u64, done: &mut Done) {
        if let Reply::Error(error) = reply {
            done.error(error);
        }
        // Where nobody was asked it is among those that were executed here.
        let (Some(id), Some(task)) = (self.command, &self.task) else {
            return;
        };
        let took_us = now_us.saturating_sub(self.since_us);
        done.took(id, took_us);
        done.executed(&self.together, reply, took_us);
        if done.is_slow_together(took_us) {
            for (id, slow) in commands_of(took_us, task) {
                done.slow(id, slow);
            }
        }
        if matches!(reply, Reply::Error(_)) {
            done.failed(id);
        }
        if done.is_slow(id, took_us)
            && let Some(slow) = of_task(took_us, task)
        {
            done.slow(id, slow);
        }
    }
}
