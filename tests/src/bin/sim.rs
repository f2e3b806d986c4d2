//! Runs seeds of the simulator, as many at a time as there are processors.

use std::process::ExitCode;

use dht_node::core::mutation::Mutation;
use dht_tests::sim::report::Report;
use dht_tests::sim::run::{Options, run, run_many};

const USAGE: &str = "\
usage: sim SEED [--trace] [--mutation NAME]
       sim --seeds N [--from SEED] [--mutation NAME]
       sim --mutation NAME";

/// Seeds among which a bug is looked for, where nothing is said of them.
const SEEDS: u64 = 500;

/// What was asked for on the command line.
#[derive(Default)]
struct Asked {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: Option<u64>,
    options: Options,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match parse(&words) {
        Some(Asked {
            seed: Some(seed),
            seeds: None,
            from: None,
            options,
        }) => one(seed, options),
        Some(Asked {
            seed: None,
            seeds: Some(count),
            from,
            options,
        }) => many(from.unwrap_or(1), count, options),
        Some(Asked {
            seed: None,
            seeds: None,
            from: None,
            options: options @ Options {
                mutation: Some(_), ..
            },
        }) => many(1, SEEDS, options),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(words: &[String]) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse().ok();
        match word.as_str() {
            "--trace" => asked.options.printed = true,
            "--seeds" => asked.seeds = Some(number()?),
            "--from" => asked.from = Some(number()?),
            "--mutation" => asked.options.mutation = Some(mutation(words.next()?)?),
            seed => asked.seed = Some(seed.parse().ok()?),
        }
    }
    Some(asked)
}

fn mutation(name: &str) -> Option<Mutation> {
    let mut all = Mutation::ALL.into_iter();
    all.find(|mutation| format!("{mutation:?}").eq_ignore_ascii_case(name))
}

fn one(seed: u64, options: Options) -> ExitCode {
    let report = run(seed, options);
    println!("{report}\n{}", report.tally);
    success(report.is_right())
}

fn many(first: u64, count: u64, options: Options) -> ExitCode {
    // Of a bug, the first trace is enough.
    let go_on = |report: &Report| options.mutation.is_none() || report.is_right();
    let summary = run_many(first..first + count, options, go_on);
    println!("{summary}");
    // With a bug nothing is proved, and the runs end as soon as it is noticed.
    let flaw = summary.flaw().filter(|_| options.mutation.is_none());
    if let Some(flaw) = &flaw {
        println!("{flaw}");
    }
    success(summary.failed.is_empty() && flaw.is_none())
}

fn success(is_right: bool) -> ExitCode {
    if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
