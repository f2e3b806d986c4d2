//! What goes wrong besides single frames: which faults there are, when they begin and end, and
//! whom they hit.

use dht_node::core::disk::Report;
use dht_node::core::meta::Change;
use dht_node::core::replication::council;
use dht_node::core::replication::mail::{Mail, Post};
use dht_node::core::replication::raft::Group;

use super::clock::{DRIFT_PPM, TRUE_RATE_PPM};
use super::network::Weather;
use super::process::Process;
use super::tally::Fault as Kind;
use super::watch::Ambush;
use super::world::{Event, World};

/// From the end of a life to the beginning of the next in its seat, in microseconds: from and to.
const RESTART_US: (u64, u64) = (5_000, 500_000);

/// Who is cut off may still lead for so long, in microseconds.
const LEASE_US: u64 = 200_000;
/// Who hears no leader for so long, in microseconds, calls an election.
const TIMEOUT_US: u64 = 1_250_000;
/// How long nobody writes then, if nobody else comes to lead.
const LULL_US: u64 = 1_400_000;
/// After so long, in microseconds, nothing more goes wrong: clients get done what a run needs.
const LONG_US: u64 = 45_000_000;
/// After so many faults there are fewer, so that clients get done what a run needs.
const MANY: u64 = 20;

/// From one time that a shard begins anew to the next, and from the last to the first client, in
/// microseconds: from and to.
const ANEW_US: (u64, u64) = (200_000, 900_000);
const WAIT_US: (u64, u64) = (1_000_000, 2_000_000);
/// Meanwhile much comes late, and often twice.
const LATE: Weather = Weather {
    delay_us: (50, 2000),
    loss: 20,
    late: 200,
    late_us: 1_200_000,
    reorder: 900,
    twice: 300,
};

/// A fault that lasts for a time.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing gets along these ways.
    Cut(Vec<(usize, usize)>),
    /// Frames fare badly.
    Storm,
    /// The disk in this seat has no room.
    Full(usize),
}

/// How a fault begins.
type Begin = fn(&mut World);

/// What may happen next, each as often as its number says beside those of the others.
const FAULTS: [(u64, Begin); 20] = [
    (16, World::isolate),
    (10, World::split),
    (20, World::cut_pair),
    (14, World::cut_one_way),
    (10, World::storm),
    (10, World::crash),
    (8, World::cut_power),
    (8, World::slow_disk),
    (8, World::fill_disk),
    (6, World::spoil_disk),
    (8, World::crash_into_ambush),
    (6, World::transfer_into_forgetting),
    (12, World::pause),
    (8, World::stall),
    (10, World::jump),
    (8, World::drift),
    (12, World::transfer),
    (12, World::transfer_unheard),
    (10, World::transfer_into_ambush),
    (10, World::isolate_into_ambush),
];

impl World {
    /// A shard begins anew, as often, before clients have written anything: its copies are gone,
    /// and others take their place on the same nodes, while what was said of the cluster comes late
    /// and more than once.
    pub fn begin_anew(&mut self, times: u32) {
        if times == 0 {
            self.network.weather = self.plan.weather;
            return self.open();
        }
        let states = self.processes().filter_map(|it| it.worker.state());
        let latest = states.max_by_key(|state| state.epoch);
        let shards = latest.map(|state| vec![(0, state.founders_of(0))]);
        let is_led = |process: &Process| group_of(process, 0).is_some_and(Group::is_current);
        let leader = self.processes().find(|process| is_led(process));
        let leader = leader.map(|process| process.seat);
        let mut left = times;
        if let (Some(shards), Some(seat)) = (shards, leader) {
            self.network.weather = LATE;
            self.wish(seat, &Change::Empty { shards });
            self.note_fault(Kind::Anew, "shard 0");
            left -= 1;
        }
        let (from, to) = if left == 0 { WAIT_US } else { ANEW_US };
        let next_us = self.now_us + self.random.between(from, to);
        self.queue.add(next_us, Event::BeginAnew(left));
    }

    /// A change of the cluster is wished for, by the node in a seat.
    fn wish(&mut self, seat: usize, change: &Change) {
        let now_us = self.now_us;
        if let Some(process) = &mut self.seats[seat] {
            let (now, id) = (process.now(now_us), process.node.id);
            let mut post = Post::default();
            post.send(id, &Mail::Wish(&council::encode(change)));
            for (_, frame) in post.take() {
                process.worker.receive(id, &frame, now, &mut process.out);
            }
        }
    }

    /// Something goes wrong, and something else will soon.
    pub fn fail(&mut self) {
        let is_enough = self.now_us > LONG_US && self.watch.leader_changes > 0;
        if self.is_calm || is_enough {
            return;
        }
        let total: u64 = FAULTS.iter().map(|(weight, _)| weight).sum();
        let mut at = self.random.next() % total;
        for (weight, begin) in FAULTS {
            if at < weight {
                begin(self);
                break;
            }
            at -= weight;
        }
        let (from, to) = self.plan.pause_us;
        let much = if self.tally.events() < MANY { 1 } else { 5 };
        // Nothing else happens in a lull that would end it.
        let from_us = self.now_us.max(self.clients.lull_until_us);
        let next_us = from_us + much * self.random.between(from, to);
        self.queue.add(next_us, Event::Fault);
    }

    /// What went wrong is over.
    pub fn mend(&mut self, fault: Fault) {
        self.trace.add(self.now_us, format_args!("over: {fault:?}"));
        match fault {
            Fault::Cut(ways) => self.network.mend(&ways),
            Fault::Storm if self.is_calm => self.network.weather = Weather::CALM,
            Fault::Storm => self.network.weather = self.plan.weather,
            Fault::Full(seat) => self.make_room(seat),
        }
    }

    fn begin(&mut self, kind: Kind, fault: Fault) {
        self.begin_for(kind, fault, 0);
    }

    fn begin_for(&mut self, kind: Kind, fault: Fault, least_us: u64) {
        let (from, to) = self.plan.lasting_us;
        let until_us = self.now_us + least_us + self.random.between(from, to);
        self.note_fault(kind, &format!("{fault:?} until {}", until_us / 1000));
        if let Fault::Cut(ways) = &fault {
            self.network.cut(ways);
        }
        self.queue.add(until_us, Event::Mend(fault));
    }

    fn note_fault(&mut self, kind: Kind, what: &str) {
        self.tally.count(kind);
        self.trace
            .add(self.now_us, format_args!("fault {kind:?} {what}"));
    }

    /// A seat that is hit: that of a leader more often than others.
    fn victim(&mut self) -> usize {
        let led = self.leading_seat();
        if self.random.percent(60) {
            return led;
        }
        self.random.below(self.seats.len())
    }

    /// The seat of the leader of some shard; any one when there is none.
    fn leading_seat(&mut self) -> usize {
        let shard = self.random.below(self.plan.shards as usize);
        let leader = self.watch.leader(shard as u16);
        let led = leader.map(|life| self.lives[life as usize]);
        led.unwrap_or_else(|| self.random.below(self.seats.len()))
    }

    fn others(&self, seat: usize) -> Vec<usize> {
        let seats = 0..self.seats.len();
        seats.filter(|other| *other != seat).collect()
    }

    fn isolate(&mut self) {
        let seat = self.victim();
        self.cut_off(seat);
    }

    /// A leader is cut off, and so is the one that comes after it.
    fn isolate_into_ambush(&mut self) {
        self.watch.ambush = Some(Ambush::New);
        self.isolate();
    }

    /// Nothing gets from a seat to any other, or back.
    pub fn cut_off(&mut self, seat: usize) {
        self.cut_off_for(seat, LEASE_US);
    }

    fn cut_off_for(&mut self, seat: usize, least_us: u64) {
        let others = self.others(seat).into_iter();
        let ways = others.flat_map(|other| [(seat, other), (other, seat)]);
        let ways = ways.collect();
        self.begin_for(Kind::Partition, Fault::Cut(ways), least_us);
    }

    fn split(&mut self) {
        let side: Vec<bool> = self.seats.iter().map(|_| true).collect();
        let side: Vec<bool> = side.iter().map(|_| self.random.percent(50)).collect();
        let seats = 0..self.seats.len();
        let pairs = seats.flat_map(|a| (0..side.len()).map(move |b| (a, b)));
        let ways: Vec<_> = pairs.filter(|(a, b)| side[*a] != side[*b]).collect();
        if !ways.is_empty() {
            self.begin(Kind::Partition, Fault::Cut(ways));
        }
    }

    fn ambush(&mut self) -> Ambush {
        *self.random.pick(&[Ambush::New, Ambush::Old, Ambush::Old])
    }

    /// Two nodes cannot hear each other, all others hear both; for long enough that one of them
    /// may want to lead in the place of the other, and can when nothing is written.
    fn cut_pair(&mut self) {
        let seat = self.leading_seat();
        let others = self.others(seat);
        let other = *self.random.pick(&others);
        let ways = vec![(seat, other), (other, seat)];
        self.watch.ambush = Some(Ambush::Old);
        self.begin_for(Kind::Partition, Fault::Cut(ways), TIMEOUT_US);
        self.clients.lull_until_us = self.now_us + LULL_US;
    }

    fn cut_one_way(&mut self) {
        let seat = self.victim();
        let others = self.others(seat);
        let (out, one) = (self.random.percent(50), self.random.percent(40));
        let other = *self.random.pick(&others);
        let cut = others.into_iter().filter(|seat| !one || *seat == other);
        let way = |other| if out { (seat, other) } else { (other, seat) };
        self.begin(Kind::OneWay, Fault::Cut(cut.map(way).collect()));
    }

    fn storm(&mut self) {
        let (from, to) = self.plan.lasting_us;
        let until_us = self.now_us + self.random.between(from, to);
        self.network.weather = Weather {
            delay_us: (50, self.random.between(1000, 30_000)),
            loss: self.random.between(20, 300),
            late: self.random.between(20, 200),
            late_us: self.random.between(50_000, 1_500_000),
            reorder: self.random.between(100, 900),
            twice: self.random.between(20, 300),
        };
        self.trace.add(
            self.now_us,
            format_args!("storm {:?}", self.network.weather),
        );
        self.queue.add(until_us, Event::Mend(Fault::Storm));
    }

    fn pause(&mut self) {
        let (seat, until_us) = (self.victim(), self.until_us());
        if let Some(process) = &mut self.seats[seat] {
            process.paused_until_us = process.paused_until_us.max(until_us);
            self.note_fault(
                Kind::Pause,
                &format!("seat {seat} until {}", until_us / 1000),
            );
        }
    }

    fn stall(&mut self) {
        let (seat, until_us) = (self.victim(), self.until_us());
        if let Some(process) = &mut self.seats[seat] {
            process.stalled_until_us = process.stalled_until_us.max(until_us);
            self.note_fault(
                Kind::Stall,
                &format!("seat {seat} until {}", until_us / 1000),
            );
        }
    }

    fn until_us(&mut self) -> u64 {
        let (from, to) = self.plan.lasting_us;
        self.now_us + self.random.between(from, to)
    }

    fn jump(&mut self) {
        let seat = self.victim();
        let most_us = self.plan.wall_error_us;
        let ahead_us = self.random.between(0, 2 * most_us) as i64 - most_us as i64;
        if let Some(process) = &mut self.seats[seat] {
            let by_us = process.clock.jump(ahead_us);
            let kind = if by_us < 0 {
                Kind::JumpBack
            } else {
                Kind::JumpForward
            };
            self.note_fault(kind, &format!("seat {seat} by {by_us} us"));
        }
    }

    fn drift(&mut self) {
        let (seat, now_us) = (self.victim(), self.now_us);
        let rate_ppm = self
            .random
            .between(TRUE_RATE_PPM - DRIFT_PPM, TRUE_RATE_PPM + DRIFT_PPM);
        if let Some(process) = &mut self.seats[seat] {
            process.clock.drift(now_us, rate_ppm);
            self.note_fault(Kind::Drift, &format!("seat {seat} at {rate_ppm} ppm"));
        }
    }

    fn transfer(&mut self) {
        let seat = self.victim();
        self.hand_over(seat);
    }

    /// A leader hands over to one that is cut off as soon as it leads.
    fn transfer_into_ambush(&mut self) {
        self.watch.ambush = Some(self.ambush());
        self.transfer();
    }

    /// A leader hands over and hears nothing of what comes of it.
    fn transfer_unheard(&mut self) {
        let seat = self.victim();
        let others = self.others(seat).into_iter();
        let ways = others.map(|other| (other, seat)).collect();
        if self.hand_over(seat) {
            self.begin(Kind::OneWay, Fault::Cut(ways));
        }
    }

    fn hand_over(&mut self, seat: usize) -> bool {
        let now_us = self.now_us;
        let Some(process) = &mut self.seats[seat] else {
            return false;
        };
        let stands = process.paused_until_us.max(process.stalled_until_us) > now_us;
        if stands || process.worker.hand_all_over() {
            return false;
        }
        self.note_fault(Kind::Transfer, &format!("from seat {seat}"));
        true
    }

    /// A node ends and loses everything, where its groups can do without: what is promised is
    /// promised while a majority of a group keeps its memory, or its disks.
    fn crash(&mut self) {
        let seat = self.victim();
        if self.plan.disks.is_some() && self.random.percent(80) {
            self.end(seat, Kind::Restart);
        } else if self.may_lose(seat) {
            let kind = match self.disks[seat].take() {
                Some(_) => Kind::DiskLoss,
                None => Kind::Crash,
            };
            self.end(seat, kind);
        }
    }

    /// All nodes end, where they have disks.
    fn cut_power(&mut self) {
        if self.plan.disks.is_some() {
            self.tally.count(Kind::PowerCut);
            (0..self.seats.len()).for_each(|seat| self.end(seat, Kind::Restart));
        }
    }

    /// The flushes of a disk take long.
    fn slow_disk(&mut self) {
        let (seat, until_us) = (self.victim(), self.until_us());
        if let Some(disk) = &mut self.disks[seat] {
            disk.slow_until_us = until_us;
            self.note_fault(Kind::SlowDisk, &format!("seat {seat} until {until_us}"));
        }
    }

    /// A disk has no room: for anything, or for more than what is kept at any price.
    fn fill_disk(&mut self) {
        let (seat, until_us) = (self.victim(), self.until_us());
        let Some(disk) = &mut self.disks[seat] else {
            return;
        };
        (disk.full_until_us, disk.is_stuck) = (until_us, self.random.percent(30));
        self.note_fault(Kind::FullDisk, &format!("seat {seat} until {until_us}"));
        self.queue.add(until_us, Event::Mend(Fault::Full(seat)));
        if let Some(life) = self.seats[seat].as_ref().map(|process| process.life) {
            self.report(life, Report::Room(false));
        }
    }

    fn make_room(&mut self, seat: usize) {
        let disk = self.disks[seat].as_ref();
        // It may have become full again, or be another one.
        let has_room = disk.is_none_or(|disk| disk.full_until_us <= self.now_us);
        let life = self.seats[seat].as_ref().map(|process| process.life);
        if let Some(life) = life.filter(|_| has_room) {
            self.report(life, Report::Room(true));
        }
    }

    /// A node ends, where its groups can do without, and finds its disk damaged when it comes back.
    fn spoil_disk(&mut self) {
        let seat = self.victim();
        if self.disks[seat].is_none() || self.seats[seat].is_none() || !self.may_lose(seat) {
            return;
        }
        self.end(seat, Kind::Restart);
        let disk = self.disks[seat].as_mut();
        if disk.is_some_and(|disk| disk.spoil(&mut self.random)) {
            self.note_fault(Kind::Damage, &format!("at seat {seat}"));
        }
    }

    /// All disks are slow, and whoever comes to lead next ends at once.
    fn crash_into_ambush(&mut self) {
        self.transfer_slowly_into(Ambush::Crash);
    }

    /// All disks are slow, and those who have voted for the next leader end at once.
    fn transfer_into_forgetting(&mut self) {
        self.transfer_slowly_into(Ambush::Forget);
    }

    /// A leader hands over while all disks are slow, and an ambush is laid for the next one.
    fn transfer_slowly_into(&mut self, ambush: Ambush) {
        if self.plan.disks.is_none() {
            return;
        }
        let until_us = self.until_us();
        let disks = self.disks.iter_mut().flatten();
        disks.for_each(|disk| disk.slow_until_us = until_us);
        self.note_fault(Kind::SlowDisk, &format!("everywhere until {until_us}"));
        self.watch.ambush = Some(ambush);
        self.transfer();
    }

    /// A new leader is cut off before it has said so, and all others end and come back with what is
    /// on their disks. If that is not their votes, they elect another one in the same term.
    pub fn forget_votes(&mut self, leader: usize) {
        for other in self.others(leader) {
            self.end(other, Kind::Restart);
        }
        self.cut_off_for(leader, RESTART_US.1 + 2 * TIMEOUT_US);
    }

    /// A process ends, and another one will begin in its seat.
    pub fn end(&mut self, seat: usize, kind: Kind) {
        let Some(process) = self.seats[seat].take() else {
            return;
        };
        if let Some(disk) = &mut self.disks[seat] {
            disk.lose(&mut self.random);
        }
        self.note_fault(kind, &format!("{} at seat {seat}", process.life));
        for connection in process.connections.into_keys() {
            let heard_us = self.now_us + self.client_delay_us();
            self.reply_at(heard_us, connection, None);
        }
        let again_us = self.now_us + self.random.between(RESTART_US.0, RESTART_US.1);
        self.queue.add(again_us, Event::Start(seat));
    }

    /// Whether every group keeps a majority of its memory without the process in a seat.
    fn may_lose(&self, seat: usize) -> bool {
        (0..=self.plan.shards).all(|group| {
            let members = || {
                self.processes()
                    .filter_map(|it| Some((it.seat, group_of(it, group)?)))
            };
            let current = members().filter(|(_, member)| member.is_current());
            let Some((_, leader)) = current.max_by_key(|(_, member)| member.term()) else {
                return false;
            };
            let stays =
                |peer: &u64| members().any(|(at, member)| at != seat && member.me() == *peer);
            let conf = leader.conf();
            [&conf.voters, &conf.voters_outgoing]
                .into_iter()
                .all(|voters| {
                    let staying = voters.iter().filter(|peer| stays(peer)).count();
                    voters.is_empty() || 2 * staying > voters.len()
                })
        })
    }

    /// Everything that still goes on is over, and nothing goes wrong any more.
    pub fn calm_down(&mut self) {
        self.is_calm = true;
        self.network.weather = Weather::CALM;
        self.trace.add(self.now_us, format_args!("all is calm"));
    }
}

/// A process's member of a group: of the meta group, which is 0, or of a shard's.
#[must_use]
pub fn group_of(process: &Process, group: u32) -> Option<&Group> {
    match group {
        0 => process.worker.council().map(|council| &council.group),
        shard => {
            let replica = process.worker.replica((shard - 1) as u16)?;
            Some(&replica.group)
        }
    }
}
