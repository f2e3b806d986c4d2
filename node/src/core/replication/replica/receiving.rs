//! A replica that is given a full copy: where there is a disk, its pieces are written to a file
//! too, and acknowledged once they are.

use dht_proto::topology::NodeId;

use super::super::copy::{self, Incoming};
use super::super::mail::{Chunk, Mail, Received};
use super::{Replica, Turn};

impl<T> Replica<T> {
    /// Takes a piece of a full copy.
    pub fn take_piece(&mut self, from: NodeId, chunk: &Chunk<'_>, turn: &mut Turn<'_, T>) {
        let receipt = self.try_piece(from, chunk, turn);
        let receipt = receipt.unwrap_or_else(|| copy::useless(chunk));
        turn.post.send(from, &Mail::Received(receipt));
    }

    fn try_piece(
        &mut self,
        from: NodeId,
        chunk: &Chunk<'_>,
        turn: &mut Turn<'_, T>,
    ) -> Option<Received> {
        if chunk.to != self.group.me() || chunk.copy.index <= self.group.applied() {
            return None;
        }
        let slots = &self.machine.slots;
        let mut incoming = match self.incoming.take() {
            Some(incoming) if incoming.is_of(from, chunk) => incoming,
            Some(incoming) if incoming.is_newer_than(chunk) => {
                self.incoming = Some(incoming);
                return None;
            }
            older => {
                if let Some(older) = older {
                    turn.files.remove(older.file());
                    older.discard(turn.store);
                }
                let file = turn.keeper.keeps().then(|| turn.files.number(self.shard));
                Incoming::new(from, chunk, slots, file)
            }
        };
        match incoming.take(chunk, slots) {
            Ok(saves) => turn.files.saves.extend(saves),
            Err(_) => {
                turn.files.remove(incoming.file());
                incoming.discard(turn.store);
                return None;
            }
        }
        let receipt = incoming.receipt(self.shard);
        self.incoming = Some(incoming);
        Some(receipt)
    }

    /// A piece of a file was written, or all of it is durable: if it is that of the copy that
    /// this member is given, the sender is told.
    pub(super) fn written(&mut self, file: u64, is_durable: bool, turn: &mut Turn<'_, T>) {
        if let Some(incoming) = &mut self.incoming
            && incoming.file() == Some(file)
        {
            incoming.written(is_durable);
            let receipt = incoming.receipt(self.shard);
            turn.post.send(incoming.from(), &Mail::Received(receipt));
        }
    }

    /// A file could not be written: the copy is given up, and will be asked for again.
    pub(super) fn unwritten(&mut self, file: u64, turn: &mut Turn<'_, T>) {
        if let Some(incoming) = self.incoming.take_if(|it| it.file() == Some(file)) {
            let useless = Mail::Received(incoming.useless(self.shard));
            turn.post.send(incoming.from(), &useless);
            incoming.discard(turn.store);
        }
    }
}
