//! Bytes as readable text: redis-cli's quoting, both ways. Knows nothing of commands or replies.

pub use dht_proto::resp::quoted as quote;

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
            [b'\\', b'a', ..] => (0x07, 2),
            [b'\\', b'b', ..] => (0x08, 2),
            [b'\\', literal, ..] => (*literal, 2),
            [literal, ..] => (*literal, 1),
            [] => return None,
        };
        bytes.push(byte);
        rest = &rest[taken..];
    }
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
}
