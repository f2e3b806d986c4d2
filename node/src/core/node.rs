//! What all connections of one node share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use dht_proto::topology::{NodeId, Topology};

use super::client::Facts;
use super::store::Store;

/// A node: its data, its view of the cluster, its counters.
pub struct Node {
    /// Its identity.
    pub id: NodeId,
    /// What it was started with.
    pub settings: Settings,
    /// The data.
    pub store: Store,
    /// The cluster as it is known here; without members while it forms.
    pub view: ArcSwap<View>,
    /// Counters.
    pub stats: Stats,
    /// Every open client connection by id.
    pub clients: DashMap<u64, Arc<Facts>>,
}

/// A topology, and what this node is in it.
pub struct View {
    /// Members and placements; `None` while the cluster forms, with the reason that clients are told.
    pub topology: Result<Topology, String>,
    /// This node's index among the members.
    pub me: u16,
    /// Members that cannot be reached at present, by index.
    pub down: Vec<bool>,
}

/// What a node was started with, as far as commands show or need it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The password that clients have to give.
    pub password: Option<String>,
    /// Started alone: no cluster, and any slots may meet in one command.
    pub standalone: bool,
    /// `host:port` for clients.
    pub client: String,
    /// `host:port` for cluster-aware clients.
    pub redirect: String,
}

/// Counters that only grow, except where a name says otherwise.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because of the limit.
    pub rejected: AtomicU64,
    /// Commands executed or forwarded.
    pub commands: AtomicU64,
    /// Commands forwarded to other nodes.
    pub forwarded: AtomicU64,
    /// Bytes read from clients.
    pub input_bytes: AtomicU64,
    /// Bytes written to clients.
    pub output_bytes: AtomicU64,
}
