//! A history cut into parts that have no key in common, each made ready for the search.
//!
//! Left out is what cannot matter: operations that were refused, and unknown ones that write
//! nothing or came after the last answer. Values that no answer ever showed are blotted out, so
//! that states which differ only in them are one state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use dht_proto::Reply;

use super::answer::bulk;
use super::command::{Command, Verb};
use super::history::{History, Op, Operation, Outcome};
use super::model::{Event, Interval, Span};

/// What a blotted value is made of. A value that contains it stays as it is.
pub const BLOT: u8 = 0xff;

/// Operations on keys that have nothing to do with the other keys.
#[derive(Debug, Default)]
pub struct Part {
    /// The keys, in order.
    pub keys: Vec<Bytes>,
    /// What is done, by the time of its return.
    pub known: Vec<Event>,
    /// For each of these, which of them its client asked for just before.
    pub before: Vec<Option<usize>>,
    /// What may have happened, by the time of its call.
    pub unknown: Vec<Event>,
    /// For each of these, an earlier one that does just the same.
    pub twin: Vec<Option<usize>>,
}

/// The parts of a history, in the order of their first keys.
#[must_use]
pub fn partition(history: &History, clock_error_us: u64) -> Vec<Part> {
    let kept = relevant(history);
    let mut groups: BTreeMap<Bytes, Vec<Kept<'_>>> = BTreeMap::new();
    let mut roots = Roots::of(&kept);
    for kept in kept {
        if let Some(key) = kept.operation.what.keys().next() {
            groups.entry(roots.find(key)).or_default().push(kept);
        }
    }
    let parts = groups.into_values();
    parts
        .map(|group| Part::new(&group, clock_error_us))
        .collect()
}

/// An operation that matters.
struct Kept<'a> {
    operation: &'a Operation,
    /// Where it stands in the history.
    index: usize,
    /// What a transaction and the WATCHes before it have in common.
    watch: Option<usize>,
}

/// Without what had no effect, and without watches that no transaction asked about. A WATCH that
/// is not known to have happened is as none.
fn relevant(history: &History) -> Vec<Kept<'_>> {
    let mut watches: Vec<Option<usize>> = vec![None; history.operations.len()];
    let mut waiting: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, operation) in history.operations.iter().enumerate() {
        match (&operation.what, &operation.outcome) {
            (Op::Watch(_), Outcome::Done { .. }) => {
                waiting.entry(operation.client).or_default().push(index);
            }
            (Op::Transaction { .. }, _) => {
                let before = waiting.remove(&operation.client).unwrap_or_default();
                if let Some(first) = before.first() {
                    for member in before.iter().chain([&index]) {
                        watches[*member] = Some(*first);
                    }
                }
            }
            _ => {}
        }
    }
    let operations = history.operations.iter().zip(watches).enumerate();
    let kept = operations.map(|(index, (operation, watch))| Kept {
        operation,
        index,
        watch,
    });
    kept.filter(Kept::matters).collect()
}

impl Kept<'_> {
    fn matters(&self) -> bool {
        match (&self.operation.what, &self.operation.outcome) {
            (_, Outcome::NotDone) => false,
            (Op::Watch(_), _) => self.watch.is_some(),
            (_, Outcome::Done { .. }) => true,
            (op, Outcome::Unknown) => !op.is_read(),
        }
    }

    fn event(&self, clock_error_us: u64) -> Event {
        let done = self.operation.done();
        let span = Span {
            from_us: self.operation.call_us,
            to_us: done.map_or(u64::MAX, |(_, return_us)| return_us),
        };
        let mut op = self.operation.what.clone();
        for command in op.commands_mut() {
            command.argv.clear();
        }
        Event {
            index: self.index,
            client: self.operation.client,
            watch: self.watch,
            op,
            during: Interval {
                span,
                clock_error_us,
            },
            reply: done.map(|(reply, _)| reply.clone()),
        }
    }
}

/// Which keys are tied together by operations on several of them, and by which key each such group
/// goes.
struct Roots(BTreeMap<Bytes, Bytes>);

impl Roots {
    fn of(kept: &[Kept<'_>]) -> Self {
        let mut roots = Self(BTreeMap::new());
        for kept in kept {
            let mut keys = kept.operation.what.keys();
            if let Some(first) = keys.next() {
                keys.for_each(|key| roots.tie(first, key));
            }
        }
        roots
    }

    fn find(&mut self, key: &Bytes) -> Bytes {
        let mut root = key;
        while let Some(next) = self.0.get(root) {
            root = next;
        }
        let root = root.clone();
        if root != key {
            self.0.insert(key.clone(), root.clone());
        }
        root
    }

    fn tie(&mut self, a: &Bytes, b: &Bytes) {
        let (a, b) = (self.find(a), self.find(b));
        if a != b {
            self.0.insert(a.clone().max(b.clone()), a.min(b));
        }
    }
}

impl Part {
    fn new(kept: &[Kept<'_>], clock_error_us: u64) -> Self {
        let keys = kept.iter().flat_map(|kept| kept.operation.what.keys());
        let keys: BTreeSet<_> = keys.cloned().collect();
        let events = kept.iter().map(|kept| kept.event(clock_error_us));
        let (known, unknown) = events.partition(|event| event.reply.is_some());
        let mut part = Self {
            keys: keys.into_iter().collect(),
            unknown,
            ..Self::default()
        };
        part.set_known(known);
        part.unknown.sort_by_key(|event| event.during.span.from_us);
        let last_us = part.known.last().map_or(0, |event| event.during.span.to_us);
        part.unknown
            .retain(|event| event.during.span.from_us <= last_us);
        part.blot();
        part.set_twins();
        part
    }

    /// Sorts what is done by its return, and remembers in which order each client asked.
    fn set_known(&mut self, events: Vec<Event>) {
        let mut last_of = HashMap::new();
        let asked_before: Vec<Option<usize>> = (0..events.len())
            .map(|asked| last_of.insert(events[asked].client, asked))
            .collect();
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|asked| events[*asked].during.span.to_us);
        let mut place = vec![0; order.len()];
        for (sorted, asked) in order.iter().enumerate() {
            place[*asked] = sorted;
        }
        let before = |asked: &usize| asked_before[*asked].map(|before| place[before]);
        self.before = order.iter().map(before).collect();
        self.known = order.iter().map(|asked| events[*asked].clone()).collect();
    }

    /// Finds unknown operations that are alike: which of them took effect makes no difference,
    /// unless the time of the call sets a deadline.
    fn set_twins(&mut self) {
        let mut last_of: HashMap<(Option<usize>, &Op), usize> = HashMap::new();
        for (index, event) in self.unknown.iter().enumerate() {
            let commands = event.op.commands();
            let earlier = if commands.iter().any(Command::sets_ttl) {
                None
            } else {
                last_of.insert((event.watch, &event.op), index)
            };
            self.twin.push(earlier);
        }
    }

    /// Blots out the values that nobody saw. What a command answers does not depend on them, as
    /// long as their length stays and they are no part of a number.
    fn blot(&mut self) {
        let seen = Seen::of(&self.known);
        if seen.has_blots() {
            return;
        }
        for event in self.known.iter_mut().chain(&mut self.unknown) {
            let commands = event.op.commands_mut().iter_mut();
            for value in commands.flat_map(Command::values_mut) {
                if !is_numeric(value) && !seen.contains(value) {
                    *value = Bytes::from(vec![BLOT; value.len()]);
                }
            }
        }
    }
}

/// Whether a number may be made of such pieces.
fn is_numeric(value: &[u8]) -> bool {
    let mut bytes = value.iter();
    bytes.all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

/// The byte strings of all answers.
#[derive(Default)]
struct Seen {
    whole: BTreeSet<Bytes>,
    /// Whether a value may be seen as a piece of a longer one.
    appended: bool,
}

impl Seen {
    fn of(events: &[Event]) -> Self {
        let mut commands = events.iter().flat_map(|event| event.op.commands());
        let mut seen = Self {
            whole: BTreeSet::new(),
            appended: commands.any(|command| matches!(command.verb, Verb::Append(_))),
        };
        let replies = events.iter().filter_map(|event| event.reply.as_ref());
        replies.for_each(|reply| seen.add(reply));
        seen
    }

    fn add(&mut self, reply: &Reply) {
        match reply {
            Reply::Array(replies) => replies.iter().for_each(|reply| self.add(reply)),
            Reply::Map(pairs) => pairs.iter().for_each(|(field, value)| {
                self.add(field);
                self.add(value);
            }),
            reply => self.whole.extend(bulk(reply).cloned()),
        }
    }

    fn has_blots(&self) -> bool {
        self.whole.iter().any(|bytes| bytes.contains(&BLOT))
    }

    fn contains(&self, value: &Bytes) -> bool {
        let is_piece = |whole: &Bytes| {
            whole.len() > value.len() && whole.windows(value.len()).any(|piece| piece == value)
        };
        self.whole.contains(value) || self.appended && self.whole.iter().any(is_piece)
    }
}
