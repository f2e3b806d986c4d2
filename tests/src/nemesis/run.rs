//! A whole run: a cluster, clients, faults one after the other, and the judgement at the end.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dht_proto::Reply;
use tokio::runtime::Builder;

use super::faults::{Counts, Fault, Victims};
use super::net::Net;
use super::workload::{Target, Workload};
use crate::check::finals::Finals;
use crate::check::history::{History, Op, Operation, Outcome};
use crate::check::{acked, counters, linear};
use crate::process::Processes;
use crate::random::Random;
use crate::resp_client::RespClient;

/// What every node and client of a run knows.
const PASSWORD: &str = "nemesis";
/// Replicas of each shard.
const REPLICAS: usize = 3;
/// Has nodes tell what data they have.
pub const DIGESTS: [&str; 2] = ["--enable-debug-command", "yes"];
/// By how much the nodes' time may differ from the clients' over a time to live.
const CLOCK_ERROR_US: u64 = 100_000;
/// How hard to look for an order of the operations on a key.
const STEPS: u64 = 20_000_000;

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Clients at work.
    pub clients: usize,
    /// The longest pause of a client between two operations, in milliseconds.
    pub pause_ms: u64,
    /// How long faults go on; the first round is brought to its end, and so is each fault.
    pub time: Duration,
    /// What happens, in turn, each round in an order of its own.
    pub faults: Vec<Fault>,
    /// What follows from it: the faults, and the clients' programs.
    pub seed: u64,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Report {
    /// The plan's.
    pub seed: u64,
    /// Faults.
    pub counts: Counts,
    /// Operations by what the clients were told: done, not done, unknown.
    pub told: [usize; 3],
    /// Acknowledged writes that were found at the end, or overwritten.
    pub kept: usize,
    /// Acknowledged increments.
    pub counted: usize,
    /// Transactions that were executed.
    pub transactions: usize,
    /// Tries that the search for an order has cost.
    pub steps: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [done, not_done, unknown] = self.told;
        writeln!(f, "SEED={} faults: {}", self.seed, self.counts)?;
        writeln!(
            f,
            "operations: {done} done, {not_done} not done, {unknown} unknown"
        )?;
        write!(
            f,
            "none of {} acknowledged writes lost, {} increments counted once, linearizable with {} \
             transactions ({} steps)",
            self.kept, self.counted, self.transactions, self.steps
        )
    }
}

/// Carries out a plan.
///
/// # Panics
/// A client was told something untrue, replicas differ, or the cluster has not recovered from a
/// fault.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    println!("SEED={}", plan.seed);
    let plan = plan.clone();
    // The thread stays in the network for as long as it lives.
    let ended = thread::spawn(move || run_here(&plan)).join();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn run_here(plan: &Plan) -> Report {
    let net = Net::new(plan.nodes);
    net.enter();
    let mut random = Random::new(plan.seed);
    let mut victims = Victims {
        processes: Processes::start_at(net.places(), PASSWORD, &DIGESTS),
        net,
        random: random.fork(),
        counts: Counts::default(),
    };
    let target = Target {
        nodes: (0..plan.nodes)
            .map(|node| victims.processes.client(node))
            .collect(),
        password: PASSWORD.to_owned(),
    };
    victims.processes.await_safe(0);
    let workload = Workload::start(&target, plan.clients, plan.pause_ms, &mut random);
    let start = Instant::now();
    let over = || start.elapsed() >= plan.time;
    for round in 0.. {
        for fault in shuffled(&plan.faults, &mut random) {
            if round == 0 || !over() {
                let began = Instant::now();
                victims.strike(fault);
                let (now, took) = (start.elapsed(), began.elapsed());
                println!("{now:>6.1?} {fault:?} took {took:.1?}");
            }
        }
        if over() {
            break;
        }
    }
    let history = workload.stop();
    victims.processes.await_alike(REPLICAS);
    judge(
        plan.seed,
        victims.counts.clone(),
        &history,
        &finals(&target, &history),
    )
}

fn shuffled(faults: &[Fault], random: &mut Random) -> Vec<Fault> {
    let mut left = faults.to_vec();
    (0..faults.len())
        .map(|_| left.swap_remove(random.below(left.len())))
        .collect()
}

/// Reads all keys.
fn finals(target: &Target, history: &History) -> Finals {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let connected = RespClient::connect(target.nodes[0]).await;
        let mut client = connected.expect("a node that runs");
        let login = client.call(&["AUTH", &target.password]).await;
        assert_eq!(login.expect("an answer"), Reply::Ok);
        let mut finals = Finals::default();
        for read in Finals::reads(history) {
            let reply = client.call(&read).await.expect("an answer");
            finals.add(&read, &as_pairs(&read, reply)).expect("a value");
        }
        finals
    })
}

/// A hash as RESP2 gives it, as a map.
fn as_pairs(read: &[Bytes], reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) if read[0] == "HGETALL" => {
            let pairs = items
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()));
            Reply::Map(pairs.collect())
        }
        reply => reply,
    }
}

/// Judges what clients were told by what is there at the end.
///
/// # Panics
/// A client was told something untrue.
#[must_use]
pub fn judge_at_rest(seed: u64, target: &Target, history: &History) -> Report {
    judge(seed, Counts::default(), history, &finals(target, history))
}

fn judge(seed: u64, counts: Counts, history: &History, finals: &Finals) -> Report {
    let mut told = [0; 3];
    for operation in &history.operations {
        told[match operation.outcome {
            Outcome::Done { .. } => 0,
            Outcome::NotDone => 1,
            Outcome::Unknown => 2,
        }] += 1;
    }
    println!("judging {told:?}");
    let is_executed = |operation: &&Operation| {
        let is_array = matches!(operation.done(), Some((Reply::Array(_), _)));
        is_array && matches!(operation.what, Op::Transaction { .. })
    };
    let transactions = history.operations.iter().filter(is_executed).count();
    let kept = acked::check(history, finals);
    let counted = counters::check(history, finals);
    let limits = linear::Limits {
        clock_error_us: CLOCK_ERROR_US,
        steps: STEPS,
    };
    let verdict = linear::check(history, &limits);
    let linear::Verdict::Linearizable { steps } = verdict else {
        panic!("SEED={seed} {counts}: {verdict}");
    };
    Report {
        seed,
        counts,
        told,
        kept: kept.unwrap_or_else(|faults| panic!("SEED={seed}: {faults:#?}")),
        counted: counted.unwrap_or_else(|faults| panic!("SEED={seed}: {faults:#?}")),
        transactions,
        steps,
    }
}
