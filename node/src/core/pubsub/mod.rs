//! Who of this node listens to which channels, and what is said there. Knows neither where
//! messages wait nor how they are sent to other nodes.

mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;

use bytes::Bytes;
use dashmap::RwLock;
use dht_proto::{Reply, ReplyError, limits};

pub use self::news::{News, is_news, read_all};
use super::glob;

/// What a name costs a connection besides its bytes.
const NAME_BYTES: usize = 64;

/// How a name is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It is a channel.
    Channel,
    /// It is a pattern of channels.
    Pattern,
    /// It is a channel of those that are spoken to with SPUBLISH.
    Shard,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];

    /// What a client is told that begins to listen.
    #[must_use]
    pub const fn begun(self) -> &'static str {
        match self {
            Self::Channel => "subscribe",
            Self::Pattern => "psubscribe",
            Self::Shard => "ssubscribe",
        }
    }

    /// What a client is told that ends to listen.
    #[must_use]
    pub const fn ended(self) -> &'static str {
        match self {
            Self::Channel => "unsubscribe",
            Self::Pattern => "punsubscribe",
            Self::Shard => "sunsubscribe",
        }
    }

    /// Longest name, in bytes. A pattern is compared with every channel that is spoken to.
    const fn longest(self) -> (&'static str, usize) {
        match self {
            Self::Pattern => ("pattern", limits::PATTERN_BYTES),
            Self::Channel | Self::Shard => ("channel", limits::CHANNEL_BYTES),
        }
    }
}

/// Something said on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// With SPUBLISH.
    pub sharded: bool,
    /// Where.
    pub channel: Bytes,
    /// What.
    pub text: Bytes,
}

/// What one listener is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How it listens, ...
    pub way: Way,
    /// ... to what, ...
    pub name: Bytes,
    /// ... and on which channel something was said.
    pub channel: Bytes,
    /// What was said.
    pub text: Bytes,
}

impl Message {
    /// The kind of message, as the protocols name it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.way {
            Way::Channel => "message",
            Way::Pattern => "pmessage",
            Way::Shard => "smessage",
        }
    }

    /// What stands behind the kind.
    pub fn words(&self) -> impl Iterator<Item = &Bytes> {
        let pattern = Some(&self.name).filter(|_| self.way == Way::Pattern);
        pattern.into_iter().chain([&self.channel, &self.text])
    }

    /// What it takes up while it waits. The bytes are shared by all who listen, but whoever reads
    /// last keeps them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.channel.len() + self.text.len()
    }
}

/// What one connection listens to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    names: BTreeSet<(Way, Bytes)>,
    counts: [u32; 3],
    bytes: usize,
}

impl Subscriptions {
    /// Whether it listens to nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many names it listens to, by their ways.
    #[must_use]
    pub const fn counts(&self) -> [u32; 3] {
        self.counts
    }

    /// How many names a client is told that it listens to: channels and patterns together.
    #[must_use]
    pub fn told(&self, way: Way) -> i64 {
        let [channels, patterns, shard] = self.counts.map(i64::from);
        match way {
            Way::Channel | Way::Pattern => channels + patterns,
            Way::Shard => shard,
        }
    }

    /// Whether a message is still wanted.
    #[must_use]
    pub fn want(&self, message: &Message) -> bool {
        self.names.contains(&(message.way, message.name.clone()))
    }

    /// The names that are listened to in this way.
    #[must_use]
    pub fn names(&self, way: Way) -> Vec<Bytes> {
        let all = self.names.range((way, Bytes::new())..);
        let of_this_way = all.take_while(|(other, _)| *other == way);
        of_this_way.map(|(_, name)| name.clone()).collect()
    }

    /// Whether there is room for these names.
    ///
    /// # Errors
    /// There is none, or one of them is too long; nothing has changed.
    pub fn check(&self, way: Way, names: &[&[u8]]) -> Result<(), ReplyError> {
        let (what, limit) = way.longest();
        if names.iter().any(|name| name.len() > limit) {
            return Err(ReplyError::TooLong { what, limit });
        }
        let bytes: usize = names.iter().map(|name| name.len() + NAME_BYTES).sum();
        if self.names.len() + names.len() > limits::SUBSCRIPTIONS
            || self.bytes + bytes > limits::SUBSCRIBED_BYTES
        {
            let why = format!(
                "a connection listens to no more than {} names of {} bytes together",
                limits::SUBSCRIPTIONS,
                limits::SUBSCRIBED_BYTES
            );
            return Err(ReplyError::Other(why.into()));
        }
        Ok(())
    }

    fn add(&mut self, way: Way, name: Bytes) -> bool {
        let length = name.len();
        let added = self.names.insert((way, name));
        if added {
            self.counts[way as usize] += 1;
            self.bytes += length + NAME_BYTES;
        }
        added
    }

    fn remove(&mut self, way: Way, name: &Bytes) -> bool {
        let removed = self.names.remove(&(way, name.clone()));
        if removed {
            self.counts[way as usize] -= 1;
            self.bytes -= name.len() + NAME_BYTES;
        }
        removed
    }
}

/// What is listened to at a node, by whom: connections by their ids.
#[derive(Debug, Default)]
pub struct Hub(RwLock<[Names; 3]>);

type Names = BTreeMap<Bytes, BTreeSet<u64>>;

impl Hub {
    /// A connection begins to listen.
    pub fn join(&self, id: u64, to: &mut Subscriptions, way: Way, name: &[u8]) {
        let name = Bytes::copy_from_slice(name);
        if to.add(way, name.clone()) {
            let names = &mut self.0.write()[way as usize];
            names.entry(name).or_default().insert(id);
        }
    }

    /// A connection ends to listen.
    pub fn leave(&self, id: u64, to: &mut Subscriptions, way: Way, name: &Bytes) {
        if !to.remove(way, name) {
            return;
        }
        let names = &mut self.0.write()[way as usize];
        if let Some(ids) = names.get_mut(name) {
            ids.remove(&id);
            if ids.is_empty() {
                names.remove(name);
            }
        }
    }

    /// A connection listens to nothing any more.
    pub fn leave_all(&self, id: u64, to: &mut Subscriptions) {
        for way in Way::ALL {
            for name in to.names(way) {
                self.leave(id, to, way, &name);
            }
        }
    }

    /// Shows each message that something said makes, and the connection that it is for.
    pub fn tell(&self, said: &Said, tell: &mut dyn FnMut(u64, Message)) {
        self.each(said.sharded, &said.channel, &mut |way, name, ids| {
            for id in ids {
                let message = Message {
                    way,
                    name: name.clone(),
                    channel: said.channel.clone(),
                    text: said.text.clone(),
                };
                tell(*id, message);
            }
        });
    }

    /// How many messages something said makes at this node.
    #[must_use]
    pub fn hearers(&self, sharded: bool, channel: &[u8]) -> usize {
        let mut count = 0;
        self.each(sharded, channel, &mut |_, _, ids| count += ids.len());
        count
    }

    fn each(
        &self,
        sharded: bool,
        channel: &[u8],
        visit: &mut dyn FnMut(Way, &Bytes, &BTreeSet<u64>),
    ) {
        let names = self.0.read();
        let way = if sharded { Way::Shard } else { Way::Channel };
        if let Some((name, ids)) = names[way as usize].get_key_value(channel) {
            visit(way, name, ids);
        }
        if !sharded {
            let patterns = names[Way::Pattern as usize].iter();
            patterns
                .filter(|(pattern, _)| glob::matches(pattern, channel))
                .for_each(|(pattern, ids)| visit(Way::Pattern, pattern, ids));
        }
    }

    /// Names that are listened to in this way, all or those that match a pattern.
    #[must_use]
    pub fn matching(&self, way: Way, pattern: Option<&[u8]>) -> Vec<Reply> {
        let names = &self.0.read()[way as usize];
        let is_asked = |name: &&Bytes| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let matching = names.keys().filter(is_asked);
        matching.cloned().map(Reply::Bulk).collect()
    }

    /// How many names are listened to in this way.
    #[must_use]
    pub fn names(&self, way: Way) -> usize {
        self.0.read()[way as usize].len()
    }

    /// How many connections listen to a name.
    #[must_use]
    pub fn listeners(&self, way: Way, name: &[u8]) -> usize {
        let names = &self.0.read()[way as usize];
        names.get(name).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sharded: bool, channel: &'static str) -> Said {
        Said {
            sharded,
            channel: Bytes::from_static(channel.as_bytes()),
            text: Bytes::from_static(b"hi"),
        }
    }

    /// Who is told what, in which way.
    fn told(hub: &Hub, said: &Said) -> Vec<(u64, &'static str, Vec<String>)> {
        let mut all = Vec::new();
        hub.tell(said, &mut |id, message| {
            let words = message.words();
            let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
            all.push((id, message.kind(), words.collect()));
        });
        assert_eq!(all.len(), hub.hearers(said.sharded, &said.channel));
        all
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn everybody_who_listens_is_told_once_for_each_name() {
        let hub = Hub::default();
        let (mut one, mut two) = (Subscriptions::default(), Subscriptions::default());
        hub.join(1, &mut one, Way::Channel, b"news");
        hub.join(1, &mut one, Way::Channel, b"news");
        hub.join(1, &mut one, Way::Pattern, b"n*");
        hub.join(2, &mut two, Way::Pattern, b"[mn]ews");
        hub.join(2, &mut two, Way::Shard, b"news");
        assert_eq!((one.told(Way::Channel), one.told(Way::Shard)), (2, 0));
        assert_eq!((two.told(Way::Pattern), two.told(Way::Shard)), (1, 1));
        let expect = [
            (1, "message", words(&["news", "hi"])),
            (2, "pmessage", words(&["[mn]ews", "news", "hi"])),
            (1, "pmessage", words(&["n*", "news", "hi"])),
        ];
        assert_eq!(told(&hub, &said(false, "news")), expect);
        let expect = [(2, "smessage", words(&["news", "hi"]))];
        assert_eq!(told(&hub, &said(true, "news")), expect);
        assert_eq!(hub.matching(Way::Channel, None), [Reply::bulk("news")]);
        hub.leave_all(1, &mut one);
        hub.leave(2, &mut two, Way::Pattern, &Bytes::from_static(b"[mn]ews"));
        assert!(one.is_empty() && !two.is_empty());
        assert_eq!(told(&hub, &said(false, "news")), []);
        assert_eq!(Way::ALL.map(|way| hub.names(way)), [0, 0, 1]);
        assert_eq!(hub.listeners(Way::Shard, b"news"), 1);
    }

    #[test]
    fn a_message_that_was_on_its_way_is_not_wanted_any_more() {
        let hub = Hub::default();
        let mut to = Subscriptions::default();
        hub.join(1, &mut to, Way::Pattern, b"n*");
        let mut message = None;
        hub.tell(&said(false, "news"), &mut |_, it| message = Some(it));
        let message = message.unwrap();
        assert!(to.want(&message));
        hub.leave(1, &mut to, Way::Pattern, &message.name);
        assert!(!to.want(&message));
    }

    #[test]
    fn there_are_limits() {
        let long = vec![b'x'; limits::CHANNEL_BYTES + 1];
        let none = Subscriptions::default();
        for (way, limit) in [
            (Way::Channel, limits::CHANNEL_BYTES),
            (Way::Shard, limits::CHANNEL_BYTES),
            (Way::Pattern, limits::PATTERN_BYTES),
        ] {
            assert_eq!(none.check(way, &[b"x", &long[..limit]]), Ok(()));
            assert!(none.check(way, &[b"x", &long[..=limit]]).is_err());
        }
        let many = vec![&b"x"[..]; limits::SUBSCRIPTIONS];
        assert_eq!(none.check(Way::Channel, &many), Ok(()));
        let mut one = Subscriptions::default();
        Hub::default().join(1, &mut one, Way::Channel, b"y");
        assert!(one.check(Way::Channel, &many).is_err());
        let name = &long[..limits::CHANNEL_BYTES];
        let much = vec![name; limits::SUBSCRIBED_BYTES / name.len()];
        assert!(none.check(Way::Channel, &much).is_err());
        assert_eq!(none.check(Way::Channel, &much[1..]), Ok(()));
    }
}
