//! The integration tests: one binary, a module a subject.

mod article;
mod clients;
mod style;
