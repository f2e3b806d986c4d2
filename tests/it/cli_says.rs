//! What `dht-cli` says where something else is there than was thought, where nobody reads it, and
//! to a shell that completes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use dht_tests::process::{Processes, ask, program};
use dht_tests::real_redis::{Mode, RealCluster, RealRedis};

use crate::cli::{Terminal, cli, run, text};

fn at(url: &str, words: &str) -> (String, String, Option<i32>) {
    let mut command = Command::new(program("dht-cli"));
    command.args(["-u", url]).args(words.split_whitespace());
    let ended = run(&mut command, "");
    (
        text(&ended.stdout),
        text(&ended.stderr),
        ended.status.code(),
    )
}

#[test]
fn it_ends_quietly_where_nobody_reads() {
    let (cluster, redis) = (Processes::start(1), RealRedis::start(Mode::Alone).unwrap());
    for address in [cluster.client(0), redis.address] {
        ask(address, "SET k v").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup").display().to_string();
    let (import, backup) = (
        format!("import redis://{}", redis.address),
        format!("backup {file}"),
    );
    for words in [
        "-r 2 -i 0.01 --stat",
        "--bigkeys",
        "--scan",
        "-i 0.01 --latency",
        "--hotkeys",
        "--pipe",
        &import,
        &format!("export redis://{}", redis.address),
        &backup,
        &format!("restore {file} --check"),
        &format!("restore {file} --merge"),
        "top --count 1",
        "bench -n 10",
        "cluster status",
        "help",
        "--help",
        "completions bash",
        "man",
        "get k",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = cli(&cluster, 0, words);
        let ended = command
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(text(&ended.stderr), "", "{words}");
        assert_eq!(ended.status.code(), Some(0), "{words}: {ended:?}");
    }
    // Nor is it otherwise where nobody reads complaints.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = cli(&cluster, 0, "get");
    let ended = command
        .stdin(Stdio::null())
        .stderr(writer)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let cluster = Processes::start(1);
    let mut stat = cli(&cluster, 0, "-i 0.01 --stat");
    let stat = stat.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut stat = stat.spawn().unwrap();
    let mut lines = BufReader::new(stat.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("KEYS"));
    drop(lines);
    let ended = stat.wait_with_output().unwrap();
    assert_eq!(text(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn what_is_there_instead_is_said_with_what_to_try() {
    let (cluster, redis) = (Processes::start(1), RealRedis::start(Mode::Tls).unwrap());
    let (plain, tls) = (redis.address, redis.tls().0);
    let check = |url: &str, words: &str, code: i32, expect: &str| {
        let (_, said, ended) = at(url, words);
        assert!(said.contains(expect), "{url} {words}: {said}");
        assert!(!said.contains("Is a node running there?"), "{said}");
        assert_eq!(ended, Some(code), "{url} {words}: {said}");
    };
    let native = "Something there does not speak the native protocol";
    check(&format!("dht://{plain}"), "ping", 3, native);
    check(
        &format!("dht://{plain}"),
        "ping",
        3,
        &format!("-u redis://{plain}"),
    );
    check(
        &format!("dht://{plain}"),
        "backup /nowhere/at/all",
        3,
        native,
    );
    check(
        &format!("rediss://{plain}"),
        "ping",
        3,
        &format!("try redis://{plain}"),
    );
    check(
        &format!("redis://{tls}"),
        "ping",
        3,
        &format!("try rediss://{tls}"),
    );
    let import = format!("import dht://{plain}");
    check(&format!("dht://{}", cluster.client(0)), &import, 3, native);
    let node = format!("redis://{}", cluster.client(0));
    for words in ["top --count 1", "--hotkeys"] {
        check(&node, words, 2, "name one with -u dht://HOST:PORT");
    }
    let mut node = Command::new(program("dht-node"));
    let ended = run(node.args(["--backend", "http://h"]), "");
    let said = text(&ended.stderr);
    assert!(
        said.starts_with("dht-node: --backend: 'http://' is not supported"),
        "{said}"
    );
    assert_eq!((said.lines().count(), ended.status.code()), (1, Some(2)));
}

#[test]
fn redirections_are_followed_if_asked_for() {
    let redis = RealCluster::start(3).unwrap();
    let cluster = Processes::start(3);
    let one = format!("redis://{}", redis.servers[0].address);
    let redirecting = cluster.redirect(0).to_string();
    for url in [&one, &redirecting] {
        let mut moved = 0;
        for key in 0..20 {
            let (said, complained, code) = at(url, &format!("-c set key:{key} {key}"));
            assert_eq!((&*said, code), ("OK\n", Some(0)), "{url}: {complained}");
            let (said, ..) = at(url, &format!("-c get key:{key}"));
            assert_eq!(said, format!("{key}\n"), "{url}");
            let (_, complained, _) = at(url, &format!("get key:{key}"));
            moved += usize::from(complained.contains("MOVED "));
        }
        assert!((1..20).contains(&moved), "{url}: {moved}");
    }
    assert_eq!(at(&one, "-c dbsize").0, "20\n");
    // As with redis-cli, it does no harm where there is no cluster.
    let alone = RealRedis::start(Mode::Alone).unwrap();
    let url = format!("redis://{}", alone.address);
    assert_eq!(at(&url, "-c set k v").0, "OK\n");
    assert_eq!(at(&url, "-c dbsize").0, "1\n");
}

#[test]
fn status_has_the_addresses_of_clients() {
    let redis = RealCluster::start(3).unwrap();
    let cluster = Processes::start(3);
    let (said, ..) = at(&redis.url(), "cluster status");
    for server in &redis.servers {
        assert!(
            said.contains(&format!("  {}  up ", server.address)),
            "{said}"
        );
    }
    // Nodes of dht are known as such in the protocol of Redis as well.
    for url in [
        format!("redis://{}", cluster.client(0)),
        cluster.client(0).to_string(),
    ] {
        let (said, ..) = at(&url, "cluster status");
        for node in 0..3 {
            let address = cluster.client(node);
            assert!(said.contains(&format!("  {address}  up ")), "{url}: {said}");
        }
    }
}

#[test]
fn the_prompt_says_that_commands_are_queued() {
    let cluster = Processes::start(1);
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(cluster.client(0), home.path(), "");
    let node = cluster.client(0);
    terminal.await_text(&format!("{node}> "));
    terminal.type_line("?");
    terminal.await_text("help <command>   what a command does");
    terminal.type_line("MULTI");
    terminal.await_text(&format!("{node}(TX)> "));
    terminal.type_line("set k v");
    terminal.await_text("QUEUED");
    terminal.type_line("exec");
    terminal.await_text("1) OK");
    terminal.type_line("quit");
    assert_eq!(terminal.end(), Some(0));
    let last = terminal.screen();
    let prompts: Vec<_> = last.iter().filter(|line| line.contains("> ")).collect();
    assert!(
        prompts.last().unwrap().contains(&format!("{node}> quit")),
        "{last:?}"
    );
}

/// What bash proposes in the place of the last of these words.
fn completed(line: &str) -> Vec<String> {
    const SCRIPT: &str = r#"
        source <("$0" completions bash)
        [[ $COMP_WORDBREAKS != *@* ]] || echo "the group would be another word"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        COMP_LINE="$*"
        COMP_POINT=${#COMP_LINE}
        found=$(complete -p dht-cli)
        found=${found#*-F }
        "${found%% *}" dht-cli "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", SCRIPT])
        .arg(program("dht-cli"))
        .arg("dht-cli");
    let ended = run(bash.args(line.split(' ')), "");
    assert_eq!(text(&ended.stderr), "", "{line}");
    text(&ended.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_words_options_and_commands() {
    let check = |line: &str, has: &[&str], lacks: &[&str]| {
        let found = completed(line);
        let is_there = |word: &&&str| found.iter().any(|it| it == **word);
        assert!(has.iter().all(|word| is_there(&word)), "{line}: {found:?}");
        assert!(
            !lacks.iter().any(|word| is_there(&word)),
            "{line}: {found:?}"
        );
    };
    check("clu", &["cluster"], &["client"]);
    check("to", &["top", "touch"], &["ttl"]);
    check(
        "cluster s",
        &["status", "slots", "shards"],
        &["nodes", "set"],
    );
    check("-p 7400 cluster s", &["status"], &[]);
    check("cluster status --", &["--watch"], &["--scan"]);
    check("help @h", &["@hash"], &["hset"]);
    check("help hs", &["hset", "hscan"], &["@hash"]);
    check("bench --ra", &["--rate"], &["--raw"]);
    check("import --r", &["--resume"], &["--raw"]);
    check("restore --m", &["--merge"], &[]);
    check(
        "completions ",
        &["bash", "zsh", "fish", "elvish"],
        &["hset"],
    );
    check("--ra", &["--raw"], &["--rate"]);
    check("hse", &["hset", "hsetnx"], &["hget"]);
    check(
        "",
        &["get", "import", "man", "-p", "--scan"],
        &["[COMMAND]..."],
    );
}
