//! What the command line and the environment say: where to connect, how to print, which command.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser};
use dht_client::{Credentials, ScanOptions, Scheme, Target};

use crate::modes::Mode;
use crate::print::Form;
use crate::{Repeat, backup, bench, completions, top, transfer};

/// Where to connect.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host of the node
    #[arg(short = 'h', value_name = "HOST")]
    host: Option<String>,
    /// Client port of the node
    #[arg(short = 'p', value_name = "PORT")]
    port: Option<u16>,
    /// Password; the environment keeps it out of the list of processes
    #[arg(short = 'a', long = "pass", value_name = "PASSWORD")]
    password: Option<String>,
    /// User; there is one, 'default'
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// dht://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]: the first node that answers is used;
    /// redis://, rediss:// (TLS), redis-cluster:// or rediss-cluster:// for other servers
    #[arg(short = 'u', long, value_name = "URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
}

/// Talks to a node of a dht cluster: runs one command, or reads commands from a prompt.
#[derive(Parser, Debug)]
#[command(
    name = "dht-cli",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    override_usage = "dht-cli [OPTIONS] [COMMAND [ARGUMENT ...]]",
    after_help = AFTER_HELP
)]
struct Options {
    #[command(flatten)]
    place: Place,
    /// Print only the data, as is the habit when the output is no terminal
    #[arg(long, conflicts_with_all = ["no_raw", "json"])]
    raw: bool,
    /// Print types and quotes, as is the habit on a terminal
    #[arg(long, conflicts_with = "json")]
    no_raw: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print comma-separated values
    #[arg(long, conflicts_with_all = ["raw", "no_raw", "json"])]
    csv: bool,
    /// Read the last argument of the command from the input
    #[arg(short = 'x')]
    last_from_input: bool,
    /// Do it so often; for ever if negative
    #[arg(short = 'r', value_name = "TIMES", allow_negative_numbers = true)]
    repeat: Option<i64>,
    /// Wait so many seconds in between
    #[arg(short = 'i', value_name = "SECONDS")]
    interval: Option<f64>,
    /// Print all keys of the whole cluster
    #[arg(long, group = "mode")]
    scan: bool,
    /// With --scan and --bigkeys: only keys that match
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// With --scan and --bigkeys: look at about so many keys in one request
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Find the biggest key of each type in the whole cluster
    #[arg(long, group = "mode")]
    bigkeys: bool,
    /// Print the keys that are asked for most in the whole cluster
    #[arg(long, group = "mode")]
    hotkeys: bool,
    /// Print a line of counters every second
    #[arg(long, group = "mode")]
    stat: bool,
    /// Measure how long answers to PING take
    #[arg(long, group = "mode")]
    latency: bool,
    /// Execute what comes on the input, in Redis's protocol or a command a line
    #[arg(long, group = "mode")]
    pipe: bool,
    /// Separate the parts of a reply by this instead of a new line; for --raw
    #[arg(short = 'd', value_name = "DELIMITER")]
    delimiter: Option<String>,
    /// Wait at most so many seconds for an answer: 5 by default, 30 where all keys are copied
    #[arg(short = 't', value_name = "SECONDS")]
    timeout: Option<f64>,
    #[command(flatten)]
    habits: Habits,
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Print the version
    #[arg(long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    words: Vec<OsString>,
}

/// Options of redis-cli that ask for what is so in any case.
#[derive(Args, Debug)]
struct Habits {
    /// The database; there is one, 0
    #[arg(short = 'n', value_name = "DB", value_parser = clap::value_parser!(u8).range(..1))]
    database: Option<u8>,
    /// Follow redirections, of a Redis Cluster (as with redis-cluster://) or a node's second port
    #[arg(short = 'c')]
    cluster: bool,
    /// Accepted: the exit code always tells of an error
    #[arg(short = 'e')]
    exit_code: bool,
    /// Accepted: the protocol is our own, and its replies are printed as redis-cli's of RESP2
    #[arg(short = '2', conflicts_with = "resp3")]
    resp2: bool,
    /// Accepted likewise
    #[arg(short = '3')]
    resp3: bool,
    /// Accepted: there is no such warning
    #[arg(long)]
    no_auth_warning: bool,
}

const AFTER_HELP: &str = "\
Without a command it reads commands from a prompt, or from its input.
  dht-cli hset user:1 name Alice age 25
  dht-cli cluster status [--watch]      a table of all nodes, once or again and again
  dht-cli top [--count N]               what the nodes do, every second; q ends it
  dht-cli import URL | export URL       copies all keys from or to another server
  dht-cli backup FILE                   copies all keys into a file, while they are in use
  dht-cli restore FILE                  copies them into a cluster of any size
  dht-cli help hset | help @hash        what a command does
  dht-cli completions SHELL | man       completions for bash, zsh, fish; the man page
  dht-cli bench --help                  puts load on a server and measures it

Environment: DHT_URL is the address, 127.0.0.1:7400 by default; DHT_PASSWORD or REDISCLI_AUTH is
the password.
Exit codes: 0 done, 1 the answer is an error, 2 wrong usage, 3 no connection or no answer.";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to connect.
    pub target: Target,
    /// How to print.
    pub form: Form,
    /// The command; empty for a prompt.
    pub words: Vec<Vec<u8>>,
    /// Text to be printed, and nothing else.
    pub page: Option<Vec<u8>>,
    /// The last word of the command comes on the input.
    pub last_from_input: bool,
    /// How often, and how long in between.
    pub repeat: Repeat,
    /// How long to wait for an answer, if that is said.
    pub timeout: Option<Duration>,
    /// Something else than a command.
    pub mode: Option<(Mode, ScanOptions)>,
    /// What goes on for long, and is named by a word.
    pub errand: Option<Errand>,
    /// The load to put on the server, instead of a command.
    pub bench: Option<bench::Options>,
    /// Redirections are followed.
    pub follows: bool,
}

/// What is done besides commands and is named by a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// All keys are copied from another server.
    Import(transfer::Options),
    /// To another server.
    Export(transfer::Options),
    /// Into a file.
    Backup(backup::Options),
    /// Out of a file.
    Restore(backup::restore::Options),
    /// It is shown what the nodes do.
    Top(top::Options),
}

impl Errand {
    /// What the words say, if it is one; they are taken then.
    fn of(words: &mut Vec<OsString>) -> Result<Option<Self>, clap::Error> {
        let first = words.first().map(|word| word.to_ascii_lowercase());
        let Some(first) = first.as_ref().and_then(|word| word.to_str()) else {
            return Ok(None);
        };
        let is_restore = is_restore(&words[1..]);
        let mut rest = || std::mem::take(words).into_iter();
        let found = match first {
            "import" => Self::Import(transfer::Options::try_parse_from(rest())?),
            "export" => Self::Export(transfer::Options::try_parse_from(rest())?),
            "top" => Self::Top(top::Options::try_parse_from(rest())?),
            "backup" => Self::Backup(backup::Options::try_parse_from(rest())?),
            "restore" if !is_restore => {
                Self::Restore(backup::restore::Options::try_parse_from(rest())?)
            }
            _ => return Ok(None),
        };
        if let Self::Import(options) | Self::Export(options) = &found {
            options.url.parse::<Target>().map_err(wrong)?;
        }
        Ok(Some(found))
    }
}

/// Whether these are the arguments of the command RESTORE, the only one that has the name of
/// something else: a key, a time to live and a value, where the other has one file and flags.
fn is_restore(arguments: &[OsString]) -> bool {
    let is_flag = |word: &OsString| word.as_bytes().starts_with(b"--");
    arguments.len() >= 3 && !arguments[..2].iter().any(is_flag)
}

/// Reads the command line. `env` looks up the environment; `terminal` says whether output goes to
/// one.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
    terminal: bool,
) -> Result<Settings, clap::Error> {
    let mut options = Options::try_parse_from(args)?;
    let mode = options.mode();
    if let (Some(_), Some(word)) = (&mode, options.words.first()) {
        let word = word.display();
        let why = format!("'{word}' is one thing to do too many: --help lists them");
        return Err(wrong(why));
    }
    let (bench, errand, page) = match options.last_from_input {
        // Only a command has a last argument on the input.
        true => (None, None, None),
        false => (
            options.bench()?,
            Errand::of(&mut options.words)?,
            page(&options.words)?,
        ),
    };
    let repeat = options.repeat()?;
    let timeout = seconds("-t", options.timeout)?;
    let form = match &options {
        Options { csv: true, .. } => Form::Csv,
        Options { json: true, .. } => Form::Json,
        Options { raw: true, .. } => Form::Raw,
        Options { no_raw: true, .. } => Form::Human,
        _ if terminal => Form::Human,
        _ => Form::Raw,
    };
    let form = match (form, options.delimiter.take()) {
        (Form::Raw, Some(delimiter)) => Form::Delimited(delimiter.leak()),
        _ => form,
    };
    let mut target = target(&options.place, env).map_err(wrong)?;
    let follows = options.habits.cluster;
    if follows {
        target.scheme = following(&target).map_err(wrong)?;
    }
    let words = options.words.into_iter().map(OsStringExt::into_vec);
    Ok(Settings {
        target,
        form,
        words: words.collect(),
        page,
        last_from_input: options.last_from_input,
        repeat,
        timeout,
        mode,
        errand,
        bench,
        follows,
    })
}

fn wrong(why: impl std::fmt::Display) -> clap::Error {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{why}\n"))
}

/// The scheme of servers that redirect.
fn following(target: &Target) -> Result<Scheme, &'static str> {
    match target.scheme {
        Scheme::Redis | Scheme::RedisTls if target.database > 0 => {
            Err("-c: a cluster has one database, 0")
        }
        Scheme::Redis => Ok(Scheme::Cluster),
        Scheme::RedisTls => Ok(Scheme::ClusterTls),
        other => Ok(other),
    }
}

/// `completions SHELL` and `man`: what is made of the options.
fn page(words: &[OsString]) -> Result<Option<Vec<u8>>, clap::Error> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let mut page = Vec::new();
    match words.as_slice() {
        ["man"] => clap_mangen::Man::new(Options::command()).render(&mut page)?,
        ["completions", shell] => {
            let Some(script) = completions::script(shell, &Options::command()) else {
                let there_are = "there are bash, zsh, fish and elvish";
                return Err(wrong(format!(
                    "completions: no shell '{shell}'; {there_are}"
                )));
            };
            page = script;
        }
        _ => return Ok(None),
    }
    Ok(Some(page))
}

impl Options {
    /// The load, if it is that; the words are taken then.
    fn bench(&mut self) -> Result<Option<bench::Options>, clap::Error> {
        let first = self.words.first();
        if !first.is_some_and(|word| word.eq_ignore_ascii_case("bench")) {
            return Ok(None);
        }
        let load = bench::Options::try_parse_from(self.words.drain(..))?;
        self.place = load.place.or(&self.place);
        self.json |= load.json;
        Ok(Some(load))
    }

    fn mode(&self) -> Option<(Mode, ScanOptions)> {
        let mode = match self {
            Self { scan: true, .. } => Mode::Scan,
            Self { bigkeys: true, .. } => Mode::BigKeys,
            Self { hotkeys: true, .. } => Mode::HotKeys,
            Self { stat: true, .. } => Mode::Stat,
            Self { latency: true, .. } => Mode::Latency,
            Self { pipe: true, .. } => Mode::Pipe,
            _ => return None,
        };
        let scan = ScanOptions {
            pattern: self.pattern.clone(),
            count: self.count,
        };
        Some((mode, scan))
    }

    fn repeat(&self) -> Result<Repeat, clap::Error> {
        let pause = seconds("-i", self.interval)?;
        // Whatever is negative means no end.
        let times = self
            .repeat
            .map(|times| u64::try_from(times).unwrap_or(u64::MAX));
        Ok(Repeat { times, pause })
    }
}

fn seconds(option: &str, given: Option<f64>) -> Result<Option<Duration>, clap::Error> {
    let duration = given.map(Duration::try_from_secs_f64).transpose();
    duration.map_err(|why| wrong(format!("{option}: {why}")))
}

impl Place {
    /// What is said here, and elsewhere where nothing is.
    fn or(&self, other: &Self) -> Self {
        let address_given = self.host.is_some() || self.port.is_some() || self.url.is_some();
        let address = if address_given { self } else { other };
        Self {
            host: address.host.clone(),
            port: address.port,
            url: address.url.clone(),
            password: self.password.clone().or_else(|| other.password.clone()),
            user: self.user.clone().or_else(|| other.user.clone()),
        }
    }
}

/// What the options say goes before what the URL says, and that before the environment.
fn target(
    place: &Place,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Target, dht_client::Error> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let text = if place.host.is_some() || place.port.is_some() {
        let host = place.host.as_deref().unwrap_or("127.0.0.1");
        let port = place.port.unwrap_or(dht_client::PORT);
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    } else {
        let url = place.url.clone().or_else(|| env("DHT_URL"));
        url.unwrap_or_else(|| "127.0.0.1".to_owned())
    };
    let mut target: Target = text.parse()?;
    if let Some(password) = place.password.clone() {
        target.credentials = Some(Credentials {
            user: None,
            password,
        });
    } else if target.credentials.is_none() {
        let password = env("DHT_PASSWORD").or_else(|| env("REDISCLI_AUTH"));
        target.credentials = password.map(|password| Credentials {
            user: None,
            password,
        });
    }
    if let (Some(user), Some(credentials)) = (&place.user, &mut target.credentials) {
        credentials.user = Some(user.clone());
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use dht_client::ReplyError;
    use dht_proto::spec::find;

    use super::*;

    fn read(line: &str, env: &[(&str, &str)]) -> Result<Settings, clap::Error> {
        let args = std::iter::once("dht-cli").chain(line.split_whitespace());
        let env = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        parse(args.map(OsString::from), env, true)
    }

    #[test]
    fn targets_and_passwords() {
        let check = |line: &str, env: &[(&str, &str)], seed: &str, password: Option<&str>| {
            let target = read(line, env).unwrap().target;
            assert_eq!(target.seeds, [seed], "{line}");
            let found = target.credentials.map(|credentials| credentials.password);
            assert_eq!(found.as_deref(), password, "{line}");
        };
        check("", &[], "127.0.0.1:7400", None);
        check("-p 7401", &[], "127.0.0.1:7401", None);
        check("-h ::1", &[], "[::1]:7400", None);
        check("-h a -p 1 -a x", &[("DHT_PASSWORD", "y")], "a:1", Some("x"));
        check(
            "",
            &[("DHT_URL", "b:2"), ("REDISCLI_AUTH", "z")],
            "b:2",
            Some("z"),
        );
        check("-p 3", &[("DHT_URL", "dht://:q@b:2")], "127.0.0.1:3", None);
        check(
            "--url dht://:q@b",
            &[("DHT_PASSWORD", "y")],
            "b:7400",
            Some("q"),
        );
        check(
            "",
            &[("DHT_PASSWORD", "y"), ("REDISCLI_AUTH", "z")],
            "127.0.0.1:7400",
            Some("y"),
        );
        check("", &[("DHT_PASSWORD", "")], "127.0.0.1:7400", None);
    }

    #[test]
    fn words_begin_at_the_command() {
        let check = |line: &str, form: Form, words: &[&str]| {
            let settings = read(line, &[]).unwrap();
            assert_eq!(settings.form, form, "{line}");
            let expect: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(settings.words, expect, "{line}");
        };
        check("get k", Form::Human, &["get", "k"]);
        check("--json get k", Form::Json, &["get", "k"]);
        check("--raw incrby k -5", Form::Raw, &["incrby", "k", "-5"]);
        check(
            "set k -h --json",
            Form::Human,
            &["set", "k", "-h", "--json"],
        );
        check("--csv get k", Form::Csv, &["get", "k"]);
        check("--no-raw", Form::Human, &[]);
    }

    #[test]
    fn a_load_has_options_of_its_own() {
        let check = |line: &str, seed: &str, password: Option<&str>, form: Form| {
            let settings = read(line, &[]).unwrap();
            assert_eq!(settings.target.seeds, [seed], "{line}");
            let found = settings.target.credentials.map(|it| it.password);
            assert_eq!(
                (found.as_deref(), settings.form),
                (password, form),
                "{line}"
            );
            assert_eq!(
                (settings.words.len(), settings.bench.is_some()),
                (0, true),
                "{line}"
            );
        };
        check("bench", "127.0.0.1:7400", None, Form::Human);
        check(
            "-p 1 -a x BENCH -c 3 get k",
            "127.0.0.1:1",
            Some("x"),
            Form::Human,
        );
        check(
            "-u a:1 -a x bench -p 2 -a y --json",
            "127.0.0.1:2",
            Some("y"),
            Form::Json,
        );
        check("--json -h a bench", "a:7400", None, Form::Json);
        assert_eq!(read("bench -P 0", &[]).unwrap_err().exit_code(), 2);
        assert_eq!(read("bench --help", &[]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn what_is_done_besides_commands() {
        let mode = |line: &str| read(line, &[]).unwrap().mode;
        let (found, options) = mode("--scan --pattern a*").unwrap();
        assert_eq!(
            (found, options.pattern.as_deref()),
            (Mode::Scan, Some("a*"))
        );
        assert_eq!(mode("--stat").unwrap().0, Mode::Stat);
        assert_eq!(mode("get k"), None);
        assert!(read("--scan --stat", &[]).is_err());
        for line in ["--scan ping", "--stat top", "--pipe get k"] {
            assert_eq!(read(line, &[]).unwrap_err().exit_code(), 2, "{line}");
        }
        for line in ["import http://h", "export redis://h/x"] {
            assert_eq!(read(line, &[]).unwrap_err().exit_code(), 2, "{line}");
        }
        let repeat = |line: &str| read(line, &[]).unwrap().repeat;
        let half = Some(Duration::from_millis(500));
        assert_eq!(
            repeat("-r 3 -i 0.5 ping"),
            Repeat {
                times: Some(3),
                pause: half
            }
        );
        assert_eq!(repeat("-r -1 ping").times, Some(u64::MAX));
        assert!(read("-i -1 ping", &[]).is_err());
        let errand = |line: &str| read(line, &[]).unwrap().errand;
        let Some(Errand::Import(options)) = errand("-p 1 import redis://h --pattern a*") else {
            panic!("no import");
        };
        assert_eq!(&*options.url, "redis://h");
        assert!(matches!(
            errand("EXPORT redis://h"),
            Some(Errand::Export(_))
        ));
        assert!(matches!(errand("backup file"), Some(Errand::Backup(_))));
        assert!(matches!(errand("top --count 3"), Some(Errand::Top(_))));
        assert!(matches!(
            errand("restore --merge f"),
            Some(Errand::Restore(_))
        ));
        assert!(errand("-t 9 RESTORE f --check").is_some());
        assert_eq!(
            read("restore f --timeout 9", &[]).unwrap_err().exit_code(),
            2
        );
        assert_eq!(read("backup", &[]).unwrap_err().exit_code(), 2);
        assert_eq!(read("restore", &[]).unwrap_err().exit_code(), 2);
        let page = |line: &str| {
            let page = read(line, &[]).unwrap().page.unwrap();
            String::from_utf8(page).unwrap()
        };
        assert!(page("completions bash").contains("--bigkeys"));
        assert!(page("completions fish").contains("bigkeys"));
        assert!(page("man").contains("\\-\\-bigkeys"), "{}", page("man"));
        assert!(read("completions cmd", &[]).is_err());
        assert_eq!(read("man page", &[]).unwrap().page, None);
        assert_eq!(read("import", &[]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn commands_are_told_from_what_has_their_name() {
        let is_command = |line: &str, words: usize| {
            let Settings {
                errand,
                bench,
                page,
                words: found,
                ..
            } = read(line, &[]).unwrap();
            assert_eq!((errand, bench, page), (None, None, None), "{line}");
            assert_eq!(found.len(), words, "{line}");
        };
        is_command("restore key 0 value", 4);
        is_command("restore key 0 --value REPLACE", 5);
        is_command("-x restore key 0", 3);
        for name in [
            "import", "export", "backup", "restore", "top", "bench", "man",
        ] {
            is_command(&format!("-x {name} key"), 2);
            let unknown = matches!(
                find(&[name.as_bytes()]),
                Err(ReplyError::UnknownCommand { .. })
            );
            assert_eq!(
                unknown,
                name != "restore",
                "no other is a command of Redis: {name}"
            );
        }
    }

    #[test]
    fn redirections_are_followed_if_asked_for() {
        let check = |line: &str, expect: Option<(Scheme, bool)>| {
            let settings = read(line, &[]).ok();
            let found = settings.map(|settings| (settings.target.scheme, settings.follows));
            assert_eq!(found, expect, "{line}");
        };
        check("-u redis://h get k", Some((Scheme::Redis, false)));
        check("-c -u redis://h get k", Some((Scheme::Cluster, true)));
        check("-c -u rediss://h get k", Some((Scheme::ClusterTls, true)));
        check("-c -p 1 get k", Some((Scheme::Dht, true)));
        check("-c -u redis://h/1 get k", None);
    }

    #[test]
    fn what_scripts_for_redis_cli_say_is_understood() {
        let settings = read("-n 0 -3 -e -c --no-auth-warning -t 1.5 get k", &[]).unwrap();
        assert_eq!(settings.words, [&b"get"[..], b"k"]);
        assert_eq!(settings.timeout, Some(Duration::from_millis(1500)));
        for wrong in ["-n 1", "-n x", "-2 -3", "-t x", "-t=-1"] {
            assert_eq!(read(wrong, &[]).unwrap_err().exit_code(), 2, "{wrong}");
        }
        let form = |line: &str| read(line, &[]).unwrap().form;
        assert_eq!(form("--raw -d ; get k"), Form::Delimited(";"));
        assert_eq!(form("-d ; get k"), Form::Human);
        assert_eq!(form("--json -d ; get k"), Form::Json);
    }

    #[test]
    fn piped_output_is_raw() {
        let settings = parse(["dht-cli".into(), "ping".into()], |_| None, false).unwrap();
        assert_eq!(settings.form, Form::Raw);
    }

    #[test]
    fn wrong_usage_is_code_2_and_help_is_0() {
        let check = |line: &str, code: i32| {
            let error = read(line, &[]).unwrap_err();
            assert_eq!(error.exit_code(), code, "{line}");
        };
        check("--no-such", 2);
        check("-p none", 2);
        check("-p 0", 2);
        check("-h a --url b", 2);
        check("--raw --json", 2);
        check("--url http://x", 2);
        check("--help", 0);
        check("--version", 0);
    }
}
