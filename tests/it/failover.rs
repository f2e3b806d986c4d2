//! Nodes that go, under load: how long clients of the others wait, and what clients are told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dht_client::{Client, Error};
use dht_proto::Reply;
use dht_tests::nemesis::failover::{Exit, Moment, Trial, Waits, measure};
use dht_tests::nemesis::net::{End, Net};
use dht_tests::process::Processes;
use dht_tests::python;
use dht_tests::resp_client::RespClient;
use dht_tests::wait;

/// Within this time, at p99, every shard of a node that was killed serves again.
const SERVED_AGAIN: Duration = Duration::from_secs(2);

/// Within this time, at p99, every shard of a node that was told to end serves again.
const HANDED_OVER: Duration = Duration::from_millis(100);

/// Attempts at most, until [`IN_TIME`] of them are in time, or as many late. One has to be in time,
/// and fewer than so many late: on a machine that is too busy to let anybody go on within [`CALM`],
/// being late proves nothing and counts as neither.
const ATTEMPTS: usize = 6;
const IN_TIME: usize = 2;
const CALM: Duration = Duration::from_millis(20);

/// Calls that are under way at a time in the tests of what clients see.
const CALLERS: usize = 8;

fn rounds(default: usize) -> usize {
    std::env::var("FAILOVER_ROUNDS").map_or(default, |text| text.parse().unwrap())
}

/// One node after the other goes, and comes back.
fn one_by_one(processes: &mut Processes, exit: Exit) -> Waits {
    let trial = Trial {
        nodes: 3,
        at_once: 1,
        rounds: rounds(3),
    };
    let strike = |processes: &mut Processes, moment, node| exit.strike(processes, moment, node);
    let waits = measure(processes, trial, strike);
    println!("{waits}");
    waits
}

/// Nobody was told of an error, and what was acknowledged is there; all of which was looked at.
#[track_caller]
fn assert_unharmed(waits: &Waits) {
    assert!(waits.errors.is_empty(), "{waits}");
    assert_eq!(waits.counted, waits.held, "{waits}");
    assert!(waits.counted.iter().all(|counted| *counted > 0), "{waits}");
    assert!(
        !waits.reads.is_empty(),
        "nothing was led by who went: {waits}"
    );
    assert_eq!(waits.reads.len(), waits.writes.len(), "{waits}");
}

/// Likewise; every shard serves again in time, and those that others led have never done otherwise.
#[track_caller]
fn check(waits: &Waits) {
    assert_unharmed(waits);
    assert!(waits.percentile(99) <= SERVED_AGAIN, "{waits}");
    let others = waits.others.iter().max();
    assert!(others.is_some_and(|wait| *wait <= SERVED_AGAIN), "{waits}");
}

#[test]
fn shards_of_a_killed_node_serve_again_in_time() {
    let mut processes = Processes::start(3);
    check(&one_by_one(&mut processes, Exit::Kill));
}

#[test]
fn shards_of_a_frozen_node_serve_again_in_time() {
    let mut processes = Processes::start(3);
    check(&one_by_one(&mut processes, Exit::Freeze));
}

/// What the nodes of a network of their own want to hear.
const PASSWORD: &str = "failover";

/// Packets to and from one node after the other are lost, without a word.
/// Nodes of a network of their own are cut off from all others.
fn cut_off(trial: Trial, flags: &'static [&'static str]) {
    if let Some(obstacle) = Net::obstacle() {
        return println!("skipped: {obstacle}");
    }
    // The thread stays in the network for as long as it lives.
    let cut = thread::spawn(move || {
        let mut net = Net::new(trial.nodes);
        net.enter();
        let mut processes = Processes::start_at(net.places(), PASSWORD, flags);
        let waits = measure(&mut processes, trial, |_, moment, node| match moment {
            Moment::Go => net.isolate(node),
            Moment::Return => net.heal(),
        });
        println!("{waits}");
        waits
    });
    check(&cut.join().unwrap());
}

#[test]
fn shards_of_a_node_that_is_cut_off_serve_again_in_time() {
    let trial = Trial {
        nodes: 3,
        at_once: 1,
        rounds: rounds(3),
    };
    cut_off(trial, &[]);
}

#[test]
fn two_of_five_nodes_may_be_cut_off_at_once() {
    cut_off(two_at_once(), FIVE_COPIES);
}

const FIVE_COPIES: &[&str] = &["--replicas", "5"];

fn two_at_once() -> Trial {
    Trial {
        nodes: 5,
        at_once: 2,
        rounds: rounds(2),
    }
}

/// With five copies, two nodes may go at once.
fn two_of_five(exit: Exit) {
    let mut processes = Processes::start_with(5, FIVE_COPIES);
    let strike = |processes: &mut Processes, moment, node| exit.strike(processes, moment, node);
    let waits = measure(&mut processes, two_at_once(), strike);
    println!("{waits}");
    check(&waits);
}

#[test]
fn two_of_five_nodes_may_be_killed_at_once() {
    two_of_five(Exit::Kill);
}

#[test]
fn two_of_five_nodes_may_freeze_at_once() {
    two_of_five(Exit::Freeze);
}

#[test]
fn a_node_that_is_told_to_end_hands_over_first() {
    let mut processes = Processes::start(3);
    let (mut in_time, mut late) = (0, 0);
    for _ in 0..ATTEMPTS {
        let waits = one_by_one(&mut processes, Exit::Terminate);
        assert_unharmed(&waits);
        if waits.percentile(99) <= HANDED_OVER {
            in_time += 1;
        } else if waits.held_up <= CALM {
            late += 1;
        }
        if in_time == IN_TIME || late == IN_TIME {
            break;
        }
    }
    assert!(
        in_time > 0 && late < IN_TIME,
        "{in_time} times, {late} late"
    );
    for node in 0..3 {
        let log = processes.log(node);
        assert!(log.contains("leaderships handed over"), "{log}");
    }
}

/// Whether a node leads any shard, by the word of another.
fn leads(processes: &Processes, asked: usize, node: usize) -> bool {
    let nodes = processes.ask(asked, "CLUSTER NODES").unwrap();
    let at = format!("{}@", processes.redirect(node));
    let mut lines = nodes.lines();
    let line = lines.find(|line| line.contains(&at));
    // Behind eight words stand the slots.
    line.is_some_and(|line| line.split(' ').count() > 8)
}

/// A client that does not read what it asked for holds up the end of a node.
#[test]
fn a_node_that_takes_long_to_end_is_handed_nothing_back() {
    let mut processes = Processes::start(3);
    processes.await_safe(2);
    wait::until("node 0 to lead something", SERVED_AGAIN, || {
        leads(&processes, 1, 0).then_some(())
    });
    let mut idle = TcpStream::connect(processes.client(0)).unwrap();
    let value = vec![b'x'; 1024 * 1024];
    let keys: Vec<String> = (0..32).map(|n| format!("{{long}}{n}")).collect();
    for key in &keys {
        let (name, length) = (key.len(), value.len());
        write!(idle, "*3\r\n$3\r\nSET\r\n${name}\r\n{key}\r\n${length}\r\n").unwrap();
        idle.write_all(&value).unwrap();
        idle.write_all(b"\r\n").unwrap();
        idle.read_exact(&mut [0; "+OK\r\n".len()]).unwrap();
    }
    processes.await_safe(0);
    write!(idle, "MGET {}\r\n", keys.join(" ")).unwrap();
    idle.read_exact(&mut [0; 1]).unwrap();
    processes.tell(0, "-TERM");
    let told = Instant::now();
    wait::until("node 0 to lead nothing", SERVED_AGAIN, || {
        (!leads(&processes, 1, 0)).then_some(())
    });
    println!("handed over after {:?}", told.elapsed());
    // It can still say where to go: clients that keep to what they are shown get to know it.
    let shown = processes.ask(1, "CLUSTER SLOTS").unwrap();
    let port = format!(":{}\r\n", processes.redirect(0).port());
    assert_eq!(shown.matches(&port).count(), 1, "{shown}");
    // Longer than it takes until leaderships go to who is to have them.
    while told.elapsed() < 2 * SERVED_AGAIN {
        assert!(!leads(&processes, 1, 0), "after {:?}", told.elapsed());
        wait::go_on_for(Duration::from_millis(50));
    }
    drop(idle);
    assert_eq!(processes.wait(0), Some(0));
}

/// What plain clients of a node that ends were told, each doing one thing after the other.
#[derive(Debug, Default)]
struct Parted {
    /// By client: increments that were answered.
    counted: Vec<i64>,
    errors: BTreeMap<String, usize>,
    longest: Duration,
}

/// Increments a counter of its own until the connection ends.
async fn count_until_parted(node: SocketAddr, key: String, told: Arc<Mutex<Parted>>) {
    let mut client = RespClient::connect(node).await.unwrap();
    let mut counted = 0;
    loop {
        let asked = Instant::now();
        let answer = client.call(&["INCR", &key]).await;
        let mut told = told.lock().unwrap();
        match answer {
            Ok(Reply::Int(now)) => {
                counted += 1;
                assert_eq!(now, counted, "{key}");
                told.longest = told.longest.max(asked.elapsed());
            }
            Ok(Reply::Error(error)) => {
                *told.errors.entry(error.prefix().to_owned()).or_default() += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => return told.counted.push(counted),
        }
    }
}

#[test]
fn clients_of_a_node_that_is_told_to_end_wait_for_a_moment_at_most() {
    let mut processes = Processes::start(3);
    processes.await_safe(2);
    let (node, told) = (processes.client(0), Arc::<Mutex<Parted>>::default());
    let shared = Arc::clone(&told);
    let clients = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let clients: Vec<_> = (0..32)
                .map(|n| count_until_parted(node, format!("own:{n}"), Arc::clone(&shared)))
                .map(tokio::spawn)
                .collect();
            for client in clients {
                client.await.unwrap();
            }
        });
    });
    wait::go_on_for(Duration::from_millis(500));
    assert_eq!(processes.end_by(0, "-TERM"), Some(0));
    clients.join().unwrap();
    let told = std::mem::take(&mut *told.lock().unwrap());
    println!("{told:?}");
    let may_be_told = |error: &String| ["CLUSTERDOWN", "TRYAGAIN"].contains(&error.as_str());
    assert!(told.errors.keys().all(may_be_told), "{told:?}");
    assert!(told.longest < Duration::from_secs(1), "{told:?}");
    // What was asked last may have been done, and nothing else that was not answered.
    let read = |n| processes.ask(1, &format!("GET own:{n}")).unwrap();
    let held = |n| read(n).lines().nth(1).unwrap().parse::<i64>().unwrap();
    let held: i64 = (0..32).map(held).sum();
    let counted: i64 = told.counted.iter().sum();
    assert!((counted..=counted + 32).contains(&held), "{held}: {told:?}");
}

/// Has each node go in turn, and come back once all is served without it.
fn roll(processes: &mut Processes, exit: Exit) {
    for node in 0..3 {
        processes.await_safe(node);
        exit.strike(processes, Moment::Go, node);
        processes.await_served_without(node);
        exit.strike(processes, Moment::Return, node);
    }
    processes.await_safe(2);
}

/// What callers of the library were told.
#[derive(Debug, Default)]
struct Told {
    counted: i64,
    unknown: i64,
    errors: Vec<Error>,
    longest: Duration,
}

/// Counts and reads until told to stop.
async fn count(client: Client, caller: usize, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let asked = Instant::now();
        let key = format!("counter:{caller}:{}", number % 50);
        let counted = match number % 4 {
            0 => client
                .pipeline()
                .incr(&key)
                .get(&key)
                .exec()
                .await
                .map(drop),
            _ => client.incr(&key).await.map(drop),
        };
        match counted {
            Ok(_) => told.counted += 1,
            Err(Error::Unknown(_)) => told.unknown += 1,
            Err(error) => told.errors.push(error),
        }
        told.longest = told.longest.max(asked.elapsed());
        let asked = Instant::now();
        told.errors.extend(client.get(&key).await.err());
        told.longest = told.longest.max(asked.elapsed());
        wait::pause(Duration::from_millis(3)).await;
    }
    told
}

/// Looks at all nodes at once until told to stop.
async fn look(client: Client, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        told.errors.extend(client.dbsize().await.err());
        told.longest = told.longest.max(asked.elapsed());
        let asked = Instant::now();
        let read = client.call(["MGET", "a", "b", "c", "d", "e", "f"]).await;
        told.errors.extend(read.err());
        told.longest = told.longest.max(asked.elapsed());
        wait::pause(Duration::from_millis(50)).await;
    }
    told
}

/// Callers of the library, on a thread of their own.
struct Callers {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<(Told, i64)>,
}

impl Callers {
    /// Some of them look at all nodes, if that is wanted.
    fn start(processes: &Processes, lookers: usize) -> Self {
        let nodes = (0..3).map(|node| processes.client(node).to_string());
        let nodes = nodes.collect::<Vec<_>>().join(",");
        let seeds = match processes.password() {
            Some(password) => format!("dht://:{password}@{nodes}"),
            None => nodes,
        };
        let stop = Arc::<AtomicBool>::default();
        let told_to_stop = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .unwrap()
                .block_on(call(&seeds, lookers, told_to_stop))
        });
        Self { stop, thread }
    }

    /// What they were told, and what their counters hold.
    fn stop(self) -> (Told, i64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Callers of the library while nodes go: what they were told, and what their counters hold.
fn library_during(exit: Exit) -> (Told, i64) {
    let mut processes = Processes::start(3);
    let callers = Callers::start(&processes, 0);
    roll(&mut processes, exit);
    callers.stop()
}

async fn call(seeds: &str, lookers: usize, stop: Arc<AtomicBool>) -> (Told, i64) {
    let client = Client::connect(seeds).await.unwrap();
    let counting =
        (0..CALLERS).map(|caller| tokio::spawn(count(client.clone(), caller, Arc::clone(&stop))));
    let looking = (0..lookers).map(|_| tokio::spawn(look(client.clone(), Arc::clone(&stop))));
    let callers: Vec<_> = counting.chain(looking).collect();
    let mut all = Told::default();
    for caller in callers {
        let told = caller.await.unwrap();
        all.counted += told.counted;
        all.unknown += told.unknown;
        all.errors.extend(told.errors);
        all.longest = all.longest.max(told.longest);
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

#[test]
fn the_library_sees_nothing_of_nodes_that_are_frozen() {
    let (told, sum) = library_during(Exit::Freeze);
    println!("{told:?}");
    assert!(told.errors.is_empty() && told.unknown == 0, "{told:?}");
    assert_eq!(told.counted, sum);
}

/// For so long connections are cut: longer than a caller waits who is told nothing.
const CUT: Duration = Duration::from_secs(6);

/// At the latest then callers of the library have an answer, also on a machine that is busy: they
/// wait for a silent node for 1.5 seconds, and nodes give up after 5.
const ANSWERED: Duration = Duration::from_secs(4);

/// Callers of the library while something of each node in turn is cut.
fn library_while(cut: fn(&mut Net, usize)) {
    if let Some(obstacle) = Net::obstacle() {
        return println!("skipped: {obstacle}");
    }
    // The thread stays in the network for as long as it lives.
    let told = thread::spawn(move || {
        let mut net = Net::new(3);
        net.enter();
        let processes = Processes::start_at(net.places(), PASSWORD, &[]);
        (0..3).for_each(|node| processes.await_safe(node));
        let callers = Callers::start(&processes, 1);
        for node in 0..3 {
            (0..3).for_each(|node| processes.await_safe(node));
            wait::until("the node to lead something", CUT, || {
                leads(&processes, (node + 1) % 3, node).then_some(())
            });
            cut(&mut net, node);
            wait::go_on_for(CUT);
            net.heal();
        }
        callers.stop()
    });
    let (told, sum) = told.join().unwrap();
    println!("{told:?}");
    assert!(told.errors.is_empty() && told.unknown == 0, "{told:?}");
    assert!(told.counted > 1000, "{told:?}");
    assert_eq!(told.counted, sum);
    assert!(told.longest < ANSWERED, "{told:?}");
}

/// Such a node says that it is there, and that it leads.
#[test]
fn the_library_sees_nothing_of_a_leader_that_is_cut_off_from_the_other_nodes() {
    library_while(|net, node| {
        for other in (0..3).filter(|other| *other != node) {
            net.cut_both(End::Node(node), End::Node(other));
        }
    });
}

/// All others say that it leads, and reach it.
#[test]
fn the_library_sees_nothing_of_a_leader_that_is_cut_off_from_it_alone() {
    library_while(|net, node| net.cut_both(End::Node(node), End::Clients));
}

#[test]
fn the_library_sees_nothing_of_a_node_that_is_cut_off_from_all() {
    library_while(Net::isolate);
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

#[test]
fn redis_py_sees_nothing_of_nodes_that_are_frozen() {
    assert!(redis_py_during(Exit::Freeze) > 100);
}
