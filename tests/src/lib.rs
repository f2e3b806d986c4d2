//! The harness of the integration tests: clusters to test against, and how to wait for them.

pub mod door;
pub mod expect;
pub mod quoting;
pub mod real_redis;
pub mod resp_client;
pub mod script;
pub mod store_door;
pub mod wait;
