//! Which node executes a command: from its keys to their slots, from the slots to their leaders.

use dht_proto::reply::{CrossSlot, shown_key};
use dht_proto::slot::SLOTS;
use dht_proto::spec::{CommandId, Kind};
use dht_proto::topology::Topology;
use dht_proto::{ReplyError, limits};
use smallvec::SmallVec;

use super::args::parse_cursor;
use super::client::Door;
use super::gather::Part;
use super::node::View;
use super::store::{Cursor, Key};

/// The keys of a command, hashed once.
pub type Keys<'a> = SmallVec<[Key<'a>; 2]>;

/// Where a command is executed.
#[derive(Debug)]
pub enum Route {
    /// On this node, by itself.
    Here,
    /// By a shard.
    Shard(u16),
    /// In parts, by two or more shards.
    Spread(Vec<Part>),
    /// On this node, by the shards that it leads.
    Led,
    /// By the meta group.
    Meta,
}

/// The keys of a command.
///
/// # Errors
/// A key is longer than its limit.
pub fn keys<'a>(id: CommandId, argv: &[&'a [u8]]) -> Result<Keys<'a>, ReplyError> {
    let spec = id.schema().keys;
    spec.into_iter()
        .flat_map(|spec| spec.positions(argv))
        .map(|position| match argv[position] {
            key if key.len() > limits::KEY_BYTES => Err(ReplyError::TooLong {
                what: "key",
                limit: limits::KEY_BYTES,
            }),
            key => Ok(Key::new(key)),
        })
        .collect()
}

/// Finds out where a command on data is executed.
pub struct Router<'a> {
    topology: &'a Topology,
    view: &'a View,
    /// Where the command came in.
    door: Door,
    /// Whether this node is alone, so that keys of any slots may meet.
    pub standalone: bool,
    /// Whether the client has said READONLY: it reads where there is a copy.
    pub is_readonly: bool,
}

impl<'a> Router<'a> {
    /// For commands that come in at a door, of a client that has not said READONLY.
    ///
    /// # Errors
    /// There is no topology yet.
    pub fn new(view: &'a View, door: Door, standalone: bool) -> Result<Self, ReplyError> {
        let topology = view.topology()?;
        Ok(Self {
            topology,
            view,
            door,
            standalone,
            is_readonly: false,
        })
    }

    /// The place of a command.
    ///
    /// # Errors
    /// `-CROSSSLOT` or `-MOVED`; it has not been executed.
    pub fn route(
        &self,
        id: CommandId,
        argv: &[&[u8]],
        keys: &[Key<'_>],
    ) -> Result<Route, ReplyError> {
        if self.standalone {
            return Ok(Route::Here);
        }
        let route = match self.place(id, argv, keys) {
            Err(ReplyError::Moved { slot, .. }) if self.is_read_from_copy(id, slot) => {
                Route::Shard(self.shard(slot))
            }
            route => route?,
        };
        // As in Redis's cluster, the slots come first.
        if id.schema().is_whole(argv.len()) {
            Ok(route)
        } else {
            Err(ReplyError::Arity(id.spec().full_name().into()))
        }
    }

    fn place(&self, id: CommandId, argv: &[&[u8]], keys: &[Key<'_>]) -> Result<Route, ReplyError> {
        match id.spec().kind {
            Kind::READ | Kind::WRITE | Kind::TRANSACTION | Kind::EXECUTION => self.one_slot(keys),
            Kind::READ_EACH | Kind::WRITE_EACH if self.door == Door::Redirect => {
                self.one_slot(keys)
            }
            Kind::READ_EACH | Kind::WRITE_EACH => Ok(self.each(keys)),
            Kind::CURSOR if self.door == Door::Redirect => Ok(Route::Led),
            Kind::READ_ALL | Kind::READ_ANY | Kind::WRITE_ALL => Ok(self.all()),
            Kind::CURSOR => Ok(self.cursor(argv.get(id.words()).copied().unwrap_or_default())),
            Kind::SESSION | Kind::SNAPSHOT => {
                self.named(argv.get(id.words()).copied().unwrap_or_default())
            }
            Kind::META => Ok(Route::Meta),
            Kind::LOCAL
            | Kind::SIGN
            | Kind::LISTEN
            | Kind::CALL
            | Kind::HANDSHAKE
            | Kind::ENDING => Ok(Route::Here),
        }
    }

    /// The place of a command that has to wait for EXEC.
    ///
    /// # Errors
    /// Those of [`Self::route`], and that it cannot be part of a transaction.
    pub fn route_queued(&self, id: CommandId, keys: &[Key<'_>]) -> Result<Route, ReplyError> {
        if self.standalone {
            return Ok(Route::Here);
        }
        if id.spec().kind.is_whole() {
            let name = id.spec().full_name();
            let why = format!("'{name}' works on all shards; a transaction is of one slot");
            return Err(ReplyError::Other(why.into()));
        }
        self.one_slot(keys)
    }

    /// The only slot of these keys.
    ///
    /// # Errors
    /// `-CROSSSLOT`, or `-MOVED` from the redirecting port.
    pub fn one_slot(&self, keys: &[Key<'_>]) -> Result<Route, ReplyError> {
        let Some((first, rest)) = keys.split_first() else {
            return Ok(Route::Here);
        };
        if let Some(other) = rest.iter().find(|key| key.slot() != first.slot()) {
            return Err(crossed(*first, *other));
        }
        self.slot(first.slot())
    }

    /// Whether a client that reads where there is a copy is right to do so here. It is answered by
    /// the leader all the same: what is read is never stale.
    fn is_read_from_copy(&self, id: CommandId, slot: u16) -> bool {
        let is_read = matches!(id.spec().kind, Kind::READ | Kind::READ_EACH);
        let held_by = &self.topology.shards[self.topology.shard_of(slot)].replicas;
        self.is_readonly && is_read && held_by.contains(&self.view.me)
    }

    /// The shard of a slot, unless the client has to go to its leader.
    fn slot(&self, slot: u16) -> Result<Route, ReplyError> {
        let shard = self.shard(slot);
        let leader = self.topology.shards[usize::from(shard)].leader;
        let is_sent_on = leader != self.view.me && !self.view.stands_in_for(shard);
        if self.door == Door::Redirect && is_sent_on {
            return Err(ReplyError::Moved {
                slot,
                to: self.topology.members[usize::from(leader)].redirect.clone(),
            });
        }
        Ok(Route::Shard(shard))
    }

    fn each(&self, keys: &[Key<'_>]) -> Route {
        let mut parts: Vec<Part> = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            let shard = self.shard(key.slot());
            match parts.iter_mut().find(|part| part.shard == shard) {
                Some(part) => part.keys.push(position),
                None => parts.push(Part {
                    shard,
                    keys: vec![position],
                }),
            }
        }
        spread(parts)
    }

    /// Every shard, or those that this node leads for a client that asks every node.
    fn all(&self) -> Route {
        let shards = (0..).zip(&self.topology.shards);
        let asked =
            shards.filter(|(_, at)| self.door == Door::Forward || at.leader == self.view.me);
        let parts = asked.map(|(shard, _)| Part {
            shard,
            keys: Vec::new(),
        });
        spread(parts.collect())
    }

    /// The place of a command that names a slot.
    fn named(&self, slot: &[u8]) -> Result<Route, ReplyError> {
        let number = str::from_utf8(slot).ok().and_then(|text| text.parse().ok());
        match number.filter(|slot| *slot < SLOTS) {
            Some(slot) => self.slot(slot),
            // The handler refuses what is no slot.
            None => Ok(Route::Here),
        }
    }

    fn cursor(&self, cursor: &[u8]) -> Route {
        match parse_cursor(cursor) {
            Some(place) => {
                let slot = Cursor::from_number(place).slot.min(SLOTS - 1);
                Route::Shard(self.shard(slot))
            }
            // The handler refuses what is no cursor.
            None => Route::Here,
        }
    }

    fn shard(&self, slot: u16) -> u16 {
        self.topology.shard_of(slot) as u16
    }
}

/// Two keys that were expected in one slot.
#[must_use]
pub fn crossed(first: Key<'_>, second: Key<'_>) -> ReplyError {
    let shown = |key: Key<'_>| (shown_key(key.bytes()), key.slot());
    let keys = CrossSlot {
        first: shown(first),
        second: shown(second),
    };
    ReplyError::CrossSlot(Some(Box::new(keys)))
}

/// A part alone is the whole; no part is nothing to do for anybody else.
fn spread(parts: Vec<Part>) -> Route {
    match parts.as_slice() {
        [] => Route::Here,
        [part] => Route::Shard(part.shard),
        _ => Route::Spread(parts),
    }
}
