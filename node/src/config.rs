//! What a node is started with: flags, `DHT_…` variables and one TOML file, in that precedence.
//!
//! A setting is declared once, as a flag. The file has the same names; its values take the place of
//! the defaults. It does not know what the settings are used for.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::{fmt, fs, thread};

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};
use dht_proto::limits;
use dht_proto::slot::SLOTS;

/// How far the redirecting port lies above the client port.
const REDIRECT_OFFSET: u16 = 1000;

/// A node of dht, a distributed hash table that speaks the Redis protocol.
///
/// Started without --join it is a table of its own. Nodes started with one --join list form a
/// cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "dht-node", version)]
pub struct Config {
    /// Where clients are served; may be given several times.
    #[arg(
        long,
        env = "DHT_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7400"
    )]
    #[arg(value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,

    /// Where cluster-aware clients are served and redirected [default: 1000 above the first
    /// --listen].
    #[arg(long, env = "DHT_CLUSTER_LISTEN", value_name = "ADDR")]
    pub cluster_listen: Option<SocketAddr>,

    /// Under which host and port others reach this node [default: the first --listen].
    #[arg(long, env = "DHT_ADVERTISE", value_name = "HOST:PORT", value_parser = host_port)]
    pub advertise: Option<String>,

    /// The addresses of all nodes of the cluster, this one's too; the same on each of them.
    #[arg(long, env = "DHT_JOIN", value_name = "HOST:PORT", value_parser = host_port)]
    #[arg(value_delimiter = ',')]
    pub join: Vec<String>,

    /// Into how many parts the slots are divided: a power of two, the same on every node.
    #[arg(long, env = "DHT_SHARDS", value_name = "N", default_value = "64", value_parser = shards)]
    pub shards: u32,

    /// How many copies of each shard a new cluster keeps: 1, 3 or 5.
    #[arg(
        long,
        env = "DHT_REPLICAS",
        value_name = "N",
        default_value = "3",
        value_parser = replicas
    )]
    pub replicas: u32,

    /// What clients have to give to AUTH [default: nothing].
    #[arg(
        long,
        env = "DHT_PASSWORD",
        value_name = "TEXT",
        hide_env_values = true
    )]
    pub password: Option<String>,

    /// A file that holds the password.
    #[arg(long, env = "DHT_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// What nodes prove to each other that they know [default: the password].
    #[arg(
        long,
        env = "DHT_CLUSTER_SECRET",
        value_name = "TEXT",
        hide_env_values = true
    )]
    cluster_secret: Option<String>,

    /// A file that holds the cluster's secret.
    #[arg(long, env = "DHT_CLUSTER_SECRET_FILE", value_name = "FILE")]
    cluster_secret_file: Option<PathBuf>,

    /// Serve the network without a password.
    #[arg(long, env = "DHT_INSECURE")]
    insecure: bool,

    /// How many clients may be connected at a time.
    #[arg(long, env = "DHT_MAX_CLIENTS", value_name = "N", default_value_t = limits::CONNECTIONS)]
    pub max_clients: usize,

    /// Threads that serve connections [default: half of the cores].
    #[arg(long, env = "DHT_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// The form of log lines.
    #[arg(
        long,
        env = "DHT_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or filters such as dht_node::shell=debug.
    #[arg(long, env = "DHT_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: String,

    /// A TOML file with settings under the names of these flags.
    #[arg(long, env = "DHT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

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

    /// What nodes prove to each other that they know; empty when nothing was set.
    #[must_use]
    pub fn cluster_secret(&self) -> &str {
        let secret = self.cluster_secret.as_deref();
        secret.or(self.password.as_deref()).unwrap_or_default()
    }

    /// Where cluster-aware clients are served; at any free port when the client port is one.
    #[must_use]
    pub fn redirect_listen(&self) -> SocketAddr {
        let above = |first: &SocketAddr| {
            let port = match first.port() {
                0 => 0,
                port => port.saturating_add(REDIRECT_OFFSET),
            };
            SocketAddr::new(first.ip(), port)
        };
        let default = self.listen.first().map(above);
        self.cluster_listen
            .or(default)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// How many threads serve connections. The fewer there are, the more requests each finds when
    /// it wakes, and the less of its time goes into waking; and the kernel's part of the work, and
    /// whatever else runs here, need cores too.
    #[must_use]
    pub fn threads(&self) -> usize {
        let half = || thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        self.threads.map_or_else(half, NonZeroUsize::get)
    }

    /// What is wrong though every setting by itself is right.
    fn mistake(&self) -> Option<String> {
        let first = self.listen.first();
        let no_room = |addr: &&SocketAddr| addr.port() > u16::MAX - REDIRECT_OFFSET;
        if let Some(addr) = first
            .filter(no_room)
            .filter(|_| self.cluster_listen.is_none())
        {
            return Some(format!(
                "there is no port {REDIRECT_OFFSET} above {addr}: name one with --cluster-listen"
            ));
        }
        let open = self.password.as_deref().unwrap_or_default().is_empty() && !self.insecure;
        let redirect = self.redirect_listen();
        let beyond = |addr: &&SocketAddr| !addr.ip().is_loopback();
        let exposed = self.listen.iter().chain([&redirect]).find(beyond);
        if let Some(addr) = exposed.filter(|_| open) {
            return Some(format!(
                "refusing to serve {addr} without a password: set --password, or --insecure if you \
                 mean it"
            ));
        }
        let anywhere = first.is_some_and(|addr| addr.ip().is_unspecified());
        let unreachable = anywhere && self.advertise.is_none() && !self.join.is_empty();
        unreachable.then(|| {
            "say with --advertise under which address the other nodes reach this one".to_owned()
        })
    }
}

/// Why there is no [`Config`].
#[derive(Debug)]
pub enum ConfigError {
    /// The command line or the environment; or help was asked for.
    Usage(clap::Error),
    /// Anything else: the sentence.
    Wrong(String),
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl ConfigError {
    /// Whether it is the help or the version that was asked for, rather than a mistake.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        let kinds = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
        matches!(self, Self::Usage(error) if kinds.contains(&error.kind()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) if self.is_answer() => write!(f, "{}", error.render()),
            Self::Usage(error) => {
                let text = error.render().to_string();
                let line = text.lines().next().unwrap_or_default();
                f.write_str(line.strip_prefix("error: ").unwrap_or(line))
            }
            Self::Wrong(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for ConfigError {}

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

/// A secret, from its text or from its file, whichever was said with more emphasis.
fn secret(matches: &ArgMatches, name: &str) -> Result<Option<String>, ConfigError> {
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

fn host_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("it has to be HOST:PORT".to_owned()),
    }
}

fn replicas(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        _ => Err("it has to be 1, 3 or 5".to_owned()),
    }
}

fn shards(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n) if n.is_power_of_two() && n <= u32::from(SLOTS) => Ok(n),
        _ => Err(format!("it has to be a power of two up to {SLOTS}")),
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
