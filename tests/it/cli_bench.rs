//! `dht-cli bench`: what it sends, what it says, and how it ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dht_tests::process::{Processes, ask, program};
use dht_tests::wait;
use serde_json::{Value, json};

use crate::cli::{run, text};

/// How long a load may take to be felt.
const PATIENCE: Duration = Duration::from_secs(30);

fn bench(server: SocketAddr, args: &str) -> Command {
    let mut command = Command::new(program("dht-cli"));
    command.args(["-p", &server.port().to_string(), "bench"]);
    command.args(args.split_whitespace());
    command
}

/// The report of a load that ends with this code.
fn report(server: SocketAddr, args: &str, code: i32) -> Value {
    let ended = run(bench(server, args).env("NO_COLOR", "1"), "");
    assert_eq!(ended.status.code(), Some(code), "{args}: {ended:?}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

fn keys(server: SocketAddr) -> String {
    ask(server, "DBSIZE").unwrap()
}

#[test]
fn as_many_requests_as_are_answered() {
    let cluster = Processes::start(3);
    let node = cluster.client(0);
    let found = report(node, "--json -n 1000 -c 5 -P 8 --threads 2 -r 50", 0);
    assert_eq!(
        (&found["requests"], &found["errors"]),
        (&json!(1000), &json!({}))
    );
    assert!(
        found["latency_ms"]["p50"].as_f64().unwrap() > 0.0,
        "{found}"
    );
    assert_eq!(keys(node), ":50\r\n");
    let fields = ask(node, "HGETALL hash:000000000007").unwrap();
    assert_eq!(
        fields,
        "*4\r\n$4\r\nname\r\n$5\r\nAlice\r\n$3\r\nage\r\n$2\r\n25\r\n"
    );

    let ended = run(
        &mut bench(node, "-n 10 -c 1 hget hash:000000000007 name"),
        "",
    );
    let shown = text(&ended.stdout);
    assert!(
        shown.starts_with("hget hash:000000000007 name\n1 connection, 1 server, "),
        "{shown}"
    );
    assert!(
        shown.contains("\n10 requests in ") && shown.ends_with("\nno errors\n"),
        "{shown}"
    );
}

#[test]
fn a_fixed_rate_is_kept() {
    let node = Processes::alone(&[]);
    let found = report(
        node.client(0),
        "--json --rate 1000 -n 400 -c 4 -P 2 ping",
        0,
    );
    assert_eq!(found["requests"], 400);
    // The last of the 200 pipelines starts 199 times two milliseconds after the first.
    assert!(found["seconds"].as_f64().unwrap() >= 0.398, "{found}");
    let found = report(
        node.client(0),
        "--json --rate 1000 --seconds 0.4 -c 4 ping",
        0,
    );
    assert_eq!(found["requests"], 400);
}

#[test]
fn every_request_goes_to_the_leader_of_its_key() {
    let cluster = Processes::start(3);
    // The leaders' own port would redirect whatever is not theirs.
    let found = report(
        cluster.client(1),
        "--json --cluster -n 5000 -c 6 -P 4 -r 300",
        0,
    );
    let counted = (&found["requests"], &found["errors"], &found["servers"]);
    assert_eq!(counted, (&json!(5000), &json!({}), &json!(3)));
    // How many of the keys depends on how the leaders share the requests, which is up to them.
    assert_ne!(keys(cluster.client(1)), ":0\r\n");
    let found = report(cluster.client(2), "--json --cluster -n 100 set same 1", 0);
    assert_eq!(
        (&found["servers"], &found["errors"]),
        (&json!(1), &json!({}))
    );
}

#[test]
fn error_replies_are_counted_by_kind() {
    let node = Processes::alone(&[]);
    ask(node.client(0), "SET string 1").unwrap();
    let found = report(node.client(0), "--json -n 7 -c 2 -P 3 hget string f", 1);
    assert_eq!(
        (&found["requests"], &found["errors"]),
        (&json!(7), &json!({"WRONGTYPE": 7}))
    );
    let ended = run(&mut bench(node.client(0), "-n 1 -c 1 hget string f"), "");
    let line = "\nerrors: 1 WRONGTYPE, the first: WRONGTYPE Operation against a key";
    assert!(text(&ended.stdout).contains(line), "{ended:?}");
}

#[test]
fn wrong_usage_and_no_connection() {
    let cluster = Processes::start(3);
    let check = |server: SocketAddr, args: &str, code: i32, err: &str| {
        let ended = run(&mut bench(server, args), "");
        let shown = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{args}: {shown}");
        assert!(shown.contains(err), "{args}: {shown}");
        assert_eq!(text(&ended.stdout), "", "{args}");
    };
    let (node, nobody) = (cluster.client(0), SocketAddr::from(([127, 0, 0, 1], 1)));
    check(node, "-P none", 2, "none");
    check(node, "-n 1 --seconds 1", 2, "cannot be used with");
    check(node, "--cluster -c 2", 2, "-c has to be at least 3");
    check(
        nobody,
        "ping",
        3,
        "cannot connect to 127.0.0.1:1: Connection refused",
    );
    check(nobody, "--cluster", 3, "Is a node running there?");
    check(
        node,
        "-a secret ping",
        1,
        "ERR AUTH <password> called without",
    );
}

#[test]
fn a_server_that_dies_ends_the_load() {
    let mut node = Processes::alone(&[]);
    let address = node.client(0);
    let load = thread::spawn(move || run(&mut bench(address, "-P 4 --seconds 600"), ""));
    wait::until("load", PATIENCE, || {
        (keys(address) != ":0\r\n").then_some(())
    });
    node.kill(0);
    let ended = load.join().unwrap();
    ended_early(
        &ended,
        "may or may not have been done: the connection to 127.0.0.1:",
    );
    assert!(text(&ended.stdout).contains(" requests in "), "{ended:?}");
}

#[test]
fn a_server_that_falls_silent_ends_the_load() {
    let (address, _) = fake(5, true);
    let ended = run(&mut bench(address, "-c 1 --timeout 0.2 ping"), "");
    ended_early(
        &ended,
        "may or may not have been done: the deadline passed\n",
    );
    let (address, _) = fake(5, false);
    let ended = run(&mut bench(address, "-c 1 -P 3 ping"), "");
    ended_early(&ended, "broke: ");
}

fn ended_early(ended: &Output, why: &str) {
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(text(&ended.stderr).contains(why), "{ended:?}");
}

#[test]
fn wait_is_sent_after_each_pipeline_and_is_no_request() {
    let (address, seen) = fake(usize::MAX, true);
    let found = report(address, "--json -c 1 -n 5 -P 2 --wait 1 set k v", 0);
    assert_eq!(found["requests"], 5);
    // Two connections say PING, of which the first only looks whether there is a server.
    assert_eq!(seen.load(Ordering::SeqCst), 2 + 5 + 3);
}

/// A server that answers so many requests on a connection and then says nothing more, or closes
/// it. Gives its address and how many requests it has seen.
fn fake(answers: usize, stays: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || answer(stream.unwrap(), answers, stays, &counter));
        }
    });
    (address, seen)
}

fn answer(
    mut stream: TcpStream,
    mut answers: usize,
    stays: bool,
    seen: &AtomicUsize,
) -> io::Result<()> {
    let mut input = [0; 4096];
    loop {
        let length = stream.read(&mut input)?;
        // No other byte of these requests is a star.
        let requests = input[..length].iter().filter(|byte| **byte == b'*').count();
        seen.fetch_add(requests, Ordering::SeqCst);
        stream.write_all(&b":1\r\n".repeat(requests.min(answers)))?;
        answers = answers.saturating_sub(requests);
        if length == 0 || (answers == 0 && !stays) {
            return Ok(());
        }
    }
}

/// With made-up measurements: whoever runs a benchmark sees by its end what was missed.
#[test]
fn benchmarks_end_with_an_error_where_a_goal_is_missed() {
    let printed = dht_tests::python::run("python/bench_goals.py", &[]);
    assert_eq!(printed, "right\n");
}
