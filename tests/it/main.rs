//! The integration tests: one binary, a module a subject.

// Said for clippy, which lets helpers unwrap where it sees that they are tests.
#[cfg(test)]
mod store;
