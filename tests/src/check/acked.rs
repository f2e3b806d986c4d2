//! No acknowledged write is lost: what is found at the end is the last write, or one that may have
//! come after it.
//!
//! Looks at each value by itself and in one pass, so it also judges histories that are too long
//! for [`super::linear`]. It relies on values that are written once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use dht_proto::Reply;

use super::command::{Command, Set, Verb, show};
use super::finals::{Finals, Place};
use super::history::{Effect, History, Operation};

/// Something that should not be so at the end.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A write was acknowledged, and what is found is older.
    Lost {
        /// Where.
        place: Place,
        /// What is there instead.
        found: Option<Bytes>,
        /// The last acknowledged write.
        write: Box<Operation>,
    },
    /// Nobody wrote this.
    NeverWritten {
        /// Where.
        place: Place,
        /// What is there.
        found: Bytes,
    },
}

/// Compares what is found at the end with what was acknowledged; gives the number of acknowledged
/// writes that were compared. Left out are values that are not written as a whole, such as those
/// appended to.
///
/// # Errors
/// What is wrong, place by place.
pub fn check(history: &History, finals: &Finals) -> Result<usize, Vec<Fault>> {
    let register = Registers::of(history);
    let mut acknowledged = 0;
    let mut faults = Vec::new();
    for (place, writes) in &register.writes {
        if register.is_judged(place) && finals.has_read(&place.0) {
            let may_vanish = register.vanishing.contains(&place.0);
            faults.extend(judge(place, writes, may_vanish, finals.get(place)));
            acknowledged += writes
                .iter()
                .filter(|write| write.is_acknowledged())
                .count();
        }
    }
    for (place, found) in finals.found() {
        if register.is_judged(place) && !register.writes.contains_key(place) {
            faults.push(Fault::NeverWritten {
                place: place.clone(),
                found: found.clone(),
            });
        }
    }
    if faults.is_empty() {
        return Ok(acknowledged);
    }
    Err(faults)
}

/// A value that a place was given; none if it was removed.
struct Write<'a> {
    value: Option<Bytes>,
    operation: &'a Operation,
}

impl Write<'_> {
    fn is_acknowledged(&self) -> bool {
        self.operation.done().is_some()
    }

    fn return_us(&self) -> u64 {
        self.operation
            .done()
            .map_or(u64::MAX, |(_, return_us)| return_us)
    }
}

fn judge(
    place: &Place,
    writes: &[Write<'_>],
    may_vanish: bool,
    found: Option<&Bytes>,
) -> Option<Fault> {
    let acknowledged = writes.iter().filter(|write| write.is_acknowledged());
    let last = acknowledged.max_by_key(|write| write.operation.call_us);
    let is_not_before_last = |return_us| {
        let last = last.map(|write| write.operation.call_us);
        last.is_none_or(|call_us| call_us <= return_us)
    };
    let mut same = writes
        .iter()
        .filter(|write| write.value.as_ref() == found)
        .peekable();
    let was_written = same.peek().is_some();
    let as_at_first = found.is_none() && (may_vanish || last.is_none());
    if as_at_first || same.any(|write| is_not_before_last(write.return_us())) {
        return None;
    }
    match (found, last) {
        (Some(found), _) if !was_written => Some(Fault::NeverWritten {
            place: place.clone(),
            found: found.clone(),
        }),
        (_, last) => last.map(|write| Fault::Lost {
            place: place.clone(),
            found: found.cloned(),
            write: Box::new(write.operation.clone()),
        }),
    }
}

/// What was written where.
#[derive(Default)]
struct Registers<'a> {
    writes: BTreeMap<Place, Vec<Write<'a>>>,
    /// Removals of whole keys, which remove their fields.
    removed: BTreeMap<Bytes, Vec<&'a Operation>>,
    /// Keys that had a time to live once.
    vanishing: BTreeSet<Bytes>,
    /// Values that were changed, not written.
    changed: BTreeSet<Place>,
}

impl<'a> Registers<'a> {
    fn of(history: &'a History) -> Self {
        let mut registers = Self::default();
        for effect in history.effects() {
            registers.add(&effect);
        }
        for (place, writes) in &mut registers.writes {
            let removed = registers.removed.get(&place.0).into_iter().flatten();
            writes.extend(removed.map(|operation| Write {
                value: None,
                operation,
            }));
        }
        registers
    }

    fn is_judged(&self, place: &Place) -> bool {
        !self.changed.contains(place)
    }

    fn add(&mut self, effect: &Effect<'a>) {
        let command = effect.command;
        let Some(key) = command.keys.first() else {
            return;
        };
        if command.sets_ttl() {
            self.vanishing.insert(key.clone());
        }
        let operation = effect.operation;
        let mut write = |key: &Bytes, field: Option<&Bytes>, value: Option<&Bytes>| {
            let place = (key.clone(), field.cloned());
            let value = value.cloned();
            let writes = self.writes.entry(place).or_default();
            writes.push(Write { value, operation });
        };
        match &command.verb {
            Verb::Set(set) if !was_set(set, effect.reply) => {}
            Verb::Set(set) => write(key, None, Some(&set.value)),
            Verb::SetMany(values) => {
                let pairs = command.keys.iter().zip(values);
                pairs.for_each(|(key, value)| write(key, None, Some(value)));
            }
            Verb::HashSetNew(..) if effect.reply == Some(&Reply::Int(0)) => {}
            Verb::HashSetNew(field, value) => write(key, Some(field), Some(value)),
            Verb::HashSet(pairs) => {
                let pairs = pairs.iter();
                pairs.for_each(|(field, value)| write(key, Some(field), Some(value)));
            }
            Verb::HashDelete(fields) => {
                fields
                    .iter()
                    .for_each(|field| write(key, Some(field), None));
            }
            Verb::Delete => self.remove(command, operation),
            Verb::Append(_) | Verb::Add(_) => {
                self.changed.insert((key.clone(), None));
            }
            Verb::HashSetTtl(field, value, _) => write(key, Some(field), Some(value)),
            Verb::HashAdd(field, _) | Verb::HashSwap(field, ..) => {
                self.changed.insert((key.clone(), Some(field.clone())));
            }
            _ => {}
        }
    }

    fn remove(&mut self, command: &Command, operation: &'a Operation) {
        for key in &command.keys {
            self.removed.entry(key.clone()).or_default().push(operation);
        }
    }
}

/// Whether a SET took place, or may have.
fn was_set(set: &Set, reply: Option<&Reply>) -> bool {
    let Some(reply) = reply else {
        return true;
    };
    match (set.present, set.get) {
        (None, _) => true,
        (Some(_), false) => *reply != Reply::Nil,
        // The answer is the value before.
        (Some(present), true) => present == (*reply != Reply::Nil),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, field): &Place| {
            let words: Vec<_> = [key].into_iter().chain(field).cloned().collect();
            show(&words)
        };
        match self {
            Self::Lost {
                place,
                found: Some(found),
                write,
            } => {
                let found = show(std::slice::from_ref(found));
                write!(f, "{} is {found} again after {write}", shown(place))
            }
            Self::Lost { place, write, .. } => {
                write!(f, "{} is not there after {write}", shown(place))
            }
            Self::NeverWritten { place, found } => {
                let found = show(std::slice::from_ref(found));
                write!(f, "{} is {found}, which nobody wrote", shown(place))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{finals, history};

    #[track_caller]
    fn check(text: &str, found: &str, expect: Result<usize, &str>) {
        let checked = super::check(&history(text), &finals(found));
        let shown = checked.map_err(|faults| faults[0].to_string());
        match (&shown, expect) {
            (Ok(found), Ok(expect)) if *found == expect => {}
            (Err(fault), Err(expect)) if fault.contains(expect) => {}
            _ => panic!("{text}\n{shown:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn the_last_write_is_found() {
        let text = "1 0..1 SET k a -> OK\n 1 2..3 SET k b -> OK";
        check(text, "GET k -> b", Ok(2));
        check(text, "GET k -> a", Err("k is a again after"));
        check(text, "GET k -> nil", Err("k is not there after"));
        check(text, "GET k -> c", Err("nobody wrote"));
        check(text, "", Ok(0));
    }

    #[test]
    fn of_writes_beside_each_other_either_may_be_last() {
        let text = "1 0..5 SET k a -> OK\n 2 1..3 SET k b -> OK";
        check(text, "GET k -> a", Ok(2));
        check(text, "GET k -> b", Ok(2));
        check(text, "GET k -> nil", Err("not there"));
    }

    #[test]
    fn an_unknown_write_may_come_last() {
        let text = "1 0.. SET k a\n 2 1..3 SET k b -> OK\n 2 4..5 SET k x NX -> nil";
        check(text, "GET k -> a", Ok(1));
        check(text, "GET k -> b", Ok(1));
        check(text, "GET k -> x", Err("nobody wrote"));
        check("1 0.. SET k a", "GET k -> nil", Ok(0));
        check("1 0..1 SET k a -> OK\n 1 2.. DEL k", "GET k -> nil", Ok(1));
        check("1 2.. DEL k\n 1 3..4 SET k a -> OK", "GET k -> nil", Ok(1));
    }

    #[test]
    fn fields_are_judged_apart() {
        let text = "1 0..1 HSET h f a g b -> 2\n 1 2..3 HDEL h g -> 1\n 1 4..5 HSETNX h f x -> 0";
        check(text, "HGETALL h -> [f a]", Ok(3));
        check(text, "HGETALL h -> [f a g b]", Err("h g is b again after"));
        check(text, "HGETALL h -> []", Err("h f is not there after"));
        check(
            text,
            "HGETALL h -> [f a z z]",
            Err("h z is z, which nobody wrote"),
        );
        let text = "1 0..1 HSET h f a -> 1\n 1 2..3 DEL h -> 1";
        check(text, "HGETALL h -> []", Ok(2));
        check(text, "HGETALL h -> [f a]", Err("h f is a again after"));
    }

    #[test]
    fn what_lives_for_a_time_may_be_gone() {
        let text = "1 0..1 SET k a -> OK\n 1 2..3 PEXPIRE k 5 -> 1\n 1 4..5 SET k b KEEPTTL -> OK";
        check(text, "GET k -> nil", Ok(2));
        check(text, "GET k -> b", Ok(2));
        check(text, "GET k -> a", Err("again"));
    }

    #[test]
    fn transactions_count_and_what_is_changed_does_not() {
        let text = "1 0..1 MULTI; SET {t}k a; INCR {t}n; EXEC -> [OK 1]";
        check(
            text,
            "GET {t}k -> nil\n GET {t}n -> nil",
            Err("{t}k is not there"),
        );
        check(text, "GET {t}k -> a\n GET {t}n -> nil", Ok(1));
        let aborted = "1 0..1 k WATCHED; MULTI; SET k a; EXEC -> nil";
        check(aborted, "GET k -> nil", Ok(0));
        check(aborted, "GET k -> a", Err("nobody wrote"));
    }
}
