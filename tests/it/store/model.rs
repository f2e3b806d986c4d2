//! Random commands on the store and on plain maps, with the same answers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Set(u8, usize, Expiry),
    Append(u8, usize),
    HashPut(u8, Vec<(u8, usize)>, Expiry),
    HashSetExpiry(u8, Vec<u8>, Option<u64>),
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
    Hash(Fields),
}

/// Values and expiries by field.
pub(super) type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMs>)>;

impl Value {
    pub(super) fn is_timed(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::Hash(fields) => fields.values().any(|(_, expiry)| expiry.is_some()),
        }
    }
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
        if let Some((Value::Hash(fields), _)) = self.keys.get_mut(key) {
            let before = fields.len();
            fields.retain(|_, (_, expiry)| expiry.is_none_or(|at| now <= at));
            if fields.is_empty() && before > 0 {
                self.keys.remove(key);
            }
        }
        self.keys.get_mut(key)
    }

    /// Removes whatever is due.
    fn sweep(&mut self) {
        let keys: Vec<_> = self.keys.keys().cloned().collect();
        keys.iter().for_each(|key| _ = self.live(key));
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

    fn hash_put(
        &mut self,
        key: &[u8],
        pairs: &[(Vec<u8>, Vec<u8>)],
        expiry: Expiry,
    ) -> Option<usize> {
        if self.live(key).is_none() {
            let hash = Value::Hash(BTreeMap::new());
            self.keys.insert(key.to_vec(), (hash, None));
        }
        let Some((Value::Hash(hash), _)) = self.live(key) else {
            return None;
        };
        let before = hash.len();
        for (field, value) in pairs {
            let old = hash.get(field).and_then(|(_, expiry)| *expiry);
            let expiry = match expiry {
                Expiry::Keep => old,
                Expiry::Never => None,
                Expiry::At(at) => Some(at),
            };
            hash.insert(field.clone(), (value.clone(), expiry));
        }
        Some(hash.len() - before)
    }

    fn fields(&mut self, key: &[u8]) -> Option<&mut Fields> {
        match self.live(key) {
            Some((Value::Hash(fields), _)) => Some(fields),
            _ => None,
        }
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
        4 => (key.clone(), len(), expiry.clone())
            .prop_map(|(k, len, expiry)| Op::Set(k, len, expiry)),
        4 => (key.clone(), len()).prop_map(|(k, len)| Op::Append(k, len)),
        8 => (key.clone(), some, expiry.clone())
            .prop_map(|(k, pairs, expiry)| Op::HashPut(k, pairs, expiry)),
        8 => (key.clone(), many, expiry)
            .prop_map(|(k, pairs, expiry)| Op::HashPut(k, pairs, expiry)),
        4 => (key.clone(), range.clone(), prop::option::of(at()))
            .prop_map(|(k, fields, at)| Op::HashSetExpiry(k, fields, at)),
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
        Op::HashPut(k, pairs, expiry) => {
            let key = key(k);
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(f, len)| (field(*f), value(seed, *len)))
                .collect();
            let slices: Vec<_> = pairs.iter().map(|(f, v)| (&f[..], &v[..])).collect();
            let put = |write: &mut Write<'_>| write.hash_put(&key, &slices, expiry);
            let answer = write(store, &key, now, put).ok();
            assert_eq!(answer, model.hash_put(&key, &pairs, expiry));
        }
        Op::HashSetExpiry(k, fields, at) => set_expiries(store, model, &key(k), (fields, at)),
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
            model.sweep();
        }
        Op::Clear => {
            store.whole(&SlotSet::all(), now, true).clear();
            model.keys.clear();
            store.reclaim(100);
        }
    }
}

/// Sets the expiry of those of the fields that are there.
fn set_expiries(
    store: &Store,
    model: &mut Model,
    key: &[u8],
    (fields, at): (Vec<u8>, Option<UnixMs>),
) {
    let now = model.now;
    let there = model.fields(key);
    let is_there = |field: &Vec<u8>| {
        let there = there.as_ref();
        there.is_some_and(|there| there.contains_key(field))
    };
    let fields: Vec<_> = fields.into_iter().map(field).filter(is_there).collect();
    let slices: Vec<_> = fields.iter().map(Vec::as_slice).collect();
    write(store, key, now, |write| {
        write.hash_set_expiry(key, &slices, at);
    });
    for (field, (_, expiry)) in there.into_iter().flatten() {
        if fields.contains(field) {
            *expiry = at;
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
                    let fields = hash.iter_timed();
                    let fields = fields.map(|(f, v, at)| (f.to_vec(), (v.to_bytes().to_vec(), at)));
                    let fields: Fields = fields.collect();
                    assert_eq!(hash.len(), fields.len());
                    for (field, (value, at)) in &fields {
                        let (found, expiry) = hash.get_timed(field).unwrap();
                        assert_eq!((found.bytes(), expiry), (&value[..], *at));
                    }
                    assert!(hash.get(b"no such field").is_none());
                    Value::Hash(fields)
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
        model.sweep();
        prop_assert_eq!(contents(&store, now), model.keys.clone());
        let due = store.due(&all, Cursor::at_slot(0), now, usize::MAX);
        store.expire(&due.keys, now, None);
        let volatile = model.keys.values().filter(|(_, expiry)| expiry.is_some()).count();
        prop_assert_eq!(store.volatile(&all), volatile);
        let timed = model.keys.values().filter(|(value, _)| value.is_timed()).count();
        prop_assert_eq!(store.timed(&all), timed);
        prop_assert_eq!(store.whole(&all, now, true).len(), model.keys.len());
    }
}
