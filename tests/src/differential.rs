//! Random commands for two servers that have to answer alike, made from the command table: every
//! row, every option, with arguments of the kind that breaks parsers.
//!
//! Knows the names of arguments, and nothing of what commands do.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dht_proto::Reply;
use dht_proto::commands::TABLE;
use dht_proto::resp::{ReplyReader, encode_request};
use dht_proto::spec::{Family, Spec};
use dht_proto::syntax::{Argument, Schema, Shape, is_called, schema};

use crate::random::Random;

/// Longest time that a server takes for a batch.
const PATIENCE: Duration = Duration::from_secs(60);
/// Commands on data are so many times as frequent as others.
const DATA_WEIGHT: usize = 12;
/// So many commands in a hundred are spoilt.
const SPOILT: u64 = 15;
/// So many of a hundred are of a row that has something that was not used yet.
const LACKING: u64 = 10;
/// As long as a value may be in a hash that Redis keeps together; a longer one gives HSCAN cursors
/// that are Redis's own.
const LONG_VALUE: &str = "a value of sixty-four bytes, which is as long as it may be .....";

/// How the replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Byte for byte.
    Exact,
    /// The elements in any order.
    Unordered,
    /// Numbers that differ by the time between two servers.
    Near,
    /// Errors byte for byte, else only the type.
    Shape,
    /// Likewise, or nil here where the other server goes by what is due and not removed yet.
    Due,
    /// Not where one of the servers is a cluster.
    Alone,
    /// Not at all.
    Skip,
    /// The Redis of the tests does not know it.
    Newer,
    /// Byte for byte; sent as the table says, never spoilt.
    Sound,
}

/// The differences that are intended: by the name of a command, or with one of its options.
pub struct Differences(BTreeMap<String, How>);

impl Differences {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not there, or a line is no difference with a reason.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut all = BTreeMap::new();
        for line in std::fs::read_to_string(path)?.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, how) = parse(line).ok_or_else(|| io::Error::other(line.to_owned()))?;
            all.insert(name, how);
        }
        Ok(Self(all))
    }

    /// The names that are no commands, or no options of one.
    #[must_use]
    pub fn foreign(&self) -> Vec<&str> {
        let is_known = |name: &str| {
            TABLE.iter().any(|spec| {
                let token = name.strip_prefix(spec.name).map(str::trim_start);
                token
                    .is_some_and(|token| token.is_empty() || schema(spec).tokens().contains(&token))
            })
        };
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| !is_known(name)).collect()
    }

    fn of(&self, spec: &Spec) -> How {
        self.0.get(spec.name).copied().unwrap_or(How::Exact)
    }

    fn of_token(&self, spec: &Spec, token: &str) -> How {
        let name = format!("{} {token}", spec.name);
        self.0.get(&name).copied().unwrap_or(How::Exact)
    }
}

/// `NAME how: reason`.
fn parse(line: &str) -> Option<(String, How)> {
    let (rule, reason) = line.split_once(": ")?;
    let (name, how) = rule.rsplit_once(' ')?;
    let how = match how {
        "unordered" => How::Unordered,
        "near" => How::Near,
        "shape" => How::Shape,
        "due" => How::Due,
        "alone" => How::Alone,
        "skip" => How::Skip,
        "newer" => How::Newer,
        "sound" => How::Sound,
        _ => return None,
    };
    (!reason.is_empty()).then(|| (name.to_owned(), how))
}

/// A command that both servers get.
pub struct Asked {
    /// Its row.
    pub spec: &'static Spec,
    /// Its words.
    pub argv: Vec<Vec<u8>>,
    /// The row, and options of it that are among the words.
    covers: Vec<String>,
}

/// For which servers commands are made.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What the Redis of the tests lacks is asked, too.
    pub with_newer: bool,
    /// One of them is a cluster.
    pub is_cluster: bool,
}

/// Makes commands.
pub struct Generator<'d> {
    random: Random,
    differences: &'d Differences,
    /// Each row as often as it is to be drawn.
    rows: Vec<(&'static Spec, Schema)>,
    weights: Vec<usize>,
    scope: Scope,
    /// Whether this batch may be in a transaction of a cluster.
    is_begun: bool,
    /// What all keys begin with.
    tag: String,
    /// Rows and options that are to be compared and were not, each with its row.
    lacking: BTreeMap<String, usize>,
    /// Options of the command in the making.
    used: Vec<&'static str>,
    /// How many there were.
    wanted: usize,
}

impl<'d> Generator<'d> {
    /// The sequence of some random numbers.
    #[must_use]
    pub fn new(random: Random, differences: &'d Differences, scope: Scope) -> Self {
        let is_asked = |spec: &&Spec| match differences.of(spec) {
            How::Skip => false,
            How::Newer => scope.with_newer,
            How::Alone => !scope.is_cluster,
            _ => true,
        };
        let rows: Vec<_> = TABLE
            .iter()
            .filter(is_asked)
            .map(|spec| (spec, schema(spec)))
            .collect();
        let mut weights = Vec::new();
        for (row, (spec, _)) in rows.iter().enumerate() {
            let is_data = matches!(spec.family, Family::Generic | Family::String | Family::Hash);
            let weight = if is_data { DATA_WEIGHT } else { 1 };
            weights.extend(std::iter::repeat_n(row, weight));
        }
        let mut made = Self {
            random,
            differences,
            rows,
            weights,
            scope,
            is_begun: false,
            tag: String::new(),
            lacking: BTreeMap::new(),
            used: Vec::new(),
            wanted: 0,
        };
        made.lacking = made.wanted();
        made.wanted = made.lacking.len();
        made
    }

    fn wanted(&self) -> BTreeMap<String, usize> {
        let mut wanted = BTreeMap::new();
        for (row, (spec, schema)) in self.rows.iter().enumerate() {
            wanted.insert(spec.name.to_owned(), row);
            for token in schema.tokens() {
                if self.asks_token(spec, token) {
                    wanted.insert(format!("{} {token}", spec.name), row);
                }
            }
        }
        wanted
    }

    /// Rows that are left out of every comparison, by the file of differences.
    #[must_use]
    pub fn left_out(&self) -> Vec<&'static str> {
        let is_left_out = |spec: &&Spec| self.differences.of(spec) == How::Skip;
        let rows = TABLE.iter().filter(is_left_out);
        rows.map(|spec| spec.name).collect()
    }

    /// The replies to a command were compared, of which this is one. What is refused covers
    /// nothing, except DEBUG, which these servers are told to refuse.
    pub fn compared(&mut self, asked: &Asked, reply: &Reply) {
        if matches!(reply, Reply::Error(_)) && !asked.spec.name.starts_with("DEBUG") {
            return;
        }
        for name in &asked.covers {
            self.lacking.remove(name);
        }
    }

    /// How many rows and options were compared, and those that should have been and were not.
    #[must_use]
    pub fn coverage(&self) -> (usize, Vec<String>) {
        let lacking: Vec<_> = self.lacking.keys().cloned().collect();
        (self.wanted - lacking.len(), lacking)
    }

    fn asks_token(&self, spec: &Spec, token: &str) -> bool {
        match self.differences.of_token(spec, token) {
            How::Skip => false,
            How::Newer => self.scope.with_newer,
            _ => true,
        }
    }

    /// The next commands, about keys of one slot that no other batch uses.
    pub fn batch(&mut self, number: usize, count: usize) -> Vec<Asked> {
        self.tag = format!("{{{number}}}");
        self.is_begun = false;
        (0..count).map(|_| self.command()).collect()
    }

    /// A row; behind MULTI none about the whole keyspace, which a cluster refuses there.
    fn row(&mut self) -> usize {
        loop {
            let lacks = !self.lacking.is_empty() && self.random.percent(LACKING);
            let row = if lacks {
                let nth = self.random.below(self.lacking.len());
                self.lacking.values().nth(nth).copied().unwrap_or_default()
            } else {
                *self.random.pick(&self.weights)
            };
            let spec = self.rows[row].0;
            self.is_begun |= self.scope.is_cluster && spec.name == "MULTI";
            if !(self.is_begun && spec.kind.is_whole()) {
                return row;
            }
        }
    }

    fn command(&mut self) -> Asked {
        let row = self.row();
        let spec = self.rows[row].0;
        let arguments = self.rows[row].1.arguments.clone();
        self.used.clear();
        let mut words = Words::default();
        for word in spec.name.split(' ') {
            let word = self.in_some_case(word);
            words.push(word);
        }
        for argument in &arguments {
            self.argument(spec, argument, &mut words);
        }
        words.count();
        let keys = self.rows[row].1.keys;
        if self.differences.of(spec) != How::Sound && self.random.percent(SPOILT) {
            let first = keys.map_or(words.all.len(), |keys| {
                keys.positions(&words.all).last().map_or(0, |last| last + 1)
            });
            self.spoil(first, &mut words.all);
        }
        // What was spoilt may lack an option.
        let argv = words.all;
        let has = |token: &&&str| {
            let is_it = |word: &Vec<u8>| word.eq_ignore_ascii_case(token.as_bytes());
            argv.iter().skip(1).any(is_it)
        };
        let options = self.used.iter().filter(has);
        let options = options.map(|token| format!("{} {token}", spec.name));
        let covers = std::iter::once(spec.name.to_owned()).chain(options);
        Asked {
            spec,
            covers: covers.collect(),
            argv,
        }
    }

    fn argument(&mut self, spec: &Spec, argument: &Argument, words: &mut Words) {
        if argument.optional && self.random.percent(60) {
            return;
        }
        let times = if argument.repeated {
            self.random.below(4)
        } else {
            1
        };
        for _ in 0..times {
            match &argument.shape {
                Shape::Value(name) => self.value(name, words),
                Shape::Token(token) if self.asks_token(spec, token) => {
                    self.used.push(token);
                    let word = self.in_some_case(token);
                    words.push(word);
                }
                Shape::Token(_) => {}
                Shape::Choice(choices) => {
                    let asked = |choice: &&Argument| self.asks(spec, choice);
                    let choices: Vec<_> = choices.iter().filter(asked).collect();
                    if !choices.is_empty() {
                        let choice = *self.random.pick(&choices);
                        self.argument(spec, choice, words);
                    }
                }
                Shape::Block(parts) if self.asks(spec, argument) => {
                    parts
                        .iter()
                        .for_each(|part| self.argument(spec, part, words));
                }
                Shape::Block(_) => {}
            }
        }
    }

    /// Whether an argument is to be used, judged by its first option.
    fn asks(&self, spec: &Spec, argument: &Argument) -> bool {
        match &argument.shape {
            Shape::Token(token) => self.asks_token(spec, token),
            Shape::Block(parts) => parts.first().is_none_or(|part| self.asks(spec, part)),
            Shape::Value(_) | Shape::Choice(_) => true,
        }
    }

    fn in_some_case(&mut self, word: &str) -> Vec<u8> {
        match self.random.below(4) {
            0 => word.to_ascii_lowercase().into_bytes(),
            _ => word.as_bytes().to_vec(),
        }
    }

    /// Something else at the end, or behind the keys.
    fn spoil(&mut self, first: usize, words: &mut Vec<Vec<u8>>) {
        match self.random.below(4) {
            0 => _ = words.pop(),
            1 => {
                let tag = self.tag.clone();
                let more = *self.random.pick(&["x", "", "NX", "0", "-1", "\r\n"]);
                words.push(format!("{tag}{more}").into_bytes());
            }
            2 if first < words.len() => {
                let at = first + self.random.below(words.len() - first);
                words[at] = self.odd();
            }
            // What is behind the keys may be taken for one, which a cluster has elsewhere.
            _ if first < words.len() && !self.scope.is_cluster => {
                let at = first + self.random.below(words.len() - first);
                words.push(words[at].clone());
            }
            _ => {}
        }
        if words.is_empty() {
            words.push(b"PING".to_vec());
        }
    }

    fn odd(&mut self) -> Vec<u8> {
        const ODD: [&[u8]; 16] = [
            b"",
            b"abc",
            b"-1",
            b"0",
            b"00",
            b"+1",
            b" 1",
            b"1 ",
            b"1.5",
            b"1e3",
            b"nan",
            b"9223372036854775807",
            b"-9223372036854775808",
            b"9223372036854775808",
            b"\x00\xff",
            b"a\r\nb",
        ];
        self.random.pick(&ODD).to_vec()
    }

    fn value(&mut self, name: &str, words: &mut Words) {
        if name.starts_with("num") {
            words.counted = Some((words.all.len(), 0));
            words.push(Vec::new());
            return;
        }
        if let Some((_, count)) = &mut words.counted
            && (name == "field" || name == "key")
        {
            *count += 1;
        }
        let word = if is_called(name, "key") {
            self.key()
        } else {
            self.word(name)
        };
        words.push(word);
    }

    fn key(&mut self) -> Vec<u8> {
        let mut key = self.tag.clone().into_bytes();
        match self.random.below(30) {
            0 => key.extend(b"\x00\xff\r\n"),
            1 => {}
            2 => key.extend([b'k'; 300]),
            n => key.extend(format!("{}", n % 5).into_bytes()),
        }
        key
    }

    fn word(&mut self, name: &str) -> Vec<u8> {
        // A number that lies far from any other is compared alike a moment later.
        let far = self.random.between(1000, 1_000_000);
        let small = self.random.below(12).to_string();
        let text = match name {
            _ if self.random.percent(8) => return self.odd(),
            "field" => format!("f{}", self.random.below(8)),
            "seconds" | "ttl" => self.pick_or(&["0", "-1"], far.to_string()),
            "milliseconds" => self.pick_or(&["0", "-1"], (far * 1000).to_string()),
            "unix-time-seconds" => self.pick_or(&["1", "0"], (33_000_000_000 + far).to_string()),
            "unix-time-milliseconds" => {
                self.pick_or(&["1", "0"], (33_000_000_000_000 + far * 1000).to_string())
            }
            "increment" | "decrement" => {
                let float = format!("{}.{}", self.random.below(100), self.random.below(100));
                self.pick_or(&["-7", &float, "1e2", "-0.5"], small)
            }
            "cursor" => "0".to_owned(),
            "count" => self.pick_or(&["0", "-3", "1000"], small),
            "start" | "end" => self.pick_or(&["-1", "-3", "100"], small),
            "offset" => self.pick_or(&["-1", "536870912"], small),
            "pattern" => self.pick_or(
                &["f*", "[", "[^f]*", "\\", "*[0-3]", "?1", ""],
                format!("{}*", self.tag),
            ),
            "index" | "destination-db" => self.pick_or(&["-1", "16", "99"], "0".to_owned()),
            "type" => self.pick_or(&["hash", "HASH", "list", "nothing"], "string".to_owned()),
            "protover" => self.pick_or(&["2", "4", "1"], "3".to_owned()),
            "connection-name" | "clientname" => self.pick_or(&["a b", ""], "name".to_owned()),
            "parameter" => {
                self.pick_or(&["*max*", "nothing", "[", "save"], "maxclients".to_owned())
            }
            "section" => self.pick_or(&["all", "nothing"], "server".to_owned()),
            "command" | "command-name" => {
                self.pick_or(&["nothing", "hset", "DEL", "config|get"], "get".to_owned())
            }
            "username" => self.pick_or(&["other", ""], "default".to_owned()),
            "client-id" => self.pick_or(&["0", "99999999"], "1".to_owned()),
            _ => {
                let number = self.random.below(1000).to_string();
                self.pick_or(&["v", "10", "3.5", "-2", "1e5", LONG_VALUE], number)
            }
        };
        text.into_bytes()
    }

    /// Mostly one, now and then one of the others.
    fn pick_or(&mut self, others: &[&str], usual: String) -> String {
        if self.random.percent(70) {
            usual
        } else {
            (*self.random.pick(others)).to_owned()
        }
    }
}

/// The words of a command in the making.
#[derive(Default)]
struct Words {
    all: Vec<Vec<u8>>,
    /// Where the number of fields or keys stands that follow, and how many did.
    counted: Option<(usize, usize)>,
}

impl Words {
    fn push(&mut self, word: Vec<u8>) {
        self.all.push(word);
    }

    fn count(&mut self) {
        if let Some((at, count)) = self.counted {
            self.all[at] = count.to_string().into_bytes();
        }
    }
}

/// A connection that keeps the bytes of replies.
pub struct Raw {
    address: SocketAddr,
    stream: TcpStream,
    reader: ReplyReader,
    input: BytesMut,
}

impl Raw {
    /// Connects to a server.
    ///
    /// # Errors
    /// The connection is refused.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            address,
            stream,
            reader: ReplyReader::default(),
            input: BytesMut::new(),
        })
    }

    /// Sends commands and gives the replies with their bytes: fewer where the server has closed the
    /// connection, which is opened again then.
    ///
    /// # Errors
    /// The server is gone, or does not answer, or with what is no reply.
    pub fn ask(&mut self, batch: &[&[Vec<u8>]]) -> io::Result<Vec<(Reply, Bytes)>> {
        // Where QUIT was the last one, the end of the connection has not been seen yet.
        match self.try_to_ask(batch) {
            Ok(replies) if !replies.is_empty() => Ok(replies),
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => {
                *self = Self::connect(self.address)?;
                self.try_to_ask(batch)
            }
        }
    }

    fn try_to_ask(&mut self, batch: &[&[Vec<u8>]]) -> io::Result<Vec<(Reply, Bytes)>> {
        let mut request = BytesMut::new();
        batch
            .iter()
            .for_each(|argv| encode_request(argv, &mut request));
        self.stream.write_all(&request)?;
        let mut replies = Vec::with_capacity(batch.len());
        while replies.len() < batch.len() {
            let before = self.input.clone();
            let reply = self.reader.read(&mut self.input);
            if let Some(reply) = reply.map_err(|malformed| io::Error::other(malformed.0))? {
                let length = before.len() - self.input.len();
                replies.push((reply, before.freeze().slice(..length)));
                continue;
            }
            let mut chunk = [0; 64 * 1024];
            let count = match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                read => read?,
            };
            if count == 0 {
                *self = Self::connect(self.address)?;
                break;
            }
            self.input.extend_from_slice(&chunk[..count]);
        }
        Ok(replies)
    }
}

/// Compares what two servers reply to the commands of one connection.
pub struct Judge<'d> {
    differences: &'d Differences,
    /// What waits for EXEC.
    queued: Vec<&'static Spec>,
}

impl<'d> Judge<'d> {
    /// For a connection that has begun no transaction.
    #[must_use]
    pub const fn new(differences: &'d Differences) -> Self {
        Self {
            differences,
            queued: Vec::new(),
        }
    }

    /// Whether the replies to the next command are as alike as they have to be; those of a
    /// transaction are, each as its command says.
    pub fn alike(
        &mut self,
        spec: &'static Spec,
        (one, one_bytes): &(Reply, Bytes),
        (two, two_bytes): &(Reply, Bytes),
    ) -> bool {
        if matches!(one, Reply::Status(text) if text == "QUEUED") {
            self.queued.push(spec);
        }
        let is_end = ["EXEC", "DISCARD", "RESET"].contains(&spec.name);
        let queued = is_end.then(|| std::mem::take(&mut self.queued));
        if one_bytes == two_bytes {
            return true;
        }
        match (one, two, queued) {
            (Reply::Array(ones), Reply::Array(twos), Some(queued))
                if ones.len() == twos.len() && ones.len() == queued.len() =>
            {
                let mut both = ones.iter().zip(twos).zip(queued);
                both.all(|((one, two), spec)| {
                    one == two || is_alike(self.differences.of(spec), one, two)
                })
            }
            _ => is_alike(self.differences.of(spec), one, two),
        }
    }
}

const fn is_error(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(_))
}

/// Whether two replies that are not the same are as alike as they have to be.
fn is_alike(how: How, one: &Reply, two: &Reply) -> bool {
    if is_error(one) || is_error(two) {
        return false;
    }
    let is_one_type = std::mem::discriminant(one) == std::mem::discriminant(two);
    match how {
        How::Exact | How::Sound | How::Skip | How::Alone => false,
        How::Shape => is_one_type,
        How::Due => is_one_type || *one == Reply::Nil,
        How::Unordered => is_one_type && sorted(one) == sorted(two),
        // Those that are compared at all are compared among servers of one kind.
        How::Near | How::Newer => is_near(one, two),
    }
}

/// What is in a reply, down to the last list, in an order of its own.
fn sorted(reply: &Reply) -> Vec<String> {
    let mut all = match reply {
        Reply::Array(items) | Reply::Set(items) => items.iter().flat_map(sorted).collect(),
        Reply::Map(pairs) => {
            let pair = |(a, b): &(Reply, Reply)| format!("{a:?} {b:?}");
            pairs.iter().map(pair).collect()
        }
        other => vec![format!("{other:?}")],
    };
    all.sort();
    all
}

/// Times that differ by a few seconds, in seconds or in milliseconds, and whatever is equal.
fn is_near(one: &Reply, two: &Reply) -> bool {
    match (one, two) {
        (Reply::Int(one), Reply::Int(two)) if one != two => {
            // Times to live are long, and lie far from each other; see `word`.
            let slack = if *one.max(two) < 2_000_000 { 5 } else { 5000 };
            *one.min(two) > 900 && one.abs_diff(*two) <= slack
        }
        (Reply::Array(one), Reply::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| is_near(one, two))
        }
        _ => one == two,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_sequence_with_everything_in_it() {
        let differences = Differences(BTreeMap::new());
        let scope = Scope {
            with_newer: true,
            is_cluster: false,
        };
        let make = || {
            let mut generator = Generator::new(Random::new(7), &differences, scope);
            let asked = generator.batch(1, 200_000);
            asked
                .iter()
                .for_each(|asked| generator.compared(asked, &Reply::Ok));
            let argvs: Vec<_> = asked.into_iter().map(|asked| asked.argv).collect();
            (argvs, generator.coverage())
        };
        let (argvs, (used, lacking)) = make();
        assert_eq!(argvs, make().0);
        assert!(used > 200 && lacking.is_empty(), "{lacking:?}");
    }

    #[test]
    fn what_is_not_compared_is_not_covered() {
        let differences = Differences(BTreeMap::new());
        let scope = Scope {
            with_newer: true,
            is_cluster: false,
        };
        let mut generator = Generator::new(Random::new(7), &differences, scope);
        let asked = generator.batch(1, 2000);
        assert_eq!(generator.coverage().0, 0);
        for asked in &asked {
            let has = |option: &str| {
                let is_it = |word: &Vec<u8>| word.eq_ignore_ascii_case(option.as_bytes());
                asked.argv.iter().any(is_it)
            };
            let options = asked.covers.iter().skip(1);
            let mut options = options.map(|name| &name[asked.spec.name.len() + 1..]);
            assert!(options.all(has), "{:?}", asked.argv);
            generator.compared(asked, &Reply::Ok);
        }
        assert!(generator.coverage().0 > 50);
    }

    #[test]
    fn differences_have_a_reason() {
        assert_eq!(
            parse("HGETALL unordered: why"),
            Some(("HGETALL".to_owned(), How::Unordered))
        );
        for line in [
            "HGETALL unordered",
            "HGETALL: why",
            "HGETALL unordered: ",
            "X odd: why",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn replies_of_a_transaction_are_compared_each_as_its_command_says() {
        let differences = Differences(parse("HKEYS unordered: a").into_iter().collect());
        let mut judge = Judge::new(&differences);
        let mut is_alike = |name: &str, one: &str, two: &str| {
            let spec = TABLE.iter().find(|spec| spec.name == name).unwrap();
            judge.alike(spec, &read(one), &read(two))
        };
        for name in ["HKEYS", "HMGET", "HKEYS", "HMGET"] {
            assert!(is_alike(name, "+QUEUED\r\n", "+QUEUED\r\n"));
        }
        let (ab, ba) = ("*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n");
        let of = |lists: [&str; 4]| format!("*4\r\n{}", lists.concat());
        assert!(is_alike(
            "EXEC",
            &of([ab, ab, ab, ba]),
            &of([ba, ab, ba, ba])
        ));
        for name in ["HKEYS", "HMGET", "HKEYS", "HMGET"] {
            assert!(is_alike(name, "+QUEUED\r\n", "+QUEUED\r\n"));
        }
        assert!(!is_alike(
            "EXEC",
            &of([ab, ab, ab, ab]),
            &of([ab, ba, ab, ab])
        ));
        assert!(!is_alike("EXEC", &of([ab, ab, ab, ab]), "*0\r\n"));
    }

    fn read(text: &str) -> (Reply, Bytes) {
        let mut bytes = BytesMut::from(text);
        let reply = ReplyReader::default().read(&mut bytes).unwrap().unwrap();
        (reply, Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn replies_are_compared_as_a_difference_says() {
        let differences = [
            "HKEYS unordered: a",
            "PTTL near: b",
            "TIME shape: c",
            "MEMORY USAGE due: d",
        ];
        let differences = Differences(differences.iter().filter_map(|line| parse(line)).collect());
        let is_alike = |name: &str, one: &str, two: &str| {
            let spec = TABLE.iter().find(|spec| spec.name == name).unwrap();
            Judge::new(&differences).alike(spec, &read(one), &read(two))
        };
        let (ab, ba) = ("*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n");
        assert!(is_alike("HKEYS", ab, ba) && !is_alike("HMGET", ab, ba));
        assert!(is_alike("HMGET", ab, ab) && !is_alike("HKEYS", ab, "~2\r\n+b\r\n+a\r\n"));
        assert!(is_alike("PTTL", ":10000000\r\n", ":10000900\r\n"));
        assert!(!is_alike("PTTL", ":10000000\r\n", ":10009000\r\n"));
        assert!(!is_alike("PTTL", ":-1\r\n", ":-2\r\n"));
        assert!(is_alike("TIME", ab, ba) && !is_alike("TIME", "-ERR a\r\n", "-ERR b\r\n"));
        assert!(is_alike("MEMORY USAGE", ":5\r\n", ":6\r\n"));
        assert!(is_alike("MEMORY USAGE", "$-1\r\n", ":6\r\n"));
        assert!(!is_alike("MEMORY USAGE", ":6\r\n", "$-1\r\n"));
        assert!(!is_alike("GET", "$-1\r\n", "_\r\n"));
    }
}
