//! Whether the node at the other end of a connection is still there: a frozen one keeps its
//! connections open and says nothing. Pure: it is told what is heard, and the time.

/// Silence, in milliseconds, after which the node is asked for a sign of life.
const SILENCE_MS: u64 = 500;
/// Time for the sign, in milliseconds.
const SIGN_MS: u64 = 1000;

/// What is known of the node's life.
#[derive(Debug, Default)]
pub struct Pulse {
    heard_ms: u64,
    asked_ms: Option<u64>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Fine,
    /// The node has to be asked.
    Ask,
    /// The node counts as gone.
    Gone,
}

impl Pulse {
    /// The node was heard, or there was nothing to be heard of it until now.
    pub const fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        self.asked_ms = None;
    }

    /// Looks at a node of which something is expected.
    pub fn check(&mut self, now_ms: u64) -> Beat {
        match self.asked_ms {
            Some(asked_ms) if now_ms >= asked_ms + SIGN_MS => Beat::Gone,
            None if now_ms >= self.heard_ms + SILENCE_MS => {
                self.asked_ms = Some(now_ms);
                Beat::Ask
            }
            _ => Beat::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_is_asked_once_and_then_gone() {
        let mut pulse = Pulse::default();
        pulse.heard(100);
        let beats = [100, 599, 600, 601, 1599, 1600].map(|now_ms| pulse.check(now_ms));
        use Beat::{Ask, Fine, Gone};
        assert_eq!(beats, [Fine, Fine, Ask, Fine, Fine, Gone]);
    }

    #[test]
    fn any_sign_of_life_counts() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.check(500), Beat::Ask);
        pulse.heard(1400);
        assert_eq!(pulse.check(1899), Beat::Fine);
        assert_eq!(pulse.check(1900), Beat::Ask);
    }

    #[test]
    fn who_was_not_looked_at_for_long_is_asked_first() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.check(1_000_000), Beat::Ask);
    }
}
