//! What a session does about messages: it hands on those that its client listens to, and holds back
//! what a transaction says until it is executed.

use dht_proto::{Output, Reply};

use super::{Effects, Session, Turn, Waiting};
use crate::core::measures::Done;
use crate::core::pubsub::{Message, News};
use crate::core::wire;

/// Bytes of what waits to be told.
pub(super) fn bytes_of(news: &[News]) -> usize {
    news.iter().map(News::bytes).sum()
}

impl Session {
    /// Hands the client a message, unless it has ceased to listen meanwhile.
    pub fn hear(&self, message: &Message, output: &mut Output) {
        if self.client.subscriptions.want(message) {
            wire::encode_message(message, self.client.protocol, output);
        }
    }

    /// Has told what the client has said, in its turn. Where requests have turns, its own has come.
    pub(super) fn tell(&mut self, effects: &mut Effects) {
        if self.client.news.is_empty() {
            return;
        }
        let news = std::mem::take(&mut self.client.news);
        if self.said.is_empty() && !self.writes_by(self.last_loose) {
            effects.news.extend(news);
        } else {
            self.held_bytes += bytes_of(&news);
            self.said.push_back((self.last_loose, news));
        }
    }

    /// Lets out what was said behind requests that are answered.
    pub(super) fn let_out(&mut self, effects: &mut Effects) {
        while let Some((last, _)) = self.said.front()
            && !self.writes_by(*last)
            && let Some((_, news)) = self.said.pop_front()
        {
            self.held_bytes -= bytes_of(&news);
            effects.news.extend(news);
        }
    }

    /// Whether a write up to this one, of those that are told apart by their ids, is not answered.
    /// Those of other users of the connection that take long, such as calls, hold up nothing.
    fn writes_by(&self, last: u64) -> bool {
        let mut open = self.loose.range(..=last);
        open.any(|(_, waiting)| waiting.gather.writes())
    }

    /// Lets out whatever was said: nobody waits for the answers any more, and whether what came
    /// before is done nobody will know here.
    pub(super) fn tell_rest(&mut self, effects: &mut Effects) {
        for turn in &mut self.turns {
            if let Turn::Ready(ready) = turn {
                effects.news.append(&mut ready.news);
            }
        }
        for (_, news) in self.said.drain(..) {
            effects.news.extend(news);
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use dht_proto::rpc::{self, Meta};
    use dht_proto::{Reply, limits};

    use crate::core::client::Protocol;
    use crate::core::commands::testing;
    use crate::core::pubsub::News;
    use crate::core::session::Progress;
    use crate::core::session::line_tests::{Line, member};

    /// The texts of what is to be told.
    fn told(line: &mut Line) -> Vec<String> {
        let said = line.effects.news.drain(..).map(|news| match news {
            News::Said(said) => String::from_utf8_lossy(&said.text).into_owned(),
            other => panic!("{other:?}"),
        });
        said.collect()
    }

    #[test]
    fn what_is_said_waits_for_what_was_sent_before_it() {
        let mut line = member();
        line.send("PUBLISH c 0\r\nSET foo 1\r\nSET bar 1\r\nPUBLISH c 1\r\nSPUBLISH foo 2\r\n");
        assert_eq!(told(&mut line), ["0"]);
        line.settle(1, Reply::Ok);
        assert_eq!(told(&mut line), [""; 0], "the first write is not done");
        line.settle(0, Reply::Ok);
        assert_eq!(told(&mut line), ["1", "2"]);
        assert_eq!(line.output(), ":0\r\n+OK\r\n+OK\r\n:0\r\n:0\r\n");
        line.send("PUBLISH c 3\r\n");
        assert_eq!(told(&mut line), ["3"]);
    }

    #[test]
    fn so_much_waits_to_be_told_and_then_nothing_more_is_taken() {
        const LONG: usize = limits::OUTPUT_SOFT_BYTES / 4;
        let mut line = Line::new(testing::cluster(), |client| {
            client.protocol = Protocol::Native;
        });
        let mut input = BytesMut::new();
        let mut send = |line: &mut Line, words: [&str; 3]| {
            rpc::encode_request(1, &words, &Meta::default(), &mut input);
            line.receive(&mut input)
        };
        assert_eq!(send(&mut line, ["SET", "foo", "1"]), Progress::Input);
        let text = "x".repeat(LONG);
        let mut publish = || send(&mut line, ["PUBLISH", "c", &text]);
        let taken = (0..9).take_while(|_| publish() == Progress::Input).count();
        assert_eq!(taken, 3, "the fourth is the last");
        assert_eq!(told(&mut line), [""; 0]);
        line.settle(0, Reply::Ok);
        assert_eq!(told(&mut line).len(), 4);
        assert_eq!(send(&mut line, ["PUBLISH", "c", "more"]), Progress::Input);
        assert_eq!(told(&mut line), ["more"]);
    }

    #[test]
    fn what_a_transaction_says_waits_likewise() {
        let mut line = member();
        line.send("SET foo 1\r\nMULTI\r\nPUBLISH c 1\r\nSET bar 2\r\nEXEC\r\nPUBLISH c 2\r\n");
        line.settle(1, Reply::Array(vec![Reply::Ok]));
        assert_eq!(told(&mut line), [""; 0]);
        line.settle(0, Reply::Ok);
        assert_eq!(told(&mut line), ["1", "2"]);
    }

    #[test]
    fn what_is_said_is_told_though_its_client_has_gone() {
        let mut line = member();
        line.send("SET foo 1\r\nPUBLISH c 1\r\n");
        assert_eq!(told(&mut line), [""; 0]);
        let (node, now) = (&line.desk, line.now);
        line.session.end(node, now, &mut line.effects);
        assert_eq!(told(&mut line), ["1"]);
    }
}
