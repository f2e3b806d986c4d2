//! Faults in real processes and networks while clients work, and whether those were told the truth.
//!
//! [`net`] makes a network that can be cut, [`faults`] what goes wrong, [`workload`] the clients
//! and [`recorder`] their history, [`run()`] all of it together. The checkers are those of
//! [`crate::check`].

pub mod failover;
pub mod faults;
pub mod load;
pub mod net;
pub mod recorder;
mod run;
pub mod workload;

pub use run::{DIGESTS, Plan, Report, judge_at_rest, run};
