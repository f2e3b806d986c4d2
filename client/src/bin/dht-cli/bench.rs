//! `dht-cli bench`: puts load on a server that speaks Redis's protocol, and says how it held up.
//!
//! Knows nothing of the servers but what they answer, so that different ones can be compared. It
//! has few cycles to spend on a request: those of the generator are missing in what it measures.

mod batch;
mod leaders;
mod load;
mod options;
mod pace;
mod replies;
mod report;
mod tally;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dht_client::{Error, Target};
use dht_proto::resp::encode_request;

use self::batch::{Batch, Template};
use self::leaders::{Leaders, open};
use self::load::{Load, Source};
pub use self::options::Options;
pub use self::report::Report;

/// Requests unless a number or a time is given.
const REQUESTS: u64 = 100_000;

/// Why there was no load.
#[derive(Debug)]
pub enum Failure {
    /// The options do not go together.
    Usage(String),
    /// The servers cannot be reached or used.
    Server(Error),
    /// The system refused something.
    System(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Connects, puts load on the servers, and measures.
///
/// # Errors
/// There was no load; one that ended early gives a report that says why.
pub fn run(options: &Options, target: &Target) -> Result<Report, Failure> {
    let words = options.words();
    let template = Template::new(&words);
    let leaders = if options.cluster {
        Leaders::of_cluster(target, &template, options.keys)?
    } else {
        Leaders::one(target)?
    };
    let least = leaders.addresses.len().max(options.threads as usize);
    if (options.connections as usize) < least {
        let why = format!("-c has to be at least {least}: one for each leader and each thread");
        return Err(Failure::Usage(why));
    }
    let sources = sources(options, target, &template, &leaders)?;
    let load = Arc::new(load(options, Instant::now()));
    let tally = load::run(&load, sources)?;
    let words: Vec<_> = words
        .iter()
        .map(|word| String::from_utf8_lossy(word))
        .collect();
    Ok(Report {
        command: words.join(" "),
        servers: leaders.addresses.len(),
        connections: options.connections,
        pipeline: options.pipeline,
        rate: options.rate,
        threads: options.threads,
        time: tally.since - load.start,
        tally,
    })
}

/// Opens every connection; gives them by thread.
fn sources(
    options: &Options,
    target: &Target,
    template: &Template,
    leaders: &Leaders,
) -> Result<Vec<Vec<Source>>, Error> {
    let mut end = BytesMut::new();
    if let Some(replicas) = options.wait {
        encode_request(&["WAIT", &replicas.to_string(), "0"], &mut end);
    }
    let depth = options.pipeline as usize;
    let mut threads: Vec<Vec<Source>> = Vec::new();
    threads.resize_with(options.threads as usize, Vec::new);
    for index in 0..options.connections {
        let leader = index as usize % leaders.addresses.len();
        let address = leaders.addresses[leader].clone();
        let slots = leaders.of_slots.clone().map(|slots| (slots, leader));
        let thread = index as usize * threads.len() / options.connections as usize;
        threads[thread].push(Source {
            stream: open(&address, target.credentials.as_ref())?,
            address,
            batch: Batch::new(template.clone(), depth, &end, options.keys, index.into()),
            slots,
            offset: gap(options).unwrap_or_default() * index,
        });
    }
    Ok(threads)
}

/// Between the pipelines of one connection and the next, at a fixed rate.
fn gap(options: &Options) -> Option<Duration> {
    let pipelines_per_s = options.rate? as f64 / f64::from(options.pipeline);
    Some(Duration::from_secs_f64(1.0 / pipelines_per_s))
}

fn load(options: &Options, start: Instant) -> Load {
    let requests = match options.seconds {
        Some(_) => u64::MAX,
        None => options.requests.unwrap_or(REQUESTS),
    };
    Load {
        start,
        end: options.seconds.map(|time| start + time),
        left: AtomicU64::new(requests),
        depth: options.pipeline as usize,
        extra: options.wait.is_some().into(),
        interval: gap(options).map(|gap| gap * options.connections),
        timeout: options.timeout,
        stopped: AtomicBool::new(false),
    }
}
