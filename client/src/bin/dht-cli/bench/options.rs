//! The command line of `dht-cli bench`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

use crate::args::Place;

/// What is measured unless another command is given.
const COMMAND: [&str; 6] = ["HSET", "hash:__rand_int__", "name", "Alice", "age", "25"];

/// Numbers have twelve digits.
const MOST_KEYS: u64 = 1_000_000_000_000;

/// Puts load on a server or cluster that speaks Redis's protocol, and measures it.
#[derive(Parser, Clone, Debug, PartialEq, Eq)]
#[command(
    name = "dht-cli bench",
    disable_help_flag = true,
    override_usage = "dht-cli bench [OPTIONS] [COMMAND [ARGUMENT ...]]",
    after_help = AFTER_HELP
)]
pub struct Options {
    #[command(flatten)]
    pub place: Place,
    /// Connections, spread over the leaders with --cluster
    #[arg(short = 'c', long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Requests that a connection sends at once
    #[arg(short = 'P', long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pipeline: u32,
    /// Requests of all connections together [default: 100000]
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "seconds",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub requests: Option<u64>,
    /// Time after which no further request is sent
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Each __rand_int__ becomes a number below this, in twelve digits
    #[arg(short = 'r', long, value_name = "N", default_value_t = 100_000,
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=MOST_KEYS))]
    pub keys: u64,
    /// Requests a second of all connections together, instead of as many as are answered
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub rate: Option<u64>,
    /// Ask CLUSTER SLOTS and send every request to the leader of its key
    #[arg(long)]
    pub cluster: bool,
    /// Send WAIT N 0 after each pipeline: its time counts, it is no request
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub wait: Option<u32>,
    /// Threads that generate the load
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub threads: u32,
    /// Give up when requests wait and nothing was answered for so long
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The command and its arguments [default: HSET hash:__rand_int__ name Alice age 25]
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    words: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Without --rate a connection sends a pipeline when the one before is answered (closed loop). With
--rate pipelines start at fixed times, and the latency of one that starts late, because the one
before was not answered yet, counts from when it should have started.

  dht-cli bench -P 16 --seconds 10
  dht-cli bench --cluster --rate 20000 hget hash:__rand_int__ name
  dht-cli bench -p 6379 --wait 1 --json set key:__rand_int__ value

Exit codes: 0 done, 1 there were error replies, 2 wrong usage, 3 no connection or no answer.";

impl Options {
    /// The words of the request.
    pub fn words(&self) -> Vec<Vec<u8>> {
        if self.words.is_empty() {
            return COMMAND.map(|word| word.as_bytes().to_vec()).into();
        }
        let words = self.words.iter().cloned();
        words.map(OsStringExt::into_vec).collect()
    }
}

/// Reads a number of seconds, which may have a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if !time.is_zero() && number < 1e9 => Ok(time),
        _ => Err("not a positive number of seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))
    }

    #[test]
    fn options_end_at_the_command() {
        let options = read("-c 3 -P 16 --seconds 0.5 set -c __rand_int__").unwrap();
        assert_eq!((options.connections, options.pipeline), (3, 16));
        assert_eq!(options.seconds, Some(Duration::from_millis(500)));
        assert_eq!(options.words(), [&b"set"[..], b"-c", b"__rand_int__"]);
        assert_eq!(read("").unwrap().words(), COMMAND.map(str::as_bytes));
    }

    #[test]
    fn wrong_usage_is_code_2_and_help_is_0() {
        for line in [
            "-c 0",
            "-P 0",
            "-P 10001",
            "-n 0",
            "-n x",
            "-n 1 --seconds 1",
            "-r 0",
            "-r 1000000000001",
            "--rate 0",
            "--wait 0",
            "--threads 0",
            "--seconds 0",
            "--seconds -1",
            "--seconds inf",
            "--timeout soon",
            "--no-such",
        ] {
            let error = read(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert_eq!(read("--help").unwrap_err().exit_code(), 0);
    }
}
