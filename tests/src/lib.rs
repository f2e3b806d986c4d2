//! The harness of the integration tests: clusters to test against, and how to wait for them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness fails as a test does, by panicking"
)]

pub mod check;
pub mod cluster;
pub mod differential;
pub mod door;
pub mod expect;
pub mod native_client;
pub mod nemesis;
pub mod process;
pub mod python;
pub mod quoting;
pub mod random;
pub mod real_redis;
pub mod resp_client;
pub mod script;
pub mod sim;
pub mod store_door;
pub mod wait;
