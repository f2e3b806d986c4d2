//! Writes to people. Who does not read any more is no reason to panic: what is said on the output
//! gives an error then, with which the process ends quietly, and complaints are dropped.

use std::fmt::Arguments;
use std::io::{self, Write};

/// Writes a line to the output.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

/// Writes a line to where errors go.
macro_rules! complain {
    ($($text:tt)*) => { $crate::say::complaint(format_args!($($text)*)) };
}

pub(crate) use {complain, say};

/// See [`say!`].
///
/// # Errors
/// The output takes nothing, as when its reader has gone.
pub fn line(text: Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
}

/// See [`complain!`].
pub fn complaint(text: Arguments<'_>) {
    // There is nobody left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
