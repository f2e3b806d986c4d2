//! Formation under everything that can go wrong, in an order that a seed decides: messages are
//! lost, late, doubled and in any order, links break, nodes restart at every step. After each step
//! all live nodes that belong to a cluster have to belong to one; when the restarts have stopped,
//! there has to be a cluster.

use std::collections::BTreeMap;

use dht_proto::topology::{Member, NodeId};

use super::{Formation, FormationMessage, Outbox, Phase, Terms, Verdict};
use crate::core::meta::{Change, ClusterId, ClusterState};

/// Orders of events that are tried.
const SEEDS: u64 = 5000;
/// Rounds in which everything is said and arrives, until nothing changes any more.
const ROUNDS: usize = 20;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// One life of a node.
struct Life {
    formation: Formation,
    seat: usize,
    /// Whom it has a link to, by seat.
    links: BTreeMap<usize, usize>,
    /// What it belongs to, once it does.
    founding: Option<ClusterState>,
}

/// How often everything happens.
struct Odds {
    loss: usize,
    doubling: usize,
    restart: usize,
    /// Restart as soon as it belongs to a cluster, and has said so.
    restart_formed: usize,
    breaking: usize,
}

struct World {
    random: Random,
    odds: Odds,
    /// Every life that ever began; its number is part of its identity.
    lives: Vec<Life>,
    /// Who lives in each seat.
    seated: Vec<Option<usize>>,
    flying: Vec<(usize, usize, FormationMessage)>,
    /// Doubles that arrive much later.
    late: Vec<(usize, usize, FormationMessage)>,
    /// What each cluster has decided so far, latest last.
    decided: BTreeMap<ClusterId, Vec<ClusterState>>,
    /// Asked of clusters, and of whom.
    requests: Vec<(usize, ClusterId, Change)>,
    now_ms: u64,
}

/// What has come to pass over all seeds.
#[derive(Debug, Default)]
struct Tally {
    restarts: usize,
    successive_clusters: usize,
    replacements: usize,
    whole: usize,
    without_majority: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let seats = 2 + random.below(4);
        let odds = Odds {
            loss: [0, 5, 40][random.below(3)],
            doubling: [0, 30, 80][random.below(3)],
            restart: [0, 1, 4][random.below(3)],
            restart_formed: [10, 40, 80][random.below(3)],
            breaking: [0, 2, 10][random.below(3)],
        };
        let mut world = Self {
            random,
            odds,
            lives: Vec::new(),
            seated: vec![None; seats],
            flying: Vec::new(),
            late: Vec::new(),
            decided: BTreeMap::new(),
            requests: Vec::new(),
            now_ms: 0,
        };
        (0..seats).for_each(|seat| world.start(seat));
        world
    }

    fn address(seat: usize) -> String {
        format!("10.0.0.{seat}:7400")
    }

    fn id(life: usize) -> NodeId {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&(life as u64).to_be_bytes());
        NodeId(id)
    }

    fn life_of(id: NodeId) -> usize {
        let number: [u8; 8] = id.0[..8].try_into().unwrap();
        usize::try_from(u64::from_be_bytes(number)).unwrap()
    }

    fn start(&mut self, seat: usize) {
        let life = self.lives.len();
        // Some do not know their seat before they find themselves there.
        let client = if self.random.percent(70) {
            Self::address(seat)
        } else {
            format!("10.9.9.{life}:7400")
        };
        let me = Member {
            id: Self::id(life),
            seat: String::new(),
            redirect: client.clone(),
            client,
        };
        let terms = Terms {
            seats: (0..self.seated.len()).map(Self::address).collect(),
            shards: 1,
            copies: 3,
        };
        let mut cluster = [0; 16];
        cluster[..8].copy_from_slice(&(life as u64).to_be_bytes());
        self.lives.push(Life {
            formation: Formation::new(me, terms, ClusterId(cluster)),
            seat,
            links: BTreeMap::new(),
            founding: None,
        });
        self.seated[seat] = Some(life);
    }

    fn is_alive(&self, life: usize) -> bool {
        self.seated[self.lives[life].seat] == Some(life)
    }

    fn alive(&self) -> Vec<usize> {
        self.seated.iter().flatten().copied().collect()
    }

    /// Lets a node act, and puts what it sends on its way if it has a link.
    fn act(&mut self, life: usize, action: impl FnOnce(&mut Formation, &mut Outbox)) {
        let mut out = Outbox::new();
        action(&mut self.lives[life].formation, &mut out);
        for (to, message) in out {
            let to = Self::life_of(to);
            if self.lives[life].links.values().any(|linked| *linked == to) {
                self.flying.push((life, to, message));
            }
        }
        self.check(life);
    }

    /// One cluster at a time; a node that belongs to one never leaves it.
    fn check(&mut self, life: usize) {
        let Phase::Formed { start, belonging } = &self.lives[life].formation.phase else {
            assert!(
                self.lives[life].founding.is_none(),
                "it has left its cluster"
            );
            return;
        };
        let member = start
            .member(Self::id(life))
            .expect("it belongs to a cluster of others");
        assert_eq!(member.seat, Self::address(self.lives[life].seat));
        let founding = belonging.founding.clone();
        for other in self.alive() {
            if let Some(known) = &self.lives[other].founding {
                assert_eq!(*known, founding, "two clusters are alive");
            }
        }
        let states = self.decided.entry(founding.id);
        states.or_insert_with(|| vec![founding.clone()]);
        self.lives[life].founding = Some(founding);
    }

    fn deliver(&mut self, index: usize) {
        let (from, to, message) = self.flying.swap_remove(index);
        if self.is_alive(to) {
            let message = FormationMessage::decode(&message.encode()).unwrap();
            let was_formed = self.lives[to].founding.is_some();
            self.act(to, |node, out| node.hear(World::id(from), message, out));
            let is_new = !was_formed && self.lives[to].founding.is_some();
            if is_new && self.random.percent(self.odds.restart_formed) {
                self.start(self.lives[to].seat);
            }
        }
    }

    /// A node dials a seat, or notices that its link is broken.
    fn dial(&mut self, life: usize, seat: usize, breaks: bool) {
        let address = Self::address(seat);
        if let Some(&other) = self.lives[life].links.get(&seat) {
            if breaks || !self.is_alive(other) {
                self.lives[life].links.remove(&seat);
                self.act(life, |node, out| {
                    node.link(&address, World::id(other), false, out);
                });
            }
        } else if let Some(other) = self.seated[seat] {
            let knows_itself = self.lives[life].formation.me().seat == address;
            if other != life {
                self.lives[life].links.insert(seat, other);
            }
            if !knows_itself {
                self.act(life, |node, out| {
                    node.link(&address, World::id(other), true, out);
                });
            }
        }
    }

    fn tick(&mut self, life: usize) {
        self.now_ms += 200;
        let now_ms = self.now_ms;
        self.act(life, |node, out| node.tick(now_ms, out));
    }

    /// A node that wants to join asks.
    fn request(&mut self, life: usize) {
        if let Verdict::Join {
            via,
            cluster,
            change,
            ..
        } = self.lives[life].formation.verdict()
        {
            self.requests.push((Self::life_of(via), cluster, change));
        }
    }

    /// A majority of a cluster's meta group decides what was asked for, if there is one.
    fn decide(&mut self, index: usize) {
        let (via, cluster, change) = self.requests.swap_remove(index);
        let has_majority = self.has_majority(cluster);
        let states = self.decided.get_mut(&cluster).unwrap();
        let mut state = states.last().unwrap().clone();
        if has_majority && state.apply(&change).is_ok() {
            states.push(state);
            self.learn(via);
        }
    }

    fn has_majority(&self, cluster: ClusterId) -> bool {
        let state = self.decided[&cluster].last().unwrap();
        let belongs = |node: NodeId| {
            let life = Self::life_of(node);
            let founding = self.lives[life].founding.as_ref();
            self.is_alive(life) && founding.is_some_and(|founding| founding.id == cluster)
        };
        let there = state.meta.iter().filter(|replica| belongs(replica.node));
        there.count() * 2 > state.meta.len()
    }

    /// A node learns something that its cluster has decided.
    fn learn(&mut self, life: usize) {
        if let Some(founding) = &self.lives[life].founding {
            let states = &self.decided[&founding.id];
            let state = states[self.random.below(states.len())].clone();
            self.act(life, |node, _| node.learn(&state));
        }
    }

    fn step(&mut self, tally: &mut Tally) {
        let seat = self.random.below(self.seated.len());
        if self.random.percent(self.odds.restart) {
            if self.seated[seat].take().is_none() || self.random.percent(70) {
                self.start(seat);
            }
            tally.restarts += 1;
            return;
        }
        let Some(life) = self.seated[seat] else {
            return;
        };
        match self.random.below(100) {
            0..50 if !self.flying.is_empty() => self.fly(),
            50..75 => {
                let other = self.random.below(self.seated.len());
                let breaks = self.random.percent(self.odds.breaking);
                self.dial(life, other, breaks);
            }
            75..85 => self.tick(life),
            85..90 => self.request(life),
            90..95 if !self.requests.is_empty() => {
                let index = self.random.below(self.requests.len());
                self.decide(index);
            }
            95..100 => self.learn(life),
            _ => (),
        }
    }

    /// Something happens to a message.
    fn fly(&mut self) {
        let index = self.random.below(self.flying.len());
        if self.random.percent(self.odds.loss) {
            self.flying.swap_remove(index);
            return;
        }
        if !self.late.is_empty() && self.random.percent(20) {
            let late = self.random.below(self.late.len());
            self.flying.push(self.late.swap_remove(late));
        }
        let matters = !matches!(
            self.flying[index].2,
            FormationMessage::Ask { .. } | FormationMessage::Idle { .. }
        );
        if matters && self.random.percent(self.odds.doubling) {
            let double = self.flying[index].clone();
            self.late.push(double);
        }
        self.deliver(index);
    }

    /// No more restarts: all links come up, all is said and arrives.
    fn settle(&mut self) {
        self.odds.restart_formed = 0;
        for seat in 0..self.seated.len() {
            if self.seated[seat].is_none() {
                self.start(seat);
            }
        }
        for _ in 0..ROUNDS {
            for life in self.alive() {
                for seat in 0..self.seated.len() {
                    // What is broken is noticed first.
                    self.dial(life, seat, false);
                    self.dial(life, seat, false);
                }
                self.tick(life);
                self.request(life);
            }
            while !self.flying.is_empty() || !self.requests.is_empty() {
                while !self.flying.is_empty() {
                    let index = self.random.below(self.flying.len());
                    self.deliver(index);
                }
                (0..self.requests.len()).for_each(|_| self.decide(0));
            }
            for life in self.alive() {
                if let Some(founding) = &self.lives[life].founding {
                    let state = self.decided[&founding.id].last().unwrap().clone();
                    self.act(life, |node, _| node.learn(&state));
                }
            }
        }
    }

    /// All belong to one cluster, or as many as can when it has lost its majority.
    fn check_end(&self, tally: &mut Tally) {
        let alive = self.alive();
        let belongs = alive
            .iter()
            .find_map(|life| self.lives[*life].founding.as_ref());
        let Some(cluster) = belongs.map(|founding| founding.id) else {
            let verdicts = alive
                .iter()
                .map(|life| self.lives[*life].formation.verdict());
            panic!("no cluster was formed: {:?}", verdicts.collect::<Vec<_>>());
        };
        for life in &alive {
            match self.lives[*life].formation.verdict() {
                Verdict::Formed(_) => (),
                Verdict::Join { via, .. } => {
                    assert!(!self.has_majority(cluster), "a node was not let in");
                    assert!(self.is_alive(Self::life_of(via)));
                }
                forming @ Verdict::Forming(_) => panic!("{forming:?}"),
            }
        }
        tally.successive_clusters += self.decided.len() - 1;
        tally.replacements += self.decided[&cluster].len() - 1;
        if alive
            .iter()
            .all(|life| self.lives[*life].founding.is_some())
        {
            tally.whole += 1;
        } else {
            tally.without_majority += 1;
        }
    }
}

#[test]
fn there_is_one_cluster_in_the_end_and_never_two() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step(&mut tally);
        }
        world.settle();
        world.check_end(&mut tally);
    }
    println!("{tally:?}");
    let Tally {
        restarts,
        successive_clusters,
        replacements,
        whole,
        without_majority,
    } = tally;
    let rarest = [successive_clusters, replacements, whole, without_majority];
    assert!(
        restarts > 10_000 && rarest.into_iter().all(|count| count > 300),
        "seeds without it"
    );
}
