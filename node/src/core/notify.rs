//! What happens to keys, for those who have asked to be told: noted while the key's slot is locked,
//! told by who takes it. Knows neither who listens nor how they are told.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use dashmap::RwLock;

use super::pubsub::{News, Said};
use super::time::UnixMs;

/// The kinds of events that there are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Of any type: `del`, `expire`, `rename_from`, ...
    Generic,
    /// Of strings.
    String,
    /// Of hashes.
    Hash,
    /// A key's or a field's time has come.
    Expired,
    /// A key has been made.
    New,
}

impl Class {
    const fn flag(self) -> u32 {
        match self {
            Self::Generic => flag(b'g'),
            Self::String => flag(b'$'),
            Self::Hash => flag(b'h'),
            Self::Expired => flag(b'x'),
            Self::New => flag(b'n'),
        }
    }
}

/// Redis's letters by the numbers of their bits. The first ten are `A`; some are of types
/// that are out of scope, whose events never happen.
const LETTERS: &[u8] = b"g$lshzxetdKEn";
/// How many letters `A` stands for.
const ALL: usize = 10;

const fn flag(letter: u8) -> u32 {
    let mut index = 0;
    while LETTERS[index] != letter {
        index += 1;
    }
    1 << index
}

/// Which events are told on which channels: `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flags(u32);

/// Why a node that keeps no data tells of none.
pub const UNTOLD: &str = "a node with a backend sees no changes of keys";

impl Flags {
    const A: u32 = (1 << ALL) - 1;

    /// Reads the letters; nothing if one of them is none.
    #[must_use]
    pub fn parse(letters: &[u8]) -> Option<Self> {
        let mut flags = 0;
        for letter in letters {
            flags |= match letter {
                b'A' => Self::A,
                known if LETTERS.contains(known) => flag(*known),
                _ => return None,
            };
        }
        Some(Self(flags))
    }

    /// Whether nothing is told.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As a number, for other nodes.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From such a number.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << LETTERS.len()) - 1))
    }

    const fn has(self, letter: u8) -> bool {
        self.0 & flag(letter) != 0
    }

    /// What is worth noting: nothing, where it would be told nowhere.
    const fn wanted(self) -> u32 {
        if self.has(b'K') || self.has(b'E') {
            self.0
        } else {
            0
        }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_all = self.0 & Self::A == Self::A;
        if has_all {
            f.write_str("A")?;
        }
        // As Redis has it, but that it forgets of A and n the n.
        let letters: &[u8] = if has_all { b"KEn" } else { b"g$lshzxetdnKE" };
        letters
            .iter()
            .filter(|letter| self.has(**letter))
            .try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// The flags in force, which are those of the whole cluster: the latest that were set anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// Grows with each change; 0 before the first.
    pub version: u64,
    /// The flags.
    pub flags: Flags,
}

/// Something that has happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    name: &'static str,
    key: Bytes,
}

/// What has happened at a node and is still to be told.
#[derive(Debug, Default)]
pub struct Events {
    /// The flags of the classes that are noted.
    wanted: AtomicU32,
    /// What happens is for another node to tell.
    muted: AtomicBool,
    pending: AtomicUsize,
    /// Keys that were removed since they were due.
    expired_keys: AtomicU64,
    /// Fields likewise.
    expired_fields: AtomicU64,
    noted: RwLock<Vec<Event>>,
    setting: RwLock<Setting>,
}

impl Events {
    /// Whether events of a class are noted.
    #[must_use]
    pub fn want(&self, class: Class) -> bool {
        self.wanted.load(Relaxed) & class.flag() != 0
    }

    /// Notes what has happened to a key, whose slot is locked.
    pub fn note(&self, class: Class, name: &'static str, key: &[u8]) {
        if self.want(class) && !self.muted.load(Relaxed) {
            let key = Bytes::copy_from_slice(key);
            let mut noted = self.noted.write();
            noted.push(Event { name, key });
            self.pending.store(noted.len(), Relaxed);
        }
    }

    /// Counts what was removed since it was due, unless that is for another node to count.
    pub fn count_expired(&self, keys: u64, fields: u64) {
        if !self.is_muted() {
            self.expired_keys.fetch_add(keys, Relaxed);
            self.expired_fields.fetch_add(fields, Relaxed);
        }
    }

    /// How many keys and fields were removed since they were due.
    #[must_use]
    pub fn expired(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        (count(&self.expired_keys), count(&self.expired_fields))
    }

    /// Begins to count again.
    pub fn reset_expired(&self) {
        self.expired_keys.store(0, Relaxed);
        self.expired_fields.store(0, Relaxed);
    }

    /// Whether what happens is for another node to tell.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.muted.load(Relaxed)
    }

    /// From now on it is for another node to tell what happens, or for this one again. In a cluster
    /// everything happens on one thread, which says so before.
    pub fn mute(&self, muted: bool) {
        self.muted.store(muted, Relaxed);
    }

    /// Whether there is something to be told.
    #[must_use]
    pub fn are_pending(&self) -> bool {
        self.pending.load(Relaxed) > 0
    }

    /// Takes what is to be told, in the order in which it has happened to each key.
    #[must_use]
    pub fn take(&self) -> Vec<News> {
        let events = {
            let mut noted = self.noted.write();
            self.pending.store(0, Relaxed);
            std::mem::take(&mut *noted)
        };
        let flags = self.setting().flags;
        let mut news = Vec::with_capacity(2 * events.len());
        for Event { name, key } in events {
            if flags.has(b'K') {
                let channel = [b"__keyspace@0__:", &key[..]].concat();
                news.push(said(channel, Bytes::from_static(name.as_bytes())));
            }
            if flags.has(b'E') {
                news.push(said(format!("__keyevent@0__:{name}").into_bytes(), key));
            }
        }
        news
    }

    /// The flags in force.
    #[must_use]
    pub fn setting(&self) -> Setting {
        *self.setting.read()
    }

    /// Sets the flags; gives what the other nodes have to know.
    pub fn set(&self, flags: Flags, now: UnixMs) -> Setting {
        let version = now.max(self.setting().version + 1);
        let setting = Setting { version, flags };
        self.adopt(setting);
        setting
    }

    /// Takes over what was set elsewhere, if it is later than what is known here. Of two that were
    /// set at once one wins, everywhere the same.
    pub fn adopt(&self, setting: Setting) {
        let mut known = self.setting.write();
        if setting > *known {
            *known = setting;
            self.wanted.store(setting.flags.wanted(), Relaxed);
        }
    }
}

fn said(channel: Vec<u8>, text: Bytes) -> News {
    News::Said(Said {
        sharded: false,
        channel: channel.into(),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(letters: &str) -> Flags {
        Flags::parse(letters.as_bytes()).unwrap()
    }

    /// What is told: channels and texts.
    fn told(events: &Events) -> Vec<String> {
        let news = events.take().into_iter();
        let said = news.map(|news| match news {
            News::Said(said) => said,
            other => panic!("{other:?}"),
        });
        let text = String::from_utf8_lossy;
        said.map(|said| format!("{} {}", text(&said.channel), text(&said.text)))
            .collect()
    }

    #[test]
    fn letters_are_shown_in_the_order_of_redis() {
        for (letters, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("nKEA", "AKEn"),
            ("tdxKn$g", "g$xtdnK"),
            ("gnKE", "gnKE"),
            ("g$lshzxetdE", "AE"),
            ("AKh", "AK"),
        ] {
            assert_eq!(flags(letters).to_string(), shown, "{letters}");
            let same = Flags::from_bits(flags(letters).bits());
            assert_eq!(same, flags(letters));
        }
        assert_eq!(Flags::parse(b"KEq"), None);
        assert_eq!(Flags::from_bits(u32::MAX), flags("AKEn"));
    }

    #[test]
    fn what_is_wanted_is_told_where_it_is_wanted() {
        let happen = |letters| {
            let events = Events::default();
            events.set(flags(letters), 5);
            events.note(Class::String, "set", b"k");
            events.note(Class::Hash, "hset", b"h");
            let any = events.are_pending();
            let told = told(&events);
            assert_eq!(any, !told.is_empty());
            assert!(!events.are_pending());
            told
        };
        assert_eq!(happen("K$"), ["__keyspace@0__:k set"]);
        assert_eq!(happen("Eh"), ["__keyevent@0__:hset h"]);
        let both = ["__keyspace@0__:k set", "__keyevent@0__:set k"];
        assert_eq!(happen("KE$g"), both);
        assert_eq!(happen("KEA").len(), 4);
        for nothing in ["", "A", "KE", "KEgxn"] {
            assert_eq!(happen(nothing).len(), 0, "{nothing}");
        }
    }

    #[test]
    fn what_another_node_tells_is_not_told_here() {
        let events = Events::default();
        events.set(flags("KA"), 5);
        events.mute(true);
        events.note(Class::String, "set", b"k");
        events.mute(false);
        events.note(Class::String, "set", b"l");
        assert_eq!(told(&events), ["__keyspace@0__:l set"]);
    }

    #[test]
    fn the_latest_setting_wins_everywhere() {
        let (one, two) = (Events::default(), Events::default());
        let first = one.set(flags("KA"), 5);
        let second = two.set(flags("EA"), 5);
        one.adopt(second);
        two.adopt(first);
        assert_eq!(one.setting(), two.setting());
        let third = two.set(flags(""), 3);
        assert!(third.version > first.version, "whatever the clock says");
        one.adopt(third);
        one.adopt(first);
        assert_eq!(one.setting(), third);
        assert!(!one.want(Class::String));
    }
}
