//! The scripts of tests/data/commands, through every door.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use dht_node::{Config, Listeners};
use dht_proto::commands::TABLE;
use dht_proto::resp::Version;
use dht_proto::spec::{self, Spec};
use dht_proto::syntax::schema;
use dht_tests::cluster::Cluster;
use dht_tests::door::Door;
use dht_tests::expect::render;
use dht_tests::process::Processes;
use dht_tests::real_redis::{Mode, RealCluster, RealRedis};
use dht_tests::script::{Block, Script};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

fn scripts() -> io::Result<Vec<Script>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/commands");
    Script::load_all(&folder)
}

/// Runs every script; with `REWRITE` set and where `rewrites`, what differs becomes what is
/// expected.
async fn check(door: &mut Door, wanted: impl Fn(&Block) -> bool, rewrites: bool) -> io::Result<()> {
    let mut report = String::new();
    for script in scripts()? {
        let mismatches = script.run(door, &wanted).await?;
        if rewrites && std::env::var_os("REWRITE").is_some() {
            let text = script.rewritten(&mismatches);
            std::fs::write(&script.path, text)?;
            continue;
        }
        for mismatch in mismatches {
            report.push_str(&format!("\n{mismatch}"));
        }
    }
    assert!(report.is_empty(), "{report}");
    Ok(())
}

/// The expectations are Redis's words: `REWRITE=1` takes them from here.
async fn check_real_redis(version: Version, mode: Mode) -> io::Result<()> {
    let server = RealRedis::start(mode)?;
    let mut door = Door::resp("redis", version, vec![server.address]);
    let in_cluster = mode == Mode::Cluster;
    let wanted = |block: &Block| block.cluster == in_cluster;
    check(&mut door, wanted, version == Version::V3).await
}

#[tokio::test]
async fn the_core_answers() -> io::Result<()> {
    check(&mut Door::store(), |_| true, false).await
}

/// A node that was started alone, in this process.
async fn check_alone(open: impl FnOnce(SocketAddr) -> Door) -> io::Result<()> {
    let config = Config::from_args(["dht-node", "--listen", "127.0.0.1:0"])
        .map_err(|error| io::Error::other(error.to_string()))?;
    let running = dht_node::start(&config, Listeners::bind(&config)?)?;
    check(&mut open(running.client_addr), |_| true, false).await?;
    running.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_node_alone_answers_in_resp2() -> io::Result<()> {
    check_alone(|node| Door::resp("resp", Version::V2, vec![node])).await
}

#[tokio::test]
async fn a_node_alone_answers_in_resp3() -> io::Result<()> {
    check_alone(|node| Door::resp("resp", Version::V3, vec![node])).await
}

#[tokio::test]
async fn a_node_alone_answers_in_native_frames() -> io::Result<()> {
    check_alone(Door::native).await
}

/// Each command goes to another node than the one before it.
#[tokio::test]
async fn three_nodes_answer_as_one() -> io::Result<()> {
    let cluster = Processes::start(3);
    let nodes = (0..3).map(|node| cluster.client(node)).collect();
    let mut door = Door::resp("cluster", Version::V3, nodes);
    check(&mut door, |_| true, false).await
}

/// A node that keeps no data, in front of this server.
async fn check_backend(url: &str) -> io::Result<()> {
    let node = Cluster::alone(&["--backend", url]).await;
    let mut door = Door::resp("backend", Version::V3, vec![node.client(0)]);
    check(&mut door, |_| true, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_front_of_real_redis_answers() -> io::Result<()> {
    let server = RealRedis::start(Mode::Alone)?;
    check_backend(&format!("redis://{}", server.address)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_front_of_a_real_cluster_answers() -> io::Result<()> {
    let cluster = RealCluster::start(3)?;
    check_backend(&cluster.url()).await
}

#[tokio::test]
async fn real_redis_answers_in_resp2() -> io::Result<()> {
    check_real_redis(Version::V2, Mode::Alone).await
}

#[tokio::test]
async fn real_redis_answers_in_resp3() -> io::Result<()> {
    check_real_redis(Version::V3, Mode::Alone).await
}

#[tokio::test]
async fn a_real_cluster_answers() -> io::Result<()> {
    check_real_redis(Version::V3, Mode::Cluster).await
}

/// Every command occurs, and every option that its syntax line names.
#[test]
fn scripts_cover_the_command_table() -> io::Result<()> {
    let scripts = scripts()?;
    let steps = scripts
        .iter()
        .flat_map(|script| &script.blocks)
        .flat_map(|block| &block.steps);
    let lines: Vec<Vec<String>> = steps
        .map(|step| {
            step.argv
                .iter()
                .map(|word| String::from_utf8_lossy(word).to_uppercase())
        })
        .map(Iterator::collect)
        .collect();
    let missing: Vec<String> = TABLE
        .iter()
        .flat_map(|spec| uncovered(spec, &lines))
        .collect();
    assert!(missing.is_empty(), "no script has {missing:#?}");
    Ok(())
}

/// Commands that Redis answers whatever their arguments are.
const NEVER_REFUSED: [&str; 12] = [
    "COMMAND",
    "COMMAND DOCS",
    "COMMAND INFO",
    "INFO",
    "LATENCY HISTOGRAM",
    "LATENCY RESET",
    "PUBSUB NUMSUB",
    "PUBSUB SHARDNUMSUB",
    "PUNSUBSCRIBE",
    "QUIT",
    "SUNSUBSCRIBE",
    "UNSUBSCRIBE",
];

/// Every command is refused somewhere, with the error that it is refused with.
#[test]
fn scripts_have_an_error_of_every_command() -> io::Result<()> {
    let scripts = scripts()?;
    let steps = scripts.iter().flat_map(|script| &script.blocks);
    let refused: Vec<Vec<&[u8]>> = steps
        .flat_map(|block| &block.steps)
        .filter(|step| step.is_refused())
        .map(|step| step.argv.iter().map(AsRef::as_ref).collect())
        .collect();
    let is_of = |spec: &Spec, argv: &[&[u8]]| {
        spec::look_up(argv).is_ok_and(|id| id.spec().name == spec.name)
    };
    let without: Vec<&str> = TABLE
        .iter()
        .filter(|spec| {
            let is_refused = refused.iter().any(|argv| is_of(spec, argv));
            is_refused == NEVER_REFUSED.contains(&spec.name)
        })
        .map(|spec| spec.name)
        .collect();
    assert!(
        without.is_empty(),
        "errors are lacking, or there are some that never are: {without:#?}"
    );
    Ok(())
}

fn uncovered(spec: &Spec, lines: &[Vec<String>]) -> Vec<String> {
    let name: Vec<&str> = spec.name.split(' ').collect();
    let own: Vec<&[String]> = lines
        .iter()
        .filter(|line| {
            line.iter()
                .zip(&name)
                .filter(|(word, part)| word == part)
                .count()
                == name.len()
        })
        .map(|line| &line[name.len()..])
        .collect();
    if own.is_empty() {
        return vec![spec.name.to_owned()];
    }
    let is_used = |option: &&str| {
        own.iter()
            .any(|line| line.iter().any(|word| word == option))
    };
    schema(spec)
        .tokens()
        .into_iter()
        .filter(|option| !is_used(option))
        .map(|option| format!("{} {option}", spec.name))
        .collect()
}

/// HINCRBYFLOAT adds as Redis does on x86-64, whose `long double` is not that of other platforms.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn floats_are_added_as_real_redis_adds_them() -> io::Result<()> {
    let server = RealRedis::start(Mode::Alone)?;
    let mut redis = Door::resp("redis", Version::V3, vec![server.address]);
    let mut store = Door::store();
    redis.open(true).await?;
    let number =
        r"[-+]?([0-9]{1,22}(\.[0-9]{0,20})?(e[-+]?[0-9]{1,2}|e-?49[0-9]{2})?|0x[0-9a-f.]{1,20}p?)";
    let mut numbers = TestRunner::deterministic();
    for _ in 0..3000 {
        let pair = (number, number).new_tree(&mut numbers).unwrap().current();
        let set = ["HSET", "h", "f", &pair.0];
        let add = ["HINCRBYFLOAT", "h", "f", &pair.1];
        let mut sums = Vec::new();
        for door in [&mut redis, &mut store] {
            door.call(&set).await?;
            sums.push(render(&door.call(&add).await?));
        }
        assert_eq!(sums[0], sums[1], "{pair:?}");
    }
    Ok(())
}
