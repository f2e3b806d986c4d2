//! What is known of one connection: who the client says it is, and what it may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use dht_proto::ReplyError;
use dht_proto::spec::CommandId;

use super::pubsub::{News, Subscriptions};
use super::services::Call;
use super::time::Now;
use super::transaction::Transaction;
use super::wire::Origin;

/// The version of the protocol in which replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP, version 2.
    Resp2,
    /// RESP, version 3.
    Resp3,
    /// MessagePack frames.
    Native,
}

impl Protocol {
    /// The version of RESP whose types replies have: 2 or 3. Native frames have those of 3.
    #[must_use]
    pub const fn resp(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 | Self::Native => 3,
        }
    }
}

/// What happens with a command whose keys another node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The client port: it is forwarded.
    Forward,
    /// The redirecting port: the client is told where to go; whole-keyspace commands cover this
    /// node only.
    Redirect,
}

/// Which requests of a RESP connection are answered: `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// All but the next.
    SkipNext,
    /// All but the present one.
    Skip,
}

/// What a command has the shell do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Close another connection, by its id, at once.
    HangUp(u64),
    /// Let those go on whose commands wait.
    Resume,
    /// End the node; if so, without handing anything over.
    ShutDown {
        /// Nobody waits for others to take over.
        at_once: bool,
    },
}

/// A connection, as its own session sees it.
pub struct Client {
    /// The part that `CLIENT LIST` of other connections shows.
    pub facts: Arc<Facts>,
    /// The protocol of replies.
    pub protocol: Protocol,
    /// How commands for other nodes are treated.
    pub door: Door,
    /// Whether the password was given, or none is needed.
    pub authenticated: bool,
    /// Set by QUIT: nothing more is executed, and the connection closes after the replies so far.
    pub closing: bool,
    /// Which of its requests are answered.
    pub replies: Replies,
    /// What it watches, and what it has sent since MULTI.
    pub transaction: Transaction,
    /// What it listens to.
    pub subscriptions: Subscriptions,
    /// Whether it may execute commands for which the node has to allow it.
    pub may_debug: bool,
    /// Its present command is answered when the pause is over that it has begun.
    pub sleeps: bool,
    /// What the other nodes are still to be told of it.
    pub news: Vec<News>,
    /// What the shell is still to do for it.
    pub orders: Vec<Order>,
    /// The call of a service that it makes at present.
    pub call: Option<Call>,
    /// It has offered a service.
    pub provides: bool,
    /// What it offers has changed, and nobody was told.
    pub has_offered: bool,
}

impl Client {
    /// A connection that has just been made.
    #[must_use]
    pub fn new(facts: Arc<Facts>, protocol: Protocol, door: Door, authenticated: bool) -> Self {
        Self {
            facts,
            protocol,
            door,
            authenticated,
            closing: false,
            replies: Replies::On,
            transaction: Transaction::default(),
            subscriptions: Subscriptions::default(),
            may_debug: false,
            sleeps: false,
            news: Vec::new(),
            orders: Vec::new(),
            call: None,
            provides: false,
            has_offered: false,
        }
    }

    /// Whether it may execute a command at this node.
    ///
    /// # Errors
    /// It may not, in Redis's words.
    pub fn check(&self, id: CommandId) -> Result<(), ReplyError> {
        if id.schema().is_protected && !self.may_debug {
            return Err(ReplyError::err(
                "DEBUG command not allowed. If the enable-debug-command option is set to \
                 \"local\", you can run it from a local connection, otherwise you need to set \
                 this option in the configuration file, and then restart the server.",
            ));
        }
        Ok(())
    }

    /// How its next RESP request is answered.
    pub fn next_origin(&mut self) -> Origin {
        if self.replies == Replies::SkipNext {
            self.replies = Replies::Skip;
        }
        self.origin()
    }

    /// How a RESP request is answered at present.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let origin = Origin::resp(self.protocol);
        match (self.replies, origin) {
            (Replies::On, origin) => origin,
            (_, Origin::Resp(version)) => Origin::Muted(version),
            (_, origin) => origin,
        }
    }

    /// A request has been taken: what held for it alone is over.
    pub fn end_request(&mut self) {
        if self.replies == Replies::Skip {
            self.replies = Replies::On;
        }
    }

    /// Whether what is pushed to it would be taken for replies: it can do little but listen.
    #[must_use]
    pub fn only_listens(&self) -> bool {
        self.protocol == Protocol::Resp2 && !self.subscriptions.is_empty()
    }

    /// Shows others to how much it listens.
    pub fn show_subscriptions(&self) {
        let counts = self.subscriptions.counts();
        self.facts.label(|labels| labels.listens = counts);
    }

    /// Changes the version of RESP; native frames stay what they are.
    pub fn speak(&mut self, protocol: Protocol) {
        if self.protocol != Protocol::Native {
            self.protocol = protocol;
            self.facts.label(|labels| labels.resp = protocol.resp());
        }
    }
}

/// What everybody may see of a connection.
pub struct Facts {
    /// Unique in this process, never reused.
    pub id: u64,
    /// Remote address.
    pub addr: String,
    /// Local address.
    pub laddr: String,
    /// When it was accepted, monotonic milliseconds.
    pub since_mono_ms: u64,
    /// When its last command arrived, monotonic milliseconds.
    pub last_mono_ms: AtomicU64,
    /// The index of its last command in the table, plus one; 0 before the first.
    pub last_command: AtomicU64,
    /// What it has switched on, and what it has queued.
    pub marks: Marks,
    /// Another client has had it closed.
    pub is_killed: AtomicBool,
    /// What the client says of itself.
    pub labels: ArcSwap<Labels>,
}

/// What a client has switched on, and how many commands wait for its EXEC, as others may see it.
#[derive(Debug, Default)]
pub struct Marks {
    flags: AtomicU8,
    /// One more than there are; 0 without MULTI.
    queued: AtomicU32,
}

impl Marks {
    /// The letter of a flag and its place among those that are shown.
    const SHOWN: [(Mark, char); 3] = [
        (Mark::ReadOnly, 'r'),
        (Mark::NoEvict, 'e'),
        (Mark::NoTouch, 'T'),
    ];

    /// Sets or clears a flag.
    pub fn set(&self, mark: Mark, is_on: bool) {
        let bit = 1 << mark as u8;
        if is_on {
            self.flags.fetch_or(bit, Relaxed);
        } else {
            self.flags.fetch_and(!bit, Relaxed);
        }
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.flags.load(Relaxed) & 1 << mark as u8 != 0
    }

    /// Clears all flags.
    pub fn clear(&self) {
        self.flags.store(0, Relaxed);
    }

    /// So many commands wait for EXEC; nothing without MULTI.
    pub fn queue(&self, queued: Option<usize>) {
        let queued = queued.map_or(0, |count| count as u32 + 1);
        if self.queued.load(Relaxed) != queued {
            self.queued.store(queued, Relaxed);
        }
    }

    fn queued(&self) -> Option<u32> {
        self.queued.load(Relaxed).checked_sub(1)
    }

    fn letters(&self) -> impl Iterator<Item = char> {
        let shown = Self::SHOWN.into_iter();
        shown.filter_map(move |(mark, letter)| self.has(mark).then_some(letter))
    }
}

/// Something that a client has switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// READONLY, in a cluster.
    ReadOnly,
    /// CLIENT NO-EVICT.
    NoEvict,
    /// CLIENT NO-TOUCH.
    NoTouch,
}

impl Facts {
    /// Changes what the client says of itself.
    pub fn label(&self, change: impl FnOnce(&mut Labels)) {
        let mut labels = Labels::clone(&self.labels.load());
        change(&mut labels);
        self.labels.store(Arc::new(labels));
    }

    /// The line of `CLIENT LIST`, without its end. What has no meaning here is as in a Redis
    /// without it. Memory is 0: buffers are lent to a connection only while it is busy.
    #[must_use]
    pub fn line(&self, now: Now) -> String {
        let Self {
            id, addr, laddr, ..
        } = self;
        let seconds_since = |mono_ms: u64| now.mono_ms.saturating_sub(mono_ms) / 1000;
        let age = seconds_since(self.since_mono_ms);
        let idle = seconds_since(self.last_mono_ms.load(Relaxed));
        let labels = self.labels.load();
        let Labels {
            name,
            lib_name,
            lib_ver,
            resp,
            listens,
        } = &**labels;
        let [sub, psub, ssub] = listens;
        let flags = self.flags(&labels);
        let multi = self.marks.queued().map_or(-1, i64::from);
        let command = self.command();
        format!(
            "id={id} addr={addr} laddr={laddr} fd=-1 name={name} age={age} idle={idle} \
             flags={flags} db=0 sub={sub} psub={psub} ssub={ssub} multi={multi} qbuf=0 qbuf-free=0 \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r \
             cmd={command} user=default redir=-1 resp={resp} lib-name={lib_name} lib-ver={lib_ver}"
        )
    }

    /// The letters of what is true of it, in Redis's order; `N` if nothing is.
    fn flags(&self, labels: &Labels) -> String {
        let listens = labels.is_listening().then_some('P');
        let queues = self.marks.queued().map(|_| 'x');
        let first = listens.into_iter().chain(queues);
        let letters: String = first.chain(self.marks.letters()).collect();
        if letters.is_empty() {
            return "N".to_owned();
        }
        letters
    }

    /// The full name of the last command.
    fn command(&self) -> String {
        let last = self.last_command.load(Relaxed) as usize;
        let row = last
            .checked_sub(1)
            .and_then(|index| CommandId::all().nth(index));
        row.map_or_else(|| "NULL".to_owned(), |id| id.spec().full_name())
    }
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: String,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: String,
    /// 2 or 3.
    pub resp: u8,
    /// To how many channels, patterns and channels of shards it listens.
    pub listens: [u32; 3],
}

impl Labels {
    /// Whether it listens to anything.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.listens.iter().any(|count| *count > 0)
    }
}
