//! Where a search for an order got stuck, in as few lines as show why.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use dht_proto::Reply;

use super::answer::bulk;
use super::command::show;
use super::history::{History, Operation};
use super::model::{Event, State};
use super::partition::{BLOT, Part};

/// At most so many operations of a kind are shown, the last ones.
const SHOWN: usize = 8;

/// The first answer, in the order of returns, that nothing explains.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// The keys that are tied together.
    pub keys: Vec<Bytes>,
    /// The operation whose answer fits no state.
    pub operation: Operation,
    /// What went on at the same time or just before, or has to do with the answer; by call.
    pub around: Vec<Operation>,
    /// The states that the operation may have found, had nothing more happened before it.
    pub states: Vec<State>,
}

impl Stuck {
    /// The operations of a part up to the known one at `stuck`, and the states there.
    pub(super) fn new<'a>(
        history: &History,
        part: &Part,
        stuck: usize,
        states: impl Iterator<Item = &'a State>,
    ) -> Self {
        let event = &part.known[stuck.min(part.known.len() - 1)];
        let around = around(history, part, event);
        Self {
            keys: part.keys.clone(),
            operation: history.operations[event.index].clone(),
            around: around
                .into_iter()
                .map(|index| history.operations[index].clone())
                .collect(),
            states: states.cloned().collect(),
        }
    }
}

/// Which operations of the history help to see what is wrong with an answer.
fn around(history: &History, part: &Part, stuck: &Event) -> BTreeSet<usize> {
    let span = stuck.during.span;
    let is_related = related(history, stuck);
    let known = part.known.iter().filter(|event| event.index != stuck.index);
    let past = known.filter(|event| event.during.span.from_us <= span.to_us);
    let (before, beside): (Vec<&Event>, Vec<&Event>) =
        past.partition(|event| event.during.span.to_us < span.from_us);
    let unknown = part.unknown.iter();
    let unknown = unknown.filter(|event| event.during.span.from_us <= span.to_us);
    let (source, unknown): (Vec<&Event>, Vec<&Event>) = unknown
        .chain(before.iter().copied())
        .partition(|event| is_related(event));
    let unknown: Vec<_> = unknown
        .into_iter()
        .filter(|event| event.reply.is_none())
        .collect();
    let lists = [before, beside, unknown, source];
    let last = lists.iter().flat_map(|list| list.iter().rev().take(SHOWN));
    last.map(|event| event.index).collect()
}

/// Whether an operation wrote what the answer shows.
fn related<'a>(history: &'a History, stuck: &Event) -> impl Fn(&Event) -> bool + 'a {
    let mut shown = BTreeSet::new();
    if let Some(reply) = &stuck.reply {
        collect(reply, &mut shown);
    }
    move |event| {
        let mut commands = history.operations[event.index].what.commands().iter();
        !event.op.is_read()
            && commands.any(|command| {
                let mut words = command.argv.iter().skip(2);
                words.any(|word| shown.contains(word))
            })
    }
}

fn collect(reply: &Reply, shown: &mut BTreeSet<Bytes>) {
    match reply {
        Reply::Array(replies) => replies.iter().for_each(|reply| collect(reply, shown)),
        Reply::Map(pairs) => pairs.iter().for_each(|(field, value)| {
            collect(field, shown);
            collect(value, shown);
        }),
        reply => shown.extend(bulk(reply).cloned()),
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {}: nothing explains", show(&self.keys))?;
        writeln!(f, "  {}", self.operation)?;
        writeln!(f, "before and beside it (times in microseconds):")?;
        for operation in &self.around {
            writeln!(f, "  {operation}")?;
        }
        writeln!(
            f,
            "states that it may have found, or that followed from what was beside it:"
        )?;
        for state in self.states.iter().take(SHOWN) {
            // Values that no answer shows are all alike to the search.
            let blot = format!("\\x{BLOT:02x}");
            writeln!(f, "  {}", state.to_string().replace(&blot, "?"))?;
        }
        if self.states.len() > SHOWN {
            writeln!(f, "  and {} more", self.states.len() - SHOWN)?;
        }
        Ok(())
    }
}
