//! What was measured.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use dht_client::Error;
use hdrhistogram::Histogram;

/// Latencies are kept with so many digits, up to an hour.
const DIGITS: u8 = 3;
const LONGEST: Duration = Duration::from_secs(3600);

/// What became of the requests of some connections.
#[derive(Debug)]
pub struct Tally {
    /// In nanoseconds, of each request that was answered.
    pub latencies: Histogram<u64>,
    /// Requests that were sent and are not answered.
    pub waiting: u64,
    /// Error replies by their prefix: how many, and the first.
    pub errors: BTreeMap<String, (u64, String)>,
    /// Why the load ended early.
    pub failure: Option<Error>,
    /// When the last reply arrived, or, where that is later, when requests began to wait again.
    pub since: Instant,
}

impl Tally {
    /// Nothing yet, at this time.
    ///
    /// # Errors
    /// The bounds of a histogram are wrong, which does not happen.
    pub fn new(now: Instant) -> io::Result<Self> {
        let longest = u64::try_from(LONGEST.as_nanos()).map_err(io::Error::other)?;
        Ok(Self {
            latencies: Histogram::new_with_bounds(1, longest, DIGITS).map_err(io::Error::other)?,
            waiting: 0,
            errors: BTreeMap::new(),
            failure: None,
            since: now,
        })
    }

    /// Requests that were answered, be it by an error.
    pub fn requests(&self) -> u64 {
        self.latencies.len()
    }

    /// So many requests are sent now.
    pub fn sent(&mut self, count: u64, now: Instant) {
        if self.waiting == 0 {
            self.since = self.since.max(now);
        }
        self.waiting += count;
    }

    /// So many requests that started then were answered now.
    pub fn answered(&mut self, count: u64, start: Instant, now: Instant) {
        let latency = now.saturating_duration_since(start).as_nanos();
        let latency = u64::try_from(latency).unwrap_or(u64::MAX);
        self.latencies.saturating_record_n(latency, count);
        self.waiting -= count;
        self.since = now;
    }

    /// An error reply, without its sign.
    pub fn error(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let prefix = text.split(' ').next().unwrap_or_default();
        match self.errors.get_mut(prefix) {
            Some((count, _)) => *count += 1,
            None => {
                let first = (1, text.clone().into_owned());
                self.errors.insert(prefix.to_owned(), first);
            }
        }
    }

    /// Notes why the load ended early, unless something did before.
    pub fn failed(&mut self, why: Error) {
        self.failure.get_or_insert(why);
    }

    /// Adds what other connections measured.
    ///
    /// # Errors
    /// The histograms differ in their bounds, which does not happen.
    pub fn add(&mut self, other: Self) -> io::Result<()> {
        self.latencies
            .add(&other.latencies)
            .map_err(io::Error::other)?;
        self.waiting += other.waiting;
        for (prefix, (count, first)) in other.errors {
            self.errors.entry(prefix).or_insert((0, first)).0 += count;
        }
        self.failure = self.failure.take().or(other.failure);
        self.since = self.since.max(other.since);
        Ok(())
    }
}
