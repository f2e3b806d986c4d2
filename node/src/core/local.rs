//! What a command about the connection or the node may use.

use std::borrow::Cow;
use std::sync::Arc;

use dht_proto::topology::Topology;

use super::client::Client;
use super::node::{Node, View};
use super::time::Now;

/// The connection that a command came from, and its node.
pub struct Local<'a> {
    /// The connection.
    pub client: &'a mut Client,
    /// The node.
    pub node: &'a Node,
    /// The moment of arrival.
    pub now: Now,
}

impl Local<'_> {
    /// The cluster as it is known here.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.node.view.load_full()
    }

    /// The topology of a view; while the cluster forms, one in which this node is alone and leads
    /// nothing.
    #[must_use]
    pub fn topology<'v>(&self, view: &'v View) -> Cow<'v, Topology> {
        view.topology.as_ref().map_or_else(
            |_| {
                let members = vec![self.node.settings.member(self.node.id)];
                Cow::Owned(Topology {
                    epoch: 0,
                    members,
                    shards: Vec::new(),
                })
            },
            Cow::Borrowed,
        )
    }
}
