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

impl Version {
    const fn number(self) -> &'static str {
        match self {
            Self::Resp2 => "2",
            Self::Resp3 => "3",
        }
    }
}

/// A way to reach a keyspace.
pub struct Door {
    /// As scripts name it.
    pub name: &'static str,
    version: Version,
    /// Whether maps come as arrays at present.
    pub is_flat: bool,
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
            is_flat: true,
            addresses,
            connections: Vec::new(),
            turn: 0,
        }
    }

    /// Starts again: new connections, an empty keyspace. A `steady` one stays at one server, as
    /// commands about the connection need it.
    ///
    /// # Errors
    /// A connection fails.
    pub async fn open(&mut self, steady: bool) -> io::Result<()> {
        self.connections.clear();
        let servers = if steady { 1 } else { self.addresses.len() };
        for address in &self.addresses[..servers] {
            self.connections.push(RespClient::connect(address).await?);
        }
        for _ in 0..servers {
            self.call(&["HELLO", self.version.number()]).await?;
        }
        self.call(&["FLUSHALL"]).await.map(drop)
    }

    /// Executes a command.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.turn = (self.turn + 1) % self.connections.len();
        let reply = self.connections[self.turn].call(argv).await?;
        if argv[0].as_ref() == b"HELLO" && !matches!(reply, Reply::Error(_)) {
            self.is_flat = matches!(reply, Reply::Array(_));
        }
        Ok(reply)
    }
}
