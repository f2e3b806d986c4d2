//! The harness of the integration tests: clusters to test against, and how to wait for them.

pub mod wait;
