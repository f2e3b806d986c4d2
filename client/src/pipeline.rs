//! Commands that are sent together.

use dht_proto::Reply;

use crate::client::Client;
use crate::command::Command;
use crate::error::Result;

/// Room for so many commands is made at first.
const FEW: usize = 16;

/// Commands to be sent together, to all nodes at once; see [`Client::pipeline`].
///
/// A pipeline is not atomic, unless it is sent by [`exec`](Self::exec). Commands on keys of one
/// slot are executed in their order, except that one which the cluster could not execute at that
/// moment is sent again after the others.
#[must_use = "a pipeline does nothing until it is sent"]
pub struct Pipeline<'a> {
    client: &'a Client,
    commands: Vec<Command>,
}

impl<'a> Pipeline<'a> {
    pub(crate) const fn new(client: &'a Client) -> Self {
        Self {
            client,
            commands: Vec::new(),
        }
    }

    pub(crate) const fn client(&self) -> &'a Client {
        self.client
    }

    pub(crate) fn into_commands(self) -> Vec<Command> {
        self.commands
    }

    /// Adds any command.
    pub fn command(mut self, command: Command) -> Self {
        if self.commands.is_empty() {
            self.commands.reserve(FEW);
        }
        self.commands.push(command);
        self
    }

    /// Sends the commands and waits for all results: one a command, in their order.
    /// [`FromReply`](crate::FromReply) makes values of them.
    pub async fn send(self) -> Vec<Result<Reply>> {
        self.client.run_all(self.commands).await
    }
}
