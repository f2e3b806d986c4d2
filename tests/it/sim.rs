//! Whole clusters simulated, each from one seed; and known bugs put back, which have to be noticed.

use std::process::Command;

use dht_node::core::mutation::Mutation;
use dht_tests::sim::report::Report;
use dht_tests::sim::run::{Options, run, run_many};

/// Seeds that have to count, and to be right.
const SEEDS: u64 = 500;
/// The program that runs seeds in a process of its own.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sim");

/// Seeds whose replicas come to rest too late, or in which too little happens to count, with what
/// is to be mended; no promise about data is broken in them.
const OPEN: [u64; 2] = [137, 298];

#[test]
fn whatever_goes_wrong_promises_are_kept() {
    let summary = run_many(1..SEEDS + OPEN.len() as u64 + 1, Options::default(), |_| {
        true
    });
    println!("{summary}");
    for report in &summary.failed {
        let is_safe = report
            .faults
            .iter()
            .all(|found| found.checker == "liveness");
        let is_known = OPEN.contains(&report.seed) && is_safe;
        assert!(is_known, "seed {} failed", report.seed);
    }
    assert!(summary.counted as u64 >= SEEDS);
    let missing = summary.missing();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn a_seed_has_one_trace_in_any_process() {
    for seed in [3, 4, 5] {
        let here = run(seed, Options::default());
        let there = Command::new(PROGRAM).arg(seed.to_string()).output();
        let there = String::from_utf8(there.unwrap().stdout).unwrap();
        let same = format!("seed {seed}: trace {:016x} ", here.trace_hash);
        assert!(there.starts_with(&same), "{same}\n{there}");
    }
}

/// Looks for a seed by which a bug is noticed, and checks by whom.
#[track_caller]
fn check(mutation: Mutation, checkers: &[&str]) {
    let options = Options {
        mutation: Some(mutation),
        ..Options::default()
    };
    let summary = run_many(1..SEEDS + 1, options, Report::is_right);
    let by = |report: &Report| report.found_by(checkers);
    let caught = summary.failed.iter().find(|report| by(report));
    let caught = caught.unwrap_or_else(|| panic!("{mutation:?} was not noticed:\n{summary}"));
    println!("{mutation:?}: {caught}");
}

#[test]
fn bugs_put_back_are_noticed() {
    let cases: [(Mutation, &[&str]); 10] = [
        (Mutation::EarlyAnswer, &["acknowledged", "linearizable"]),
        (Mutation::LeaseBased, &["linearizable"]),
        (Mutation::NoVoteGuard, &["linearizable"]),
        (Mutation::LeaseAfterTransfer, &["linearizable"]),
        (Mutation::EarlyLease, &["linearizable"]),
        (Mutation::RetryTwice, &["counters"]),
        (Mutation::LocalExpiry, &["state", "linearizable"]),
        (Mutation::NamesReused, &["log", "time", "panic"]),
        (Mutation::WaiterByIndex, &["counters", "linearizable"]),
        (Mutation::ReadAhead, &["linearizable"]),
    ];
    assert_eq!(cases.map(|(mutation, _)| mutation), Mutation::ALL);
    for (mutation, checkers) in cases {
        check(mutation, checkers);
    }
}
