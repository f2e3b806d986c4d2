//! Waiting in tests: always for something, never for some time.

use std::thread;
use std::time::{Duration, Instant};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// After `limit` without one, saying `what` was awaited.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        thread::sleep(PAUSE);
    }
}

/// As [`until`], without holding up other tasks of the runtime.
///
/// # Panics
/// After `limit` without an answer, saying `what` was awaited.
pub async fn until_async<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets a fault, or a load, go on for some time: how long it lasts is what is tried.
pub fn go_on_for(duration: Duration) {
    thread::sleep(duration);
}

/// The time that a client takes between two requests of a load.
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_given_as_soon_as_there_is_one() {
        let mut asked = 0;
        let answer = until("the third", Duration::from_secs(60), || {
            asked += 1;
            (asked == 3).then_some("third")
        });
        assert_eq!((answer, asked), ("third", 3));
    }

    #[test]
    #[should_panic(expected = "for nothing")]
    fn waiting_ends() {
        until("nothing", Duration::from_millis(1), || None::<()>);
    }
}
