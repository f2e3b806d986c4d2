//! Snapshots: what arrives is what was there when they began, whatever happened meanwhile.

use std::ops::RangeInclusive;
use std::thread;

use dht_proto::slot::{SLOTS, key_slot};
use proptest::prelude::*;

use super::model::{self, Contents, Model, contents};
use super::*;

const ALL: RangeInclusive<u16> = 0..=SLOTS - 1;

/// A snapshot on its way, and what it has to bring.
struct Transfer {
    slots: RangeInclusive<u16>,
    snapshot: Snapshot,
    staging: Staging,
    expect: Contents,
    hash: u64,
    over: bool,
}

impl Transfer {
    fn begin(store: &Store, slots: RangeInclusive<u16>) -> Self {
        let mut expect = contents(store, 0);
        expect.retain(|key, _| slots.contains(&key_slot(key)));
        Self {
            snapshot: store.begin_snapshot(slots.clone()),
            staging: Staging::new(slots.clone()),
            hash: store.state_hash(slots.clone()),
            slots,
            expect,
            over: false,
        }
    }

    /// One chunk.
    fn step(&mut self, store: &Store, budget: usize) {
        let mut chunk = Vec::new();
        self.over = store.snapshot_step(&mut self.snapshot, budget, &mut chunk);
        self.staging.load(&chunk).unwrap();
        assert_eq!(self.staging.is_over(), self.over);
    }

    /// The rest; the copy is checked against what was there at the beginning.
    fn finish(mut self, store: &Store, budget: usize) {
        while !self.over {
            self.step(store, budget);
        }
        assert_eq!(self.snapshot.held_bytes(), 0);
        let copy = Store::new();
        copy.install(self.staging).unwrap();
        let all = SlotSet::all();
        let volatile = self.expect.values().filter(|(_, expiry)| expiry.is_some());
        assert_eq!(copy.volatile(&all), volatile.count());
        let timed = self.expect.values().filter(|(value, _)| value.is_timed());
        assert_eq!(copy.timed(&all), timed.count());
        assert_eq!(copy.whole(&all, 0, true).len(), self.expect.len());
        assert_eq!(copy.state_hash(self.slots), self.hash);
        assert!(contents(&copy, 0) == self.expect, "the copy differs");
    }
}

#[derive(Clone, Debug)]
enum Event {
    Change(model::Op),
    Begin,
    Step(usize),
    Drop,
}

fn event() -> impl Strategy<Value = Event> {
    let budget = prop::sample::select(vec![1, 100, 3000, 100_000]);
    prop_oneof![
        12 => model::op().prop_map(Event::Change),
        1 => Just(Event::Begin),
        4 => budget.prop_map(Event::Step),
        1 => Just(Event::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_snapshot_is_of_one_point(
        before in prop::collection::vec(model::op(), 0..40),
        events in prop::collection::vec(event(), 1..100),
    ) {
        let store = Store::new();
        let mut model = Model::default();
        for (seed, op) in before.into_iter().enumerate() {
            model::apply(&store, &mut model, seed, op);
        }
        let mut open = vec![Transfer::begin(&store, ALL)];
        for (seed, event) in events.into_iter().enumerate() {
            match event {
                Event::Change(op) => model::apply(&store, &mut model, seed, op),
                Event::Begin if open.len() < 3 => open.push(Transfer::begin(&store, ALL)),
                Event::Step(budget) if !open.is_empty() => {
                    let turn = seed % open.len();
                    open[turn].step(&store, budget);
                }
                Event::Drop if open.len() > 1 => drop(open.remove(0)),
                _ => {}
            }
        }
        for transfer in open {
            transfer.finish(&store, 500);
        }
    }
}

/// A key of the one slot in which most of the test takes place.
fn here(n: usize) -> Vec<u8> {
    format!("{{here}}{n}").into_bytes()
}

/// One random change of a store with many keys in one slot, and a few large hashes.
fn churn(store: &Store, noise: &mut Noise, keys: usize) {
    let key = here(noise.below(keys));
    let large = here(1_000_000 + noise.below(3));
    let text = noise.below(1000).to_string();
    match noise.below(40) {
        0..10 => set(store, &key, text.as_bytes()),
        10..16 => assert!(remove(store, &key) || !remove(store, &key)),
        16..19 => {
            let at = Some(noise.below(1000) as u64);
            write(store, &key, 0, |write| write.set_expiry(&key, at));
        }
        19..21 => set(store, &here(keys + noise.below(10 * keys)), &[b'x'; 5000]),
        21..30 => {
            let (from, count) = (noise.below(5000), noise.below(150));
            write(store, &large, 0, |write| {
                for n in from..from + count {
                    _ = write.hash_set(&large, &[(&name(n), text.as_bytes())]);
                }
            });
        }
        30..37 => {
            let (from, count) = (noise.below(5000), noise.below(100));
            let fields: Vec<_> = (from..from + count).map(name).collect();
            let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
            write(store, &large, 0, |write| {
                _ = write.hash_remove(&large, &fields);
            });
        }
        37 => _ = write(store, &large, 0, |write| write.set_expiry(&large, Some(5))),
        38 if noise.below(10) == 0 => assert!(remove(store, &large) || !remove(store, &large)),
        39 if noise.below(10) == 0 => set(store, &large, b"no hash"),
        _ => set(store, &name(noise.below(100)), b"elsewhere"),
    }
}

#[test]
fn tables_and_large_hashes_may_grow_and_shrink_meanwhile() {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut noise = Noise(seed);
        let store = Store::new();
        let keys = 20 + noise.below(8000);
        for _ in 0..noise.below(6000) {
            churn(&store, &mut noise, keys);
        }
        let slot = key_slot(&here(0));
        let mut open = Vec::new();
        for round in 0..40 {
            match noise.below(6) {
                0 => open.push(Transfer::begin(&store, slot..=slot)),
                1 => open.push(Transfer::begin(&store, slot - 200..=slot)),
                2 if round > 20 && noise.below(4) == 0 => store.clear(slot..=slot),
                3 if noise.below(2) == 0 => {
                    for n in 0..keys {
                        remove(&store, &here(n));
                    }
                }
                _ => {}
            }
            for _ in 0..noise.below(600) {
                churn(&store, &mut noise, keys);
            }
            for transfer in &mut open {
                transfer.step(&store, noise.below(60_000));
            }
            store.reclaim(50);
            let (over, rest) = open.into_iter().partition(|transfer| transfer.over);
            open = rest;
            let over: Vec<Transfer> = over;
            over.into_iter()
                .for_each(|transfer| transfer.finish(&store, 1));
        }
        open.into_iter()
            .for_each(|transfer| transfer.finish(&store, 100_000));
    }
}

#[test]
fn a_huge_hash_is_streamed_in_small_steps_while_it_changes_and_goes() {
    const FIELDS: usize = 100_000;
    const BUDGET: usize = 20_000;
    for end in 0..4 {
        let store = Store::new();
        hash_set(&store, b"huge", 0..FIELDS);
        let mut transfer = Transfer::begin(&store, ALL);
        for step in 0..30 {
            let mut chunk = Vec::new();
            let over = store.snapshot_step(&mut transfer.snapshot, BUDGET, &mut chunk);
            assert!(!over && (chunk.len() < BUDGET + 100), "{}", chunk.len());
            transfer.staging.load(&chunk).unwrap();
            let fields = (0..50).map(|n| (step * 7919 + n * 13) % (2 * FIELDS));
            hash_set(&store, b"huge", fields.clone());
            let fields: Vec<_> = fields.map(|n| name(n + 1)).collect();
            let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
            write(&store, b"huge", 0, |write| {
                write.hash_remove(b"huge", &fields)
            })
            .unwrap();
            assert!(transfer.snapshot.held_bytes() < 500_000);
        }
        match end {
            0 => {}
            1 => assert!(remove(&store, b"huge")),
            2 => set(&store, b"huge", b"small"),
            _ => store.clear(ALL),
        }
        while store.reclaim(1000) {}
        hash_set(&store, b"more", 0..100);
        write(&store, b"huge", 0, |write| {
            write.set_expiry(b"huge", Some(1))
        });
        transfer.finish(&store, BUDGET);
        while store.reclaim(1000) {}
    }
}

#[test]
fn long_values_are_cut_into_chunks() {
    const BUDGET: usize = 50_000;
    let store = Store::new();
    let long = |n: usize| vec![n as u8; 4000 + n * n * 5000];
    for n in 0..20 {
        set(&store, &name(n), &long(n));
    }
    hash_set(&store, b"hash", 0..1000);
    write(&store, b"hash", 0, |write| {
        for n in 0..20 {
            write.hash_set(b"hash", &[(&name(n), &long(n))]).unwrap();
        }
        write.set_expiry(b"hash", Some(77));
    });
    let mut snapshot = store.begin_snapshot(ALL);
    let mut image = Vec::new();
    let mut staging = Staging::new(ALL);
    let hash = store.state_hash(ALL);
    for n in 0.. {
        let mut chunk = Vec::new();
        let over = store.snapshot_step(&mut snapshot, BUDGET, &mut chunk);
        assert!(chunk.len() < BUDGET + 8192, "{}", chunk.len());
        staging.load(&chunk).unwrap();
        image.extend_from_slice(&chunk);
        if over {
            break;
        }
        // Changes of what has and of what has not been streamed.
        let key = name(n % 20);
        write(&store, &key, 0, |write| write.append(&key, b"more")).unwrap();
        write(&store, b"hash", 0, |write| {
            write.hash_set(b"hash", &[(&name(n % 30), &long(n % 10))])
        })
        .unwrap();
    }
    let copy = Store::new();
    copy.install(staging).unwrap();
    assert_eq!(copy.state_hash(ALL), hash);
    // The same in one chunk.
    let mut whole = Staging::new(ALL);
    whole.load(&image).unwrap();
    copy.install(whole).unwrap();
    assert_eq!(copy.state_hash(ALL), hash);
}

#[test]
fn installing_replaces_and_clearing_removes_what_the_slots_held() {
    let slot = key_slot(&here(0));
    let (from, to) = (Store::new(), Store::new());
    for n in 0..500 {
        set(&from, &here(n), b"new");
        set(&to, &here(n + 400), b"old");
        set(&to, &name(n), b"elsewhere");
    }
    write(&from, &here(3), 0, |write| {
        write.set_expiry(&here(3), Some(9))
    });
    write(&to, &here(600), 0, |write| {
        write.set_expiry(&here(600), Some(9))
    });
    hash_set(&to, &here(9999), 0..20_000);
    let elsewhere = to.state_hash(0..=slot - 1);
    let mut old = Transfer::begin(&to, ALL);
    old.step(&to, 100);

    let mut new = Transfer::begin(&from, slot..=slot);
    while !new.over {
        new.step(&from, 1000);
    }
    to.install(new.staging).unwrap();
    assert_eq!(to.state_hash(slot..=slot), from.state_hash(slot..=slot));
    assert_eq!(to.state_hash(0..=slot - 1), elsewhere);
    let slots = SlotSet::new(vec![slot..=slot]);
    assert_eq!((to.keys_in_slot(slot), to.volatile(&slots)), (500, 1));
    // A snapshot goes on with what was there, and the rest is freed in slices when it is over.
    set(&to, &here(450), b"newer");
    assert!(!to.reclaim(100_000));
    old.step(&to, 100);
    to.clear(slot..=slot);
    assert_eq!((to.keys_in_slot(slot), to.volatile(&slots)), (0, 0));
    assert_eq!(to.state_hash(0..=slot - 1), elsewhere);
    old.finish(&to, 10_000);
    let slices = (0..).take_while(|_| to.reclaim(100)).count();
    assert!(
        (200..250).contains(&slices),
        "{slices} slices of 100 for 20,600 records and 500"
    );
}

#[test]
fn an_image_that_is_not_whole_installs_nothing() {
    let store = Store::new();
    set(&store, b"k", b"v");
    let hash = store.state_hash(ALL);
    assert!(store.install(Staging::new(ALL)).is_err());
    let mut image = Vec::new();
    hash_set(&store, b"large", 0..1000);
    let mut snapshot = store.begin_snapshot(ALL);
    while !store.snapshot_step(&mut snapshot, 1000, &mut image) {}
    assert!(remove(&store, b"large"));
    let load = |bytes: &[u8]| {
        let mut staging = Staging::new(ALL);
        staging.load(bytes).map(|()| staging)
    };
    let whole = load(&image).unwrap();
    assert!(whole.is_over());
    for len in [0, 6, 20, image.len() - 2] {
        if let Ok(staging) = load(&image[..len]) {
            assert!(store.install(staging).is_err(), "{len}");
        }
    }
    assert_eq!(store.state_hash(ALL), hash);
}

#[test]
fn what_a_snapshot_holds_is_bounded_and_given_back() {
    let store = Store::new();
    for n in 0..3000 {
        set(&store, &here(n), &[b'v'; 100]);
    }
    hash_set(&store, b"large", 0..1000);
    let snapshot = store.begin_snapshot(ALL);
    for n in 0..5000 {
        let key = here(1_000_000 + n);
        set(&store, &key, b"comes and goes");
        assert!(remove(&store, &key) && !remove(&store, &key));
        hash_set(&store, b"large", 100_000 + n..100_001 + n);
        let field = name(100_000 + n);
        write(&store, b"large", 0, |write| {
            write.hash_remove(b"large", &[&field])
        })
        .unwrap();
    }
    assert!(snapshot.held_bytes() < 200, "{}", snapshot.held_bytes());
    for round in 0..3 {
        for n in 0..3000 {
            set(&store, &here(n), b"changed");
        }
        let held = snapshot.held_bytes();
        assert!(
            (3000 * 100..3000 * 200).contains(&held),
            "{held} in round {round}"
        );
    }
    assert!(!store.reclaim(1000));
    drop(snapshot);
    let slices = (0..).take_while(|_| store.reclaim(100)).count();
    assert!(
        (55..70).contains(&slices),
        "{slices} slices of 100 for 3,000 copies and their notes"
    );
    let second = store.begin_snapshot(ALL);
    assert_eq!(second.held_bytes(), 0);
}

#[test]
fn a_snapshot_is_of_one_point_among_many_threads() {
    const KEYS: usize = 8;
    const ROUNDS: usize = 2000;
    let store = Store::new();
    let names: Vec<Vec<u8>> = (0..KEYS).map(name).collect();
    let keys: Vec<_> = names.iter().map(|name| Key::new(name)).collect();
    let keys = Keys::of(&keys).unwrap();
    let append = || {
        store.write(&keys, 0, 0, |write| {
            for name in &names {
                write.append(name, b"x").unwrap();
            }
        });
    };
    append();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..ROUNDS).for_each(|_| append()));
        }
        for _ in 0..50 {
            let mut snapshot = store.begin_snapshot(ALL);
            let mut image = Vec::new();
            while !store.snapshot_step(&mut snapshot, 10, &mut image) {}
            let mut staging = Staging::new(ALL);
            staging.load(&image).unwrap();
            let copy = Store::new();
            copy.install(staging).unwrap();
            let lens: Vec<_> = names
                .iter()
                .map(|key| {
                    read(&copy, key, 0, |read| {
                        read.string(key).unwrap().unwrap().bytes().len()
                    })
                })
                .collect();
            assert!(lens.iter().all(|len| *len == lens[0]), "{lens:?}");
        }
    });
    assert_eq!(store.whole(&SlotSet::all(), 0, true).len(), KEYS);
}

#[test]
fn damaged_images_never_panic() {
    let store = Store::new();
    for n in 0..30 {
        set(&store, &name(n), &vec![b'v'; n * 300]);
        let key = here(n);
        hash_set(&store, &key, 0..n * 4);
        write(&store, &key, 0, |write| {
            write.set_expiry(&key, Some(n as u64))
        });
    }
    let mut image = Vec::new();
    let mut snapshot = store.begin_snapshot(ALL);
    while !store.snapshot_step(&mut snapshot, 700, &mut image) {}
    let mut noise = Noise(1);
    let mut refused = 0;
    for round in 0..3000 {
        let mut bytes = image.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(bytes.len());
            match noise.below(5) {
                0 => bytes[at] = noise.below(256) as u8,
                1 => bytes[at] ^= 1 << noise.below(8),
                2 => bytes.truncate(at + 1),
                3 => _ = bytes.drain(at..(at + noise.below(50)).min(bytes.len())),
                _ => {
                    let from = noise.below(bytes.len());
                    let part = bytes[from..(from + noise.below(300)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        let mut staging = Staging::new(ALL);
        let loaded = staging.load(&bytes);
        refused += usize::from(loaded.is_err() || !staging.is_over());
        if round % 50 == 0 {
            let copy = Store::new();
            assert_eq!(
                copy.install(staging).is_ok(),
                copy.state_hash(ALL) != 0,
                "{round}"
            );
        }
    }
    assert!(refused > 1500, "{refused} of 3000");
}

#[test]
fn what_does_not_belong_is_refused() {
    let slot = key_slot(b"k");
    let key_of_slot = [1, 1, b'k', 1, b'v'];
    let key_elsewhere = [1, 1, b'l', 1, b'v'];
    let part = |n: u8| [3, 1, b'k', 2, 1, 1, n, 1, b'v'];
    let begin = [&[0, 1][..], &slot.to_le_bytes(), &slot.to_le_bytes()].concat();
    let check = |items: &[&[u8]], expect: &str| {
        let mut staging = Staging::new(slot..=slot);
        let loaded = staging.load(&[&begin, &items.concat()[..]].concat());
        let said = loaded.map_err(|malformed| malformed.to_string());
        assert_eq!(said.err().unwrap_or_default(), expect, "{items:?}");
    };
    check(&[&key_of_slot, &[7, 1]], "");
    check(&[&part(b'a'), &part(b'b'), &[7, 1]], "");
    check(&[&[4, 1, b'k', 3], &[6, 2, 0, 0], &[6, 1, 0], &[7, 1]], "");
    check(&[&key_elsewhere], "a key of another slot");
    check(&[&key_of_slot, &key_of_slot], "a key comes twice");
    check(&[&key_of_slot, &part(b'a')], "a key comes twice");
    check(&[&part(b'a'), &key_of_slot], "a key comes twice");
    check(&[&part(b'a'), &part(b'a')], "a field comes twice");
    check(&[&[2, 1, b'k', 2, 0, 0, 0, 0]], "a field comes twice");
    check(
        &[&part(b'a'), &part(b'b'), &part(b'c')],
        "a key comes twice",
    );
    check(&[&part(b'a'), &[7, 1]], "the image lacks a part");
    check(&[&key_of_slot, &[7, 2]], "the image lacks a part");
    check(&[&begin], "an item in a place where it has no meaning");
    check(
        &[&[7, 0], &key_of_slot],
        "an item in a place where it has no meaning",
    );
    check(
        &[&[4, 1, b'k', 3], &[7, 0]],
        "an item in a place where it has no meaning",
    );
    let too_many = [&[4, 1, b'k', 3][..], &[6, 4, 0, 0, 0, 0]];
    check(&too_many, "a long value has more bytes than it should");
    let volatile = [
        0x83, 1, b'k', 9, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, b'b', 1, b'v',
    ];
    check(
        &[&part(b'a'), &volatile],
        "two parts of a hash differ in its expiry",
    );
    let mut other = Staging::new(slot..=slot + 1);
    assert_eq!(
        other.load(&begin).unwrap_err().0,
        "the image is of other slots"
    );
}
