//! Replies as text: redis-cli's form for people, raw bytes for pipes, JSON for programs.

use std::borrow::Cow;
use std::fmt::Write;

use dht_proto::Reply;
use dht_proto::resp::quoted;
use serde::{Serialize, Serializer};

/// How replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As redis-cli writes on a terminal, RESP2: types are shown, strings quoted, lists numbered.
    Human,
    /// Only the data, an element a line.
    Raw,
    /// The same with something else between the elements.
    Delimited(&'static str),
    /// Comma-separated values on one line; text in quotes, `NULL` for nothing.
    Csv,
    /// One JSON value. Bytes that are no UTF-8 are written as in [`quoted`].
    Json,
}

/// A reply as text, with the newline that ends it.
pub fn shown(reply: &Reply, form: Form) -> Vec<u8> {
    match form {
        Form::Human => {
            let mut out = String::new();
            human(reply, "", &mut out);
            out.into_bytes()
        }
        Form::Raw => shown(reply, Form::Delimited("\n")),
        Form::Delimited(delimiter) => {
            let mut out = Vec::new();
            raw(reply, delimiter, &mut out);
            out.push(b'\n');
            out
        }
        Form::Csv => {
            let mut out = String::new();
            csv(reply, &mut out);
            out.push('\n');
            out.into_bytes()
        }
        Form::Json => {
            // Text, numbers and maps whose names are text can always be written to memory.
            let mut out = serde_json::to_vec(&Json(reply)).unwrap_or_default();
            out.push(b'\n');
            out
        }
    }
}

/// Writes a reply whose further lines begin with `indent`. Writing to a `String` cannot fail.
fn human(reply: &Reply, indent: &str, out: &mut String) {
    let _ = match reply {
        Reply::Ok => writeln!(out, "OK"),
        Reply::Status(text) => write_text(out, text),
        Reply::Text(text) => write_text(out, &String::from_utf8_lossy(text)),
        Reply::Int(n) => writeln!(out, "(integer) {n}"),
        Reply::Bool(yes) => writeln!(out, "(integer) {}", i32::from(*yes)),
        Reply::Bulk(bytes) => writeln!(out, "{}", quoted(bytes)),
        Reply::Double(number) => writeln!(out, "\"{number}\""),
        Reply::Nil | Reply::NilArray => writeln!(out, "(nil)"),
        Reply::Error(error) => {
            let text = error.to_bytes();
            writeln!(out, "(error) {}", String::from_utf8_lossy(&text))
        }
        Reply::Array(items) | Reply::Set(items) => {
            human_list(items.iter(), indent, out);
            Ok(())
        }
        Reply::Parts(parts) => {
            human(&parts.made(), indent, out);
            Ok(())
        }
        Reply::Pushes(messages) => {
            let messages = messages.iter();
            messages.for_each(|message| human_list(message.iter(), indent, out));
            Ok(())
        }
        Reply::Map(pairs) | Reply::Pairs(pairs) => {
            human_list(
                pairs.iter().flat_map(|(key, value)| [key, value]),
                indent,
                out,
            );
            Ok(())
        }
    };
}

/// A status is a line; a text of several lines ends with its own newline.
fn write_text(out: &mut String, text: &str) -> std::fmt::Result {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}")
}

fn human_list<'a>(items: impl Iterator<Item = &'a Reply> + Clone, indent: &str, out: &mut String) {
    let count = items.clone().count();
    if count == 0 {
        out.push_str("(empty array)\n");
        return;
    }
    let width = count.to_string().len();
    let inner = format!("{indent}{}", " ".repeat(width + 2));
    for (index, item) in items.enumerate() {
        let before = if index == 0 { "" } else { indent };
        let _ = write!(out, "{before}{:>width$}) ", index + 1);
        human(item, &inner, out);
    }
}

/// Writing to a `String` cannot fail.
fn csv(reply: &Reply, out: &mut String) {
    let _ = match reply {
        Reply::Ok => write!(out, "\"OK\""),
        Reply::Status(text) => write!(out, "{}", quoted(text.as_bytes())),
        Reply::Bulk(bytes) | Reply::Text(bytes) => write!(out, "{}", quoted(bytes)),
        Reply::Int(n) => write!(out, "{n}"),
        Reply::Bool(yes) => write!(out, "{yes}"),
        Reply::Double(number) => write!(out, "{number}"),
        Reply::Nil | Reply::NilArray => write!(out, "NULL"),
        Reply::Error(error) => write!(out, "ERROR,{}", quoted(&error.to_bytes())),
        Reply::Array(items) | Reply::Set(items) => {
            csv_list(items.iter(), out);
            Ok(())
        }
        Reply::Parts(parts) => {
            csv(&parts.made(), out);
            Ok(())
        }
        Reply::Map(pairs) | Reply::Pairs(pairs) => {
            csv_list(pairs.iter().flat_map(|(key, value)| [key, value]), out);
            Ok(())
        }
        Reply::Pushes(messages) => {
            csv_list(messages.iter().flatten(), out);
            Ok(())
        }
    };
}

fn csv_list<'a>(items: impl Iterator<Item = &'a Reply>, out: &mut String) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        csv(item, out);
    }
}

fn raw(reply: &Reply, delimiter: &str, out: &mut Vec<u8>) {
    match reply {
        Reply::Ok => out.extend(b"OK"),
        Reply::Status(text) => out.extend(text.as_bytes()),
        Reply::Bulk(bytes) | Reply::Text(bytes) => out.extend(bytes),
        Reply::Int(n) => out.extend(n.to_string().as_bytes()),
        Reply::Bool(yes) => out.push(b'0' + u8::from(*yes)),
        Reply::Double(number) => out.extend(number.to_string().as_bytes()),
        Reply::Nil | Reply::NilArray => {}
        Reply::Error(error) => out.extend(error.to_bytes()),
        Reply::Array(items) | Reply::Set(items) => raw_list(items.iter(), delimiter, out),
        Reply::Parts(parts) => raw(&parts.made(), delimiter, out),
        Reply::Pushes(messages) => raw_list(messages.iter().flatten(), delimiter, out),
        Reply::Map(pairs) | Reply::Pairs(pairs) => {
            let items = pairs.iter().flat_map(|(key, value)| [key, value]);
            raw_list(items, delimiter, out);
        }
    }
}

fn raw_list<'a>(items: impl Iterator<Item = &'a Reply>, delimiter: &str, out: &mut Vec<u8>) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.extend(delimiter.as_bytes());
        }
        raw(item, delimiter, out);
    }
}

/// A reply as JSON, the members of a map in its order.
struct Json<'a>(&'a Reply);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Reply::Ok => to.serialize_str("OK"),
            Reply::Status(text) => to.serialize_str(text),
            Reply::Bulk(bytes) | Reply::Text(bytes) => to.serialize_str(&json_text(bytes)),
            Reply::Int(n) => to.serialize_i64(*n),
            Reply::Bool(yes) => to.serialize_bool(*yes),
            // JSON has no infinities; their text stands for them.
            Reply::Double(number) if number.is_finite() => to.serialize_f64(*number),
            Reply::Double(number) => to.collect_str(number),
            Reply::Nil | Reply::NilArray => to.serialize_unit(),
            Reply::Error(error) => {
                to.collect_map([("error", String::from_utf8_lossy(&error.to_bytes()))])
            }
            Reply::Array(items) | Reply::Set(items) => to.collect_seq(items.iter().map(Json)),
            Reply::Parts(parts) => Json(&parts.made()).serialize(to),
            Reply::Pushes(messages) => {
                let message = |items: &Vec<Reply>| Reply::Array(items.clone());
                let messages: Vec<Reply> = messages.iter().map(message).collect();
                to.collect_seq(messages.iter().map(Json))
            }
            Reply::Pairs(pairs) => {
                let pair = |(first, second)| [Json(first), Json(second)];
                to.collect_seq(pairs.iter().map(|(first, second)| pair((first, second))))
            }
            Reply::Map(pairs) => to.collect_map(
                pairs
                    .iter()
                    .map(|(key, value)| (json_name(key), Json(value))),
            ),
        }
    }
}

/// Names in a JSON object are text, whatever they are in the reply.
fn json_name(key: &Reply) -> String {
    match key {
        Reply::Bulk(bytes) => json_text(bytes).into_owned(),
        other => String::from_utf8_lossy(&shown(other, Form::Raw))
            .trim_end()
            .to_owned(),
    }
}

fn json_text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| quoted(bytes).into(), Cow::from)
}

#[cfg(test)]
mod tests {
    use dht_proto::ReplyError;

    use super::*;

    #[test]
    fn every_form_of_every_reply() {
        let check = |reply: Reply, human: &str, raw: &str, json: &str| {
            for (form, expect) in [(Form::Human, human), (Form::Raw, raw), (Form::Json, json)] {
                let text = String::from_utf8(shown(&reply, form)).unwrap();
                assert_eq!(text, format!("{expect}\n"), "{reply:?} as {form:?}");
            }
        };
        let alice = || [Reply::bulk("name"), Reply::bulk("Alice")];
        check(Reply::Ok, "OK", "OK", "\"OK\"");
        check(Reply::Status("PONG".into()), "PONG", "PONG", "\"PONG\"");
        check(Reply::Int(-1), "(integer) -1", "-1", "-1");
        check(Reply::bulk("a\"b"), r#""a\"b""#, "a\"b", r#""a\"b""#);
        check(
            Reply::bulk("\n\x07\u{e4}"),
            r#""\n\a\xc3\xa4""#,
            "\n\x07\u{e4}",
            "\"\\n\\u0007\u{e4}\"",
        );
        check(Reply::Nil, "(nil)", "", "null");
        check(Reply::Double(3.5), "\"3.5\"", "3.5", "3.5");
        check(Reply::Double(f64::INFINITY), "\"inf\"", "inf", "\"inf\"");
        check(Reply::Bool(true), "(integer) 1", "1", "true");
        check(Reply::Array(vec![]), "(empty array)", "", "[]");
        check(Reply::Map(vec![]), "(empty array)", "", "{}");
        check(
            Reply::Error(ReplyError::Syntax),
            "(error) ERR syntax error",
            "ERR syntax error",
            r#"{"error":"ERR syntax error"}"#,
        );
        let [name, value] = alice();
        check(
            Reply::Map(vec![(name, value)]),
            "1) \"name\"\n2) \"Alice\"",
            "name\nAlice",
            r#"{"name":"Alice"}"#,
        );
        check(
            Reply::Array(vec![
                Reply::bulk("0"),
                Reply::Array(alice().into()),
                Reply::Nil,
            ]),
            "1) \"0\"\n2) 1) \"name\"\n   2) \"Alice\"\n3) (nil)",
            "0\nname\nAlice\n",
            r#"["0",["name","Alice"],null]"#,
        );
        let map = Reply::Map(vec![
            (Reply::Int(2), Reply::Nil),
            (Reply::Int(1), Reply::Ok),
        ]);
        let human = "1) (integer) 2\n2) (nil)\n3) (integer) 1\n4) OK";
        check(map, human, "2\n\n1\nOK", r#"{"2":null,"1":"OK"}"#);
    }

    #[test]
    fn values_separated_by_commas() {
        let check = |reply: Reply, expect: &str| {
            let text = String::from_utf8(shown(&reply, Form::Csv)).unwrap();
            assert_eq!(text, format!("{expect}\n"), "{reply:?}");
        };
        check(Reply::Ok, "\"OK\"");
        check(Reply::Int(3), "3");
        check(
            Reply::Error(ReplyError::Syntax),
            "ERROR,\"ERR syntax error\"",
        );
        let page = vec![Reply::bulk("a\"b"), Reply::Nil];
        let nested = Reply::Array(vec![Reply::Int(0), Reply::Array(page)]);
        check(nested, "0,\"a\\\"b\",NULL");
        check(
            Reply::Map(vec![(Reply::bulk("k"), Reply::Double(0.5))]),
            "\"k\",0.5",
        );
    }

    #[test]
    fn numbers_of_a_long_list_are_aligned() {
        let list = Reply::Array(vec![Reply::Array(vec![Reply::Nil; 2]); 10]);
        let text = String::from_utf8(shown(&list, Form::Human)).unwrap();
        assert!(
            text.starts_with(" 1) 1) (nil)\n    2) (nil)\n 2) 1)"),
            "{text}"
        );
        assert!(text.ends_with("10) 1) (nil)\n    2) (nil)\n"), "{text}");
    }

    #[test]
    fn text_of_several_lines_is_shown_as_it_is() {
        let info = Reply::Status("# Server\r\nx:1\r\n".into());
        assert_eq!(shown(&info, Form::Human), b"# Server\r\nx:1\r\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_quoted_in_json() {
        let reply = Reply::bulk([0xff, b'a']);
        assert_eq!(shown(&reply, Form::Json), b"\"\\\"\\\\xffa\\\"\"\n");
    }
}
