//! Words in a line, as a person types and reads them.

/// Splits a line into words at blanks. A word in double quotes may hold `\n \r \t \b \a \xHH` and
/// any other character after a backslash; one in single quotes only `\'`. A closing quote ends its
/// word.
///
/// Nothing when a quote stays open or is not followed by a blank.
#[must_use]
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(word);
        rest = trim_start(rest);
    }
    Some(words)
}

/// Bytes in quotes, those that do not print escaped, as redis-cli shows them and [`split_words`]
/// reads them.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend(['\\', char::from(*byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// C's `isspace`, which counts the vertical tab as well.
const fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}

fn trim_start(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_blank(**byte)).count();
    &line[blanks..]
}

/// Takes one word off the line; a quote may also open inside a word.
fn take_word<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match line {
            [] => return Some(line),
            [b'"', rest @ ..] => return end_of_quoted(take_double_quoted(rest, word)?),
            [b'\'', rest @ ..] => return end_of_quoted(take_single_quoted(rest, word)?),
            // Redis ends an unquoted word at a zero byte too, and then the line.
            [byte, ..] if is_blank(*byte) => return Some(line),
            [byte, rest @ ..] => {
                word.push(*byte);
                line = rest;
            }
        }
    }
}

fn end_of_quoted(rest: &[u8]) -> Option<&[u8]> {
    rest.first()
        .is_none_or(|byte| is_blank(*byte))
        .then_some(rest)
}

fn take_double_quoted<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        line = match line {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'x', high, low, rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest
            }
            [b'\\', escaped, rest @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest
            }
            [byte, rest @ ..] => {
                word.push(*byte);
                rest
            }
            [] => return None,
        };
    }
}

fn take_single_quoted<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        line = match line {
            [b'\'', rest @ ..] => return Some(rest),
            [b'\\', b'\'', rest @ ..] => {
                word.push(b'\'');
                rest
            }
            [byte, rest @ ..] => {
                word.push(*byte);
                rest
            }
            [] => return None,
        };
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<&[&[u8]]>) {
        let words = split_words(line.as_bytes());
        let words: Option<Vec<&[u8]>> = words
            .as_ref()
            .map(|words| words.iter().map(Vec::as_slice).collect());
        assert_eq!(words.as_deref(), expect, "{line:?}");
    }

    #[test]
    fn words_and_quotes() {
        check("", Some(&[]));
        check(" \t ", Some(&[]));
        check("set  k\tv ", Some(&[b"set", b"k", b"v"]));
        check(r#"a "b c" 'd e'"#, Some(&[b"a", b"b c", b"d e"]));
        check(
            r#""\x00\xfF\n\r\t\b\a\"\\\q""#,
            Some(&[b"\x00\xff\n\r\t\x08\x07\"\\q"]),
        );
        check(r#""\xzz" '\n\''"#, Some(&[b"xzz", b"\\n'"]));
        check(r#"pre"quoted""#, Some(&[b"prequoted"]));
        check(r#""" ''"#, Some(&[b"", b""]));
        check(r#"say "hi"there"#, None);
        check(r#""open"#, None);
        check("'open", None);
        check(r#""ends with \"#, None);
    }

    #[test]
    fn what_is_quoted_can_be_typed() {
        let all: Vec<u8> = (0..=255).collect();
        let line = quoted(&all);
        assert!(
            line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{line}"
        );
        assert_eq!(split_words(line.as_bytes()), Some(vec![all]));
        assert_eq!(quoted(b""), "\"\"");
    }
}
