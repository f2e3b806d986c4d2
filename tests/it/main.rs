//! The integration tests: one binary, a module a subject.

mod scripts;
// Said for clippy, which lets helpers unwrap where it sees that they are tests.
#[cfg(test)]
mod store;
