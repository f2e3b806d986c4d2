//! Brings messages to those who listen: to the mailboxes of this node's connections, and over the
//! links to all other nodes. Who is told what is decided in the core.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use dashmap::DashMap;
use dht_proto::limits;

use super::Clock;
use super::burdens::Burdens;
use super::mailbox::{Mailbox, Shared};
use super::peers::Peers;
use crate::core::node::Node;
use crate::core::pubsub::{self, News};

/// News are gathered into frames of about so many bytes.
const FRAME_BYTES: usize = 256 * 1024;

/// The mailboxes of a node's connections, by their ids.
pub struct Ears {
    /// The core.
    pub node: Arc<Node>,
    clock: Arc<Clock>,
    burdens: Arc<Burdens>,
    mailboxes: DashMap<u64, Shared>,
}

impl Ears {
    /// Nobody listens yet.
    #[must_use]
    pub fn new(node: Arc<Node>, clock: Arc<Clock>, burdens: Arc<Burdens>) -> Self {
        Self {
            node,
            clock,
            burdens,
            mailboxes: DashMap::new(),
        }
    }

    /// A connection has begun to listen; gives where its messages are.
    #[must_use]
    pub fn open(&self, connection: u64) -> Shared {
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&self.burdens)));
        self.mailboxes.insert(connection, Arc::clone(&mailbox));
        mailbox
    }

    /// A connection has ceased to listen.
    pub fn close(&self, connection: u64) {
        self.mailboxes.remove(&connection);
    }

    /// Takes a frame of another node, if it holds news; says whether it does.
    pub fn hear(&self, frame: &[u8]) -> bool {
        let is_news = pubsub::is_news(frame);
        if is_news {
            pubsub::read_all(frame, &mut |news| self.tell(&news));
        }
        is_news
    }

    /// Drops what has waited for too long.
    pub fn check(&self) {
        let now_mono_ms = self.clock.now().mono_ms;
        let mailboxes = self.mailboxes.iter();
        mailboxes.for_each(|mailbox| mailbox.check(now_mono_ms));
    }

    fn tell(&self, news: &News) {
        let said = match news {
            News::Said(said) => said,
            News::Notify(setting) => return self.node.store.events.adopt(*setting),
        };
        let now_mono_ms = self.clock.now().mono_ms;
        let mut told = Vec::new();
        let mut tell = |connection, message| told.push((connection, message));
        self.node.hub.tell(said, &mut tell);
        let hearers = told.len();
        for (connection, message) in told {
            if let Some(mailbox) = self.mailboxes.get(&connection) {
                mailbox.put(message, hearers, now_mono_ms);
            }
        }
    }
}

/// Tells news to the whole cluster. Clones share what they use.
#[derive(Clone)]
pub struct Broadcast {
    /// This node's part of those who listen.
    pub ears: Arc<Ears>,
    peers: Peers,
    /// Held while events are told, so that each key's are told in order.
    order: Arc<Mutex<()>>,
}

impl Broadcast {
    /// To these ears, and over these links.
    #[must_use]
    pub fn new(ears: Arc<Ears>, peers: Peers) -> Self {
        Self {
            ears,
            peers,
            order: Arc::default(),
        }
    }

    /// Tells what has happened to keys of this node.
    pub fn announce(&self) {
        let events = &self.ears.node.store.events;
        if events.are_pending() {
            let order = self.order.lock();
            // There is nothing in it to be left half done.
            let _order = order.unwrap_or_else(PoisonError::into_inner);
            self.tell(&mut events.take());
        }
    }

    /// Tells the other nodes again which events are wanted: they may not have heard of it.
    pub fn remind(&self) {
        let setting = self.ears.node.store.events.setting();
        if setting.version > 0 {
            self.tell(&mut vec![News::Notify(setting)]);
        }
    }

    /// Tells news, in order. A node that cannot be reached, or lags far behind, misses them.
    pub fn tell(&self, news: &mut Vec<News>) {
        let alone = self.ears.node.settings.standalone;
        let mut frame = BytesMut::new();
        let mut count = 0;
        for news in news.drain(..) {
            self.ears.tell(&news);
            if alone {
                continue;
            }
            if !frame.is_empty() && frame.len() + news.bytes() > FRAME_BYTES {
                self.send(frame.split(), std::mem::take(&mut count));
            }
            news.encode(&mut frame);
            count += 1;
        }
        if !frame.is_empty() {
            self.send(frame, count);
        }
    }

    fn send(&self, frame: BytesMut, count: u64) {
        let missed = self
            .peers
            .send_all(&frame.freeze(), limits::PEER_MESSAGES_BYTES);
        if missed > 0 {
            let stats = &self.ears.node.stats;
            stats.messages_dropped.fetch_add(missed * count, Relaxed);
        }
    }
}
