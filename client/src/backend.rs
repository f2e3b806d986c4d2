//! What the client asks of those who speak with servers. There are two: frames, and the protocol of
//! Redis.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use dht_proto::Reply;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::command::Command;
use crate::node::Request;

/// Speaks with servers of one kind. [`Client`](crate::Client) does all the rest above it: routing,
/// second tries, pipelines, transactions, typed calls.
pub trait Backend: Send + Sync + 'static {
    /// How its servers share the keyspace.
    fn keyspace(&self) -> Keyspace;

    /// Serves the requests to the server at `host:port` until all handles on it are gone, or, where
    /// the connection is to live once, until it breaks. Every request is settled.
    fn serve(
        &self,
        address: Arc<str>,
        requests: mpsc::Receiver<Request>,
        life: Life,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// The answer to a command, where nobody has to be waited for.
    fn at_once(&self, _command: &Command) -> Option<Reply> {
        None
    }
}

/// A node in this process, with which a client speaks without a socket.
pub trait Host: Send + Sync + 'static {
    /// A connection to it, on which it expects requests in frames, without a preface.
    ///
    /// # Errors
    /// It has ended.
    fn connect(&self) -> io::Result<Box<dyn Wire>>;

    /// The answer to a command, where it can be given without waiting for anybody.
    fn at_once(&self, argv: &[&[u8]]) -> Option<Reply>;
}

/// What bytes go over, both ways.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// How servers share a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyspace {
    /// As nodes of dht: each does or forwards anything, and recognizes a write that comes again.
    Dht,
    /// Every server has all of it.
    Whole,
    /// As a Redis Cluster: each has some slots and forwards nothing.
    Slots,
}

/// How long a connection lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// A broken one is replaced.
    Renewed,
    /// It is not: what a transaction has said on it would be lost.
    Once,
}
