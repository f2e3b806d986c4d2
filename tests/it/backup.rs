//! `dht-cli backup` and `restore`: between clusters of any size, while they are written to, and
//! what becomes of a file that is not whole.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dht_client::{Client, ScanOptions};
use dht_tests::process::{Processes, program};
use dht_tests::real_redis::{Mode, RealRedis};
use dht_tests::wait;
use futures_util::TryStreamExt;
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{run, text};

/// Time for what has to happen.
const SOON: Duration = Duration::from_secs(30);
/// A point in time that is far away, in Unix milliseconds.
const FAR: i64 = 4_000_000_000_000;
/// Longer than what is kept beside its key, and than a piece of a snapshot.
const LONG: usize = 1_500_000;

fn cli(cluster: &Processes, words: &[&str]) -> Command {
    let mut command = Command::new(program("dht-cli"));
    command.args(["-p", &cluster.client(0).port().to_string()]);
    command.args(words);
    command
}

/// Runs it; it has to succeed.
fn done(cluster: &Processes, words: &[&str]) -> String {
    let ended = run(&mut cli(cluster, words), "");
    assert!(ended.status.success(), "{words:?}: {ended:?}");
    text(&ended.stdout)
}

async fn connect(cluster: &Processes) -> Client {
    Client::connect(&cluster.client(0).to_string())
        .await
        .unwrap()
}

/// Something of every kind.
async fn fill(client: &Client) {
    for number in 0..500 {
        client.set(format!("s:{number}"), number).await.unwrap();
    }
    client.set("", &b"\0\xff"[..]).await.unwrap();
    client.set("long", vec![b'x'; LONG]).await.unwrap();
    client.pexpireat("s:1", FAR).await.unwrap();
    client
        .hset("small", [("a", "1"), ("b", ""), ("c", "3")])
        .await
        .unwrap();
    client
        .hpexpireat("small", FAR + 1, ["a", "c"])
        .await
        .unwrap();
    client.pexpireat("small", FAR + 2).await.unwrap();
    let fields: Vec<(String, u32)> = (0..3000).map(|n| (format!("f{n}"), n)).collect();
    client.hset("large", &fields).await.unwrap();
    client
        .hset("large", [("long", vec![b'y'; LONG])])
        .await
        .unwrap();
    client
        .hpexpireat("large", FAR + 3, ["f7", "long"])
        .await
        .unwrap();
    client
        .hset("brief", [("gone", 1), ("stays", 2)])
        .await
        .unwrap();
    client.hpexpire("brief", 50, ["gone"]).await.unwrap();
    client.set("gone", 1).await.unwrap();
    client.pexpire("gone", 50).await.unwrap();
}

/// All that there is under a key.
#[derive(Debug, PartialEq)]
struct Found {
    key: Bytes,
    expiry: i64,
    value: Vec<(Bytes, Bytes, i64)>,
}

async fn all(client: &Client) -> Vec<Found> {
    let mut keys: Vec<Bytes> = client
        .scan_keys(ScanOptions::default())
        .try_collect()
        .await
        .unwrap();
    keys.sort();
    keys.dedup();
    let mut all = Vec::new();
    for key in keys {
        let value = if client.key_type(&key).await.unwrap() == "hash" {
            let mut fields: Vec<(Bytes, Bytes)> = client.hgetall(&key).await.unwrap();
            fields.sort();
            let names = fields.iter().map(|(field, _)| field);
            let expiries = client.hpexpiretime(&key, names).await.unwrap();
            let fields = fields.into_iter().zip(expiries);
            fields
                .map(|((field, value), at)| (field, value, at))
                .collect()
        } else {
            let value = client.get(&key).await.unwrap().unwrap();
            vec![(Bytes::new(), value, 0)]
        };
        let expiry = client.pexpiretime(&key).await.unwrap();
        all.push(Found { key, expiry, value });
    }
    all
}

/// Waits until what was to live for a moment is gone.
async fn outlive(client: &Client) {
    while client.exists(["gone"]).await.unwrap() > 0 || client.hlen("brief").await.unwrap() > 1 {
        wait::pause(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_backup_comes_back_in_clusters_of_other_sizes() {
    let source = Processes::durable(3, &["--shards", "16"], None);
    let client = connect(&source).await;
    fill(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup").display().to_string();
    let said = done(&source, &["backup", &file]);
    assert!(said.contains(" keys of 16 shards in "), "{said}");
    assert!(!Path::new(&format!("{file}.part")).exists());
    let again = run(&mut cli(&source, &["backup", &file]), "");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).ends_with(": there is such a file already\n"));
    outlive(&client).await;
    let expect = all(&client).await;
    assert_eq!(expect.len(), 505);
    let targets = [
        Processes::alone(&[]),
        Processes::durable(1, &["--shards", "128"], None),
        Processes::start_with(3, &["--shards", "4"]),
    ];
    for target in &targets {
        let said = done(target, &["restore", &file]);
        assert!(said.contains("keys there now: 50"), "{said}");
        let client = connect(target).await;
        outlive(&client).await;
        assert_eq!(all(&client).await, expect);
    }
    // From one alone, too.
    let file = folder.path().join("second").display().to_string();
    let said = done(&targets[0], &["backup", &file]);
    assert!(said.starts_with("505 keys of 1 shards in "), "{said}");
    done(&source, &["restore", &file, "--merge"]);
    assert_eq!(all(&client).await, expect);
    into_redis(&file);
}

/// A Redis of a time when fields did not expire takes all but that, and is said to.
fn into_redis(file: &str) {
    let redis = RealRedis::start(Mode::Alone).unwrap();
    let at_redis = |words: &[&str]| {
        let mut command = Command::new(program("dht-cli"));
        command.args(["-u", &format!("redis://{}", redis.address)]);
        run(command.args(words), "")
    };
    let knows = text(&at_redis(&["command", "info", "hpexpireat"]).stdout);
    let restored = at_redis(&["restore", file]);
    let said = text(&restored.stdout);
    assert!(said.contains("keys there now: 505\n"), "{restored:?}");
    if knows.trim().is_empty() {
        assert!(
            said.contains("4 fields do not expire, as they should"),
            "{said}"
        );
        assert_eq!(restored.status.code(), Some(1));
    }
    assert_eq!(text(&at_redis(&["hget", "large", "f9"]).stdout), "9\n");
    let refused = at_redis(&["backup", &format!("{file}.3")]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[tokio::test]
async fn a_backup_has_each_shard_as_it_was_at_one_moment() {
    const KEYS: u64 = 50;
    let source = Processes::durable(1, &["--shards", "1"], None);
    let client = connect(&source).await;
    for first in (0..100_000).step_by(1000) {
        let pairs: Vec<(String, u64)> = (first..first + 1000)
            .map(|n| (format!("filler:{n}"), n))
            .collect();
        client.mset(&pairs).await.unwrap();
    }
    // One after the other, each in a slot of its own, and large hashes field by field.
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let write = async {
        for round in 1.. {
            for key in 0..KEYS {
                let field = (format!("f{key:02}"), round);
                client.set(format!("k:{key:02}"), round).await.unwrap();
                client.hset("h", [field]).await.unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup").display().to_string();
    let back_up = async {
        let is_begun = || (written.load(Ordering::Relaxed) > KEYS).then_some(());
        wait::until_async("a round", SOON, is_begun).await;
        let before = written.load(Ordering::Relaxed);
        let mut command = cli(&source, &["backup", &file]);
        let ended = tokio::task::spawn_blocking(move || run(&mut command, ""));
        let ended = ended.await.unwrap();
        stop.store(true, Ordering::Relaxed);
        (ended, written.load(Ordering::Relaxed) - before)
    };
    let ((), (ended, meanwhile)) = tokio::join!(write, back_up);
    assert!(ended.status.success(), "{ended:?}");
    assert!(meanwhile > 5, "writes were held up: {meanwhile}");
    let target = Processes::alone(&[]);
    done(&target, &["restore", &file]);
    let client = connect(&target).await;
    let mut seen = Vec::new();
    for key in 0..KEYS {
        for value in [
            client.get(format!("k:{key:02}")).await.unwrap(),
            client.hget("h", format!("f{key:02}")).await.unwrap(),
        ] {
            let value = String::from_utf8(value.unwrap().to_vec()).unwrap();
            seen.push(value.parse::<u64>().unwrap());
        }
    }
    assert!(seen.is_sorted_by(|one, next| one >= next), "{seen:?}");
    assert!(seen[0] - seen[seen.len() - 1] <= 1, "{seen:?}");
}

#[tokio::test]
async fn a_leader_that_dies_in_the_middle_of_a_shard_is_replaced() {
    const KEYS: usize = 60;
    let mut source = Processes::durable(3, &["--shards", "1"], None);
    let client = connect(&source).await;
    for number in 0..KEYS {
        client
            .set(format!("s:{number}"), vec![b'x'; LONG])
            .await
            .unwrap();
    }
    source.await_safe(0);
    let folder = tempfile::tempdir().unwrap();
    let (file, part) = (
        folder.path().join("backup"),
        folder.path().join("backup.part"),
    );
    let name = file.to_str().unwrap();
    let nodes: Vec<_> = (0..3).map(|node| source.client(node).to_string()).collect();
    let mut command = Command::new(program("dht-cli"));
    command.args(["-u", &format!("dht://{}", nodes.join(",")), "backup", name]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let length = || fs::metadata(&part).map(|part| part.len()).ok();
    wait::until("a part of the shard", SOON, || {
        (length()? > 2 * LONG as u64).then_some(())
    });
    // What it has asked for is answered by nobody when it goes on.
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    let written = length().unwrap();
    assert!(written < (KEYS * LONG) as u64, "it was too fast: {written}");
    source.kill(source.leader_of("s:0").unwrap());
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    wait::until("the shard to be begun again", SOON, || {
        (length()? < LONG as u64).then_some(())
    });
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let said = text(&ended.stdout);
    assert!(said.starts_with("60 keys of 1 shards in "), "{said}");
    let checked = done(&source, &["restore", "--check", name]);
    assert!(
        checked.ends_with(" is whole: 60 keys of 1 shards\n"),
        "{checked}"
    );
}

#[tokio::test]
async fn a_file_that_another_backup_is_writing_is_left_alone() {
    let source = Processes::alone(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (file, part) = (
        folder.path().join("backup"),
        folder.path().join("backup.part"),
    );
    fs::write(&part, "what another one has written").unwrap();
    let refused = run(&mut cli(&source, &["backup", file.to_str().unwrap()]), "");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = text(&refused.stderr);
    assert!(
        said.contains("backup.part: there is such a file already: another"),
        "{said}"
    );
    assert_eq!(fs::read(&part).unwrap(), b"what another one has written");
    assert!(!file.exists());
}

/// What is refused changes nothing, and is told in one line.
fn assert_refused(target: &Processes, file: &Path, expect: &str) {
    let name = file.display().to_string();
    for words in [&["restore", &name][..], &["restore", &name, "--check"]] {
        let ended = run(&mut cli(target, words), "");
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = text(&ended.stderr);
        assert!(
            said.starts_with(&format!("dht-cli: {name}: {expect}")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(target.ask(0, "DBSIZE").unwrap(), ":0\r\n");
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_refused_before_anything_is_written() {
    let source = Processes::alone(&[]);
    let client = connect(&source).await;
    fill(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    done(&source, &["backup", file.to_str().unwrap()]);
    let whole = fs::read(&file).unwrap();
    let target = Processes::alone(&[]);
    for at in [40, whole.len() / 2, whole.len() - 30] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&file, &bytes).unwrap();
        assert_refused(&target, &file, "it is damaged at byte ");
        fs::write(&file, &whole[..at]).unwrap();
        assert_refused(
            &target,
            &file,
            &format!("it ends at byte {at}, before its end"),
        );
    }
    fs::write(&file, [&whole[..], b"x"].concat()).unwrap();
    let expect = format!(
        "it is damaged at byte {}: there is something behind",
        whole.len()
    );
    assert_refused(&target, &file, &expect);
    fs::write(&file, b"what somebody else has written").unwrap();
    assert_refused(&target, &file, "it is no backup of dht\n");
    let none = run(&mut cli(&target, &["restore", "/no/such/file"]), "");
    assert!(
        text(&none.stderr).contains("/no/such/file: No such file"),
        "{none:?}"
    );

    fs::write(&file, &whole).unwrap();
    target.ask(0, "HSET small other field").unwrap();
    target.ask(0, "SET mine 1").unwrap();
    let ended = run(&mut cli(&target, &["restore", file.to_str().unwrap()]), "");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(text(&ended.stderr).contains("nothing is restored: there are 2 keys in the cluster"));
    assert_eq!(target.ask(0, "DBSIZE").unwrap(), ":2\r\n");
    done(&target, &["restore", "--merge", file.to_str().unwrap()]);
    assert_eq!(
        target.ask(0, "HLEN small").unwrap(),
        ":3\r\n",
        "no field of before"
    );
    assert_eq!(target.ask(0, "GET mine").unwrap(), "$1\r\n1\r\n");
}

/// Runs it on a terminal; gives what is shown.
fn on_terminal(target: &Processes, words: &str) -> Output {
    let port = target.client(0).port();
    let line = format!("{} -p {port} {words}", program("dht-cli").display());
    run(
        Command::new("script").args(["-qec", &line, "/dev/null"]),
        "",
    )
}

#[tokio::test]
async fn progress_is_shown_and_an_end_too_soon_says_how_far_it_came() {
    let source = Processes::alone(&[]);
    let client = connect(&source).await;
    for number in 0..100 {
        client
            .set(format!("s:{number}"), vec![b'x'; LONG])
            .await
            .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup").display().to_string();
    let shown = text(&on_terminal(&source, &format!("backup {file}")).stdout);
    assert!(shown.contains("] 100 of 100 keys, "), "{shown}");

    let mut target = Processes::alone(&[]);
    let mut command = cli(&target, &["-t", "1", "restore", &file]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("some keys", SOON, || {
        let count = target.ask(0, "DBSIZE").ok()?;
        (count != ":0\r\n").then_some(())
    });
    target.kill(0);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    let said = text(&ended.stderr);
    let done: u64 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(
        done < 100 && said.contains(" of 100 keys are restored"),
        "{said}"
    );
    target.restart(0);
    let shown = text(&on_terminal(&target, &format!("restore {file}")).stdout);
    assert!(shown.contains("] 100 of 100 keys, "), "{shown}");
    assert!(shown.contains("keys there now: 100"), "{shown}");
}

#[tokio::test]
async fn export_and_import_keep_when_fields_expire() {
    let (source, target) = (Processes::alone(&[]), Processes::start(3));
    let client = connect(&source).await;
    fill(&client).await;
    outlive(&client).await;
    let url = format!("dht://{}", target.client(1));
    let said = done(&source, &["export", &url]);
    assert!(said.starts_with("505 keys copied\n"), "{said}");
    // The times to live are copied, so that the times of expiry are off by what it took.
    let (expect, found) = (all(&client).await, all(&connect(&target).await).await);
    assert_eq!(found.len(), expect.len());
    let near = |one: i64, other: i64| (one - other).abs() < 60_000;
    for (found, expect) in found.iter().zip(&expect) {
        assert_eq!(found.key, expect.key);
        assert!(near(found.expiry, expect.expiry), "{found:?}");
        assert_eq!(found.value.len(), expect.value.len());
        for (found, expect) in found.value.iter().zip(&expect.value) {
            assert_eq!((&found.0, &found.1), (&expect.0, &expect.1));
            assert!(near(found.2, expect.2), "{:?}: {}", found.0, found.2);
        }
    }
}
