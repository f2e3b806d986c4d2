//! A command's test as data, once, for every door.
//!
//! A script is a text file of blocks; each starts from an empty keyspace and a new connection:
//!
//! ```text
//! # a comment
//! == what the block shows
//! @skip store: why these doors leave the block out
//! > HSET h f "a value"
//! 1
//! > HGETALL h
//! {"f": "a value"}
//! >* SCAN 0 COUNT 2
//! ["h"]
//! > COMMAND COUNT
//! any int
//! @redis -ERR another reply at these doors: why
//! ```
//!
//! `>` is a command as redis-cli takes it, and the line below it what it should answer, in the form
//! of [`crate::expect`] and in Redis's words. `>*` repeats a SCAN or HSCAN from its cursor until
//! the iteration ends; the answer is everything found, sorted, once each. `@doors …: why` below an
//! expectation replaces it at these doors. Below a block's head stand `@skip doors: why`,
//! `@clustered`: real Redis has to be in cluster mode, and `@pipelined`: all commands are sent
//! before the first is answered. Doors are named `store`, `resp`, `native`,
//! `cluster`, `backend` and `redis`, separated by commas; `ours` are all but `redis`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use dht_proto::Reply;
use dht_proto::resp::split_words;
use dht_proto::spec::{self, Family};

use crate::door::Door;
use crate::expect::{Expect, render};

/// A file of blocks.
#[derive(Debug)]
pub struct Script {
    /// Where it was read.
    pub path: PathBuf,
    lines: Vec<String>,
    /// Its tests.
    pub blocks: Vec<Block>,
}

/// Commands that build on each other.
#[derive(Debug)]
pub struct Block {
    /// What it shows.
    pub name: String,
    /// Doors that leave it out.
    skip: Vec<String>,
    /// Whether real Redis has to be in cluster mode.
    pub cluster: bool,
    /// Whether its commands are sent together.
    pipelined: bool,
    /// Commands and their replies.
    pub steps: Vec<Step>,
}

/// A command and what it should answer.
#[derive(Debug)]
pub struct Step {
    /// The command.
    pub argv: Vec<Vec<u8>>,
    /// Whether it is repeated from its cursor.
    iterate: bool,
    /// The line of its answer, counted from 0.
    line: usize,
    answer: Answer,
    exceptions: Vec<(Vec<String>, Answer)>,
}

impl Step {
    /// Whether the answer is an error.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.answer.text.starts_with('-')
    }
}

/// What should be answered.
#[derive(Debug)]
struct Answer {
    text: String,
    expect: Expect,
}

/// A reply that was not as expected.
#[derive(Debug)]
pub struct Mismatch {
    text: String,
    reply: Reply,
    /// The line to rewrite, counted from 0: none when the answer was that of an exception.
    line: Option<usize>,
}

impl Script {
    /// Reads every script of a folder, sorted by name.
    ///
    /// # Errors
    /// A file that cannot be read or is no script.
    pub fn load_all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
        paths.sort();
        paths.into_iter().map(Self::load).collect()
    }

    fn load(path: PathBuf) -> io::Result<Self> {
        let text = std::fs::read_to_string(&path)?;
        Self::parse(path, &text)
    }

    fn parse(path: PathBuf, text: &str) -> io::Result<Self> {
        let mut script = Self {
            path,
            lines: text.lines().map(str::to_owned).collect(),
            blocks: Vec::new(),
        };
        for index in 0..script.lines.len() {
            if let Err(why) = script.take_line(index) {
                let place = script.place(index);
                return Err(io::Error::other(format!("{place}: {why}")));
            }
        }
        Ok(script)
    }

    fn take_line(&mut self, index: usize) -> Result<(), String> {
        let line = self.lines[index].as_str();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix("== ") {
            self.blocks.push(Block::new(name));
            return Ok(());
        }
        let block = self
            .blocks
            .last_mut()
            .ok_or("a line before the first block")?;
        if let Some(directive) = line.strip_prefix('@') {
            return block.take_directive(directive);
        }
        if line.starts_with('>') {
            let answer = self.lines.get(index + 1).map_or("", String::as_str);
            block.steps.push(Step::parse(line, answer, index + 1)?);
            return Ok(());
        }
        match block.steps.last() {
            Some(step) if step.line == index => Ok(()),
            _ => Err("neither a command nor its reply".to_owned()),
        }
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{}", self.path.display(), line + 1)
    }

    /// Runs the blocks that `wanted` picks; gives what differs.
    ///
    /// # Errors
    /// The door fails.
    pub async fn run(
        &self,
        door: &mut Door,
        wanted: impl Fn(&Block) -> bool,
    ) -> io::Result<Vec<Mismatch>> {
        let mut mismatches = Vec::new();
        for block in &self.blocks {
            // What the Redis of the tests lacks is lacking behind a node, too.
            let lacks = door.name == "backend" && is_named(&block.skip, "redis");
            if !wanted(block) || lacks || is_named(&block.skip, door.name) {
                continue;
            }
            door.open(block.is_about_connections()).await?;
            let mut together = block.run_together(door).await?.into_iter();
            for step in &block.steps {
                let name = door.name;
                let failed = |error| {
                    let place = self.place(step.line);
                    io::Error::other(format!("{place} at {name}: {error}"))
                };
                let reply = match together.next() {
                    Some(reply) => reply,
                    None => step.run(door).await.map_err(failed)?,
                };
                let answer = step.answer_at(door.name);
                if !answer.expect.accepts(&reply, door.is_flat) {
                    mismatches.push(self.mismatch(door, step, answer, reply));
                }
            }
        }
        Ok(mismatches)
    }

    fn mismatch(&self, door: &Door, step: &Step, answer: &Answer, reply: Reply) -> Mismatch {
        let text = format!(
            "{} at {}\n    {}\n  expected {}\n  answered {}",
            self.place(step.line),
            door.name,
            self.lines[step.line - 1],
            answer.text,
            render(&reply)
        );
        Mismatch {
            text,
            reply,
            line: std::ptr::eq(answer, &raw const step.answer).then_some(step.line),
        }
    }

    /// The script with the replies that were given in place of those that were expected.
    #[must_use]
    pub fn rewritten(&self, mismatches: &[Mismatch]) -> String {
        let mut lines = self.lines.clone();
        for mismatch in mismatches {
            if let Some(line) = mismatch.line {
                lines[line] = render(&mismatch.reply);
            }
        }
        lines.join("\n") + "\n"
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Block {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            skip: Vec::new(),
            cluster: false,
            pipelined: false,
            steps: Vec::new(),
        }
    }

    fn take_directive(&mut self, directive: &str) -> Result<(), String> {
        let Some(step) = self.steps.last_mut() else {
            match directive {
                "clustered" => self.cluster = true,
                "pipelined" => self.pipelined = true,
                other => self.skip = skipped(other)?,
            }
            return Ok(());
        };
        let (names, rest) = directive.split_once(' ').ok_or("no expectation given")?;
        let (answer, _why) = rest.rsplit_once(": ").ok_or("no reason given")?;
        step.exceptions.push((doors(names), Answer::parse(answer)?));
        Ok(())
    }

    /// The replies, if its commands are sent together.
    async fn run_together(&self, door: &mut Door) -> io::Result<Vec<Reply>> {
        if !self.pipelined {
            return Ok(Vec::new());
        }
        let commands: Vec<_> = self.steps.iter().map(|step| step.argv.clone()).collect();
        door.call_all(&commands).await
    }

    /// Whether its commands have to go through one connection.
    fn is_about_connections(&self) -> bool {
        self.steps.iter().any(|step| {
            let argv: Vec<&[u8]> = step.argv.iter().map(Vec::as_slice).collect();
            let families = [Family::Connection, Family::Transaction, Family::PubSub];
            spec::find(&argv).is_ok_and(|id| families.contains(&id.spec().family))
        })
    }
}

fn skipped(directive: &str) -> Result<Vec<String>, String> {
    let names = directive.strip_prefix("skip ").ok_or("unknown directive")?;
    let (names, _why) = names.split_once(": ").ok_or("no reason given")?;
    Ok(doors(names))
}

fn doors(names: &str) -> Vec<String> {
    names.split(',').map(str::to_owned).collect()
}

fn is_named(doors: &[String], door: &str) -> bool {
    let is_it = |name: &String| {
        // A node with a backend splits and refuses as a cluster does.
        name == door || name == "ours" && door != "redis" || name == "cluster" && door == "backend"
    };
    doors.iter().any(is_it)
}

impl Step {
    fn parse(command: &str, answer: &str, line: usize) -> Result<Self, String> {
        let words = command.trim_start_matches(['>', '*']);
        let argv = split_words(words.as_bytes()).ok_or("a quote is not closed")?;
        if argv.is_empty() {
            return Err("no command".to_owned());
        }
        Ok(Self {
            argv,
            iterate: command.starts_with(">*"),
            line,
            answer: Answer::parse(answer)?,
            exceptions: Vec::new(),
        })
    }

    fn answer_at(&self, door: &str) -> &Answer {
        let exception = self
            .exceptions
            .iter()
            .find(|(doors, _)| is_named(doors, door));
        exception.map_or(&self.answer, |(_, answer)| answer)
    }

    async fn run(&self, door: &mut Door) -> io::Result<Reply> {
        if !self.iterate {
            return door.call(&self.argv).await;
        }
        let mut argv = self.argv.clone();
        // HSCAN has a key before its cursor, and finds pairs.
        let at = if argv[0].eq_ignore_ascii_case(b"SCAN") {
            1
        } else {
            2
        };
        let mut found = BTreeMap::new();
        loop {
            let reply = door.call(&argv).await?;
            let Some((cursor, elements)) = page(&reply) else {
                return Ok(reply);
            };
            found.extend(
                elements
                    .chunks(at)
                    .map(|chunk| (render(&chunk[0]), chunk.to_vec())),
            );
            if cursor == b"0" {
                return Ok(Reply::Array(found.into_values().flatten().collect()));
            }
            argv[at] = cursor.to_vec();
        }
    }
}

impl Answer {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self {
            text: text.to_owned(),
            expect: Expect::parse(text)?,
        })
    }
}

/// The parts of SCAN's answer.
fn page(reply: &Reply) -> Option<(&[u8], &[Reply])> {
    match reply {
        Reply::Array(parts) => match parts.as_slice() {
            [Reply::Bulk(cursor), Reply::Array(elements)] => Some((cursor, elements)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> io::Result<Script> {
        Script::parse(PathBuf::from("a.txt"), text)
    }

    #[test]
    fn blocks_steps_and_directives_are_read() {
        let text = "# about\n== one\n@skip store,native: why\n> SET k \"a b\"\n+OK\n\
                    @redis nil: why not\n\n== two\n@clustered\n>* SCAN 0\n[]\n";
        let script = parse(text).expect("a script");
        let [one, two] = script.blocks.as_slice() else {
            panic!("{:?}", script.blocks);
        };
        assert_eq!(one.skip, ["store", "native"]);
        assert_eq!(one.steps[0].argv, [&b"SET"[..], b"k", b"a b"]);
        assert_eq!(
            one.steps[0].answer_at("resp").expect,
            Expect::Status("OK".to_owned())
        );
        assert_eq!(one.steps[0].answer_at("redis").text, "nil");
        assert!((two.cluster, two.steps[0].iterate) == (true, true));
    }

    #[test]
    fn what_is_no_script_is_refused_with_its_place() {
        for (text, line) in [
            ("+OK\n", 1),
            ("== a\n> GET k\n", 2),
            ("== a\n> GET k\nnil\nnil\n", 4),
            ("== a\n> \nnil\n", 2),
            ("== a\n@skip store\n", 2),
            ("== a\n> GET k\nnil\n@redis nil\n", 4),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("a.txt:{line}: ")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn only_answers_that_differ_are_rewritten() {
        let text = "== a\n> GET k\nnil\n# a remark\n> GET l\nany string\n";
        let script = parse(text).expect("a script");
        let mismatch = |line, reply| Mismatch {
            text: String::new(),
            reply,
            line,
        };
        let rewritten = script.rewritten(&[
            mismatch(Some(2), Reply::Int(1)),
            mismatch(None, Reply::Int(2)),
        ]);
        assert_eq!(rewritten, text.replace("nil", "1"));
    }
}
