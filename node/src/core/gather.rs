//! One answer from several: the parts of a command that was split over shards.

use dht_proto::spec::CommandId;
use dht_proto::{Parts, Reply, ReplyError};

use super::random::Random;
use super::rest::ReplyRoom;

/// A part of a split command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The shard that executes it.
    pub shard: u16,
    /// Which of the command's keys it has, counted from 0; empty for a command on the whole
    /// keyspace.
    pub keys: Vec<usize>,
}

impl Part {
    /// The words of a command that belong to the part: its name, and the part's keys with what
    /// follows each.
    #[must_use]
    pub fn words<'a>(&self, id: CommandId, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let step = id.schema().keys.map_or(1, |keys| keys.step);
        let (name, arguments) = argv.split_at(id.words());
        if self.keys.is_empty() {
            return argv.to_vec();
        }
        let keys = self.keys.iter();
        let groups = keys.flat_map(|key| &arguments[key * step..(key + 1) * step]);
        name.iter().chain(groups).copied().collect()
    }
}

/// The answers to a command's parts, joined as they come.
///
/// Integers are added up; arrays are put together, by key where the parts have keys; `OK` stays
/// `OK`. An error of any part is the command's error. When a change was made by some parts only,
/// that is said as [`ReplyError::Unknown`]: the command is neither done nor undone.
#[derive(Debug)]
pub struct Gather {
    parts: Vec<Part>,
    writes: bool,
    left: usize,
    done: usize,
    joined: Option<Reply>,
    error: Option<ReplyError>,
    /// Room for the answers of all parts.
    room: ReplyRoom,
    /// Draws one of several answers.
    lot: Option<Random>,
    /// Of a transaction: the answers that belong among those of its shard, and their places.
    placed: Option<Vec<(usize, Reply)>>,
}

impl Gather {
    /// A command that goes to one shard whole.
    #[must_use]
    pub fn whole(shard: u16, writes: bool) -> Self {
        let keys = Vec::new();
        Self::split(vec![Part { shard, keys }], writes)
    }

    /// A command that goes out in parts, at least one.
    #[must_use]
    pub fn split(parts: Vec<Part>, writes: bool) -> Self {
        Self {
            left: parts.len(),
            parts,
            writes,
            done: 0,
            joined: None,
            error: None,
            lot: None,
            room: ReplyRoom::default(),
            placed: None,
        }
    }

    /// Likewise; of the answers that are there one is drawn.
    #[must_use]
    pub fn drawing(self, seed: u64) -> Self {
        Self {
            lot: Some(Random::new(seed)),
            ..self
        }
    }

    /// A transaction that goes to one shard, except for commands that are answered already, at
    /// these places among all.
    #[must_use]
    pub fn transaction(shard: u16, placed: Vec<(usize, Reply)>) -> Self {
        Self {
            placed: Some(placed),
            ..Self::whole(shard, true)
        }
    }

    /// Whether it changes data.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.writes
    }

    /// The shard that executes a part.
    #[must_use]
    pub fn shard(&self, part: usize) -> Option<u16> {
        self.parts.get(part).map(|part| part.shard)
    }

    /// Takes the answer to one part; says whether it was the last.
    pub fn settle(&mut self, part: usize, reply: Reply) -> bool {
        self.left = self.left.saturating_sub(1);
        match reply {
            Reply::Error(error) => self.fail(error),
            // One that is all there is has come in one frame, or from a backend that knows better.
            reply if self.parts.len() == 1 => {
                self.done += 1;
                self.join(part, reply);
            }
            reply => {
                self.done += 1;
                let bytes = reply.own_bytes();
                match self.room.take(reply, bytes, self.writes) {
                    Reply::Error(error) => self.fail(error),
                    reply => self.join(part, reply),
                }
            }
        }
        self.left == 0
    }

    /// The joined answer.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self.error {
            Some(error @ ReplyError::Unknown(_)) => error.into(),
            Some(error) if self.writes && self.done > 0 => ReplyError::Unknown(
                format!("a part of the keys was changed, the rest was not: {error}").into(),
            )
            .into(),
            Some(error) => error.into(),
            None => match (self.joined.unwrap_or(Reply::Nil), self.placed) {
                (Reply::Nil, Some(_)) => Reply::NilArray,
                (reply, Some(placed)) => match reply.into_items() {
                    Ok(items) => Reply::Array(interleave(items, placed)),
                    Err(reply) => reply,
                },
                (reply, None) => reply,
            },
        }
    }

    /// The first error counts, unless a later one leaves the outcome open.
    fn fail(&mut self, error: ReplyError) {
        let open = matches!(error, ReplyError::Unknown(_));
        if open || self.error.is_none() {
            self.error = Some(error);
        }
    }

    fn join(&mut self, part: usize, reply: Reply) {
        let keys = self
            .parts
            .get(part)
            .map(|part| part.keys.as_slice())
            .unwrap_or_default();
        if let Some(lot) = &mut self.lot {
            if reply == Reply::Nil {
                self.done -= 1;
            } else if lot.below(self.done as u64) == 0 {
                self.joined = Some(reply);
            }
            return;
        }
        let reply = match keys.is_empty() {
            true => reply,
            false => match reply.into_items() {
                Ok(items) => {
                    let all = self.joined.take().and_then(|all| all.into_items().ok());
                    let width = self.parts.iter().map(|part| part.keys.len()).sum();
                    let all = all.unwrap_or_else(|| vec![Reply::Nil; width]);
                    self.joined = Some(place(all, keys, items));
                    return;
                }
                Err(reply) => reply,
            },
        };
        self.joined = Some(match (self.joined.take(), reply) {
            (Some(Reply::Array(mut all)), Reply::Array(items)) => {
                all.extend(items);
                Reply::Array(all)
            }
            (Some(Reply::Parts(mut all)), Reply::Array(items)) => {
                all.append(items.into());
                Reply::Parts(all)
            }
            (Some(Reply::Parts(mut all)), Reply::Parts(items)) => {
                all.append(items);
                Reply::Parts(all)
            }
            (Some(Reply::Array(all)), Reply::Parts(items)) => {
                let mut all = Parts::from(all);
                all.append(items);
                Reply::Parts(all)
            }
            (Some(Reply::Int(sum)), Reply::Int(more)) => Reply::Int(sum.saturating_add(more)),
            (_, reply) => reply,
        });
    }
}

/// Puts answers among others, each at its place among all.
#[must_use]
pub fn interleave(items: Vec<Reply>, placed: Vec<(usize, Reply)>) -> Vec<Reply> {
    let mut items = items.into_iter();
    let mut all = Vec::with_capacity(items.len() + placed.len());
    for (place, reply) in placed {
        all.extend(items.by_ref().take(place - all.len()));
        all.push(reply);
    }
    all.extend(items);
    all
}

/// Puts the items of a part where its keys stand in the command.
fn place(mut all: Vec<Reply>, keys: &[usize], items: Vec<Reply>) -> Reply {
    for (key, item) in keys.iter().zip(items) {
        if let Some(slot) = all.get_mut(*key) {
            *slot = item;
        }
    }
    Reply::Array(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[&[usize]], writes: bool, replies: Vec<Reply>, expect: &Reply) {
        let parts = (0..).zip(parts).map(|(shard, keys)| Part {
            shard,
            keys: keys.to_vec(),
        });
        let mut gather = Gather::split(parts.collect(), writes);
        let last = replies.len() - 1;
        for (part, reply) in replies.into_iter().enumerate() {
            assert_eq!(gather.settle(part, reply), part == last);
        }
        assert_eq!(&gather.reply(), expect);
    }

    fn array(items: &[i64]) -> Reply {
        Reply::Array(items.iter().copied().map(Reply::Int).collect())
    }

    #[test]
    fn integers_are_added() {
        check(
            &[&[0], &[1, 2]],
            true,
            vec![Reply::Int(1), Reply::Int(2)],
            &Reply::Int(3),
        );
    }

    #[test]
    fn one_of_the_answers_is_drawn() {
        let drawn = |seed| {
            let parts = (0..3).map(|shard| Part {
                shard,
                keys: Vec::new(),
            });
            let mut gather = Gather::split(parts.collect(), false).drawing(seed);
            gather.settle(0, Reply::Int(1));
            gather.settle(1, Reply::Nil);
            gather.settle(2, Reply::Int(2));
            gather.reply()
        };
        let ones = (0..1000)
            .filter(|seed| drawn(*seed) == Reply::Int(1))
            .count();
        assert!((400..600).contains(&ones), "{ones}");
    }

    #[test]
    fn arrays_are_placed_by_key() {
        check(
            &[&[1, 3], &[0, 2]],
            false,
            vec![array(&[1, 3]), array(&[0, 2])],
            &array(&[0, 1, 2, 3]),
        );
    }

    #[test]
    fn arrays_without_keys_are_put_end_to_end() {
        check(
            &[&[], &[]],
            false,
            vec![array(&[1]), array(&[2, 3])],
            &array(&[1, 2, 3]),
        );
    }

    #[test]
    fn a_write_that_every_part_refused_is_not_done() {
        let down = || Reply::Error(ReplyError::ClusterDown("x".into()));
        check(&[&[0], &[1]], true, vec![down(), down()], &down());
    }

    #[test]
    fn a_write_done_in_part_is_unknown() {
        let down = Reply::Error(ReplyError::ClusterDown("x".into()));
        let why = "a part of the keys was changed, the rest was not: CLUSTERDOWN x";
        let unknown = Reply::Error(ReplyError::Unknown(why.into()));
        check(&[&[0], &[1]], true, vec![Reply::Ok, down.clone()], &unknown);
        check(&[&[0], &[1]], false, vec![array(&[1]), down.clone()], &down);
    }

    #[test]
    fn answers_that_were_there_before_have_their_places() {
        let check = |places: &[usize], reply: Reply, expect: &Reply| {
            let placed = places.iter().map(|place| (*place, Reply::Ok)).collect();
            let mut gather = Gather::transaction(3, placed);
            assert!(gather.settle(0, reply));
            assert_eq!(&gather.reply(), expect);
        };
        let (ok, one, two) = (|| Reply::Ok, || Reply::Int(1), || Reply::Int(2));
        let all = Reply::Array(vec![ok(), one(), ok(), ok(), two(), ok()]);
        check(&[0, 2, 3, 5], array(&[1, 2]), &all);
        check(&[0, 1], array(&[]), &Reply::Array(vec![ok(), ok()]));
        check(&[], array(&[1]), &array(&[1]));
        check(&[0], Reply::Nil, &Reply::NilArray);
    }

    #[test]
    fn an_open_outcome_outweighs_a_definite_error() {
        let down = Reply::Error(ReplyError::ClusterDown("x".into()));
        let open = Reply::Error(ReplyError::Unknown("y".into()));
        check(&[&[0], &[1]], true, vec![down, open.clone()], &open);
    }
}
