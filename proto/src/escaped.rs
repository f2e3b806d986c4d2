//! Bytes in texts: an error repeats what a client has sent byte by byte, which need not be UTF-8.
//!
//! In a text, a byte that is part of no character stands as the character U+10FF00 plus the byte.
//! So do the bytes of those characters themselves: the way back always gives the same bytes.

use std::borrow::Cow;

/// The character that stands for byte 0.
const BASE: u32 = 0x10_FF00;
/// The first byte that can be part of no character.
const FIRST: u32 = 0x80;

/// The text that stands for some bytes.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_escape(c) {
                text.extend(c.encode_utf8(&mut [0; 4]).bytes().filter_map(escaped));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().filter_map(escaped));
    }
    text
}

/// The bytes for which a text stands.
#[must_use]
pub fn unescape(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(is_escape) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        if is_escape(c) {
            bytes.push(u32::from(c) as u8);
        } else {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
    }
    Cow::Owned(bytes)
}

fn escaped(byte: u8) -> Option<char> {
    char::from_u32(BASE + u32::from(byte))
}

fn is_escape(c: char) -> bool {
    u32::from(c) >= BASE + FIRST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_come_back_and_text_stays_as_it_is() {
        for text in ["", "plain", "größer \u{1F600}"] {
            assert_eq!(escape(text.as_bytes()), text);
        }
        let all: Vec<u8> = (0..=255).collect();
        let own = "\u{10FF7F}\u{10FF80}\u{10FFFF}".as_bytes();
        for bytes in [&all[..], b"\xe9t\xe9", b"\xc3", b"\xed\xa0\x80", own] {
            assert_eq!(unescape(&escape(bytes)), bytes, "{bytes:?}");
        }
        assert_eq!(escape(b"a\xff"), "a\u{10FFFF}");
    }
}
