//! Faults in real processes and networks, under load: no client is told anything untrue.

use std::time::Duration;

use dht_tests::nemesis::faults::Fault;
use dht_tests::nemesis::net::Net;
use dht_tests::nemesis::{Plan, Report, run};
use dht_tests::random::Random;

/// Carries out a plan where there can be a network for it; else says why not.
fn try_run(plan: &Plan) -> Option<Report> {
    if let Some(obstacle) = Net::obstacle() {
        println!("skipped: {obstacle}");
        return None;
    }
    let report = run(plan);
    println!("{report}");
    for fault in &plan.faults {
        assert!(report.counts.0.contains_key(fault), "no {fault:?}");
    }
    Some(report)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn clients_are_told_the_truth_whatever_fails() {
    let report = try_run(&Plan {
        nodes: setting("NEMESIS_NODES", 3) as usize,
        clients: 12,
        pause_ms: 12,
        time: Duration::from_secs(setting("NEMESIS_SECONDS", 60)),
        faults: Fault::ALL.to_vec(),
        seed: Random::seeded().next(),
    });
    if let Some(report) = report {
        assert!(report.kept > 1000 && report.counted > 1000, "{report}");
        assert!(report.transactions > 300, "{report}");
    }
}

/// Had a leader said yes too early, what it alone has would be lost.
#[test]
fn what_a_leader_with_frozen_followers_acknowledged_survives_it() {
    let report = try_run(&Plan {
        nodes: 3,
        clients: 24,
        pause_ms: 1,
        time: Duration::from_secs(12),
        faults: vec![Fault::FreezeFollowers],
        seed: Random::seeded().next(),
    });
    if let Some(report) = report {
        assert!(report.kept > 1000 && report.counted > 1000, "{report}");
    }
}
