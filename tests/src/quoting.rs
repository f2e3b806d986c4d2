//! Bytes as readable text: redis-cli's quoting, both ways. Knows nothing of commands or replies.

/// Writes bytes between double quotes; what is not printable ASCII as `\n`, `\r`, `\t` or `\xHH`.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::from('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

/// Reads a quoted string from the start of `text`; gives its bytes and what follows the closing
/// quote.
#[must_use]
pub fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut rest = text.strip_prefix('"')?.as_bytes();
    let mut bytes = Vec::new();
    loop {
        let (byte, taken) = match rest {
            [b'"', ..] => return Some((bytes, &text[text.len() - rest.len() + 1..])),
            [b'\\', b'x', high, low, ..] => (hex(*high)? << 4 | hex(*low)?, 4),
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', literal, ..] => (*literal, 2),
            [literal, ..] => (*literal, 1),
            [] => return None,
        };
        bytes.push(byte);
        rest = &rest[taken..];
    }
}

/// Splits a command line into words at blanks; a word that starts with a double quote is a quoted
/// string.
#[must_use]
pub fn split(line: &str) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, tail) = if rest.starts_with('"') {
            unquote(rest)?
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            (rest.as_bytes()[..end].to_vec(), &rest[end..])
        };
        words.push(word);
        rest = tail.trim_start();
    }
    Some(words)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_read_back() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let text = quote(&every_byte);
        assert!(text.is_ascii());
        assert_eq!(unquote(&format!("{text} x")), Some((every_byte, " x")));
        assert_eq!(unquote("\"open"), None);
        assert_eq!(unquote("\"\\xzz\""), None);
    }

    #[test]
    fn lines_are_split_at_blanks_outside_quotes() {
        let check = |line: &str, words: &[&str]| {
            let expect: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(split(line), Some(expect), "{line}");
        };
        check("", &[]);
        check(" GET  k ", &["GET", "k"]);
        check(r#"SET "a b" "" "\x41\n""#, &["SET", "a b", "", "A\n"]);
        check("KEYS a\"b", &["KEYS", "a\"b"]);
    }
}
