//! What all connections of one node share.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use dht_proto::topology::{Member, NodeId, Placement, Topology};
use dht_proto::{ReplyError, slot};

use super::client::Facts;
use super::lease::Word;
use super::measures::Measures;
use super::pause::Pause;
use super::pubsub::Hub;
use super::services::Services;
use super::store::{Store, Watched};
use super::time::{Now, UnixMs};

/// A node: its data, its view of the cluster, its counters.
pub struct Node {
    /// Its identity.
    pub id: NodeId,
    /// What it was started with.
    pub settings: Settings,
    /// When it was started.
    pub started: Now,
    /// The data.
    pub store: Arc<Store>,
    /// Who watches keys of a node that is alone; those of a cluster are in its shards.
    pub watched: Watched,
    /// The cluster as it is known here; without members while it forms.
    pub view: ArcSwap<View>,
    /// One a shard: whether its reads may be answered here, and its time.
    pub words: Box<[Arc<Word>]>,
    /// Who listens to which channels.
    pub hub: Hub,
    /// Whether clients have to wait.
    pub pause: Pause,
    /// Who offers which services.
    pub services: Services,
    /// Counters.
    pub stats: Stats,
    /// Commands, errors, and what took long.
    pub measures: Measures,
    /// Every open client connection by id.
    pub clients: DashMap<u64, Arc<Facts>>,
    /// Groups, the meta group among them, of which it is not known that every replica which there
    /// is to be has a vote and is heard from. With 0, any one node may be lost.
    pub short: AtomicUsize,
    /// Snapshots that clients have asked for.
    pub saves: Saves,
    /// The node's disk has no room.
    pub is_full: AtomicBool,
    /// What is due is searched for, and not only found when it is asked for.
    pub sweeps: AtomicBool,
    /// The program that this node is a part of ends it when a client says so.
    pub may_be_shut_down: AtomicBool,
    /// The latest stamp given, in milliseconds since the Unix epoch.
    clock: AtomicU64,
}

impl Node {
    /// A node without data. Started alone it leads everything at once; otherwise it waits for
    /// [`Node::publish`].
    #[must_use]
    pub fn new(id: NodeId, settings: Settings, started: Now) -> Self {
        let topology = if settings.standalone || settings.backend.is_some() {
            Ok(Topology {
                epoch: 1,
                members: vec![settings.member(id)],
                shards: vec![Placement {
                    leader: 0,
                    replicas: vec![0],
                }],
            })
        } else {
            Err("the cluster is forming".to_owned())
        };
        let shards = settings.shards.max(1) as usize;
        Self {
            id,
            started,
            words: (0..shards).map(|_| Arc::default()).collect(),
            store: Arc::new(Store::new()),
            watched: Watched::default(),
            view: ArcSwap::from_pointee(View::new(id, topology)),
            hub: Hub::default(),
            pause: Pause::default(),
            services: Services::default(),
            stats: Stats::default(),
            measures: Measures::default(),
            clients: DashMap::new(),
            short: AtomicUsize::new(usize::from(!settings.standalone)),
            settings,
            saves: Saves {
                last_s: AtomicU64::new(started.unix_us / 1_000_000),
                ..Saves::default()
            },
            is_full: AtomicBool::new(false),
            sweeps: AtomicBool::new(true),
            may_be_shut_down: AtomicBool::new(false),
            clock: AtomicU64::new(0),
        }
    }

    /// The slots of a shard.
    #[must_use]
    pub fn slots_of(&self, shard: u16) -> RangeInclusive<u16> {
        slot::slots_of(usize::from(shard), self.words.len())
    }

    /// What stands for the meta group where shards are numbered: one more than the last.
    #[must_use]
    pub fn meta_shard(&self) -> u16 {
        self.words.len() as u16
    }

    /// The word of the shard that a slot belongs to.
    #[must_use]
    pub fn word_of(&self, slot: u16) -> &Word {
        &self.words[slot::shard_of(slot, self.words.len())]
    }

    /// The stamp of what arrives now: the wall clock, kept from going back.
    pub fn stamp(&self, now: Now) -> UnixMs {
        let wall = now.unix_ms();
        self.clock.fetch_max(wall, Relaxed).max(wall)
    }

    /// Puts a topology in force, or the reason why there is none: as if every member could be
    /// reached and every shard had a leader.
    pub fn publish(&self, topology: Result<Topology, String>) {
        self.show(View::new(self.id, topology));
    }

    /// Says that the node reads its data from its disk.
    pub fn show_loading(&self) {
        let why = Err("the node is reading its data".to_owned());
        self.show(View {
            is_loading: true,
            ..View::new(self.id, why)
        });
    }

    /// Puts a view of the cluster in force.
    pub fn show(&self, view: View) {
        self.view.store(Arc::new(view));
    }
}

/// A topology, and what this node is in it.
#[derive(Clone, Debug)]
pub struct View {
    /// Members and placements; while the cluster forms, the reason that clients are told.
    pub topology: Result<Topology, String>,
    /// The node is reading its data from its disk, and has no topology before it has done so.
    pub is_loading: bool,
    /// This node's index among the members.
    pub me: u16,
    /// Members that cannot be reached at present, by index.
    pub down: Vec<bool>,
    /// Shards without a leader that is known and can be reached.
    pub unled: BTreeSet<u16>,
}

impl View {
    /// Whether clients of a shard that are to be sent to its leader wait here for the next one: it
    /// has gone, and this node is among those that will elect it.
    #[must_use]
    pub fn stands_in_for(&self, shard: u16) -> bool {
        let down = self.down.iter().filter(|down| **down).count();
        self.unled.contains(&shard) && 2 * down < self.down.len()
    }

    /// The topology.
    ///
    /// # Errors
    /// There is none yet: why not, as clients are told.
    pub fn topology(&self) -> Result<&Topology, ReplyError> {
        self.topology.as_ref().map_err(|why| match self.is_loading {
            true => ReplyError::Loading,
            false => ReplyError::ClusterDown(why.clone().into()),
        })
    }

    /// What this node is in a topology, in which nothing is wrong as far as is known.
    #[must_use]
    pub fn new(me: NodeId, topology: Result<Topology, String>) -> Self {
        let formed = topology.as_ref().ok();
        Self {
            me: formed
                .and_then(|topology| topology.index_of(me))
                .unwrap_or_default(),
            is_loading: false,
            down: vec![false; formed.map_or(0, |topology| topology.members.len())],
            unled: BTreeSet::new(),
            topology,
        }
    }
}

/// From where clients may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// From nowhere.
    No,
    /// From this machine.
    Local,
    /// From everywhere.
    Yes,
}

impl Permission {
    /// By its name: `no`, `local` or `yes`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::No, Self::Local, Self::Yes];
        all.into_iter().find(|permission| permission.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Local => "local",
            Self::Yes => "yes",
        }
    }

    /// Whether it allows a client to do so.
    #[must_use]
    pub const fn allows(self, is_local: bool) -> bool {
        match self {
            Self::No => false,
            Self::Local => is_local,
            Self::Yes => true,
        }
    }
}

type Run = dyn Fn(&mut dyn FnMut()) + Send + Sync;

/// How work that may take long is done.
#[derive(Clone)]
pub struct Aside(Arc<Run>);

impl Aside {
    /// Done so.
    pub fn new(run: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) -> Self {
        Self(Arc::new(run))
    }

    /// Done like any other work, where nobody can be held up.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|work| work())
    }

    /// Does the work, and comes back when it is done.
    pub fn run(&self, work: &mut dyn FnMut()) {
        (self.0)(work);
    }
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aside")
    }
}

/// What a node was started with, as far as commands show or need it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The password that clients have to give.
    pub password: Option<String>,
    /// Started alone: no cluster, and any slots may meet in one command.
    pub standalone: bool,
    /// The URL of the server that has the data in this node's place, without its password; the
    /// consistency is then that server's.
    pub backend: Option<String>,
    /// What it acknowledges is on its disk.
    pub is_durable: bool,
    /// It was started with a file of settings.
    pub has_file: bool,
    /// `host:port` for clients.
    pub client: String,
    /// `host:port` for cluster-aware clients.
    pub redirect: String,
    /// How many clients may be connected at a time.
    pub max_clients: usize,
    /// Shards of the cluster.
    pub shards: u32,
    /// From where DEBUG is allowed.
    pub debug: Permission,
    /// Microseconds since some moment in the past, to measure by.
    pub stopwatch: fn() -> u64,
    /// Does work that may take long so that it holds up no other connection, if there is a way.
    pub aside: Aside,
}

impl Settings {
    /// The node as a member that is known by its client address.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Member {
        Member {
            id,
            seat: self.client.clone(),
            client: self.client.clone(),
            redirect: self.redirect.clone(),
        }
    }

    /// The mode in which Redis would say it runs.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        if self.standalone {
            "standalone"
        } else {
            "cluster"
        }
    }

    /// Whether this is the password; anything is where none is needed. Takes a time that depends on
    /// the length of `given` alone.
    #[must_use]
    pub fn opens(&self, given: &[u8]) -> bool {
        let Some(password) = self.password.as_deref().map(str::as_bytes) else {
            return true;
        };
        let differences = given
            .iter()
            .enumerate()
            .fold(0, |differences, (index, byte)| {
                differences | (byte ^ password.get(index).copied().unwrap_or_default())
            });
        std::hint::black_box(differences) == 0 && given.len() == password.len()
    }
}

/// Snapshots that clients have asked for.
#[derive(Debug, Default)]
pub struct Saves {
    /// They have been asked for, and not begun.
    pub is_wanted: AtomicBool,
    /// They have been asked for, and are not all written.
    pub is_under_way: AtomicBool,
    /// When all were written that were last asked for, in seconds; at first when the node started.
    pub last_s: AtomicU64,
}

/// Counters that only grow, bumped once a batch of requests, and the last sample of what the
/// process uses.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because of the limit.
    pub rejected: AtomicU64,
    /// Commands executed or forwarded.
    pub commands: AtomicU64,
    /// Commands forwarded to other nodes.
    pub forwarded: AtomicU64,
    /// Frames that other nodes have sent.
    pub frames_received: AtomicU64,
    /// Frames for other nodes.
    pub frames_sent: AtomicU64,
    /// Messages that no room was for on the way to another node.
    pub messages_dropped: AtomicU64,
    /// Bytes read from clients.
    pub input_bytes: AtomicU64,
    /// Bytes written to clients.
    pub output_bytes: AtomicU64,
    /// The last sample.
    pub sample: ArcSwap<Sample>,
}

/// What the process uses, as the system says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// CPU time outside of the kernel, in microseconds.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, in microseconds.
    pub cpu_system_us: u64,
    /// Which process it is.
    pub process_id: u64,
    /// Memory of the machine, in bytes.
    pub system_bytes: u64,
    /// The operating system and the kind of processor.
    pub os: [&'static str; 2],
}

/// What the process used at a moment, and how busy it has been since the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// At the moment.
    pub usage: Usage,
    /// The most memory at any sample so far, in bytes.
    pub rss_peak_bytes: u64,
    /// Memory at the first sample, before there was data, in bytes.
    pub rss_first_bytes: u64,
    /// Commands per second since the sample before.
    pub commands_per_s: u64,
    /// Bytes per second from clients.
    pub input_bytes_per_s: u64,
    /// Bytes per second to clients.
    pub output_bytes_per_s: u64,
    /// [`Stats::commands`], input and output at the moment.
    counts: [u64; 3],
    taken_mono_ms: u64,
}

impl Stats {
    /// Sets what is counted since the start to 0.
    pub fn reset(&self) {
        let counters = [
            &self.connections,
            &self.rejected,
            &self.commands,
            &self.forwarded,
            &self.frames_received,
            &self.frames_sent,
            &self.input_bytes,
            &self.output_bytes,
        ];
        for counter in counters {
            counter.store(0, Relaxed);
        }
    }

    /// Takes a sample. The caller does so from time to time, about once a second.
    pub fn take_sample(&self, now: Now, usage: Usage) {
        let last = self.sample.load();
        let counters = [&self.commands, &self.input_bytes, &self.output_bytes];
        let counts = counters.map(|counter| counter.load(Relaxed));
        let passed_ms = now.mono_ms.saturating_sub(last.taken_mono_ms).max(1);
        let per_s =
            |index: usize| counts[index].saturating_sub(last.counts[index]) * 1000 / passed_ms;
        self.sample.store(Arc::new(Sample {
            usage,
            rss_peak_bytes: usage.rss_bytes.max(last.rss_peak_bytes),
            rss_first_bytes: match last.rss_first_bytes {
                0 => usage.rss_bytes,
                first => first,
            },
            commands_per_s: per_s(0),
            input_bytes_per_s: per_s(1),
            output_bytes_per_s: per_s(2),
            counts,
            taken_mono_ms: now.mono_ms,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::commands::testing::node;

    const START: Now = Now {
        unix_us: 0,
        mono_ms: 0,
    };

    #[test]
    fn only_the_whole_password_opens() {
        let mut settings = node().settings;
        assert!(settings.opens(b"anything"));
        settings.password = Some("sesame".to_owned());
        for (given, opens) in [
            ("sesame", true),
            ("sesam", false),
            ("sesame\0", false),
            ("", false),
            ("Sesame", false),
        ] {
            assert_eq!(settings.opens(given.as_bytes()), opens, "{given}");
        }
    }

    #[test]
    fn samples_give_a_rate_and_a_peak() {
        let stats = Stats::default();
        stats.take_sample(
            START,
            Usage {
                rss_bytes: 500,
                ..Usage::default()
            },
        );
        stats.commands.store(300, Relaxed);
        let later = Now {
            mono_ms: 1500,
            ..START
        };
        stats.take_sample(
            later,
            Usage {
                rss_bytes: 400,
                ..Usage::default()
            },
        );
        let sample = stats.sample.load();
        assert_eq!((sample.commands_per_s, sample.rss_peak_bytes), (200, 500));
        assert_eq!(sample.rss_first_bytes, 500);
    }
}
