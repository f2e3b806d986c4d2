//! How far something has come, as a bar on the terminal, if there is one.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use crate::say::complain;

/// Signs between its ends.
const WIDTH: u64 = 30;

/// A bar, which is drawn over itself.
pub struct Bar {
    /// Nobody knows how many, if it is nothing.
    total: Option<u64>,
    /// So many were done before it began.
    before: u64,
    what: &'static str,
    start: Instant,
    shows: bool,
}

impl Bar {
    /// For so many of these.
    pub fn new(total: u64, what: &'static str) -> Self {
        Self {
            total: Some(total),
            before: 0,
            what,
            start: Instant::now(),
            shows: io::stderr().is_terminal(),
        }
    }

    /// For nobody knows how many, of which so many are done already.
    pub fn open(what: &'static str, before: u64) -> Self {
        let mut bar = Self::new(0, what).since(before);
        bar.total = None;
        bar
    }

    /// The same, of which so many are done already.
    pub const fn since(mut self, before: u64) -> Self {
        self.before = before;
        self
    }

    /// So many are done, with those that were before.
    pub fn show(&self, seen: u64) -> io::Result<()> {
        if !self.shows {
            return Ok(());
        }
        let mut err = io::stderr();
        write!(err, "{} ", self.drawn(seen))?;
        err.flush()
    }

    fn drawn(&self, seen: u64) -> String {
        let what = self.what;
        let new = seen.saturating_sub(self.before) as f64;
        let rate = new / self.start.elapsed().as_secs_f64().max(0.001);
        let Some(total) = self.total else {
            return format!("\r{seen} {what}, {rate:.0} a second");
        };
        let done = (seen * WIDTH)
            .checked_div(total)
            .unwrap_or(WIDTH)
            .min(WIDTH) as usize;
        let bar = format!("{:<width$}", "#".repeat(done), width = WIDTH as usize);
        format!("\r[{bar}] {seen} of {total} {what}, {rate:.0} a second")
    }
}

impl Drop for Bar {
    /// What is said next begins a line.
    fn drop(&mut self) {
        if self.shows {
            complain!("");
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
        let open = Bar::open("keys", 5);
        assert!(open.drawn(5).starts_with("\r5 keys, 0 a second"));
        let goes_on = Bar::new(10, "keys").since(5);
        assert!(goes_on.drawn(5).ends_with("] 5 of 10 keys, 0 a second"));
    }
}
