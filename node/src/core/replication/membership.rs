//! From the members that a group has to those that it should have: what its leader does next.
//!
//! One step at a time, each a change that the group itself agrees on: a newcomer first learns, then
//! takes the place of who leaves in one joint change, which is left by a change of its own.

use super::raft::{Change, ConfState, PeerId, Progress};

/// Entries that a learner may still lack when it becomes a voter.
const LAG: u64 = 1000;

/// What a leader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the members are those that they should be, or a learner is not ready.
    Nothing,
    /// Proposes this.
    Change(Change),
    /// Hands leadership over, since it has to leave.
    Transfer(PeerId),
}

/// The next step of the leader `me` of a group with these members, which should be `target`. Who is
/// busy is made the next leader only when nobody else can be.
#[must_use]
pub fn next_step(
    me: PeerId,
    conf: &ConfState,
    target: &[PeerId],
    last_index: u64,
    progress: impl Fn(PeerId) -> Option<Progress>,
    is_busy: impl Fn(PeerId) -> bool,
) -> Step {
    let change = |change| Step::Change(change);
    if !conf.voters_outgoing.is_empty() {
        return change(Change::default());
    }
    let wanted = |peer: &PeerId| target.contains(peer);
    if let Some(stray) = conf.learners.iter().find(|peer| !wanted(peer)) {
        return change(Change {
            removed: vec![*stray],
            ..Change::default()
        });
    }
    let is_member = |peer: &PeerId| conf.voters.contains(peer) || conf.learners.contains(peer);
    if let Some(newcomer) = target.iter().find(|peer| !is_member(peer)) {
        return change(Change {
            learners: vec![*newcomer],
            ..Change::default()
        });
    }
    let is_ready = |peer: &&PeerId| {
        let progress = progress(**peer);
        progress.is_some_and(|at| at.active && at.matched > 0 && at.matched + LAG >= last_index)
    };
    let ready: Vec<PeerId> = conf.learners.iter().filter(is_ready).copied().collect();
    let mut leaving: Vec<PeerId> = (conf.voters.iter().copied())
        .filter(|peer| !wanted(peer))
        .collect();
    // While newcomers still learn, no more leave than come; the silent ones first.
    if ready.len() < conf.learners.len() {
        leaving.sort_by_key(|peer| progress(*peer).is_some_and(|at| at.active));
        leaving.truncate(ready.len());
    }
    if leaving.contains(&me) {
        let heirs = conf.voters.iter().filter(|peer| wanted(peer));
        let rank = |peer| {
            let at = progress(peer);
            let is_free = at.is_some_and(|at| at.active) && !is_busy(peer);
            (is_free, at.map_or(0, |at| at.matched))
        };
        let heir = heirs.max_by_key(|peer| rank(**peer));
        return heir.map_or(Step::Nothing, |heir| Step::Transfer(*heir));
    }
    if ready.is_empty() && leaving.is_empty() {
        return Step::Nothing;
    }
    change(Change {
        voters: ready,
        removed: leaving,
        ..Change::default()
    })
}

/// Whether the members are those that should be, all of them voters that are heard from.
#[must_use]
pub fn is_whole(
    me: PeerId,
    conf: &ConfState,
    target: &[PeerId],
    progress: impl Fn(PeerId) -> Option<Progress>,
) -> bool {
    let is_heard = |peer: &PeerId| *peer == me || progress(*peer).is_some_and(|at| at.active);
    let has_vote = |peer: &PeerId| conf.voters.contains(peer);
    conf.voters.len() == target.len()
        && conf.voters_outgoing.is_empty()
        && conf.learners.is_empty()
        && target.iter().all(|peer| has_vote(peer) && is_heard(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> ConfState {
        let mut conf = ConfState::from((voters.to_vec(), learners.to_vec()));
        conf.set_voters_outgoing(outgoing.to_vec());
        conf
    }

    /// Peers below 10 follow closely, of whom 7 to 9 are busy; from 10 on they are far behind, from
    /// 20 on silent.
    fn next(me: u64, conf: &ConfState, target: &[u64]) -> Step {
        let progress = |peer| {
            Some(Progress {
                matched: if peer < 10 { 4990 } else { 7 },
                active: peer < 20,
            })
        };
        let is_busy = |peer| (7..10).contains(&peer);
        next_step(me, conf, target, 5000, progress, is_busy)
    }

    fn change(voters: &[u64], learners: &[u64], removed: &[u64]) -> Step {
        Step::Change(Change {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            removed: removed.to_vec(),
        })
    }

    #[test]
    fn a_member_is_replaced_step_by_step() {
        let target = [1, 2, 4];
        assert_eq!(
            next(1, &conf(&[1, 2, 23], &[], &[]), &target),
            change(&[], &[4], &[])
        );
        assert_eq!(
            next(1, &conf(&[1, 2, 23], &[4], &[]), &target),
            change(&[4], &[], &[23])
        );
        assert_eq!(
            next(1, &conf(&[1, 2, 4], &[], &[1, 2, 23]), &target),
            change(&[], &[], &[])
        );
        assert_eq!(next(1, &conf(&[1, 2, 4], &[], &[]), &target), Step::Nothing);
    }

    #[test]
    fn a_group_is_whole_when_all_have_a_vote_and_are_heard() {
        let check = |conf: &ConfState, target: &[u64], expect| {
            let progress = |peer| {
                Some(Progress {
                    matched: 0,
                    active: peer < 20 && peer != 1,
                })
            };
            assert_eq!(is_whole(1, conf, target, progress), expect, "{conf:?}");
        };
        check(&conf(&[1, 2, 3], &[], &[]), &[3, 2, 1], true);
        check(&conf(&[1, 2, 23], &[], &[]), &[1, 2, 23], false);
        check(&conf(&[1, 2, 3], &[], &[]), &[1, 2, 4], false);
        check(&conf(&[1, 2], &[4], &[]), &[1, 2, 4], false);
        check(&conf(&[1, 2, 4], &[], &[1, 2, 3]), &[1, 2, 4], false);
    }

    #[test]
    fn a_learner_that_is_behind_is_waited_for() {
        assert_eq!(
            next(1, &conf(&[1, 2, 23], &[11], &[]), &[1, 2, 11]),
            Step::Nothing
        );
        let two = conf(&[1, 22, 3], &[4, 11], &[]);
        assert_eq!(
            next(1, &two, &[1, 4, 11]),
            change(&[4], &[], &[22]),
            "the silent one leaves first"
        );
    }

    #[test]
    fn a_learner_that_is_wanted_no_more_goes_first() {
        assert_eq!(
            next(1, &conf(&[1, 2, 3], &[4], &[]), &[1, 2, 5]),
            change(&[], &[], &[4])
        );
    }

    #[test]
    fn a_leader_that_has_to_leave_hands_over() {
        let step = next(3, &conf(&[1, 2, 3], &[4], &[]), &[1, 2, 4]);
        assert!(matches!(step, Step::Transfer(1 | 2)), "{step:?}");
    }

    #[test]
    fn who_is_busy_is_handed_what_nobody_else_can_take() {
        let step = |voters: &[u64]| next(3, &conf(voters, &[4], &[]), &[voters[1], voters[2], 4]);
        assert_eq!(step(&[3, 2, 9]), Step::Transfer(2));
        assert_eq!(step(&[3, 8, 2]), Step::Transfer(2));
        assert_eq!(step(&[3, 23, 9]), Step::Transfer(9), "the other is silent");
    }

    #[test]
    fn who_has_no_successor_is_removed() {
        assert_eq!(
            next(1, &conf(&[1, 2, 3], &[], &[]), &[1, 2]),
            change(&[], &[], &[3])
        );
    }
}
