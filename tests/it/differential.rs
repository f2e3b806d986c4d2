//! Two servers that get the same random commands and have to answer alike: a node and a real
//! redis-server, three nodes and a real redis-server, three nodes and one.
//!
//! `SEED` in the environment chooses the sequence.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use dht_proto::Reply;
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
    let (mut found, mut compared) = (Vec::new(), 0);
    for number in 0.. {
        if compared >= commands {
            break;
        }
        let asked = generator.batch(number, BATCH);
        let version = if number % 2 == 0 { "3" } else { "2" };
        let mut both = Both {
            one: &mut ours[number % turns],
            two: &mut other,
            version,
        };
        let mut rest = &asked[..];
        // A connection may end within a batch, which goes on over another.
        while !rest.is_empty() {
            let replies = match both.ask(rest, rest.len() == asked.len()) {
                Ok(replies) => replies,
                Err(why) => {
                    found.push(why);
                    break;
                }
            };
            let mut judge = Judge::new(&differences);
            let differs = replies.iter().zip(rest).find(|((one, two), asked)| {
                generator.compared(asked, &one.0);
                compared += 1;
                !judge.alike(asked.spec, one, two)
            });
            if let Some(((one, two), differs)) = differs {
                found.push(report(&asked, differs, &one.1, &two.1));
                break;
            }
            rest = &rest[replies.len()..];
        }
        assert!(found.len() < SHOWN, "{}", found.concat());
    }
    let (used, lacking) = generator.coverage();
    println!("{compared} replies compared, {used} rows and options covered");
    assert!(compared >= commands);
    println!("not compared: {}", generator.left_out().join(", "));
    assert!(lacking.is_empty(), "not covered: {lacking:?}");
    assert!(found.is_empty(), "{}", found.concat());
}

/// A node and the other server, on one connection each.
struct Both<'c> {
    one: &'c mut Raw,
    two: &'c mut Raw,
    /// Of the protocol.
    version: &'static str,
}

impl Both<'_> {
    /// The replies of both to commands, up to the one with which their connections end; without
    /// data before them, if so.
    fn ask(&mut self, asked: &[Asked], afresh: bool) -> Result<Vec<(Answer, Answer)>, String> {
        let names = ["RESET", "FLUSHALL", "HELLO"];
        let names = if afresh { &names[..] } else { &names[2..] };
        let start: Vec<Vec<Vec<u8>>> = names
            .iter()
            .map(|name| {
                let version = Some(self.version).filter(|_| *name == "HELLO");
                let words = [*name].into_iter().chain(version);
                words.map(|word| word.as_bytes().to_vec()).collect()
            })
            .collect();
        let batch: Vec<&[Vec<u8>]> = start
            .iter()
            .chain(asked.iter().map(|asked| &asked.argv))
            .map(Vec::as_slice)
            .collect();
        let (one, two) = (self.one.ask(&batch).unwrap(), self.two.ask(&batch).unwrap());
        if one.len() != two.len() || one.len() <= start.len() {
            return Err(format!("{} and {} replies\n", one.len(), two.len()));
        }
        Ok(one.into_iter().zip(two).skip(start.len()).collect())
    }
}

/// A reply, and its bytes.
type Answer = (Reply, Bytes);

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
