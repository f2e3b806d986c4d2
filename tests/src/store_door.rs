//! A node's core without any wire: finds the command, locks its keys, calls its handler.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use dht_node::core::args::Args;
use dht_node::core::client::{Client, Door, Facts, Protocol};
use dht_node::core::execute::{Handler, Outcome, handler};
use dht_node::core::local::Local;
use dht_node::core::node::{Node, Settings};
use dht_node::core::store::{Keys, SlotSet};
use dht_node::core::time::Now;
use dht_proto::topology::NodeId;
use dht_proto::{Reply, ReplyError, spec};

/// The time of every command: nothing expires while a script runs.
const NOW: Now = Now {
    unix_us: 1_800_000_000_000_000,
    mono_ms: 1_000_000,
};

/// A node that was started alone, and a connection to it.
pub struct StoreDoor {
    node: Node,
    client: Client,
    slots: SlotSet,
}

impl StoreDoor {
    /// A node without data.
    #[must_use]
    pub fn new() -> Self {
        let address = "127.0.0.1:7400".to_owned();
        let settings = Settings {
            password: None,
            standalone: true,
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
            labels: Default::default(),
        });
        let node = Node::new(NodeId([1; 20]), settings, NOW);
        node.clients.insert(facts.id, Arc::clone(&facts));
        Self {
            node,
            client: Client {
                facts,
                protocol: Protocol::Resp3,
                door: Door::Forward,
                authenticated: true,
                closing: false,
            },
            slots: SlotSet::all(),
        }
    }

    /// Executes a command.
    pub fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> Reply {
        let words: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
        self.execute(&words).unwrap_or_else(Reply::Error)
    }

    fn execute(&mut self, words: &[&[u8]]) -> Outcome {
        let id = spec::find(words)?;
        let args = &mut Args::new(words, id.words());
        let positions = id.schema().keys.into_iter();
        let keys = positions.flat_map(|keys| keys.positions(words.len()));
        let keys = Keys::several(keys.map(|at| words[at])).ok_or(ReplyError::Syntax);
        let (store, stamp) = (&self.node.store, NOW.unix_ms());
        match handler(id) {
            Handler::Read(run) => store.read(&keys?, stamp, |read| run(read, args)),
            Handler::Write(run) => store.write(&keys?, stamp, 0, |write| run(write, args)),
            Handler::Whole(run) => run(&store.whole(&self.slots, stamp, true), args),
            Handler::Local(run) => {
                let facts = &self.client.facts;
                facts.last_command.store(id.index() as u64 + 1, Relaxed);
                let mut local = Local {
                    client: &mut self.client,
                    node: &self.node,
                    now: NOW,
                };
                run(&mut local, args)
            }
        }
    }
}

impl Default for StoreDoor {
    fn default() -> Self {
        Self::new()
    }
}
