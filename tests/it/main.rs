//! The integration tests: one binary, a module a subject.
#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

mod article;
mod clients;
mod style;
