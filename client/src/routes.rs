//! Which node leads which slot, as far as the client knows. Pure: it is told what the cluster says.

use std::sync::Arc;

use dht_proto::Reply;
use dht_proto::slot::SLOTS;

/// The leaders of all slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// `host:port` of redirecting ports.
    nodes: Vec<Arc<str>>,
    /// For each slot the index of its leader in `nodes`, plus one; 0 where none is known. Empty
    /// before the first answer.
    leaders: Vec<u16>,
}

impl Routes {
    /// Reads the answer to `CLUSTER SLOTS`. `asked` is the address of the node that gave it, whose
    /// host stands for a host left empty.
    ///
    /// Nothing when it is no such answer; an answer without slots gives routes that know nothing.
    #[must_use]
    pub fn from_reply(reply: &Reply, asked: &str) -> Option<Self> {
        let Reply::Array(ranges) = reply else {
            return None;
        };
        let mut routes = Self::default();
        for range in ranges {
            let (first, last, leader) = range_of(range, asked)?;
            let node = routes.index_of(&leader);
            routes.leaders.resize(usize::from(SLOTS), 0);
            routes.leaders.get_mut(first..=last)?.fill(node);
        }
        Some(routes)
    }

    /// The address of the leader of a slot.
    #[must_use]
    pub fn leader_of(&self, slot: u16) -> Option<&Arc<str>> {
        let node = usize::from(*self.leaders.get(usize::from(slot))?);
        self.nodes.get(node.checked_sub(1)?)
    }

    /// All leaders, each with the first of its slots, in the order of these.
    #[must_use]
    pub fn leaders(&self) -> Vec<(u16, Arc<str>)> {
        let mut leaders: Vec<(u16, Arc<str>)> = Vec::new();
        let mut seen = vec![false; self.nodes.len() + 1];
        for (slot, node) in (0_u16..).zip(&self.leaders) {
            let node = usize::from(*node);
            if !std::mem::replace(&mut seen[node], true) && node > 0 {
                leaders.push((slot, Arc::clone(&self.nodes[node - 1])));
            }
        }
        leaders
    }

    /// Takes what a `MOVED` says of one slot.
    #[must_use]
    pub fn with_leader(&self, slot: u16, address: &str) -> Self {
        let mut routes = self.clone();
        let node = routes.index_of(address);
        routes.leaders.resize(usize::from(SLOTS), 0);
        if let Some(leader) = routes.leaders.get_mut(usize::from(slot)) {
            *leader = node;
        }
        routes
    }

    /// Whether any slot is led at this address.
    #[must_use]
    pub fn names(&self, address: &str) -> bool {
        self.nodes.iter().any(|node| **node == *address)
    }

    /// The other nodes than that of an address, which have others than its own slots, if it leads
    /// something.
    pub fn others(&self, address: &str) -> impl Iterator<Item = &Arc<str>> {
        let at = self.nodes.iter().position(|node| **node == *address);
        let (before, behind) = self.nodes.split_at(at.unwrap_or(0));
        let others = behind.iter().skip(1).chain(before);
        others.filter(move |_| at.is_some())
    }

    /// The mark of an address in `leaders`; the address is added when it is new.
    fn index_of(&mut self, address: &str) -> u16 {
        let known = self.nodes.iter().position(|node| **node == *address);
        let index = known.unwrap_or_else(|| {
            self.nodes.push(address.into());
            self.nodes.len() - 1
        });
        u16::try_from(index + 1).unwrap_or(0)
    }
}

/// One entry of the answer: first slot, last slot, and the leader, who is the first of the nodes.
fn range_of(range: &Reply, asked: &str) -> Option<(usize, usize, String)> {
    let Reply::Array(parts) = range else {
        return None;
    };
    let [
        Reply::Int(first),
        Reply::Int(last),
        Reply::Array(leader),
        ..,
    ] = parts.as_slice()
    else {
        return None;
    };
    let [host, Reply::Int(port), ..] = leader.as_slice() else {
        return None;
    };
    let host = match host {
        Reply::Bulk(host) if !host.is_empty() => str::from_utf8(host).ok()?,
        _ => asked.rsplit_once(':')?.0,
    };
    let leader = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Some((
        usize::try_from(*first).ok()?,
        usize::try_from(*last).ok()?,
        leader,
    ))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The answer to CLUSTER SLOTS of a cluster that has these ranges.
    pub fn slots_reply(ranges: &[(u16, u16, &str, u16)]) -> Reply {
        let entry = |(first, last, host, port): &(u16, u16, &str, u16)| {
            let node = vec![
                Reply::bulk(host),
                Reply::Int((*port).into()),
                Reply::bulk("id"),
            ];
            Reply::Array(vec![
                Reply::Int((*first).into()),
                Reply::Int((*last).into()),
                Reply::Array(node),
            ])
        };
        Reply::Array(ranges.iter().map(entry).collect())
    }

    fn leader(routes: &Routes, slot: u16) -> Option<&str> {
        routes.leader_of(slot).map(AsRef::as_ref)
    }

    #[test]
    fn slots_have_leaders() {
        let reply = slots_reply(&[
            (0, 99, "a", 1),
            (100, 16000, "::1", 2),
            (16001, 16382, "", 3),
        ]);
        let routes = Routes::from_reply(&reply, "seed:7400").unwrap();
        let check = |slot, expect| assert_eq!(leader(&routes, slot), expect, "{slot}");
        check(0, Some("a:1"));
        check(99, Some("a:1"));
        check(100, Some("[::1]:2"));
        check(16382, Some("seed:3"));
        check(16383, None);
        assert!(routes.names("a:1") && !routes.names("seed:7400"));
    }

    #[test]
    fn replicas_lead_nothing() {
        let reply = slots_reply(&[(0, 99, "a", 1), (100, 16383, "b", 2)]);
        let mut with_replica = reply.clone();
        if let Reply::Array(ranges) = &mut with_replica
            && let Reply::Array(range) = &mut ranges[0]
        {
            let node = vec![Reply::bulk("c"), Reply::Int(3), Reply::bulk("id")];
            range.push(Reply::Array(node));
        }
        assert_ne!(reply, with_replica);
        let routes = [reply, with_replica].map(|reply| Routes::from_reply(&reply, "seed:7400"));
        assert!(routes[0].is_some());
        assert_eq!(routes[0], routes[1]);
    }

    #[test]
    fn nothing_is_known_at_first() {
        assert_eq!(leader(&Routes::default(), 0), None);
        let empty = Routes::from_reply(&Reply::Array(Vec::new()), "seed:1").unwrap();
        assert_eq!(leader(&empty, 5), None);
    }

    #[test]
    fn other_answers_are_no_routes() {
        for reply in [
            Reply::Nil,
            Reply::Array(vec![Reply::Nil]),
            Reply::Array(vec![Reply::Array(vec![Reply::Int(0)])]),
            slots_reply(&[(0, 16384, "a", 1)]),
            slots_reply(&[(9, 3, "a", 1)]),
        ] {
            assert_eq!(Routes::from_reply(&reply, "seed:1"), None, "{reply:?}");
        }
    }

    #[test]
    fn others_are_those_behind_it_first() {
        let routes = Routes::default()
            .with_leader(7, "a:1")
            .with_leader(8, "b:1")
            .with_leader(9, "c:1");
        let others = |address| {
            routes
                .others(address)
                .map(AsRef::as_ref)
                .collect::<Vec<_>>()
        };
        assert_eq!(others("a:1"), ["b:1", "c:1"]);
        assert_eq!(others("b:1"), ["c:1", "a:1"]);
        assert_eq!(others("c:1"), ["a:1", "b:1"]);
        assert_eq!(others("seed:1"), [""; 0]);
        assert_eq!(Routes::default().others("a:1").count(), 0);
    }

    #[test]
    fn a_redirection_moves_one_slot() {
        let routes = Routes::default()
            .with_leader(7, "a:1")
            .with_leader(8, "b:1");
        let routes = routes.with_leader(7, "b:1");
        assert_eq!(leader(&routes, 7), Some("b:1"));
        assert_eq!(leader(&routes, 8), Some("b:1"));
        assert_eq!(leader(&routes, 9), None);
    }
}
