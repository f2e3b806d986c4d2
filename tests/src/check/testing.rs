//! What the unit tests of the checkers share: histories as text.

use bytes::Bytes;
use dht_proto::{Reply, ReplyError};

use super::finals::Finals;
use super::history::{History, Op};

/// The words of a line.
pub fn words(line: &str) -> Vec<Bytes> {
    let words = line.split_whitespace();
    words
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

/// Reads a history, an operation a line, times in milliseconds:
///
/// ```text
/// 1  0..10  SET k a -> OK
/// 2  5..    INCR n                              unknown
/// 3  12..20 MULTI; GET k; INCR n; EXEC -> [a 1]
/// 4  12..20 k WATCHED; MULTI; GET k; EXEC -> nil
/// ```
pub fn history(text: &str) -> History {
    let mut history = History::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (client, rest) = line.split_once(' ').expect("a client");
        let (span, rest) = rest.trim().split_once(' ').expect("a span");
        let (from, to) = span.split_once("..").expect("two times");
        let (op, answer) = rest.split_once("->").unwrap_or((rest, ""));
        let call = history.call(client.parse().expect("a client"), parse_op(op), us(from));
        if !to.is_empty() {
            let (reply, rest) = parse_reply(answer.trim());
            assert!(rest.is_empty(), "{line}");
            history.reply(call, reply, us(to));
        }
    }
    history
}

fn us(ms: &str) -> u64 {
    ms.parse::<u64>().expect("a time") * 1000
}

/// Reads an operation as [`history`] has them.
pub fn parse_op(text: &str) -> Op {
    let (watch, text) = text.split_once("WATCHED;").unwrap_or(("", text));
    let text = text.trim();
    match text
        .strip_prefix("MULTI;")
        .and_then(|text| text.strip_suffix("; EXEC"))
    {
        None => Op::parse(&words(text)).expect("an operation"),
        Some(commands) => {
            let commands: Vec<_> = commands.split(';').map(words).collect();
            Op::transaction(&words(watch), &commands).expect("a transaction")
        }
    }
}

/// Reads a reply: `OK`, `nil`, `-ERR text` up to a comma, a number, a list in brackets, or a
/// word.
fn parse_reply(text: &str) -> (Reply, &str) {
    let is_error = |text: &&str| text.starts_with(char::is_alphabetic);
    if let Some(error) = text.strip_prefix('-').filter(is_error) {
        let end = error.find([',', ']']).unwrap_or(error.len());
        let (error, rest) = error.split_at(end);
        return (Reply::Error(ReplyError::Received(error.to_owned())), rest);
    }
    if let Some(mut rest) = text.strip_prefix('[') {
        let mut replies = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            if let Some(rest) = rest.strip_prefix(']') {
                return (Reply::Array(replies), rest);
            }
            let (reply, after) = parse_reply(rest);
            replies.push(reply);
            rest = after;
        }
    }
    let end = text.find([' ', ']']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let reply = match (word, word.parse()) {
        ("OK", _) => Reply::Ok,
        ("nil", _) => Reply::Nil,
        (_, Ok(number)) => Reply::Int(number),
        (word, _) => Reply::bulk(word.trim_matches('\'')),
    };
    (reply, rest)
}

/// Reads what was found at the end, `GET key -> reply` a line.
pub fn finals(text: &str) -> Finals {
    let mut finals = Finals::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (read, answer) = line.split_once("->").expect("a command and its answer");
        let (reply, _) = parse_reply(answer.trim());
        finals.add(&words(read), &reply).expect("a final read");
    }
    finals
}
