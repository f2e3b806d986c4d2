//! Replication: every shard is a Raft group, and one [`Worker`](worker::Worker) a node drives all
//! groups of the node.

pub mod copy;
pub mod council;
pub mod courier;
pub mod keeper;
pub mod lease;
pub mod machine;
pub mod mail;
pub mod membership;
pub mod raft;
pub mod replica;
pub mod sessions;
pub mod task;
pub mod worker;

#[cfg(test)]
mod exactly_once_tests;
