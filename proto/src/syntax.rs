//! The syntax line of a command, which is its schema: arity, keys, and the tree of its arguments.
//!
//! In a line, a word in upper case is sent as it is and any other word names a value; `[…]` may be
//! left out, `<a | b>` and `[a | b]` are choices, and `[x y ...]` after `x y` says that the pair
//! may be repeated. An argument whose name ends in `key`, or in `key` and a digit,
//! is a key. Knows nothing of what the
//! commands do.

use std::fmt;

use crate::commands::TABLE;
use crate::spec::{Kind, Spec};

/// What a row says of a command that a node has to be told to execute. Redis does not show it.
pub const PROTECTED: &str = "protected";
/// What a row says of a command that says something to clients that listen; nobody is told.
pub const SAYS: &str = "says";
/// What a row says of a command that `CLIENT PAUSE` never holds: it ends the pause, or a client
/// needs it to get so far. Nobody is told.
pub const NEVER_PAUSED: &str = "never_paused";

/// What a syntax line says.
#[derive(Debug)]
pub struct Schema {
    /// Words of the command's name.
    pub words: usize,
    /// Fewest words of a request, the name's included.
    pub min: usize,
    /// Most words of a request, where there is such a number.
    pub max: Option<usize>,
    /// Where the keys are.
    pub keys: Option<KeySpec>,
    /// Where channels are that have slots as keys have, and lead to no data.
    pub channels: Option<KeySpec>,
    /// Whether nodes have to be told that they may execute it.
    pub is_protected: bool,
    /// Whether it says something to clients that listen.
    pub says: bool,
    /// Whether it is executed even while all clients wait.
    pub is_never_paused: bool,
    /// Whether it may wait for EXEC.
    pub may_be_queued: bool,
    /// What follows the name.
    pub arguments: Vec<Argument>,
}

/// Where keys are in a request, counted from the first word of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Position of the first key.
    pub first: usize,
    /// Distance from a key to the next.
    pub step: usize,
    /// How many keys there are.
    pub extent: Extent,
}

/// How far the keys of a request reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// There are so many.
    Few(usize),
    /// Up to the end of the request.
    ToEnd,
    /// The word in front of the first one says how many there are.
    Counted,
}

/// A part of a syntax line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// What it is.
    pub shape: Shape,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be given more than once.
    pub repeated: bool,
}

/// What an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A value, by its name.
    Value(&'static str),
    /// A word that is sent as it is, in upper case here, in any case by clients.
    Token(&'static str),
    /// One of these.
    Choice(Vec<Argument>),
    /// All of these, in order.
    Block(Vec<Argument>),
}

impl Schema {
    /// Whether a request of so many words has the right arity, as Redis counts: optional arguments
    /// make the number open above.
    #[must_use]
    pub fn accepts(&self, words: usize) -> bool {
        words >= self.min && self.max.is_none_or(|max| words <= max)
    }

    /// Whether every key of a request of so many words has what belongs to it, such as MSET's
    /// value: a request that is split by key relies on it. Who executes it finds out as well.
    #[must_use]
    pub fn is_whole(&self, words: usize) -> bool {
        self.keys.is_none_or(|keys| keys.are_whole(words))
    }

    /// The arity that Redis publishes: the exact number of words, or the least, negated.
    #[must_use]
    pub fn arity(&self) -> i64 {
        let min = i64::try_from(self.min).unwrap_or(i64::MAX);
        if self.max.is_some() { min } else { -min }
    }

    /// Every token of the line, in its order.
    #[must_use]
    pub fn tokens(&self) -> Vec<&'static str> {
        let mut tokens = Vec::new();
        self.arguments
            .iter()
            .for_each(|argument| argument.collect_tokens(&mut tokens));
        tokens
    }
}

impl KeySpec {
    fn are_whole(self, words: usize) -> bool {
        let rest = words.saturating_sub(self.first);
        self.extent != Extent::ToEnd || rest.is_multiple_of(self.step)
    }

    /// The positions of all keys of a request.
    pub fn positions(self, argv: &[impl AsRef<[u8]>]) -> impl Iterator<Item = usize> {
        let count = match self.extent {
            Extent::Few(count) => count,
            Extent::ToEnd => argv.len(),
            Extent::Counted => {
                let number = argv.get(self.first - 1).map(AsRef::as_ref);
                let text = number.and_then(|number| str::from_utf8(number).ok());
                // What is no number is refused by the handler; it finds a key locked then, too.
                let count = text.and_then(|text| text.parse().ok());
                count.unwrap_or(1).max(1)
            }
        };
        (self.first..argv.len()).step_by(self.step).take(count)
    }

    /// Redis's first key, last key and step: the last is -1 for the end of the request. They
    /// cannot say that keys are counted.
    #[must_use]
    pub fn published(self) -> (usize, i64, usize) {
        let number = |n| i64::try_from(n).unwrap_or(i64::MAX);
        match self.extent {
            Extent::Few(count) => {
                let last = self.first + (count - 1) * self.step;
                (self.first, number(last), self.step)
            }
            Extent::ToEnd => (self.first, -1, self.step),
            Extent::Counted => (0, 0, 0),
        }
    }
}

impl Argument {
    const fn required(shape: Shape) -> Self {
        Self {
            shape,
            optional: false,
            repeated: false,
        }
    }

    fn block(mut parts: Vec<Self>) -> Self {
        match parts.pop() {
            Some(only) if parts.is_empty() => only,
            last => {
                parts.extend(last);
                Self::required(Shape::Block(parts))
            }
        }
    }

    /// Fewest words that it takes.
    fn min(&self) -> usize {
        if self.optional {
            return 0;
        }
        match &self.shape {
            Shape::Value(_) | Shape::Token(_) => 1,
            Shape::Choice(choices) => choices.iter().map(Self::min).min().unwrap_or(0),
            Shape::Block(parts) => parts.iter().map(Self::min).sum(),
        }
    }

    /// Whether it always takes the same number of words.
    fn is_fixed(&self) -> bool {
        !self.optional
            && !self.repeated
            && match &self.shape {
                Shape::Value(_) | Shape::Token(_) => true,
                Shape::Choice(choices) => choices
                    .iter()
                    .all(|choice| choice.is_fixed() && choice.min() == self.min()),
                Shape::Block(parts) => parts.iter().all(Self::is_fixed),
            }
    }

    fn collect_tokens(&self, tokens: &mut Vec<&'static str>) {
        match &self.shape {
            Shape::Token(token) => tokens.push(token),
            Shape::Value(_) => {}
            Shape::Choice(inner) | Shape::Block(inner) => inner
                .iter()
                .for_each(|argument| argument.collect_tokens(tokens)),
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let once = match &self.shape {
            Shape::Choice(_) if !self.optional || self.repeated => format!("<{}>", self.shape),
            shape => shape.to_string(),
        };
        match (self.optional, self.repeated) {
            (false, false) => f.write_str(&once),
            (true, false) => write!(f, "[{once}]"),
            (false, true) => write!(f, "{once} [{once} ...]"),
            (true, true) => write!(f, "[{once} [{once} ...]]"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(word) | Self::Token(word) => f.write_str(word),
            Self::Choice(choices) => write_joined(f, choices, " | "),
            Self::Block(parts) => write_joined(f, parts, " "),
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, items: &[Argument], between: &str) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// Reads the syntax line of a row. A malformed line counts as empty; a test over the whole table
/// finds it.
#[must_use]
pub fn schema(spec: &Spec) -> Schema {
    let arguments = parse(spec.syntax).unwrap_or_default();
    let words = spec.name.split(' ').count();
    let min = words + arguments.iter().map(Argument::min).sum::<usize>();
    let exact = arguments.iter().all(Argument::is_fixed) && !has_subcommands(spec);
    let keys = match spec.kind {
        Kind::READ | Kind::WRITE | Kind::READ_EACH | Kind::WRITE_EACH | Kind::TRANSACTION => {
            find_keys(&arguments, words, "key")
        }
        // An argument of theirs that is called a key, as that of CLUSTER KEYSLOT, leads to no data.
        Kind::READ_ALL
        | Kind::READ_ANY
        | Kind::WRITE_ALL
        | Kind::CURSOR
        | Kind::SESSION
        | Kind::SNAPSHOT
        | Kind::META
        | Kind::LOCAL
        | Kind::SIGN
        | Kind::LISTEN
        | Kind::CALL
        | Kind::HANDSHAKE
        | Kind::ENDING
        | Kind::EXECUTION => None,
    };
    Schema {
        words,
        is_protected: spec.has_word(PROTECTED),
        says: spec.has_word(SAYS),
        is_never_paused: spec.has_word(NEVER_PAUSED),
        may_be_queued: !matches!(spec.kind, Kind::LISTEN | Kind::CALL)
            && !spec.has_word("no_multi"),
        min,
        max: exact.then_some(min),
        keys,
        channels: find_keys(&arguments, words, "shardchannel"),
        arguments,
    }
}

/// Whether other rows begin with this one's name; Redis counts a subcommand as an optional
/// argument.
fn has_subcommands(spec: &Spec) -> bool {
    TABLE.iter().any(|row| {
        row.name
            .split_once(' ')
            .is_some_and(|(container, _)| container == spec.name)
    })
}

/// Whether an argument is one of those whose names end so; where there are several, in a number.
pub fn is_called(name: &str, suffix: &str) -> bool {
    name.trim_end_matches(|digit: char| digit.is_ascii_digit())
        .ends_with(suffix)
}

/// The first argument that is a key and stands at a fixed place, and those right behind it.
fn find_keys(arguments: &[Argument], mut at: usize, suffix: &str) -> Option<KeySpec> {
    for (index, argument) in arguments.iter().enumerate() {
        let found = match &argument.shape {
            Shape::Value(name) if is_called(name, suffix) => Some(at),
            Shape::Block(parts) => find_keys(parts, at, suffix).map(|inner| inner.first),
            _ => None,
        };
        if let Some(first) = found {
            let is_counted = index > 0 && arguments[index - 1].shape == Shape::Value("numkeys");
            let is_key = |next: &&Argument| match &next.shape {
                Shape::Value(name) => is_called(name, suffix) && !next.optional,
                _ => false,
            };
            let extent = match (is_counted, argument.repeated) {
                (true, _) => Extent::Counted,
                (false, true) => Extent::ToEnd,
                (false, false) => Extent::Few(arguments[index..].iter().take_while(is_key).count()),
            };
            let step = argument.min().max(1);
            return Some(KeySpec {
                first,
                step,
                extent,
            });
        }
        if !argument.is_fixed() {
            return None;
        }
        at += argument.min();
    }
    None
}

/// Reads a syntax line.
///
/// # Errors
/// What is wrong with it.
fn parse(line: &'static str) -> Result<Vec<Argument>, String> {
    let mut parser = Parser { rest: line };
    let arguments = parser.sequence()?;
    match parser.peek() {
        "" => Ok(arguments),
        extra => Err(format!("'{extra}' has no place in '{line}'")),
    }
}

struct Parser {
    rest: &'static str,
}

impl Parser {
    /// The next word or sign, left in place; empty at the end.
    fn peek(&self) -> &'static str {
        const SIGNS: [char; 5] = ['[', ']', '<', '>', '|'];
        let text = self.rest.trim_start();
        let length = if text.starts_with(SIGNS) {
            1
        } else {
            text.find(|c: char| c == ' ' || SIGNS.contains(&c))
                .unwrap_or(text.len())
        };
        &text[..length]
    }

    fn take(&mut self) -> &'static str {
        let word = self.peek();
        self.rest = &self.rest.trim_start()[word.len()..];
        word
    }

    fn demand(&mut self, sign: &str) -> Result<(), String> {
        match self.take() {
            found if found == sign => Ok(()),
            found => Err(format!("'{sign}' expected, not '{found}'")),
        }
    }

    fn sequence(&mut self) -> Result<Vec<Argument>, String> {
        let mut items = Vec::new();
        loop {
            match self.peek() {
                "" | "]" | ">" | "|" | "..." => return Ok(items),
                "[" => self.bracket(&mut items)?,
                "<" => {
                    self.take();
                    match self.choice()? {
                        choice if matches!(choice.shape, Shape::Choice(_)) => items.push(choice),
                        only => return Err(format!("'<{only}>' leaves no choice")),
                    }
                    self.demand(">")?;
                }
                word if word.contains(char::is_uppercase) => {
                    items.push(Argument::required(Shape::Token(self.take())));
                }
                _ => items.push(Argument::required(Shape::Value(self.take()))),
            }
        }
    }

    /// Something optional, or the sign that the items just read may be repeated.
    fn bracket(&mut self, items: &mut Vec<Argument>) -> Result<(), String> {
        self.demand("[")?;
        let mut inner = self.choice()?;
        if self.peek() == "..." {
            self.take();
            let count = match &inner.shape {
                Shape::Block(parts) => parts.len(),
                _ => 1,
            };
            let start = items.len().saturating_sub(count);
            if Argument::block(items.split_off(start)) != inner {
                return Err(format!("'{inner} ...' does not repeat what precedes it"));
            }
            inner.repeated = true;
        } else if inner.optional {
            return Err(format!("'{inner}' is optional twice"));
        } else {
            inner.optional = true;
        }
        items.push(inner);
        self.demand("]")
    }

    fn choice(&mut self) -> Result<Argument, String> {
        let mut choices = Vec::new();
        loop {
            match self.sequence()? {
                parts if parts.is_empty() => return Err("something is missing".to_owned()),
                parts => choices.push(Argument::block(parts)),
            }
            if self.peek() != "|" {
                break;
            }
            self.take();
        }
        match choices.pop() {
            Some(only) if choices.is_empty() => Ok(only),
            last => {
                choices.extend(last);
                Ok(Argument::required(Shape::Choice(choices)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{CommandId, Family};

    const PUBLISHED: &str = include_str!("published.txt");

    #[test]
    fn every_line_is_well_formed_and_can_be_written_back() {
        for spec in TABLE {
            let arguments = parse(spec.syntax).unwrap_or_else(|why| panic!("{}: {why}", spec.name));
            let written: Vec<String> = arguments.iter().map(Argument::to_string).collect();
            assert_eq!(written.join(" "), spec.syntax, "{}", spec.name);
        }
    }

    #[test]
    fn malformed_lines_are_refused() {
        for line in [
            "[a",
            "a]",
            "<a",
            "<a>",
            "a >",
            "a | b",
            "[]",
            "<a |>",
            "...",
            "a ...",
            "[a ...]",
            "b [a ...]",
            "a b [b a ...]",
            "[[a]]",
            "[a [b ...]]",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    /// A million lines of random parts, from a fixed seed: none breaks the parser, and what it
    /// accepts it writes in a form that means the same.
    #[test]
    fn random_lines_are_accepted_or_refused() {
        const PARTS: [&str; 11] = [
            "[", "]", "<", ">", "|", " ...", " a", " b", " X", "a b ", "é",
        ];
        let mut state = 1u64;
        let mut random = |end: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % end
        };
        let text: String = (0..1_000_000).map(|_| PARTS[random(PARTS.len())]).collect();
        let text: &'static str = Box::leak(text.into_boxed_str());
        let mut accepted = 0;
        for _ in 0..1_000_000 {
            let start = random(text.len() - 40);
            let Some(line) = text.get(start..start + random(40)) else {
                continue;
            };
            let Ok(arguments) = parse(line) else {
                continue;
            };
            accepted += 1;
            let written: Vec<String> = arguments.iter().map(Argument::to_string).collect();
            let written: &'static str = Box::leak(written.join(" ").into_boxed_str());
            assert_eq!(parse(written), Ok(arguments), "{line:?} {written:?}");
        }
        assert!(accepted > 10_000, "only {accepted} lines were accepted");
    }

    #[test]
    fn a_line_becomes_a_tree() {
        let arguments = parse("key value [NX | XX] [EX seconds] [a b [a b ...]]").unwrap();
        let value = |name| Argument::required(Shape::Value(name));
        let token = |name| Argument::required(Shape::Token(name));
        let optional = |shape| Argument {
            optional: true,
            ..Argument::required(shape)
        };
        assert_eq!(
            arguments,
            [
                value("key"),
                value("value"),
                optional(Shape::Choice(vec![token("NX"), token("XX")])),
                optional(Shape::Block(vec![token("EX"), value("seconds")])),
                Argument {
                    repeated: true,
                    ..optional(Shape::Block(vec![value("a"), value("b")]))
                },
            ]
        );
    }

    #[test]
    fn arity_and_keys_are_those_of_redis() {
        let mut published = PUBLISHED.lines().skip(1);
        for id in CommandId::all() {
            let (name, schema) = (id.spec().name, id.schema());
            let keys = schema.keys.or(schema.channels).map(KeySpec::published);
            let (first, last, step) = keys.unwrap_or_default();
            let row = format!("{name}: {} {first} {last} {step}", schema.arity());
            assert_eq!(published.next(), Some(row.as_str()));
        }
        assert_eq!(published.next(), None);
    }

    #[test]
    fn rows_are_unique_sorted_and_documented() {
        let mut places: Vec<(Family, &str)> = Vec::new();
        for spec in TABLE {
            let place = (spec.family, spec.name);
            assert!(
                places.last().is_none_or(|last| *last < place),
                "{} is out of order",
                spec.name
            );
            places.push(place);
            assert_eq!(spec.name, spec.name.to_ascii_uppercase());
            assert!(
                spec.summary.ends_with('.'),
                "{}: {}",
                spec.name,
                spec.summary
            );
            assert!(spec.complexity.starts_with("O("), "{}", spec.name);
        }
        let mut names: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn commands_about_keys_have_keys_and_no_others() {
        let all = CommandId::all();
        for id in all.filter(|id| id.spec().kind != Kind::TRANSACTION) {
            let about_keys = matches!(
                id.spec().kind,
                Kind::READ | Kind::WRITE | Kind::READ_EACH | Kind::WRITE_EACH
            );
            let keys = id.schema().keys;
            assert_eq!(keys.is_some(), about_keys, "{}", id.spec().name);
            // The parts of a split command are cut by its keys, up to the end.
            let is_split = matches!(id.spec().kind, Kind::READ_EACH | Kind::WRITE_EACH);
            let reaches_end = keys.is_some_and(|keys| keys.extent == Extent::ToEnd);
            assert!(reaches_end || !is_split, "{}", id.spec().name);
        }
    }

    #[test]
    fn positions_of_keys() {
        let check = |line: &str, expect: &[usize]| {
            let argv: Vec<&str> = line.split(' ').collect();
            let mut all = CommandId::all();
            let id = all.find(|id| line.starts_with(&format!("{} ", id.spec().name)));
            let keys = id.unwrap().schema().keys.unwrap();
            assert_eq!(keys.positions(&argv).collect::<Vec<_>>(), expect, "{line}");
        };
        check("GET a", &[1]);
        check("HSET a f v g w", &[1]);
        check("DEL a b c", &[1, 2, 3]);
        check("MSET a 1 b 2 c 3", &[1, 3, 5]);
        check("RENAME a b", &[1, 2]);
        check("COPY a b DB 0", &[1, 2]);
        check("OBJECT ENCODING a", &[2]);
        check("MSETEX 2 a 1 b 2 NX", &[2, 4]);
        check("MSETEX x a 1", &[2]);
        check("MSETEX 99 a 1", &[2]);
    }

    #[test]
    fn tokens_in_order() {
        let id = CommandId::all().find(|id| id.spec().name == "SET").unwrap();
        let tokens = id.schema().tokens();
        assert_eq!(
            tokens,
            [
                "NX", "XX", "IFEQ", "IFNE", "IFDEQ", "IFDNE", "GET", "EX", "PX", "EXAT", "PXAT",
                "KEEPTTL"
            ]
        );
    }
}
