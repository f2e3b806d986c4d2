//! The virtual network between nodes: when a frame arrives, if it does, and how many times.

use std::collections::BTreeMap;

use super::tally::{Fault, Tally};
use crate::random::Random;

/// How frames fare, besides what is cut.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How long a frame takes, in microseconds: from and to.
    pub delay_us: (u64, u64),
    /// Frames in a thousand that are lost.
    pub loss: u64,
    /// Frames in a thousand that take very long.
    pub late: u64,
    /// The longest that those take, in microseconds.
    pub late_us: u64,
    /// Frames in a thousand that need not wait for those sent before.
    pub reorder: u64,
    /// Frames in a thousand that arrive twice.
    pub twice: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        delay_us: (50, 300),
        loss: 0,
        late: 0,
        late_us: 0,
        reorder: 0,
        twice: 0,
    };
}

/// The links between the seats of the nodes.
#[derive(Debug)]
pub struct Network {
    random: Random,
    /// How frames fare at present.
    pub weather: Weather,
    /// How many reasons there are that nothing gets from one seat to another.
    cuts: BTreeMap<(usize, usize), u32>,
    /// When the last frame in order arrives, from one node to another.
    last_us: BTreeMap<(u32, u32), u64>,
}

/// The two ends of a frame's way: the lives of the nodes, and their seats.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Who sends.
    pub from: (u32, usize),
    /// Who shall receive.
    pub to: (u32, usize),
}

impl Network {
    /// A network in which nothing is cut.
    #[must_use]
    pub const fn new(random: Random, weather: Weather) -> Self {
        Self {
            random,
            weather,
            cuts: BTreeMap::new(),
            last_us: BTreeMap::new(),
        }
    }

    /// Whether nothing gets from one seat to another.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|cuts| *cuts > 0)
    }

    /// Nothing gets along these ways, until [`Self::mend`].
    pub fn cut(&mut self, ways: &[(usize, usize)]) {
        for way in ways {
            *self.cuts.entry(*way).or_default() += 1;
        }
    }

    /// Takes back a cut.
    pub fn mend(&mut self, ways: &[(usize, usize)]) {
        for way in ways {
            let cuts = self.cuts.entry(*way).or_default();
            *cuts = cuts.saturating_sub(1);
        }
    }

    /// When a frame that is sent now arrives: never, once or twice.
    pub fn send(&mut self, way: Way, now_us: u64, tally: &mut Tally) -> [Option<u64>; 2] {
        if self.is_cut(way.from.1, way.to.1) {
            return [None, None];
        }
        if self.happens(self.weather.loss) {
            tally.count(Fault::Loss);
            return [None, None];
        }
        let first = Some(self.arrival(way, now_us, tally));
        if !self.happens(self.weather.twice) {
            return [first, None];
        }
        tally.count(Fault::Duplicate);
        let again_us = self
            .random
            .between(0, 4 * self.weather.delay_us.1 + self.weather.late_us);
        [first, first.map(|at| at + again_us)]
    }

    fn arrival(&mut self, way: Way, now_us: u64, tally: &mut Tally) -> u64 {
        let (least, most) = self.weather.delay_us;
        let mut at = now_us + self.random.between(least, most);
        let late = self.happens(self.weather.late);
        if late {
            tally.count(Fault::Delay);
            at += self.random.between(most, self.weather.late_us.max(most));
        }
        let overtakes = self.happens(self.weather.reorder);
        let last_us = self.last_us.entry((way.from.0, way.to.0)).or_default();
        if at < *last_us && overtakes {
            tally.count(Fault::Reorder);
            return at;
        }
        // One that is late and out of order holds up none of those that follow.
        if !(late && overtakes) {
            *last_us = at.max(*last_us);
            return *last_us;
        }
        at.max(*last_us)
    }

    fn happens(&mut self, in_a_thousand: u64) -> bool {
        in_a_thousand > 0 && self.random.next() % 1000 < in_a_thousand
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way {
        from: (1, 0),
        to: (2, 1),
    };

    #[test]
    fn in_calm_weather_everything_arrives_in_order() {
        let mut tally = Tally::default();
        let mut network = Network::new(Random::new(1), Weather::CALM);
        let mut last_us = 0;
        for now_us in 0..1000 {
            let [Some(at), None] = network.send(WAY, now_us, &mut tally) else {
                panic!("lost or doubled");
            };
            assert!(at >= last_us && at > now_us);
            last_us = at;
        }
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn in_a_storm_everything_happens() {
        let mut tally = Tally::default();
        let storm = Weather {
            delay_us: (50, 5000),
            loss: 100,
            late: 100,
            late_us: 100_000,
            reorder: 500,
            twice: 100,
        };
        let mut network = Network::new(Random::new(1), storm);
        for now_us in 0..1000 {
            network.send(WAY, now_us * 100, &mut tally);
        }
        for fault in [Fault::Loss, Fault::Delay, Fault::Reorder, Fault::Duplicate] {
            assert!(tally.of(fault) > 20, "{tally}");
        }
    }

    #[test]
    fn a_cut_holds_until_every_reason_is_gone() {
        let mut network = Network::new(Random::new(1), Weather::CALM);
        network.cut(&[(0, 1), (1, 0)]);
        network.cut(&[(0, 1)]);
        network.mend(&[(0, 1), (1, 0)]);
        assert!(network.is_cut(0, 1) && !network.is_cut(1, 0));
        assert_eq!(network.send(WAY, 5, &mut Tally::default()), [None, None]);
        network.mend(&[(0, 1)]);
        assert!(!network.is_cut(0, 1));
    }
}
