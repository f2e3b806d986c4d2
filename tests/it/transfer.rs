//! `dht-cli import` and `export`: what is copied, what is counted and compared, and how an
//! interrupted copy goes on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dht_tests::process::{Processes, ask, program};
use dht_tests::real_redis::{Mode, RealCluster, RealRedis};
use dht_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{cli, run, text};

/// How long something may take to be shown.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to say that nobody is there; a command would be tried for thirty seconds.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Writes so many keys, `s:0` and so on.
fn fill(url: &str, keys: usize) {
    let lines: String = (0..keys).map(|n| format!("SET s:{n} {n}\n")).collect();
    let mut fill = Command::new(program("dht-cli"));
    let filled = run(fill.args(["-u", url, "--pipe"]), &lines);
    let expect = format!("errors: 0, replies: {keys}\n");
    assert_eq!(text(&filled.stdout), expect, "{filled:?}");
}

/// Ends a copy as soon as it has kept how far it has come.
fn interrupted(copy: &mut Command, file: &Path) {
    let mut copy = copy.stdout(Stdio::null()).spawn().unwrap();
    wait::until("some of the keys", PATIENCE, || file.exists().then_some(()));
    copy.kill().unwrap();
    copy.wait().unwrap();
}

/// What a copy keeps of itself.
fn kept(
    direction: &str,
    (from, to): (&str, &str),
    (pattern, run): (Option<&str>, &str),
    (cursor, copied): (u64, u64),
) -> Value {
    json!({
        "copy": {"direction": direction, "from": from, "to": to, "pattern": pattern},
        "run": run,
        "cursor": cursor,
        "counts": {
            "copied": copied, "gone": 0, "left": {}, "undying": {"fields": 0, "why": null},
            "samples": [], "stride": 1,
        },
    })
}

#[test]
fn keys_are_copied_from_redis_and_back() {
    let cluster = Processes::start(3);
    let redis = RealRedis::start(Mode::Alone).unwrap();
    let url = format!("redis://{}", redis.address);
    let at_redis = |args: &str, input: &str| {
        let mut command = Command::new(program("dht-cli"));
        command.args(["-u", &url]).args(args.split_whitespace());
        text(&run(&mut command, input).stdout)
    };
    let mut lines = "RPUSH list a b\nSET brief x PX 100000\nSADD set a\nSADD other a\n".to_owned();
    for n in 0..700 {
        lines.push_str(&format!("SET s:{n} {n}\nHSET h:{n} a {n} b x\n"));
    }
    assert_eq!(at_redis("--pipe", &lines), "errors: 0, replies: 1404\n");
    run(&mut cli(&cluster, 0, "hset h:1 old field"), "");
    let copied = run(&mut cli(&cluster, 0, "import"), "");
    assert_eq!(copied.status.code(), Some(2), "from where?");
    let copied = run(&mut cli(&cluster, 0, &format!("import {url}")), "");
    let said = text(&copied.stdout);
    assert!(
        said.starts_with("1401 keys copied\n1 keys left: type list"),
        "{said}"
    );
    assert!(said.contains("2 keys left: type set"), "{said}");
    assert!(said.contains(" keys compared are equal\n"), "{said}");
    assert!(said.ends_with("keys there now: 1401\n"), "{said}");
    assert_eq!(copied.status.code(), Some(0), "{said}");
    let get = |args: &str| text(&run(&mut cli(&cluster, 1, args), "").stdout);
    assert_eq!(get("get s:77"), "77\n");
    assert_eq!(get("hlen h:1"), "2\n", "what was there before is gone");
    assert!(get("pttl brief").trim().parse::<u64>().unwrap() > 50_000);

    assert_eq!(at_redis("flushall", ""), "OK\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let args = format!("export {url} --pattern h:* --resume {}", file.display());
    let said = text(&run(&mut cli(&cluster, 2, &args), "").stdout);
    assert!(said.starts_with("700 keys copied\n"), "{said}");
    assert!(!file.exists(), "there is nothing to go on with");
    assert_eq!(at_redis("hmget h:9 a b", ""), "9\nx\n");
    assert!(said.contains(" keys compared are equal\n"), "{said}");
    assert_eq!(at_redis("dbsize", ""), "700\n");
    let here = cluster.client(2);
    let of = |from: &str, to: &str, pattern: &str| {
        kept("export", (from, to), (Some(pattern), "x"), (9, 9)).to_string()
    };
    let (dht, to) = (format!("dht://{here}/0"), format!("{url}/0"));
    for (text, why) in [
        ("12345".to_owned(), "does not say how far"),
        (
            of(&dht, &to, "other*"),
            "is of another copy, export from dht://",
        ),
        (
            of("dht://h:1/0", &to, "h:*"),
            "is of another copy, export from dht://h:1/0 to",
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        let ended = run(&mut cli(&cluster, 2, &args), "");
        assert!(self::text(&ended.stderr).contains(why), "{ended:?}");
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "it stays");
    }
}

/// An import that was ended before it was done.
struct HalfDone {
    cluster: Processes,
    redis: RealRedis,
    folder: TempDir,
    /// What to say to dht-cli so that it goes on.
    args: String,
}

/// Keys that a source has of which half is imported.
const KEYS: usize = 20_000;

impl HalfDone {
    fn new() -> Self {
        let (cluster, redis) = (Processes::start(1), RealRedis::start(Mode::Alone).unwrap());
        let url = format!("redis://{}", redis.address);
        fill(&url, KEYS);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("progress");
        let args = format!("import {url} --resume {}", file.display());
        interrupted(&mut cli(&cluster, 0, &args), &file);
        Self {
            cluster,
            redis,
            folder,
            args,
        }
    }

    /// Goes on to the end, with everything there and equal. Gives what was said, and complained of.
    fn go_on(&self) -> (String, String) {
        let ended = run(&mut cli(&self.cluster, 0, &self.args), "");
        let said = text(&ended.stdout);
        assert!(said.contains(" keys compared are equal\n"), "{said}");
        let end = format!("keys there now: {KEYS}\n");
        assert!(said.ends_with(&end), "{said}");
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        let left = std::fs::read_dir(self.folder.path()).unwrap();
        assert_eq!(left.count(), 0, "the file is of no use any more");
        (said, text(&ended.stderr))
    }
}

#[test]
fn an_import_that_was_ended_goes_on_where_it_was() {
    let import = HalfDone::new();
    let there = text(&run(&mut cli(&import.cluster, 0, "dbsize"), "").stdout);
    let there: usize = there.trim().parse().unwrap();
    assert!((1..KEYS).contains(&there), "{there}");
    let (said, _) = import.go_on();
    let copied: usize = said.split(' ').next().unwrap().parse().unwrap();
    // What was done after the file was written last is done again, and counted again.
    assert!((KEYS..KEYS + 2000).contains(&copied), "{there} {said}");
}

#[test]
fn an_import_whose_source_was_started_again_misses_no_key() {
    let mut import = HalfDone::new();
    import.redis.restart().unwrap();
    let (_, complained) = import.go_on();
    assert!(
        complained.contains("started again meanwhile"),
        "{complained}"
    );
}

#[test]
fn what_is_missing_or_differs_is_found() {
    const KEYS: u64 = 300;
    // The last of the places in which Redis keeps so many keys.
    const LAST: u64 = 511;
    let (cluster, redis) = (Processes::start(1), RealRedis::start(Mode::Alone).unwrap());
    let url = format!("redis://{}", redis.address);
    fill(&url, KEYS as usize);
    let info = ask(redis.address, "INFO server").unwrap();
    let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    let run_id = run_id.unwrap().trim();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let sides = (format!("{url}/0"), format!("dht://{}/0", cluster.client(0)));
    let go_on = |copied: u64| {
        let sides = (&*sides.0, &*sides.1);
        let kept = kept("import", sides, (None, run_id), (LAST, copied));
        std::fs::write(&file, kept.to_string()).unwrap();
        let args = format!("import {url} --resume {}", file.display());
        let ended = run(&mut cli(&cluster, 0, &args), "");
        (text(&ended.stdout), ended.status.code())
    };
    // It says that nearly all is copied, and nothing is.
    let (said, code) = go_on(KEYS);
    assert!(said.contains("\nmissing: \"s:"), "{said}");
    assert!(!said.contains("not whole"), "{said}");
    assert_eq!(code, Some(1), "{said}");

    let whole = run(&mut cli(&cluster, 0, &format!("import {url}")), "");
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let (said, code) = go_on(10);
    assert!(
        said.contains("not whole: the source has 300 keys, and only 1"),
        "{said}"
    );
    assert_eq!(code, Some(1), "{said}");

    let lines: String = (0..KEYS).map(|n| format!("SET s:{n} other\n")).collect();
    run(
        Command::new(program("dht-cli")).args(["-u", &url, "--pipe"]),
        &lines,
    );
    let (said, code) = go_on(KEYS);
    assert!(said.contains("\ndiffers: \"s:"), "{said}");
    assert!(!said.contains("missing: "), "{said}");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_whole_redis_cluster_is_counted() {
    const KEYS: usize = 1000;
    let (cluster, source) = (Processes::start(1), RealCluster::start(3).unwrap());
    fill(&source.url(), KEYS);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let url = source.url();
    let import = format!("import {url} --resume {}", file.display());
    let ended = run(&mut cli(&cluster, 0, &import), "");
    let said = text(&ended.stdout);
    assert!(said.starts_with("1000 keys copied\n"), "{ended:?}");
    assert!(said.contains(" keys compared are equal\n"), "{said}");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    // A part of it is no part of the other.
    ask(cluster.client(0), "SET more x").unwrap();
    for server in &source.servers {
        ask(server.address, "FLUSHALL").unwrap();
    }
    let ended = run(
        &mut cli(&cluster, 0, &format!("export {url} --pattern s:*")),
        "",
    );
    assert!(
        text(&ended.stdout).starts_with("1000 keys copied\n"),
        "{ended:?}"
    );
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[test]
fn that_nobody_is_there_is_said_at_once() {
    let redis = RealRedis::start(Mode::Alone).unwrap();
    let url = format!("redis://{}", redis.address);
    let check = |words: &[&str], code: i32, why: &str| {
        let start = Instant::now();
        let mut command = Command::new(program("dht-cli"));
        let ended = run(command.args(words).env_remove("DHT_URL"), "");
        assert!(text(&ended.stderr).contains(why), "{words:?}: {ended:?}");
        assert_eq!(ended.status.code(), Some(code), "{words:?}");
        assert!(start.elapsed() < AT_ONCE, "{words:?}");
    };
    let refused = "cannot connect to 127.0.0.1:1: ";
    for words in [
        &["-p", "1", "import", &url][..],
        &["-u", &url, "import", "redis://127.0.0.1:1"],
        &["-u", &url, "export", "dht://127.0.0.1:1"],
        &["-u", &url, "export", "redis-cluster://127.0.0.1:1"],
        &["-p", "1", "backup", "/nowhere/at/all"],
        &["-p", "1", "top"],
    ] {
        check(words, 3, refused);
    }
    check(&["-u", &url, "import", "http://h"], 2, "redis-cluster://");
}
