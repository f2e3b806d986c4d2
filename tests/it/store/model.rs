//! Random commands on the store and on plain maps, with the same answers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Set(u8, usize, Expiry),
    Append(u8, usize),
    HashSet(u8, Vec<(u8, usize)>),
    HashRemove(u8, Vec<u8>),
    Remove(u8),
    SetExpiry(u8, Option<u64>),
    Wait(u64),
    Sweep,
    Clear,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

#[derive(Default)]
pub(super) struct Model {
    keys: Contents,
    pub(super) now: UnixMs,
}

impl Model {
    fn live(&mut self, key: &[u8]) -> Option<&mut (Value, Option<UnixMs>)> {
        let now = self.now;
        let (_, expiry) = self.keys.get(key)?;
        if expiry.is_some_and(|at| now > at) {
            self.keys.remove(key);
        }
        self.keys.get_mut(key)
    }

    fn set(&mut self, key: &[u8], value: Vec<u8>, expiry: Expiry) {
        let old = self.live(key).and_then(|(_, expiry)| *expiry);
        let expiry = match expiry {
            Expiry::Keep => old,
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        self.keys
            .insert(key.to_vec(), (Value::String(value), expiry));
    }

    fn append(&mut self, key: &[u8], tail: &[u8]) -> Option<usize> {
        if self.live(key).is_none() {
            self.set(key, Vec::new(), Expiry::Never);
        }
        match self.live(key) {
            Some((Value::String(head), _)) => {
                head.extend_from_slice(tail);
                Some(head.len())
            }
            _ => None,
        }
    }

    fn hash_set(&mut self, key: &[u8], pairs: &[(Vec<u8>, Vec<u8>)]) -> Option<usize> {
        if self.live(key).is_none() {
            let hash = Value::Hash(BTreeMap::new());
            self.keys.insert(key.to_vec(), (hash, None));
        }
        let Some((Value::Hash(hash), _)) = self.live(key) else {
            return None;
        };
        let before = hash.len();
        hash.extend(pairs.iter().cloned());
        Some(hash.len() - before)
    }

    fn hash_remove(&mut self, key: &[u8], fields: &[Vec<u8>]) -> Option<usize> {
        let Some((value, _)) = self.live(key) else {
            return Some(0);
        };
        let Value::Hash(hash) = value else {
            return None;
        };
        let removed = fields
            .iter()
            .filter(|field| hash.remove(*field).is_some())
            .count();
        if hash.is_empty() {
            self.keys.remove(key);
        }
        Some(removed)
    }
}

fn key(n: u8) -> Vec<u8> {
    if n == 0 {
        Vec::new()
    } else {
        format!("{{{}}}key:{n}", n % 2).into_bytes()
    }
}

fn field(n: u8) -> Vec<u8> {
    if n == 0 {
        Vec::new()
    } else {
        "f".repeat(n.into()).into_bytes()
    }
}

fn value(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n + seed) as u8).collect()
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let key = 0..5u8;
    let len = || prop::sample::select(vec![0, 1, 5, 5, 5, 127, 128, 1000, 4096, 4097, 9000]);
    let at = || 0..400u64;
    let expiry = prop_oneof![
        Just(Expiry::Keep),
        Just(Expiry::Never),
        at().prop_map(Expiry::At)
    ];
    let some = prop::collection::vec((any::<u8>(), len()), 1..4);
    let many = (any::<u8>(), 1..100u8)
        .prop_map(|(from, n)| (0..n).map(|i| (from.wrapping_add(i), 3)).collect());
    let range = (any::<u8>(), 1..150u8)
        .prop_map(|(from, n)| (0..n).map(|i| from.wrapping_add(i)).collect());
    prop_oneof![
        4 => (key.clone(), len(), expiry).prop_map(|(k, len, expiry)| Op::Set(k, len, expiry)),
        4 => (key.clone(), len()).prop_map(|(k, len)| Op::Append(k, len)),
        6 => (key.clone(), some).prop_map(|(k, pairs)| Op::HashSet(k, pairs)),
        6 => (key.clone(), many).prop_map(|(k, pairs)| Op::HashSet(k, pairs)),
        6 => (key.clone(), range).prop_map(|(k, fields)| Op::HashRemove(k, fields)),
        2 => key.clone().prop_map(Op::Remove),
        4 => (key, prop::option::of(at())).prop_map(|(k, at)| Op::SetExpiry(k, at)),
        2 => (1..40u64).prop_map(Op::Wait),
        1 => Just(Op::Sweep),
        1 => Just(Op::Clear),
    ]
}

/// Applies one command to both and compares what they answer.
pub(super) fn apply(store: &Store, model: &mut Model, seed: usize, op: Op) {
    let now = model.now;
    match op {
        Op::Set(k, len, expiry) => {
            let (key, value) = (key(k), value(seed, len));
            write(store, &key, now, |write| {
                write.set_string(&key, &value, expiry)
            })
            .unwrap();
            model.set(&key, value, expiry);
        }
        Op::Append(k, len) => {
            let (key, tail) = (key(k), value(seed, len));
            let answer = write(store, &key, now, |write| write.append(&key, &tail)).ok();
            assert_eq!(answer, model.append(&key, &tail));
        }
        Op::HashSet(k, pairs) => {
            let key = key(k);
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(f, len)| (field(*f), value(seed, *len)))
                .collect();
            let slices: Vec<_> = pairs.iter().map(|(f, v)| (&f[..], &v[..])).collect();
            let answer = write(store, &key, now, |write| write.hash_set(&key, &slices)).ok();
            assert_eq!(answer, model.hash_set(&key, &pairs));
        }
        Op::HashRemove(k, fields) => {
            let key = key(k);
            let fields: Vec<_> = fields.into_iter().map(field).collect();
            let slices: Vec<_> = fields.iter().map(Vec::as_slice).collect();
            let answer = write(store, &key, now, |write| write.hash_remove(&key, &slices)).ok();
            assert_eq!(answer, model.hash_remove(&key, &fields));
        }
        Op::Remove(k) => {
            let key = key(k);
            let answer = write(store, &key, now, |write| write.remove(&key));
            assert_eq!(answer, model.live(&key).is_some());
            model.keys.remove(&key);
        }
        Op::SetExpiry(k, at) => {
            let key = key(k);
            let answer = write(store, &key, now, |write| write.set_expiry(&key, at));
            assert_eq!(
                answer,
                model.live(&key).map(|(_, expiry)| *expiry = at).is_some()
            );
        }
        Op::Wait(ms) => model.now += ms,
        Op::Sweep => {
            let due = store.due(&SlotSet::all(), Cursor::at_slot(0), now, 100);
            store.expire(&due.keys, now, None);
            model
                .keys
                .retain(|_, (_, expiry)| expiry.is_none_or(|at| now <= at));
        }
        Op::Clear => {
            store.whole(&SlotSet::all(), now, true).clear();
            model.keys.clear();
            store.reclaim(100);
        }
    }
}

/// Everything in a store: values and expiries by key.
pub(super) type Contents = BTreeMap<Vec<u8>, (Value, Option<UnixMs>)>;

/// Everything in the store.
pub(super) fn contents(store: &Store, now: UnixMs) -> Contents {
    let mut keys = Vec::new();
    let all = SlotSet::all();
    store
        .whole(&all, now, true)
        .for_each(&mut |key, _| keys.push(key.to_vec()));
    let load = |key: &Vec<u8>| {
        read(store, key, now, |read| {
            let value = match read.kind(key).unwrap() {
                ValueKind::String => {
                    Value::String(read.string(key).unwrap().unwrap().bytes().into())
                }
                ValueKind::Hash => {
                    let hash = read.hash(key).unwrap().unwrap();
                    let pairs = hash
                        .iter()
                        .map(|(f, v)| (f.to_vec(), v.to_bytes().to_vec()));
                    let pairs: BTreeMap<_, _> = pairs.collect();
                    assert_eq!(hash.len(), pairs.len());
                    for (field, value) in &pairs {
                        assert_eq!(hash.get(field).unwrap().bytes(), value);
                    }
                    assert!(hash.get(b"no such field").is_none());
                    Value::Hash(pairs)
                }
            };
            (value, read.expiry(key).unwrap())
        })
    };
    keys.iter().map(|key| (key.clone(), load(key))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_is_a_map(ops in prop::collection::vec(op(), 1..120)) {
        let store = Store::new();
        let mut model = Model::default();
        for (seed, op) in ops.into_iter().enumerate() {
            apply(&store, &mut model, seed, op);
        }
        let all = SlotSet::all();
        prop_assert_eq!(store.whole(&all, model.now, true).len() >= model.keys.len(), true);
        let now = model.now;
        model.keys.retain(|_, (_, expiry)| expiry.is_none_or(|at| now <= at));
        prop_assert_eq!(contents(&store, now), model.keys.clone());
        let due = store.due(&all, Cursor::at_slot(0), now, usize::MAX);
        store.expire(&due.keys, now, None);
        let volatile = model.keys.values().filter(|(_, expiry)| expiry.is_some()).count();
        prop_assert_eq!(store.volatile(&all), volatile);
        prop_assert_eq!(store.whole(&all, now, true).len(), model.keys.len());
    }
}
