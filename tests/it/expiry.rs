//! Keys that are due are removed, and their memory is freed, though nobody asks for them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dht_proto::Reply;
use dht_tests::cluster::Cluster;
use dht_tests::native_client::NativeClient;
use dht_tests::process::{Processes, ask};
use dht_tests::resp_client::RespClient;
use dht_tests::wait;

const KEYS: usize = 2000;
/// Longer than it takes to set the keys, even on a busy machine.
const LIFE_MS: usize = 3000;
const PATIENCE: Duration = Duration::from_secs(30);

/// DBSIZE counts what is kept, be it due or not; it looks at no key.
fn size(node: &Processes) -> Option<String> {
    ask(node.client(0), "DBSIZE").ok()
}

fn check(node: &Processes) {
    let mut stream = TcpStream::connect(node.client(0)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let sets: String = (0..KEYS)
        .map(|key| format!("SET key:{key} v PX {LIFE_MS}\r\n"))
        .collect();
    stream.write_all(sets.as_bytes()).unwrap();
    let mut answers = [0; 5 * KEYS];
    stream.read_exact(&mut answers).unwrap();
    assert!(answers.chunks(5).all(|answer| answer == b"+OK\r\n"));
    stream.write_all(b"SET stays v\r\n").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    assert!(size(node).unwrap().contains(&(KEYS + 1).to_string()));
    wait::until("what is due to be removed", PATIENCE, || {
        (size(node)?.trim() == ":1").then_some(())
    });
}

#[test]
fn a_node_alone_removes_what_is_due_by_itself() {
    check(&Processes::alone(&[]));
}

#[test]
fn a_cluster_removes_what_is_due_by_itself() {
    check(&Processes::start(3));
}

/// What DUMP gives at one node, RESTORE takes at another, in either protocol: every field with its
/// time, be the hash small or large.
#[tokio::test]
async fn fields_keep_their_times_when_a_hash_is_dumped_and_restored() {
    let (alone, cluster) = (Cluster::alone(&[]).await, Cluster::start(3).await);
    let mut from = RespClient::connect(alone.client(0)).await.unwrap();
    let mut to = NativeClient::connect(cluster.client(1)).await.unwrap();
    for fields in [3, 1000] {
        from.call(&["FLUSHALL"]).await.unwrap();
        for n in 0..fields {
            let set = ["HSET", "h", &format!("f{n}"), &n.to_string()];
            from.call(&set).await.unwrap();
        }
        let at = "9999999999999";
        let expire = ["HPEXPIREAT", "h", at, "FIELDS", "2", "f0", "f2"];
        from.call(&expire).await.unwrap();
        let Reply::Bulk(dumped) = from.call(&["DUMP", "h"]).await.unwrap() else {
            panic!("nothing was dumped");
        };
        let words = [&b"RESTORE"[..], b"h", b"100000", &dumped, b"REPLACE"];
        assert_eq!(to.call(&words).await.unwrap(), Reply::Ok);
        let ask = ["HPEXPIRETIME", "h", "FIELDS", "4", "f0", "f1", "f2", "none"];
        let expect = [9_999_999_999_999, -1, 9_999_999_999_999, -2].map(Reply::Int);
        let found = to.call(&ask).await.unwrap();
        assert_eq!(found, Reply::Array(expect.to_vec()), "{fields} fields");
        let found = to.call(&["HLEN", "h"]).await.unwrap();
        assert_eq!(found, Reply::Int(fields));
        let ttl = to.call(&["PTTL", "h"]).await.unwrap();
        assert!(matches!(ttl, Reply::Int(1..=100_000)), "{ttl:?}");
    }
}
