//! Whether some order of the operations explains every answer: linearizability, part by part.
//!
//! The search of Wing and Gong (1993) with the memory of Lowe (2017): operations are put into an
//! order one by one; any that was called before the earliest return still missing may be next; a
//! set of done operations with a state that was tried before is not tried again. Four additions
//! keep unknown outcomes cheap:
//!
//! - An unknown operation is only put in where it makes a difference: directly before an operation
//!   that would fare otherwise without it. Elsewhere it could as well come later.
//! - A read that may be next and fits is put in at once: nothing is won by waiting.
//! - Of two ways to the same state, one that used fewer unknown operations is enough.
//! - The furthest attempt goes on first; more unknown operations in a row come later.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use super::explain::Stuck;
use super::history::History;
use super::model::{Event, Span, State};
use super::partition::{Part, partition};

/// What the servers may do, and how hard to look.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// By how much the servers' time may differ from the clients' over a time to live.
    pub clock_error_us: u64,
    /// How many times an operation is tried on a state before the search of a part gives up.
    pub steps: u64,
}

/// What was found out about a history.
#[derive(Debug)]
pub enum Verdict {
    /// Some order explains every answer.
    Linearizable {
        /// How many times an operation was tried on a state.
        steps: u64,
    },
    /// No order does.
    Violation(Box<Stuck>),
    /// There was too much to try. Count it as a failure: the history proves nothing.
    Undecided(Box<Stuck>),
}

impl Verdict {
    /// Whether all is well.
    #[must_use]
    pub const fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable { .. })
    }

    /// Whether something is wrong for sure.
    #[must_use]
    pub const fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable { steps } => write!(f, "linearizable ({steps} steps)"),
            Self::Violation(stuck) => write!(f, "not linearizable: {stuck}"),
            Self::Undecided(stuck) => write!(f, "undecided, too much to try: {stuck}"),
        }
    }
}

/// Looks for an order that explains the history.
#[must_use]
pub fn check(history: &History, limits: &Limits) -> Verdict {
    let mut steps = 0;
    let mut undecided = None;
    for part in &partition(history, limits.clock_error_us) {
        let mut search = Search::new(part, limits.steps);
        let end = search.run();
        steps += search.steps;
        match end {
            End::Explained => {}
            End::Stuck => return Verdict::Violation(Box::new(search.explain(history))),
            End::GaveUp => {
                undecided.get_or_insert_with(|| Box::new(search.explain(history)));
            }
        }
    }
    undecided.map_or(Verdict::Linearizable { steps }, Verdict::Undecided)
}

/// An unknown operation more in a row is as bad as so many known ones less.
const UNKNOWN_COST: i64 = 4;

/// How a search ended.
enum End {
    Explained,
    Stuck,
    GaveUp,
}

/// The known operations that are done: those that returned early, and a few more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done {
    /// All before this one, in the order of returns.
    all_before: usize,
    /// And these after it, in order.
    ahead: Vec<usize>,
}

impl Done {
    fn has(&self, known: usize) -> bool {
        known < self.all_before || self.ahead.binary_search(&known).is_ok()
    }

    fn with(&self, known: usize) -> Self {
        let mut done = self.clone();
        let at = done.ahead.partition_point(|other| *other < known);
        done.ahead.insert(at, known);
        let is_next = |(n, other): &(usize, &usize)| **other == done.all_before + n;
        let closed = done.ahead.iter().enumerate().take_while(is_next).count();
        done.ahead.drain(..closed);
        done.all_before += closed;
        done
    }

    fn count(&self) -> usize {
        self.all_before + self.ahead.len()
    }
}

/// The unknown operations that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Used(Box<[u64]>);

impl Used {
    fn none_of(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into())
    }

    fn has(&self, unknown: usize) -> bool {
        self.0[unknown / 64] >> (unknown % 64) & 1 == 1
    }

    fn with(&self, unknown: usize) -> Self {
        let mut used = self.clone();
        used.0[unknown / 64] |= 1 << (unknown % 64);
        used
    }

    fn is_within(&self, other: &Self) -> bool {
        let mut words = self.0.iter().zip(&other.0);
        words.all(|(mine, others)| mine & !others == 0)
    }
}

/// A state, by its number.
type StateId = u32;

/// An order so far: what is done, and what came of it. It ends with a known operation.
struct Config {
    done: Done,
    used: Used,
    state: StateId,
    /// Not before this time: the latest call of what is done.
    now_us: u64,
}

/// A config continued by unknown operations, and what the operation that is tried makes of it.
#[derive(Clone)]
struct Burst {
    used: Used,
    state: StateId,
    now_us: u64,
    /// The states after the operation that is tried.
    after: Vec<StateId>,
    /// The last of the unknown operations, and the states had it been left out.
    last: Option<(usize, Vec<StateId>)>,
}

/// A known operation to be tried after a config, with ever more unknown ones between.
struct Attempt {
    config: usize,
    known: usize,
    unknowns: i64,
    bursts: Vec<Burst>,
    /// What was reached so far by unknown operations.
    reached: Seen<StateId>,
}

/// The fewest unknown operations by which things were reached.
struct Seen<K>(HashMap<K, Vec<Used>>);

impl<K: Hash + Eq> Seen<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// Whether it is new, or reached with unknown operations that do not include an earlier way's.
    fn is_better(&mut self, key: K, used: &Used) -> bool {
        let ways = self.0.entry(key).or_default();
        if ways.iter().any(|way| way.is_within(used)) {
            return false;
        }
        ways.retain(|way| !used.is_within(way));
        ways.push(used.clone());
        true
    }
}

struct Search<'a> {
    part: &'a Part,
    /// For each known operation, those that may be next when its return is the earliest missing.
    candidates: Vec<Vec<usize>>,
    states: Vec<Rc<State>>,
    ids: HashMap<Rc<State>, StateId>,
    configs: Vec<Config>,
    seen: Seen<(Done, StateId)>,
    attempts: Vec<Option<Attempt>>,
    /// The attempts still to be made: how promising they are, then the youngest first.
    queue: BinaryHeap<(i64, usize)>,
    is_explained: bool,
    steps: u64,
    limit: u64,
}

impl<'a> Search<'a> {
    fn new(part: &'a Part, limit: u64) -> Self {
        Self {
            part,
            candidates: candidates(&part.known),
            states: Vec::new(),
            ids: HashMap::new(),
            configs: Vec::new(),
            seen: Seen::new(),
            attempts: Vec::new(),
            queue: BinaryHeap::new(),
            is_explained: false,
            steps: 0,
            limit,
        }
    }

    fn run(&mut self) -> End {
        let state = self.id(State::default());
        self.reach(Config {
            done: Done::default(),
            used: Used::none_of(self.part.unknown.len()),
            state,
            now_us: 0,
        });
        while !self.is_explained {
            let Some((_, index)) = self.queue.pop() else {
                return End::Stuck;
            };
            if self.steps >= self.limit {
                return End::GaveUp;
            }
            if let Some(attempt) = self.attempts[index].take() {
                self.attempt(attempt);
            }
        }
        End::Explained
    }

    /// Puts in every read that may be next and finds what it answered. Since it changes nothing,
    /// whatever order explains the rest, one with the read in front does too.
    fn absorb_reads(&mut self, config: &mut Config) {
        let part = self.part;
        let (state, now_us) = (config.state, config.now_us);
        let mut goes_on = true;
        while goes_on && let Some(first) = part.known.get(config.done.all_before) {
            goes_on = false;
            let end_us = first.during.span.to_us;
            let candidates = self.candidates[config.done.all_before].clone();
            for known in candidates {
                let before = part.before[known];
                let is_next = part.known[known].op.is_read()
                    && !config.done.has(known)
                    && before.is_none_or(|before| config.done.has(before));
                if is_next && self.step(&part.known[known], state, now_us, end_us) == [state] {
                    config.done = config.done.with(known);
                    goes_on = true;
                }
            }
        }
    }

    /// Notes a config, unless it is nothing new, and what may follow it.
    fn reach(&mut self, mut config: Config) {
        self.absorb_reads(&mut config);
        let key = (config.done.clone(), config.state);
        if !self.seen.is_better(key, &config.used) {
            return;
        }
        let Some(candidates) = self.candidates.get(config.done.all_before) else {
            self.is_explained = true;
            return;
        };
        let is_next = |known: &usize| {
            let before = self.part.before[*known];
            !config.done.has(*known) && before.is_none_or(|before| config.done.has(before))
        };
        let next: Vec<usize> = candidates.iter().copied().filter(is_next).collect();
        let start = Burst {
            used: config.used.clone(),
            state: config.state,
            now_us: config.now_us,
            after: Vec::new(),
            last: None,
        };
        let index = self.configs.len();
        self.configs.push(config);
        for known in next.into_iter().rev() {
            self.enqueue(Attempt {
                config: index,
                known,
                unknowns: 0,
                bursts: vec![start.clone()],
                reached: Seen::new(),
            });
        }
    }

    fn enqueue(&mut self, attempt: Attempt) {
        let progress = self.configs[attempt.config].done.count() as i64;
        let promise = progress - UNKNOWN_COST * attempt.unknowns;
        self.queue.push((promise, self.attempts.len()));
        self.attempts.push(Some(attempt));
    }

    /// Tries an operation after each of the bursts of unknown ones, and sees to it that longer
    /// bursts are tried later.
    fn attempt(&mut self, mut attempt: Attempt) {
        let part = self.part;
        let event = &part.known[attempt.known];
        let done = self.configs[attempt.config].done.clone();
        let end_us = part.known[done.all_before].during.span.to_us;
        if attempt.unknowns > 0 {
            self.lengthen(&mut attempt, end_us);
        }
        for burst in &mut attempt.bursts {
            burst.after = self.step(event, burst.state, burst.now_us, end_us);
            for state in burst.after.clone() {
                if !self.is_needless(burst, state, end_us) {
                    self.reach(Config {
                        done: done.with(attempt.known),
                        used: burst.used.clone(),
                        state,
                        now_us: burst.now_us.max(event.during.span.from_us),
                    });
                }
            }
        }
        // What a read does not notice can as well come after it.
        let is_read = event.op.is_read();
        let is_settled = |burst: &Burst| is_read && burst.after.contains(&burst.state);
        attempt.bursts.retain(|burst| !is_settled(burst));
        attempt.unknowns += 1;
        if !attempt.bursts.is_empty() && !part.unknown.is_empty() {
            self.enqueue(attempt);
        }
    }

    /// Makes every burst one unknown operation longer, in every way that leads to something new.
    fn lengthen(&mut self, attempt: &mut Attempt, end_us: u64) {
        let part = self.part;
        let mut longer = Vec::new();
        for burst in std::mem::take(&mut attempt.bursts) {
            attempt.reached.is_better(burst.state, &burst.used);
            for (unknown, event) in part.unknown.iter().enumerate() {
                let from_us = event.during.span.from_us;
                if from_us > end_us {
                    break;
                }
                let is_in_turn = part.twin[unknown].is_none_or(|twin| burst.used.has(twin));
                if burst.used.has(unknown) || !is_in_turn || self.steps >= self.limit {
                    continue;
                }
                for state in self.step(event, burst.state, burst.now_us, end_us) {
                    let used = burst.used.with(unknown);
                    if attempt.reached.is_better(state, &used) {
                        longer.push(Burst {
                            used,
                            state,
                            now_us: burst.now_us.max(from_us),
                            after: Vec::new(),
                            last: Some((unknown, burst.after.clone())),
                        });
                    }
                }
            }
        }
        attempt.bursts = longer;
    }

    /// Whether the last unknown operation could as well come after the one that is tried: then
    /// there is a way to `state` that leaves more open.
    fn is_needless(&mut self, burst: &Burst, state: StateId, end_us: u64) -> bool {
        let Some((unknown, without)) = &burst.last else {
            return false;
        };
        let event = &self.part.unknown[*unknown];
        let mut without = without.iter();
        without.any(|without| {
            self.step(event, *without, burst.now_us, end_us)
                .contains(&state)
        })
    }

    /// The states after an operation that takes effect on a state at a time up to `end_us`.
    fn step(&mut self, event: &Event, state: StateId, now_us: u64, end_us: u64) -> Vec<StateId> {
        self.steps += 1;
        let now = Span {
            from_us: now_us.max(event.during.span.from_us),
            to_us: end_us,
        };
        let after = event.after(&self.states[state as usize], now);
        after.into_iter().map(|state| self.id(state)).collect()
    }

    fn id(&mut self, state: State) -> StateId {
        if let Some(id) = self.ids.get(&state) {
            return *id;
        }
        let (id, state) = (self.states.len() as StateId, Rc::new(state));
        self.states.push(Rc::clone(&state));
        self.ids.insert(state, id);
        id
    }

    /// Where the search came furthest.
    fn explain(&self, history: &History) -> Stuck {
        let furthest = self.configs.iter().map(|config| config.done.all_before);
        let furthest = furthest.max().unwrap_or_default();
        let there = |config: &&Config| config.done.all_before == furthest;
        let states = self.configs.iter().filter(there).map(|config| config.state);
        let states: BTreeSet<_> = states.collect();
        let states = states.iter().map(|id| &*self.states[*id as usize]);
        Stuck::new(history, self.part, furthest, states)
    }
}

/// For each known operation, those that were called before its return and did not return earlier.
fn candidates(known: &[Event]) -> Vec<Vec<usize>> {
    let mut candidates = vec![Vec::new(); known.len()];
    for (index, event) in known.iter().enumerate() {
        let call_us = event.during.span.from_us;
        let first = known.partition_point(|other| other.during.span.to_us < call_us);
        for earlier in &mut candidates[first..=index] {
            earlier.push(index);
        }
    }
    candidates
}
