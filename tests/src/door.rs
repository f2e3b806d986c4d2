//! The ways to reach a keyspace by which the same script runs.

use std::io;
use std::net::SocketAddr;

use dht_proto::Reply;
use dht_proto::resp::Version;
use dht_proto::spec::{self, Kind};

use crate::native_client::NativeClient;
use crate::resp_client::RespClient;
use crate::store_door::StoreDoor;

/// A way to reach a keyspace.
pub struct Door {
    /// As scripts name it.
    pub name: &'static str,
    /// Whether maps come as arrays at present.
    pub is_flat: bool,
    way: Way,
}

enum Way {
    Store(Box<StoreDoor>),
    Native(SocketAddr, Option<NativeClient>),
    Resp(Servers),
}

/// Servers that show one keyspace; each command goes to the next of them.
struct Servers {
    version: Version,
    addresses: Vec<SocketAddr>,
    connections: Vec<RespClient>,
    turn: usize,
}

impl Door {
    /// The core of a node, without any wire.
    #[must_use]
    pub fn store() -> Self {
        Self {
            name: "store",
            is_flat: false,
            way: Way::Store(Box::default()),
        }
    }

    /// Native frames to a node.
    #[must_use]
    pub const fn native(node: SocketAddr) -> Self {
        Self {
            name: "native",
            is_flat: false,
            way: Way::Native(node, None),
        }
    }

    /// RESP to servers that show one keyspace.
    #[must_use]
    pub const fn resp(name: &'static str, version: Version, addresses: Vec<SocketAddr>) -> Self {
        Self {
            name,
            is_flat: true,
            way: Way::Resp(Servers {
                version,
                addresses,
                connections: Vec::new(),
                turn: 0,
            }),
        }
    }

    /// Starts again: new connections, an empty keyspace. A `steady` one stays at one server, as
    /// commands about the connection need it.
    ///
    /// # Errors
    /// A connection fails.
    pub async fn open(&mut self, steady: bool) -> io::Result<()> {
        match &mut self.way {
            Way::Store(store) => **store = StoreDoor::new(),
            Way::Native(node, connection) => {
                let connection = connection.insert(NativeClient::connect(*node).await?);
                connection.call(&["FLUSHALL"]).await?;
            }
            Way::Resp(servers) => {
                self.is_flat = servers.version == Version::V2;
                servers.open(steady).await?;
            }
        }
        Ok(())
    }

    /// Executes a command.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        let reply = match &mut self.way {
            Way::Store(store) => store.call(argv),
            Way::Native(_, None) => return Err(io::ErrorKind::NotConnected.into()),
            Way::Native(_, Some(connection)) => connection.call(argv).await?,
            Way::Resp(servers) => servers.call(argv).await?,
        };
        // HELLO changes the form of replies, its own included.
        if argv[0].as_ref() == b"HELLO" && !matches!(reply, Reply::Error(_)) {
            self.is_flat = matches!(reply, Reply::Array(_));
        }
        Ok(alone(argv, reply))
    }

    /// Sends commands, none of them about its connection, before the first of them is answered.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn call_all(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<Vec<Reply>> {
        match &mut self.way {
            Way::Store(store) => Ok(commands.iter().map(|argv| store.call(argv)).collect()),
            Way::Native(_, None) => Err(io::ErrorKind::NotConnected.into()),
            Way::Native(_, Some(connection)) => connection.pipeline(commands).await,
            Way::Resp(servers) => servers.connections[0].pipeline(commands).await,
        }
    }
}

/// What is said of one channel is the same, be it pushed or a list of one message.
fn alone(argv: &[impl AsRef<[u8]>], reply: Reply) -> Reply {
    let words: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
    if !spec::find(&words).is_ok_and(|id| id.spec().kind == Kind::LISTEN) {
        return reply;
    }
    match reply {
        Reply::Pushes(mut messages) if messages.len() == 1 => Reply::Array(messages.remove(0)),
        Reply::Array(mut items) if matches!(&items[..], [Reply::Array(_)]) => items.remove(0),
        reply => reply,
    }
}

impl Servers {
    async fn open(&mut self, steady: bool) -> io::Result<()> {
        self.connections.clear();
        let servers = if steady { 1 } else { self.addresses.len() };
        let version = match self.version {
            Version::V2 => "2",
            Version::V3 => "3",
        };
        for address in &self.addresses[..servers] {
            let mut connection = RespClient::connect(*address).await?;
            connection.call(&["HELLO", version]).await?;
            self.connections.push(connection);
        }
        self.call(&["FLUSHALL"]).await.map(drop)
    }

    async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.turn = (self.turn + 1) % self.connections.len();
        self.connections[self.turn].call(argv).await
    }
}
