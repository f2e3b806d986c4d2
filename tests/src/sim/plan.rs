//! What a seed decides before anything happens: how many nodes, what kind of network and clients.

use dht_node::core::client::Protocol;

use super::network::Weather;
use crate::check::programs::Mix;
use crate::random::Random;

/// The run that a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many shards.
    pub shards: u32,
    /// How many copies of each.
    pub copies: u32,
    /// How frames fare when nothing special happens.
    pub weather: Weather,
    /// By how much a wall clock may be ahead or behind, in microseconds.
    pub wall_error_us: u64,
    /// From one fault to the next, in microseconds: from and to.
    pub pause_us: (u64, u64),
    /// How long faults last, in microseconds: from and to.
    pub lasting_us: (u64, u64),
    /// What the clients do.
    pub mix: Mix,
    /// The clients.
    pub clients: Vec<Habits>,
    /// The disks of the nodes, if they have some.
    pub disks: Option<Disks>,
    /// How often a shard begins anew before there are clients.
    pub anew: u32,
}

/// What disks are like.
#[derive(Clone, Copy, Debug)]
pub struct Disks {
    /// How long a flush takes, in microseconds: from and to.
    pub flush_us: (u64, u64),
    /// Bytes in the log after which a snapshot is written.
    pub log_bytes: usize,
    /// Bytes of a piece of a snapshot's file, about.
    pub piece_bytes: usize,
}

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Habits {
    /// What it speaks.
    pub protocol: Protocol,
    /// Its writes have numbers in sessions, under which they are sent again.
    pub has_sessions: bool,
    /// It only reads, and waits for no answer: what is held up holds up nothing else.
    pub reads_only: bool,
    /// How many commands it sends at most before it waits.
    pub pipeline: u64,
    /// From its last answer to its next command, in microseconds: from and to.
    pub think_us: (u64, u64),
    /// The time that it gives the servers, in milliseconds.
    pub deadline_ms: u64,
    /// It turns away from a server that gives no answer for so long, in microseconds.
    pub patience_us: u64,
}

impl Plan {
    /// The plan of a seed's numbers.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        let nodes = *random.pick(&[3, 3, 3, 4, 5]);
        let copies = if nodes == 5 && random.percent(50) {
            5
        } else {
            3
        };
        let ttl_from = random.between(100, 800);
        let mut mix = Mix::everything(3 + random.below(2), ttl_from, ttl_from + 1500);
        // Where nothing expires by itself, nothing is logged when nobody writes.
        if random.percent(40) {
            mix.expiring = 0;
        }
        let disks = random.percent(50).then(|| disks(random));
        let clients = 9 + random.below(6);
        let lasting_us = random.between(400_000, 2_000_000);
        Self {
            anew: 0,
            nodes,
            shards: *random.pick(&[2, 4]),
            copies,
            weather: weather(random),
            wall_error_us: *random.pick(&[20_000, 200_000, 1_000_000]),
            pause_us: (20_000, 300_000 + lasting_us / 2),
            lasting_us: (50_000, lasting_us),
            mix,
            disks,
            clients: (0..clients)
                .map(|client| match client % 3 {
                    0 => reader(random),
                    // Every other one of those that may.
                    _ => Habits {
                        has_sessions: client % 2 == 0,
                        ..habits(random)
                    },
                })
                .collect(),
        }
    }
}

/// Every seed has a little of everything, and more of something.
fn weather(random: &mut Random) -> Weather {
    let mut much = |little: u64, much: u64| if random.percent(25) { much } else { little };
    let (loss, late, reorder, twice) = (much(1, 10), much(1, 10), much(10, 100), much(2, 50));
    Weather {
        delay_us: (50, *random.pick(&[300, 2000, 8000, 25_000])),
        loss,
        late,
        late_us: *random.pick(&[20_000, 200_000, 900_000]),
        reorder,
        twice,
    }
}

fn disks(random: &mut Random) -> Disks {
    Disks {
        flush_us: (100, *random.pick(&[500, 3000, 12_000])),
        log_bytes: *random.pick(&[3000, 15_000, 60_000]),
        piece_bytes: *random.pick(&[50, 1000]),
    }
}

fn reader(random: &mut Random) -> Habits {
    Habits {
        protocol: Protocol::Native,
        reads_only: true,
        think_us: (1000, *random.pick(&[20_000, 40_000])),
        ..habits(random)
    }
}

fn habits(random: &mut Random) -> Habits {
    let protocols = [Protocol::Resp2, Protocol::Resp3, Protocol::Native];
    Habits {
        protocol: *random.pick(&protocols),
        has_sessions: false,
        reads_only: false,
        pipeline: *random.pick(&[1, 1, 3, 6]),
        think_us: (0, *random.pick(&[2000, 10_000, 30_000])),
        deadline_ms: random.between(500, 3000),
        patience_us: random.between(800_000, 6_000_000),
    }
}
