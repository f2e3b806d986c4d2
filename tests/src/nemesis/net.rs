//! A network of its own for a cluster: a namespace a node, joined by a bridge in one more, in which
//! the clients are. Packets from one end to another can be made to get lost, one way.
//!
//! Needs root and `ip`, and nothing of the kernel besides namespaces and veth: an end that is cut
//! off is given a hardware address that nobody has, so that what is sent to it vanishes without a
//! word, as in a network that is cut.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Place;

/// What the names of all our namespaces begin with.
const PREFIX: &str = "dht-test";
/// Where the system keeps namespaces by name.
const NAMED: &str = "/var/run/netns";
/// The address of nobody.
const NOWHERE: &str = "02:00:00:00:00:99";
/// The ports of every node.
const PORTS: (u16, u16) = (7400, 8400);

/// A network. It ends with this value; the processes in it have to end before.
pub struct Net {
    name: String,
    nodes: usize,
    /// From where to where packets get lost.
    cut: BTreeSet<(End, End)>,
}

/// Somebody in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// All clients.
    Clients,
    /// A node.
    Node(usize),
}

impl Net {
    /// Why there can be no such network here.
    #[must_use]
    pub fn obstacle() -> Option<&'static str> {
        (!geteuid().is_root()).then_some("network namespaces need root")
    }

    /// A whole network for so many nodes.
    ///
    /// # Panics
    /// The system refuses it.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        remove_orphans();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            name: format!("{PREFIX}-{}-{number}", std::process::id()),
            nodes,
            cut: BTreeSet::new(),
        };
        for end in net.ends() {
            ip(&["netns", "add", &net.space(end)]);
        }
        net.join();
        net
    }

    /// Where nodes are to be started.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let place = |node| {
            let address = address(End::Node(node));
            Place {
                client: SocketAddr::from((address, PORTS.0)),
                redirect: SocketAddr::from((address, PORTS.1)),
                within: ["ip", "netns", "exec", &self.space(End::Node(node))]
                    .map(str::to_owned)
                    .to_vec(),
            }
        };
        (0..self.nodes).map(place).collect()
    }

    /// From now on this thread, and those that it starts, are among the clients.
    ///
    /// # Panics
    /// The system refuses it.
    pub fn enter(&self) {
        let space = File::open(Path::new(NAMED).join(self.space(End::Clients)));
        let space = space.expect("a namespace");
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), kind).expect("entering it");
    }

    /// Has everything lost that is sent from one end to another.
    pub fn cut(&mut self, from: End, to: End) {
        if self.cut.insert((from, to)) {
            let (to, device) = (address(to).to_string(), device(from));
            let neighbour = ["neigh", "replace", &to, "lladdr", NOWHERE, "dev", device];
            let space = self.space(from);
            ip(&[&["-n", &space][..], &neighbour, &["nud", "permanent"]].concat());
        }
    }

    /// Has everything lost between these two.
    pub fn cut_both(&mut self, one: End, other: End) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Has everything lost between a node and all others, clients too.
    pub fn isolate(&mut self, node: usize) {
        let node = End::Node(node);
        for other in self.ends().filter(|end| *end != node) {
            self.cut_both(node, other);
        }
    }

    /// Ends all losses.
    pub fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cut) {
            let (to, device, space) = (address(to).to_string(), device(from), self.space(from));
            ip(&["-n", &space, "neigh", "del", &to, "dev", device]);
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.nodes
    }

    fn ends(&self) -> impl Iterator<Item = End> + use<> {
        let nodes = (0..self.nodes).map(End::Node);
        [End::Clients].into_iter().chain(nodes)
    }

    fn space(&self, end: End) -> String {
        match end {
            End::Clients => format!("{}-clients", self.name),
            End::Node(node) => format!("{}-node{node}", self.name),
        }
    }

    /// Lays the cables.
    fn join(&self) {
        let clients = self.space(End::Clients);
        batch(&clients, "link add bridge0 type bridge\n");
        for node in 0..self.nodes {
            let space = self.space(End::Node(node));
            batch(
                &clients,
                &format!(
                    "link add port{node} type veth peer name eth0 netns {space}\n\
                     link set port{node} master bridge0 up\n"
                ),
            );
        }
        for end in self.ends() {
            let (address, device) = (address(end), device(end));
            batch(
                &self.space(end),
                &format!(
                    "addr add {address}/24 dev {device}\n\
                     link set {device} up\n\
                     link set lo up\n"
                ),
            );
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.ends().for_each(|end| remove(&self.space(end)));
    }
}

fn address(end: End) -> Ipv4Addr {
    let host = match end {
        End::Clients => 254,
        End::Node(node) => node + 1,
    };
    Ipv4Addr::new(10, 77, 0, u8::try_from(host).unwrap_or(u8::MAX))
}

const fn device(end: End) -> &'static str {
    match end {
        End::Clients => "bridge0",
        End::Node(_) => "eth0",
    }
}

/// Removes what a run has left that was killed before it could.
fn remove_orphans() {
    let named = fs::read_dir(NAMED).into_iter().flatten().flatten();
    for space in named.filter_map(|entry| entry.file_name().into_string().ok()) {
        let rest = space
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('-'));
        let maker = rest.and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists()) {
            remove(&space);
        }
    }
}

/// Removes a namespace, if it is there: who makes order has nothing to complain about.
fn remove(space: &str) {
    let _ = Command::new("ip")
        .args(["netns", "del", space])
        .stderr(Stdio::null())
        .status();
}

fn ip(args: &[&str]) {
    let ended = Command::new("ip")
        .args(args)
        .status()
        .expect("the program ip (iproute2)");
    assert!(ended.success(), "ip {}", args.join(" "));
}

/// Runs lines of `ip` in a namespace.
fn batch(space: &str, lines: &str) {
    let started = Command::new("ip")
        .args(["-n", space, "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn();
    let mut ip = started.expect("the program ip (iproute2)");
    let mut input = ip.stdin.take().expect("it was piped");
    input.write_all(lines.as_bytes()).expect("ip reads");
    drop(input);
    let ended = ip.wait().expect("ip ends");
    assert!(ended.success(), "in {space}: ip -batch\n{lines}");
}
