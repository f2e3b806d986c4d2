//! Snapshots that clients fetch, piece by piece: each is opened at one moment, goes on while it is
//! asked for, and is given up when it no longer is.
//!
//! Knows no clock: whoever keeps house says that time has passed. A piece may be asked for again
//! until the next one is, so that who lost the answer loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::RwLock;
use dht_proto::limits::{SNAPSHOT_HELD_BYTES, SNAPSHOT_IDLE, SNAPSHOT_PIECE_BYTES, SNAPSHOTS};

use super::Store;
use super::snapshot::Snapshot;

/// The snapshots that clients fetch.
#[derive(Default)]
pub(super) struct Exports {
    /// In the order in which they were opened.
    open: RwLock<Vec<Arc<Export>>>,
}

/// One of them.
struct Export {
    id: u64,
    /// Milliseconds since it was last asked for.
    idle_ms: AtomicU64,
    state: RwLock<State>,
}

struct State {
    /// Nothing once all of it was fetched.
    snapshot: Option<Snapshot>,
    /// Pieces that were made.
    pieces: u64,
    /// The last of them.
    last: Bytes,
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Items of the image, as [`dht_proto::image`] reads them.
    pub bytes: Bytes,
    /// Nothing comes after it.
    pub is_last: bool,
}

impl Store {
    /// Has a snapshot fetched under this id; says whether there is room for it.
    #[must_use]
    pub fn export(&self, id: u64, snapshot: impl FnOnce() -> Snapshot) -> bool {
        if !has_room(&mut self.exports.open.write()) {
            return false;
        }
        // Nothing is locked while it is begun: slots are locked before what belongs to snapshots.
        let export = Export {
            id,
            idle_ms: AtomicU64::new(0),
            state: RwLock::new(State {
                snapshot: Some(snapshot()),
                pieces: 0,
                last: Bytes::new(),
            }),
        };
        let mut open = self.exports.open.write();
        // Others may have come meanwhile.
        let has_room = has_room(&mut open);
        if has_room {
            open.push(Arc::new(export));
        }
        has_room
    }

    /// A piece of a snapshot, the first being number 0: the next one, or the last one again.
    /// Nothing if it is neither, or the snapshot is not there any more.
    #[must_use]
    pub fn export_piece(&self, id: u64, number: u64) -> Option<Piece> {
        let found = {
            let open = self.exports.open.read();
            open.iter().find(|export| export.id == id).cloned()
        };
        let export = found?;
        export.idle_ms.store(0, Ordering::Relaxed);
        let mut state = export.state.write();
        if number == state.pieces
            && let Some(snapshot) = &mut state.snapshot
        {
            let mut bytes = Vec::with_capacity(SNAPSHOT_PIECE_BYTES);
            let mut is_last = false;
            while bytes.len() < SNAPSHOT_PIECE_BYTES && !is_last {
                let room = SNAPSHOT_PIECE_BYTES - bytes.len();
                is_last = self.snapshot_step(snapshot, room, &mut bytes);
            }
            if is_last {
                state.snapshot = None;
            }
            state.pieces += 1;
            state.last = bytes.into();
        }
        (number + 1 == state.pieces).then(|| Piece {
            bytes: state.last.clone(),
            is_last: state.snapshot.is_none(),
        })
    }

    /// So much time has passed: gives up what nobody has asked for in all of it, and, while all
    /// together hold too much old data, the one that was not asked for the longest.
    pub fn age_exports(&self, passed: Duration) {
        let passed_ms = passed.as_millis() as u64;
        let mut open = self.exports.open.write();
        open.retain(|export| {
            let idle_ms = export.idle_ms.fetch_add(passed_ms, Ordering::Relaxed) + passed_ms;
            idle_ms < SNAPSHOT_IDLE.as_millis() as u64
        });
        hold_at_most(&mut open, SNAPSHOT_HELD_BYTES);
    }
}

/// Gives snapshots up until all together hold no more bytes of old data.
fn hold_at_most(open: &mut Vec<Arc<Export>>, bytes: usize) {
    let mut held: usize = open.iter().map(|export| export.held_bytes()).sum();
    while held > bytes {
        // Of those alike the one that was opened last: who has come far is let go on.
        let idle = (0..open.len()).max_by_key(|at| open[*at].idle_ms.load(Ordering::Relaxed));
        let Some(idle) = idle else {
            break;
        };
        held = held.saturating_sub(open.remove(idle).held_bytes());
    }
}

/// Whether there is room for one more; one of which everything was fetched makes it.
fn has_room(open: &mut Vec<Arc<Export>>) -> bool {
    if open.len() < SNAPSHOTS {
        return true;
    }
    let over = open.iter().position(|export| export.is_over());
    over.map(|at| open.remove(at)).is_some()
}

impl Export {
    fn is_over(&self) -> bool {
        // One of which a piece is being made is not.
        let state = self.state.try_read();
        state.is_some_and(|state| state.snapshot.is_none())
    }

    fn held_bytes(&self) -> usize {
        let state = self.state.read();
        state.snapshot.as_ref().map_or(0, Snapshot::held_bytes)
    }
}

#[cfg(test)]
mod tests {
    use dht_proto::image::Item;

    use super::*;
    use crate::core::execute;
    use crate::core::store::{SlotSet, Watched};

    const SECOND: Duration = Duration::from_secs(1);

    fn run(store: &Store, words: &[&[u8]]) {
        execute::on_slots(store, &Watched::default(), &SlotSet::all(), (1, 1), words).unwrap();
    }

    /// A store of several pieces.
    fn store() -> Store {
        let store = Store::new();
        for number in 0..40u8 {
            run(
                &store,
                &[b"SET", &[b'a' + number], &vec![number; 64 * 1024]],
            );
        }
        store
    }

    fn opens(store: &Store, id: u64) -> bool {
        store.export(id, || store.begin_snapshot(0..=16383))
    }

    /// All pieces of a snapshot, and the number of keys that its end names.
    fn fetched(store: &Store, id: u64) -> (usize, usize) {
        let (mut all, mut pieces) = (Vec::new(), 0);
        loop {
            let piece = store.export_piece(id, pieces as u64).unwrap();
            assert_eq!(store.export_piece(id, pieces as u64), Some(piece.clone()));
            all.extend_from_slice(&piece.bytes);
            pieces += 1;
            if piece.is_last {
                break;
            }
        }
        let (mut left, mut last) = (&all[..], None);
        while !left.is_empty() {
            last = Some(Item::decode(&mut left).unwrap());
        }
        match last {
            Some(Item::End(keys)) => (pieces, keys),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_snapshot_is_fetched_piece_by_piece_as_it_was() {
        let store = store();
        assert!(opens(&store, 7));
        run(&store, &[b"SET", b"new", b"x"]);
        run(&store, &[b"DEL", b"a", b"b"]);
        let (pieces, keys) = fetched(&store, 7);
        assert_eq!(keys, 40);
        assert!(pieces > 4, "{pieces}");
        assert_eq!(store.export_piece(7, 0), None, "it was fetched long ago");
        assert_eq!(store.export_piece(7, pieces as u64), None, "there is none");
        assert_eq!(store.export_piece(8, 0), None);
    }

    #[test]
    fn who_comes_while_another_is_begun_takes_its_room() {
        let store = store();
        assert!((1..SNAPSHOTS as u64).all(|id| opens(&store, id)));
        let begin = || {
            assert!(opens(&store, 100));
            store.begin_snapshot(0..=16383)
        };
        assert!(!store.export(200, begin));
        assert_eq!(store.export_piece(200, 0), None);
        assert!(store.export_piece(100, 0).is_some());
        // What was begun for nothing holds nothing.
        store.age_exports(SNAPSHOT_IDLE);
        store.reclaim(usize::MAX);
        assert!((0..16384).all(|slot| !store.is_covered(slot)));
    }

    #[test]
    fn of_those_that_hold_too_much_together_who_asks_goes_on() {
        let store = store();
        assert!(opens(&store, 1) && opens(&store, 2));
        let open = || store.exports.open.write();
        let left = || -> Vec<u64> { open().iter().map(|export| export.id).collect() };
        let held = || {
            open()
                .iter()
                .map(|export| export.held_bytes())
                .sum::<usize>()
        };
        for number in 0..40u8 {
            run(&store, &[b"SET", &[b'a' + number], b"new"]);
        }
        let both = held();
        assert!(both >= 2 * 40 * 64 * 1024, "{both}");
        hold_at_most(&mut open(), both);
        assert_eq!(left(), [1, 2]);
        store.age_exports(SECOND);
        assert!(opens(&store, 3) && store.export_piece(2, 0).is_some());
        let less = held() - 1;
        hold_at_most(&mut open(), less);
        assert_eq!(left(), [2, 3], "nobody has asked for the first");
        hold_at_most(&mut open(), 0);
        assert_eq!(held(), 0);
    }

    #[test]
    fn who_is_over_makes_room_and_who_is_forgotten_too() {
        let store = store();
        assert!((0..SNAPSHOTS as u64).all(|id| opens(&store, id)));
        assert!(!opens(&store, 100));
        fetched(&store, 3);
        assert!(opens(&store, 100));
        assert!(!opens(&store, 101));
        for _ in 0..59 {
            store.age_exports(SECOND);
        }
        assert!(store.export_piece(5, 0).is_some());
        store.age_exports(SECOND);
        assert_eq!(store.export_piece(4, 0), None);
        assert!(store.export_piece(5, 1).is_some());
        assert!(opens(&store, 101));
        // Nothing is kept for those who are gone.
        store.age_exports(SNAPSHOT_IDLE);
        store.reclaim(usize::MAX);
        assert!((0..16384).all(|slot| !store.is_covered(slot)));
    }
}
