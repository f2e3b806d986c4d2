//! What a run has come to, and whether it counts.

use std::fmt;

use super::tally::{Fault, Tally};

/// Acknowledged writes that a run needs to count.
pub const WRITES: usize = 1000;
/// Faults that it needs, those of single frames left out.
pub const FAULTS: u64 = 10;

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The hash of its trace.
    pub trace_hash: u64,
    /// The lines of its trace.
    pub trace_lines: u64,
    /// The faults that happened.
    pub tally: Tally,
    /// Writes that were acknowledged.
    pub writes: usize,
    /// Operations whose outcome their client does not know.
    pub unknown: usize,
    /// All operations.
    pub operations: usize,
    /// How often the leader of a shard became another one.
    pub leader_changes: u64,
    /// States of replicas that were compared.
    pub states: u64,
    /// The time that passed, in milliseconds of the simulator.
    pub passed_ms: u64,
    /// What is wrong.
    pub faults: Vec<Found>,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The checker that found it.
    pub checker: &'static str,
    /// What it says.
    pub what: String,
}

impl Report {
    /// Whether enough happened for the run to tell something.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.writes >= WRITES && self.tally.events() >= FAULTS && self.leader_changes > 0
    }

    /// Whether one of these checkers has found something.
    #[must_use]
    pub fn found_by(&self, checkers: &[&str]) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|found| checkers.contains(&found.checker))
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: trace {:016x} ({} lines), {} ms, {} operations, {} acknowledged writes, \
             {} unknown, {} leader changes, {} faults, {} states compared",
            self.seed,
            self.trace_hash,
            self.trace_lines,
            self.passed_ms,
            self.operations,
            self.writes,
            self.unknown,
            self.leader_changes,
            self.tally.events(),
            self.states
        )?;
        if !self.counts() {
            write!(f, "; too little happened to count")?;
        }
        for Found { checker, what } in &self.faults {
            write!(f, "\n  {checker}: {what}")?;
        }
        Ok(())
    }
}

/// The sum of many runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs that count.
    pub counted: usize,
    /// The faults of all runs.
    pub tally: Tally,
    /// Writes that were acknowledged.
    pub writes: usize,
    /// Runs that are wrong, or do not count.
    pub failed: Vec<Report>,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, report: Report) {
        self.tally.add(&report.tally);
        self.writes += report.writes;
        self.counted += usize::from(report.counts());
        if !report.counts() || !report.is_right() {
            self.failed.push(report);
        }
    }

    /// The kinds of faults that have happened in no run.
    #[must_use]
    pub fn missing(&self) -> Vec<Fault> {
        self.tally.missing()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.failed {
            writeln!(f, "{report}")?;
        }
        write!(
            f,
            "{} seeds count, {} failed; {} acknowledged writes; {}",
            self.counted,
            self.failed.len(),
            self.writes,
            self.tally
        )
    }
}
