//! Everything that waits: sockets, timers, the system's clock. It does what the core returns and
//! decides nothing.

pub mod clock;
pub mod housekeeping;
