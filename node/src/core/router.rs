//! Which node executes a command: from its keys to their slots, from the slots to their leaders.

use dht_proto::reply::CrossSlot;
use dht_proto::slot::SLOTS;
use dht_proto::spec::{CommandId, Kind};
use dht_proto::topology::Topology;
use dht_proto::{ReplyError, limits};
use smallvec::SmallVec;

use super::client::Door;
use super::gather::Part;
use super::node::View;
use super::store::{Cursor, Key};

/// The keys of a command, hashed once.
pub type Keys<'a> = SmallVec<[Key<'a>; 2]>;

/// Where a command is executed.
#[derive(Debug)]
pub enum Route {
    /// On this node.
    Here,
    /// On another member, by index in the topology.
    There(u16),
    /// In parts, on two or more members, this one perhaps among them.
    Spread(Vec<Part>),
}

/// The keys of a command.
///
/// # Errors
/// A key is longer than its limit.
pub fn keys<'a>(id: CommandId, argv: &[&'a [u8]]) -> Result<Keys<'a>, ReplyError> {
    let spec = id.schema().keys;
    spec.into_iter()
        .flat_map(|spec| spec.positions(argv.len()))
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
    /// The cluster.
    pub topology: &'a Topology,
    /// This node's view of it.
    pub view: &'a View,
    /// Where the command came in.
    pub door: Door,
    /// Whether this node is alone, so that keys of any slots may meet.
    pub standalone: bool,
}

impl Router<'_> {
    /// The place of a command.
    ///
    /// # Errors
    /// `-CROSSSLOT`, `-MOVED`, or why nobody can execute it at present; it has not been executed.
    pub fn route(
        &self,
        id: CommandId,
        argv: &[&[u8]],
        keys: &[Key<'_>],
    ) -> Result<Route, ReplyError> {
        if self.standalone {
            return Ok(Route::Here);
        }
        match id.spec().kind {
            Kind::READ | Kind::WRITE => self.one_slot(keys),
            Kind::READ_EACH | Kind::WRITE_EACH if self.door == Door::Redirect => {
                self.one_slot(keys)
            }
            Kind::READ_EACH | Kind::WRITE_EACH => self.each(keys),
            Kind::READ_ALL | Kind::WRITE_ALL => self.all(),
            Kind::CURSOR => self.cursor(argv.get(id.words()).copied().unwrap_or_default()),
            Kind::LOCAL | Kind::HANDSHAKE => Ok(Route::Here),
        }
    }

    fn one_slot(&self, keys: &[Key<'_>]) -> Result<Route, ReplyError> {
        let Some((first, rest)) = keys.split_first() else {
            return Ok(Route::Here);
        };
        if let Some(other) = rest.iter().find(|key| key.slot() != first.slot()) {
            let shown = |key: &Key<'_>| (String::from_utf8_lossy(key.bytes()).into(), key.slot());
            let keys = CrossSlot {
                first: shown(first),
                second: shown(other),
            };
            return Err(ReplyError::CrossSlot(Some(Box::new(keys))));
        }
        self.at(self.leader(first.slot()), first.slot())
    }

    fn each(&self, keys: &[Key<'_>]) -> Result<Route, ReplyError> {
        let mut parts: Vec<Part> = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            let member = self.leader(key.slot());
            match parts.iter_mut().find(|part| part.member == member) {
                Some(part) => part.keys.push(position),
                None => parts.push(Part {
                    member,
                    keys: vec![position],
                }),
            }
        }
        self.spread(parts, keys.first().map_or(0, |key| key.slot()))
    }

    fn all(&self) -> Result<Route, ReplyError> {
        if self.door != Door::Forward {
            return Ok(Route::Here);
        }
        let mut leaders: Vec<u16> = self
            .topology
            .shards
            .iter()
            .map(|shard| shard.leader)
            .collect();
        leaders.sort_unstable();
        leaders.dedup();
        let parts = leaders.into_iter().map(|member| Part {
            member,
            keys: Vec::new(),
        });
        self.spread(parts.collect(), 0)
    }

    /// A part alone is the whole. Nothing is sent out before every part can be.
    fn spread(&self, parts: Vec<Part>, slot: u16) -> Result<Route, ReplyError> {
        if let [part] = parts.as_slice() {
            return self.at(part.member, slot);
        }
        for part in &parts {
            self.at(part.member, slot)?;
        }
        Ok(Route::Spread(parts))
    }

    fn cursor(&self, cursor: &[u8]) -> Result<Route, ReplyError> {
        let place = str::from_utf8(cursor)
            .ok()
            .and_then(|text| text.parse().ok());
        match place {
            // The handler refuses what is no cursor; the other doors have this node's keys only.
            Some(place) if self.door == Door::Forward => {
                let slot = Cursor::from_number(place).slot.min(SLOTS - 1);
                self.at(self.leader(slot), slot)
            }
            _ => Ok(Route::Here),
        }
    }

    fn leader(&self, slot: u16) -> u16 {
        self.topology.shards[self.topology.shard_of(slot)].leader
    }

    fn at(&self, member: u16, slot: u16) -> Result<Route, ReplyError> {
        if member == self.view.me {
            return Ok(Route::Here);
        }
        match self.door {
            Door::Forward if self.view.is_down(member) => {
                Err(unreachable_member(self.topology, member))
            }
            Door::Forward => Ok(Route::There(member)),
            Door::Redirect => {
                let to = self.topology.members[usize::from(member)].redirect.clone();
                Err(ReplyError::Moved { slot, to })
            }
            Door::Peer => Err(ReplyError::TryAgain(
                "this node does not lead the slot".into(),
            )),
        }
    }
}

/// Not done: the node that leads the keys cannot be reached.
#[must_use]
pub fn unreachable_member(topology: &Topology, member: u16) -> ReplyError {
    let name = topology
        .members
        .get(usize::from(member))
        .map_or("?", |member| &member.client);
    ReplyError::ClusterDown(format!("node {name} is not reachable; nothing was changed").into())
}
