//! Nodes that are gone, frozen, or back again: what clients of the others are told, and how fast.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dht_proto::limits;
use dht_tests::process::{Processes, ask, free_addresses};
use dht_tests::random::Random;
use dht_tests::wait;

/// Time for the others to notice that a node does not answer or is back, and that nobody takes its
/// place.
const NOTICED: Duration = Duration::from_secs(8);
/// Time for a cluster to form, or to find out that it cannot.
const FORMED: Duration = Duration::from_secs(30);
/// What needs no waiting is answered within this time.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Keys of which each node leads some.
const KEYS: usize = 30;

/// One copy of each shard: what a node leads is led by no other after it.
const ONE_COPY: &[&str] = &["--replicas", "1"];

fn answer(cluster: &Processes, node: usize, command: &str) -> String {
    let start = Instant::now();
    let answer = ask(cluster.client(node), command).unwrap();
    let took = start.elapsed();
    let limit = limits::DEADLINE + Duration::from_secs(1);
    assert!(took < limit, "{took:?}: {answer}");
    answer
}

fn set(cluster: &Processes, node: usize, key: usize) -> String {
    answer(cluster, node, &format!("SET key:{key} v"))
}

/// The keys that a node leads, by what it says itself.
fn keys_of(cluster: &Processes, node: usize) -> Vec<usize> {
    let is_here = |key: &usize| {
        let asked = ask(cluster.redirect(node), &format!("EXISTS key:{key}")).unwrap();
        asked.starts_with(':')
    };
    (0..KEYS).filter(is_here).collect()
}

/// Waits until a write is refused at once, because it is known that nobody could take it.
fn until_refused_at_once(cluster: &Processes, node: usize, key: usize) {
    wait::until("the loss to be noticed", NOTICED, || {
        let start = Instant::now();
        let answer = set(cluster, node, key);
        (start.elapsed() < AT_ONCE && answer.starts_with("-CLUSTERDOWN ")).then_some(())
    });
}

#[test]
fn what_a_dead_node_leads_is_not_done_and_the_rest_is() {
    let mut cluster = Processes::start_with(3, ONE_COPY);
    let lost = keys_of(&cluster, 2);
    assert!(!lost.is_empty() && lost.len() < KEYS);
    // Sent writes too, so that it is the link that tells, not the want of a session.
    (0..KEYS).for_each(|key| assert_eq!(set(&cluster, key % 2, key), "+OK\r\n"));
    cluster.kill(2);
    (0..2).for_each(|node| until_refused_at_once(&cluster, node, lost[0]));
    let check = |cluster: &Processes| {
        for key in 0..KEYS {
            let (read, write) = (format!("GET key:{key}"), format!("SET key:{key} v"));
            let (expect_read, expect_write) = if lost.contains(&key) {
                ("-CLUSTERDOWN ", "-CLUSTERDOWN ")
            } else {
                ("$1\r\nv\r\n", "+OK\r\n")
            };
            let read = answer(cluster, key % 2, &read);
            assert!(read.starts_with(expect_read), "key {key}: {read}");
            let written = answer(cluster, key % 2, &write);
            assert!(written.starts_with(expect_write), "key {key}: {written}");
        }
        let count = answer(cluster, 0, "DBSIZE");
        assert!(count.starts_with("-CLUSTERDOWN "), "{count}");
    };
    check(&cluster);

    // It comes back without what it held. Nobody makes that up, until it is given up by number.
    cluster.launch_again(2);
    let lost_shards = wait::until("the shards to be told", NOTICED, || {
        let info = answer(&cluster, 0, "CLUSTER INFO");
        let shards = info
            .split("cluster_shards_unled:")
            .nth(1)?
            .trim()
            .to_owned();
        (!shards.is_empty()).then(|| shards.replace(',', " "))
    });
    check(&cluster);
    let empty = format!("CLUSTER EMPTY {lost_shards}");
    wait::until("the shards to begin anew", NOTICED, || {
        let answer = answer(&cluster, 0, &empty);
        // Until the new node has its seat.
        let is_early = answer.contains("has too few nodes that are up");
        assert!(is_early || answer == "+OK\r\n", "{answer}");
        (!is_early).then_some(())
    });
    for key in 0..KEYS {
        wait::until("a key to be served", NOTICED, || {
            (set(&cluster, key % 3, key) == "+OK\r\n").then_some(())
        });
    }
    let again = answer(&cluster, 0, &empty);
    assert!(
        again.contains("has a leader and has lost nothing"),
        "{again}"
    );
}

#[test]
fn a_write_that_a_frozen_node_was_sent_is_unknown_and_later_ones_are_not_done() {
    let cluster = Processes::start_with(3, ONE_COPY);
    let lost = keys_of(&cluster, 1);
    assert_eq!(set(&cluster, 0, lost[0]), "+OK\r\n");
    cluster.pause(1);
    let sent = set(&cluster, 0, lost[0]);
    assert!(sent.starts_with("-UNKNOWN "), "{sent}");
    until_refused_at_once(&cluster, 2, lost[0]);
    // A read has not happened in any case.
    let read = answer(&cluster, 0, &format!("GET key:{}", lost[0]));
    assert!(read.starts_with("-CLUSTERDOWN "), "{read}");

    cluster.resume(1);
    wait::until("the node to be heard again", NOTICED, || {
        (set(&cluster, 0, lost[0]) == "+OK\r\n").then_some(())
    });
}

#[test]
fn what_a_dead_node_led_is_served_by_others() {
    let mut cluster = Processes::start(3);
    let led = keys_of(&cluster, 2);
    assert!(!led.is_empty() && led.len() < KEYS);
    (0..KEYS).for_each(|key| assert_eq!(set(&cluster, key % 2, key), "+OK\r\n"));
    cluster.await_safe(0);
    cluster.kill(2);
    // Nobody is refused meanwhile: the node that was asked waits for the new leader.
    led.iter()
        .for_each(|key| assert_eq!(set(&cluster, key % 2, *key), "+OK\r\n"));
    assert_eq!(answer(&cluster, 1, "DBSIZE"), format!(":{KEYS}\r\n"));

    cluster.restart(2);
    cluster.await_safe(2);
    // With the new one any other may be lost.
    cluster.kill(0);
    for key in 0..KEYS {
        let read = answer(&cluster, 2, &format!("GET key:{key}"));
        assert_eq!(read, "$1\r\nv\r\n");
    }
}

/// Whoever waits for what a node says of the cluster may restart all of them, however early it is
/// asked.
#[test]
fn nodes_that_restart_one_by_one_when_all_is_safe_lose_nothing() {
    let mut cluster = Processes::start(3);
    (0..KEYS).for_each(|key| assert_eq!(set(&cluster, key % 2, key), "+OK\r\n"));
    cluster.await_safe(0);
    for node in 0..3 {
        cluster.kill(node);
        cluster.begin_again(node);
        cluster.await_safe(node);
    }
    assert_eq!(answer(&cluster, 0, "DBSIZE"), format!(":{KEYS}\r\n"));
}

#[test]
fn a_frozen_leader_is_replaced_and_its_clients_wait() {
    let cluster = Processes::start(3);
    let led = keys_of(&cluster, 1);
    assert_eq!(set(&cluster, 0, led[0]), "+OK\r\n");
    cluster.pause(1);
    // It was sent to the frozen node first, and is done once, by whom it reaches.
    assert_eq!(set(&cluster, 0, led[0]), "+OK\r\n");
    let read = format!("GET key:{}", led[0]);
    assert_eq!(answer(&cluster, 2, &read), "$1\r\nv\r\n");
    cluster.resume(1);
    wait::until("the node to follow", NOTICED, || {
        (answer(&cluster, 1, &read) == "$1\r\nv\r\n").then_some(())
    });
}

#[test]
fn without_a_majority_nothing_is_done_and_nobody_waits_for_ever() {
    let mut cluster = Processes::start(3);
    assert_eq!(set(&cluster, 0, 0), "+OK\r\n");
    cluster.kill(1);
    cluster.kill(2);
    for key in 0..3 {
        let written = set(&cluster, 0, key);
        let is_told = ["-CLUSTERDOWN ", "-UNKNOWN "].iter();
        assert!(
            is_told.clone().any(|kind| written.starts_with(kind)),
            "{written}"
        );
    }
    (0..3).for_each(|key| until_refused_at_once(&cluster, 0, key));
    let read = answer(&cluster, 0, "GET key:0");
    assert!(read.starts_with("-CLUSTERDOWN "), "{read}");
}

#[test]
fn nodes_that_were_started_differently_tell_and_do_not_serve() {
    let ports = free_addresses(4);
    let join = format!("{},{}", ports[0], ports[2]);
    let start =
        |ports, shards| Processes::try_start_at(ports, &["--join", &join, "--shards", shards]);
    let (one, other) = (start(&ports[..2], "64"), start(&ports[2..], "32"));
    for (node, told) in [(&one, "32"), (&other, "64")] {
        let reason = format!("it was started with --shards {told}");
        wait::until("the reason", NOTICED, || {
            let refused = answer(node, 0, "SET k v");
            assert!(refused.starts_with("-CLUSTERDOWN "), "{refused}");
            (refused.contains(&reason) && node.log(0).contains(&reason)).then_some(())
        });
    }
}

#[test]
fn a_node_that_nobody_expects_does_not_serve() {
    let cluster = Processes::start(2);
    let join = format!("{},127.0.0.1:1", cluster.client(0));
    let stranger = Processes::try_start(&["--join", &join]);
    wait::until("the node to say what it waits for", NOTICED, || {
        let refused = answer(&stranger, 0, "SET k v");
        assert!(refused.starts_with("-CLUSTERDOWN "), "{refused}");
        let waits = "there is a cluster, but none of the addresses in --join is this node";
        (refused.contains(waits) && stranger.log(0).contains(waits)).then_some(())
    });
    assert_eq!(set(&cluster, 0, 0), "+OK\r\n");
}

/// They cannot be let in again, and there must not be a second cluster.
const LOST: &str = "-CLUSTERDOWN joining a cluster of which 1 of the 3 nodes that decide can be \
                    reached; if the others have lost what they kept, all nodes have to be started \
                    anew";

fn start_all_anew(cluster: &mut Processes) {
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.begin_again(node));
    (0..3).for_each(|node| cluster.await_safe(node));
}

#[test]
fn two_of_three_that_have_lost_their_memory_say_what_to_do() {
    let mut cluster = Processes::start(3);
    cluster.await_safe(0);
    (1..3).for_each(|node| cluster.kill(node));
    (1..3).for_each(|node| cluster.launch_again(node));
    for node in [1, 2] {
        wait::until("the reason", NOTICED, || {
            (answer(&cluster, node, "SET k v").trim_end() == LOST).then_some(())
        });
    }
    start_all_anew(&mut cluster);
    assert_eq!(set(&cluster, 1, 0), "+OK\r\n");
}

/// Nodes that end and start at any moment while a cluster forms: there is one in the end, or there
/// is none and they say why.
#[test]
fn nodes_that_restart_while_a_cluster_forms_are_never_two() {
    let mut random = Random::seeded();
    let mut cluster = Processes::start(3);
    for round in 0..6 {
        (0..3).for_each(|node| cluster.kill(node));
        (0..3).for_each(|node| cluster.begin_again(node));
        for _ in 0..random.below(12) {
            wait::go_on_for(Duration::from_millis(random.below(200) as u64));
            let node = random.below(3);
            cluster.kill(node);
            cluster.begin_again(node);
        }
        let has_lost = |node| {
            let refused = cluster.ask(node, "SET k v").ok()?;
            refused
                .starts_with("-CLUSTERDOWN joining a cluster of which")
                .then_some(())
        };
        let serves = |node: usize| {
            let info = cluster.ask(node, "CLUSTER INFO").ok()?;
            info.contains("cluster_safe:1").then_some(())
        };
        let formed = wait::until("one cluster, or why there is none", FORMED, || {
            let formed = (0..3).all(|node| serves(node).is_some());
            let has_none = (0..3).any(|node| has_lost(node).is_some());
            (formed || has_none).then_some(formed)
        });
        println!("round {round}: formed {formed}");
        if !formed {
            start_all_anew(&mut cluster);
        }
        let members = |node| {
            let nodes = cluster.ask(node, "CLUSTER NODES").unwrap();
            let ids = nodes
                .lines()
                .filter_map(|line| line.get(..40).map(str::to_owned));
            ids.collect::<BTreeSet<_>>()
        };
        let all = [0, 1, 2].map(members);
        assert_eq!(all[0].len(), 3, "{all:?}");
        assert!(all.iter().all(|ids| *ids == all[0]), "{all:?}");
        assert_eq!(set(&cluster, 0, round), "+OK\r\n");
    }
}
