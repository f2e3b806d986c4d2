//! The handlers, a file a family. Each is a function from its arguments to a reply; none touches a socket.

pub mod cluster;
pub mod connection;
pub mod generic;
pub mod hash;
pub mod server;
pub mod string;
