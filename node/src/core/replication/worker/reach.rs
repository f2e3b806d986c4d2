//! Which other nodes can be reached: those with a link that is up, and that have been heard lately.

use std::collections::{BTreeMap, BTreeSet};

use dht_proto::topology::NodeId;

/// The other nodes, as far as there are links to them.
#[derive(Debug, Default)]
pub struct Reach {
    linked: BTreeMap<NodeId, Linked>,
    /// Those of them that have fallen silent.
    silent: BTreeSet<NodeId>,
    /// Those of them that are about to end.
    leaving: BTreeSet<NodeId>,
}

/// Another node with a link to it.
#[derive(Debug)]
struct Linked {
    /// At how many addresses it was found.
    links: usize,
    /// When it was last heard, or found.
    heard_mono_ms: u64,
}

impl Reach {
    /// A link to a node is up or down.
    pub fn link(&mut self, node: NodeId, up: bool, now_mono_ms: u64) {
        let linked = self.linked.entry(node).or_insert(Linked {
            links: 0,
            heard_mono_ms: now_mono_ms,
        });
        if up {
            linked.links += 1;
            linked.heard_mono_ms = now_mono_ms;
            self.silent.remove(&node);
        } else {
            linked.links = linked.links.saturating_sub(1);
        }
        if linked.links == 0 {
            self.linked.remove(&node);
            self.silent.remove(&node);
            self.leaving.remove(&node);
        }
    }

    /// A node has said that it is about to end. Who comes back has new links.
    pub fn leaves(&mut self, node: NodeId) {
        if self.linked.contains_key(&node) {
            self.leaving.insert(node);
        }
    }

    /// Whether a node is about to end.
    #[must_use]
    pub fn is_leaving(&self, node: NodeId) -> bool {
        self.leaving.contains(&node)
    }

    /// A node was heard; says whether it had been silent.
    pub fn hear(&mut self, node: NodeId, now_mono_ms: u64) -> bool {
        if let Some(linked) = self.linked.get_mut(&node) {
            linked.heard_mono_ms = now_mono_ms;
        }
        self.silent.remove(&node)
    }

    /// Finds out which of the nodes that should speak have been silent for too long; says whether
    /// they are others than before.
    pub fn listen(
        &mut self,
        now_mono_ms: u64,
        silent_ms: u64,
        should_speak: impl Fn(NodeId) -> bool,
    ) -> bool {
        let linked = self.linked.iter();
        let silent: BTreeSet<NodeId> = linked
            .filter(|(_, linked)| now_mono_ms >= linked.heard_mono_ms + silent_ms)
            .map(|(node, _)| *node)
            .filter(|node| should_speak(*node))
            .collect();
        let is_news = silent != self.silent;
        self.silent = silent;
        is_news
    }

    /// Whether something that is sent to a node is likely to be heard.
    #[must_use]
    pub fn reaches(&self, node: NodeId) -> bool {
        self.linked.contains_key(&node) && !self.silent.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_reached_while_it_has_a_link_and_speaks() {
        let (mut reach, node) = (Reach::default(), NodeId([1; 20]));
        let all = |_| true;
        assert!(!reach.reaches(node));
        reach.link(node, true, 100);
        reach.link(node, true, 100);
        assert!(!reach.listen(1000, 1000, all) && reach.reaches(node));
        assert!(reach.listen(1100, 1000, all) && !reach.reaches(node));
        assert!(!reach.listen(1200, 1000, all), "that is known");
        assert!(reach.hear(node, 1300) && reach.reaches(node));
        assert!(!reach.listen(2299, 1000, all));
        assert!(
            !reach.listen(9999, 1000, |_| false),
            "it has nothing to say"
        );
        reach.leaves(node);
        reach.link(node, false, 9999);
        assert!(reach.reaches(node), "by its other address");
        assert!(reach.is_leaving(node));
        reach.link(node, false, 9999);
        assert!(!reach.reaches(node));
        reach.leaves(node);
        reach.link(node, true, 9999);
        assert!(!reach.is_leaving(node), "it has come back");
    }
}
