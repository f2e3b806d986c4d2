//! The prompt: reads lines with history, completion and hints, executes them, and goes on whatever
//! happens.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dht_proto::resp::split_words;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Context, Editor, Helper, Validator};
use tokio::runtime::Runtime;

use crate::print::Form;
use crate::say::say;
use crate::session::Session;
use crate::{Outcome, answer, help, listen, told, typing};

/// A command that took longer is followed by its time, as in redis-cli.
const SLOW: Duration = Duration::from_millis(500);
const HISTORY: &str = ".dhtcli_history";
const HISTORY_LINES: usize = 1000;

/// What is no command, and what to do about it. RESTORE is one.
const OUTSIDE: [&str; 5] = ["top", "bench", "import", "export", "backup"];
const STARTS_OUTSIDE: &str = "no command: it is started outside of the prompt, as in 'dht-cli top'";

/// What a line asks of the prompt.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Quit,
    Clear,
    /// To another address.
    Connect(String),
    /// A command, to be executed so often.
    Command(Vec<Vec<u8>>, u32),
    /// Makes no sense, for this reason.
    Wrong(&'static str),
}

/// Reads and executes lines until the user leaves.
pub fn run(runtime: &Runtime, mut session: Session, form: Form) -> io::Result<Outcome> {
    let mut editor = editor().map_err(io::Error::other)?;
    let history = history_file();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    let ping = || vec![b"PING".to_vec()];
    let mut connected = execute(runtime, &mut session, form, ping(), false)?.connected;
    let mut queues = false;
    loop {
        let prompt = match (connected, queues) {
            (true, false) => format!("{}> ", session.address()),
            (true, true) => format!("{}(TX)> ", session.address()),
            (false, _) => "not connected> ".to_owned(),
        };
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(Outcome::Done),
            Err(error) => return Err(io::Error::other(error)),
        };
        remember(&mut editor, history.as_ref(), &line);
        match understood(&line) {
            Line::Nothing => {}
            Line::Quit => return Ok(Outcome::Done),
            Line::Clear => editor.clear_screen().map_err(io::Error::other)?,
            Line::Wrong(why) => say!("{why}")?,
            Line::Connect(address) => {
                session.connect(address).map_err(io::Error::other)?;
                connected = execute(runtime, &mut session, form, ping(), false)?.connected;
                queues = false;
            }
            Line::Command(words, times) => {
                for _ in 0..times {
                    let after = execute(runtime, &mut session, form, words.clone(), true)?;
                    queues = after.queues(&words, queues);
                    connected = after.connected;
                }
            }
        }
    }
}

/// Whether a line says that there is no more to do.
pub fn leaves(words: &[Vec<u8>]) -> bool {
    let is_one = |word: &[u8]| {
        ["quit", "exit"]
            .iter()
            .any(|it| word.eq_ignore_ascii_case(it.as_bytes()))
    };
    matches!(words, [word] if is_one(word))
}

fn understood(line: &str) -> Line {
    let Some(mut words) = split_words(line.as_bytes()) else {
        return Line::Wrong("Invalid argument(s)");
    };
    let times = repetitions(&words);
    if times.is_some() {
        words.remove(0);
    }
    let text: Vec<Cow<'_, str>> = words
        .iter()
        .map(|word| String::from_utf8_lossy(word))
        .collect();
    let text: Vec<&str> = text.iter().map(AsRef::as_ref).collect();
    match text.as_slice() {
        [] => Line::Nothing,
        [_] if leaves(&words) => Line::Quit,
        [word] if is(word, "clear") => Line::Clear,
        ["?", ..] => {
            words[0] = b"HELP".to_vec();
            Line::Command(words, 1)
        }
        [word, host, port] if is(word, "connect") => match port.parse::<u16>() {
            Ok(port) if host.contains(':') => Line::Connect(format!("[{host}]:{port}")),
            Ok(port) => Line::Connect(format!("{host}:{port}")),
            Err(_) => Line::Wrong("usage: connect <host> <port>"),
        },
        [word, ..] if OUTSIDE.iter().any(|errand| is(word, errand)) => Line::Wrong(STARTS_OUTSIDE),
        [word, ..] if is(word, "connect") => Line::Wrong("usage: connect <host> <port>"),
        _ => Line::Command(words, times.unwrap_or(1)),
    }
}

/// The number before a command.
fn repetitions(words: &[Vec<u8>]) -> Option<u32> {
    match words {
        [number, _, ..] => str::from_utf8(number).ok()?.parse().ok(),
        _ => None,
    }
}

fn is(word: &str, name: &str) -> bool {
    word.eq_ignore_ascii_case(name)
}

/// How it is after a command.
struct After {
    /// There is a connection.
    connected: bool,
    /// What was answered, unless it was an error.
    answer: Option<Vec<u8>>,
}

impl After {
    /// Whether commands are queued from now on, for EXEC. Of a connection that was made anew the
    /// node knows no MULTI, and executes at once.
    fn queues(&self, words: &[Vec<u8>], before: bool) -> bool {
        let is_one =
            |name: &str| words.len() == 1 && words[0].eq_ignore_ascii_case(name.as_bytes());
        let Some(answer) = &self.answer else {
            let ends = is_one("EXEC") || is_one("DISCARD");
            return before && self.connected && !ends;
        };
        let is_queued = || answer.windows(6).any(|part| part == b"QUEUED");
        match before {
            false => is_one("MULTI"),
            true => is_queued() || help::topic(words).is_some(),
        }
    }
}

/// Executes a command; says whether there is a connection. Ctrl-C stops waiting for the answer.
fn execute(
    runtime: &Runtime,
    session: &mut Session,
    form: Form,
    words: Vec<Vec<u8>>,
    loud: bool,
) -> io::Result<After> {
    if listen::is_about(&words) {
        let outcome = listen::run(runtime, session, form, words)?;
        return Ok(After {
            connected: outcome != Outcome::NoAnswer,
            answer: None,
        });
    }
    let start = Instant::now();
    let result = runtime.block_on(async {
        tokio::select! {
            result = answer(session, form, words) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    let succeeded = matches!(result, Some(Ok(_)));
    let (connected, text) = match result {
        Some(Ok(text)) if loud => (true, text),
        Some(Ok(_)) => (true, Vec::new()),
        Some(Err(error)) => {
            let (outcome, text) = told(&error, form, session.target().scheme);
            (outcome == Outcome::ErrorReply, text)
        }
        None => (
            true,
            b"not waited for; it may or may not have been done\n".to_vec(),
        ),
    };
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    if loud && start.elapsed() >= SLOW {
        writeln!(out, "({:.2}s)", start.elapsed().as_secs_f64())?;
    }
    out.flush()?;
    Ok(After {
        connected,
        answer: succeeded.then_some(text),
    })
}

fn history_file() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(HISTORY))
}

/// Puts a line into the history, unless it is empty or holds a password. A history that cannot be
/// written is no reason to stop.
fn remember(editor: &mut Editor<Typist, FileHistory>, file: Option<&PathBuf>, line: &str) {
    if line.trim().is_empty() || has_password(line) {
        return;
    }
    if editor.add_history_entry(line).unwrap_or(false)
        && let Some(file) = file
    {
        let _ = editor.append_history(file);
    }
}

/// AUTH, and HELLO with its AUTH option.
fn has_password(line: &str) -> bool {
    line.split_whitespace()
        .any(|word| is(word.trim_matches(['"', '\'']), "auth"))
}

fn editor() -> rustyline::Result<Editor<Typist, FileHistory>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_LINES)?
        .auto_add_history(false)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Typist));
    Ok(editor)
}

/// Completes and hints.
#[derive(Helper, Validator)]
struct Typist;

/// A hint is read, not taken over.
struct Missing(String);

impl Hint for Missing {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Typist {
    type Hint = Missing;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Missing> {
        (pos == line.len())
            .then(|| typing::hint(line))
            .flatten()
            .map(Missing)
    }
}

impl Completer for Typist {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(typing::completions(&line[..pos]))
    }
}

impl Highlighter for Typist {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[90m{hint}\x1b[0m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let check = |line: &str, expect: Line| assert_eq!(understood(line), expect, "{line}");
        let command = |words: &[&str], times| {
            Line::Command(
                words.iter().map(|word| word.as_bytes().to_vec()).collect(),
                times,
            )
        };
        check("", Line::Nothing);
        check("  Quit ", Line::Quit);
        check("exit", Line::Quit);
        check("clear", Line::Clear);
        check("?", command(&["HELP"], 1));
        check("? hget", command(&["HELP", "hget"], 1));
        check("connect h 1", Line::Connect("h:1".to_owned()));
        check("connect ::1 1", Line::Connect("[::1]:1".to_owned()));
        check("connect h", Line::Wrong("usage: connect <host> <port>"));
        check("connect h x", Line::Wrong("usage: connect <host> <port>"));
        check(r#"set k "a b\x41""#, command(&["set", "k", "a bA"], 1));
        check("TOP --count 3", Line::Wrong(STARTS_OUTSIDE));
        check("restore k 0 v", command(&["restore", "k", "0", "v"], 1));
        check("3 incr n", command(&["incr", "n"], 3));
        check("3", command(&["3"], 1));
        check("set k \"a", Line::Wrong("Invalid argument(s)"));
    }

    #[test]
    fn the_prompt_knows_that_commands_are_queued() {
        let check = |line: &str, before, answer: Option<&str>, expect| {
            let words = split_words(line.as_bytes()).unwrap();
            let answer = answer.map(|text| text.as_bytes().to_vec());
            let connected = answer.as_deref() != Some(b"gone");
            let answer = answer.filter(|_| connected);
            let after = After { connected, answer };
            assert_eq!(after.queues(&words, before), expect, "{line}");
        };
        check("multi", false, Some("OK\n"), true);
        check("MULTI x", false, None, false);
        check("set k v", false, Some("OK\n"), false);
        check("set k v", true, Some("QUEUED\n"), true);
        check("set k", true, None, true);
        check("multi", true, None, true);
        check("help set", true, Some("SET key value\n"), true);
        check("exec", true, Some("1) OK\n"), false);
        check("exec", true, None, false);
        check("discard", true, Some("OK\n"), false);
        check("get k", true, Some("v\n"), false);
        check("get k", true, Some("gone"), false);
    }

    #[test]
    fn passwords_are_not_remembered() {
        let check = |line: &str, expect| assert_eq!(has_password(line), expect, "{line}");
        check("AUTH secret", true);
        check(" auth me secret", true);
        check("\"auth\" secret", true);
        check("hello 3 AUTH me secret", true);
        check("get author", false);
    }
}
