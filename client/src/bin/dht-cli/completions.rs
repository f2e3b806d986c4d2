//! The scripts by which shells complete: the options, the words that dht-cli understands with
//! theirs, and the commands of the table.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use dht_proto::commands::TABLE;

use crate::help::group_of;
use crate::{backup, bench, top, transfer};

/// The script for a shell, if it is known; all options of dht-cli itself are given.
pub fn script(shell: &str, options: &Command) -> Option<Vec<u8>> {
    let shell: Shell = shell.parse().ok()?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut everything(options), "dht-cli", &mut script);
    Some(match shell {
        Shell::Bash => in_bash(&String::from_utf8_lossy(&script)).into_bytes(),
        _ => script,
    })
}

/// What bash needs besides.
fn in_bash(script: &str) -> String {
    // The generator names the states below a program with a hyphen in one way where they are
    // entered, and in another where they are looked up.
    let script = script.replace("dht__subcmd__cli", "dht__cli");
    // Otherwise bash takes the group behind it for a word of its own.
    format!("COMP_WORDBREAKS=${{COMP_WORDBREAKS//@}}\n{script}")
}

/// All that may be said to dht-cli, as if each word were a command of it.
fn everything(options: &Command) -> Command {
    let own = [
        named("import", &transfer::Options::command()),
        named("export", &transfer::Options::command()),
        named("backup", &backup::Options::command()),
        named("restore", &backup::restore::Options::command()),
        named("top", &top::Options::command()),
        named("bench", &bench::Options::command()),
        bare("man"),
        bare("completions").arg(one_of("SHELL", ["bash", "zsh", "fish", "elvish"])),
        bare("help").arg(one_of("TOPIC", topics())),
    ];
    let is_own = |name: &str| own.iter().any(|command| command.get_name() == name);
    let table = words();
    let table = table.iter().filter(|(name, _)| !is_own(name.as_str()));
    let table: Vec<Command> = table.map(|(name, subwords)| with(name, subwords)).collect();
    named("dht-cli", options)
        .subcommands(own)
        .subcommands(table)
}

/// The process ends when the script is written, so that names may stay for ever.
fn bare(name: &str) -> Command {
    Command::new(&*name.to_owned().leak())
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
}

/// A command with the options of another; files are completed by the shell.
fn named(name: &str, command: &Command) -> Command {
    let options = command.get_arguments().filter(|arg| !arg.is_positional());
    bare(name)
        .version(env!("CARGO_PKG_VERSION"))
        .args(options.cloned())
}

fn one_of(name: &'static str, values: impl IntoIterator<Item = impl Into<String>>) -> Arg {
    let values = values.into_iter().map(|value| &*String::leak(value.into()));
    let values: Vec<&'static str> = values.collect();
    Arg::new(name).value_parser(clap::builder::PossibleValuesParser::new(values))
}

/// A command of the table, with the second words that it may have.
fn with(name: &str, subwords: &BTreeSet<String>) -> Command {
    let mut command = bare(name);
    for subword in subwords {
        let mut next = bare(subword);
        if (name, &**subword) == ("cluster", "status") {
            next = next.arg(Arg::new("watch").long("watch").num_args(0));
        }
        command = command.subcommand(next);
    }
    command
}

/// The first words of all commands, and the second words of each.
fn words() -> BTreeMap<String, BTreeSet<String>> {
    let mut words: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let names = TABLE.iter().map(|spec| spec.name);
    for name in names.chain(["CLUSTER STATUS"]) {
        let name = name.to_ascii_lowercase();
        let (first, second) = name.split_once(' ').unwrap_or((&name, ""));
        let seconds = words.entry(first.to_owned()).or_default();
        seconds.extend((!second.is_empty()).then(|| second.to_owned()));
    }
    words
}

fn topics() -> BTreeSet<String> {
    let groups = TABLE.iter().map(|spec| format!("@{}", group_of(spec)));
    words().into_keys().chain(groups).collect()
}
