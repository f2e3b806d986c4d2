//! DEBUG: what an operator may do to a node that allows it. None of it changes data: replicas stay
//! alike.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use dht_proto::slot::SLOTS;
use dht_proto::{Reply, ReplyError};

use super::wrong_subcommand;
use crate::core::args::Args;
use crate::core::execute::{Moment, Outcome};
use crate::core::local::Local;
use crate::core::store::{Key, Keys};

const HELP: [&str; 11] = [
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "SLEEP seconds",
    "    Has all clients of this node wait for so long; the node takes part in its cluster.",
    "SET-ACTIVE-EXPIRE flag",
    "    0: this node does not search for what has expired any more; 1: it does.",
    "OBJECT key",
    "    Describes this node's own copy of a value.",
    "DIGEST [first-slot last-slot]",
    "    Hashes this node's own copy of all keys or of some slots; like data has a like hash.",
    "HELP",
    "    Prints this help.",
];

/// DEBUG.
pub fn debug(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    match (args.left(), args.word()?.to_ascii_uppercase().as_slice()) {
        (1, b"HELP") => {
            let line = |line: &&'static str| Reply::Status((*line).into());
            Ok(Reply::Array(HELP.iter().map(line).collect()))
        }
        (2, b"SLEEP") => sleep(ctx, args.word()?),
        (2, b"SET-ACTIVE-EXPIRE") => {
            ctx.node.sweeps.store(args.int()? != 0, Relaxed);
            Ok(Reply::Ok)
        }
        (2, b"OBJECT") => object(ctx, args.word()?),
        (1, b"DIGEST") => Ok(digest(ctx, 0..=SLOTS - 1)),
        (3, b"DIGEST") => {
            let (first, last) = (args.slot()?, args.slot()?);
            Ok(digest(ctx, first..=last))
        }
        _ => Err(wrong_subcommand(args)),
    }
}

fn sleep(ctx: &mut Local<'_>, seconds: &[u8]) -> Outcome {
    let seconds = str::from_utf8(seconds)
        .ok()
        .and_then(|text| text.parse().ok());
    let seconds: f64 = seconds.ok_or(ReplyError::NotFloat)?;
    // What is negative, or no number, is 0.
    let duration_ms = (seconds * 1000.0) as u64;
    if duration_ms > 0 {
        ctx.node.pause.begin(ctx.now.mono_ms, duration_ms, true);
        ctx.client.sleeps = true;
    }
    Ok(Reply::Ok)
}

/// The copy may be behind those of other nodes, and there may be none.
fn object(ctx: &Local<'_>, key: &[u8]) -> Outcome {
    let keys = Keys::of(&[Key::new(key)]).ok_or(ReplyError::NoSuchKey)?;
    let moment = Moment::sure(ctx.node.stamp(ctx.now));
    let mut found = None;
    ctx.node.settings.aside.run(&mut || {
        found = ctx.node.store.read(&keys, moment, |slots| {
            let encoding = slots.encoding(key)?;
            Some((encoding, slots.dump(key)?.len()))
        });
    });
    let (encoding, length) = found.ok_or(ReplyError::NoSuchKey)?;
    let text = format!(
        "Value at:none refcount:1 encoding:{encoding} serializedlength:{length} lru:0 \
         lru_seconds_idle:0"
    );
    Ok(Reply::Status(text.into()))
}

/// As long as Redis's. Copies of nodes are the same only while nothing is written.
fn digest(ctx: &Local<'_>, slots: RangeInclusive<u16>) -> Reply {
    let mut hash = 0;
    ctx.node.settings.aside.run(&mut || {
        hash = ctx.node.store.state_hash(slots.clone());
    });
    Reply::Status(format!("{hash:040x}").into())
}

#[cfg(test)]
mod tests {
    use dht_proto::slot::key_slot;

    use super::*;
    use crate::core::commands::testing::Desk;
    use crate::core::pause::Held;

    #[test]
    fn what_is_allowed_changes_no_data() {
        let mut desk = Desk::standalone();
        let keys = Keys::of(&[Key::new(b"k")]).unwrap();
        let changed: Outcome = desk.node.store.write(&keys, 1, 1, |slots| {
            slots
                .hash_set(b"k", &[(&b"f"[..], &b"v"[..])])
                .map(Reply::count)
        });
        assert!(changed.is_ok());
        let now_ms = desk.now.mono_ms;
        for (line, expect) in [
            ("DEBUG SLEEP 0", "OK"),
            ("DEBUG SLEEP -1", "OK"),
            ("DEBUG SLEEP x", "-ERR value is not a valid float"),
            ("DEBUG OBJECT none", "-ERR no such key"),
            ("DEBUG DIGEST 0 16384", "-ERR Invalid slot"),
            ("DEBUG DIGEST 0 0", &"0".repeat(40)),
            ("DEBUG SET-ACTIVE-EXPIRE 0", "OK"),
            (
                "DEBUG SET-ACTIVE-EXPIRE x",
                "-ERR value is not an integer or out of range",
            ),
            (
                "DEBUG JMAP",
                "-ERR unknown subcommand or wrong number of arguments for 'JMAP'. Try DEBUG HELP.",
            ),
            (
                "DEBUG sleep",
                "-ERR unknown subcommand or wrong number of arguments for 'sleep'. Try DEBUG HELP.",
            ),
        ] {
            assert_eq!(desk.run(line), expect, "{line}");
        }
        assert_eq!(desk.node.pause.at(now_ms), Held::Nothing);
        assert!(!desk.client.sleeps && !desk.node.sweeps.load(Relaxed));
        assert_eq!(desk.run("DEBUG SET-ACTIVE-EXPIRE 1"), "OK");
        assert!(desk.node.sweeps.load(Relaxed));
        let shown = desk.run("DEBUG OBJECT k");
        assert!(
            shown.starts_with("Value at:none refcount:1 encoding:listpack serializedlength:")
                && shown.ends_with(" lru:0 lru_seconds_idle:0"),
            "{shown}"
        );
        let slot = key_slot(b"k");
        let digest = desk.run(&format!("DEBUG DIGEST {slot} {slot}"));
        assert_eq!((digest.len(), desk.run("DEBUG DIGEST")), (40, digest));
        assert_eq!(desk.run("DEBUG SLEEP 1.5"), "OK");
        assert_eq!(desk.node.pause.left_ms(now_ms), 1500);
        assert!(desk.client.sleeps);
        assert_eq!(desk.run("DEBUG HELP").matches(", ").count(), HELP.len() - 1);
    }
}
