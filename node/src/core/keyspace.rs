//! What a command may do with data: reading verbs under a shared lock, writing verbs under an
//! exclusive one.
//!
//! A handler is given a [`Read`] or a [`Write`] with its slot (or slots) already locked, or a
//! [`Whole`] that locks slot by slot. Keys that are due at the command's stamp do not exist for any
//! of them.

pub use super::store::{
    Expiry, HashRef, LONG_FIELDS, NoValue, Read, Restored, SharedHash, StringRef, ValueKind, Whole,
    Write,
};
