//! Commands about keys of several slots, or about the whole keyspace, where no server does them
//! whole: cut into parts for a Redis Cluster, and one answer made of the parts'. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use dht_proto::slot::key_slot;
use dht_proto::spec::{self, CommandId, Kind};
use dht_proto::{Reply, ReplyError};

use crate::command::{Command, Words};
use crate::error::{Cause, Error, Result};
use crate::routes::Routes;
use crate::word::Word;

/// What one server does of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// The command for it.
    pub command: Command,
    /// The server, where the keys of the part do not tell.
    pub server: Option<Arc<str>>,
}

/// How the answers of the parts become one.
#[derive(Debug, PartialEq, Eq)]
pub enum Join {
    /// Counts are added, lists put behind each other, OK is OK.
    Gather,
    /// The items of lists go back to the places of the keys that they are about.
    Places(Vec<Vec<usize>>),
    /// One of those that found something.
    Any,
    /// A page of an iteration over all servers.
    Page(Place),
}

/// Where an iteration over all servers is. A cursor says that above the cursor of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The server, by its place among the leaders.
    server: u64,
    /// How many servers there are.
    servers: u64,
}

impl Place {
    /// Bits for a server's own cursor: dht needs so many, a Redis fewer.
    const fn inner_bits(self) -> u32 {
        if self.servers <= 1 << (u64::BITS - 57) {
            57
        } else {
            48
        }
    }

    /// The cursor of a client, once the server has given its own; 0 at the end of all.
    fn cursor(self, inner: u64) -> Option<u64> {
        let bits = self.inner_bits();
        match inner {
            0 if self.server + 1 >= self.servers => Some(0),
            0 => Some((self.server + 1) << bits),
            _ if inner >> bits > 0 => None,
            _ => Some(self.server << bits | inner),
        }
    }
}

/// Cuts a command, if it has to be.
pub fn spread(command: &Command, routes: &Routes) -> Option<(Vec<Part>, Join)> {
    let words: Vec<&[u8]> = command.words.iter().map(AsRef::as_ref).collect();
    let id = spec::find(&words).ok()?;
    match id.spec().kind {
        Kind::READ_EACH | Kind::WRITE_EACH => by_slot(command, id, &words),
        Kind::READ_ALL | Kind::WRITE_ALL => Some((everywhere(command, routes), Join::Gather)),
        Kind::READ_ANY => Some((everywhere(command, routes), Join::Any)),
        Kind::CURSOR => page(command, routes),
        _ => None,
    }
}

/// A part a slot, each with the words that follow its keys.
fn by_slot(command: &Command, id: CommandId, words: &[&[u8]]) -> Option<(Vec<Part>, Join)> {
    let keys = id.schema().keys?;
    let at: Vec<usize> = keys.positions(words).collect();
    let head = &command.words[..keys.first];
    let mut parts: BTreeMap<u16, (Words, Vec<usize>)> = BTreeMap::new();
    for (place, start) in at.iter().enumerate() {
        let end = at.get(place + 1).copied().unwrap_or(words.len());
        let slot = key_slot(words[*start]);
        let (part, places) = parts
            .entry(slot)
            .or_insert_with(|| (Words::from(head), Vec::new()));
        part.extend(command.words[*start..end].iter().cloned());
        places.push(place);
    }
    if parts.len() < 2 {
        return None;
    }
    let (parts, places) = parts.into_values().unzip::<_, _, Vec<_>, Vec<_>>();
    let part = |words| Part {
        command: Command { words },
        server: None,
    };
    Some((parts.into_iter().map(part).collect(), Join::Places(places)))
}

fn everywhere(command: &Command, routes: &Routes) -> Vec<Part> {
    let part = |(_, server)| Part {
        command: command.clone(),
        server: Some(server),
    };
    routes.leaders().into_iter().map(part).collect()
}

/// The part that the server does at which the iteration is. What is no cursor is refused by a
/// server.
fn page(command: &Command, routes: &Routes) -> Option<(Vec<Part>, Join)> {
    let cursor = cursor_of(command.words.get(1)?)?;
    let leaders = routes.leaders();
    let servers = u64::try_from(leaders.len()).unwrap_or(u64::MAX);
    let mut place = Place { server: 0, servers };
    let bits = place.inner_bits();
    // A number that no page has given leads to the last server.
    let at = usize::try_from(cursor >> bits).unwrap_or(usize::MAX);
    let at = at.min(leaders.len().saturating_sub(1));
    let Some((_, server)) = leaders.get(at) else {
        return Some((Vec::new(), Join::Page(place)));
    };
    place.server = u64::try_from(at).unwrap_or(u64::MAX);
    let mut command = command.clone();
    command.words[1] = Word::from((cursor & ((1 << bits) - 1)).to_string());
    let part = Part {
        command,
        server: Some(Arc::clone(server)),
    };
    Some((vec![part], Join::Page(place)))
}

/// Reads a cursor as Redis does, by `strtoul`: nothing is 0, a sign may stand before it, a zero
/// byte ends it.
fn cursor_of(word: &[u8]) -> Option<u64> {
    let text = word.split(|byte| *byte == 0).next().unwrap_or_default();
    match text {
        [] => Some(0),
        [b'-', digits @ ..] => number(digits).map(u64::wrapping_neg),
        [b'+', digits @ ..] | digits => number(digits),
    }
}

fn number(word: &[u8]) -> Option<u64> {
    str::from_utf8(word).ok()?.parse().ok()
}

impl Join {
    /// One answer from those of the parts, in their order. `random` chooses where any will do.
    ///
    /// # Errors
    /// The first of the parts'. Where others may have changed something it is not said that nothing
    /// was done.
    pub fn join(self, writes: bool, answers: Vec<Result<Reply>>, random: u64) -> Result<Reply> {
        let partly = writes && answers.iter().any(Result::is_ok);
        let answers = answers.into_iter().collect::<Result<Vec<Reply>>>();
        let answers = answers.map_err(|error| match error {
            Error::NotDone(cause) if partly => Error::Unknown(cause),
            Error::Reply(error) if partly => Error::Unknown(Cause::Cluster(error)),
            other => other,
        })?;
        if answers.is_empty() {
            let text = "CLUSTERDOWN no server of the cluster is known";
            let down = ReplyError::Received(text.to_owned());
            return Err(Error::NotDone(Cause::Cluster(down)));
        }
        Ok(match self {
            Self::Gather => gather(answers),
            Self::Places(places) => in_places(answers, &places),
            Self::Any => any(answers, random),
            Self::Page(place) => turned(answers, place),
        })
    }
}

fn gather(answers: Vec<Reply>) -> Reply {
    let mut sum = 0_i64;
    let mut list = None;
    let mut last = Reply::Ok;
    for answer in answers {
        match answer {
            Reply::Int(count) => {
                sum = sum.saturating_add(count);
                last = Reply::Int(sum);
            }
            Reply::Array(items) => list.get_or_insert_with(Vec::new).extend(items),
            other => last = other,
        }
    }
    list.map_or(last, Reply::Array)
}

fn in_places(answers: Vec<Reply>, places: &[Vec<usize>]) -> Reply {
    if !answers
        .iter()
        .all(|answer| matches!(answer, Reply::Array(_)))
    {
        return gather(answers);
    }
    let count = places.iter().map(Vec::len).sum();
    let mut all = vec![Reply::Nil; count];
    for (answer, places) in answers.into_iter().zip(places) {
        let Reply::Array(items) = answer else {
            continue;
        };
        for (item, place) in items.into_iter().zip(places) {
            all[*place] = item;
        }
    }
    Reply::Array(all)
}

fn any(answers: Vec<Reply>, random: u64) -> Reply {
    let found: Vec<Reply> = answers
        .into_iter()
        .filter(|answer| *answer != Reply::Nil)
        .collect();
    let count = u64::try_from(found.len()).unwrap_or(u64::MAX).max(1);
    let chosen = usize::try_from(random % count).unwrap_or(0);
    found.into_iter().nth(chosen).unwrap_or(Reply::Nil)
}

/// A page with the cursor that leads on from it.
fn turned(answers: Vec<Reply>, place: Place) -> Reply {
    let Some(Reply::Array(mut page)) = answers.into_iter().next() else {
        return Reply::Error(ReplyError::err("the answer to SCAN is no page"));
    };
    let inner = match page.first() {
        Some(Reply::Bulk(cursor)) => number(cursor),
        _ => None,
    };
    match inner.and_then(|inner| place.cursor(inner)) {
        Some(cursor) => page[0] = Reply::bulk(cursor.to_string()),
        None => return Reply::Error(ReplyError::InvalidCursor),
    }
    Reply::Array(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::slots_reply;

    fn routes() -> Routes {
        let reply = slots_reply(&[
            (0, 999, "b", 2),
            (1000, 8191, "a", 1),
            (8192, 16383, "b", 2),
        ]);
        Routes::from_reply(&reply, "x:1").unwrap()
    }

    fn cut(line: &str) -> Vec<String> {
        let command = Command::from_words(line.split(' '));
        let Some((parts, join)) = spread(&command, &routes()) else {
            return Vec::new();
        };
        let shown = |part: &Part| {
            let words = part.command.words.join(&b' ');
            let server = part.server.as_deref().unwrap_or("-");
            format!("{server} {}", String::from_utf8(words).unwrap())
        };
        let mut shown: Vec<String> = parts.iter().map(shown).collect();
        shown.push(format!("{join:?}"));
        shown
    }

    #[test]
    fn what_one_server_can_do_is_left_whole() {
        for line in ["GET a", "MGET {a}1 {a}2", "PING", "HSET h f v", "NO-SUCH"] {
            assert_eq!(cut(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn keys_are_grouped_by_slot() {
        let expect = ["- MGET b", "- MGET a {a}1", "Places([[1], [0, 2]])"];
        assert_eq!(cut("MGET a b {a}1"), expect);
        let expect = ["- MSET b 2", "- MSET a 1", "Places([[1], [0]])"];
        assert_eq!(cut("MSET a 1 b 2"), expect);
    }

    #[test]
    fn what_is_about_all_keys_goes_everywhere() {
        assert_eq!(cut("DBSIZE"), ["b:2 DBSIZE", "a:1 DBSIZE", "Gather"]);
        assert_eq!(cut("RANDOMKEY"), ["b:2 RANDOMKEY", "a:1 RANDOMKEY", "Any"]);
    }

    #[test]
    fn an_iteration_goes_from_server_to_server() {
        const SECOND: u64 = 1 << 57;
        let page = |cursor: u64| cut(&format!("SCAN {cursor} COUNT 5"))[0].clone();
        assert_eq!(page(0), "b:2 SCAN 0 COUNT 5");
        assert_eq!(page(SECOND - 1), format!("b:2 SCAN {} COUNT 5", SECOND - 1));
        assert_eq!(page(SECOND), "a:1 SCAN 0 COUNT 5");
        assert_eq!(page(SECOND + 3), "a:1 SCAN 3 COUNT 5");
        // What no page has given is answered by some server all the same.
        assert_eq!(page(2 * SECOND), "a:1 SCAN 0 COUNT 5");
        assert_eq!(
            cut("SCAN -1 FOO")[0],
            format!("a:1 SCAN {} FOO", SECOND - 1)
        );
        assert_eq!(cut("SCAN  FOO")[0], "b:2 SCAN 0 FOO");
        assert_eq!(cut("SCAN x"), [""; 0]);

        let turn = |inner: u64, server| {
            let page = Reply::Array(vec![Reply::bulk(inner.to_string()), Reply::Nil]);
            let place = Place { server, servers: 2 };
            match Join::Page(place).join(false, vec![Ok(page)], 0) {
                Ok(Reply::Array(page)) => page[0].clone(),
                other => panic!("{other:?}"),
            }
        };
        let expect = |cursor: u64| Reply::bulk(cursor.to_string());
        assert_eq!(turn(0, 0), expect(SECOND));
        assert_eq!(turn(7, 0), expect(7));
        assert_eq!(turn(7, 1), expect(SECOND + 7));
        assert_eq!(turn(0, 1), expect(0));
        assert_eq!(
            Place {
                server: 1,
                servers: 2
            }
            .cursor(SECOND),
            None
        );
        let many = Place {
            server: 700,
            servers: 1000,
        };
        assert_eq!(many.cursor(5), Some((700 << 48) + 5));
    }

    #[test]
    fn answers_become_one() {
        let check = |join: Join, answers: Vec<Reply>, expect: Reply| {
            let answers = answers.into_iter().map(Ok).collect();
            assert_eq!(join.join(true, answers, 1), Ok(expect));
        };
        let list = |words: &[&str]| Reply::Array(words.iter().map(Reply::bulk).collect());
        check(
            Join::Gather,
            vec![Reply::Int(1), Reply::Int(2)],
            Reply::Int(3),
        );
        check(Join::Gather, vec![Reply::Ok, Reply::Ok], Reply::Ok);
        check(
            Join::Gather,
            vec![list(&["a"]), list(&["b"])],
            list(&["a", "b"]),
        );
        let places = || Join::Places(vec![vec![1], vec![0, 2]]);
        check(
            places(),
            vec![list(&["b"]), list(&["a", "c"])],
            list(&["a", "b", "c"]),
        );
        check(places(), vec![Reply::Int(1), Reply::Int(2)], Reply::Int(3));
        let one = || vec![Reply::Nil, Reply::bulk("x"), Reply::bulk("y")];
        check(Join::Any, one(), Reply::bulk("y"));
        check(Join::Any, vec![Reply::Nil], Reply::Nil);
    }

    #[test]
    fn what_was_done_in_part_is_not_called_undone() {
        let undone = || Err(Error::NotDone(Cause::Deadline));
        let join = |writes, answers| Join::Gather.join(writes, answers, 0);
        assert_eq!(
            join(true, vec![Ok(Reply::Int(1)), undone()]),
            Err(Error::Unknown(Cause::Deadline))
        );
        assert_eq!(join(true, vec![undone(), undone()]), undone());
        assert_eq!(join(false, vec![Ok(Reply::Int(1)), undone()]), undone());
        assert!(matches!(join(false, Vec::new()), Err(Error::NotDone(_))));
    }
}
