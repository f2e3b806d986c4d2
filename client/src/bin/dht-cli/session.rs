//! The connection of the command line: one node at a time, the one that was named.

use dht_client::{Client, Command, Error, Node, Target};
use dht_proto::Reply;

/// A client, and the node that its commands go to.
pub struct Session {
    /// The client, for commands about other nodes.
    pub client: Client,
    target: Target,
    current: usize,
}

impl Session {
    /// A session that connects when it is used.
    pub fn new(target: Target) -> Self {
        Self {
            client: Client::open(target.clone()),
            target,
            current: 0,
        }
    }

    /// The same password at another address.
    pub fn connect(&mut self, address: String) {
        self.target.seeds = vec![address];
        *self = Self::new(self.target.clone());
    }

    /// `host:port` of the node that commands go to.
    pub fn address(&self) -> &str {
        &self.target.seeds[self.current]
    }

    /// The node that commands go to.
    pub fn node(&self) -> Node {
        self.client.node(self.address())
    }

    /// Executes a command on the first node that can be reached.
    pub async fn run(&mut self, command: &Command) -> Result<Reply, Error> {
        let mut result = self.node().run(command.clone()).await;
        for _ in 1..self.target.seeds.len() {
            if !result.as_ref().is_err_and(Error::is_unreachable) {
                break;
            }
            self.current = (self.current + 1) % self.target.seeds.len();
            result = self.node().run(command.clone()).await;
        }
        result
    }
}
