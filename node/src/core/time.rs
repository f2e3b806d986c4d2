//! Time as the core sees it: numbers handed in by the shell.

/// Milliseconds since the Unix epoch: expiry, and the stamps of commands.
pub type UnixMs = u64;

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, in microseconds since the Unix epoch.
    pub unix_us: u64,
    /// Monotonic clock, in milliseconds since an arbitrary start: deadlines.
    pub mono_ms: u64,
}

impl Now {
    /// The wall clock in milliseconds.
    #[must_use]
    pub const fn unix_ms(self) -> UnixMs {
        self.unix_us / 1000
    }
}
