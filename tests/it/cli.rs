//! `dht-cli` as people use it: exit codes and output, input from a pipe, the prompt on a terminal.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dht_tests::process::{Processes, program};
use dht_tests::wait;

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

fn cli(cluster: &Processes, node: usize, args: &str) -> Command {
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

#[test]
fn no_connection_and_wrong_usage() {
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
    check(&["--url", "http://h", "ping"], 2, "http");
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

/// `dht-cli` on a terminal, to which lines are typed one by one.
struct Terminal {
    process: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(node: SocketAddr, home: &Path) -> Self {
        let line = format!("{} -p {}", program("dht-cli").display(), node.port());
        let mut process = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .envs([("HOME", home.as_os_str()), ("TERM", "xterm".as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut output, all) = (process.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let text = text(&bytes[..length]).replace('\r', "");
                all.lock().unwrap().push_str(&text);
            }
        });
        Self { process, shown }
    }

    /// Waits until this is shown, behind all that was awaited before.
    fn await_text(&self, expect: &str) {
        wait::until(&format!("{expect:?} on the terminal"), PATIENCE, || {
            let mut shown = self.shown.lock().unwrap();
            let end = shown.find(expect)? + expect.len();
            shown.drain(..end);
            Some(())
        });
    }

    fn type_line(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\r").as_bytes()).unwrap();
    }
}

#[test]
fn the_prompt_on_a_terminal() {
    let cluster = Processes::start(1);
    let home = tempfile::tempdir().unwrap();
    let address = cluster.client(0);
    let mut terminal = Terminal::start(address, home.path());
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
    assert_eq!(terminal.process.wait().unwrap().code(), Some(0));
    let history = std::fs::read_to_string(home.path().join(".dhtcli_history")).unwrap();
    assert!(history.contains("hgetall user:1\n"), "{history}");
    assert!(!history.contains("no-such-password"), "{history}");
}
