//! The connection of the command line: one node at a time, the one that was named.

use std::time::Duration;

use dht_client::{Client, Command, Error, Node, Scheme, Subscription, Target};
use dht_proto::Reply;

/// A client, and the node that its commands go to.
pub struct Session {
    /// The client, for commands about other nodes.
    pub client: Client,
    target: Target,
    current: usize,
    /// How long to wait for an answer, if that is said.
    timeout: Option<Duration>,
    /// Redirections are followed.
    follows: bool,
}

impl Session {
    /// A session that connects when it is used.
    pub fn new(target: Target, timeout: Option<Duration>, follows: bool) -> Result<Self, Error> {
        let client = Client::open(target.clone())?;
        Ok(Self {
            client: match timeout {
                Some(timeout) => client.with_deadline(timeout),
                None => client,
            },
            target,
            current: 0,
            timeout,
            follows,
        })
    }

    /// Where it connects.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The same password at another address.
    pub fn connect(&mut self, address: String) -> Result<(), Error> {
        self.target.seeds = vec![address];
        *self = Self::new(self.target.clone(), self.timeout, self.follows)?;
        Ok(())
    }

    /// `host:port` of the node that commands go to.
    pub fn address(&self) -> &str {
        &self.target.seeds[self.current]
    }

    /// The node that commands go to.
    pub fn node(&self) -> Node {
        self.client.node(self.address())
    }

    /// A connection of its own, to the same node if it can be reached.
    pub fn subscription(&self) -> Subscription {
        let mut target = self.target.clone();
        target.seeds.rotate_left(self.current);
        Subscription::new(target)
    }

    /// Executes a command on the first node that can be reached. Nodes of a Redis Cluster do
    /// nothing for each other, so there it goes to the right one.
    /// A redirection is followed, if that was asked for.
    pub async fn run(&mut self, command: &Command) -> Result<Reply, Error> {
        let result = self.run_here(command).await;
        let reply = result.as_ref().err().and_then(Error::reply);
        let is_redirected = reply.is_some_and(|error| ["MOVED", "ASK"].contains(&error.prefix()));
        match self.follows && is_redirected {
            true => self.client.run(command.clone()).await,
            false => result,
        }
    }

    async fn run_here(&mut self, command: &Command) -> Result<Reply, Error> {
        if matches!(self.target.scheme, Scheme::Cluster | Scheme::ClusterTls) {
            return self.client.run(command.clone()).await;
        }
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
