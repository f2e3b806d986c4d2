//! Waiting in tests: always for something, never for some time.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// After `limit` without one, saying `what` was awaited.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    until_ok(what, limit, || ask().ok_or(""))
}

/// Asks until there is an answer that is right.
///
/// # Panics
/// After `limit` without one, saying `what` was awaited and what was answered last.
pub fn until_ok<T, E: fmt::Display>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(other) => assert!(
                start.elapsed() < limit,
                "waited {limit:?} for {what} {other}"
            ),
        }
        thread::sleep(PAUSE);
    }
}

/// Lets a fault last, or something be watched, for as long as that is to be.
pub fn last(time: Duration) {
    thread::sleep(time);
}

/// What a client does between two commands: nothing.
pub async fn think(time: Duration) {
    tokio::time::sleep(time).await;
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
