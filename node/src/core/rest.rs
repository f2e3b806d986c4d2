//! What is left of a command when its slots are locked no more: a reply that takes long to make
//! is made from what was taken hold of under the locks, wherever that holds up nobody.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use dht_proto::limits::FRAME_BYTES;
use dht_proto::{Reply, ReplyError};

use super::node::Aside;

/// Makes a reply of what a command has found.
#[derive(Clone)]
pub struct Rest {
    bytes: usize,
    make: Arc<dyn Fn() -> Reply + Send + Sync>,
}

impl Rest {
    /// What makes the reply, and about how many bytes it keeps till then; it may take long, and
    /// gives the same every time.
    #[must_use]
    pub fn new(bytes: usize, make: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        let make = Arc::new(make);
        Self { bytes, make }
    }

    /// Makes the reply.
    #[must_use]
    pub fn make(&self) -> Reply {
        (self.make)()
    }
}

/// Room for several answers that make one reply, together as long as one may be that nodes hand on.
#[derive(Debug, Default)]
pub struct ReplyRoom(usize);

impl ReplyRoom {
    /// The answer, if there is room for it; `bytes` is how long it is.
    pub fn take<T: From<ReplyError>>(&mut self, found: T, bytes: usize, writes: bool) -> T {
        if self.0 + bytes > FRAME_BYTES {
            return ReplyError::reply_too_long(writes).into();
        }
        self.0 += bytes;
        found
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

/// For tests: what makes the same reply is the same.
impl PartialEq for Rest {
    fn eq(&self, other: &Self) -> bool {
        self.make() == other.make()
    }
}

/// What a command has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The reply.
    Reply(Reply),
    /// What makes it.
    Rest(Rest),
}

impl Found {
    /// The reply; what makes it is done aside.
    pub fn reply(self, aside: &Aside) -> Reply {
        match self {
            Self::Reply(reply) => reply,
            Self::Rest(rest) => {
                let mut reply = Reply::Nil;
                // What was taken hold of is let go there too.
                let mut rest = Some(rest);
                aside.run(&mut || {
                    if let Some(rest) = rest.take() {
                        reply = rest.make();
                    }
                });
                reply
            }
        }
    }

    /// The reply, made here and now.
    #[must_use]
    pub fn made(self) -> Reply {
        match self {
            Self::Reply(reply) => reply,
            Self::Rest(rest) => rest.make(),
        }
    }

    /// About how many bytes it has, also of long values that the store has; of what makes a reply,
    /// what it keeps.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Reply(reply) => reply.weigh(&Bytes::len),
            Self::Rest(rest) => rest.bytes,
        }
    }

    /// Both as one list. What is made later has to find room beside the rest.
    #[must_use]
    pub fn list(all: Vec<Self>) -> Self {
        if all.iter().any(|found| matches!(found, Self::Rest(_))) {
            let bytes = all.iter().map(Self::bytes).sum();
            return Self::Rest(Rest::new(bytes, move || {
                let mut room = ReplyRoom::default();
                let made = all.iter().cloned().map(|found| {
                    let reply = found.made();
                    let bytes = reply.own_bytes();
                    room.take(reply, bytes, false)
                });
                Reply::Array(made.collect())
            }));
        }
        let replies = all.into_iter().map(Self::made);
        Self::Reply(Reply::Array(replies.collect()))
    }
}

impl From<Reply> for Found {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<ReplyError> for Found {
    fn from(error: ReplyError) -> Self {
        Self::Reply(error.into())
    }
}
