//! Nodes that go, under load: how long clients of the others wait, and what clients are told.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dht_client::{Client, Error};
use dht_tests::nemesis::failover::{Exit, measure};
use dht_tests::process::Processes;
use dht_tests::python;
use dht_tests::wait;

/// Within this time, at p99, every shard of a node that was killed serves again.
const SERVED_AGAIN: Duration = Duration::from_secs(2);

/// Calls that are under way at a time in the tests of what clients see.
const CALLERS: usize = 8;

fn rounds(default: usize) -> usize {
    std::env::var("FAILOVER_ROUNDS").map_or(default, |text| text.parse().unwrap())
}

#[test]
fn shards_of_a_killed_node_serve_again_in_time() {
    let mut processes = Processes::start(3);
    let waits = measure(&mut processes, 3, rounds(3), Exit::Kill);
    println!("{waits}");
    assert!(waits.errors.is_empty(), "{waits}");
    assert!(waits.percentile(99) <= SERVED_AGAIN, "{waits}");
}

#[test]
fn a_node_that_is_told_to_end_hands_over_first() {
    let mut processes = Processes::start(3);
    let waits = measure(&mut processes, 3, rounds(3), Exit::Terminate);
    println!("{waits}");
    assert!(waits.errors.is_empty(), "{waits}");
    // Of how long it took nothing is asserted but that nobody had to wait for an election.
    for node in 0..3 {
        let log = processes.log(node);
        assert!(log.contains("leaderships handed over"), "{log}");
    }
}

/// Has each node go in turn, and come back, once every client has been answered again.
fn roll(processes: &mut Processes, exit: Exit) {
    for node in 0..3 {
        processes.await_safe(node);
        match exit {
            Exit::Kill => processes.kill(node),
            Exit::Terminate => assert_eq!(processes.end_by(node, "-TERM"), Some(0)),
        }
        processes.restart(node);
    }
    processes.await_safe(2);
}

/// What callers of the library were told.
#[derive(Debug, Default)]
struct Told {
    counted: i64,
    unknown: i64,
    errors: Vec<Error>,
}

/// Counts and reads until told to stop.
async fn count(client: Client, caller: usize, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("counter:{caller}:{}", number % 50);
        match client.incr(&key).await {
            Ok(_) => told.counted += 1,
            Err(Error::Unknown(_)) => told.unknown += 1,
            Err(error) => told.errors.push(error),
        }
        told.errors.extend(client.get(&key).await.err());
        wait::pause(Duration::from_millis(3)).await;
    }
    told
}

/// Callers of the library while nodes go: what they were told, and what their counters hold.
fn library_during(exit: Exit) -> (Told, i64) {
    let mut processes = Processes::start(3);
    let seeds = (0..3).map(|node| processes.client(node).to_string());
    let seeds = seeds.collect::<Vec<_>>().join(",");
    let stop = Arc::<AtomicBool>::default();
    let told_to_stop = Arc::clone(&stop);
    let callers = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(call(&seeds, told_to_stop))
    });
    roll(&mut processes, exit);
    stop.store(true, Ordering::Relaxed);
    callers.join().unwrap()
}

async fn call(seeds: &str, stop: Arc<AtomicBool>) -> (Told, i64) {
    let client = Client::connect(seeds).await.unwrap();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(count(client.clone(), caller, Arc::clone(&stop))))
        .collect();
    let mut all = Told::default();
    for caller in callers {
        let told = caller.await.unwrap();
        all.counted += told.counted;
        all.unknown += told.unknown;
        all.errors.extend(told.errors);
    }
    let mut sum = 0;
    for key in (0..CALLERS).flat_map(|caller| (0..50).map(move |n| format!("counter:{caller}:{n}")))
    {
        let held = client.get(&key).await.unwrap().unwrap_or_default();
        sum += str::from_utf8(&held).unwrap().parse().unwrap_or(0);
    }
    (all, sum)
}

#[test]
fn the_library_sees_nothing_of_nodes_that_are_told_to_end() {
    let (told, sum) = library_during(Exit::Terminate);
    println!("{told:?}");
    assert!(told.errors.is_empty() && told.unknown == 0, "{told:?}");
    assert_eq!(told.counted, sum);
}

/// What was on its way to a node that is killed is sent again under its number.
#[test]
fn the_library_sees_nothing_of_nodes_that_are_killed() {
    let (told, sum) = library_during(Exit::Kill);
    println!("{told:?}");
    assert!(told.errors.is_empty() && told.unknown == 0, "{told:?}");
    assert_eq!(told.counted, sum);
}

/// redis-py while nodes go; gives the number of writes.
fn redis_py_during(exit: Exit) -> usize {
    let mut processes = Processes::start(3);
    let folder = tempfile::tempdir().unwrap();
    let until = folder.path().join("until");
    File::create(&until).unwrap();
    let ports = (0..3).map(|node| processes.redirect(node).port().to_string());
    let file = until.display().to_string();
    let args: Vec<String> = std::iter::once(file).chain(ports).collect();
    let client = thread::spawn(move || python::run("python/failover.py", &args));
    roll(&mut processes, exit);
    std::fs::remove_file(Path::new(&until)).unwrap();
    client.join().unwrap().trim().parse().unwrap()
}

#[test]
fn redis_py_sees_nothing_of_nodes_that_are_told_to_end() {
    assert!(redis_py_during(Exit::Terminate) > 100);
}

#[test]
fn redis_py_sees_nothing_of_nodes_that_are_killed() {
    assert!(redis_py_during(Exit::Kill) > 100);
}
