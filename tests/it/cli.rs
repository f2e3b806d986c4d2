//! `dht-cli` as people use it: exit codes and output, input from a pipe, the prompt on a terminal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dht_tests::process::{Processes, program};
use dht_tests::real_redis::{Mode, RealRedis};
use dht_tests::wait;
use rustix::process::{Pid, Signal, kill_process};

/// How long something may take to be shown.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a program with this on its input.
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// `dht-cli` at this node, with these words.
pub fn cli(cluster: &Processes, node: usize, args: &str) -> Command {
    let mut command = Command::new(program("dht-cli"));
    command.args(["-p", &cluster.client(node).port().to_string()]);
    command.args(args.split_whitespace());
    command
}

/// What a program wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn one_command_a_call() {
    let cluster = Processes::start(3);
    let check = |node: usize, args: &str, code: i32, out: &str, err: &str| {
        let ended = run(&mut cli(&cluster, node, args), "");
        assert_eq!(text(&ended.stdout), out, "{args}");
        assert_eq!(text(&ended.stderr), err, "{args}");
        assert_eq!(ended.status.code(), Some(code), "{args}");
    };
    check(0, "hset user:1 name Alice age 25", 0, "2\n", "");
    check(1, "hget user:1 name", 0, "Alice\n", "");
    let listed = "1) \"name\"\n2) \"Alice\"\n3) \"age\"\n4) \"25\"\n";
    check(2, "--no-raw hgetall user:1", 0, listed, "");
    check(
        2,
        "--json hgetall user:1",
        0,
        "{\"name\":\"Alice\",\"age\":\"25\"}\n",
        "",
    );
    check(0, "--no-raw hincrby user:1 age -5", 0, "(integer) 20\n", "");
    check(0, "--no-raw get none", 0, "(nil)\n", "");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value\n";
    check(1, "get user:1", 1, "", wrong);
    check(1, "--no-raw get user:1", 1, "", &format!("(error) {wrong}"));
    check(
        1,
        "set k",
        1,
        "",
        "ERR wrong number of arguments for 'set' command\n",
    );
}

#[test]
fn commands_about_a_node_go_to_that_node() {
    let cluster = Processes::start(3);
    let ids: Vec<String> = (0..3)
        .map(|node| text(&run(&mut cli(&cluster, node, "cluster myid"), "").stdout))
        .collect();
    assert!(
        ids[0] != ids[1] && ids[1] != ids[2] && ids[2] != ids[0],
        "{ids:?}"
    );
}

/// Without any node.
fn check_usage() {
    for topic in ["nope", "@nope", "get nope"] {
        let mut command = Command::new(program("dht-cli"));
        let ended = run(command.arg("help").args(topic.split(' ')), "");
        assert_eq!(ended.status.code(), Some(2), "{topic}");
        assert_eq!(text(&ended.stdout), "", "{topic}");
        let says = format!("there is no command or group '{topic}'\n");
        assert_eq!(text(&ended.stderr), says);
    }
    let ended = run(Command::new(program("dht-cli")).args(["help", "HGET"]), "");
    assert_eq!(ended.status.code(), Some(0));
    assert!(text(&ended.stdout).contains("HGET key field\n"));
}

#[test]
fn no_connection_and_wrong_usage() {
    check_usage();
    let check = |args: &[&str], code: i32, err: &str| {
        let mut command = Command::new(program("dht-cli"));
        let ended = run(command.args(args).env_remove("DHT_URL"), "");
        assert_eq!(ended.status.code(), Some(code), "{args:?}");
        assert_eq!(text(&ended.stdout), "", "{args:?}");
        assert!(
            text(&ended.stderr).contains(err),
            "{args:?}: {}",
            text(&ended.stderr)
        );
    };
    check(
        &["-p", "1", "ping"],
        3,
        "cannot connect to 127.0.0.1:1: Connection refused",
    );
    check(&["-p", "1", "ping"], 3, "Is a node running there?");
    check(&["--no-such"], 2, "--no-such");
    check(&["-p", "high", "ping"], 2, "high");
    check(&["--url", "http://h", "ping"], 2, "redis-cluster://");
    check(&["--scan", "ping"], 2, "'ping' is one thing to do too many");
}

#[test]
fn the_first_address_that_answers_is_used() {
    let cluster = Processes::start(1);
    let url = format!("127.0.0.1:1,{}", cluster.client(0));
    let mut command = Command::new(program("dht-cli"));
    let ended = run(command.arg("ping").env("DHT_URL", url), "");
    assert_eq!(
        (text(&ended.stdout), ended.status.code()),
        ("PONG\n".to_owned(), Some(0))
    );
}

#[test]
fn lines_come_from_a_pipe() {
    let cluster = Processes::start(3);
    let lines = "set 'a b' \"x\\ty\"\n\nget 'a b'\nget a 'b\nincr 'a b'\n";
    let ended = run(&mut cli(&cluster, 0, ""), lines);
    assert_eq!(text(&ended.stdout), "OK\nx\ty\n");
    let expect = "invalid argument(s): a quote is not closed\n\
                  ERR value is not an integer or out of range\n";
    assert_eq!(text(&ended.stderr), expect);
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn status_shows_every_node_also_one_that_is_down() {
    let mut cluster = Processes::start(3);
    let status =
        |cluster: &Processes| text(&run(&mut cli(cluster, 0, "cluster status"), "").stdout);
    run(&mut cli(&cluster, 0, "mset a 1 b 2 c 3 d 4"), "");
    let shown = status(&cluster);
    assert!(
        shown.ends_with("ok: 3 of 3 nodes up, 16384 of 16384 slots served, keys: 4\n"),
        "{shown}"
    );
    for node in 0..3 {
        assert!(
            shown.contains(&format!("{}  up", cluster.client(node))),
            "{shown}"
        );
    }
    cluster.kill(1);
    let line = format!("{}  down", cluster.client(1));
    let shown = wait::until(&line, PATIENCE, || {
        Some(status(&cluster)).filter(|shown| shown.contains(&line))
    });
    assert!(shown.contains("\ndegraded: 2 of 3 nodes up, "), "{shown}");
}

#[test]
fn the_whole_keyspace_is_looked_through() {
    let cluster = Processes::start(3);
    let lines: String = (0..300)
        .map(|n| format!("SET user:{n} {n}\nHSET h:{n} f v\n"))
        .collect();
    let piped = run(&mut cli(&cluster, 0, "--pipe"), &lines);
    assert_eq!(text(&piped.stdout), "errors: 0, replies: 600\n");
    let wrong = "*2\r\n$4\r\nINCR\r\n$3\r\nh:1\r\nSET \"a b\" c\r\nGET k";
    let piped = run(&mut cli(&cluster, 1, "--pipe"), wrong);
    assert_eq!(text(&piped.stdout), "errors: 1, replies: 3\n");
    assert_eq!(piped.status.code(), Some(1));

    let found = run(
        &mut cli(&cluster, 2, "--scan --pattern user:*9 --count 50"),
        "",
    );
    let mut found: Vec<String> = text(&found.stdout).lines().map(str::to_owned).collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 30, "{found:?}");
    let fields: String = (0..2000).map(|n| format!(" f{n} v")).collect();
    run(&mut cli(&cluster, 0, ""), &format!("HSET big{fields}\n"));
    let big = text(&run(&mut cli(&cluster, 1, "--bigkeys"), "").stdout);
    assert!(big.contains("\n# 602 keys\n"), "{big}");
    assert!(big.contains("the biggest is \"big\" with "), "{big}");
    assert!(big.contains("string: 301 keys, "), "{big}");
}

#[test]
fn commands_are_repeated_and_read_from_the_input() {
    let cluster = Processes::start(1);
    let check = |args: &str, input: &str, out: &str| {
        let ended = run(&mut cli(&cluster, 0, args), input);
        assert_eq!(text(&ended.stdout), out, "{args}");
        assert_eq!(ended.status.code(), Some(0), "{args}");
    };
    check("-r 3 -i 0.01 incr n", "", "1\n2\n3\n");
    check("-x set s", "two\nlines", "OK\n");
    check("get s", "", "two\nlines\n");
    check("--csv hset h a 1 b x", "", "2\n");
    check("--csv hmget h a none b", "", "\"1\",NULL,\"x\"\n");
    let stat = text(&run(&mut cli(&cluster, 0, "-r 2 -i 0.01 --stat"), "").stdout);
    assert_eq!(stat.lines().count(), 3, "{stat}");
    assert!(stat.starts_with("        KEYS "), "{stat}");
    let latency = text(&run(&mut cli(&cluster, 0, "-i 0.1 --latency"), "").stdout);
    let numbers: Vec<f64> = latency
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let [least, most, average, samples] = numbers[..] else {
        panic!("{latency}");
    };
    assert!(
        0.0 < most && least <= average && average <= most && samples >= 1.0,
        "{latency}"
    );
    let watched = text(
        &run(
            &mut cli(&cluster, 0, "-r 2 -i 0.01 cluster status --watch"),
            "",
        )
        .stdout,
    );
    assert_eq!(watched.matches("SLOTS LED").count(), 2, "{watched}");
}

#[test]
fn a_server_behind_tls_is_reached_if_it_can_be_trusted() {
    let redis = RealRedis::start(Mode::Tls).unwrap();
    let (address, vouches) = redis.tls();
    let at_redis = |vouches: &Path| {
        let mut command = Command::new(program("dht-cli"));
        command.env("SSL_CERT_FILE", vouches);
        command.args(["-u", &format!("rediss://{address}"), "set", "k", "v"]);
        run(&mut command, "")
    };
    let done = at_redis(&vouches);
    assert_eq!(text(&done.stdout), "OK\n", "{done:?}");
    let stranger = RealRedis::start(Mode::Tls).unwrap();
    let refused = at_redis(&stranger.tls().1);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let why = text(&refused.stderr);
    assert!(why.contains("certificate"), "{why}");
}

/// `dht-cli` on a terminal, to which lines are typed one by one.
pub struct Terminal {
    process: Child,
    shown: Arc<Mutex<String>>,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// At this node, with these words.
    pub fn start(node: SocketAddr, home: &Path, words: &str) -> Self {
        Self::run(&Self::line(node, words), home, (24, 80))
    }

    /// Likewise, on a terminal of so many rows and columns, which it is told.
    pub fn of_size(node: SocketAddr, home: &Path, words: &str, size: (u16, u16)) -> Self {
        let line = Self::line(node, words);
        let (rows, columns) = size;
        Self::run(
            &format!("stty rows {rows} cols {columns}; {line}"),
            home,
            size,
        )
    }

    fn line(node: SocketAddr, words: &str) -> String {
        let program = program("dht-cli");
        format!("{} -p {} {words}", program.display(), node.port())
    }

    fn run(line: &str, home: &Path, (rows, columns): (u16, u16)) -> Self {
        let mut process = Command::new("script")
            .args(["-qec", line, "/dev/null"])
            .envs([("HOME", home.as_os_str()), ("TERM", "xterm".as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let size = |cells: u16| cells.try_into().unwrap();
        let emulator = vt100::Parser::new(size(rows), size(columns), 0);
        let screen = Arc::new(Mutex::new(emulator));
        let (mut output, all) = (process.stdout.take().unwrap(), Arc::clone(&shown));
        let emulated = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                emulated.lock().unwrap().process(&bytes[..length]);
                let text = text(&bytes[..length]).replace('\r', "");
                all.lock().unwrap().push_str(&text);
            }
        });
        Self {
            process,
            shown,
            screen,
        }
    }

    /// The lines that somebody sees who looks at it now.
    pub fn screen(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap();
        screen
            .screen()
            .contents()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until this is shown, behind all that was awaited before.
    pub fn await_text(&self, expect: &str) {
        wait::until(&format!("{expect:?} on the terminal"), PATIENCE, || {
            let mut shown = self.shown.lock().unwrap();
            let end = shown.find(expect)? + expect.len();
            shown.drain(..end);
            Some(())
        });
    }

    /// Types a line, and the end of it.
    pub fn type_line(&mut self, line: &str) {
        self.type_keys(&format!("{line}\r"));
    }

    /// Types what need not be a line.
    pub fn type_keys(&mut self, keys: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until it has ended; gives its exit code.
    pub fn end(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

#[test]
fn the_prompt_on_a_terminal() {
    let cluster = Processes::start(1);
    let home = tempfile::tempdir().unwrap();
    let address = cluster.client(0);
    let mut terminal = Terminal::start(address, home.path(), "");
    let connected = format!("{address}> ");
    terminal.await_text(&connected);
    for (line, answer, prompt) in [
        ("hset user:1 name 'Alice B'", "\n(integer) 1\n", &*connected),
        (
            "hgetall user:1",
            "\n1) \"name\"\n2) \"Alice B\"\n",
            &connected,
        ),
        (
            "auth no-such-password",
            "\n(error) ERR AUTH <password> called without",
            &connected,
        ),
        ("2 incr n", "\n(integer) 1\n(integer) 2\n", &connected),
        (
            "help hlen",
            "\n  summary: Returns the number of fields of a hash.\n",
            &connected,
        ),
        (
            "hgetal\t user:1",
            "\n1) \"name\"\n2) \"Alice B\"\n",
            &connected,
        ),
        ("get user:1", "\n(error) WRONGTYPE ", &connected),
        ("get 'a", "\nInvalid argument(s)\n", &connected),
        (
            "connect 127.0.0.1 1",
            "cannot connect to 127.0.0.1:1",
            "not connected> ",
        ),
        ("ping", "cannot connect to 127.0.0.1:1", "not connected> "),
    ] {
        terminal.type_line(line);
        terminal.await_text(answer);
        terminal.await_text(prompt);
    }
    terminal.type_line("quit");
    assert_eq!(terminal.end(), Some(0));
    let history = std::fs::read_to_string(home.path().join(".dhtcli_history")).unwrap();
    assert!(history.contains("hgetall user:1\n"), "{history}");
    assert!(!history.contains("no-such-password"), "{history}");
}

#[test]
fn the_prompt_helps_while_one_types() {
    let cluster = Processes::start(1);
    let home = tempfile::tempdir().unwrap();
    let address = cluster.client(0);
    let mut terminal = Terminal::of_size(address, home.path(), "", (40, 120));
    let await_line = |terminal: &Terminal, expect: &str| {
        let expect = format!("{address}> {expect}");
        let is_last = || {
            terminal
                .screen()
                .last()?
                .trim_end()
                .eq(expect.trim_end())
                .then_some(())
        };
        wait::until(&expect, PATIENCE, is_last);
    };
    await_line(&terminal, "");
    for (keys, line) in [
        ("hset", "hset key field value [field value ...]"),
        (" k f", "hset k f value [field value ...]"),
        ("\x03", ""),
        ("hgeta\t", "hgetall key"),
        ("\x03", ""),
        ("help @tr\t", "help @transaction"),
    ] {
        terminal.type_keys(keys);
        await_line(&terminal, line);
    }
    terminal.type_keys("\r");
    terminal.await_text("\n  MULTI\n");
    await_line(&terminal, "");
    // What was done before comes back.
    terminal.type_keys("\x1b[A");
    await_line(&terminal, "help @transaction");
    terminal.type_keys("\x03");
    await_line(&terminal, "");
    terminal.type_keys("top\r");
    terminal.await_text("started outside of the prompt");
    await_line(&terminal, "");
    terminal.type_keys("\x04");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_password_is_given_in_any_of_the_usual_ways() {
    let cluster = Processes::durable(1, &[], Some("sesame"));
    let ask = |args: &str, env: &[(&str, &str)]| {
        let mut command = cli(&cluster, 0, args);
        for name in ["DHT_PASSWORD", "REDISCLI_AUTH"] {
            command.env_remove(name);
        }
        run(command.envs(env.iter().copied()), "")
    };
    for (args, env) in [
        ("-a sesame ping", &[][..]),
        ("--pass sesame ping", &[]),
        ("--user default --pass sesame ping", &[]),
        ("ping", &[("DHT_PASSWORD", "sesame")]),
        ("ping", &[("REDISCLI_AUTH", "sesame")]),
        (
            "ping",
            &[("DHT_PASSWORD", "sesame"), ("REDISCLI_AUTH", "no")],
        ),
    ] {
        let ended = ask(args, env);
        assert_eq!(text(&ended.stdout), "PONG\n", "{args} {env:?}: {ended:?}");
    }
    let mut command = Command::new(program("dht-cli"));
    let url = format!("dht://:sesame@{}", cluster.client(0));
    let ended = run(command.args(["--url", &url, "ping"]), "");
    assert_eq!(text(&ended.stdout), "PONG\n", "{ended:?}");
    for args in [
        "cluster status",
        "top --count 1",
        "--bigkeys",
        "--hotkeys",
        "--scan",
    ] {
        let ended = ask(args, &[("DHT_PASSWORD", "sesame")]);
        assert_eq!(ended.status.code(), Some(0), "{args}: {ended:?}");
    }
    for (args, says) in [
        ("-a wrong ping", "WRONGPASS invalid username-password pair"),
        (
            "ping",
            "NOAUTH Authentication required.\nGive the password in DHT_PASSWORD",
        ),
    ] {
        let ended = ask(args, &[]);
        assert!(text(&ended.stderr).starts_with(says), "{args}: {ended:?}");
        assert_eq!(ended.status.code(), Some(1), "{args}");
    }
}

#[test]
fn a_shell_takes_the_completions_and_man_the_page() {
    let program = program("dht-cli");
    let line = "source <(\"$0\" completions bash) && complete -p dht-cli";
    let mut bash = Command::new("bash");
    let ended = run(bash.args(["-c", line]).arg(&program), "");
    assert!(text(&ended.stdout).ends_with(" dht-cli\n"), "{ended:?}");
    let page = text(&run(Command::new(&program).arg("man"), "").stdout);
    let help = text(&run(Command::new(&program).arg("--help"), "").stdout);
    assert!(help.contains("rediss:// (TLS), redis-cluster://"), "{help}");
    for part in [
        "rediss:// (TLS), redis",
        ".TH dht-cli 1",
        "\n.SH OPTIONS\n",
        "hotkeys",
        "DHT_PASSWORD",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

/// Reads lines until there are as many as are expected, and compares them.
fn expect_lines(lines: &mut impl Iterator<Item = std::io::Result<String>>, expect: &[&str]) {
    for line in expect {
        assert_eq!(lines.next().unwrap().unwrap(), *line);
    }
}

#[test]
fn messages_are_printed_until_ctrl_c() {
    let cluster = Processes::start(3);
    let mut child = cli(&cluster, 0, "--no-raw subscribe news sport")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    expect_lines(
        &mut lines,
        &[
            "Reading messages... (press Ctrl-C to quit)",
            "1) \"subscribe\"",
            "2) \"news\"",
            "3) (integer) 1",
            "1) \"subscribe\"",
            "2) \"sport\"",
            "3) (integer) 2",
        ],
    );
    for node in 0..3 {
        let told = run(&mut cli(&cluster, node, "publish sport goal"), "");
        assert_eq!(text(&told.stdout), if node == 0 { "1\n" } else { "0\n" });
        let message = ["1) \"message\"", "2) \"sport\"", "3) \"goal\""];
        expect_lines(&mut lines, &message);
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Into a pipe only the data goes; what ends to listen waits for nothing.
    let ended = run(&mut cli(&cluster, 1, "punsubscribe a*"), "");
    assert_eq!(text(&ended.stdout), "punsubscribe\na*\n0\n");
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn what_is_said_to_redis_cli_may_be_said_to_dht_cli() {
    let cluster = Processes::start(1);
    let check = |args: &str, input: &str, code: i32, out: &str| {
        let ended = run(&mut cli(&cluster, 0, args), input);
        assert_eq!(text(&ended.stdout), out, "{args}: {ended:?}");
        assert_eq!(ended.status.code(), Some(code), "{args}");
    };
    check(
        "-n 0 -2 -c -e --no-auth-warning hset h f 1 g 2",
        "",
        0,
        "2\n",
    );
    check("-3 -t 5 -d ; hgetall h", "", 0, "f;1;g;2\n");
    check("-n 1 get k", "", 2, "");
    for leave in ["quit", "EXIT"] {
        check("", &format!("set s v\n{leave}\nget s\n"), 0, "OK\n");
    }
    // docs/clients.md names no option that there is not.
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clients.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let listed = docs.split("options of redis-cli: `").nth(1).unwrap();
    let listed = listed.split('`').next().unwrap();
    let help = text(&run(&mut cli(&cluster, 0, "--help"), "").stdout);
    let options = listed
        .split_whitespace()
        .filter(|word| word.starts_with('-'));
    assert!(options.clone().count() > 20);
    for option in options {
        let is_there = |line: &str| {
            let line = line.trim_start();
            let words = line.split([' ', ',', '=']);
            line.starts_with('-') && words.take(3).any(|word| word == option)
        };
        assert!(help.lines().any(is_there), "{option}");
    }
}
