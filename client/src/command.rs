//! A command on its way: its words, and the Rust values that become words.

use bytes::Bytes;
use dht_proto::slot::key_slot;
use dht_proto::spec::{self, CommandId, Kind};
use smallvec::SmallVec;

use crate::verdict::Repeat;
use crate::word::Word;

/// A command as it is sent: its name and arguments, one byte string each. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The words, the name's first.
    pub words: Words,
}

/// The words of a command, a few in place.
pub type Words = SmallVec<[Word; 4]>;

/// The words as they are looked at.
type Seen<'a> = SmallVec<[&'a [u8]; 8]>;

/// Where a command has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the leader of this slot, to which all its keys belong.
    Slot(u16),
    /// On any node, which does it or has it done.
    Anywhere,
    /// Nowhere: it is about a connection that nobody shares, and this client has none.
    OwnConnection,
}

/// How a command has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where.
    pub place: Place,
    /// Whether it may be sent again without a place in a session.
    pub repeat: Repeat,
    /// Whether it may be asked of several nodes at a time.
    pub is_asked_twice: bool,
    /// It works through the whole keyspace, however long that takes.
    pub is_long: bool,
}

impl Command {
    /// A command without arguments yet. A name of two words, `CLIENT ID`, may be given as one text.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let words = name.split(' ').map(|word| Word::copy(word.as_bytes()));
        Self {
            words: words.collect(),
        }
    }

    /// A command from all its words.
    pub fn from_words(words: impl Args) -> Self {
        let mut command = Self::default();
        words.append_to(&mut command);
        command
    }

    /// The same with one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Arg) -> Self {
        arg.append_to(&mut self);
        self
    }

    /// The words as they are looked at.
    pub(crate) fn seen(&self) -> Seen<'_> {
        self.words.iter().map(AsRef::as_ref).collect()
    }

    fn push(&mut self, word: impl Into<Word>) {
        self.words.push(word.into());
    }

    /// Whether it works through the whole keyspace, however long that takes.
    #[must_use]
    pub(crate) fn is_long(&self) -> bool {
        let words = self.seen();
        spec::find(&words).is_ok_and(|id| id.spec().kind.is_long())
    }

    /// Where and how it has to run. Of a command that the table does not know the worst is assumed;
    /// the server, which may know more, will say.
    #[must_use]
    pub(crate) fn plan(&self) -> Plan {
        let words = self.seen();
        let Ok(id) = spec::find(&words) else {
            return Plan {
                place: Place::Anywhere,
                repeat: Repeat::Never,
                is_asked_twice: false,
                is_long: false,
            };
        };
        let kind = id.spec().kind;
        let place = match kind {
            Kind::READ | Kind::WRITE | Kind::READ_EACH | Kind::WRITE_EACH => {
                place_of_keys(id, &words)
            }
            Kind::SESSION | Kind::SNAPSHOT => named_slot(words.get(id.words())),
            Kind::READ_ALL
            | Kind::CALL
            | Kind::READ_ANY
            | Kind::META
            | Kind::WRITE_ALL
            | Kind::CURSOR
            | Kind::LOCAL
            | Kind::SIGN
            | Kind::HANDSHAKE
            | Kind::ENDING => Place::Anywhere,
            Kind::TRANSACTION | Kind::EXECUTION | Kind::LISTEN => Place::OwnConnection,
        };
        Plan {
            place,
            repeat: match kind {
                kind if kind.reads() => Repeat::Reads,
                kind if kind.is_repeatable() => Repeat::Freely,
                _ => Repeat::Never,
            },
            is_asked_twice: kind.is_read_anywhere() || kind == Kind::SESSION,
            is_long: kind.is_long(),
        }
    }

    /// Whether it reads, and changes nothing whatever becomes of it.
    #[must_use]
    pub(crate) fn reads(&self) -> bool {
        let words = self.seen();
        spec::find(&words).is_ok_and(|id| id.spec().kind.reads())
    }
}

impl Command {
    /// The slot of all its keys, also when it is part of a transaction.
    pub(crate) fn place_of_keys(&self) -> Place {
        let words = self.seen();
        spec::find(&words).map_or(Place::Anywhere, |id| place_of_keys(id, &words))
    }
}

fn place_of_keys(id: CommandId, words: &[&[u8]]) -> Place {
    let keys = id.schema().keys.into_iter();
    common_slot(
        keys.flat_map(|keys| keys.positions(words))
            .map(|at| words[at]),
    )
}

/// The slot that an argument names, if it is a number.
fn named_slot(word: Option<&&[u8]>) -> Place {
    let text = word.and_then(|word| str::from_utf8(word).ok());
    text.and_then(|text| text.parse().ok())
        .map_or(Place::Anywhere, Place::Slot)
}

fn common_slot<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> Place {
    let Some(slot) = keys.next().map(key_slot) else {
        return Place::Anywhere;
    };
    if keys.all(|key| key_slot(key) == slot) {
        Place::Slot(slot)
    } else {
        Place::Anywhere
    }
}

/// What can be given as an argument: text, bytes or a number; also the options of a command.
pub trait Arg {
    /// Adds it to a command.
    fn append_to(&self, command: &mut Command);
}

/// Several arguments: anything that iterates over values that can be one.
pub trait Args {
    /// Adds them to a command.
    fn append_to(self, command: &mut Command);
}

/// Pairs of arguments: anything that iterates over pairs, such as `[("name", "Alice")]` or a map.
pub trait Pairs {
    /// Adds them to a command.
    fn append_to(self, command: &mut Command);
}

/// Two arguments that belong together.
pub trait Pair {
    /// Adds both to a command.
    fn append_to(&self, command: &mut Command);
}

/// Pairs with their number in front of them.
pub struct CountedPairs<P>(pub P);

impl<P: Pairs> CountedPairs<P> {
    /// Adds the number and the pairs to a command.
    pub fn append_to(self, command: &mut Command) {
        let mut pairs = Command::default();
        self.0.append_to(&mut pairs);
        command.push((pairs.words.len() / 2).to_string());
        command.words.append(&mut pairs.words);
    }
}

/// `FIELDS`, their number, and the fields.
pub struct CountedFields<F>(pub F);

impl<F: Args> CountedFields<F> {
    /// Adds all of it to a command.
    pub fn append_to(self, command: &mut Command) {
        let fields = Command::from_words(self.0);
        append_counted(fields, 1, command);
    }
}

/// The same of pairs: fields with their values.
pub struct CountedValues<P>(pub P);

impl<P: Pairs> CountedValues<P> {
    /// Adds all of it to a command.
    pub fn append_to(self, command: &mut Command) {
        let mut pairs = Command::default();
        self.0.append_to(&mut pairs);
        append_counted(pairs, 2, command);
    }
}

fn append_counted(mut fields: Command, step: usize, command: &mut Command) {
    command.push(Bytes::from_static(b"FIELDS"));
    command.push((fields.words.len() / step).to_string());
    command.words.append(&mut fields.words);
}

impl<T: Arg + ?Sized> Arg for &T {
    fn append_to(&self, command: &mut Command) {
        (**self).append_to(command);
    }
}

impl Arg for Bytes {
    fn append_to(&self, command: &mut Command) {
        command.push(self.clone());
    }
}

impl<const N: usize> Arg for [u8; N] {
    fn append_to(&self, command: &mut Command) {
        command.push(Word::copy(self));
    }
}

macro_rules! byte_args {
    ($($type:ty)*) => {
        $(impl Arg for $type {
            fn append_to(&self, command: &mut Command) {
                command.push(Word::copy(self.as_ref()));
            }
        })*
    };
}
byte_args!(str String [u8] Vec<u8>);

macro_rules! number_args {
    ($($type:ty)*) => {
        $(impl Arg for $type {
            fn append_to(&self, command: &mut Command) {
                command.push(self.to_string());
            }
        })*
    };
}
number_args!(i32 i64 u32 u64 usize f64);

impl<I: IntoIterator<Item: Arg>> Args for I {
    fn append_to(self, command: &mut Command) {
        self.into_iter().for_each(|arg| arg.append_to(command));
    }
}

impl<I: IntoIterator<Item: Pair>> Pairs for I {
    fn append_to(self, command: &mut Command) {
        self.into_iter().for_each(|pair| pair.append_to(command));
    }
}

impl<A: Arg, B: Arg> Pair for (A, B) {
    fn append_to(&self, command: &mut Command) {
        self.0.append_to(command);
        self.1.append_to(command);
    }
}

impl<T: Pair> Pair for &T {
    fn append_to(&self, command: &mut Command) {
        (**self).append_to(command);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn words(command: &Command) -> Vec<&str> {
        let text = |word| str::from_utf8(word).unwrap();
        command.words.iter().map(|word| text(word)).collect()
    }

    #[test]
    fn values_become_words() {
        let one = |arg: &dyn Fn(Command) -> Command| arg(Command::new("ECHO"));
        let check = |command: Command, expect: &str| assert_eq!(words(&command), ["ECHO", expect]);
        check(one(&|c| c.arg("a b")), "a b");
        check(one(&|c| c.arg(String::from("x"))), "x");
        check(one(&|c| c.arg(b"x")), "x");
        check(one(&|c| c.arg(vec![b'y'])), "y");
        check(one(&|c| c.arg(Bytes::from_static(b"z"))), "z");
        check(one(&|c| c.arg(-7)), "-7");
        check(one(&|c| c.arg(0.5)), "0.5");
    }

    #[test]
    fn pairs_come_from_arrays_slices_and_maps() {
        let check = |pairs: &dyn Fn(&mut Command)| {
            let mut command = Command::new("HSET");
            pairs(&mut command);
            assert_eq!(words(&command), ["HSET", "a", "1", "b", "2"]);
        };
        let array = [("a", 1), ("b", 2)];
        let slice: &[(&str, i32)] = &array;
        let map: BTreeMap<&str, i64> = [("a", 1), ("b", 2)].into();
        check(&|command| Pairs::append_to(array, command));
        check(&|command| Pairs::append_to(slice, command));
        check(&|command| Pairs::append_to(array.to_vec(), command));
        check(&|command| Pairs::append_to(&map, command));
    }

    #[test]
    fn plans() {
        let check = |line: &str, place: Place, repeatable: bool| {
            let command = Command::from_words(line.split(' '));
            let plan = command.plan();
            let may_repeat = plan.repeat != Repeat::Never;
            assert_eq!((plan.place, may_repeat), (place, repeatable), "{line}");
        };
        let foo = Place::Slot(12182);
        check("GET foo", foo, true);
        check("get {foo}bar", foo, true);
        check("HSET foo a 1", foo, false);
        check("MGET foo {foo}1", foo, true);
        check("MGET foo bar", Place::Anywhere, true);
        check("MSET foo 1 {foo}1 2", foo, false);
        check("DEL foo bar", Place::Anywhere, false);
        check("DBSIZE", Place::Anywhere, true);
        check("FLUSHALL", Place::Anywhere, false);
        check("CLUSTER KEYSLOT foo", Place::Anywhere, true);
        check("CLUSTER SESSION 12182", foo, true);
        check("CLUSTER SESSION foo", Place::Anywhere, true);
        check("NO-SUCH foo", Place::Anywhere, false);
        check("GET", Place::Anywhere, false);
    }

    /// What may be asked of several nodes at a time changes nothing, nor holds anything.
    #[test]
    fn what_is_asked_twice() {
        let check = |line: &str, repeat: Repeat, is_asked_twice: bool| {
            let plan = Command::from_words(line.split(' ')).plan();
            let found = (plan.repeat, plan.is_asked_twice);
            assert_eq!(found, (repeat, is_asked_twice), "{line}");
        };
        for line in ["GET foo", "MGET foo bar", "DBSIZE", "RANDOMKEY", "SCAN 0"] {
            check(line, Repeat::Reads, true);
        }
        check("CLUSTER SESSION 12182", Repeat::Freely, true);
        check("CLUSTER SNAPSHOT 12182", Repeat::Reads, false);
        check("PING", Repeat::Reads, false);
        for line in ["CONFIG SET a b", "PUBLISH a b", "CLUSTER EMPTY 1"] {
            check(line, Repeat::Freely, false);
        }
        for line in ["SET foo 1", "DEL foo bar", "FLUSHALL", "SERVICE CALL a b c"] {
            check(line, Repeat::Never, false);
        }
    }
}
