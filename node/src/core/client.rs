//! What is known of one connection: who the client says it is, and what it may do.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;

/// The version of the protocol in which replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP, version 2.
    Resp2,
    /// RESP, version 3.
    Resp3,
    /// MessagePack frames.
    Native,
}

/// What happens with a command whose keys another node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The client port: it is forwarded.
    Forward,
    /// The redirecting port: the client is told where to go; whole-keyspace commands cover this node only.
    Redirect,
    /// An authenticated link from another node: it is refused as not done, never sent on.
    Peer,
}

/// A connection, as its own session sees it.
pub struct Client {
    /// The part that `CLIENT LIST` of other connections shows.
    pub facts: Arc<Facts>,
    /// The protocol of replies.
    pub protocol: Protocol,
    /// How commands for other nodes are treated.
    pub door: Door,
    /// Whether the password was given, or none is needed.
    pub authenticated: bool,
    /// Set by QUIT: nothing more is executed, and the connection closes after the replies so far.
    pub closing: bool,
}

/// What everybody may see of a connection.
pub struct Facts {
    /// Unique in this process, never reused.
    pub id: u64,
    /// Remote address.
    pub addr: String,
    /// Local address.
    pub laddr: String,
    /// When it was accepted, monotonic milliseconds.
    pub since_mono_ms: u64,
    /// When its last command arrived, monotonic milliseconds.
    pub last_mono_ms: AtomicU64,
    /// The index of its last command in the table, plus one; 0 before the first.
    pub last_command: AtomicU64,
    /// What the client says of itself.
    pub labels: ArcSwap<Labels>,
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: String,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: String,
    /// 2 or 3.
    pub resp: u8,
}
