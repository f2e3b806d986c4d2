//! How long commands took, as LATENCY HISTOGRAM tells it: counts by powers of two of microseconds.
//! Pure.

use std::collections::BTreeMap;

use dht_client::{FromReply, Reply};
use dht_proto::spec::{CommandId, Kind};

/// How many commands took less than so many microseconds, and as long as the bound before it or
/// longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<u64, u64>);

/// What is known of commands, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(pub BTreeMap<String, Counts>);

impl Times {
    /// What LATENCY HISTOGRAM says of commands on data; what is asked for `top` is none.
    pub fn of(reply: Reply) -> Self {
        let Reply::Map(commands) = reply else {
            return Self::default();
        };
        let on_data = |name: &str| {
            CommandId::all().any(|id| {
                let kind = id.spec().kind;
                let is_of_use = !kind.is_local() && kind != Kind::SESSION || kind == Kind::CALL;
                is_of_use && id.spec().full_name() == name
            })
        };
        let known = commands.into_iter().filter_map(|(name, facts)| {
            let name = String::from_reply(name).ok()?;
            on_data(&name).then(|| Some((name, Counts::of(facts)?)))?
        });
        Self(known.collect())
    }

    /// What has come since, or all, where it was forgotten meanwhile.
    pub fn since(&self, before: &Self) -> Self {
        let later = self.0.iter().map(|(name, counts)| {
            let before = before.0.get(name);
            let later = before.map_or_else(|| counts.clone(), |before| counts.since(before));
            (name.clone(), later)
        });
        Self(later.collect())
    }

    /// The same, and those of another node.
    pub fn add(&mut self, other: &Self) {
        for (name, counts) in &other.0 {
            self.0.entry(name.clone()).or_default().add(counts);
        }
    }

    /// Of all commands together.
    pub fn together(&self) -> Counts {
        let mut all = Counts::default();
        self.0.values().for_each(|counts| all.add(counts));
        all
    }
}

impl Counts {
    /// What is said of one command: how many took less than each power.
    fn of(facts: Reply) -> Option<Self> {
        let Reply::Map(facts) = facts else {
            return None;
        };
        let histogram = facts.into_iter().find_map(|(name, value)| {
            let is_it = String::from_reply(name).is_ok_and(|name| name == "histogram_usec");
            is_it.then_some(value)
        });
        let Some(Reply::Map(powers)) = histogram else {
            return None;
        };
        let (mut counts, mut sum) = (BTreeMap::new(), 0);
        for (below_us, count) in powers {
            let (Reply::Int(below_us), Reply::Int(count)) = (below_us, count) else {
                return None;
            };
            let (below_us, count) = (u64::try_from(below_us).ok()?, u64::try_from(count).ok()?);
            counts.insert(below_us, count.saturating_sub(sum));
            sum = count;
        }
        Some(Self(counts))
    }

    fn since(&self, before: &Self) -> Self {
        let was = |below_us: &u64| before.0.get(below_us).copied().unwrap_or_default();
        let later = self.0.iter();
        let later =
            later.map(|(below_us, count)| Some((*below_us, count.checked_sub(was(below_us))?)));
        later
            .collect::<Option<_>>()
            .map_or_else(|| self.clone(), Self)
    }

    fn add(&mut self, other: &Self) {
        for (below_us, count) in &other.0 {
            *self.0.entry(*below_us).or_default() += count;
        }
    }

    /// How many commands.
    pub fn calls(&self) -> u64 {
        self.0.values().sum()
    }

    /// The bound below which so many of a hundred commands were; nothing if there were none.
    pub fn below_us(&self, percent: u64) -> Option<u64> {
        let wanted = (self.calls() * percent).div_ceil(100);
        let mut sum = 0;
        let found = self.0.iter().find(|(_, count)| {
            sum += **count;
            **count > 0 && sum >= wanted
        });
        found.map(|(below_us, _)| *below_us)
    }

    /// Likewise, as people read it.
    pub fn below(&self, percent: u64) -> String {
        self.below_us(percent).map_or_else(|| "-".to_owned(), bound)
    }
}

/// A bound that is not exceeded: rounded up.
fn bound(us: u64) -> String {
    match us {
        0..1000 => format!("<{us}us"),
        1000..10_000 => {
            let tenths = us.div_ceil(100);
            format!("<{}.{}ms", tenths / 10, tenths % 10)
        }
        10_000..1_000_000 => format!("<{}ms", us.div_ceil(1000)),
        _ => format!("<{}s", us.div_ceil(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(commands: &[(&str, &[(i64, i64)])]) -> Times {
        let command = |(name, powers): &(&str, &[(i64, i64)])| {
            let powers = powers.iter();
            let powers = powers.map(|(us, count)| (Reply::Int(*us), Reply::Int(*count)));
            let facts = vec![
                (Reply::bulk("calls"), Reply::Int(7)),
                (Reply::bulk("histogram_usec"), Reply::Map(powers.collect())),
            ];
            (Reply::bulk(*name), Reply::Map(facts))
        };
        Times::of(Reply::Map(commands.iter().map(command).collect()))
    }

    #[test]
    fn percentiles_are_of_what_came_since() {
        let before = told(&[("get", &[(64, 90), (1024, 100)]), ("info", &[(64, 1)])]);
        assert_eq!(before.0.len(), 1, "INFO is about no data");
        let get = before.together();
        assert_eq!(
            (get.calls(), get.below_us(90), get.below_us(91)),
            (100, Some(64), Some(1024))
        );
        let now = told(&[
            ("get", &[(64, 90), (128, 91), (1024, 104)]),
            ("set", &[(32, 2)]),
        ]);
        let mut later = now.since(&before);
        assert_eq!(later.0["get"].below_us(25), Some(128));
        assert_eq!(later.0["get"].below_us(26), Some(1024));
        assert_eq!(
            (later.together().calls(), later.together().below(33)),
            (6, "<32us".into())
        );
        // It was forgotten meanwhile.
        let again = told(&[("get", &[(64, 5)])]);
        assert_eq!(again.since(&now).together().calls(), 5);
        later.add(&again);
        assert_eq!(later.0["get"].calls(), 9);
        assert_eq!(now.since(&now).together().below(50), "-");
    }

    #[test]
    fn bounds_are_never_below_what_they_say() {
        for (us, shown) in [
            (64, "<64us"),
            (1024, "<1.1ms"),
            (8192, "<8.2ms"),
            (65_536, "<66ms"),
            (1 << 20, "<2s"),
        ] {
            assert_eq!(bound(us), shown);
        }
    }
}
