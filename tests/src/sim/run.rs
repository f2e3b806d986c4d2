//! A run from its beginning to its verdict.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::report::{FAULTS, Found, Report, Summary, WRITES};
use super::tally::Tally;
use super::world::{Event, World};
use dht_node::core::mutation::{self, Mutation};

use crate::check::linear::{Limits, Verdict};
use crate::check::{acked, counters, linear};

/// The least time that a run goes on with faults, in microseconds.
const LEAST_US: u64 = 8_000_000;
/// The most.
const MOST_US: u64 = 90_000_000;
/// The time in which everything has to be well again once nothing goes wrong any more.
const SETTLE_US: u64 = 20_000_000;
/// From one look at how far the world is to the next.
const STRIDE_US: u64 = 50_000;
/// Steps of the search for an order of one part of the history.
const STEPS: u64 = 10_000_000;

/// What a run is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Every event is printed.
    pub printed: bool,
    /// The product has this bug.
    pub mutation: Option<Mutation>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = World::new(seed, options.printed);
    mutation::put_back(options.mutation);
    let end = catch_unwind(AssertUnwindSafe(|| world.live()));
    mutation::put_back(None);
    if let Err(panic) = end {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        world.watch.wrong("panic", text.unwrap_or_default());
    }
    world.judge(seed)
}

impl World {
    /// From the start of the nodes to the last read.
    fn live(&mut self) {
        while self.now_us < MOST_US && !(self.now_us >= LEAST_US && self.has_enough()) {
            self.go_on();
        }
        self.calm_down();
        self.clients.are_done = true;
        let end_us = self.now_us + SETTLE_US;
        if !self.wait(end_us, |world| world.clients.are_quiet()) {
            return self
                .watch
                .wrong("liveness", "clients wait for ever".to_owned());
        }
        self.clients.begin_finals();
        self.queue.add(self.now_us, Event::ReadFinals);
        let has_read = |world: &Self| world.clients.unread.is_empty() && world.clients.are_quiet();
        if !self.wait(end_us, has_read) {
            return self
                .watch
                .wrong("liveness", "not all can be read".to_owned());
        }
        if !self.wait(end_us, Self::has_settled) {
            let what = format!("the replicas do not settle{}", self.describe());
            return self.watch.wrong("liveness", what);
        }
        self.look();
        self.compare_all();
    }

    fn has_enough(&self) -> bool {
        self.clients.writes >= WRITES
            && self.tally.events() >= FAULTS
            && self.watch.leader_changes > 0
    }

    fn go_on(&mut self) {
        let until_us = self.now_us + STRIDE_US;
        while self.step(until_us) {}
    }

    fn wait(&mut self, end_us: u64, is_so: impl Fn(&Self) -> bool) -> bool {
        while self.now_us < end_us {
            self.go_on();
            if is_so(self) {
                return true;
            }
        }
        false
    }

    fn judge(mut self, seed: u64) -> Report {
        let history = &self.clients.history;
        let mut faults = std::mem::take(&mut self.watch.wrong);
        let replicas = self.watch.replicas.faults().iter();
        faults.extend(replicas.map(|fault| Found {
            checker: fault.rule(),
            what: fault.to_string(),
        }));
        let mut judge = |checker, fault: String| {
            faults.push(Found {
                checker,
                what: fault,
            });
        };
        if let Err(lost) = acked::check(history, &self.clients.finals) {
            judge("acknowledged", lost[0].to_string());
        }
        if let Err(wrong) = counters::check(history, &self.clients.finals) {
            judge("counters", format!("{:?}", wrong[0]));
        }
        let limits = Limits {
            clock_error_us: 2 * self.plan.wall_error_us + 20_000,
            steps: STEPS,
        };
        let mut undecided = None;
        match linear::check(history, &limits) {
            Verdict::Linearizable { .. } => (),
            Verdict::Violation(stuck) => judge("linearizable", stuck.to_string()),
            Verdict::Undecided(stuck) => undecided = Some(stuck.to_string()),
        }
        Report {
            seed,
            trace_hash: self.trace.hash(),
            trace_lines: self.trace.lines(),
            tally: std::mem::take::<Tally>(&mut self.tally),
            writes: self.clients.writes,
            repeats: self.clients.repeats,
            unknown: history.unknown(),
            operations: history.operations.len(),
            leader_changes: self.watch.leader_changes,
            states: self.watch.replicas.compared(),
            passed_ms: self.now_us / 1000,
            undecided,
            faults,
        }
    }
}

/// Runs many seeds, as many at a time as there are processors, as long as `go_on` says so of those
/// that are done.
///
/// # Panics
/// A thread does, outside of a run.
pub fn run_many(
    seeds: Range<u64>,
    options: Options,
    go_on: impl Fn(&Report) -> bool + Sync,
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let work = || {
        while !is_over.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run(seed, options);
            is_over.fetch_or(!go_on(&report), Relaxed);
            summary.lock().expect("no run panics").add(report);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| _ = scope.spawn(work));
    });
    let mut summary = summary.into_inner().expect("no run panics");
    summary.failed.sort_by_key(|report| report.seed);
    summary.idle.sort_by_key(|report| report.seed);
    summary
}
