//! Many threads at once: commands on one slot are atomic, and nothing deadlocks.

use std::thread;

use super::*;

const THREADS: usize = 4;
const ROUNDS: usize = 3000;

/// Adds one to the number in a field.
fn add_one(write: &mut Write<'_>, key: &[u8], field: &[u8]) {
    let old = write.hash(key).unwrap().and_then(|hash| {
        let value = hash.get(field)?;
        std::str::from_utf8(value.bytes())
            .ok()?
            .parse::<usize>()
            .ok()
    });
    let new = (old.unwrap_or(0) + 1).to_string();
    write.hash_set(key, &[(field, new.as_bytes())]).unwrap();
}

#[test]
fn commands_on_several_slots_are_atomic() {
    let store = Store::new();
    let names: Vec<Vec<u8>> = (0..8).map(name).collect();
    let keys = Keys::of(&names.iter().map(|name| Key::new(name)).collect::<Vec<_>>()).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, names, keys) = (&store, &names, &keys);
            scope.spawn(move || {
                let mut noise = Noise(thread as u64);
                for _ in 0..ROUNDS {
                    match noise.below(4) {
                        0 => store.read(keys, Moment::sure(0), |read| {
                            let sum = |key: &Vec<u8>| read.hash(key).unwrap().map(|h| h.len());
                            let first = sum(&names[0]);
                            assert!(names.iter().all(|key| sum(key) == first));
                        }),
                        1 => {
                            let all = SlotSet::all();
                            store.whole(&all, 0, true).scan(0, 10, &mut |_, _| {});
                            store.prefetch(&[keys.first()]);
                        }
                        _ => {
                            let field = name(noise.below(200));
                            store.write(keys, 0, 0, |write| {
                                for key in names {
                                    add_one(write, key, &field);
                                }
                            });
                        }
                    }
                }
            });
        }
    });
    let total = |key: &Vec<u8>| {
        read(&store, key, 0, |read| {
            let hash = read.hash(key).unwrap().unwrap();
            let numbers = hash
                .iter()
                .map(|(_, v)| String::from_utf8_lossy(v.bytes()).parse::<usize>());
            numbers.map(Result::unwrap).sum::<usize>()
        })
    };
    let writes = (0..THREADS).map(|thread| {
        let mut noise = Noise(thread as u64);
        let writes = (0..ROUNDS).filter(|_| noise.below(4) > 1 && noise.below(200) < 200);
        writes.count()
    });
    let writes: usize = writes.sum();
    assert!(
        names.iter().all(|key| total(key) == writes),
        "{writes} writes"
    );
}
