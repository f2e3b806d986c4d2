//! Replies and requests into bytes.

use std::borrow::Cow;

use bytes::Bytes;

use crate::escaped::unescape;
use crate::parts::Shape;
use crate::{Reply, ReplyError, Sink};

/// The version of RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RESP2.
    V2,
    /// RESP3.
    V3,
}

/// Appends a reply.
pub fn encode(reply: &Reply, version: Version, out: &mut impl Sink) {
    match (reply, version) {
        (Reply::Ok, _) => out.put(b"+OK\r\n"),
        (Reply::Int(value), _) => header(b':', *value, out),
        (Reply::Bulk(bytes), _) | (Reply::Text(bytes), Version::V2) => shared_bulk(bytes, out),
        (Reply::Nil, Version::V2) => out.put(b"$-1\r\n"),
        (Reply::NilArray, Version::V2) => out.put(b"*-1\r\n"),
        (Reply::Nil | Reply::NilArray, Version::V3) => out.put(b"_\r\n"),
        (Reply::Array(items), _) | (Reply::Set(items), Version::V2) => {
            aggregate(b'*', items, version, out);
        }
        (Reply::Set(items), Version::V3) => aggregate(b'~', items, version, out),
        (Reply::Parts(parts), _) => {
            match (parts.shape(), version) {
                (Shape::Map, Version::V3) => header(b'%', parts.len() / 2, out),
                _ => header(b'*', parts.len(), out),
            }
            out.put_parts(
                parts,
                match version {
                    Version::V2 => |reply, out| encode(reply, Version::V2, out),
                    Version::V3 => |reply, out| encode(reply, Version::V3, out),
                },
            );
        }
        (Reply::Pushes(messages), _) => {
            let sign = if version == Version::V3 { b'>' } else { b'*' };
            let messages = messages.iter();
            messages.for_each(|message| aggregate(sign, message, version, out));
        }
        (Reply::Map(pairs), _) | (Reply::Pairs(pairs), Version::V2) => map(pairs, version, out),
        (Reply::Pairs(pairs), Version::V3) => {
            header(b'*', pairs.len(), out);
            for (first, second) in pairs {
                header(b'*', 2, out);
                encode(first, version, out);
                encode(second, version, out);
            }
        }
        (Reply::Status(text), _) => line(b'+', text, out),
        (Reply::Error(error), _) => encode_error(error, out),
        (Reply::Double(value), Version::V2) => bulk(double_text(*value).as_bytes(), out),
        (Reply::Double(value), Version::V3) => line(b',', &double_text(*value), out),
        (Reply::Bool(value), Version::V2) => header(b':', u8::from(*value), out),
        (Reply::Bool(value), Version::V3) => line(b'#', if *value { "t" } else { "f" }, out),
        (Reply::Text(bytes), Version::V3) => {
            header(b'=', bytes.len() + 4, out);
            out.put(b"txt:");
            out.put(bytes);
            out.put(b"\r\n");
        }
    }
}

/// Appends a request.
pub fn encode_request(argv: &[impl AsRef<[u8]>], out: &mut impl Sink) {
    header(b'*', argv.len(), out);
    argv.iter().for_each(|word| bulk(word.as_ref(), out));
}

fn encode_error(error: &ReplyError, out: &mut impl Sink) {
    let text = error.to_string();
    out.put(b"-");
    out.put(&unescape(&one_line(&text)));
    out.put(b"\r\n");
}

fn header(sign: u8, value: impl itoa::Integer, out: &mut impl Sink) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    // Put together first: growing the output is the dear part.
    let mut line = [0; 48];
    line[0] = sign;
    line[1..=digits.len()].copy_from_slice(digits);
    line[digits.len() + 1..digits.len() + 3].copy_from_slice(b"\r\n");
    out.put(&line[..digits.len() + 3]);
}

fn bulk(bytes: &[u8], out: &mut impl Sink) {
    header(b'$', bytes.len(), out);
    out.put(bytes);
    out.put(b"\r\n");
}

fn shared_bulk(bytes: &Bytes, out: &mut impl Sink) {
    header(b'$', bytes.len(), out);
    out.put_shared(bytes);
    out.put(b"\r\n");
}

fn line(sign: u8, text: &str, out: &mut impl Sink) {
    out.put(&[sign]);
    out.put(one_line(text).as_bytes());
    out.put(b"\r\n");
}

/// What would end the line early becomes a blank, or nothing at its end.
fn one_line(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.contains(['\r', '\n']) {
        Cow::Owned(text.replace(['\r', '\n'], " "))
    } else {
        Cow::Borrowed(text)
    }
}

fn aggregate(sign: u8, items: &[Reply], version: Version, out: &mut impl Sink) {
    header(sign, items.len(), out);
    items.iter().for_each(|item| encode(item, version, out));
}

fn map(pairs: &[(Reply, Reply)], version: Version, out: &mut impl Sink) {
    match version {
        Version::V2 => header(b'*', pairs.len() * 2, out),
        Version::V3 => header(b'%', pairs.len(), out),
    }
    for (key, value) in pairs {
        encode(key, version, out);
        encode(value, version, out);
    }
}

/// A double as C prints it with `%.17g`, but with no more digits than tell it from its neighbours.
fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..17 => value.to_string(),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use bytes::Bytes;

    use super::*;

    fn check(reply: &Reply, v2: &str, v3: &str) {
        for (version, expect) in [(Version::V2, v2), (Version::V3, v3)] {
            let mut out = BytesMut::new();
            encode(reply, version, &mut out);
            assert_eq!(
                String::from_utf8_lossy(&out),
                expect,
                "{reply:?} {version:?}"
            );
        }
    }

    fn same(reply: &Reply, expect: &str) {
        check(reply, expect, expect);
    }

    #[test]
    fn replies() {
        same(&Reply::Ok, "+OK\r\n");
        same(&Reply::Status("PONG".into()), "+PONG\r\n");
        same(&Reply::Int(i64::MIN), ":-9223372036854775808\r\n");
        same(&Reply::bulk("a\r\nb"), "$4\r\na\r\nb\r\n");
        same(&Reply::bulk(""), "$0\r\n\r\n");
        check(&Reply::Nil, "$-1\r\n", "_\r\n");
        check(&Reply::NilArray, "*-1\r\n", "_\r\n");
        same(
            &Reply::Array(vec![Reply::Int(1), Reply::bulk("x")]),
            "*2\r\n:1\r\n$1\r\nx\r\n",
        );
        check(
            &Reply::Pairs(vec![(Reply::Int(1), Reply::Nil)]),
            "*2\r\n:1\r\n$-1\r\n",
            "*1\r\n*2\r\n:1\r\n_\r\n",
        );
        check(
            &Reply::Set(vec![Reply::Int(1)]),
            "*1\r\n:1\r\n",
            "~1\r\n:1\r\n",
        );
        let map = Reply::Map(vec![(Reply::bulk("k"), Reply::Nil)]);
        check(&map, "*2\r\n$1\r\nk\r\n$-1\r\n", "%1\r\n$1\r\nk\r\n_\r\n");
        let pushes = Reply::Pushes(vec![
            vec![Reply::bulk("m"), Reply::Int(1)],
            vec![Reply::Nil],
        ]);
        let v3 = ">2\r\n$1\r\nm\r\n:1\r\n>1\r\n_\r\n";
        check(&pushes, "*2\r\n$1\r\nm\r\n:1\r\n*1\r\n$-1\r\n", v3);
        check(&Reply::Bool(true), ":1\r\n", "#t\r\n");
        let text = Reply::Text(Bytes::from_static(b"a\nb"));
        check(&text, "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n");
        same(&Reply::Error(ReplyError::Syntax), "-ERR syntax error\r\n");
        let error = ReplyError::Other("two\r\nlines".into());
        same(&Reply::Error(error), "-ERR two  lines\r\n");
        let error = ReplyError::Other("option \r\n".into());
        same(&Reply::Error(error), "-ERR option \r\n");
    }

    #[test]
    fn doubles() {
        for (value, text) in [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            let v2 = format!("${}\r\n{text}\r\n", text.len());
            check(&Reply::Double(value), &v2, &format!(",{text}\r\n"));
        }
    }

    #[test]
    fn requests() {
        let mut out = BytesMut::new();
        encode_request(&["GET", "k"], &mut out);
        assert_eq!(out, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
