//! RESP, the protocol of Redis: requests out of bytes, replies into bytes and, for clients, out of
//! them.
//!
//! Knows nothing of sockets or commands; what is read is bytes that have arrived, whatever their
//! number.

mod inline;
mod read;
mod request;
mod write;

pub use inline::{quoted, split_words};
pub use read::ReplyReader;
pub use request::{Decoded, RequestReader};
pub use write::{Version, encode, encode_request};

use memchr::memchr;

/// The bytes of a line that begins at `start`, without its end, and where the next begins. As in
/// Redis a line ends with a carriage return and any byte.
fn line(input: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let rest = input.get(start..)?;
    let length = memchr(b'\r', rest)?;
    (rest.len() > length + 1).then(|| (&rest[..length], start + length + 2))
}

/// A decimal integer in Redis's strict form: no plus, no leading zeros, no blanks.
fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => (!negative).then_some(0),
        [b'1'..=b'9', ..] => digits.iter().try_fold(0i64, |value, digit| {
            let digit = i64::from(digit.wrapping_sub(b'0'));
            let digit =
                (0..=9)
                    .contains(&digit)
                    .then_some(if negative { -digit } else { digit })?;
            value.checked_mul(10)?.checked_add(digit)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        let check = |text: &str, expect| assert_eq!(integer(text.as_bytes()), expect, "{text:?}");
        check("0", Some(0));
        check("17", Some(17));
        check("-17", Some(-17));
        check("9223372036854775807", Some(i64::MAX));
        check("-9223372036854775808", Some(i64::MIN));
        for wrong in [
            "",
            "-",
            "+1",
            "-0",
            "01",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "0x1",
        ] {
            check(wrong, None);
        }
    }
}
