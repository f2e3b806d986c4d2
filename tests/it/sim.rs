//! Whole clusters simulated, each from one seed; and known bugs put back, which have to be noticed.

use std::process::Command;

use dht_node::core::mutation::Mutation;
use dht_tests::sim::report::Report;
use dht_tests::sim::run::{Options, run, run_many};
use dht_tests::sim::tally::Fault;

/// Seeds that have to count, and to be right.
const SEEDS: u64 = 500;
/// More that are run, since of a few too little comes, or too much to be judged.
const SPARE: u64 = 10;
/// Of all of them, how many may be too much to be judged.
const UNDECIDED: usize = 5;
/// Writes that clients have to have sent again, in all of them.
const REPEATS: usize = 300;
/// The program that runs seeds in a process of its own.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sim");

#[test]
fn whatever_goes_wrong_promises_are_kept() {
    let summary = run_many(1..SEEDS + SPARE + 1, Options::default(), |_| true);
    println!("{summary}");
    assert!(summary.failed.is_empty(), "{} failed", summary.failed.len());
    assert!(summary.counted as u64 >= SEEDS);
    assert!(summary.undecided() <= UNDECIDED, "{}", summary.undecided());
    assert!(summary.repeats > REPEATS, "{}", summary.repeats);
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

#[test]
fn a_run_tells_what_went_wrong_and_how_often() {
    let summary = run_many(1..3, Options::default(), |_| true).to_string();
    for fault in Fault::ALL {
        let (_, count) = summary.split_once(&format!("{fault:?} ")).expect(&summary);
        assert!(count.starts_with(|first: char| first.is_ascii_digit()));
    }
}

#[test]
fn too_few_seeds_prove_nothing() {
    let ran = Command::new(PROGRAM).args(["--seeds", "1"]).output();
    let ran = ran.unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{printed}");
    let last = printed.lines().last().unwrap_or_default();
    assert!(last.starts_with("never happened: "), "{printed}");
    assert!(last.ends_with("; too few seeds"), "{printed}");
}

/// What the documents say that can be typed, with numbers that take less long.
#[test]
fn what_documents_say_of_the_simulator_can_be_typed() {
    let text = include_str!("../../docs/consistency.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let typed = quoted.filter_map(|words| words.strip_prefix("scripts/sim "));
    let typed: Vec<_> = typed.collect();
    for wanted in ["--seeds", "--trace", "--mutation"] {
        assert!(typed.iter().any(|line| line.contains(wanted)), "{wanted}");
    }
    for line in typed {
        let words = line.split(' ').map(|word| match word {
            "SEED" => "3",
            "NAME" => "LocalExpiry",
            "1000" => "1",
            word => word,
        });
        let ran = Command::new(PROGRAM).args(words).output().unwrap();
        let code = ran.status.code();
        assert!(matches!(code, Some(0 | 1)), "scripts/sim {line}: {code:?}");
    }
}

#[test]
fn a_trace_is_printed_line_by_line() {
    let printed = Command::new(PROGRAM).args(["3", "--trace"]).output();
    let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
    let here = run(3, Options::default());
    let last = printed.lines().rev().nth(1).unwrap_or_default();
    assert_eq!(last, here.to_string().lines().last().unwrap());
    let traced = printed.lines().count() - 2;
    assert_eq!(traced as u64, here.trace_lines);
    for what in [
        "start 0 at seat 0",
        "fault ",
        " leads shard ",
        "all is calm",
    ] {
        assert!(printed.contains(what), "{what}");
    }
}

/// Looks for a seed by which a bug is noticed, and checks by whom; first at the one that was found
/// last time, which saves minutes.
#[track_caller]
fn check(mutation: Mutation, last: u64, checkers: &[&str]) {
    let options = Options {
        mutation: Some(mutation),
        ..Options::default()
    };
    let by = |report: &Report| report.found_by(checkers);
    let report = run(last, options);
    if by(&report) {
        return println!("{mutation:?}: {report}");
    }
    let summary = run_many(1..SEEDS + 1, options, |report| !by(report));
    let caught = summary.failed.iter().find(|report| by(report));
    let caught = caught.unwrap_or_else(|| panic!("{mutation:?} was not noticed:\n{summary}"));
    println!("{mutation:?}: {caught}");
}

#[test]
fn bugs_put_back_are_noticed() {
    let cases: [(Mutation, u64, &[&str]); 18] = [
        (Mutation::EarlyAnswer, 2, &["acknowledged", "linearizable"]),
        (Mutation::LeaseBased, 9, &["linearizable"]),
        (Mutation::NoVoteGuard, 38, &["linearizable"]),
        (Mutation::LeaseAfterTransfer, 5, &["linearizable"]),
        (Mutation::EarlyLease, 27, &["linearizable"]),
        (Mutation::RetryTwice, 2, &["counters"]),
        (Mutation::LocalExpiry, 2, &["state", "linearizable"]),
        (Mutation::NamesReused, 2, &["log", "time", "panic"]),
        (Mutation::NoTombstones, 4, &["log", "leader", "panic"]),
        (Mutation::WaiterByIndex, 2, &["counters", "linearizable"]),
        (Mutation::ReadAhead, 2, &["linearizable"]),
        (
            Mutation::AckBeforeFlush,
            167,
            &["acknowledged", "linearizable", "log", "state", "panic"],
        ),
        (Mutation::VoteBeforeFlush, 8, &["leader"]),
        (
            Mutation::CutTooFar,
            6,
            &["state", "acknowledged", "linearizable", "panic"],
        ),
        (Mutation::BareSnapshot, 6, &["state"]),
        (
            Mutation::LateCopy,
            17,
            &["state", "counters", "linearizable"],
        ),
        (Mutation::DamageIsTorn, 215, &["damage"]),
        (Mutation::TornIsDamage, 17, &["damage"]),
    ];
    assert_eq!(cases.map(|(mutation, ..)| mutation), Mutation::ALL);
    for (mutation, last, checkers) in cases {
        check(mutation, last, checkers);
    }
}
