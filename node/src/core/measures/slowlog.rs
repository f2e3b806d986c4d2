//! The last commands that took long: `SLOWLOG`.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use dashmap::RwLock;
use dht_proto::limits;
use dht_proto::spec::{self, CommandId};

use crate::core::pack::Reader;
use crate::core::replication::task::{self, Task};

/// From so many microseconds on, unless it is set otherwise, as in Redis.
const SLOWER_THAN_US: i64 = 10_000;
/// So many are kept, unless it is set otherwise, as in Redis.
const KEPT: usize = 128;

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// How long, in microseconds.
    pub took_us: u64,
    /// Its words, shortened.
    pub argv: Vec<Bytes>,
}

impl Slow {
    /// A command with so much of its words as is kept.
    #[must_use]
    pub fn new(took_us: u64, argv: &[&[u8]]) -> Self {
        let most = limits::SLOWLOG_WORDS;
        let shown = if argv.len() > most {
            most - 1
        } else {
            argv.len()
        };
        let secret = secret(argv);
        let word = |(at, word): (usize, &&[u8])| match secret.contains(&at) {
            true => Bytes::from_static(REDACTED),
            false => shortened(word, limits::SLOWLOG_WORD_BYTES),
        };
        let mut words: Vec<Bytes> = argv[..shown].iter().enumerate().map(word).collect();
        let more = argv.len() - shown;
        if more > 0 {
            words.push(format!("... ({more} more arguments)").into());
        }
        let argv = words;
        Self { took_us, argv }
    }
}

/// What stands in the place of a word that is not for everybody, as in Redis.
const REDACTED: &[u8] = b"(redacted)";

/// The places of a name and a password: they stand behind the word `AUTH`, be it the command
/// itself or an option of another that is taken before any password.
fn secret(argv: &[&[u8]]) -> Range<usize> {
    let may_have = spec::look_up(argv).is_ok_and(|id| id.spec().kind.before_auth());
    let is_auth = |word: &&[u8]| word.eq_ignore_ascii_case(b"AUTH");
    match argv.iter().position(is_auth).filter(|_| may_have) {
        Some(at) => at + 1..at + 3,
        None => 0..0,
    }
}

impl Slow {
    /// The same, of which is only known that it is the last of so many that were sent together and
    /// took so long together.
    #[must_use]
    pub fn among(mut self, calls: u32) -> Self {
        if calls > 1 {
            self.argv.truncate(limits::SLOWLOG_WORDS - 1);
            self.argv
                .push(format!("... (the last of {calls} commands in {} us)", self.took_us).into());
        }
        self
    }

    /// The same, of which is only known that it is one of so many of a transaction, which took so
    /// long together.
    #[must_use]
    pub fn of_transaction(mut self, commands: usize) -> Self {
        if commands > 1 {
            let took_us = self.took_us;
            self.argv.truncate(limits::SLOWLOG_WORDS - 1);
            let all = format!("... (one of {commands} commands of a transaction in {took_us} us)");
            self.argv.push(all.into());
        }
        self
    }
}

/// What a task for a shard has taken; nothing for one of which no client is known.
#[must_use]
pub fn of_task(took_us: u64, task: &[u8]) -> Option<Slow> {
    words_of(task::decode(&mut Reader::new(task)).ok()?, took_us)
}

/// The commands of a transaction that has taken so long; none of any other task.
#[must_use]
pub fn commands_of(took_us: u64, task: &[u8]) -> Vec<(CommandId, Slow)> {
    let Ok(task) = task::decode(&mut Reader::new(task)) else {
        return Vec::new();
    };
    let task = match task {
        Task::Placed(_, task) => *task,
        task => task,
    };
    let Task::Exec(_, argvs) = task else {
        return Vec::new();
    };
    let argvs_shown = argvs.iter().take(limits::SLOWLOG_WORDS);
    let found = argvs_shown.filter_map(|argv| {
        let slow = Slow::new(took_us, argv).of_transaction(argvs.len());
        Some((spec::find(argv).ok()?, slow))
    });
    found.collect()
}

fn words_of(task: Task<'_>, took_us: u64) -> Option<Slow> {
    let many = |word: &'static str, others: &[&[u8]]| {
        let words: Vec<&[u8]> = [&[word.as_bytes()], others].concat();
        Some(Slow::new(took_us, &words))
    };
    match task {
        Task::Command(words) => Some(Slow::new(took_us, &words)),
        Task::Watch(_, keys) => many("WATCH", &keys),
        Task::Placed(_, task) => words_of(*task, took_us),
        Task::Open
        | Task::OpenLane
        | Task::Expire(_)
        | Task::Forget(_)
        | Task::Exec(..)
        | Task::Nothing => None,
    }
}

/// So many bytes of a word, and how many more there are.
pub(super) fn shortened(word: &[u8], most: usize) -> Bytes {
    let Some((kept, rest)) = word.split_at_checked(most) else {
        return Bytes::copy_from_slice(word);
    };
    if rest.is_empty() {
        return Bytes::copy_from_slice(kept);
    }
    let more = format!("... ({} more bytes)", rest.len());
    [kept, more.as_bytes()].concat().into()
}

/// What is kept of a command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Grows by one with each.
    pub id: u64,
    /// When it was done, in seconds since the Unix epoch.
    pub unix_s: u64,
    /// What it was.
    pub slow: Slow,
    /// Where its client is.
    pub addr: String,
    /// What its client calls itself.
    pub name: String,
}

/// The log.
#[derive(Debug)]
pub struct Slowlog {
    slower_than_us: AtomicI64,
    most: AtomicUsize,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    next_id: u64,
    /// The latest first.
    entries: VecDeque<Entry>,
}

impl Default for Slowlog {
    fn default() -> Self {
        Self {
            slower_than_us: AtomicI64::new(SLOWER_THAN_US),
            most: AtomicUsize::new(KEPT),
            kept: RwLock::default(),
        }
    }
}

impl Slowlog {
    /// From how many microseconds on a command is kept; nothing if none is.
    #[must_use]
    pub fn threshold_us(&self) -> Option<u64> {
        u64::try_from(self.slower_than_us.load(Relaxed)).ok()
    }

    /// Sets that; a negative number keeps none.
    pub fn set_threshold_us(&self, us: i64) {
        self.slower_than_us.store(us, Relaxed);
    }

    /// As it was set.
    #[must_use]
    pub fn slower_than_us(&self) -> i64 {
        self.slower_than_us.load(Relaxed)
    }

    /// How many are kept at most.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most.load(Relaxed)
    }

    /// Sets that.
    pub fn set_most(&self, most: usize) {
        self.most.store(most.min(limits::SLOWLOG_ENTRIES), Relaxed);
        self.kept.write().entries.truncate(self.most());
    }

    /// Keeps a command, in the place of the oldest one if need be.
    pub fn add(&self, slow: Slow, unix_s: u64, (addr, name): (&str, &str)) {
        let mut kept = self.kept.write();
        let id = kept.next_id;
        kept.next_id += 1;
        kept.entries.push_front(Entry {
            id,
            unix_s,
            slow,
            addr: addr.to_owned(),
            name: name.to_owned(),
        });
        kept.entries.truncate(self.most());
    }

    /// The latest ones, so many at most.
    #[must_use]
    pub fn latest(&self, count: usize) -> Vec<Entry> {
        let kept = self.kept.read();
        kept.entries.iter().take(count).cloned().collect()
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.read().entries.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all; numbers go on.
    pub fn reset(&self) {
        self.kept.write().entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shortened_as_by_redis() {
        let long = [b'x'; limits::SLOWLOG_WORD_BYTES + 5];
        let slow = Slow::new(1, &[b"SET", &long[5..], &long]);
        assert_eq!(slow.argv[1], long[5..]);
        assert!(slow.argv[2].ends_with(b"x... (5 more bytes)"));
        let words = [&b"w"[..]; limits::SLOWLOG_WORDS + 1];
        let all = Slow::new(1, &words[1..]).argv;
        assert_eq!((all.len(), &all[31][..]), (32, &b"w"[..]));
        let some = Slow::new(1, &words).argv;
        assert_eq!(
            (some.len(), &some[31][..]),
            (32, &b"... (2 more arguments)"[..])
        );
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let argv = Slow::new(1, &words).argv;
            let words = argv.iter().map(|word| String::from_utf8_lossy(word));
            words.collect::<Vec<_>>().join(" ")
        };
        for (line, expect) in [
            ("AUTH secret", "AUTH (redacted)"),
            ("auth me secret", "auth (redacted) (redacted)"),
            (
                "HELLO 3 auth me secret SETNAME x",
                "HELLO 3 auth (redacted) (redacted) SETNAME x",
            ),
            ("SET auth me", "SET auth me"),
        ] {
            assert_eq!(shown(line), expect);
        }
    }

    #[test]
    fn a_task_is_shown_as_its_command() {
        let shown = |task: &[u8]| {
            let slow = of_task(5, task)?;
            let words = slow
                .argv
                .iter()
                .map(|word| String::from_utf8_lossy(word).into_owned());
            Some(words.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(
            shown(&task::command(&["SET", "k", "v"])),
            Some("SET k v".to_owned())
        );
        let exec = Task::Exec(None, Vec::new()).to_bytes();
        assert_eq!(shown(&exec), None, "its commands are");
        assert_eq!(shown(&Task::Open.to_bytes()), None);
        assert_eq!(shown(b"nonsense"), None);
    }

    #[test]
    fn the_latest_are_kept() {
        let log = Slowlog::default();
        let add = |n: u64| log.add(Slow::new(n, &[b"GET"]), 7, ("addr", "name"));
        let ids = |count| {
            log.latest(count)
                .iter()
                .map(|entry| entry.id)
                .collect::<Vec<_>>()
        };
        (0..200).for_each(add);
        assert_eq!((log.len(), ids(2)), (KEPT, vec![199, 198]));
        log.set_most(1);
        assert_eq!(ids(9), [199]);
        log.reset();
        assert!(log.is_empty());
        add(5);
        assert_eq!(ids(9), [200]);
        log.set_most(0);
        add(5);
        assert!(log.is_empty());
        log.set_most(usize::MAX);
        assert_eq!(log.most(), limits::SLOWLOG_ENTRIES);
    }
}
