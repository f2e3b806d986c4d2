//! A client at a node, for the tests of handlers: command lines in, replies out as text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use dht_proto::topology::{Member, NodeId, Placement, Topology};
use dht_proto::{Reply, spec};

use crate::core::args::Args;
use crate::core::client::{Client, Door, Facts, Labels, Protocol};
use crate::core::execute::{Handler, Outcome, handler};
use crate::core::local::Local;
use crate::core::node::{Aside, Node, Permission, Settings};
use crate::core::time::Now;

/// A connection to a node, three seconds after its start.
pub struct Desk {
    /// The node.
    pub node: Node,
    /// The connection.
    pub client: Client,
    /// When commands arrive.
    pub now: Now,
}

/// A node that was started alone.
pub fn node() -> Node {
    let settings = Settings {
        password: None,
        standalone: true,
        backend: None,
        is_durable: false,
        has_file: false,
        client: "127.0.0.1:7401".to_owned(),
        redirect: "127.0.0.1:8401".to_owned(),
        max_clients: 10_000,
        shards: 4,
        debug: Permission::No,
        stopwatch: || 0,
        aside: Aside::none(),
    };
    Node::new(
        NodeId([1; 20]),
        settings,
        Now {
            unix_us: 1_700_000_000_000_000,
            mono_ms: 1000,
        },
    )
}

/// The first of three nodes, of four shards.
pub fn cluster() -> Node {
    let alone = node();
    let settings = Settings {
        standalone: false,
        backend: None,
        is_durable: false,
        has_file: false,
        ..alone.settings
    };
    let node = Node::new(alone.id, settings, alone.started);
    let member = |(id, host): (u8, &str)| Member {
        id: NodeId([id; 20]),
        seat: format!("{host}:740{id}"),
        client: format!("{host}:740{id}"),
        redirect: format!("{host}:840{id}"),
    };
    let members = [(1, "127.0.0.1"), (2, "127.0.0.1"), (3, "[::1]")]
        .map(member)
        .to_vec();
    let led_by = |leader| Placement {
        leader,
        replicas: vec![leader],
    };
    node.publish(Ok(Topology {
        epoch: 1,
        members,
        shards: [0, 1, 2, 0].map(led_by).to_vec(),
    }));
    node
}

impl Desk {
    /// A connection to this node, authenticated.
    pub fn at(node: Node) -> Self {
        let facts = Arc::new(Facts {
            id: 5,
            addr: "127.0.0.1:50000".to_owned(),
            laddr: "127.0.0.1:7401".to_owned(),
            since_mono_ms: 1000,
            last_mono_ms: AtomicU64::new(3000),
            last_command: AtomicU64::new(1),
            marks: Default::default(),
            is_killed: AtomicBool::new(false),
            labels: ArcSwap::from_pointee(Labels {
                resp: 2,
                ..Labels::default()
            }),
        });
        node.clients.insert(facts.id, Arc::clone(&facts));
        Self {
            node,
            client: Client::new(facts, Protocol::Resp2, Door::Forward, true),
            now: Now {
                unix_us: 1_700_000_003_000_250,
                mono_ms: 4250,
            },
        }
    }

    /// A connection to a node that was started alone.
    pub fn standalone() -> Self {
        Self::at(node())
    }

    /// Likewise, of a node with a password that was not given yet.
    pub fn with_password(password: &str) -> Self {
        let mut desk = Self::standalone();
        desk.node.settings.password = Some(password.to_owned());
        desk.client.authenticated = false;
        desk
    }

    /// Runs a local command; words are separated by single blanks.
    pub fn run(&mut self, line: &str) -> String {
        show(&self.outcome(line))
    }

    fn outcome(&mut self, line: &str) -> Outcome {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let id = spec::find(&words)?;
        let Handler::Local(run) = handler(id) else {
            unreachable!("{line} is not a local command");
        };
        let name_words = id.spec().name.split(' ').count();
        let mut local = Local {
            client: &mut self.client,
            node: &self.node,
            now: self.now,
        };
        run(&mut local, &mut Args::new(&words, name_words))
    }
}

/// Runs the lines one after the other on one connection to a node that was started alone.
pub fn check(cases: &[(&str, &str)]) {
    let mut desk = Desk::standalone();
    for (line, expected) in cases {
        assert_eq!(desk.run(line), *expected, "{line}");
    }
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Ok(reply) => show_reply(reply),
        Err(error) => format!("-{error}"),
    }
}

fn show_reply(reply: &Reply) -> String {
    let list = |items: &[Reply]| items.iter().map(show_reply).collect::<Vec<_>>().join(", ");
    match reply {
        Reply::Ok => "OK".to_owned(),
        Reply::Status(word) => word.clone().into_owned(),
        Reply::Int(n) => n.to_string(),
        Reply::Bulk(bytes) => format!("\"{}\"", String::from_utf8_lossy(bytes)),
        Reply::Nil | Reply::NilArray => "nil".to_owned(),
        Reply::Array(items) => format!("[{}]", list(items)),
        Reply::Set(items) => format!("~[{}]", list(items)),
        Reply::Parts(parts) => show_reply(&parts.made()),
        Reply::Map(pairs) | Reply::Pairs(pairs) => {
            let pair = |(key, value): &_| format!("{}: {}", show_reply(key), show_reply(value));
            format!(
                "{{{}}}",
                pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
            )
        }
        Reply::Pushes(messages) => {
            let shown = |item: &Reply| show_reply(item).replace('"', "");
            let message = |items: &Vec<Reply>| {
                format!(
                    "[{}]",
                    items.iter().map(shown).collect::<Vec<_>>().join(" ")
                )
            };
            messages.iter().map(message).collect::<Vec<_>>().join(" ")
        }
        Reply::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Double(_) | Reply::Bool(_) | Reply::Error(_) => format!("{reply:?}"),
    }
}
