//! What goes wrong: one fault at a time, each undone before the next. Nodes keep their data in
//! memory, so no second one is killed before the first has its copies back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::net::{End, Net};
use crate::process::Processes;
use crate::random::Random;
use crate::wait;

/// How long a fault lasts, in milliseconds: from and to.
const LASTS_MS: (u64, u64) = (300, 2500);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node is killed, and comes back without data.
    Kill,
    /// A node is told to end, and comes back without data.
    Restart,
    /// A node stops for a while.
    Freeze,
    /// All others freeze, what leads a key is killed, and they thaw.
    FreezeFollowers,
    /// Nobody reaches a node, neither nodes nor clients.
    Isolate,
    /// What a node sends to the others is lost, or what they send to it.
    OneWay,
    /// Two halves reach each other only through one node that reaches both.
    Bridge,
    /// The leader of a key reaches no majority, while clients reach it.
    MinorityLeader,
    /// Clients do not reach the leader of a key, while the other nodes do.
    LeaderUnreached,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Freeze,
        Self::FreezeFollowers,
        Self::Isolate,
        Self::OneWay,
        Self::Bridge,
        Self::MinorityLeader,
        Self::LeaderUnreached,
        Self::Restart,
    ];
}

/// How often each fault has occurred.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub BTreeMap<Fault, usize>);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = self.0.iter();
        counts.try_for_each(|(fault, count)| write!(f, "{fault:?} {count} "))
    }
}

/// A cluster to which things happen.
pub struct Victims {
    /// The nodes.
    pub processes: Processes,
    /// The network that they are in.
    pub net: Net,
    /// Decides on victims and durations.
    pub random: Random,
    /// What has happened.
    pub counts: Counts,
}

impl Victims {
    /// Lets something go wrong for a while, and waits until the cluster has recovered.
    ///
    /// # Panics
    /// When it does not recover in time.
    pub fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => self.kill(),
            Fault::Restart => self.restart(),
            Fault::Freeze => self.freeze(),
            Fault::FreezeFollowers => self.freeze_followers(),
            Fault::Isolate => self.isolate(),
            Fault::OneWay => self.lose_one_way(),
            Fault::Bridge => self.bridge(),
            Fault::MinorityLeader => self.cut_off_leader(),
            Fault::LeaderUnreached => self.cut_off_clients(),
        }
        for node in 0..self.net.nodes() {
            self.processes.await_safe(node);
        }
        *self.counts.0.entry(fault).or_default() += 1;
    }

    fn kill(&mut self) {
        let node = self.any_node();
        self.processes.kill(node);
        self.last();
        self.processes.restart(node);
    }

    fn restart(&mut self) {
        let node = self.any_node();
        let code = self.processes.end_by(node, "-TERM");
        assert_eq!(code, Some(0), "node {node} ends as it is told");
        self.last();
        self.processes.restart(node);
    }

    fn freeze(&mut self) {
        let node = self.any_node();
        self.processes.pause(node);
        self.last();
        self.processes.resume(node);
    }

    fn freeze_followers(&mut self) {
        let leader = self.any_leader();
        for node in self.others(leader) {
            self.processes.pause(node);
        }
        self.last();
        self.processes.kill(leader);
        for node in self.others(leader) {
            self.processes.resume(node);
        }
        self.last();
        self.processes.restart(leader);
    }

    fn isolate(&mut self) {
        let node = self.any_node();
        self.net.isolate(node);
        self.heal();
    }

    fn lose_one_way(&mut self) {
        let node = self.any_node();
        let sends = self.random.percent(50);
        for other in self.others(node).map(End::Node) {
            match sends {
                true => self.net.cut(End::Node(node), other),
                false => self.net.cut(other, End::Node(node)),
            }
        }
        self.heal();
    }

    fn bridge(&mut self) {
        let middle = self.any_node();
        let others: Vec<usize> = self.others(middle).collect();
        let (one, other) = others.split_at(others.len() / 2);
        for one in one {
            for other in other {
                self.net.cut_both(End::Node(*one), End::Node(*other));
            }
        }
        self.heal();
    }

    /// In a cluster of five, one more is on the leader's side.
    fn cut_off_leader(&mut self) {
        let leader = self.any_leader();
        let others: Vec<usize> = self.others(leader).collect();
        let (with, without) = others.split_at((self.net.nodes() - 1) / 2 - 1);
        for one in with.iter().chain([&leader]) {
            for other in without {
                self.net.cut_both(End::Node(*one), End::Node(*other));
            }
        }
        self.heal();
    }

    fn cut_off_clients(&mut self) {
        let leader = self.any_leader();
        self.net.cut_both(End::Clients, End::Node(leader));
        self.heal();
    }

    fn heal(&mut self) {
        self.last();
        self.net.heal();
    }

    fn last(&mut self) {
        let ms = self.random.between(LASTS_MS.0, LASTS_MS.1);
        wait::go_on_for(Duration::from_millis(ms));
    }

    fn any_node(&mut self) -> usize {
        self.random.below(self.net.nodes())
    }

    fn any_leader(&mut self) -> usize {
        let key = format!("key:{}", self.random.next());
        self.processes.leader_of(&key).unwrap_or_default()
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.net.nodes()).filter(move |other| *other != node)
    }
}
