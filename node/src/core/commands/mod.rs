//! The handlers, a file a family. Each is a function from its arguments to a reply; none touches a
//! socket.

pub mod cluster;
mod config;
pub mod connection;
mod describe;
mod docs;
pub mod generic;
pub mod glob;
pub mod hash;
mod info;
pub mod server;
pub mod string;
#[cfg(test)]
pub mod testing;
