//! Increments count once: at the end a counter holds every acknowledged one, and no more besides
//! than those whose outcome is unknown.
//!
//! A counter is a string or a field that is only incremented and read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dht_proto::Reply;

use super::command::{Verb, integer, show};
use super::finals::{Finals, Place};
use super::history::{Effect, History};

/// A counter that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It holds too much or too little.
    Sum {
        /// Which.
        place: Place,
        /// The number at the end; none if it is no number.
        found: Option<i64>,
        /// The least that it may be.
        least: i64,
        /// The most that it may be.
        most: i64,
    },
    /// Two increments were answered alike, although all of them count up.
    Twice {
        /// Which.
        place: Place,
        /// The answer.
        reply: i64,
    },
}

/// What was counted.
#[derive(Default)]
struct Counter {
    acknowledged: i64,
    unknown_up: i64,
    unknown_down: i64,
    replies: Vec<i64>,
    counts_down: bool,
}

/// Compares the counters at the end with the increments; gives the number of acknowledged ones.
///
/// # Errors
/// What is wrong, counter by counter.
pub fn check(history: &History, finals: &Finals) -> Result<usize, Vec<Fault>> {
    let mut counted = 0;
    let mut faults = Vec::new();
    for (place, counter) in counters(history) {
        counted += counter.replies.len();
        faults.extend(twice(&place, &counter));
        if finals.has_read(&place.0) {
            faults.extend(sum(&place, &counter, finals));
        }
    }
    if faults.is_empty() {
        return Ok(counted);
    }
    Err(faults)
}

fn twice(place: &Place, counter: &Counter) -> Option<Fault> {
    let mut seen = BTreeSet::new();
    let mut replies = counter.replies.iter().filter(|_| !counter.counts_down);
    let reply = *replies.find(|reply| !seen.insert(**reply))?;
    Some(Fault::Twice {
        place: place.clone(),
        reply,
    })
}

fn sum(place: &Place, counter: &Counter, finals: &Finals) -> Option<Fault> {
    let found = finals.get(place).map_or(Some(0), |text| integer(text));
    let least = counter.acknowledged + counter.unknown_down;
    let most = counter.acknowledged + counter.unknown_up;
    let is_right = found.is_some_and(|found| (least..=most).contains(&found));
    (!is_right).then(|| Fault::Sum {
        place: place.clone(),
        found,
        least,
        most,
    })
}

/// Every place that is only incremented and read.
fn counters(history: &History) -> BTreeMap<Place, Counter> {
    let mut counters: BTreeMap<Place, Counter> = BTreeMap::new();
    let mut others = BTreeSet::new();
    for effect in history.effects() {
        match incremented(&effect) {
            Some((place, by)) => counters.entry(place).or_default().add(by, effect.reply),
            None => others.extend(written(&effect)),
        }
    }
    counters.retain(|(key, field), _| {
        let whole = (key.clone(), None);
        !others.contains(&whole) && !others.contains(&(key.clone(), field.clone()))
    });
    counters
}

impl Counter {
    fn add(&mut self, by: i64, reply: Option<&Reply>) {
        self.counts_down |= by <= 0;
        match reply {
            None => {
                self.unknown_up += by.max(0);
                self.unknown_down += by.min(0);
            }
            Some(reply) => {
                self.acknowledged += by;
                if let Reply::Int(n) = reply {
                    self.replies.push(*n);
                }
            }
        }
    }
}

fn incremented(effect: &Effect<'_>) -> Option<(Place, i64)> {
    let key = effect.command.keys.first()?.clone();
    match &effect.command.verb {
        Verb::Add(by) => Some(((key, None), *by)),
        Verb::HashAdd(field, by) => Some(((key, Some(field.clone())), *by)),
        _ => None,
    }
}

/// What another command writes: fields, or whole keys.
fn written(effect: &Effect<'_>) -> Vec<Place> {
    let command = effect.command;
    let key = || command.keys[0].clone();
    match &command.verb {
        _ if command.is_read() => vec![],
        Verb::HashSet(pairs) => {
            let pairs = pairs.iter();
            pairs
                .map(|(field, _)| (key(), Some(field.clone())))
                .collect()
        }
        Verb::HashSetNew(field, _) | Verb::HashSetTtl(field, ..) | Verb::HashSwap(field, ..) => {
            vec![(key(), Some(field.clone()))]
        }
        Verb::HashDelete(fields) => {
            let fields = fields.iter();
            fields.map(|field| (key(), Some(field.clone()))).collect()
        }
        _ => command.keys.iter().map(|key| (key.clone(), None)).collect(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, field): &Place| {
            let words: Vec<_> = [key].into_iter().chain(field).cloned().collect();
            show(&words)
        };
        match self {
            Self::Sum {
                place,
                found,
                least,
                most,
            } => {
                let found = found.map_or("no number".to_owned(), |found| found.to_string());
                write!(
                    f,
                    "counter {} is {found}, not {least} to {most}",
                    shown(place)
                )
            }
            Self::Twice { place, reply } => {
                write!(f, "counter {}: {reply} was answered twice", shown(place))
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
        assert_eq!(shown, expect.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn the_sum_lies_between_the_acknowledged_and_the_unknown() {
        let text = "1 0..1 INCR n -> 1\n 1 2..3 INCRBY n 5 -> 6\n 2 0.. INCRBY n 3\n 2 4.. INCR n";
        check(text, "GET n -> '6'", Ok(2));
        check(text, "GET n -> '10'", Ok(2));
        check(text, "GET n -> '11'", Err("counter n is 11, not 6 to 10"));
        check(text, "GET n -> '5'", Err("counter n is 5, not 6 to 10"));
        check(text, "GET n -> nil", Err("counter n is 0, not 6 to 10"));
        check(
            text,
            "GET n -> x",
            Err("counter n is no number, not 6 to 10"),
        );
        check(text, "", Ok(2));
    }

    #[test]
    fn no_number_is_answered_twice() {
        let text = "1 0..1 HINCRBY h n 2 -> 2\n 2 0.. HINCRBY h n 1\n 3 4..5 HINCRBY h n 1 -> 2";
        check(
            text,
            "HGETALL h -> [n '3']",
            Err("counter h n: 2 was answered twice"),
        );
        let text = "1 0..1 INCR n -> 1\n 1 2..3 DECR n -> 0\n 2 4..5 INCR n -> 1";
        check(text, "GET n -> '1'", Ok(3));
    }

    #[test]
    fn what_is_written_otherwise_is_no_counter() {
        let text = "1 0..1 INCR n -> 1\n 1 2..3 SET n 7 -> OK\n 1 4..5 DEL h -> 0";
        check(text, "GET n -> '7'", Ok(0));
        let text = "1 0..1 HINCRBY h n 1 -> 1\n 1 2..3 HSET h f v -> 1";
        check(
            text,
            "HGETALL h -> [n '2' f v]",
            Err("counter h n is 2, not 1 to 1"),
        );
        check(
            &format!("{text}\n 1 4..5 DEL h -> 1"),
            "HGETALL h -> [n '9']",
            Ok(0),
        );
        check("1 0..1 INCR n -> -TRYAGAIN x", "GET n -> nil", Ok(0));
    }
}
