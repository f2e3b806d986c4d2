//! The integration tests: one binary, a module a subject.
//!
//! `#[cfg(test)]` is said for clippy, which lets helpers unwrap where it sees that they are tests.

#[cfg(test)]
mod article;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cluster_script;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod store;
#[cfg(test)]
mod style;
