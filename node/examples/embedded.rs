//! Measures a node inside of a program: how long it takes to be there, how long a call takes, and
//! how often it allocates. scripts/bench/embedded runs it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dht_client::Client;
use dht_node::Node;

/// Keys of a run.
const KEYS: usize = 10_000;
/// Calls that are timed.
const CALLS: usize = 1_000_000;
/// How soon three nodes should be ready, and how long a call that is answered at once should take
/// at the median.
const READY: Duration = Duration::from_secs(1);
const CALL: Duration = Duration::from_micros(1);
/// How often such a call may allocate: for its value.
const ALLOCATED: f64 = 1.0;
/// Calls, where some go to other nodes or are written.
const WRITES: usize = 20_000;

/// The system's allocator, counted.
struct Counted;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it hands everything on to the system's.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller has promised what the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller has promised what the system asks for.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut missed = Vec::new();
    let start = Instant::now();
    let alone = Node::builder().start().await?;
    println!("a node alone: there in {:?}", start.elapsed());
    missed.extend(measure(&alone.client()).await?);
    alone.shutdown().await;

    let start = Instant::now();
    let nodes = cluster().await?;
    let ready = start.elapsed();
    println!("three nodes that form a cluster: ready in {ready:?}");
    if ready >= READY {
        missed.push(format!("ready in {ready:?}, not {READY:?}"));
    }
    missed.extend(measure(&nodes[0].client()).await?);
    let start = Instant::now();
    for node in nodes {
        node.shutdown().await;
    }
    println!("  ended in {:?}", start.elapsed());
    match &missed[..] {
        [] => Ok(()),
        missed => Err(format!("missed: {}", missed.join("; ")).into()),
    }
}

async fn cluster() -> Result<Vec<Node>, Box<dyn Error>> {
    let mut nodes = Vec::new();
    for node in Node::cluster(3)? {
        nodes.push(node.start().await?);
    }
    for node in &mut nodes {
        node.ready().await?;
    }
    Ok(nodes)
}

/// Gives what should have been better.
async fn measure(table: &Client) -> dht_client::Result<Vec<String>> {
    let keys: Vec<String> = (0..KEYS).map(|n| format!("user:{n}")).collect();
    for keys in keys.chunks(500) {
        let load = keys.iter().fold(table.pipeline(), |load, key| {
            load.hset(key, [("name", "Alice"), ("age", "25")])
        });
        for result in load.send().await {
            result?;
        }
    }
    let reads = time(&keys, WRITES, async |key| table.hget(key, "name").await).await?;
    show("HGET of any key", &reads);
    let reads = local(table, &keys).await?;
    let here: Vec<String> = reads.iter().map(|key| (*key).clone()).collect();
    println!(
        "  {} of {} keys are answered at once",
        here.len(),
        keys.len()
    );
    let reads = time(&here, CALLS, async |key| table.hget(key, "name").await).await?;
    show("HGET of those", &reads);
    let mut missed = Vec::new();
    if reads.at(0.5) >= CALL {
        missed.push(format!("HGET in {:?}, not {CALL:?}", reads.at(0.5)));
    }
    if reads.allocations > ALLOCATED {
        missed.push(format!("HGET allocates {:.3} times", reads.allocations));
    }
    let set = async |key: &String| table.hset(key, [("age", "26")]).await;
    show(
        "HSET, one after the other",
        &time(&keys, WRITES, set).await?,
    );
    Ok(missed)
}

/// The keys that are answered without waiting: polling once is enough.
async fn local<'a>(table: &Client, keys: &'a [String]) -> dht_client::Result<Vec<&'a String>> {
    let mut here = Vec::new();
    for key in keys {
        let mut call = Box::pin(table.hget(key, "name"));
        // So that no turn is given to others in the middle of a call.
        tokio::task::yield_now().await;
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
        match once {
            std::task::Poll::Ready(value) => {
                value?;
                here.push(key);
            }
            std::task::Poll::Pending => _ = call.await?,
        }
    }
    Ok(here)
}

/// What calls took, ascending, and how often each allocated.
struct Taken {
    nanos: Vec<u64>,
    allocations: f64,
}

impl Taken {
    /// What so large a share of the calls took at most.
    fn at(&self, share: f64) -> Duration {
        let index = (self.nanos.len() as f64 * share) as usize;
        Duration::from_nanos(self.nanos[index.min(self.nanos.len() - 1)])
    }
}

async fn time<T>(
    keys: &[String],
    calls: usize,
    call: impl AsyncFn(&String) -> dht_client::Result<T>,
) -> dht_client::Result<Taken> {
    let mut nanos = Vec::with_capacity(calls);
    let before = ALLOCATIONS.load(Relaxed);
    for n in 0..calls {
        let key = &keys[n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys.len()];
        let start = Instant::now();
        black_box(call(key).await?);
        let took = start.elapsed();
        nanos.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
    let allocations = (ALLOCATIONS.load(Relaxed) - before) as f64 / calls as f64;
    nanos.sort_unstable();
    Ok(Taken { nanos, allocations })
}

fn show(what: &str, taken: &Taken) {
    println!(
        "  {what}: p50 {:?}, p99 {:?}, p99.9 {:?}; {:.3} allocations a call",
        taken.at(0.5),
        taken.at(0.99),
        taken.at(0.999),
        taken.allocations
    );
}
