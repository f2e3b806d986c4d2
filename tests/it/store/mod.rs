//! Tests of the store as a whole.

mod model;
mod scans;
mod snapshots;
mod threads;

use dht_node::core::store::{
    Cursor, Expiry, Key, Keys, Moment, Read, SlotSet, Snapshot, Staging, Store, ValueKind, Write,
};
use dht_node::core::time::UnixMs;

/// Changes one key.
fn write<R>(
    store: &Store,
    key: &[u8],
    stamp: UnixMs,
    execute: impl FnOnce(&mut Write<'_>) -> R,
) -> R {
    store.write(&Keys::one(Key::new(key)), stamp, 0, execute)
}

/// Reads one key.
fn read<R>(store: &Store, key: &[u8], stamp: UnixMs, execute: impl FnOnce(&Read<'_>) -> R) -> R {
    store.read(&Keys::one(Key::new(key)), Moment::sure(stamp), execute)
}

fn set(store: &Store, key: &[u8], value: &[u8]) {
    write(store, key, 0, |write| {
        write.set_string(key, value, Expiry::Never)
    })
    .unwrap();
}

fn hash_set(store: &Store, key: &[u8], fields: impl IntoIterator<Item = usize>) {
    write(store, key, 0, |write| {
        for n in fields {
            write.hash_set(key, &[(&name(n), b"value")]).unwrap();
        }
    });
}

fn remove(store: &Store, key: &[u8]) -> bool {
    write(store, key, 0, |write| write.remove(key))
}

fn name(n: usize) -> Vec<u8> {
    format!("name:{n}").into_bytes()
}

/// Reproducible noise (splitmix64).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % limit
    }
}

#[test]
fn limits_are_checked_before_anything_changes() {
    use dht_proto::{ReplyError, limits};

    let store = Store::new();
    let long = vec![b'x'; limits::KEY_BYTES + 1];
    let too_long = |what| ReplyError::TooLong {
        what,
        limit: limits::KEY_BYTES,
    };
    let pairs: &[(&[u8], &[u8])] = &[(b"fine", b"v"), (&long, b"v")];
    write(&store, b"k", 0, |write| {
        assert_eq!(write.hash_set(b"k", pairs), Err(too_long("field")));
        assert_eq!(write.kind(b"k"), None);
    });
    write(&store, &long, 0, |write| {
        let set = write.set_string(&long, b"v", Expiry::Never);
        assert_eq!(set, Err(too_long("key")));
        assert_eq!(write.hash_set(&long, &[(b"f", b"v")]), Err(too_long("key")));
        assert_eq!(write.append(&long, b"v"), Err(too_long("key")));
    });
    assert_eq!(store.whole(&SlotSet::all(), 0, true).len(), 0);
    let longest = &long[1..];
    set(&store, longest, b"v");
    hash_set(&store, b"k", 0..1);
    write(&store, b"k", 0, |write| {
        write.hash_set(b"k", &[(longest, longest)])
    })
    .unwrap();
    assert_eq!(
        read(&store, longest, 0, |read| read.kind(longest)),
        Some(ValueKind::String)
    );
    read(&store, b"k", 0, |read| {
        let hash = read.hash(b"k").unwrap().unwrap();
        assert_eq!(hash.get(longest).unwrap().bytes(), longest);
        assert_eq!(hash.len(), 2);
    });
}

#[test]
fn an_appended_string_is_shared_and_copied_on_write() {
    let store = Store::new();
    let append = |tail: &[u8]| write(&store, b"k", 0, |write| write.append(b"k", tail)).unwrap();
    let get = || {
        read(&store, b"k", 0, |read| {
            read.string(b"k").unwrap().unwrap().to_bytes()
        })
    };
    let mut expect = Vec::new();
    for n in 0..200 {
        expect.extend_from_slice(&[n; 100]);
        assert_eq!(append(&[n; 100]), expect.len());
    }
    let reply = get();
    assert_eq!(reply.as_ptr(), get().as_ptr(), "a long string is shared");
    append(b"more");
    assert_eq!(reply, expect, "a reply is not changed afterwards");
    let mut places = std::collections::BTreeSet::new();
    for _ in 0..100_000 {
        append(b"x");
        places.insert(get().as_ptr());
    }
    assert!(places.len() < 20, "copied {} times", places.len());
    expect.extend_from_slice(b"more");
    expect.resize(expect.len() + 100_000, b'x');
    assert_eq!(get(), expect);
    let too_long = write(&store, b"k", 0, |write| {
        write.append(b"k", &vec![0; dht_proto::limits::VALUE_BYTES])
    });
    assert_eq!(too_long, Err(dht_proto::ReplyError::StringTooLong));
}

#[test]
fn a_key_is_due_when_its_time_has_passed() {
    let store = Store::new();
    write(&store, b"k", 100, |write| {
        write.set_string(b"k", b"v", Expiry::At(150))
    })
    .unwrap();
    let kind = |stamp| read(&store, b"k", stamp, |read| read.kind(b"k"));
    assert_eq!(kind(150), Some(ValueKind::String));
    assert_eq!(kind(151), None);
    let all = SlotSet::all();
    assert_eq!(
        (store.volatile(&all), store.whole(&all, 151, true).len()),
        (1, 1)
    );
    let mut seen = 0;
    store.whole(&all, 151, true).for_each(&mut |_, _| seen += 1);
    assert_eq!(seen, 0);
    assert!(!write(&store, b"k", 151, |write| write.remove(b"k")));
    assert_eq!(
        (store.volatile(&all), store.whole(&all, 151, true).len()),
        (0, 0)
    );
}

#[test]
fn due_keys_are_found_and_removed_in_bounded_steps() {
    let store = Store::new();
    for n in 0..3000 {
        let key = name(n);
        let expiry = if n % 3 == 0 {
            Expiry::At(n as u64)
        } else {
            Expiry::Never
        };
        write(&store, &key, 0, |write| {
            write.set_string(&key, b"v", expiry)
        })
        .unwrap();
    }
    let all = SlotSet::all();
    let mut cursor = Cursor::at_slot(0);
    let mut removed = 0;
    for _ in 0..1000 {
        let due = store.due(&all, cursor, 1500, 20);
        assert!(due.looked_at < 60, "{}", due.looked_at);
        removed += store.expire(&due.keys, 1500, None);
        assert_eq!(store.expire(&due.keys, 1500, None), 0);
        cursor = due.next;
    }
    assert_eq!(removed, 500);
    assert_eq!(store.volatile(&all), 500);
    assert_eq!(store.whole(&all, 0, true).len(), 2500);
}

/// However many fields are due at once, nobody waits for the removal of more than a few hundred.
#[test]
fn due_fields_are_removed_in_bounded_steps() {
    const FIELDS: usize = 20_000;
    let store = Store::new();
    let names: Vec<Vec<u8>> = (0..FIELDS).map(name).collect();
    write(&store, b"h", 0, |write| {
        for (n, name) in names.iter().enumerate() {
            let expiry = if n % 4 == 0 {
                Expiry::Never
            } else {
                Expiry::At(100)
            };
            write.hash_put(b"h", &[(name, b"v")], expiry).unwrap();
        }
    });
    let all = SlotSet::all();
    let shown = |stamp| {
        read(&store, b"h", stamp, |read| {
            let hash = read.hash(b"h").unwrap().unwrap();
            (hash.len(), hash.iter().count(), hash.stored())
        })
    };
    assert_eq!(shown(100), (FIELDS, FIELDS, FIELDS));
    assert_eq!(shown(101), (FIELDS / 4, FIELDS / 4, FIELDS));
    let mut cursor = Cursor::at_slot(0);
    let mut removed = 0;
    let mut steps = 0;
    while store.timed(&all) > 0 {
        let due = store.due(&all, cursor, 101, 1000);
        let step = store.expire(&due.keys, 101, None);
        assert!(step <= 512, "{step} at once");
        removed += step;
        steps += 1;
        assert!(steps < 100, "the sweep does not come to an end");
        cursor = due.next;
    }
    assert_eq!(removed, FIELDS / 4 * 3);
    assert_eq!(shown(101), (FIELDS / 4, FIELDS / 4, FIELDS / 4));
}

#[test]
fn a_hash_whose_fields_are_all_due_does_not_exist() {
    let store = Store::new();
    for (key, fields) in [(&b"small"[..], 10), (b"large", 1000)] {
        write(&store, key, 0, |write| {
            for n in 0..fields {
                let at = Expiry::At(100 + n as u64 % 2);
                write.hash_put(key, &[(&name(n), b"v")], at).unwrap();
            }
        });
        let kind = |stamp| read(&store, key, stamp, |read| read.kind(key));
        assert_eq!((kind(101), kind(102)), (Some(ValueKind::Hash), None));
        // It is made anew, and nothing of it comes back.
        write(&store, key, 102, |write| {
            assert_eq!(
                write.hash_put(key, &[(&name(1), b"w")], Expiry::Keep),
                Ok(1)
            );
        });
        read(&store, key, 102, |read| {
            let hash = read.hash(key).unwrap().unwrap();
            assert_eq!(
                (hash.stored(), hash.get_timed(&name(1)).unwrap().1),
                (1, None)
            );
        });
    }
    assert_eq!(store.timed(&SlotSet::all()), 0);
}

#[test]
fn a_field_named_twice_is_new_once_even_if_it_is_due_at_once() {
    let store = Store::new();
    for (key, fields) in [(&b"small"[..], 10), (b"large", 1000)] {
        hash_set(&store, key, 0..fields);
        let twice: [(&[u8], &[u8]); 2] = [(b"twice", b"v"), (b"twice", b"w")];
        for _ in 0..2 {
            let put = |write: &mut Write<'_>| write.hash_put(key, &twice, Expiry::At(99));
            assert_eq!(write(&store, key, 100, put), Ok(1));
        }
    }
}

/// Between the time of the wall and that of the shard a field may be there on another replica.
#[test]
fn a_field_that_is_due_by_the_clock_alone_is_not_for_here_to_tell() {
    let store = Store::new();
    for (key, fields) in [(&b"small"[..], 2), (b"large", 1000)] {
        write(&store, key, 0, |write| {
            for n in 0..fields {
                write
                    .hash_put(key, &[(&name(n), b"v")], Expiry::Never)
                    .unwrap();
            }
            write.hash_set_expiry(key, &[&name(1)], Some(100));
        });
        let is_early = |wall, shard, look: &dyn Fn(&Read<'_>)| {
            let keys = Keys::one(Key::new(key));
            store.read(&keys, Moment { wall, shard }, |read| {
                look(read);
                read.is_early()
            })
        };
        let get = |field: usize| {
            move |read: &Read<'_>| _ = read.hash(key).unwrap().unwrap().get(&name(field)).is_some()
        };
        let len = |read: &Read<'_>| _ = read.hash(key).unwrap().unwrap().len();
        assert!(is_early(101, 100, &get(1)) && is_early(101, 100, &len));
        assert!(!is_early(101, 100, &get(0)));
        for (wall, shard) in [(100, 50), (101, 101), (200, 150)] {
            assert!(!is_early(wall, shard, &get(1)) && !is_early(wall, shard, &len));
        }
    }
}

#[test]
fn huge_things_are_freed_in_slices() {
    let store = Store::new();
    hash_set(&store, b"huge", 0..20_000);
    for n in 0..5000 {
        set(&store, &name(n), b"v");
    }
    let long = bytes::Bytes::from(vec![0; 8 << 20]);
    set(&store, b"long", &long);
    assert!(!store.reclaim(1), "nothing is buried yet");
    assert!(remove(&store, b"long"));
    assert!(store.reclaim(0));
    assert!(!store.reclaim(100));
    store.whole(&SlotSet::all(), 0, true).clear();
    assert_eq!(store.whole(&SlotSet::all(), 0, true).len(), 0);
    let mut slices = 1;
    while store.reclaim(100) {
        slices += 1;
    }
    assert!(
        (250..350).contains(&slices),
        "{slices} slices of 100 for 25,001 records"
    );
}

#[test]
fn several_slots_are_locked_together() {
    let store = Store::new();
    let names: Vec<Vec<u8>> = (0..100).map(name).collect();
    let keys = Keys::of(
        &names
            .iter()
            .rev()
            .map(|name| Key::new(name))
            .collect::<Vec<_>>(),
    )
    .unwrap();
    store.write(&keys, 0, 0, |write| {
        for name in &names {
            write.set_string(name, name, Expiry::Never).unwrap();
        }
    });
    store.read(&keys, Moment::sure(0), |read| {
        for name in &names {
            assert_eq!(read.string(name).unwrap().unwrap().bytes(), name);
        }
    });
    let slot = Key::new(&names[0]).slot();
    assert!(
        store
            .sample_slot(slot, 200)
            .iter()
            .any(|key| *key == names[0])
    );
    assert!(store.keys_in_slot(slot) > 0);
    let hashed: Vec<Key<'_>> = names.iter().map(|name| Key::new(name)).collect();
    store.prefetch(&hashed);
}
