//! What a command about the connection or the node may use.

use super::client::Client;
use super::node::Node;
use super::time::Now;

/// The connection that a command came from, and its node.
pub struct Local<'a> {
    /// The connection.
    pub client: &'a mut Client,
    /// The node.
    pub node: &'a Node,
    /// The moment of arrival.
    pub now: Now,
}
