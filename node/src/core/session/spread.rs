//! Commands that are split over shards, and answered once all have answered.

use super::{Session, Step, Ticket, Turn};
use crate::core::execute::{Command, Look};
use crate::core::gather::{Gather, Part};
use crate::core::replication::task;
use crate::core::router;
use crate::core::wire::Origin;
use dht_proto::spec::Kind;

impl Session {
    /// Has the parts of a command answered, each by its shard; where it holds up no other
    /// connection, if it takes long.
    pub(super) fn spread_aside(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        command: &Command<'_>,
        parts: &[Part],
    ) {
        if command.id.spec().kind.is_long() {
            let aside = &step.node.settings.aside;
            return aside.run(&mut || self.spread(step, origin, command, parts));
        }
        self.spread(step, origin, command, parts);
    }

    /// Has the parts of a command answered, each by its shard.
    fn spread(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        command: &Command<'_>,
        parts: &[Part],
    ) {
        let writes = command.id.spec().kind.writes();
        let asked = parts.iter().any(|part| self.has_asked(part.shard));
        if !writes && !asked && !parts[0].keys.is_empty() {
            let here = self.here(step);
            if let Look::Seen(reply) = here.look(command, parts[0].shard) {
                step.count(&here);
                return self.answer(step.effects, origin, &reply);
            }
        }
        let mut gather = Gather::split(parts.to_vec(), writes);
        if command.id.spec().kind == Kind::READ_ANY {
            gather = gather.drawing(self.random.next());
        }
        let turn = self.wait(origin, gather);
        if command.id.spec().kind == Kind::READ_ALL {
            self.long = Some(turn);
        }
        for (part, place) in parts.iter().enumerate() {
            let words = place.words(command.id, command.argv);
            let outcome = router::keys(command.id, &words).map(|keys| {
                let command = Command::new(command.id, &words, &keys);
                self.mode(step, &command, place.shard)
            });
            let ticket = Ticket { turn, part };
            match outcome {
                Ok(Err(mode)) => {
                    let task = task::command(&words);
                    self.ask(step, origin, (place.shard, mode), ticket, task);
                }
                Ok(Ok(reply)) => _ = self.settle_part(ticket, reply, step.effects),
                Err(error) => _ = self.settle_part(ticket, error.into(), step.effects),
            }
        }
    }

    /// Whether a request waits for shards.
    pub(super) fn waits(&self, turn: u64) -> bool {
        let index = turn.checked_sub(self.first_turn);
        let turns = index.and_then(|index| self.turns.get(index as usize));
        matches!(turns, Some(Turn::Waiting(_))) || self.loose.contains_key(&turn)
    }
}

#[cfg(test)]
mod tests {
    use crate::core::session::Progress;
    use crate::core::session::line_tests::member;
    use bytes::BytesMut;
    use dht_proto::Reply;

    #[test]
    fn nothing_is_taken_behind_a_command_on_whole_shards_that_is_not_answered() {
        let mut line = member();
        let mut input = BytesMut::from("KEYS *\r\nSET bar 1\r\n");
        assert_eq!(line.receive(&mut input), Progress::Blocked);
        let parts = line.asked().len();
        assert_ne!(parts, 0);
        for part in 0..parts {
            assert_eq!(line.receive(&mut input), Progress::Blocked);
            assert_eq!((line.asked().len(), line.output().len()), (parts, 0));
            line.settle(part, Reply::Array(vec![Reply::bulk("k")]));
        }
        assert_eq!(line.receive(&mut input), Progress::Input);
        assert_eq!(
            line.output(),
            format!("*{parts}\r\n") + &"$1\r\nk\r\n".repeat(parts)
        );
        assert_eq!(line.asked().len(), parts + 1);
    }
}
