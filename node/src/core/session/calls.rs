//! Calls of services: those that the client makes wait as those for shards do, and the client's
//! answers to what it was asked go the other way.

use bytes::Bytes;
use dht_proto::rpc::{self, Meta};
use dht_proto::{Output, Reply, ReplyError, limits};

use super::{Effects, Session, Step, Ticket};
use crate::core::execute::Command;
use crate::core::gather::Gather;
use crate::core::replication::task;
use crate::core::services::{Call, refusal};
use crate::core::wire::Origin;

/// SERVICE, CALL, the service and the method.
const NAMED_WORDS: usize = 4;

impl Session {
    /// Has a service called.
    pub(super) fn call(&mut self, step: &mut Step<'_>, origin: Origin, command: &Command<'_>) {
        let reply = self.execute(step, command);
        let Some(call) = self.client.call.take() else {
            return self.answer(step.effects, origin, &reply);
        };
        // It counts as something that the meta group is asked.
        let meta = step.node.meta_shard();
        let turn = self.wait(origin, Gather::whole(meta, false));
        if self.asked.is_empty() {
            self.asked = vec![0; step.node.words.len() + 1];
        }
        self.asked[usize::from(meta)] += 1;
        self.asked_bytes += call.bytes();
        if let Some(waiting) = self.waiting(turn) {
            waiting.asked_bytes += call.bytes();
            // For the slow log. What is handed over is long at times, and not kept.
            let named = command.argv.len().min(NAMED_WORDS);
            waiting.asked.task = Some(task::command(&command.argv[..named]));
        }
        let ticket = Ticket { turn, part: 0 };
        let deadline_ms = origin.deadline_ms();
        step.effects.calls.push((ticket, call, deadline_ms));
    }

    /// Takes an answer of the client to a call.
    ///
    /// # Errors
    /// Nobody asks it anything.
    pub(super) fn answered(
        &self,
        (number, reply): (u64, Reply),
        length: usize,
        effects: &mut Effects,
    ) -> Result<(), &'static str> {
        if !self.client.provides {
            return Err("a response to no request");
        }
        let reply = match reply {
            _ if length > limits::SERVICE_CALL_BYTES => ReplyError::TooLong {
                what: "answer of a service",
                limit: limits::SERVICE_CALL_BYTES,
            }
            .into(),
            Reply::Error(error) => refusal(&error.to_string()).into(),
            reply => reply,
        };
        effects.answers.push((number, reply));
        Ok(())
    }

    /// Asks the client, who offers the service.
    pub fn ask_client(&self, number: u64, call: &Call, output: &mut Output) {
        let head = [&b"SERVICE"[..], b"CALL", &call.name];
        let words = call.words.iter().map(Bytes::as_ref);
        let words: Vec<&[u8]> = head.into_iter().chain(words).collect();
        rpc::encode_request(number, &words, &Meta::default(), output);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use dht_proto::{Reply, spec};

    use crate::core::session::line_tests::{Line, alone};

    #[test]
    fn a_call_is_measured_when_it_is_answered() {
        let mut line = alone();
        line.effects.done.slow_from_us = line.desk.measures.slow_from_us();
        line.send("SERVICE CALL Calculator add secret\r\n");
        let id = spec::find(&[&b"SERVICE"[..], b"CALL", b"s", b"m"]).unwrap();
        let calls = |line: &mut Line| {
            let (measures, client) = (&line.desk.measures, &line.session.client.facts);
            measures.add(&mut line.effects.done, client, || 0);
            let of = measures.of(id);
            (of.calls.load(Relaxed), of.took_us.load(Relaxed))
        };
        assert_eq!(calls(&mut line), (0, 0));
        let (ticket, ..) = line.effects.calls.pop().unwrap();
        line.effects.now_us = 20_000;
        line.session
            .settle(ticket, Reply::Int(5), &mut line.effects);
        assert_eq!(line.output(), ":5\r\n");
        assert_eq!(calls(&mut line), (1, 20_000));
        let [slow] = &line.desk.measures.slowlog.latest(2)[..] else {
            panic!("one is kept");
        };
        // The arguments are not kept for that.
        let words: [&[u8]; 4] = [b"SERVICE", b"CALL", b"Calculator", b"add"];
        assert_eq!(slow.slow.argv, words);
    }
}
