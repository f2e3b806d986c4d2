//! What helps while a line is being typed: completions, and the syntax that is still missing. Pure.

use dht_proto::commands::TABLE;
use dht_proto::spec::CommandId;
use dht_proto::syntax::{Argument, Schema, Shape};

use crate::help::group_of;

/// Words that the prompt itself understands.
const OWN: [&str; 6] = ["HELP", "QUIT", "EXIT", "CLEAR", "CONNECT", "CLUSTER STATUS"];

/// Where the last word of a line starts, and what may stand there instead of it, in the case in
/// which it is typed.
pub fn completions(line: &str) -> (usize, Vec<String>) {
    let start = line.rfind(' ').map_or(0, |blank| blank + 1);
    let (before, typed) = line.split_at(start);
    let words: Vec<String> = before
        .split_whitespace()
        .map(str::to_ascii_uppercase)
        .collect();
    let mut found = match words.as_slice() {
        [help, topic @ ..] if help == "HELP" => topics(&topic.join(" ")),
        words => {
            let found = [names(&words.join(" ")), options(words)].concat();
            found.into_iter().map(str::to_owned).collect()
        }
    };
    found.sort_unstable();
    found.dedup();
    let prefix = typed.to_ascii_uppercase();
    found.retain(|word| word.starts_with(&prefix));
    let lower = !typed.chars().any(|c| c.is_ascii_uppercase());
    let in_case = |word: &str| {
        if lower {
            word.to_ascii_lowercase()
        } else {
            word.to_owned()
        }
    };
    (start, found.iter().map(|word| in_case(word)).collect())
}

/// The next word of every name that begins with these.
fn names(before: &str) -> Vec<&'static str> {
    let all = TABLE.iter().map(|spec| spec.name).chain(OWN);
    let next = |name: &'static str| {
        let rest = name.strip_prefix(before)?;
        let rest = if before.is_empty() {
            rest
        } else {
            rest.strip_prefix(' ')?
        };
        rest.split(' ').next()
    };
    all.filter_map(next).collect()
}

fn topics(before: &str) -> Vec<String> {
    let mut topics: Vec<String> = names(before).into_iter().map(str::to_owned).collect();
    if before.is_empty() {
        let groups = TABLE.iter().map(group_of);
        topics.extend(groups.map(|group| format!("@{}", group.to_ascii_uppercase())));
    }
    topics
}

/// The options of a command that are not there yet, once all that it needs is.
fn options(words: &[String]) -> Vec<&'static str> {
    let Some(id) = command(words) else {
        return Vec::new();
    };
    if words.len() < id.schema().min {
        return Vec::new();
    }
    let mut tokens = id.schema().tokens();
    tokens.retain(|token| !words.iter().any(|word| word == token));
    tokens
}

/// The command that a line begins with, in upper case.
fn command(words: &[String]) -> Option<CommandId> {
    let named = |id: &CommandId| {
        let name: Vec<&str> = id.spec().name.split(' ').collect();
        words.len() >= name.len() && words.iter().zip(&name).all(|(word, name)| word == name)
    };
    CommandId::all().filter(named).max_by_key(|id| id.words())
}

/// The part of the syntax that is still to be typed, with the blank that it needs before it.
pub fn hint(line: &str) -> Option<String> {
    let words: Vec<String> = line
        .split_whitespace()
        .map(str::to_ascii_uppercase)
        .collect();
    let id = command(&words)?;
    let missing = missing(id.schema(), &words[id.words()..]);
    if missing.is_empty() {
        return None;
    }
    let between = if line.ends_with(' ') { "" } else { " " };
    Some(format!("{between}{missing}"))
}

fn missing(schema: &Schema, mut words: &[String]) -> String {
    if words.is_empty() {
        return joined(schema.arguments.iter().map(Argument::to_string));
    }
    // What is optional and precedes what is required is not known to be left out or typed.
    let start = schema
        .arguments
        .iter()
        .position(|argument| !argument.optional)
        .unwrap_or(0);
    let (mut left, required): (Vec<&Argument>, Vec<&Argument>) = schema.arguments[start..]
        .iter()
        .partition(|argument| argument.optional);
    let mut parts: Vec<String> = required
        .into_iter()
        .map(|argument| rest_of(argument, &mut words))
        .collect();
    while let Some(first) = words.first() {
        let found = left.iter().position(|option| begins_with(option, first));
        // A value without a token before it is known by its place only; a word that fits nowhere is
        // passed over.
        match found.or_else(|| {
            left.iter()
                .position(|option| token_of(&option.shape).is_none())
        }) {
            Some(index) => {
                let option = Argument {
                    optional: false,
                    ..left.remove(index).clone()
                };
                parts.push(rest_of(&option, &mut words));
            }
            None => words = &words[1..],
        }
    }
    parts.extend(left.into_iter().map(Argument::to_string));
    joined(parts.into_iter())
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Takes the words that belong to an argument; gives what is missing of it.
fn rest_of(argument: &Argument, words: &mut &[String]) -> String {
    let Some(first) = words.first() else {
        return argument.to_string();
    };
    if argument.repeated {
        return rest_of_repeated(argument, words);
    }
    match &argument.shape {
        Shape::Value(_) | Shape::Token(_) => {
            *words = &words[1..];
            String::new()
        }
        Shape::Block(parts) => joined(parts.iter().map(|part| rest_of(part, words))),
        Shape::Choice(choices) => {
            let chosen = choices.iter().find(|choice| begins_with(choice, first));
            chosen
                .or(choices.first())
                .map_or_else(String::new, |choice| rest_of(choice, words))
        }
    }
}

/// All words that are left belong to it: its last round may be incomplete, and another may follow.
fn rest_of_repeated(argument: &Argument, words: &mut &[String]) -> String {
    let parts: &[Argument] = match &argument.shape {
        Shape::Block(parts) => parts,
        _ => &[],
    };
    let typed = words.len() % parts.len().max(1);
    *words = &[];
    let mut rest: Vec<String> = match typed {
        0 => Vec::new(),
        typed => parts.iter().skip(typed).map(Argument::to_string).collect(),
    };
    rest.push(format!("[{} ...]", argument.shape));
    rest.join(" ")
}

fn begins_with(argument: &Argument, word: &str) -> bool {
    match &argument.shape {
        Shape::Choice(choices) => choices.iter().any(|choice| begins_with(choice, word)),
        shape => token_of(shape) == Some(word),
    }
}

/// The token that an argument begins with.
fn token_of(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::Token(token) => Some(token),
        Shape::Value(_) => None,
        Shape::Block(parts) | Shape::Choice(parts) => {
            parts.first().and_then(|part| token_of(&part.shape))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_options_are_completed() {
        let check = |line: &str, start: usize, expect: &[&str]| {
            assert_eq!(
                completions(line),
                (start, expect.iter().map(|word| (*word).into()).collect()),
                "{line}"
            );
        };
        check("hset", 0, &["hset", "hsetex", "hsetnx"]);
        check("HSETN", 0, &["HSETNX"]);
        check("cli", 0, &["client"]);
        check("client se", 7, &["setinfo", "setname"]);
        let cluster = "session shards slot-stats slots snapshot status";
        let cluster: Vec<&str> = cluster.split(' ').collect();
        check("cluster s", 8, &cluster);
        check("set k v ex", 8, &["ex", "exat"]);
        check("set k v EX 5 N", 13, &["NX"]);
        check("set k v ex 5 ex", 13, &["exat"]);
        check("set ", 4, &[]);
        check("help hset", 5, &["hset", "hsetex", "hsetnx"]);
        check("help @h", 5, &["@hash"]);
        check("help @t", 5, &["@transaction"]);
        check("help client setn", 12, &["setname"]);
        check("no-such x", 8, &[]);
    }

    #[test]
    fn the_missing_syntax_is_shown() {
        let check = |line: &str, expect: &str| {
            assert_eq!(hint(line).as_deref().unwrap_or_default(), expect, "{line}");
        };
        check("hset", " key field value [field value ...]");
        check("hset ", "key field value [field value ...]");
        check("hset k f", " value [field value ...]");
        check("hset k f v", " [field value ...]");
        check("hset k f v g ", "value [field value ...]");
        check("get k", "");
        check("del a b ", "[key ...]");
        check(
            "set k v nx ",
            "[GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | KEEPTTL]",
        );
        check(
            "set k v ex ",
            "seconds [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | \
                 IFDNE ifdne-digest] [GET]",
        );
        check("expire k 5 gt", "");
        check("ping", " [message]");
        check("ping hello", "");
        check("hscan k 0 count ", "count [MATCH pattern] [NOVALUES]");
        check("client setname ", "connection-name");
        check(
            "client list id 1 ",
            "[client-id ...] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>]",
        );
        check("no-such", "");
        check("auth", " [username] password");
        check("auth x", "");
    }
}
