//! What a run has come to, and whether it counts.

use std::fmt;

use super::tally::{Fault, Tally};

/// Acknowledged writes that a run needs to count.
pub const WRITES: usize = 1000;
/// Faults that it needs, those of single frames left out.
pub const FAULTS: u64 = 10;

/// Runs after which every kind of fault should have happened.
const ENOUGH: usize = 100;

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
    /// Writes that clients sent again under their numbers.
    pub repeats: usize,
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
    /// What could not be decided: there was too much to try.
    pub undecided: Option<String>,
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
    /// Whether enough happened for the run to tell something, and not too much.
    #[must_use]
    pub fn counts(&self) -> bool {
        let is_enough = self.writes >= WRITES && self.tally.events() >= FAULTS;
        is_enough && self.leader_changes > 0 && self.undecided.is_none()
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
        match &self.undecided {
            Some(why) => write!(f, "\n  does not count, undecided: {why}")?,
            None if !self.counts() => write!(f, "; does not count, too little happened")?,
            None => (),
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
    /// Runs that count, and are right.
    pub counted: usize,
    /// The faults of all runs.
    pub tally: Tally,
    /// Writes that were acknowledged.
    pub writes: usize,
    /// Writes that clients sent again under their numbers.
    pub repeats: usize,
    /// Runs that are wrong.
    pub failed: Vec<Report>,
    /// Runs that are not, but do not count.
    pub idle: Vec<Report>,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, report: Report) {
        self.tally.add(&report.tally);
        self.writes += report.writes;
        self.repeats += report.repeats;
        if !report.is_right() {
            self.failed.push(report);
        } else if report.counts() {
            self.counted += 1;
        } else {
            self.idle.push(report);
        }
    }

    /// Runs that are not wrong as far as they could be judged, which was not to the end.
    #[must_use]
    pub fn undecided(&self) -> usize {
        let undecided = |report: &&Report| report.undecided.is_some();
        self.idle.iter().filter(undecided).count()
    }

    /// The kinds of faults that have happened in no run.
    #[must_use]
    pub fn missing(&self) -> Vec<Fault> {
        self.tally.missing()
    }

    /// Why nothing follows from these runs, though none of them is wrong.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        let missing = self.missing();
        let missing: Vec<_> = missing.iter().map(|fault| format!("{fault:?}")).collect();
        let what = match self.counted {
            0 => "no seed counts".to_owned(),
            _ if missing.is_empty() => return None,
            _ => format!("never happened: {}", missing.join(", ")),
        };
        let runs = self.counted + self.idle.len() + self.failed.len();
        let why = if runs < ENOUGH { "; too few seeds" } else { "" };
        Some(format!("{what}{why}"))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in self.idle.iter().chain(&self.failed) {
            writeln!(f, "{report}")?;
        }
        write!(
            f,
            "{} seeds count, {} do not, {} failed; {} acknowledged writes; {} sent again; {}",
            self.counted,
            self.idle.len(),
            self.failed.len(),
            self.writes,
            self.repeats,
            self.tally
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run with just enough of everything.
    fn report() -> Report {
        let mut tally = Tally::default();
        (0..FAULTS).for_each(|_| tally.count(Fault::Pause));
        // Single frames are lost all the time.
        (0..100).for_each(|_| tally.count(Fault::Loss));
        Report {
            seed: 1,
            trace_hash: 0,
            trace_lines: 0,
            tally,
            writes: 1000,
            repeats: 0,
            unknown: 0,
            operations: 2000,
            leader_changes: 1,
            states: 1,
            passed_ms: 8000,
            undecided: None,
            faults: Vec::new(),
        }
    }

    #[test]
    fn a_seed_counts_when_enough_has_happened_and_all_is_decided() {
        assert_eq!((WRITES, FAULTS), (1000, 10));
        assert!(report().counts());
        let less: [fn(&mut Report); 4] = [
            |report| report.writes -= 1,
            |report| report.tally = few_faults(),
            |report| report.leader_changes = 0,
            |report| report.undecided = Some("too much".to_owned()),
        ];
        for (n, take) in less.iter().enumerate() {
            let mut report = report();
            take(&mut report);
            assert!(!report.counts(), "{n}");
            let mut summary = Summary::default();
            summary.add(report);
            assert_eq!((summary.counted, summary.idle.len()), (0, 1), "{n}");
        }
    }

    /// One too few, though many frames are lost.
    fn few_faults() -> Tally {
        let mut tally = Tally::default();
        (1..FAULTS).for_each(|_| tally.count(Fault::Pause));
        (0..100).for_each(|_| tally.count(Fault::Loss));
        tally
    }

    #[test]
    fn runs_have_a_flaw_when_a_fault_never_happened_or_none_counts() {
        let mut summary = Summary::default();
        summary.add(Report {
            writes: 0,
            ..report()
        });
        let flaw = summary.flaw();
        assert_eq!(flaw.as_deref(), Some("no seed counts; too few seeds"));
        for fault in Fault::ALL.into_iter().filter(|it| *it != Fault::Crash) {
            summary.tally.count(fault);
        }
        (1..ENOUGH - 1).for_each(|_| summary.add(report()));
        let flaw = summary.flaw();
        let few = "never happened: Crash; too few seeds";
        assert_eq!(flaw.as_deref(), Some(few));
        summary.add(report());
        let flaw = summary.flaw();
        assert_eq!(flaw.as_deref(), Some("never happened: Crash"));
        summary.tally.count(Fault::Crash);
        assert_eq!(summary.flaw(), None);
    }
}
