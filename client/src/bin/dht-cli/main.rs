//! `dht-cli`: runs a command of the table on a node, or reads commands from a prompt.

mod args;
mod bench;
mod help;
mod print;
mod repl;
mod session;
mod status;
mod typing;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use dht_client::{Command, Error, Target};
use dht_proto::Reply;
use dht_proto::resp::split_words;
use tokio::runtime::{Builder, Runtime};

use crate::args::Settings;
use crate::bench::Failure;
use crate::print::{Form, shown};
use crate::session::Session;

/// What the process says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done = 0,
    ErrorReply = 1,
    /// Most of it is said by the reader of the command line.
    WrongUsage = 2,
    NoAnswer = 3,
}

fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let terminal = io::stdout().is_terminal();
    let settings = match args::parse(std::env::args_os(), env, terminal) {
        Ok(settings) => settings,
        Err(error) => error.exit(),
    };
    match run(settings) {
        Ok(outcome) => ExitCode::from(outcome as u8),
        // Whoever reads the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dht-cli: {error}");
            ExitCode::from(Outcome::NoAnswer as u8)
        }
    }
}

fn run(settings: Settings) -> io::Result<Outcome> {
    let Settings {
        target,
        form,
        words,
        bench,
    } = settings;
    if let Some(load) = bench {
        return measure(&load, &target, form);
    }
    // The worker keeps watching the connection while the prompt waits for a line.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut session = Session::new(target);
    if !words.is_empty() {
        return one(&runtime, &mut session, form, words);
    }
    if io::stdin().is_terminal() {
        return repl::run(&runtime, session, form);
    }
    every_line(&runtime, &mut session, form)
}

/// Puts load on a server and says what was measured, also of a load that ended early.
fn measure(load: &bench::Options, target: &Target, form: Form) -> io::Result<Outcome> {
    let report = match bench::run(load, target) {
        Ok(report) => report,
        Err(Failure::System(error)) => return Err(error),
        Err(Failure::Usage(why)) => {
            eprintln!("{why}");
            return Ok(Outcome::WrongUsage);
        }
        Err(Failure::Server(error)) => {
            let (outcome, text) = told(&error, form);
            io::stderr().write_all(&text)?;
            return Ok(outcome);
        }
    };
    let text = match form {
        Form::Json => report.json(),
        Form::Human | Form::Raw => report.text(),
    };
    io::stdout().write_all(text.as_bytes())?;
    if let Some(error) = &report.tally.failure {
        eprintln!("{error}");
        return Ok(Outcome::NoAnswer);
    }
    Ok(match report.tally.errors.is_empty() {
        true => Outcome::Done,
        false => Outcome::ErrorReply,
    })
}

/// Executes what comes on the input, a command a line; the worst outcome counts.
fn every_line(runtime: &Runtime, session: &mut Session, form: Form) -> io::Result<Outcome> {
    let mut worst = Outcome::Done;
    for line in io::stdin().lock().split(b'\n') {
        let outcome = match split_words(&line?) {
            Some(words) if words.is_empty() => continue,
            Some(words) => one(runtime, session, form, words)?,
            None => {
                eprintln!("invalid argument(s): a quote is not closed");
                Outcome::ErrorReply
            }
        };
        match outcome {
            Outcome::NoAnswer => return Ok(outcome),
            Outcome::ErrorReply | Outcome::WrongUsage => worst = outcome,
            Outcome::Done => {}
        }
    }
    Ok(worst)
}

/// Executes one command; its answer goes to the output, errors go elsewhere.
fn one(
    runtime: &Runtime,
    session: &mut Session,
    form: Form,
    words: Vec<Vec<u8>>,
) -> io::Result<Outcome> {
    match runtime.block_on(answer(session, form, words)) {
        Ok(text) => {
            io::stdout().write_all(&text)?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            let (outcome, text) = told(&error, form);
            io::stderr().write_all(&text)?;
            Ok(outcome)
        }
    }
}

/// What there is to be written about a command, be it one of ours or one for the node.
async fn answer(session: &mut Session, form: Form, words: Vec<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let text: Vec<String> = words
        .iter()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    match text.as_slice() {
        ["help", topic @ ..] => {
            let topic = topic.join(" ");
            let none = || format!("there is no command or group '{topic}'\n");
            Ok(help::help(&topic).unwrap_or_else(none).into_bytes())
        }
        ["cluster", "status"] => status::status(session, form).await,
        _ => {
            let reply = session.run(&Command::from_words(words)).await?;
            Ok(shown(&reply, form))
        }
    }
}

/// What an error means for the process, and what is said of it.
fn told(error: &Error, form: Form) -> (Outcome, Vec<u8>) {
    if let Some(reply) = error.reply() {
        return (
            Outcome::ErrorReply,
            shown(&Reply::Error(reply.clone()), form),
        );
    }
    let mut text = format!("{error}\n");
    if error.is_unreachable() {
        text += "Is a node running there? Start one, or name another with -h HOST -p PORT.\n";
    }
    (Outcome::NoAnswer, text.into_bytes())
}
