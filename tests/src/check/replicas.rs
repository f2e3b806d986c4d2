//! Are replicas what they should be? States are equal where as much is applied, a log is never
//! rewritten below what is committed, a shard's time never goes back, a term has one leader.
//!
//! Whoever can look at replicas says what it sees; only numbers are compared.

use std::collections::BTreeMap;
use std::fmt;

/// One copy of a shard, from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// Which shard.
    pub shard: u16,
    /// Which of its copies; none is ever called like an earlier one.
    pub peer: u64,
}

/// Something that should not be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two copies that have applied as much differ.
    Diverged {
        /// One that differs from what was seen first.
        copy: Copy,
        /// The last entry that is applied.
        index: u64,
    },
    /// An entry that was committed has become another one.
    Rewritten {
        /// Where.
        copy: Copy,
        /// Which entry.
        index: u64,
        /// Its term when it was seen first, and now.
        terms: (u64, u64),
    },
    /// What was applied or committed once is not any more.
    Undone {
        /// Where.
        copy: Copy,
        /// How far it was, and is now.
        indices: (u64, u64),
    },
    /// The time of a shard has gone back.
    Earlier {
        /// Where.
        copy: Copy,
        /// The time before and now, in milliseconds.
        times: (u64, u64),
    },
    /// Two copies lead in one term.
    TwoLeaders {
        /// The second one.
        copy: Copy,
        /// The term.
        term: u64,
    },
}

impl Fault {
    /// The rule that it breaks, in a word.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Diverged { .. } => "state",
            Self::Rewritten { .. } | Self::Undone { .. } => "log",
            Self::Earlier { .. } => "time",
            Self::TwoLeaders { .. } => "leader",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Diverged { copy, .. }
        | Self::Rewritten { copy, .. }
        | Self::Undone { copy, .. }
        | Self::Earlier { copy, .. }
        | Self::TwoLeaders { copy, .. }) = self;
        write!(f, "shard {}, copy {}: ", copy.shard, copy.peer)?;
        match self {
            Self::Diverged { index, .. } => {
                write!(f, "the state at entry {index} is not that of another copy")
            }
            Self::Rewritten { index, terms, .. } => {
                let (before, now) = terms;
                write!(
                    f,
                    "committed entry {index} was of term {before}, now of {now}"
                )
            }
            Self::Undone { indices, .. } => {
                write!(f, "was at entry {}, now at {}", indices.0, indices.1)
            }
            Self::Earlier { times, .. } => {
                write!(f, "its time was {} ms, now {} ms", times.0, times.1)
            }
            Self::TwoLeaders { term, .. } => write!(f, "leads in term {term}, as another does"),
        }
    }
}

/// Everything that was seen of the replicas of a run.
#[derive(Debug, Default)]
pub struct Replicas {
    /// The state of a shard after an entry.
    states: BTreeMap<(u16, u64), u64>,
    /// The terms of a shard's committed entries, by index; of a run there are some thousands.
    terms: BTreeMap<u16, Vec<Option<u64>>>,
    /// How far a copy has applied, and its time.
    applied: BTreeMap<Copy, (u64, u64)>,
    /// How far a copy knows its log to be committed.
    committed: BTreeMap<Copy, u64>,
    /// Who led a shard in a term.
    leaders: BTreeMap<(u16, u64), (u64, u32)>,
    /// States compared with one that was seen before.
    compared: u64,
    faults: Vec<Fault>,
}

impl Replicas {
    /// What is wrong so far.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many states were compared.
    #[must_use]
    pub const fn compared(&self) -> u64 {
        self.compared
    }

    /// A copy has applied so much, and its time is this.
    pub fn applied(&mut self, copy: Copy, index: u64, time_ms: u64) {
        let (before, earlier_ms) = self
            .applied
            .insert(copy, (index, time_ms))
            .unwrap_or_default();
        if index < before {
            let indices = (before, index);
            self.faults.push(Fault::Undone { copy, indices });
        }
        if time_ms < earlier_ms {
            let times = (earlier_ms, time_ms);
            self.faults.push(Fault::Earlier { copy, times });
        }
    }

    /// The state of a copy that has applied so much has this hash.
    pub fn state(&mut self, copy: Copy, index: u64, hash: u64) {
        match self.states.insert((copy.shard, index), hash) {
            Some(other) if other != hash => self.faults.push(Fault::Diverged { copy, index }),
            Some(_) => self.compared += 1,
            None => (),
        }
    }

    /// A copy knows these entries to be committed: their indices and terms.
    pub fn committed(&mut self, copy: Copy, entries: impl Iterator<Item = (u64, u64)>) {
        let terms = self.terms.entry(copy.shard).or_default();
        let mut last = 0;
        for (index, term) in entries {
            last = index;
            let place = index as usize;
            if terms.len() <= place {
                terms.resize(place + 1, None);
            }
            let before = *terms[place].get_or_insert(term);
            if before != term {
                let terms = (before, term);
                self.faults.push(Fault::Rewritten { copy, index, terms });
            }
        }
        let before = self.committed.entry(copy).or_default();
        if last > 0 && last < *before {
            let indices = (*before, last);
            self.faults.push(Fault::Undone { copy, indices });
        }
        *before = last.max(*before);
    }

    /// A copy comes back with what its log says: it may have known more.
    pub fn came_back(&mut self, copy: Copy) {
        self.applied.remove(&copy);
        self.committed.remove(&copy);
    }

    /// A copy leads in a term, in this one of its lives. Says whether that was not known.
    pub fn leads(&mut self, (copy, life): (Copy, u32), term: u64) -> bool {
        let led = (copy.peer, life);
        let Some(other) = self.leaders.insert((copy.shard, term), led) else {
            return true;
        };
        if other != led {
            self.faults.push(Fault::TwoLeaders { copy, term });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Copy = Copy { shard: 3, peer: 1 };
    const TWO: Copy = Copy { shard: 3, peer: 2 };
    const ELSEWHERE: Copy = Copy { shard: 4, peer: 2 };

    #[track_caller]
    fn check(see: impl FnOnce(&mut Replicas), rules: &[&str]) {
        let mut replicas = Replicas::default();
        see(&mut replicas);
        let found: Vec<_> = replicas.faults().iter().map(Fault::rule).collect();
        assert_eq!(found, rules, "{:?}", replicas.faults());
    }

    #[test]
    fn equal_indices_mean_equal_states() {
        let same = |replicas: &mut Replicas| {
            replicas.state(ONE, 7, 99);
            replicas.state(TWO, 7, 99);
            replicas.state(TWO, 8, 98);
            replicas.state(ELSEWHERE, 7, 97);
            assert_eq!(replicas.compared(), 1);
        };
        check(same, &[]);
        let differ = |replicas: &mut Replicas| {
            replicas.state(ONE, 7, 99);
            replicas.state(TWO, 7, 98);
        };
        check(differ, &["state"]);
    }

    #[test]
    fn what_is_committed_stays() {
        let grows = |replicas: &mut Replicas| {
            replicas.committed(ONE, [(2, 1), (3, 1)].into_iter());
            replicas.committed(TWO, [(3, 1), (4, 2)].into_iter());
            replicas.committed(TWO, [].into_iter());
            replicas.committed(ONE, [(3, 1), (4, 2)].into_iter());
        };
        check(grows, &[]);
        let rewritten = |replicas: &mut Replicas| {
            replicas.committed(ONE, [(2, 1), (3, 1)].into_iter());
            replicas.committed(TWO, [(3, 2)].into_iter());
        };
        check(rewritten, &["log"]);
        let undone = |replicas: &mut Replicas| {
            replicas.committed(ONE, [(2, 1), (3, 1)].into_iter());
            replicas.committed(ONE, [(2, 1)].into_iter());
        };
        check(undone, &["log"]);
    }

    #[test]
    fn who_comes_back_may_have_forgotten_how_far_it_was() {
        let back = |replicas: &mut Replicas| {
            replicas.applied(ONE, 5, 100);
            replicas.committed(ONE, [(5, 1)].into_iter());
            replicas.came_back(ONE);
            replicas.applied(ONE, 1, 0);
            replicas.committed(ONE, [(2, 1)].into_iter());
        };
        check(back, &[]);
    }

    #[test]
    fn neither_progress_nor_time_goes_back() {
        let onward = |replicas: &mut Replicas| {
            replicas.applied(ONE, 5, 100);
            replicas.applied(ONE, 6, 100);
            replicas.applied(TWO, 2, 50);
        };
        check(onward, &[]);
        let back = |replicas: &mut Replicas| {
            replicas.applied(ONE, 5, 100);
            replicas.applied(ONE, 4, 99);
        };
        check(back, &["log", "time"]);
    }

    #[test]
    fn a_term_has_one_leader() {
        let one = |replicas: &mut Replicas| {
            assert!(replicas.leads((ONE, 1), 2));
            assert!(!replicas.leads((ONE, 1), 2));
            assert!(replicas.leads((TWO, 1), 3));
            assert!(replicas.leads((ELSEWHERE, 1), 2));
        };
        check(one, &[]);
        let two = |replicas: &mut Replicas| {
            replicas.leads((ONE, 1), 2);
            replicas.leads((TWO, 1), 2);
        };
        check(two, &["leader"]);
        let again = |replicas: &mut Replicas| {
            replicas.leads((ONE, 1), 2);
            replicas.leads((ONE, 2), 2);
        };
        check(again, &["leader"]);
    }
}
