//! What is known of one connection: who the client says it is, and what it may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use dht_proto::spec::CommandId;

use super::time::Now;
use super::transaction::Transaction;

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
    /// What it watches, and what it has sent since MULTI.
    pub transaction: Transaction,
}

impl Client {
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
    /// What the client says of itself.
    pub labels: ArcSwap<Labels>,
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
        let Labels {
            name,
            lib_name,
            lib_ver,
            resp,
        } = &**self.labels.load();
        let command = self.command();
        format!(
            "id={id} addr={addr} laddr={laddr} fd=-1 name={name} age={age} idle={idle} flags=N \
             db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 \
             rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={command} user=default redir=-1 \
             resp={resp} lib-name={lib_name} lib-ver={lib_ver}"
        )
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
}
