//! What is there from the first call of a scan to the last is visited, whatever else comes and
//! goes.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dht_node::core::store::LONG_FIELDS;

use super::*;

fn all_keys(store: &Store, cursor: u64, count: usize, seen: &mut BTreeSet<Vec<u8>>) -> u64 {
    let all = SlotSet::all();
    store
        .whole(&all, 0, false)
        .scan(cursor, count, &mut |key, _| {
            seen.insert(key.to_vec());
        })
}

/// Scans while keys come and go; `prefix` decides whether they all share one slot. Each call runs
/// on one of two stores with the same stable keys, the second with tables of its own size.
fn check_scan(prefix: &str, stable: usize, noise_keys: usize, count: usize, seed: u64) {
    println!("prefix {prefix:?} stable {stable} noise {noise_keys} count {count} seed {seed}");
    let mut noise = Noise(seed);
    let stores = [Store::new(), Store::new()];
    let key = |n: usize| format!("{prefix}{n}").into_bytes();
    // The second store's tables have grown and may not have shrunk.
    for n in 0..noise_keys {
        set(&stores[1], &key(stable + n), b"");
    }
    for n in 0..noise_keys {
        remove(&stores[1], &key(stable + n));
    }
    for n in 0..stable {
        for store in &stores {
            set(store, &key(n), b"");
        }
    }
    let mut seen = BTreeSet::new();
    let mut cursor = 0;
    let mut calls = 0;
    let mut there = 0;
    loop {
        cursor = all_keys(&stores[noise.below(2)], cursor, count, &mut seen);
        calls += 1;
        if cursor == 0 {
            break;
        }
        // Waves that make tables grow and shrink several times during the scan.
        let wave = (noise_keys / 20).max(1);
        let growing = calls % 40 < 20;
        for _ in 0..wave {
            if growing && there < noise_keys {
                set(&stores[0], &key(stable + there), b"");
                there += 1;
            } else if !growing && there > 0 {
                there -= 1;
                assert!(remove(&stores[0], &key(stable + there)));
            }
        }
        assert!(calls < 100 * (stable + noise_keys) + 20_000);
    }
    for n in 0..stable {
        assert!(
            seen.contains(&key(n)),
            "{n} was not visited in {calls} calls"
        );
    }
}

#[test]
fn scan_visits_what_stays() {
    for seed in 0..3 {
        check_scan("key:", 2000, 2000, 10, seed);
        check_scan("{tag}", 100, 3000, 3, seed);
        check_scan("{tag}", 100, 3000, 20, seed);
        check_scan("{tag}", 30, 1000, 1, seed);
        check_scan("{tag}", 1500, 6000, 10, seed);
        check_scan("{tag}", 3000, 3000, 1000, seed);
    }
}

#[test]
fn a_quiet_scan_visits_each_key_once_and_about_count_a_call() {
    for (prefix, keys) in [("key:", 5000), ("{tag}", 5000), ("{tag}", 40)] {
        let store = Store::new();
        for n in 0..keys {
            set(&store, format!("{prefix}{n}").as_bytes(), b"");
        }
        let (mut visited, mut cursor) = (0, 0);
        loop {
            let mut now = 0;
            let all = SlotSet::all();
            cursor = store
                .whole(&all, 0, true)
                .scan(cursor, 10, &mut |_, _| now += 1);
            visited += now;
            assert!(now < 30, "{now} keys in one call");
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(visited, keys);
    }
}

#[test]
fn scan_of_some_slots_hops_or_stops() {
    let store = Store::new();
    for n in 0..1000 {
        set(&store, &name(n), b"");
    }
    let mine = SlotSet::new(vec![0..=99, 8000..=8999]);
    let count_of = |slots: &SlotSet| {
        slots
            .iter()
            .map(|slot| store.keys_in_slot(slot))
            .sum::<usize>()
    };
    let scan = |cursor, hop| {
        let mut visited = 0;
        let next = store
            .whole(&mine, 0, hop)
            .scan(cursor, 10_000, &mut |_, _| visited += 1);
        (Cursor::from_number(next).slot, next == 0, visited)
    };
    let low = count_of(&SlotSet::new(vec![0..=99]));
    let high = count_of(&SlotSet::new(vec![8000..=8999]));
    assert_eq!(scan(0, true), (0, true, low + high));
    assert_eq!(scan(0, false), (100, false, low));
    let from_8000 = Cursor::at_slot(8000).to_number();
    assert_eq!(scan(from_8000, false), (9000, false, high));
    for foreign in [u64::MAX, 1 << 60, Cursor::at_slot(16383).to_number() + 77] {
        assert_eq!(scan(foreign, true), (0, true, 0));
    }
    let mut counted = 0;
    let last = SlotSet::new(vec![16000..=16383]);
    let from = Cursor::at_slot(16000).to_number();
    let end = store
        .whole(&last, 0, false)
        .scan(from, 10_000, &mut |_, _| counted += 1);
    assert_eq!((end, counted), (0, count_of(&last)));
}

#[test]
fn scan_of_an_empty_store_ends_at_once() {
    assert_eq!(all_keys(&Store::new(), 0, 10, &mut BTreeSet::new()), 0);
}

/// Scans a hash while other fields come and go.
fn check_hash_scan(stable: usize, noise_fields: usize, count: usize, seed: u64) {
    println!("stable {stable} noise {noise_fields} count {count} seed {seed}");
    let mut noise = Noise(seed);
    let store = Store::new();
    hash_set(&store, b"h", 0..stable);
    let mut seen = BTreeSet::new();
    let (mut cursor, mut calls) = (0, 0);
    loop {
        cursor = read(&store, b"h", 0, |read| {
            let hash = read.hash(b"h").unwrap().unwrap();
            hash.scan(cursor, count, &mut |field, _| {
                seen.insert(field.to_vec());
            })
        });
        calls += 1;
        if cursor == 0 {
            break;
        }
        let growing = calls % 40 < 20;
        write(&store, b"h", 0, |write| {
            for _ in 0..noise_fields / 10 {
                let field = name(stable + noise.below(noise_fields));
                if growing {
                    write.hash_set(b"h", &[(&field, b"noise")]).unwrap();
                } else {
                    write.hash_remove(b"h", &[&field]).unwrap();
                }
            }
        });
    }
    for n in 0..stable {
        assert!(
            seen.contains(&name(n)),
            "{n} was not visited in {calls} calls"
        );
    }
}

#[test]
fn hash_scan_visits_what_stays() {
    for seed in 0..3 {
        check_hash_scan(50, 100, 10, seed);
        check_hash_scan(70, 5000, 3, seed);
        check_hash_scan(70, 100, 1, seed);
        check_hash_scan(5000, 5000, 10, seed);
        check_hash_scan(3000, 9000, 1000, seed);
    }
}

#[test]
fn a_quiet_hash_scan_visits_each_field_once() {
    for fields in [1, 64, 65, 449, 10_000] {
        let store = Store::new();
        hash_set(&store, b"h", 0..fields);
        let (mut visited, mut cursor) = (0, 0);
        loop {
            let mut now = 0;
            cursor = read(&store, b"h", 0, |read| {
                let hash = read.hash(b"h").unwrap().unwrap();
                hash.scan(cursor, 10, &mut |_, _| now += 1)
            });
            visited += now;
            assert!(now <= 10 || fields <= 64, "{now} fields in one call");
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(visited, fields);
    }
}

/// Whoever visits all keys of a large slot lets others write to it meanwhile.
#[test]
fn a_writer_gets_between_the_keys_of_one_slot() {
    let (store, all) = (Store::new(), SlotSet::all());
    let keys = 8 * LONG_FIELDS;
    for n in 0..keys {
        set(&store, format!("{{t}}{n}").as_bytes(), b"");
    }
    let ((go, wait), (done, is_done)) = (mpsc::channel(), mpsc::channel());
    let store = &store;
    thread::scope(|scope| {
        scope.spawn(move || {
            for () in wait {
                set(store, b"{t}0", b"new");
                done.send(()).unwrap();
            }
        });
        let (mut seen, go) = (0, go);
        store.whole(&all, 0, false).for_each(&mut |_, _| {
            if seen == keys / 2 {
                go.send(()).unwrap();
                let written = is_done.recv_timeout(Duration::from_secs(60));
                assert!(written.is_ok(), "it has to wait for the last key");
            }
            seen += 1;
        });
        assert_eq!(seen, keys, "each is visited once");
    });
}
