//! The simulator: a whole cluster on one thread, driven by one seed.
//!
//! The nodes are the product's core. Everything around them is virtual: network, clocks, clients,
//! and what goes wrong with them. What clients were told and what replicas have come to is judged
//! by [`crate::check`]. The same seed gives the same events, in another process too.

pub mod clients;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod line;
pub mod network;
pub mod plan;
pub mod process;
pub mod queue;
pub mod report;
pub mod run;
pub mod sectors;
pub mod sessions;
pub mod tally;
pub mod trace;
pub mod watch;
pub mod world;
