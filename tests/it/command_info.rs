//! What COMMAND INFO and COMMAND DOCS say of each command, beside what a real redis-server says.
//! Clients route by it and combine answers by it, so it is the same word for word.

use std::collections::BTreeSet;
use std::io;

use dht_proto::commands::TABLE;
use dht_proto::differs::OWN;
use dht_proto::resp::Version;
use dht_proto::{Reply, spec::Spec};
use dht_tests::door::Door;
use dht_tests::expect::render;
use dht_tests::real_redis::{Mode, RealRedis};

#[tokio::test]
async fn every_command_is_described_as_by_real_redis() -> io::Result<()> {
    let server = RealRedis::start(Mode::Alone)?;
    let mut redis = Door::resp("redis", Version::V3, vec![server.address]);
    redis.open(true).await?;
    let mut ours = Door::store();
    let mut compared = 0;
    for name in names() {
        let question = ["COMMAND", "INFO", &name];
        let real = only(redis.call(&question).await?);
        if real == Reply::Nil {
            // It is newer than the redis-server of the tests, or ours.
            assert!(is_newer(&name) || is_ours(&name), "{name}");
            continue;
        }
        let described = only(ours.call(&question).await?);
        assert_eq!(shown(described), shown(real), "{name}");
        let question = ["COMMAND", "DOCS", &name];
        let (described, real) = (ours.call(&question).await?, redis.call(&question).await?);
        for field in ["group", "since"] {
            assert_eq!(docs(&described, field), docs(&real, field), "{name}");
        }
        compared += 1;
    }
    println!("{compared} commands were compared");
    Ok(())
}

/// Whether no Redis has it; a command with its subcommands, if it has none of them.
fn is_ours(name: &str) -> bool {
    let mut described = TABLE.iter().filter(|spec| {
        let full = spec.full_name();
        full == name
            || full
                .split_once('|')
                .is_some_and(|(command, _)| command == name)
    });
    described.all(|spec| OWN.contains(&spec.name))
}

/// Whether a command came after Redis 7.0.
fn is_newer(name: &str) -> bool {
    let found = TABLE.iter().find(|spec| spec.full_name() == name);
    let numbers = found.map(|spec| spec.since.split('.').filter_map(|part| part.parse().ok()));
    numbers.is_some_and(|numbers| numbers.collect::<Vec<u32>>() > vec![7, 1])
}

/// As COMMAND INFO takes them; with the commands that have nothing but subcommands.
fn names() -> BTreeSet<String> {
    let containers = TABLE.iter().filter_map(|spec| spec.name.split_once(' '));
    let containers = containers.map(|(name, _)| name.to_ascii_lowercase());
    TABLE
        .iter()
        .map(Spec::full_name)
        .chain(containers)
        .collect()
}

fn only(reply: Reply) -> Reply {
    match reply {
        Reply::Array(mut entries) if entries.len() == 1 => entries.remove(0),
        other => panic!("one entry was expected, not {other:?}"),
    }
}

/// An entry without its subcommands, of which Redis has more, and without remarks; what has no
/// order is sorted.
fn shown(entry: Reply) -> Vec<String> {
    let Reply::Array(mut parts) = entry else {
        panic!("no entry: {entry:?}");
    };
    parts.truncate(9);
    parts
        .into_iter()
        .map(|part| render(&sorted(part)))
        .collect()
}

fn sorted(reply: Reply) -> Reply {
    let in_order = |mut items: Vec<Reply>| {
        items.sort_by_key(render);
        items
    };
    match reply {
        Reply::Set(items) => Reply::Set(in_order(items.into_iter().map(sorted).collect())),
        Reply::Array(items) => Reply::Array(in_order(items.into_iter().map(sorted).collect())),
        Reply::Map(pairs) => {
            let remark = Reply::bulk("notes");
            let pairs = pairs.into_iter().filter(|(name, _)| *name != remark);
            Reply::Map(pairs.map(|(name, value)| (name, sorted(value))).collect())
        }
        other => other,
    }
}

/// A field of the only command in an answer to COMMAND DOCS.
fn docs(reply: &Reply, field: &str) -> String {
    let Reply::Map(commands) = reply else {
        panic!("no map: {reply:?}");
    };
    let Reply::Map(fields) = &commands[0].1 else {
        panic!("no map: {reply:?}");
    };
    let found = fields.iter().find(|(name, _)| *name == Reply::bulk(field));
    found.map_or_else(|| "none".to_owned(), |(_, value)| render(value))
}
