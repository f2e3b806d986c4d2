//! A node's core without any wire: the way of a request between its session and its reply.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use dht_node::core::client::{Client, Door, Facts, Protocol};
use dht_node::core::execute::{Command, Here, Outcome};
use dht_node::core::node::{Aside, Node, Permission, Settings};
use dht_node::core::router;
use dht_node::core::time::Now;
use dht_proto::topology::NodeId;
use dht_proto::{Reply, spec};

/// The time of every command: nothing expires while a script runs.
const NOW: Now = Now {
    unix_us: 1_800_000_000_000_000,
    mono_ms: 1_000_000,
};

/// A node that was started alone, and a connection to it.
pub struct StoreDoor {
    node: Node,
    client: Client,
}

impl StoreDoor {
    /// A node without data.
    #[must_use]
    pub fn new() -> Self {
        let address = "127.0.0.1:7400".to_owned();
        let settings = Settings {
            password: None,
            standalone: true,
            backend: None,
            is_durable: false,
            has_file: false,
            max_clients: 100,
            shards: 1,
            debug: Permission::No,
            stopwatch: || 0,
            aside: Aside::none(),
            client: address.clone(),
            redirect: address.clone(),
        };
        let facts = Arc::new(Facts {
            id: 1,
            addr: address.clone(),
            laddr: address,
            since_mono_ms: NOW.mono_ms,
            last_mono_ms: NOW.mono_ms.into(),
            last_command: 0.into(),
            marks: Default::default(),
            is_killed: false.into(),
            labels: Default::default(),
        });
        let node = Node::new(NodeId([1; 20]), settings, NOW);
        node.clients.insert(facts.id, Arc::clone(&facts));
        Self {
            node,
            client: Client::new(facts, Protocol::Resp3, Door::Forward, true),
        }
    }

    /// Executes a command.
    pub fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> Reply {
        let words: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
        self.execute(&words).unwrap_or_else(Reply::Error)
    }

    fn execute(&mut self, words: &[&[u8]]) -> Outcome {
        let id = spec::find(words)?;
        self.client.check(id)?;
        let last_command = &self.client.facts.last_command;
        last_command.store(id.index() as u64 + 1, Relaxed);
        let here = Here {
            node: &self.node,
            now: NOW,
            stamp: NOW.unix_ms(),
            seed: 0,
            lookups: Default::default(),
        };
        let keys = router::keys(id, words)?;
        here.run(&mut self.client, &Command::new(id, words, &keys))
    }
}

impl Default for StoreDoor {
    fn default() -> Self {
        Self::new()
    }
}
