//! The ways to reach a keyspace by which the same script runs.

use std::io;

use dht_proto::Reply;

use crate::resp_client::RespClient;

/// The version of RESP that a door speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RESP2: maps are flat arrays.
    Resp2,
    /// RESP3.
    Resp3,
}

/// A way to reach a keyspace.
pub struct Door {
    /// As scripts name it.
    pub name: &'static str,
    version: Version,
    addresses: Vec<String>,
    connections: Vec<RespClient>,
    turn: usize,
}

impl Door {
    /// A door to servers that show one keyspace; each command goes to the next of them.
    #[must_use]
    pub const fn resp(name: &'static str, version: Version, addresses: Vec<String>) -> Self {
        Self {
            name,
            version,
            addresses,
            connections: Vec::new(),
            turn: 0,
        }
    }

    /// Whether maps come as arrays.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.version == Version::Resp2
    }

    /// Starts again: new connections, an empty keyspace. A `steady` one stays at one server, as commands about
    /// the connection need it.
    ///
    /// # Errors
    /// A connection fails.
    pub async fn open(&mut self, steady: bool) -> io::Result<()> {
        self.connections.clear();
        let servers = if steady { 1 } else { self.addresses.len() };
        for address in &self.addresses[..servers] {
            let mut connection = RespClient::connect(address).await?;
            if self.version == Version::Resp3 {
                connection.call(&["HELLO", "3"]).await?;
            }
            self.connections.push(connection);
        }
        self.call(&["FLUSHALL"]).await.map(drop)
    }

    /// Executes a command.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.turn = (self.turn + 1) % self.connections.len();
        self.connections[self.turn].call(argv).await
    }
}
