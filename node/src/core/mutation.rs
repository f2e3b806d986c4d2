//! Bugs that are known to break promises, to be put back on purpose: the simulator has to notice
//! each. Only the feature `mutations` makes that possible, which the tests ask for; without it
//! nothing of this is left. A build of the whole workspace at once has it in the programs as well,
//! where nothing puts a bug back; a build of a program alone, as for a release, has not.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A write is acknowledged as soon as the leader has it.
    EarlyAnswer,
    /// The engine's own leases: a leader asks nobody whether it still leads.
    LeaseBased,
    /// Members vote for another leader although they have just heard one.
    NoVoteGuard,
    /// A leader goes on reading by its lease after it has let another call an election.
    LeaseAfterTransfer,
    /// A new leader reads by a lease before it has applied an entry of its term.
    EarlyLease,
    /// A task that is sent again is executed again.
    RetryTwice,
    /// What has expired is judged by every replica's own clock.
    LocalExpiry,
    /// The name of a lost replica is given to the one that takes its place.
    NamesReused,
    /// What is known of members that have gone is forgotten: an old state of the cluster, heard
    /// once more, makes them anew.
    NoTombstones,
    /// Who waits for an entry is told what became of another one at its place.
    WaiterByIndex,
    /// A read does not wait for the writes that its connection has sent before.
    ReadAhead,
    /// A member says that it has entries before they are durable.
    AckBeforeFlush,
    /// A member votes before its vote is durable.
    VoteBeforeFlush,
    /// The log is cut up to what is applied, though the snapshot stands before that.
    CutTooFar,
    /// A snapshot holds the data alone: no sessions, and nobody who watches.
    BareSnapshot,
    /// A snapshot copies what changes after it has changed.
    LateCopy,
    /// Whatever is wrong with a log is taken for its torn tail, and cut off.
    DamageIsTorn,
    /// A torn tail of a log is taken for damage.
    TornIsDamage,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::EarlyAnswer,
        Self::LeaseBased,
        Self::NoVoteGuard,
        Self::LeaseAfterTransfer,
        Self::EarlyLease,
        Self::RetryTwice,
        Self::LocalExpiry,
        Self::NamesReused,
        Self::NoTombstones,
        Self::WaiterByIndex,
        Self::ReadAhead,
        Self::AckBeforeFlush,
        Self::VoteBeforeFlush,
        Self::CutTooFar,
        Self::BareSnapshot,
        Self::LateCopy,
        Self::DamageIsTorn,
        Self::TornIsDamage,
    ];
}

#[cfg(feature = "mutations")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// From now on everything on this thread has this bug, or none.
#[cfg(feature = "mutations")]
pub fn put_back(mutation: Option<Mutation>) {
    ACTIVE.set(mutation);
}

/// Does something without any bug.
#[cfg(feature = "mutations")]
pub fn without<R>(work: impl FnOnce() -> R) -> R {
    let active = ACTIVE.replace(None);
    let result = work();
    ACTIVE.set(active);
    result
}

/// Whether the bug is to be had.
#[cfg(feature = "mutations")]
#[must_use]
pub fn is(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// Whether the bug is to be had: never.
#[cfg(not(feature = "mutations"))]
#[must_use]
pub const fn is(_: Mutation) -> bool {
    false
}
