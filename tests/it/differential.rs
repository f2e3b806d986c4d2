//! Two servers that get the same random commands and have to answer alike: a node and a real
//! redis-server, three nodes and a real redis-server, three nodes and one.
//!
//! `SEED` in the environment chooses the sequence.

use std::net::SocketAddr;
use std::path::Path;

use dht_tests::differential::{Asked, Differences, Generator, Judge, Raw, Scope};
use dht_tests::process::Processes;
use dht_tests::random::Random;
use dht_tests::real_redis::{Mode, RealRedis};

/// Commands about one set of keys, sent at once.
const BATCH: usize = 100;
/// Differences that are shown before the test gives up.
const SHOWN: usize = 20;

fn differences() -> Differences {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/differences.txt");
    let differences = Differences::load(&path).unwrap();
    assert_eq!(differences.foreign(), [""; 0], "{}", path.display());
    differences
}

/// The same commands for `ours`, a node of which gets each batch, and for `other`.
fn compare(ours: &[SocketAddr], other: SocketAddr, commands: usize, with_newer: bool) {
    let scope = Scope {
        with_newer,
        is_cluster: ours.len() > 1,
    };
    let differences = differences();
    let mut generator = Generator::new(Random::seeded(), &differences, scope);
    let mut ours: Vec<Raw> = ours
        .iter()
        .map(|node| Raw::connect(*node).unwrap())
        .collect();
    let mut other = Raw::connect(other).unwrap();
    let turns = ours.len();
    let mut found = Vec::new();
    for number in 0..commands / BATCH {
        let asked = generator.batch(number, BATCH);
        let version = if number % 2 == 0 { "3" } else { "2" };
        let start = ["RESET", "HELLO", "FLUSHALL"].map(|name| {
            let version = Some(version).filter(|_| name == "HELLO");
            let words = [name].into_iter().chain(version);
            words
                .map(|word| word.as_bytes().to_vec())
                .collect::<Vec<_>>()
        });
        let batch: Vec<&[Vec<u8>]> = start
            .iter()
            .chain(asked.iter().map(|asked| &asked.argv))
            .map(Vec::as_slice)
            .collect();
        let one = ours[number % turns].ask(&batch).unwrap();
        let two = other.ask(&batch).unwrap();
        let skip = start.len();
        assert!(one.len() >= skip && two.len() >= skip, "no batch begins");
        if one.len() != two.len() {
            found.push(format!("{} and {} replies", one.len(), two.len()));
        }
        let both = one[skip..].iter().zip(&two[skip..]);
        let mut judge = Judge::new(&differences);
        let differs = both
            .zip(&asked)
            .find(|((one, two), asked)| !judge.alike(asked.spec, one, two));
        if let Some(((one, two), differs)) = differs {
            found.push(report(&asked, differs, &one.1, &two.1));
        }
        assert!(found.len() < SHOWN, "{}", found.concat());
    }
    let (used, lacking) = generator.coverage();
    println!("{commands} commands, {used} rows and options covered");
    println!("not compared: {}", generator.left_out().join(", "));
    assert!(lacking.is_empty(), "not covered: {lacking:?}");
    assert!(found.is_empty(), "{}", found.concat());
}

/// The command, its replies, and what came before it about its key.
fn report(asked: &[Asked], differs: &Asked, one: &[u8], two: &[u8]) -> String {
    let show = |argv: &[Vec<u8>]| {
        let words = argv.iter().map(|word| word.escape_ascii().to_string());
        words.collect::<Vec<_>>().join(" ")
    };
    let is_same_key = |before: &&Asked| before.argv.get(1) == differs.argv.get(1);
    let before = asked
        .iter()
        .take_while(|before| !std::ptr::eq(*before, differs));
    let mut before: Vec<_> = before.filter(is_same_key).map(|b| show(&b.argv)).collect();
    let earlier = before
        .split_off(before.len().saturating_sub(6))
        .join("\n    ");
    format!(
        "\n> {}\n  ours  {}\n  other {}\n  after\n    {earlier}\n",
        show(&differs.argv),
        one.escape_ascii(),
        two.escape_ascii(),
    )
}

#[test]
fn a_node_answers_as_redis_does() {
    let redis = RealRedis::start(Mode::Alone).unwrap();
    let node = Processes::alone(&[]);
    compare(&[node.client(0)], redis.address, 200_000, false);
}

#[test]
fn three_nodes_answer_as_redis_does() {
    let redis = RealRedis::start(Mode::Alone).unwrap();
    let cluster = Processes::start(3);
    let nodes: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    compare(&nodes, redis.address, 200_000, false);
}

/// What the Redis of the tests does not know is answered by three nodes as by one.
#[test]
fn three_nodes_answer_as_one_does() {
    let node = Processes::alone(&[]);
    let cluster = Processes::start(3);
    let nodes: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    compare(&nodes, node.client(0), 200_000, true);
}
