//! Measures the store alone: memory a key, time an operation, the worst single insert.
//!
//! `cargo run --release -p dht-node --example store -- 1000000` loads so many hashes of two fields.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dht_node::core::store::{Key, Keys, Moment, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let keys = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let store = Store::new();
    load(&store, keys);
    let get = each(keys, |key| {
        let keys = Keys::one(Key::new(key));
        store.read(&keys, Moment::sure(0), |read| {
            let hash = read.hash(key).ok().flatten();
            black_box(hash.and_then(|hash| Some(hash.get(b"name")?.bytes().len())));
        });
    });
    let set = each(keys, |key| {
        let keys = Keys::one(Key::new(key));
        store.write(&keys, 0, 0, |write| {
            _ = black_box(write.hash_set(key, &[(b"age", b"26")]));
        });
    });
    println!(
        "random HGET {get} ns, HSET {set} ns; in batches of 32: HGET {} ns",
        batches(&store, keys)
    );
    huge_hash(keys);
}

/// Fills the store, and says what that cost.
fn load(store: &Store, keys: usize) {
    let before = resident_bytes();
    let mut worst = Duration::ZERO;
    let start = Instant::now();
    for n in 0..keys {
        let key = name(n);
        let start = Instant::now();
        store.write(&Keys::one(Key::new(&key)), 0, 0, |write| {
            _ = write.hash_set(&key, &[(b"name", b"Alice"), (b"age", b"25")]);
        });
        worst = worst.max(start.elapsed());
    }
    let per_key = resident_bytes().saturating_sub(before) / keys;
    println!(
        "{keys} hashes: {per_key} B a key, insert {} ns",
        nanos(start, keys)
    );
    println!("worst insert {worst:?}");
}

/// One hash of so many fields.
fn huge_hash(fields: usize) {
    let store = Store::new();
    let mut worst = Duration::ZERO;
    for n in 0..fields {
        let field = name(n);
        let start = Instant::now();
        store.write(&Keys::one(Key::new(b"huge")), 0, 0, |write| {
            _ = write.hash_set(b"huge", &[(&field, b"value")]);
        });
        worst = worst.max(start.elapsed());
    }
    let start = Instant::now();
    store.write(&Keys::one(Key::new(b"huge")), 0, 0, |write| {
        write.remove(b"huge")
    });
    let removed = start.elapsed();
    let start = Instant::now();
    let mut slices = 1;
    while store.reclaim(1000) {
        slices += 1;
    }
    let freed = start.elapsed() / slices;
    println!("one hash of {fields} fields: worst insert {worst:?}, removed in {removed:?},");
    println!("then freed in {slices} slices of {freed:?}");
}

/// Nanoseconds of an operation on keys in a random order.
fn each(keys: usize, mut operate: impl FnMut(&[u8])) -> u128 {
    let start = Instant::now();
    for n in 0..keys {
        operate(&name(shuffled(n, keys)));
    }
    nanos(start, keys)
}

/// The same for reads whose keys are prefetched.
fn batches(store: &Store, keys: usize) -> u128 {
    let start = Instant::now();
    for batch in 0..keys / 32 {
        let names: Vec<String> = (0..32)
            .map(|n| format!("user:{}", shuffled(batch * 32 + n, keys)))
            .collect();
        let hashed: Vec<Key<'_>> = names.iter().map(|name| Key::new(name.as_bytes())).collect();
        store.prefetch(&hashed);
        for key in hashed {
            store.read(&Keys::one(key), Moment::sure(0), |read| {
                let hash = read.hash(key.bytes()).ok().flatten();
                black_box(hash.and_then(|hash| Some(hash.get(b"name")?.bytes().len())));
            });
        }
    }
    nanos(start, keys)
}

fn name(n: usize) -> Vec<u8> {
    format!("user:{n}").into_bytes()
}

fn shuffled(n: usize, keys: usize) -> usize {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys
}

fn nanos(start: Instant, operations: usize) -> u128 {
    start.elapsed().as_nanos() / operations as u128
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
