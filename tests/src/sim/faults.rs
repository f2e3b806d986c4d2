//! What goes wrong besides single frames: which faults there are, when they begin and end, and
//! whom they hit.

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
/// Who hears no leader for so long, in microseconds, may call an election.
const TIMEOUT_US: u64 = 700_000;
/// How long nobody writes then, if nobody else comes to lead.
const LULL_US: u64 = 1_300_000;
/// After so many faults there are fewer, so that clients get done what a run needs.
const MANY: u64 = 20;

/// A fault that lasts for a time.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing gets along these ways.
    Cut(Vec<(usize, usize)>),
    /// Frames fare badly.
    Storm,
}

/// How a fault begins.
type Begin = fn(&mut World);

/// What may happen next, each as often as its number says beside those of the others.
const FAULTS: [(u64, Begin); 14] = [
    (16, World::isolate),
    (10, World::split),
    (14, World::cut_pair),
    (14, World::cut_one_way),
    (10, World::storm),
    (10, World::crash),
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
    /// Something goes wrong, and something else will soon.
    pub fn fail(&mut self) {
        if self.is_calm {
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
        let next_us = self.now_us + much * self.random.between(from, to);
        self.queue.add(next_us, Event::Fault);
    }

    /// What went wrong is over.
    pub fn mend(&mut self, fault: Fault) {
        self.trace.add(self.now_us, format_args!("over: {fault:?}"));
        match fault {
            Fault::Cut(ways) => self.network.mend(&ways),
            Fault::Storm if self.is_calm => self.network.weather = Weather::CALM,
            Fault::Storm => self.network.weather = self.plan.weather,
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
        let others = self.others(seat).into_iter();
        let ways = others.flat_map(|other| [(seat, other), (other, seat)]);
        let ways = ways.collect();
        self.begin_for(Kind::Partition, Fault::Cut(ways), LEASE_US);
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
        self.watch.ambush = Some(self.ambush());
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
        if stands || process.worker.leave() {
            return false;
        }
        self.note_fault(Kind::Transfer, &format!("from seat {seat}"));
        true
    }

    /// A node ends and loses everything, where its groups can do without: what is promised is
    /// promised while a majority of a group keeps its memory.
    fn crash(&mut self) {
        let seat = self.victim();
        if !self.may_lose(seat) {
            return;
        }
        let Some(process) = self.seats[seat].take() else {
            return;
        };
        self.note_fault(Kind::Crash, &format!("{} at seat {seat}", process.life));
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
