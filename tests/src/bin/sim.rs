//! Runs seeds of the simulator: `sim SEED [--trace]`, or `sim --seeds N [--from SEED]`.

use std::process::ExitCode;

use dht_tests::sim::report::Summary;
use dht_tests::sim::run::run;

const USAGE: &str = "usage: sim SEED [--trace] | sim --seeds N [--from SEED]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().ok();
    let done = match words[..] {
        [seed] => number(seed).map(|seed| one(seed, false)),
        [seed, "--trace"] => number(seed).map(|seed| one(seed, true)),
        ["--seeds", count] => number(count).map(|count| many(1, count)),
        ["--seeds", count, "--from", first] => number(count)
            .zip(number(first))
            .map(|(count, first)| many(first, count)),
        _ => None,
    };
    done.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

fn one(seed: u64, printed: bool) -> ExitCode {
    let report = run(seed, printed);
    println!("{report}");
    println!("{}", report.tally);
    if report.is_right() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn many(first: u64, count: u64) -> ExitCode {
    let mut summary = Summary::default();
    for seed in first..first + count {
        summary.add(run(seed, false));
    }
    println!("{summary}");
    if summary.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
