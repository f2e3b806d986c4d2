//! The command line, the environment and one TOML file, in that precedence, as a [`Config`].
//!
//! A setting is declared once, as a flag. The file has the same names; its values take the place of
//! the defaults.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::{fmt, fs, thread};

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, ValueEnum};

use super::{Config, ConfigError};

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

impl Config {
    /// Reads the command line, whose first word is the program's name, with the environment and the
    /// file.
    ///
    /// # Errors
    /// What is wrong in one line; also the texts of `--help` and `--version`.
    pub fn from_args<I, T>(args: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let mut matches = Self::command().try_get_matches_from(args.clone())?;
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            matches = with_file(Self::command(), path)?.try_get_matches_from(args)?;
        }
        let mut config = Self::from_arg_matches(&matches)?;
        config.password = secret(&matches, "password")?;
        config.cluster_secret = secret(&matches, "cluster_secret")?;
        config
            .mistake()
            .map_or(Ok(config), |why| Err(ConfigError::Wrong(why)))
    }

    /// How many threads serve connections. The fewer there are, the more requests each finds when
    /// it wakes, and the less of its time goes into waking; and the kernel's part of the work, and
    /// whatever else runs here, need cores too.
    #[must_use]
    pub fn threads(&self) -> usize {
        let half = || thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        self.threads.map_or_else(half, NonZeroUsize::get)
    }
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

/// Whether it is help or the version that was asked for.
pub fn is_answer(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

/// The answer, or the mistake in one line.
pub fn show(error: &clap::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if is_answer(error) {
        return write!(f, "{}", error.render());
    }
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    f.write_str(line.strip_prefix("error: ").unwrap_or(line))
}

/// The command line's grammar with the file's values as defaults.
fn with_file(command: clap::Command, path: &Path) -> Result<clap::Command, ConfigError> {
    let wrong = |what: &dyn fmt::Display| ConfigError::Wrong(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].lines().count().max(1));
        wrong(&format_args!("line {line}: {}", error.message()))
    })?;
    table
        .into_iter()
        .try_fold(command, |command, (name, value)| {
            let is_it = |arg: &&clap::Arg| arg.get_long() == Some(&name) && name != "config";
            let id = command
                .get_arguments()
                .find(is_it)
                .map(|arg| arg.get_id().clone());
            let id = id.ok_or_else(|| wrong(&format_args!("there is no setting '{name}'")))?;
            let values = match value {
                toml::Value::Array(values) => values,
                value => vec![value],
            };
            let texts: Vec<String> = values.into_iter().map(plain).collect();
            Ok(command.mut_arg(id, |arg| arg.default_values(texts)))
        })
}

/// A value of the file as it would be typed.
fn plain(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A secret, from its text or from its file, whichever was said with more emphasis. An empty one
/// protects nothing and counts as none.
fn secret(matches: &ArgMatches, name: &str) -> Result<Option<String>, ConfigError> {
    Ok(said_secret(matches, name)?.filter(|secret| !secret.is_empty()))
}

fn said_secret(matches: &ArgMatches, name: &str) -> Result<Option<String>, ConfigError> {
    let file = format!("{name}_file");
    if matches.value_source(&file) <= matches.value_source(name) {
        return Ok(matches.get_one::<String>(name).cloned());
    }
    let Some(path) = matches.get_one::<PathBuf>(&file) else {
        return Ok(None);
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(ConfigError::Wrong(format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let words = std::iter::once("dht-node").chain(line.split_whitespace());
        Config::from_args(words).map_err(|error| error.to_string())
    }

    fn with_file(text: &str, flags: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dht.toml");
        fs::write(&path, text).unwrap();
        fs::write(dir.path().join("secret"), "from a file\n").unwrap();
        let flags = flags.replace("DIR", dir.path().to_str().unwrap());
        config(&format!("--config {} {flags}", path.display()))
            .map_err(|error| error.replace(path.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn defaults() {
        let config = config("").unwrap();
        assert_eq!(config.listen, ["127.0.0.1:7400".parse().unwrap()]);
        assert_eq!(config.redirect_listen(), "127.0.0.1:8400".parse().unwrap());
        assert_eq!((config.shards, config.max_clients), (64, 10_000));
        assert_eq!(config.cluster_secret(), "");
        let cores = thread::available_parallelism().unwrap().get();
        assert!((1..=cores).contains(&config.threads()));
    }

    #[test]
    fn the_redirecting_port_follows_the_first_client_port() {
        for (line, expect) in [
            ("--listen 127.0.0.1:0", "127.0.0.1:0"),
            ("--listen [::1]:6379 --listen 127.0.0.1:1", "[::1]:7379"),
            ("--listen 127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1001"),
            ("--listen 127.0.0.1:64535", "127.0.0.1:65535"),
            (
                "--listen 127.0.0.1:65000 --cluster-listen 127.0.0.1:9",
                "127.0.0.1:9",
            ),
            ("--cluster-listen 127.0.0.1:9", "127.0.0.1:9"),
        ] {
            let config = config(line).unwrap();
            assert_eq!(config.redirect_listen(), expect.parse().unwrap(), "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        for (line, expect) in [
            (
                "--listen 0.0.0.0:7400",
                "refusing to serve 0.0.0.0:7400 without a password",
            ),
            (
                "--cluster-listen 0.0.0.0:1",
                "refusing to serve 0.0.0.0:1 without",
            ),
            (
                "--listen 0.0.0.0:7400 --password x --join a:1",
                "say with --advertise",
            ),
            (
                "--shards 3",
                "invalid value '3' for '--shards <N>': it has to be a power of two",
            ),
            ("--shards 32768", "it has to be a power of two up to 16384"),
            ("--threads 0", "invalid value '0' for '--threads <N>'"),
            ("--join nonsense", "it has to be HOST:PORT"),
            ("--password-file /nowhere", "/nowhere: No such file"),
            ("--config /nowhere", "/nowhere: No such file"),
            (
                "--listen 127.0.0.1:64536",
                "there is no port 1000 above 127.0.0.1:64536: name one with --cluster-listen",
            ),
            (
                "--backend http://h",
                "--backend: 'http://' is not supported; there ",
            ),
            ("--frobnicate", "unexpected argument '--frobnicate'"),
        ] {
            let error = config(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn beyond_loopback_with_a_password_or_on_purpose() {
        for line in [
            "--listen 0.0.0.0:7400 --password x",
            "--listen 0.0.0.0:7400 --insecure",
            "--listen 0.0.0.0:7400 --password x --join a:1 --advertise a:1",
        ] {
            assert!(config(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn an_empty_secret_is_none() {
        let config = config("--listen 0.0.0.0:1 --password x --cluster-secret=").unwrap();
        assert_eq!(config.cluster_secret(), "x");
        let empty = [
            "--password=",
            "--cluster-secret= --password=",
            "--cluster-secret=x",
        ];
        for flags in empty {
            let error = self::config(&format!("--listen 0.0.0.0:1 {flags}")).unwrap_err();
            assert!(error.contains("without a password"), "{flags}: {error}");
        }
        let empty = with_file("password = 'x'\ncluster-secret = ''", "").unwrap();
        assert_eq!(empty.cluster_secret(), "x");
    }

    #[test]
    fn the_file_gives_defaults_and_flags_win() {
        let file = "shards = 128\nlisten = ['127.0.0.1:1', '127.0.0.1:2']\npassword = 'p'\n";
        let config = with_file(file, "--shards 256").unwrap();
        assert_eq!((config.shards, config.listen.len()), (256, 2));
        assert_eq!(config.password.as_deref(), Some("p"));
        let config = with_file(file, "--password-file DIR/secret").unwrap();
        assert_eq!(config.password.as_deref(), Some("from a file"));
        assert_eq!(config.cluster_secret(), "from a file");
        assert!(with_file("insecure = true\nlisten = '0.0.0.0:1'", "").is_ok());
    }

    #[test]
    fn mistakes_in_the_file_name_it() {
        for (text, expect) in [
            ("shards = 3", "it has to be a power of two"),
            ("sharks = 4", "FILE: there is no setting 'sharks'"),
            ("config = 'x'", "FILE: there is no setting 'config'"),
            ("a = 1\nb = = 2", "FILE: line 2: "),
        ] {
            let error = with_file(text, "").unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn help_and_version_are_no_mistakes() {
        for line in ["--help", "--version"] {
            let words = ["dht-node", line];
            assert!(Config::from_args(words).unwrap_err().is_answer(), "{line}");
        }
    }
}
