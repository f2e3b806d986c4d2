//! The load itself: threads, their connections, and the loop of each.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dht_client::{Cause, Error};
use dht_proto::Malformed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use super::batch::Batch;
use super::pace::Pace;
use super::replies::Scanner;
use super::tally::Tally;

/// Bytes that are read at once, and the longest line of a reply.
const INPUT_BYTES: usize = 16 * 1024;

/// What all connections share.
#[derive(Debug)]
pub struct Load {
    /// When the load begins.
    pub start: Instant,
    /// When the last pipeline may start.
    pub end: Option<Instant>,
    /// Requests that no connection has taken yet.
    pub left: AtomicU64,
    /// Requests of a pipeline.
    pub depth: usize,
    /// Replies that end a pipeline and belong to no request.
    pub extra: u64,
    /// From one pipeline of a connection to its next, at a fixed rate.
    pub interval: Option<Duration>,
    /// Time without any reply after which the load is given up.
    pub timeout: Duration,
    /// A connection has failed.
    pub stopped: AtomicBool,
}

/// A connection before its load begins.
#[derive(Debug)]
pub struct Source {
    /// Where it leads.
    pub address: String,
    /// The connection.
    pub stream: std::net::TcpStream,
    /// What is sent.
    pub batch: Batch,
    /// The slots of the keys that may be sent, in a cluster: those that this leader has.
    pub slots: Option<(Arc<[Option<usize>]>, usize)>,
    /// When its first pipeline starts, at a fixed rate, from the beginning of the load.
    pub offset: Duration,
}

/// Runs all connections, each list on a thread of its own, until the load ends or one fails.
///
/// # Errors
/// A thread, its runtime or a timer cannot be had.
pub fn run(load: &Arc<Load>, threads: Vec<Vec<Source>>) -> io::Result<Tally> {
    let spawn = |sources| {
        let load = Arc::clone(load);
        thread::Builder::new().spawn(move || on_one_thread(&load, sources))
    };
    let handles: Vec<_> = threads.into_iter().map(spawn).collect::<io::Result<_>>()?;
    let mut all = Tally::new(load.start)?;
    for handle in handles {
        match handle.join() {
            Ok(tally) => all.add(tally?)?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(all)
}

fn on_one_thread(load: &Arc<Load>, sources: Vec<Source>) -> io::Result<Tally> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let tally = Rc::new(RefCell::new(Tally::new(load.start)?));
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            () = all(load, sources, &tally) => {}
            () = stalled(load.timeout, &tally) => {
                tally.borrow_mut().failed(Error::Unknown(Cause::Deadline));
            }
        }
    });
    load.stopped
        .store(tally.borrow().failure.is_some(), Ordering::Relaxed);
    Ok(tally.replace(Tally::new(load.start)?))
}

/// Runs connections until all have ended or one has failed.
async fn all(load: &Arc<Load>, sources: Vec<Source>, tally: &Rc<RefCell<Tally>>) {
    let mut tasks = JoinSet::new();
    for source in sources {
        let (load, tally) = (Arc::clone(load), Rc::clone(tally));
        tasks.spawn_local(async move {
            let address = source.address.clone();
            let broken = |error: io::Error| Cause::Broken {
                why: error.to_string(),
                address,
            };
            one(source, &load, &tally).await.map_err(broken)
        });
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return tally.borrow_mut().failed(Error::Unknown(cause)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Returns when requests have waited for this time and none was answered.
async fn stalled(timeout: Duration, tally: &RefCell<Tally>) {
    loop {
        let now = Instant::now();
        let (since, waits) = {
            let tally = tally.borrow();
            (tally.since, tally.waiting > 0)
        };
        let left = (since + timeout).saturating_duration_since(now);
        match (waits, left.is_zero()) {
            (true, true) => return,
            (true, false) => tokio::time::sleep(left).await,
            (false, _) => tokio::time::sleep(timeout).await,
        }
    }
}

/// The load of one connection.
async fn one(source: Source, load: &Load, tally: &RefCell<Tally>) -> io::Result<()> {
    source.stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(source.stream)?;
    let (reader, mut writer) = stream.split();
    let mut replies = Replies::of(reader);
    let mut batch = source.batch;
    let wanted = |slot: u16| match &source.slots {
        Some((leaders, own)) => leaders.get(usize::from(slot)) == Some(&Some(*own)),
        None => true,
    };
    let mut pace = load.pace(source.offset)?;
    loop {
        let start = pace.next();
        let count = load.take(start);
        if count == 0 {
            return Ok(());
        }
        pace.wait(start).await?;
        let bytes = batch.draw(count, wanted);
        let count = count as u64;
        tally.borrow_mut().sent(count, start);
        // Read while writing: a server may answer first what it has, before it takes the rest.
        let answers = replies.await_all(count, load.extra, start, tally);
        tokio::try_join!(writer.write_all(bytes), answers)?;
    }
}

impl Load {
    /// Takes the next requests of a connection whose pipeline starts then; 0 when the load ends.
    fn take(&self, start: Instant) -> usize {
        let over = self.end.is_some_and(|end| start >= end);
        if over || self.stopped.load(Ordering::Relaxed) {
            return 0;
        }
        let depth = self.depth as u64;
        let rest = |left: u64| Some(left.saturating_sub(depth));
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        left.map_or(0, |left| left.min(depth) as usize)
    }

    fn pace(&self, offset: Duration) -> io::Result<Pace> {
        match self.interval {
            Some(interval) => Pace::open(self.start + offset, interval),
            None => Ok(Pace::Closed),
        }
    }
}

/// The replies on a connection.
struct Replies<'a> {
    reader: ReadHalf<'a>,
    scanner: Scanner,
    input: Box<[u8]>,
    /// Bytes of the input that begin a line.
    filled: usize,
}

impl<'a> Replies<'a> {
    fn of(reader: ReadHalf<'a>) -> Self {
        Self {
            reader,
            scanner: Scanner::default(),
            input: vec![0; INPUT_BYTES].into(),
            filled: 0,
        }
    }

    /// Awaits the replies to a pipeline of `count` requests, and `extra` ones after them.
    async fn await_all(
        &mut self,
        count: u64,
        extra: u64,
        start: Instant,
        tally: &RefCell<Tally>,
    ) -> io::Result<()> {
        let mut left = count + extra;
        while left > 0 {
            let length = self.reader.read(&mut self.input[self.filled..]).await?;
            let now = Instant::now();
            let tally = &mut *tally.borrow_mut();
            let replies = self.arrived(length, tally)?;
            left = left
                .checked_sub(replies)
                .ok_or_else(|| malformed("more replies than requests"))?;
            // A pipeline with an end is answered when its end is.
            match (extra, left) {
                (0, _) => tally.answered(replies, start, now),
                (_, 0) => tally.answered(count, start, now),
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts the replies that end in the input when so many bytes have come.
    fn arrived(&mut self, length: usize, tally: &mut Tally) -> io::Result<u64> {
        if length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed it",
            ));
        }
        let end = self.filled + length;
        let input = &self.input[..end];
        let found = self.scanner.scan(input, |text| tally.error(text));
        let found = found.map_err(|Malformed(why)| malformed(why))?;
        self.input.copy_within(found.bytes..end, 0);
        self.filled = end - found.bytes;
        if self.filled == self.input.len() {
            return Err(malformed("too long a line"));
        }
        Ok(found.replies)
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
