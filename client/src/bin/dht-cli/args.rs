//! What the command line and the environment say: where to connect, how to print, which command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{Args, Parser};
use dht_client::{Credentials, Target};

use crate::bench;
use crate::print::Form;

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
    /// dht://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]: the first node that answers is used
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

const AFTER_HELP: &str = "\
Without a command it reads commands from a prompt, or from its input.
  dht-cli hset user:1 name Alice age 25
  dht-cli cluster status                a table of all nodes
  dht-cli help hset | help @hash        what a command does
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
    /// The load to put on the server, instead of a command.
    pub bench: Option<bench::Options>,
}

/// Reads the command line. `env` looks up the environment; `terminal` says whether output goes to
/// one.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
    terminal: bool,
) -> Result<Settings, clap::Error> {
    let mut options = Options::try_parse_from(args)?;
    let mut bench = None;
    if options
        .words
        .first()
        .is_some_and(|word| word.eq_ignore_ascii_case("bench"))
    {
        let load = bench::Options::try_parse_from(options.words.drain(..))?;
        options.place = load.place.or(&options.place);
        options.json |= load.json;
        bench = Some(load);
    }
    let form = match &options {
        Options { json: true, .. } => Form::Json,
        Options { raw: true, .. } => Form::Raw,
        Options { no_raw: true, .. } => Form::Human,
        _ if terminal => Form::Human,
        _ => Form::Raw,
    };
    let target = target(&options.place, env).map_err(|why| {
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{why}\n"))
    })?;
    let words = options.words.into_iter().map(OsStringExt::into_vec);
    Ok(Settings {
        target,
        form,
        words: words.collect(),
        bench,
    })
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
