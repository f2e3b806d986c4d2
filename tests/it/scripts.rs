//! The scripts of tests/data/commands, through every door.

use std::io;
use std::path::Path;

use dht_proto::commands::TABLE;
use dht_proto::spec::Spec;
use dht_tests::door::{Door, Version};
use dht_tests::real_redis::{Mode, RealRedis};
use dht_tests::script::{Block, Script};

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
    let mut door = Door::resp("redis", version, vec![server.address.clone()]);
    let in_cluster = mode == Mode::Cluster;
    let wanted = |block: &Block| block.cluster == in_cluster;
    check(&mut door, wanted, version == Version::Resp3).await
}

#[tokio::test]
async fn real_redis_answers_in_resp2() -> io::Result<()> {
    check_real_redis(Version::Resp2, Mode::Alone).await
}

#[tokio::test]
async fn real_redis_answers_in_resp3() -> io::Result<()> {
    check_real_redis(Version::Resp3, Mode::Alone).await
}

#[tokio::test]
async fn a_real_cluster_answers() -> io::Result<()> {
    check_real_redis(Version::Resp3, Mode::Cluster).await
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
    let is_option =
        |word: &&str| !word.is_empty() && !word.contains(|c: char| c.is_ascii_lowercase());
    spec.syntax
        .split([' ', '[', ']', '<', '>', '|', '.'])
        .filter(is_option)
        .filter(|option| {
            !own.iter()
                .any(|line| line.iter().any(|word| word == option))
        })
        .map(|option| format!("{} {option}", spec.name))
        .collect()
}
