//! `dht-cli`: runs a command of the table on a node, or reads commands from a prompt.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod backup;
mod bench;
mod completions;
mod help;
mod hint;
mod hot;
mod listen;
mod modes;
mod print;
mod progress;
mod put;
mod repl;
mod say;
mod session;
mod status;
mod top;
mod transfer;
mod typing;

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use dht_client::{Client, Command, Error, FromReply, Scheme, Target};
use dht_proto::Reply;
use dht_proto::resp::split_words;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Errand, Settings};
use crate::backup::restore;
use crate::bench::Failure;
use crate::modes::Stop;
use crate::print::{Form, shown};
use crate::say::complain;
use crate::session::Session;
use crate::transfer::Side;

/// How long a copy of all keys waits for an answer where `-t` says nothing: a cluster may have to
/// find another leader meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said where a password is missing.
const PASSWORD_WANTED: &[u8] =
    b"Give the password in DHT_PASSWORD, by -a PASSWORD, or at the prompt by AUTH PASSWORD.\n";

/// What the process says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done = 0,
    ErrorReply = 1,
    /// Most of it is said by the reader of the command line.
    WrongUsage = 2,
    NoAnswer = 3,
}

/// How often something is done, and how long is waited in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeat {
    /// Once, or without end, unless it is said.
    times: Option<u64>,
    /// Not at all, or a second, unless it is said.
    pause: Option<Duration>,
}

impl Repeat {
    /// The numbers of the times, without end if nothing was said.
    pub fn or_for_ever(&self) -> std::ops::Range<u64> {
        0..self.times.unwrap_or(u64::MAX)
    }

    /// Waits until the next time, if there is one.
    pub async fn rest(&self, time: u64) {
        if time + 1 < self.times.unwrap_or(u64::MAX) {
            tokio::time::sleep(self.pause.unwrap_or(Duration::from_secs(1))).await;
        }
    }
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
            complain!("dht-cli: {error}");
            ExitCode::from(Outcome::NoAnswer as u8)
        }
    }
}

fn run(settings: Settings) -> io::Result<Outcome> {
    let Settings {
        target,
        form,
        mut words,
        page,
        last_from_input,
        repeat,
        timeout,
        mode,
        errand,
        bench,
        follows,
    } = settings;
    let scheme = target.scheme;
    if let Some(page) = page {
        return io::stdout().write_all(&page).map(|()| Outcome::Done);
    }
    if let Some(load) = bench {
        return measure(&load, &target, form);
    }
    if let Some(Errand::Restore(options)) = &errand
        && options.only_checks()
    {
        return ended(restore::check(options), (form, scheme));
    }
    let hot = mode.as_ref().and_then(|(mode, _)| mode.needs_dht());
    if let Some(why) = hot.or_else(|| errand.as_ref().and_then(needs_dht))
        && scheme != Scheme::Dht
    {
        complain!("dht-cli: {why}");
        return Ok(Outcome::WrongUsage);
    }
    // The worker keeps watching the connection while the prompt waits for a line.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let patience = timeout.unwrap_or(PATIENCE);
    let timeout = timeout.or(errand.as_ref().map(|_| patience));
    let target = runtime.block_on(followed(target, follows));
    let scheme = target.scheme;
    let mut session = match Session::new(target, timeout, follows) {
        Ok(session) => session,
        Err(error) => return complained(&error, (form, scheme)),
    };
    if let Some((mode, options)) = mode {
        let client = session.client.clone();
        return ended(
            runtime.block_on(modes::run(&mode, &client, options, &repeat)),
            (form, scheme),
        );
    }
    if let Some(errand) = errand {
        return ended(
            runtime.block_on(go(&session, &errand, patience)),
            (form, scheme),
        );
    }
    if last_from_input {
        words.push(all_of_input()?);
    }
    if !words.is_empty() {
        return repeatedly(&runtime, &mut session, form, words, &repeat);
    }
    if io::stdin().is_terminal() {
        return repl::run(&runtime, session, form);
    }
    every_line(&runtime, &mut session, form)
}

fn all_of_input() -> io::Result<Vec<u8>> {
    let mut word = Vec::new();
    io::stdin().read_to_end(&mut word)?;
    Ok(word)
}

/// The same target, but where redirections were to be followed as one server, if it says that it is
/// no cluster.
async fn followed(target: Target, follows: bool) -> Target {
    let scheme = match target.scheme {
        Scheme::Cluster if follows => Scheme::Redis,
        Scheme::ClusterTls if follows => Scheme::RedisTls,
        _ => return target,
    };
    let seeds = target.seeds.clone();
    let alone = Target {
        scheme,
        ..target.clone()
    };
    let (Ok(client), Some(seed)) = (Client::open(alone.clone()), seeds.first()) else {
        return target;
    };
    let asked = Command::from_words(["INFO", "cluster"]);
    match client.node(seed).run(asked).await.map(String::from_reply) {
        Ok(Ok(info)) if info.contains("cluster_enabled:0") => alone,
        _ => target,
    }
}

/// Executes a command as often as was asked for; the worst outcome counts.
fn repeatedly(
    runtime: &Runtime,
    session: &mut Session,
    form: Form,
    mut words: Vec<Vec<u8>>,
    repeat: &Repeat,
) -> io::Result<Outcome> {
    let mut repeat = *repeat;
    let is_watch = |words: &[Vec<u8>]| {
        let text = words.join(&b' ').to_ascii_lowercase();
        text == b"cluster status --watch"
    };
    let watches = is_watch(&words);
    if watches {
        words.pop();
    } else {
        repeat.times = repeat.times.or(Some(1));
        repeat.pause = repeat.pause.or(Some(Duration::ZERO));
    }
    let mut worst = Outcome::Done;
    for time in repeat.or_for_ever() {
        if watches && io::stdout().is_terminal() {
            io::stdout().write_all(b"\x1b[H\x1b[2J")?;
        }
        match one(runtime, session, form, words.clone())? {
            Outcome::NoAnswer => return Ok(Outcome::NoAnswer),
            Outcome::Done => {}
            worse => worst = worse,
        }
        io::stdout().flush()?;
        runtime.block_on(repeat.rest(time));
    }
    Ok(worst)
}

/// What is said where something is asked of other servers that only nodes of dht can do.
const fn needs_dht(errand: &Errand) -> Option<&'static str> {
    match errand {
        Errand::Backup(_) => {
            Some("backup is made of nodes of dht; import copies from other servers")
        }
        Errand::Top(_) => Some(
            "top asks nodes of dht in frames: name one with -u dht://HOST:PORT (--stat shows other \
             servers)",
        ),
        Errand::Import(_) | Errand::Export(_) | Errand::Restore(_) => None,
    }
}

/// Does an errand; the other side, where there is one, is waited for as long as this one. That one
/// of them is not there at all is said at once.
async fn go(session: &Session, errand: &Errand, patience: Duration) -> Result<Outcome, Stop> {
    let client = &session.client;
    reach(client, session.target()).await?;
    let here = || Side {
        target: session.target(),
        client,
    };
    let other = async |url: &str| {
        let target: Target = url.parse()?;
        let other = Client::open(target.clone())?.with_deadline(patience);
        let reached = reach(&other, &target).await;
        reached.map_err(|error| Stop::Other(target.scheme, error))?;
        Ok::<_, Stop>((target, other))
    };
    match errand {
        Errand::Import(options) => {
            let (target, client) = &other(&options.url).await?;
            transfer::run("import", Side { target, client }, here(), options).await
        }
        Errand::Export(options) => {
            let (target, client) = &other(&options.url).await?;
            transfer::run("export", here(), Side { target, client }, options).await
        }
        Errand::Backup(options) => backup::run(client, options).await,
        Errand::Top(options) => top::run(client, options).await,
        Errand::Restore(options) => restore::run(client, options).await,
    }
}

/// Whether one of the servers is there, whatever it says: a command would be tried until its
/// deadline.
async fn reach(client: &Client, target: &Target) -> Result<(), Error> {
    let mut result = Ok(());
    for seed in &target.seeds {
        match client.node(seed).run(Command::new("PING")).await {
            Err(error) if error.is_unreachable() => result = Err(error),
            _ => return Ok(()),
        }
    }
    result
}

fn ended(result: Result<Outcome, Stop>, (form, scheme): (Form, Scheme)) -> io::Result<Outcome> {
    match result {
        Ok(outcome) => Ok(outcome),
        Err(Stop::System(error)) => Err(error),
        Err(Stop::Server(error)) => complained(&error, (form, scheme)),
        Err(Stop::Other(scheme, error)) => complained(&error, (form, scheme)),
        Err(Stop::Usage(why)) => {
            complain!("dht-cli: {why}");
            Ok(Outcome::WrongUsage)
        }
        Err(Stop::Refused(why)) => {
            complain!("dht-cli: {why}");
            Ok(Outcome::ErrorReply)
        }
    }
}

/// Says what went wrong.
fn complained(error: &Error, (form, scheme): (Form, Scheme)) -> io::Result<Outcome> {
    let (outcome, text) = told(error, form, scheme);
    // Nobody may be there to read it; what it means for the process stays.
    let _ = io::stderr().write_all(&text);
    Ok(outcome)
}

/// Puts load on a server and says what was measured, also of a load that ended early.
fn measure(load: &bench::Options, target: &Target, form: Form) -> io::Result<Outcome> {
    let report = match bench::run(load, target) {
        Ok(report) => report,
        Err(Failure::System(error)) => return Err(error),
        Err(Failure::Usage(why)) => {
            complain!("{why}");
            return Ok(Outcome::WrongUsage);
        }
        Err(Failure::Server(error)) => return complained(&error, (form, target.scheme)),
    };
    let text = match form {
        Form::Json => report.json(),
        Form::Human | Form::Raw | Form::Delimited(_) | Form::Csv => report.text(),
    };
    io::stdout().write_all(text.as_bytes())?;
    if let Some(error) = &report.tally.failure {
        complain!("{error}");
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
            Some(words) if repl::leaves(&words) => break,
            Some(words) => one(runtime, session, form, words)?,
            None => {
                complain!("invalid argument(s): a quote is not closed");
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
    if listen::is_about(&words) {
        return listen::run(runtime, session, form, words);
    }
    if let Some(topic) = help::topic(&words)
        && help::help(&topic).is_none()
    {
        complain!("{}", help::none(&topic).trim_end());
        return Ok(Outcome::WrongUsage);
    }
    match runtime.block_on(answer(session, form, words)) {
        Ok(text) => {
            io::stdout().write_all(&text)?;
            Ok(Outcome::Done)
        }
        Err(error) => complained(&error, (form, session.target().scheme)),
    }
}

/// What there is to be written about a command, be it one of ours or one for the node.
async fn answer(session: &mut Session, form: Form, words: Vec<Vec<u8>>) -> Result<Vec<u8>, Error> {
    if let Some(topic) = help::topic(&words) {
        let text = help::help(&topic).unwrap_or_else(|| help::none(&topic));
        return Ok(text.into_bytes());
    }
    let text: Vec<String> = words
        .iter()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    match text.as_slice() {
        ["cluster", "status"] => status::status(session, form).await,
        _ => {
            let reply = session.run(&Command::from_words(words)).await?;
            Ok(shown(&reply, form))
        }
    }
}

/// What an error of servers of a kind means for the process, and what is said of it.
fn told(error: &Error, form: Form, scheme: Scheme) -> (Outcome, Vec<u8>) {
    if let Some(reply) = error.reply() {
        let mut text = shown(&Reply::Error(reply.clone()), form);
        if reply.prefix() == "NOAUTH" {
            text.extend_from_slice(PASSWORD_WANTED);
        }
        return (Outcome::ErrorReply, text);
    }
    let outcome = match error {
        Error::Address(_) => Outcome::WrongUsage,
        _ => Outcome::NoAnswer,
    };
    let text = format!("{error}\n{}", hint::hint(error, scheme));
    (outcome, text.into_bytes())
}
