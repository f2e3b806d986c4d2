//! How far something has come, as a bar on the terminal, if there is one.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Signs between its ends.
const WIDTH: u64 = 30;

/// A bar, which is drawn over itself.
pub struct Bar {
    total: u64,
    what: &'static str,
    start: Instant,
    shows: bool,
}

impl Bar {
    /// For so many of these.
    pub fn new(total: u64, what: &'static str) -> Self {
        Self {
            total,
            what,
            start: Instant::now(),
            shows: io::stderr().is_terminal(),
        }
    }

    /// So many are done.
    pub fn show(&self, seen: u64) -> io::Result<()> {
        if !self.shows {
            return Ok(());
        }
        let mut err = io::stderr();
        write!(err, "{} ", self.drawn(seen))?;
        err.flush()
    }

    fn drawn(&self, seen: u64) -> String {
        let Self { total, what, .. } = self;
        let done = (seen * WIDTH)
            .checked_div(*total)
            .unwrap_or(WIDTH)
            .min(WIDTH) as usize;
        let rate = seen as f64 / self.start.elapsed().as_secs_f64().max(0.001);
        let bar = format!("{:<width$}", "#".repeat(done), width = WIDTH as usize);
        format!("\r[{bar}] {seen} of {total} {what}, {rate:.0} a second")
    }
}

impl Drop for Bar {
    /// What is said next begins a line.
    fn drop(&mut self) {
        if self.shows {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_longer_than_it_is() {
        for (seen, total, signs) in [
            (0, 10, 0),
            (5, 10, 15),
            (10, 10, 30),
            (11, 10, 30),
            (3, 0, 30),
        ] {
            let drawn = Bar::new(total, "keys").drawn(seen);
            assert_eq!(drawn.matches('#').count(), signs, "{drawn}");
            assert!(drawn.contains(&format!("] {seen} of {total} keys, ")));
        }
    }
}
