//! From a row of the command table to its handler.

use dht_proto::spec::CommandId;
use dht_proto::{Reply, ReplyError, for_each_command};

use super::args::Args;
use super::commands;
use super::keyspace::{Read, Whole, Write};
use super::local::Local;

/// What a handler gives: the reply, or an error that has changed nothing.
pub type Outcome = Result<Reply, ReplyError>;

/// The function of a command, by what it may touch.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Reads locked slots.
    Read(fn(&Read<'_>, &mut Args<'_>) -> Outcome),
    /// Changes locked slots.
    Write(fn(&mut Write<'_>, &mut Args<'_>) -> Outcome),
    /// Works through the whole keyspace, slot by slot.
    Whole(fn(&Whole<'_>, &mut Args<'_>) -> Outcome),
    /// Uses the connection and the node.
    Local(fn(&mut Local<'_>, &mut Args<'_>) -> Outcome),
}

macro_rules! handler {
    (READ $path:path) => {
        Handler::Read($path)
    };
    (READ_EACH $path:path) => {
        Handler::Read($path)
    };
    (WRITE $path:path) => {
        Handler::Write($path)
    };
    (WRITE_EACH $path:path) => {
        Handler::Write($path)
    };
    (READ_ALL $path:path) => {
        Handler::Whole($path)
    };
    (WRITE_ALL $path:path) => {
        Handler::Whole($path)
    };
    (CURSOR $path:path) => {
        Handler::Whole($path)
    };
    (LOCAL $path:path) => {
        Handler::Local($path)
    };
    (HANDSHAKE $path:path) => {
        Handler::Local($path)
    };
}

macro_rules! handlers {
    ($($family:ident { $($name:literal $file:ident::$handler:ident $kind:ident
        $syntax:literal $since:literal $complexity:literal $summary:literal;)* })*) => {
        /// The handlers, in the order of the command table.
        static HANDLERS: &[Handler] = &[$($(handler!($kind commands::$file::$handler),)*)*];
    };
}

for_each_command!(handlers);

/// The function of a command.
#[must_use]
pub fn handler(id: CommandId) -> Handler {
    HANDLERS[id.index()]
}
