//! What is there at the end: which keys to read once all is quiet, and what was found in them.

use std::collections::BTreeMap;

use bytes::Bytes;
use dht_proto::Reply;

use super::answer::{bulk, pairs};
use super::command::{Command, Verb};
use super::history::{History, Outcome};

/// A value that is judged by itself: a string, or a field of a hash.
pub type Place = (Bytes, Option<Bytes>);

/// The type that the commands on a key expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    String,
    /// A hash.
    Hash,
}

/// The values found at the end of a run.
#[derive(Clone, Debug, Default)]
pub struct Finals {
    places: BTreeMap<Place, Bytes>,
    keys: BTreeMap<Bytes, Kind>,
}

impl Finals {
    /// The commands that read every key of a history, to be given to [`Finals::add`] with their
    /// answers. Keys that were used as several types are left out.
    #[must_use]
    pub fn reads(history: &History) -> Vec<Vec<Bytes>> {
        let kinds = kinds(history).into_iter();
        let read = |(key, kind): (Bytes, Option<Kind>)| match kind? {
            Kind::String => Some(vec![Bytes::from("GET"), key]),
            Kind::Hash => Some(vec![Bytes::from("HGETALL"), key]),
        };
        kinds.filter_map(read).collect()
    }

    /// What a key was found to hold.
    ///
    /// # Errors
    /// The answer is none to GET or HGETALL.
    pub fn add(&mut self, read: &[Bytes], reply: &Reply) -> Result<(), String> {
        let unexpected = || format!("{read:?} was answered {reply:?}");
        let [name, key] = read else {
            return Err(unexpected());
        };
        let is_string = name == "GET";
        let kind = if is_string { Kind::String } else { Kind::Hash };
        self.keys.insert(key.clone(), kind);
        if !is_string {
            for (field, value) in pairs(reply).ok_or_else(unexpected)? {
                let place = (key.clone(), Some(field.clone()));
                self.places.insert(place, value.clone());
            }
        } else if *reply != Reply::Nil {
            let value = bulk(reply).ok_or_else(unexpected)?;
            self.places.insert((key.clone(), None), value.clone());
        }
        Ok(())
    }

    /// Whether the key was read.
    #[must_use]
    pub fn has_read(&self, key: &Bytes) -> bool {
        self.keys.contains_key(key)
    }

    /// What was found there.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<&Bytes> {
        self.places.get(place)
    }

    /// All that was found.
    pub fn found(&self) -> impl Iterator<Item = (&Place, &Bytes)> {
        self.places.iter()
    }
}

/// The type of each key that was written; none of those used as several.
fn kinds(history: &History) -> BTreeMap<Bytes, Option<Kind>> {
    let mut kinds: BTreeMap<Bytes, Option<Kind>> = BTreeMap::new();
    let operations = history.operations.iter();
    let operations = operations.filter(|operation| operation.outcome != Outcome::NotDone);
    for command in operations.flat_map(|operation| operation.what.commands()) {
        let Some(kind) = kind(command) else {
            continue;
        };
        for key in &command.keys {
            let before = kinds.entry(key.clone()).or_insert(Some(kind));
            if *before != Some(kind) {
                *before = None;
            }
        }
    }
    kinds
}

/// The type that a command needs or makes; none for those of any type.
#[must_use]
pub const fn kind(command: &Command) -> Option<Kind> {
    use Verb::{
        Add, Append, Delete, Exists, Expire, Get, GetMany, HashAdd, HashAll, HashDelete,
        HashExpire, HashGet, HashLen, HashPersist, HashSet, HashSetNew, HashSetTtl, HashSwap,
        HashTtl, Persist, Set, SetMany, Strlen, Ttl,
    };
    match command.verb {
        Get | GetMany | Strlen | Set(_) | SetMany(_) | Append(_) | Add(_) => Some(Kind::String),
        HashSet(_) | HashSetNew(..) | HashGet(_) | HashDelete(_) | HashAll | HashLen
        | HashAdd(..) | HashSetTtl(..) | HashExpire(..) | HashPersist(_) | HashTtl(_)
        | HashSwap(..) => Some(Kind::Hash),
        Delete | Exists | Expire(..) | Persist | Ttl => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{history, words};

    #[test]
    fn every_key_of_one_type_is_read() {
        let history = history(
            "1 0..1 SET a 1 -> OK
             1 2.. HSET b f v
             1 4..5 DEL b -> 1
             1 6..7 SET mixed 1 -> OK
             2 8..9 HGET mixed f -> -WRONGTYPE Operation",
        );
        assert_eq!(
            Finals::reads(&history),
            [words("GET a"), words("HGETALL b")]
        );
    }

    #[test]
    fn what_was_found_is_known_by_its_place() {
        let mut finals = Finals::default();
        let hash = Reply::Map(vec![(Reply::bulk("f"), Reply::bulk("v"))]);
        finals.add(&words("GET a"), &Reply::bulk("x")).unwrap();
        finals.add(&words("GET b"), &Reply::Nil).unwrap();
        finals.add(&words("HGETALL h"), &hash).unwrap();
        assert!(finals.add(&words("GET c"), &Reply::Int(1)).is_err());
        assert_eq!(finals.get(&("a".into(), None)), Some(&"x".into()));
        assert_eq!(finals.get(&("b".into(), None)), None);
        assert!(finals.has_read(&"b".into()));
        assert_eq!(
            finals.get(&("h".into(), Some("f".into()))),
            Some(&"v".into())
        );
        assert_eq!(finals.found().count(), 2);
    }
}
