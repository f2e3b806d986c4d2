//! Help from the command table.

use std::fmt::Write;

use dht_proto::Spec;
use dht_proto::commands::TABLE;

/// What is said to `help` alone.
pub const GENERAL: &str = "\
Type any command, such as: hset user:1 name Alice age 25
      help <command>   what a command does, such as: help hset
      help @<group>    the commands of a group: @connection @server @generic @string @hash
                      @transaction @pubsub @service @cluster
      cluster status   a table of all nodes
      connect <host> <port>
      clear, quit, exit
Tab completes, the arrow keys walk through the history, Ctrl-C drops a line, Ctrl-D leaves.
";

/// Help on a topic: a command, all subcommands of one, or `@group`. Nothing when there is no such
/// topic.
pub fn help(topic: &str) -> Option<String> {
    let topic = topic.trim().to_ascii_uppercase();
    if topic.is_empty() {
        return Some(GENERAL.to_owned());
    }
    let mut text = String::new();
    for spec in TABLE.iter().filter(|spec| is_about(spec, &topic)) {
        describe(spec, &mut text);
    }
    (!text.is_empty()).then_some(text)
}

/// What is said where there is no such topic.
pub fn none(topic: &str) -> String {
    format!("there is no command or group '{topic}'\n")
}

/// The topic of a line that asks for help.
pub fn topic(words: &[Vec<u8>]) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let topic = String::from_utf8_lossy(&rest.join(&b' ')).to_ascii_lowercase();
    first.eq_ignore_ascii_case(b"help").then_some(topic)
}

fn is_about(spec: &Spec, topic: &str) -> bool {
    match topic.strip_prefix('@') {
        Some(group) => group.eq_ignore_ascii_case(&group_of(spec)),
        None => {
            let rest = spec.name.strip_prefix(topic);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        }
    }
}

/// Writing to a `String` cannot fail.
fn describe(spec: &Spec, text: &mut String) {
    let between = if spec.syntax.is_empty() { "" } else { " " };
    let _ = writeln!(text, "\n  {}{between}{}", spec.name, spec.syntax);
    let _ = writeln!(text, "  summary: {}", spec.summary);
    let _ = writeln!(text, "  complexity: {}", spec.complexity);
    let _ = writeln!(text, "  since: {}", spec.since);
    let _ = writeln!(text, "  group: {}", group_of(spec));
}

/// The group of a command, as `help @group` names it.
pub fn group_of(spec: &Spec) -> String {
    format!("{:?}", spec.family).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics() {
        let check = |topic: &str, has: &[&str], lacks: &[&str]| {
            let text = help(topic).unwrap();
            for line in has {
                assert!(text.contains(line), "{topic}: no '{line}' in {text}");
            }
            for line in lacks {
                assert!(!text.contains(line), "{topic}: '{line}' in {text}");
            }
        };
        check("", &["help @<group>"], &[]);
        check(
            "hget",
            &["\n  HGET key field\n", "group: hash"],
            &["HGETALL"],
        );
        check("@hash", &["\n  HSET ", "\n  HGETALL "], &["\n  GET "]);
        check(
            "client",
            &["\n  CLIENT ID\n", "\n  CLIENT SETNAME "],
            &["PING"],
        );
        check("Client SetName", &["connection-name"], &["CLIENT ID"]);
        assert_eq!(help("no-such"), None);
        assert_eq!(help("@no-such"), None);
    }

    #[test]
    fn every_group_is_named_in_the_general_help() {
        for spec in TABLE {
            assert!(
                GENERAL.contains(&format!("@{}", group_of(spec))),
                "{}",
                spec.name
            );
        }
    }
}
