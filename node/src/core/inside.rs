//! Commands of the program that the node is a part of, where they need nobody else: no connection
//! lies between, and nothing is encoded.

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

use dht_proto::Reply;
use dht_proto::spec::{self, Kind};

use super::client::Door;
use super::execute::{Command, Here, Look};
use super::node::Node;
use super::pause::Held;
use super::random::Random;
use super::router::{self, Route, Router};
use super::time::Now;

/// Executes a command on the keys of one slot, if this node may answer it by itself and at once: a
/// read of what it leads, or anything of a node that is alone, unless clients are paused. Nothing
/// otherwise, and then nothing has been done; mistakes are for the session to tell. How long it
/// takes is not measured: to look at the clock would cost as much as the command.
#[must_use]
pub fn at_once(node: &Node, now: Now, seed: u64, argv: &[&[u8]]) -> Option<Reply> {
    let id = spec::find(argv).ok()?;
    let kind = id.spec().kind;
    let alone = node.settings.standalone;
    if kind != Kind::READ && !(alone && kind == Kind::WRITE) {
        return None;
    }
    match node.pause.at(now.mono_ms) {
        Held::Nothing => (),
        Held::Writes if kind == Kind::READ => (),
        Held::Writes | Held::All => return None,
    }
    let keys = router::keys(id, argv).ok()?;
    let command = Command::new(id, argv, &keys);
    let here = Here {
        node,
        now,
        stamp: node.stamp(now),
        seed,
        lookups: Cell::default(),
    };
    let reply = if alone {
        here.run_on_slots(&command)?.unwrap_or_else(Reply::Error)
    } else {
        let view = node.view.load();
        let router = Router::new(&view, Door::Forward, alone).ok()?;
        let Ok(Route::Shard(shard)) = router.route(id, argv, &keys) else {
            return None;
        };
        match here.look(&command, shard) {
            Look::Seen(reply) => reply,
            Look::NoLease | Look::Early => return None,
        }
    };
    node.stats.commands.fetch_add(1, Relaxed);
    node.measures
        .hot
        .see(&keys, &mut Random::new(!seed), now.mono_ms);
    node.store.lookups.add(here.lookups.get());
    Some(made(node, reply))
}

/// The reply with all of its items: nobody writes it, by whom they would be made.
fn made(node: &Node, reply: Reply) -> Reply {
    let Reply::Parts(parts) = reply else {
        return reply;
    };
    let mut made = Reply::Nil;
    let aside = &node.settings.aside;
    aside.run(&mut || made = parts.made());
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::commands::testing::node;

    const NOW: Now = Now {
        unix_us: 1_000_000,
        mono_ms: 1,
    };

    fn ask(node: &Node, line: &str) -> Option<Reply> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        at_once(node, NOW, 0, &words)
    }

    #[test]
    fn a_node_that_is_alone_does_what_is_of_one_slot() {
        let node = node();
        assert!(node.settings.standalone);
        assert_eq!(ask(&node, "HSET h f v"), Some(Reply::Int(1)));
        assert_eq!(ask(&node, "hget h f"), Some(Reply::bulk("v")));
        let refused = ask(&node, "GET h");
        assert!(matches!(refused, Some(Reply::Error(_))), "{refused:?}");
    }

    #[test]
    fn what_is_paused_is_left_to_a_session_that_waits() {
        let node = node();
        node.pause.begin(NOW.mono_ms, 100, false);
        assert_eq!(ask(&node, "SET k v"), None);
        assert_eq!(ask(&node, "GET k"), Some(Reply::Nil));
        // So is everything while DEBUG SLEEP sleeps.
        node.pause.begin(NOW.mono_ms, 100, true);
        assert_eq!(ask(&node, "GET k"), None);
        node.pause.end();
        assert_eq!(ask(&node, "SET k v"), Some(Reply::Ok));
    }

    #[test]
    fn all_else_is_left_to_a_session() {
        let node = node();
        for line in ["PING", "HGET h", "NO-SUCH", "DBSIZE", "MGET a b", "MULTI"] {
            assert_eq!(ask(&node, line), None, "{line}");
        }
    }
}
