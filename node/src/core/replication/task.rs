//! What the log of a shard holds: tasks, each with the place that its sender gave it, under one
//! time and one random seed.
//!
//! A task is encoded once, where its client is connected, and copied as bytes from there on:
//! through links, into the log, to the followers.

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;
use dht_proto::limits::{ARGUMENTS, ENTRY_BYTES, ENTRY_TASKS, TRANSACTION_WORDS};
pub use dht_proto::rpc::Place;
use smallvec::SmallVec;

use crate::core::pack::{self, Reader};
use crate::core::store::Watcher;
use crate::core::time::UnixMs;

/// The words of a command.
pub type Words<'a> = SmallVec<[&'a [u8]; 8]>;

const NO_WORDS: &[&[u8]] = &[];

/// Something to be done to a shard, in the order of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Nothing: takes the place of a task whose client waits no more.
    Nothing,
    /// A command as the client sent it.
    Command(Words<'a>),
    /// Opens the session of a client; the answer is its id, and the shard's first and last slot.
    Open,
    /// The same for a node, whose tasks come in order.
    OpenLane,
    /// Removes those of the keys that are due.
    Expire(Words<'a>),
    /// Adds keys to a watch.
    Watch(Watcher, Words<'a>),
    /// Ends a watch.
    Forget(u64),
    /// Commands that are executed together, unless a key of the watch has changed.
    Exec(Option<Watcher>, Vec<Words<'a>>),
    /// A task with its place in the session of a client, whichever node has brought it.
    Placed(Place, Box<Self>),
}

/// The number of [`Task::Placed`] among the kinds of tasks.
const PLACED: u64 = 7;

impl Task<'_> {
    /// Appends the task.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Nothing => encode_words(0, NO_WORDS, out),
            Self::Command(words) => encode_words(1, words, out),
            Self::Open => encode_words(2, NO_WORDS, out),
            Self::Expire(keys) => encode_words(3, keys, out),
            Self::Watch(watcher, keys) => {
                encode_words(4, keys, out);
                encode_watcher(Some(*watcher), out);
            }
            Self::Forget(token) => {
                encode_words(5, NO_WORDS, out);
                pack::uint(out, *token);
            }
            Self::Exec(watcher, commands) => {
                encode_words(6, NO_WORDS, out);
                encode_watcher(*watcher, out);
                pack::array(out, commands.len());
                commands.iter().for_each(|words| append_words(words, out));
            }
            Self::OpenLane => encode_words(8, NO_WORDS, out),
            Self::Placed(place, task) => {
                encode_place(*place, out);
                task.encode(out);
            }
        }
    }

    /// The task as bytes of its own.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }
}

/// A command's bytes as a task.
#[must_use]
pub fn command(argv: &[impl AsRef<[u8]>]) -> Bytes {
    let length: usize = argv.iter().map(|word| word.as_ref().len() + 5).sum();
    let mut out = BytesMut::with_capacity(length + 6);
    encode_words(1, argv, &mut out);
    out.freeze()
}

/// An encoded task with its place in the session of a client.
#[must_use]
pub fn placed(place: Place, task: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(task.len() + 32);
    encode_place(place, &mut out);
    out.extend_from_slice(task);
    out.freeze()
}

fn encode_place(place: Place, out: &mut BytesMut) {
    for number in [PLACED, place.session, place.sequence, place.acknowledged] {
        pack::uint(out, number);
    }
}

fn encode_words(kind: u64, words: &[impl AsRef<[u8]>], out: &mut BytesMut) {
    pack::uint(out, kind);
    append_words(words, out);
}

/// Appends a command's words.
pub fn append_words(words: &[impl AsRef<[u8]>], out: &mut BytesMut) {
    pack::array(out, words.len());
    words.iter().for_each(|word| pack::bin(out, word.as_ref()));
}

/// Without a watch its number of rounds is 0.
fn encode_watcher(watcher: Option<Watcher>, out: &mut BytesMut) {
    let (token, rounds) = watcher.map_or((0, 0), |watcher| (watcher.token, watcher.rounds));
    pack::uint(out, token);
    pack::uint(out, rounds);
}

fn take_watcher(from: &mut Reader<'_>) -> Result<Option<Watcher>, Malformed> {
    let (token, rounds) = (from.uint()?, from.uint()?);
    Ok((rounds > 0).then_some(Watcher { token, rounds }))
}

/// Reads a command's words, of which `left` takes note.
///
/// # Errors
/// They are none, or more than are left.
pub fn take_words<'a>(from: &mut Reader<'a>, left: &mut usize) -> Result<Words<'a>, Malformed> {
    let count = from.array(*left)?;
    *left -= count;
    let mut words = Words::with_capacity(count);
    for _ in 0..count {
        words.push(from.bin()?);
    }
    Ok(words)
}

/// Reads a task.
///
/// # Errors
/// It is none.
pub fn decode<'a>(from: &mut Reader<'a>) -> Result<Task<'a>, Malformed> {
    match from.uint()? {
        PLACED => {
            let place = Place {
                session: from.uint()?,
                sequence: from.uint()?,
                acknowledged: from.uint()?,
            };
            // A place inside a place is an unknown kind.
            let task = decode_plain(from.uint()?, from)?;
            Ok(Task::Placed(place, Box::new(task)))
        }
        kind => decode_plain(kind, from),
    }
}

fn decode_plain<'a>(kind: u64, from: &mut Reader<'a>) -> Result<Task<'a>, Malformed> {
    let words = take_words(from, &mut ARGUMENTS.clone())?;
    Ok(match kind {
        0 => Task::Nothing,
        1 => Task::Command(words),
        2 => Task::Open,
        3 => Task::Expire(words),
        4 => match take_watcher(from)? {
            Some(watcher) => Task::Watch(watcher, words),
            None => return Err(Malformed("a watch without a round")),
        },
        5 => Task::Forget(from.uint()?),
        6 => {
            let (watcher, mut left) = (take_watcher(from)?, TRANSACTION_WORDS);
            let commands = 0..from.array(left)?;
            let commands = commands.map(|_| take_words(from, &mut left));
            Task::Exec(watcher, commands.collect::<Result<_, _>>()?)
        }
        8 => Task::OpenLane,
        _ => return Err(Malformed("an unknown kind of task")),
    })
}

/// An entry while tasks are added to it.
pub struct EntryWriter {
    tasks: BytesMut,
    count: usize,
}

impl EntryWriter {
    /// An entry without tasks; as such it lets time go on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tasks: BytesMut::new(),
            count: 0,
        }
    }

    /// Adds an encoded task.
    pub fn push(&mut self, place: Option<Place>, task: &[u8]) {
        match place {
            None => pack::uint(&mut self.tasks, 0),
            Some(place) => {
                for number in [place.session, place.sequence, place.acknowledged] {
                    pack::uint(&mut self.tasks, number);
                }
            }
        }
        self.tasks.extend_from_slice(task);
        self.count += 1;
    }

    /// Whether no task was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a further task belongs into another entry.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count >= ENTRY_TASKS || self.tasks.len() >= ENTRY_BYTES
    }

    /// The entry, at a time and with a seed.
    #[must_use]
    pub fn finish(self, stamp: UnixMs, seed: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(self.tasks.len() + 24);
        pack::uint(&mut out, stamp);
        pack::uint(&mut out, seed);
        pack::array(&mut out, self.count);
        out.extend_from_slice(&self.tasks);
        out.freeze()
    }
}

impl Default for EntryWriter {
    fn default() -> Self {
        Self::new()
    }
}

/// An entry of the log.
pub struct Entry<'a> {
    /// The leader's time.
    pub stamp: UnixMs,
    /// The leader's random seed.
    pub seed: u64,
    left: usize,
    from: Reader<'a>,
}

impl<'a> Entry<'a> {
    /// Reads the head of an entry.
    ///
    /// # Errors
    /// It is none.
    pub fn read(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(data);
        Ok(Self {
            stamp: from.uint()?,
            seed: from.uint()?,
            left: from.array(ENTRY_TASKS)?,
            from,
        })
    }

    /// The next task and its place.
    ///
    /// # Errors
    /// There is none although there should be.
    pub fn next_task(&mut self) -> Result<Option<(Option<Place>, Task<'a>)>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let place = match self.from.uint()? {
            0 => None,
            session => Some(Place {
                session,
                sequence: self.from.uint()?,
                acknowledged: self.from.uint()?,
            }),
        };
        Ok(Some((place, decode(&mut self.from)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_back_with_their_places() {
        let place = Place {
            session: 7,
            sequence: 300,
            acknowledged: 2,
        };
        let words =
            |text: &'static [&'static str]| text.iter().map(|word| word.as_bytes()).collect();
        let watcher = Watcher {
            token: u64::MAX,
            rounds: 3,
        };
        let tasks = || {
            [
                (None, Task::Command(words(&["SET", "k", ""]))),
                (Some(place), Task::Nothing),
                (None, Task::Open),
                (None, Task::OpenLane),
                (None, Task::Expire(words(&["a", "b"]))),
                (None, Task::Watch(watcher, words(&["a", "b"]))),
                (None, Task::Forget(u64::MAX)),
                (None, Task::Exec(None, Vec::new())),
                (
                    None,
                    Task::Exec(Some(watcher), vec![words(&["GET", "k"]), words(&[])]),
                ),
                (
                    Some(place),
                    Task::Placed(place, Box::new(Task::Command(words(&["INCR", "n"])))),
                ),
            ]
        };
        let mut writer = EntryWriter::new();
        for (place, task) in &tasks() {
            writer.push(*place, &task.to_bytes());
        }
        let data = writer.finish(1_700_000_000_000, u64::MAX);
        let mut entry = Entry::read(&data).unwrap();
        assert_eq!((entry.stamp, entry.seed), (1_700_000_000_000, u64::MAX));
        for task in tasks() {
            assert_eq!(entry.next_task(), Ok(Some(task)));
        }
        assert_eq!(entry.next_task(), Ok(None));
    }

    #[test]
    fn a_command_is_the_same_however_it_is_encoded() {
        let words: Words<'_> = [&b"GET"[..], b"k"].into_iter().collect();
        let place = Place {
            session: 1,
            sequence: 2,
            acknowledged: 0,
        };
        let plain = command(&["GET", "k"]);
        assert_eq!(plain, Task::Command(words.clone()).to_bytes());
        let in_place = Task::Placed(place, Box::new(Task::Command(words)));
        assert_eq!(placed(place, &plain), in_place.to_bytes());
        let twice = placed(place, &placed(place, &plain));
        assert!(decode(&mut Reader::new(&twice)).is_err());
    }

    #[test]
    fn an_entry_is_full_by_its_tasks_or_by_their_bytes() {
        let mut entry = EntryWriter::new();
        for _ in 0..ENTRY_TASKS {
            assert!(!entry.is_full());
            entry.push(None, &Task::Nothing.to_bytes());
        }
        assert!(entry.is_full());
        let mut entry = EntryWriter::new();
        let task = command(&[&vec![0; ENTRY_BYTES - 10]]);
        entry.push(None, &task);
        assert!(!entry.is_full(), "{} bytes", task.len());
        entry.push(None, &command(&["GET", "k"]));
        assert!(entry.is_full());
        // No reader takes more.
        let mut out = BytesMut::new();
        pack::uint(&mut out, 1);
        pack::uint(&mut out, 2);
        pack::array(&mut out, ENTRY_TASKS + 1);
        out.resize(out.len() + ENTRY_TASKS + 1, 0);
        assert!(Entry::read(&out).is_err());
    }

    #[test]
    fn torn_entries_are_refused() {
        let mut writer = EntryWriter::new();
        writer.push(None, &command(&["SET", "k", "v"]));
        let data = writer.finish(1, 2);
        for length in 0..data.len() {
            let read = Entry::read(&data[..length]).and_then(|mut entry| entry.next_task());
            assert!(read.is_err(), "{length}");
        }
    }
}
