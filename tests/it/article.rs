//! The article's programs, run with the real packages against a cluster of three processes.
//! tests/article holds them; each departure from the article's text is a comment in them.

use dht_tests::process::Processes;
use dht_tests::python;

#[test]
fn the_tcp_client_prints_an_answer() {
    let cluster = Processes::start(1);
    let port = [cluster.client(0).port().to_string()];
    let printed = python::run("article/tcp_client.py", &port);
    assert!(printed.starts_with("b'-ERR Protocol error"), "{printed}");
    let printed = python::run("article/tcp_client_ping.py", &port);
    assert_eq!(printed, "b'+PONG\\r\\n'\n");
}

#[test]
fn many_threads_work_at_once_and_none_is_answered_wrong() {
    let cluster = Processes::start(3);
    let ports: Vec<_> = (0..3)
        .map(|node| cluster.client(node).port().to_string())
        .collect();
    let printed = python::run("article/threads.py", &ports);
    let right = |line: &&str| line.starts_with("Worker ") && line.ends_with(": 0 wrong");
    assert_eq!(printed.lines().filter(right).count(), 32, "{printed}");
    assert!(printed.ends_with("Together: 1600\n"), "{printed}");
}

#[test]
fn the_redis_program_prints_the_same_on_every_node() {
    let cluster = Processes::start(3);
    for node in 0..3 {
        let port = cluster.client(node).port().to_string();
        let printed = python::run("article/redis_hash.py", &[port]);
        assert_eq!(
            printed, "{b'name': b'Alice', b'age': b'25'}\n",
            "on node {node}"
        );
    }
}
