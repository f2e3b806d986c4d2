//! What a client of a test does next: commands that leave traces, on few keys that all want.
//!
//! Every value is written once and has the same length, so that a checker knows who wrote what a
//! read shows. The same numbers give the same program.

use bytes::Bytes;

use super::history::Op;
use crate::random::Random;

/// What a client sends before it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command.
    Single(Vec<Bytes>),
    /// WATCH, if there are keys to watch; MULTI, the commands, EXEC. To the history it is
    /// [`Op::parse`] of WATCH, if that is sent, and [`Op::transaction`].
    Transaction {
        /// The keys to watch.
        watch: Vec<Bytes>,
        /// The commands.
        commands: Vec<Vec<Bytes>>,
    },
}

/// How a program makes a step of one kind.
type Kind = fn(&mut Program, &mut Random) -> Step;

impl Step {
    /// What it is to the history; for a transaction what EXEC does.
    ///
    /// # Panics
    /// It is none of a program's.
    #[must_use]
    pub fn op(&self) -> Op {
        let op = match self {
            Self::Single(argv) => Op::parse(argv),
            Self::Transaction { watch, commands } => Op::transaction(watch, commands),
        };
        op.expect("programs keep to the model")
    }
}

/// Which kinds of steps there are, each as often as its number says beside those of the others.
#[derive(Clone, Debug)]
pub struct Mix {
    /// What all keys begin with: another prefix gives other keys.
    pub prefix: String,
    /// Keys of each kind.
    pub keys: usize,
    /// Times to live, in milliseconds: from and to.
    pub ttl_ms: (u64, u64),
    /// Strings that are set, appended to, deleted, read.
    pub strings: u64,
    /// Hashes of a few fields.
    pub hashes: u64,
    /// Strings and fields that are incremented and read, nothing else.
    pub counters: u64,
    /// Strings and hashes that vanish.
    pub expiring: u64,
    /// Several keys of a slot in one step.
    pub transactions: u64,
    /// Strings that are written once.
    pub once: u64,
}

impl Mix {
    /// Everything, with times to live from `from_ms` to `to_ms`.
    #[must_use]
    pub fn everything(keys: usize, from_ms: u64, to_ms: u64) -> Self {
        Self {
            prefix: String::new(),
            keys,
            ttl_ms: (from_ms, to_ms),
            strings: 25,
            hashes: 25,
            counters: 15,
            expiring: 15,
            transactions: 15,
            once: 5,
        }
    }
}

/// The steps of one client.
#[derive(Clone, Debug)]
pub struct Program {
    client: u64,
    mix: Mix,
    written: u64,
}

impl Program {
    /// The program of a client; no two of a test have the same number.
    #[must_use]
    pub const fn new(client: u64, mix: Mix) -> Self {
        Self {
            client,
            mix,
            written: 0,
        }
    }

    /// The next step.
    pub fn next(&mut self, random: &mut Random) -> Step {
        let kinds: [(u64, Kind); 6] = [
            (self.mix.strings, Self::string),
            (self.mix.hashes, Self::hash),
            (self.mix.counters, Self::counter),
            (self.mix.expiring, Self::expiring),
            (self.mix.transactions, Self::tagged),
            (self.mix.once, Self::once),
        ];
        let total = kinds.iter().map(|(weight, _)| weight).sum::<u64>();
        let mut at = random.next() % total.max(1);
        for (weight, make) in kinds {
            if at < weight {
                return make(self, random);
            }
            at -= weight;
        }
        self.once(random)
    }

    fn string(&mut self, random: &mut Random) -> Step {
        let key = self.key("string", random);
        let value = self.value();
        single(&match random.below(100) {
            0..20 => format!("SET {key} {value}"),
            20..25 => format!("SET {key} {value} GET"),
            25..30 => format!("SET {key} {value} NX"),
            30..35 => format!("SET {key} {value} XX"),
            35..40 => format!("APPEND {key} {value}"),
            40..50 => format!("DEL {key}"),
            50..54 => format!("EXISTS {key}"),
            54..58 => format!("STRLEN {key}"),
            58..59 => format!("HSET {key} f {value}"),
            59..60 => format!("INCR {key}"),
            _ => format!("GET {key}"),
        })
    }

    fn hash(&mut self, random: &mut Random) -> Step {
        let key = self.key("hash", random);
        let (value, more) = (self.value(), self.value());
        let field = random.pick(&["a", "b", "c", "d"]);
        let by = random.between(1, 9);
        single(&match random.below(100) {
            0..20 => format!("HSET {key} {field} {value}"),
            20..28 => format!("HSET {key} a {value} b {more}"),
            28..34 => format!("HSETNX {key} {field} {value}"),
            34..40 => format!("HINCRBY {key} n {by}"),
            40..48 => format!("HDEL {key} {field}"),
            48..50 => format!("HDEL {key} a b n"),
            50..53 => format!("DEL {key}"),
            53..58 => format!("HLEN {key}"),
            58..78 => format!("HGETALL {key}"),
            78..79 => format!("HINCRBY {key} {field} 1"),
            79..80 => format!("GET {key}"),
            _ => format!("HGET {key} {field}"),
        })
    }

    fn counter(&mut self, random: &mut Random) -> Step {
        let (key, hits) = (self.key("counter", random), self.key("hits", random));
        let by = random.between(2, 9);
        single(&match random.below(100) {
            0..35 => format!("INCR {key}"),
            35..40 => format!("INCRBY {key} {by}"),
            40..60 => format!("GET {key}"),
            60..85 => format!("HINCRBY {hits} n {by}"),
            _ => format!("HGET {hits} n"),
        })
    }

    fn expiring(&mut self, random: &mut Random) -> Step {
        let value = self.value();
        let ttl = random.between(self.mix.ttl_ms.0, self.mix.ttl_ms.1);
        if random.percent(30) {
            return self.vanishing_fields(random);
        }
        if random.percent(40) {
            let key = self.key("vanishing-hash", random);
            return single(&match random.below(100) {
                0..30 => format!("HSET {key} a {value}"),
                30..50 => format!("PEXPIRE {key} {ttl}"),
                50..55 => format!("PERSIST {key}"),
                55..60 => format!("HDEL {key} a"),
                _ => format!("HGETALL {key}"),
            });
        }
        let key = self.key("vanishing", random);
        single(&match random.below(100) {
            0..20 => format!("SET {key} {value} PX {ttl}"),
            20..25 => format!("SET {key} {value} NX PX {ttl}"),
            25..30 => format!("SET {key} {value}"),
            30..35 => format!("SET {key} {value} KEEPTTL"),
            35..45 => format!("PEXPIRE {key} {ttl}"),
            45..50 => format!("PERSIST {key}"),
            50..60 => format!("PTTL {key}"),
            _ => format!("GET {key}"),
        })
    }

    /// A hash of two fields that vanish, each by itself.
    fn vanishing_fields(&mut self, random: &mut Random) -> Step {
        let key = self.key("vanishing-fields", random);
        let (value, other) = (self.value(), self.value());
        let ttl = random.between(self.mix.ttl_ms.0, self.mix.ttl_ms.1);
        let field = random.pick(&["a", "b"]);
        single(&match random.below(100) {
            0..15 => format!("HSETEX {key} PX {ttl} FIELDS 1 {field} {value}"),
            15..25 => format!("HSET {key} {field} {value}"),
            25..35 => format!("HPEXPIRE {key} {ttl} FIELDS 1 {field}"),
            35..40 => format!("HPERSIST {key} FIELDS 1 {field}"),
            40..50 => format!("HPTTL {key} FIELDS 1 {field}"),
            50..55 => format!("HCAS {key} NIL none {field} none {value}"),
            55..57 => format!("HCAS {key} NIL none {field} {value} {other}"),
            57..60 => format!("HDEL {key} {field}"),
            60..65 => format!("HLEN {key}"),
            65..75 => format!("HGET {key} {field}"),
            _ => format!("HGETALL {key}"),
        })
    }

    /// Three keys of one tag, of which two are always written together.
    fn tagged(&mut self, random: &mut Random) -> Step {
        let tag = format!("{}{{tag:{}}}", self.mix.prefix, random.below(self.mix.keys));
        let value = self.value();
        let watch = if random.percent(50) {
            words(&format!("{tag}{}", random.pick(&["a", "n"])))
        } else {
            vec![]
        };
        let commands = match random.below(100) {
            0..30 => vec![format!("SET {tag}a {value}"), format!("SET {tag}b {value}")],
            30..45 => vec![format!("INCR {tag}n"), format!("SET {tag}a {value}")],
            45..60 => vec![
                format!("GET {tag}a"),
                format!("GET {tag}b"),
                format!("GET {tag}n"),
            ],
            60..65 => vec![format!("DEL {tag}a {tag}b"), format!("INCR {tag}n")],
            65..70 => vec![format!("GET {tag}a"), format!("INCR {tag}a")],
            70..75 => return single(&format!("MSET {tag}a {value} {tag}b {value}")),
            75..80 => return single(&format!("SET {tag}a {value}")),
            _ => return single(&format!("MGET {tag}a {tag}b {tag}n")),
        };
        let commands = commands.iter().map(|command| words(command)).collect();
        Step::Transaction { watch, commands }
    }

    fn once(&mut self, _: &mut Random) -> Step {
        let value = self.value();
        single(&format!("SET {}once:{value} {value}", self.mix.prefix))
    }

    fn key(&self, kind: &str, random: &mut Random) -> String {
        format!("{}{kind}:{}", self.mix.prefix, random.below(self.mix.keys))
    }

    fn value(&mut self) -> String {
        self.written += 1;
        format!("{:04}-{:07}", self.client, self.written)
    }
}

fn single(line: &str) -> Step {
    Step::Single(words(line))
}

fn words(line: &str) -> Vec<Bytes> {
    let words = line.split(' ');
    words
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn steps(seed: u64) -> Vec<Step> {
        let mut random = Random::new(seed);
        let mut program = Program::new(7, Mix::everything(3, 10, 50));
        (0..5000).map(|_| program.next(&mut random)).collect()
    }

    #[test]
    fn a_seed_has_one_program() {
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }

    #[test]
    fn steps_are_of_the_model_and_of_every_kind() {
        let mut names = BTreeSet::new();
        let (mut watched, mut joint) = (0, 0);
        for step in steps(3) {
            let op = step.op();
            watched += usize::from(!op.watched().is_empty());
            joint += usize::from(op.commands().len() > 1);
            names.extend(op.commands().iter().map(|command| command.argv[0].clone()));
        }
        let expect = [
            "APPEND", "DEL", "EXISTS", "GET", "HCAS", "HDEL", "HGET", "HGETALL", "HINCRBY", "HLEN",
            "HPERSIST", "HPEXPIRE", "HPTTL", "HSET", "HSETEX", "HSETNX", "INCR", "INCRBY", "MGET",
            "MSET", "PERSIST", "PEXPIRE", "PTTL", "SET", "STRLEN",
        ];
        assert_eq!(names, expect.map(Bytes::from).into());
        assert!(watched > 100 && joint > 300, "{watched} {joint}");
    }

    #[test]
    fn no_value_is_written_twice() {
        let mut seen = BTreeSet::new();
        for step in steps(4) {
            let mut op = step.op();
            let commands = op.commands_mut().iter_mut();
            let values = commands.flat_map(|command| command.values_mut());
            let values: BTreeSet<_> = values.map(|value| value.clone()).collect();
            for value in values {
                assert!(seen.insert(value), "{step:?}");
            }
        }
        assert!(seen.len() > 1000);
    }
}
