//! Counts replies without building them.

use dht_proto::Malformed;

/// Finds the ends of replies in bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes still to come of the text that has begun, its line end included.
    text: usize,
    /// Values still to come of the reply that has begun.
    open: u64,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Replies that ended.
    pub replies: u64,
    /// Bytes that need not be seen again; behind them is part of a line.
    pub bytes: usize,
}

/// What a line begins.
enum Head {
    /// A value that ends with the line.
    Line,
    /// A text of so many bytes.
    Text(usize),
    /// So many values.
    Values(u64),
}

impl Scanner {
    /// Goes on in `input`, which begins where the last call ended; hands over each reply that is an
    /// error, without its sign.
    ///
    /// # Errors
    /// These bytes are no replies.
    pub fn scan(&mut self, input: &[u8], mut error: impl FnMut(&[u8])) -> Result<Found, Malformed> {
        let mut found = Found::default();
        while found.bytes < input.len() {
            let rest = &input[found.bytes..];
            if self.text > 0 {
                let length = self.text.min(rest.len());
                self.text -= length;
                found.bytes += length;
                if self.text == 0 {
                    found.replies += self.value(0);
                }
                continue;
            }
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                break;
            };
            found.bytes += length + 1;
            let line = rest[..length]
                .strip_suffix(b"\r")
                .unwrap_or(&rest[..length]);
            if self.open == 0 && line.first() == Some(&b'-') {
                error(&line[1..]);
            }
            match head(line)? {
                Head::Line => found.replies += self.value(0),
                Head::Values(inside) => found.replies += self.value(inside),
                Head::Text(length) => self.text = length + 2,
            }
        }
        Ok(found)
    }

    /// A value is there, but for the values inside it; gives the number of replies that ended.
    fn value(&mut self, inside: u64) -> u64 {
        self.open = (self.open.max(1) - 1).saturating_add(inside);
        u64::from(self.open == 0)
    }
}

fn head(line: &[u8]) -> Result<Head, Malformed> {
    match line.split_first() {
        Some((b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(', _)) => Ok(Head::Line),
        Some((b'$' | b'=' | b'!', length)) => Ok(length_of(length)?.map_or(Head::Line, Head::Text)),
        Some((b'*' | b'~', length)) => {
            Ok(length_of(length)?.map_or(Head::Line, |length| Head::Values(length as u64)))
        }
        Some((b'%', pairs)) => {
            let inside = |pairs| Head::Values((pairs as u64).saturating_mul(2));
            Ok(length_of(pairs)?.map_or(Head::Line, inside))
        }
        _ => Err(Malformed("no reply begins like this")),
    }
}

/// A length; nothing where it is -1, which stands for no value.
fn length_of(digits: &[u8]) -> Result<Option<usize>, Malformed> {
    if digits == b"-1" {
        return Ok(None);
    }
    let text = str::from_utf8(digits).ok();
    let length = text.and_then(|text| text.parse::<u32>().ok());
    let length = length.ok_or(Malformed("a length is no number"))?;
    Ok(Some(length as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The replies and the errors in these bytes, which come in pieces of `piece` bytes.
    fn scan(bytes: &str, piece: usize) -> Result<(u64, Vec<String>), Malformed> {
        let (mut scanner, mut replies, mut errors) = (Scanner::default(), 0, Vec::new());
        let mut input = Vec::new();
        for part in bytes.as_bytes().chunks(piece) {
            input.extend_from_slice(part);
            let found = scanner.scan(&input, |error| {
                errors.push(String::from_utf8_lossy(error).into_owned());
            })?;
            input.drain(..found.bytes);
            replies += found.replies;
        }
        assert!(input.is_empty(), "{input:?} is left of {bytes:?}");
        Ok((replies, errors))
    }

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        let check = |bytes: &str, replies: u64, errors: &[&str]| {
            for piece in 1..=bytes.len() {
                let found = scan(bytes, piece).unwrap();
                let errors = errors.iter().map(|error| (*error).to_owned()).collect();
                assert_eq!(found, (replies, errors), "{bytes:?} in pieces of {piece}");
            }
        };
        check(":1\r\n+OK\r\n:-3\r\n", 3, &[]);
        check("$5\r\nAl\r\ne\r\n$0\r\n\r\n$-1\r\n", 3, &[]);
        check("*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n*-1\r\n+OK\r\n", 3, &[]);
        check(
            "-ERR no\r\n*1\r\n-EXEC inside\r\n-MOVED 1 a:1\r\n",
            3,
            &["ERR no", "MOVED 1 a:1"],
        );
        check("%1\r\n+a\r\n~1\r\n#t\r\n_\r\n,1.5\r\n=3\r\ntxt\r\n", 4, &[]);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            "$x\r\n",
            "*-2\r\n",
            "$5000000000\r\n",
        ] {
            assert!(scan(bytes, bytes.len()).is_err(), "{bytes:?}");
        }
    }
}
