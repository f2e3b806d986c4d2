//! The integration tests: one binary, a module a subject.
//!
//! `#[cfg(test)]` is said for clippy, which lets helpers unwrap where it sees that they are tests.

#[cfg(test)]
mod article;
#[cfg(test)]
mod backends;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cli_bench;
#[cfg(test)]
mod cli_says;
#[cfg(test)]
mod cli_top;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cluster_script;
#[cfg(test)]
mod command_info;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod embedding;
#[cfg(test)]
mod exactly_once;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod expiry;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod followers;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod lease_model;
#[cfg(test)]
mod log;
#[cfg(test)]
mod measures;
#[cfg(test)]
mod nemesis;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod order;
#[cfg(test)]
mod pubsub;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod services;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod store;
#[cfg(test)]
mod style;
#[cfg(test)]
mod subscriptions;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod transfer;
