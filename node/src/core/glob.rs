//! Glob patterns as in KEYS, SCAN and CONFIG GET. Knows nothing of what it is matched against.

/// Whether `text` matches `pattern`: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a byte that stands
/// for itself. A class that is not closed ends with the pattern.
///
/// An empty text matches the empty pattern alone, and not even a star, as in Redis.
///
/// Takes at most `pattern.len() × text.len()` steps: only the last star seen can still be asked to
/// swallow more.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            if rest.is_empty() {
                return true;
            }
            last_star = Some((rest, text));
            pattern = rest;
            continue;
        }
        let Some((&byte, tail)) = text.split_first() else {
            return pattern.is_empty();
        };
        if let Some(rest) = match_one(pattern, byte) {
            (pattern, text) = (rest, tail);
        } else if let Some((after, [_, swallowed_to @ ..])) = last_star {
            (pattern, text) = (after, swallowed_to);
            last_star = Some((after, swallowed_to));
        } else {
            return false;
        }
    }
}

/// Likewise, for commands that list names: a star alone asks for all, the empty one too.
#[must_use]
pub fn lists(pattern: &[u8], name: &[u8]) -> bool {
    pattern == b"*" || matches(pattern, name)
}

/// The pattern behind its first element, if that element matches `byte`.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', b'^', class @ ..] => match_class(class, byte, false),
        [b'[', class @ ..] => match_class(class, byte, true),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// The pattern behind a class, if `byte` being in the class is `wanted`.
fn match_class(mut class: &[u8], byte: u8, wanted: bool) -> Option<&[u8]> {
    let mut found = false;
    loop {
        let (in_element, rest) = match class {
            [b'\\', literal, rest @ ..] => (*literal == byte, rest),
            [b']', rest @ ..] => return (found == wanted).then_some(rest),
            [] => return (found == wanted).then_some(class),
            [from, b'-', to, rest @ ..] => {
                let range = *from.min(to)..=*from.max(to);
                (range.contains(&byte), rest)
            }
            [literal, rest @ ..] => (*literal == byte, rest),
        };
        found |= in_element;
        class = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("", &[""], &["a"]),
            ("*", &["a", "abc"], &[""]),
            ("**", &["a"], &[""]),
            ("a*", &["a", "abc"], &["", "ba"]),
            ("*a", &["a", "baa", "aba"], &["", "ab"]),
            (
                "a*b*c",
                &["abc", "aXbXbXc", "abcbc"],
                &["ab", "acb", "abcd"],
            ),
            ("a**c", &["ac", "abc"], &["a"]),
            ("h?llo", &["hello", "h\u{1}llo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]),
            ("h[^e]llo", &["hallo", "h^llo"], &["hello", "hllo"]),
            ("[a-c]x", &["ax", "bx", "cx"], &["dx", "-x"]),
            ("[c-a]x", &["ax", "bx", "cx"], &["dx"]),
            ("[a-]x", &["a", "^", "x"], &["b", "ax"]),
            ("[a-", &["a", "-"], &["b", "a-"]),
            ("[abc", &["a", "c"], &["d", "[abc"]),
            ("[]a]", &[], &["]", "a", "a]"]),
            ("[^]a", &["xa", "]a"], &["a"]),
            (r"[\]]", &["]"], &[r"\", r"\]"]),
            (r"\*", &["*"], &["a", r"\*"]),
            (r"a\", &[r"a\"], &["a"]),
            (r"*\?*", &["a?b", "?"], &["ab"]),
            (
                "user:*:name",
                &["user:1:name", "user::name"],
                &["user:1:nam"],
            ),
        ];
        for (pattern, matching, others) in cases {
            for text in *matching {
                assert!(
                    matches(pattern.as_bytes(), text.as_bytes()),
                    "{pattern} {text}"
                );
            }
            for text in *others {
                assert!(
                    !matches(pattern.as_bytes(), text.as_bytes()),
                    "{pattern} {text}"
                );
            }
        }
    }

    #[test]
    fn a_star_alone_lists_all() {
        assert!(lists(b"*", b"") && lists(b"*", b"a") && lists(b"", b""));
        assert!(!lists(b"**", b"") && lists(b"**", b"a") && !lists(b"b*", b"a"));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = b"a*".repeat(1000);
        let text = vec![b'a'; 20_000];
        assert!(matches(&pattern, &text));
        assert!(!matches(&[pattern.as_slice(), b"b"].concat(), &text));
    }
}
