//! What a node measures of itself: its commands, by their rows; errors, by their first words; what
//! has taken long; keys that are asked for most. Knows no clock: it is told how long something
//! took.

pub mod histogram;
pub mod hot;
pub mod latency;
pub mod slowlog;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dashmap::RwLock;
use dht_proto::commands::TABLE;
use dht_proto::spec::{CommandId, Kind};
use dht_proto::{Reply, ReplyError, limits};
use smallvec::SmallVec;

use self::histogram::Histogram;
use self::hot::HotKeys;
use self::latency::Latency;
use self::slowlog::{Slow, Slowlog};
use super::client::Facts;

/// Whoever wants to know of commands that take less has each one measured by itself.
const EXACT_BELOW_US: u64 = 1000;

/// What was measured since the start, or since `CONFIG RESETSTAT`.
#[derive(Debug)]
pub struct Measures {
    /// By their rows.
    commands: Box<[OfCommand]>,
    /// By the first word of the error.
    errors: RwLock<BTreeMap<String, u64>>,
    /// Commands that took long.
    pub slowlog: Slowlog,
    /// Events that took long.
    pub latency: Latency,
    /// Keys that are asked for most.
    pub hot: HotKeys,
}

/// What was measured of one command.
#[derive(Debug, Default)]
pub struct OfCommand {
    /// How often it was executed.
    pub calls: AtomicU64,
    /// How long that took together, in microseconds.
    pub took_us: AtomicU64,
    /// How often it was refused before.
    pub refused: AtomicU64,
    /// How often it has answered with an error.
    pub failed: AtomicU64,
    /// How long it took each time; from the first time on.
    pub times: OnceLock<Box<Histogram>>,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            commands: TABLE.iter().map(|_| OfCommand::default()).collect(),
            errors: RwLock::default(),
            slowlog: Slowlog::default(),
            latency: Latency::default(),
            hot: HotKeys::default(),
        }
    }
}

impl Measures {
    /// What was measured of a command.
    #[must_use]
    pub fn of(&self, id: CommandId) -> &OfCommand {
        &self.commands[id.index()]
    }

    /// How often errors were answered, by their first words.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.read().clone()
    }

    /// From how many microseconds on somebody wants to know of a command.
    #[must_use]
    pub fn slow_from_us(&self) -> u64 {
        let slowlog = self.slowlog.threshold_us();
        let latency = self.latency.threshold_ms();
        let latency = latency.map(|ms| ms.saturating_mul(1000));
        let thresholds = [slowlog, latency].into_iter().flatten();
        thresholds.min().unwrap_or(u64::MAX)
    }

    /// Adds what was done for a client, and leaves nothing of it.
    pub fn add(&self, done: &mut Done, client: &Facts, unix_s: impl FnOnce() -> u64) {
        for share in done.shares.drain(..) {
            let of = self.of(share.id);
            of.calls.fetch_add(share.calls.into(), Relaxed);
            of.took_us.fetch_add(share.took_us, Relaxed);
            let times = of.times.get_or_init(Box::default);
            times.add(share.each_us, share.calls.into());
        }
        for (id, count) in done.failed.drain(..) {
            self.of(id).failed.fetch_add(count, Relaxed);
        }
        for id in done.refused.drain(..) {
            self.of(id).refused.fetch_add(1, Relaxed);
        }
        done.inner_errors = 0;
        for word in done.errors.drain(..) {
            let mut errors = self.errors.write();
            if errors.len() < limits::ERROR_KINDS || errors.contains_key(&word) {
                *errors.entry(word).or_default() += 1;
            }
        }
        if !done.slow.is_empty() {
            self.note_slow(done, client, unix_s());
        }
    }

    fn note_slow(&self, done: &mut Done, client: &Facts, unix_s: u64) {
        let labels = client.labels.load();
        for (id, slow) in done.slow.drain(..) {
            let is_fast = id.spec().has_word("fast");
            let event = if is_fast {
                latency::FAST_COMMAND
            } else {
                latency::COMMAND
            };
            self.latency.add(event, unix_s, slow.took_us);
            let least_us = self.slowlog.threshold_us();
            if least_us.is_some_and(|least_us| slow.took_us >= least_us) {
                let from = (client.addr.as_str(), labels.name.as_str());
                self.slowlog.add(slow, unix_s, from);
            }
        }
    }

    /// Forgets what was counted. What took long is forgotten when that is asked for.
    pub fn reset(&self) {
        for of in &self.commands {
            for counter in [&of.calls, &of.took_us, &of.refused, &of.failed] {
                counter.store(0, Relaxed);
            }
            if let Some(times) = of.times.get() {
                times.reset();
            }
        }
        self.errors.write().clear();
        self.hot.reset();
    }
}

/// What was done for one client in one go.
#[derive(Debug)]
pub struct Done {
    /// Said before: from how many microseconds on somebody wants to know of a command.
    pub slow_from_us: u64,
    /// Commands since the last look at the clock.
    open: SmallVec<[(CommandId, u32); 4]>,
    shares: SmallVec<[Share; 4]>,
    failed: Vec<(CommandId, u64)>,
    refused: Vec<CommandId>,
    errors: Vec<String>,
    /// How many of those are answers within the answer of a transaction.
    inner_errors: usize,
    slow: Vec<(CommandId, Slow)>,
}

/// What some executions of one command have taken.
#[derive(Debug)]
struct Share {
    id: CommandId,
    calls: u32,
    took_us: u64,
    each_us: u64,
}

impl Default for Done {
    fn default() -> Self {
        Self {
            slow_from_us: u64::MAX,
            open: SmallVec::new(),
            shares: SmallVec::new(),
            failed: Vec::new(),
            refused: Vec::new(),
            errors: Vec::new(),
            inner_errors: 0,
            slow: Vec::new(),
        }
    }
}

impl Done {
    /// Whether each command is to be measured by itself.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.slow_from_us < EXACT_BELOW_US
    }

    /// Whether commands were executed since the last look at the clock.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// A command was executed; how long that took is said by the next [`Done::lap`].
    pub fn call(&mut self, id: CommandId) {
        match self.open.iter_mut().find(|(open, _)| *open == id) {
            Some((_, calls)) => *calls += 1,
            None => self.open.push((id, 1)),
        }
    }

    /// The commands since the last lap took so long, each as long as the others; gives how many
    /// they are.
    pub fn lap(&mut self, took_us: u64) -> u32 {
        let all: u32 = self.open.iter().map(|(_, calls)| calls).sum();
        let each_us = took_us / u64::from(all.max(1));
        let mut left_us = took_us;
        for (id, calls) in self.open.drain(..) {
            let part = u128::from(took_us) * u128::from(calls) / u128::from(all.max(1));
            let took_us = (part as u64).min(left_us);
            left_us -= took_us;
            self.shares.push(Share {
                id,
                calls,
                took_us,
                each_us,
            });
        }
        all
    }

    /// A command was answered so long after it was taken.
    pub fn took(&mut self, id: CommandId, took_us: u64) {
        self.shares.push(Share {
            id,
            calls: 1,
            took_us,
            each_us: took_us,
        });
    }

    /// The commands of a transaction were executed, each as long as the others, or none if that is
    /// the answer.
    pub fn executed(&mut self, ids: &[CommandId], reply: &Reply, took_us: u64) {
        let Reply::Array(answers) = reply else {
            return;
        };
        let share_us = took_us / (ids.len() as u64).max(1);
        for (id, answer) in ids.iter().zip(answers) {
            self.took(*id, share_us);
            if let Reply::Error(error) = answer {
                self.error(error);
                self.inner_errors += 1;
                self.failed(*id);
            }
        }
    }

    /// A command took so long that somebody wants to know.
    pub fn slow(&mut self, id: CommandId, slow: Slow) {
        self.slow.push((id, slow));
    }

    /// Whether somebody wants to know of a command that took so long. Of a transaction those are
    /// named that it consists of.
    #[must_use]
    pub fn is_slow(&self, id: CommandId, took_us: u64) -> bool {
        took_us >= self.slow_from_us && id.spec().kind != Kind::EXECUTION
    }

    /// Whether somebody wants to know of a transaction that took so long.
    #[must_use]
    pub const fn is_slow_together(&self, took_us: u64) -> bool {
        took_us >= self.slow_from_us
    }

    /// An error was answered.
    pub fn error(&mut self, error: &ReplyError) {
        self.errors.push(error.prefix().to_owned());
    }

    /// How many errors were answered, but for those within the answer of a transaction.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors.len() - self.inner_errors
    }

    /// An executed command has answered with an error.
    pub fn failed(&mut self, id: CommandId) {
        match self.failed.iter_mut().find(|(failed, _)| *failed == id) {
            Some((_, count)) => *count += 1,
            None => self.failed.push((id, 1)),
        }
    }

    /// A command was refused before it was executed.
    pub fn refused(&mut self, id: CommandId) {
        self.refused.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::commands::testing::Desk;

    fn id(line: &str) -> CommandId {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        dht_proto::spec::look_up(&words).unwrap()
    }

    fn known(measures: &Measures, line: &str) -> [u64; 4] {
        let of = measures.of(id(line));
        [&of.calls, &of.took_us, &of.refused, &of.failed].map(|counter| counter.load(Relaxed))
    }

    #[test]
    fn a_lap_is_shared_and_nothing_of_it_is_lost() {
        let measures = Measures::default();
        let client = Desk::standalone().client.facts;
        let mut done = Done::default();
        (0..3).for_each(|_| done.call(id("GET k")));
        done.call(id("SET k v"));
        assert_eq!(done.lap(103), 4);
        done.took(id("SET k v"), 50);
        done.refused(id("GET"));
        done.failed(id("SET k v"));
        done.error(&ReplyError::WrongType);
        done.error(&ReplyError::Syntax);
        done.error(&ReplyError::Overflow);
        measures.add(&mut done, &client, || 7);
        measures.add(&mut done, &client, || 7);
        assert_eq!(known(&measures, "GET k"), [3, 77, 1, 0]);
        assert_eq!(known(&measures, "SET k v"), [2, 75, 0, 1]);
        let times = measures.of(id("GET k")).times.get().unwrap();
        assert_eq!(times.percentile(5000), 25);
        let errors = measures.errors();
        assert_eq!((errors["ERR"], errors["WRONGTYPE"]), (2, 1));
        measures.reset();
        assert_eq!(known(&measures, "GET k"), [0; 4]);
        assert!(measures.errors().is_empty());
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let measures = Measures::default();
        let client = Desk::standalone().client.facts;
        for n in 0..=limits::ERROR_KINDS {
            let mut done = Done::default();
            done.error(&ReplyError::Received(format!("KIND{n} x")));
            measures.add(&mut done, &client, || 7);
        }
        assert_eq!(measures.errors().len(), limits::ERROR_KINDS);
    }

    #[test]
    fn what_is_slow_is_kept_by_those_who_want_it() {
        let measures = Measures::default();
        let client = Desk::standalone().client.facts;
        let note = |name: &str, took_us: u64| {
            let mut done = Done {
                slow_from_us: measures.slow_from_us(),
                ..Done::default()
            };
            if done.is_slow(id(name), took_us) {
                done.slow(id(name), Slow::new(took_us, &[name.as_bytes()]));
            }
            measures.add(&mut done, &client, || 7);
        };
        note("GET", 9999);
        note("GET", 10_000);
        assert_eq!(measures.slowlog.len(), 1);
        assert!(measures.latency.all().is_empty());
        measures.latency.set_threshold_ms(2);
        note("GET", 2500);
        note("KEYS", 3500);
        note("EXEC", 90_000);
        assert_eq!(measures.slowlog.len(), 1, "and no EXEC");
        let events = measures.latency.all();
        let max_ms = |event| events[event].max_ms;
        assert_eq!((max_ms("fast-command"), max_ms("command")), (2, 3));
        measures.slowlog.set_threshold_us(-1);
        measures.latency.set_threshold_ms(0);
        assert_eq!(measures.slow_from_us(), u64::MAX);
    }
}
