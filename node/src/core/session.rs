//! One connection: requests in, replies out, in order; what this node does not lead is forwarded.

use bytes::{Bytes, BytesMut};
use dht_proto::Reply;
use dht_proto::topology::NodeId;

use super::client::Client;
use super::node::Node;
use super::time::Now;

/// A connection's state between two calls of the shell.
pub struct Session {
    /// Who is at the other end.
    pub client: Client,
}

/// What the shell has to do after a call; it takes what it finds and leaves the rest empty.
#[derive(Default)]
pub struct Effects {
    /// To be written to the connection.
    pub output: BytesMut,
    /// To be sent to other nodes. Each is settled exactly once by [`Session::settle`].
    pub forwards: Vec<Forward>,
    /// Close the connection once the output is written.
    pub close: bool,
}

/// A command for another node.
#[derive(Debug, PartialEq)]
pub struct Forward {
    /// Which node.
    pub to: NodeId,
    /// Names this command in [`Session::settle`].
    pub ticket: u64,
    /// The command as the client sent it, or the part of it for that node.
    pub argv: Vec<Bytes>,
    /// The monotonic time, in milliseconds, at which it is settled without an answer.
    pub deadline_mono_ms: u64,
}

/// What became of a forwarded command.
#[derive(Debug, PartialEq)]
pub enum Fate {
    /// The node answered.
    Answered(Reply),
    /// No byte of it left this node.
    NotSent,
    /// It was sent, and the link broke or the deadline passed.
    Lost,
}

/// Whether more can be done without the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every complete request was taken: read more input.
    Input,
    /// Output has to be written, or a forwarded command settled, before the rest of the input is taken: call
    /// [`Session::receive`] again after that.
    Blocked,
}

impl Session {
    /// A connection that has just been accepted, its protocol known from the first byte.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Takes every complete request from `input`.
    pub fn receive(
        &mut self,
        node: &Node,
        now: Now,
        input: &mut BytesMut,
        effects: &mut Effects,
    ) -> Progress {
        let _ = (node, now, input, effects);
        Progress::Input
    }

    /// Takes the fate of a forwarded command.
    pub fn settle(&mut self, node: &Node, ticket: u64, fate: Fate, effects: &mut Effects) {
        let _ = (node, ticket, fate, effects);
    }

    /// How many requests wait for other nodes.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        0
    }
}
