//! What a session does about messages: it hands on those that its client listens to, and holds back
//! what a transaction says until it is executed.

use dht_proto::{Output, Reply};

use super::{Session, Turn, Waiting};
use crate::core::measures::Done;
use crate::core::pubsub::{Message, News};
use crate::core::wire;

impl Session {
    /// Hands the client a message, unless it has ceased to listen meanwhile.
    pub fn hear(&self, message: &Message, output: &mut Output) {
        if self.client.subscriptions.want(message) {
            wire::encode_message(message, self.client.protocol, output);
        }
    }

    /// Has a request that waits tell some news once it is executed.
    pub(super) fn hold(&mut self, turn: u64, news: Vec<News>) {
        let index = turn.wrapping_sub(self.first_turn) as usize;
        if let Some(waiting) = self.loose.get_mut(&turn) {
            waiting.held = news;
        } else if let Some(Turn::Waiting(waiting)) = self.turns.get_mut(index) {
            waiting.held = news;
        }
    }
}

impl Waiting {
    /// Encodes the answer; lets out what was held back, if a transaction was executed.
    pub(super) fn encode(
        self,
        output: &mut Output,
        news: &mut Vec<News>,
        (now_us, done): (u64, &mut Done),
    ) {
        let Self {
            origin,
            gather,
            held,
            asked,
            ..
        } = self;
        let reply = gather.reply();
        asked.measure(&reply, now_us, done);
        if matches!(reply, Reply::Array(_)) {
            news.extend(held);
        }
        origin.encode(&reply, output);
    }
}
