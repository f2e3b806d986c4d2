//! When pipelines start: as soon as may be, or at fixed times.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The start times of a connection's pipelines.
#[derive(Debug)]
pub enum Pace {
    /// Each when the one before is answered.
    Closed,
    /// At fixed times, whether or not the one before is answered by then.
    Open {
        /// When the next one starts.
        due: Instant,
        /// From one start to the next.
        interval: Duration,
        /// The runtime's own timers are a thousand times coarser than what is measured.
        timer: AsyncFd<OwnedFd>,
    },
}

impl Pace {
    /// Fixed times from `first` on. To be called inside a runtime.
    ///
    /// # Errors
    /// The system has no timer left.
    pub fn open(first: Instant, interval: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an `OwnedFd` owns its descriptor and names the same one until it is dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE)? };
        Ok(Self::Open {
            due: first,
            interval,
            timer,
        })
    }

    /// When the next pipeline starts; that may be in the past.
    pub fn next(&mut self) -> Instant {
        match self {
            Self::Closed => Instant::now(),
            Self::Open { due, interval, .. } => {
                let start = *due;
                *due += *interval;
                start
            }
        }
    }

    /// Waits until then.
    ///
    /// # Errors
    /// The system's timer fails.
    pub async fn wait(&self, start: Instant) -> io::Result<()> {
        let Self::Open { timer, .. } = self else {
            return Ok(());
        };
        loop {
            let left = start.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(left).map_err(io::Error::other)?,
            };
            timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
            timer.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fixed_times_do_not_depend_on_when_they_are_asked_for() {
        let (first, interval) = (Instant::now(), Duration::from_millis(5));
        let mut pace = Pace::open(first, interval).unwrap();
        for turn in 0..4 {
            let start = pace.next();
            assert_eq!(start, first + interval * turn);
            pace.wait(start).await.unwrap();
            assert!(Instant::now() >= start);
        }
    }

    #[tokio::test]
    async fn a_time_that_has_passed_is_not_waited_for() {
        let long_ago = Instant::now() - Duration::from_secs(3600);
        let mut pace = Pace::open(long_ago, Duration::from_secs(1)).unwrap();
        let start = pace.next();
        assert_eq!(start, long_ago);
        pace.wait(start).await.unwrap();
    }
}
