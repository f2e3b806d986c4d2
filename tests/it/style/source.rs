//! A file of the repository as the style rules see it.
//!
//! Knows enough of Rust's lexis to tell code from strings and comments, and where a function or a
//! test module ends; nothing of its grammar.

use std::fs;
use std::path::{Path, PathBuf};

/// A file, once as written and once with its strings and comments blanked.
pub struct Source {
    /// Relative to the repository.
    pub path: String,
    /// As written.
    pub text: String,
    /// The same lines; inside strings, character literals and comments there are only blanks.
    pub code: String,
}

impl Source {
    /// A file with this text.
    pub fn new(path: &str, text: &str) -> Self {
        let code = if is_rust(path) {
            blanked(text)
        } else {
            text.to_owned()
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    /// The code without `#[cfg(test)]` items; nothing of a file that is all test: those of the
    /// package of tests, and modules named `testing` or `…_tests`.
    pub fn product(&self) -> String {
        let is_test = ["/testing.rs", "_tests.rs"]
            .iter()
            .any(|end| self.path.ends_with(end));
        if self.path.starts_with("tests/") || is_test {
            return String::new();
        }
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let end = item_end(&code, start).unwrap_or(code.len());
            let blank = blank(&code[start..end]);
            code.replace_range(start..end, &blank);
        }
        code
    }

    /// Every function's name, its first line and its number of lines.
    pub fn functions(&self) -> Vec<(&str, usize, usize)> {
        let starts = self.code.match_indices("fn ").filter_map(|(start, _)| {
            let before = self.code[..start].chars().next_back();
            let name = self.code[start + 3..].split(['(', '<']).next()?.trim();
            let is_item = before.is_none_or(|c| !is_word(c)) && !name.is_empty();
            is_item.then_some((start, name))
        });
        starts
            .filter_map(|(start, name)| {
                let end = item_end(&self.code, start)?;
                let lines = self.code[start..end].lines().count();
                Some((name, line_of(&self.code, start), lines))
            })
            .collect()
    }
}

/// The repository's own text files, those that Git ignores left out.
pub fn repository() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["proto", "node", "client", "tests", "scripts", ".ci"] {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    files
        .iter()
        .filter_map(|path| {
            let shown = path.strip_prefix(root()).ok()?.to_str()?;
            Some(Source::new(shown, &fs::read_to_string(path).ok()?))
        })
        .collect()
}

/// The repository's folder.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Whether it is a file of Rust.
pub fn is_rust(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, end)| end == "rs")
}

/// The line, from 1, of a position.
pub fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

/// Whether a name may contain it.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default();
        if path.is_file() {
            files.push(path);
        } else if name != "target" && name != "__pycache__" {
            walk(&path, files);
        }
    }
}

/// The end of the item that starts here: its `;` outside brackets, or the end of its braces.
fn item_end(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, c) in code[start..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 || depth == 0 && matches!(c, '}' | ';') {
            return Some(start + offset + 1);
        }
    }
    None
}

fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after_word = code.chars().next_back().is_some_and(is_word);
        let length = literal_or_comment(rest, after_word);
        if length == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            code.push_str(&blank(&rest[..length]));
            rest = &rest[length..];
        }
    }
    code
}

/// The bytes of the string, character or comment that `rest` starts with; 0 when it is code.
fn literal_or_comment(rest: &str, after_word: bool) -> usize {
    let ends = |from: usize, mark: &str| {
        let end = rest[from..].find(mark);
        end.map_or(rest.len(), |end| from + end + mark.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return ends(2, "*/");
    }
    if rest.starts_with('"') {
        return quoted_end(rest);
    }
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !after_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return ends(hashes + 2, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    match rest.strip_prefix('\'') {
        Some(inner) if inner.starts_with('\\') => ends(3, "'"),
        // Otherwise a lifetime.
        Some(inner) => match inner.char_indices().nth(1) {
            Some((at, '\'')) => at + 2,
            _ => 0,
        },
        None => 0,
    }
}

fn quoted_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn blank(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { c } else { ' ' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_not_code() {
        for (text, code) in [
            ("a // b", "a     "),
            ("a /* b\n */ c", "a     \n    c"),
            (r#"f("x\"y") + 1"#, "f(      ) + 1"),
            ("r##\"a\"#\"## b", "           b"),
            ("for\"\"", "for  "),
            ("'\"' '\\'' 'a 'b'", "         'a    "),
            ("fn f<'a>(x: &'a u8)", "fn f<'a>(x: &'a u8)"),
        ] {
            assert_eq!(blanked(text).trim_end(), code.trim_end(), "{text}");
        }
    }

    #[test]
    fn functions_are_measured() {
        let text = "fn a(x: [u8; 2]) -> u8 {\n    1\n}\ntype F = fn(u8);\nimpl A {\n fn b();\n}\n";
        let source = Source::new("node/src/x.rs", text);
        assert_eq!(source.functions(), [("a", 1, 3), ("b", 6, 1)]);
    }

    #[test]
    fn tests_are_no_product() {
        let text = "use a;\n#[cfg(test)]\nmod tests {\n    x.unwrap();\n}\nfn f() {}\n";
        let product = Source::new("node/src/x.rs", text).product();
        assert!(
            !product.contains("unwrap") && product.contains("fn f() {}"),
            "{product}"
        );
    }
}
