//! Checkers: is what clients were told right? They judge histories, whoever recorded them.
//!
//! - [`linear`]: some order of the operations explains every answer, key by key.
//! - [`acked`]: what was acknowledged is still there at the end.
//! - [`counters`]: increments count once.
//! - [`replicas`]: copies of a shard agree, and neither logs nor times go back.
//!
//! They know commands by a [`model`] of their own and nothing of the product, besides the form of
//! replies. [`programs`] makes the commands that tell most.

pub mod acked;
pub mod answer;
pub mod command;
pub mod counters;
pub mod explain;
pub mod finals;
pub mod history;
pub mod linear;
#[cfg(test)]
mod linear_tests;
pub mod model;
pub mod partition;
pub mod programs;
pub mod replicas;
#[cfg(test)]
mod testing;
