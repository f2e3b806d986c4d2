//! The dht server as a library: a pure [`core`] and the [`shell`] around it that waits.

pub mod config;
pub mod core;
pub mod shell;
