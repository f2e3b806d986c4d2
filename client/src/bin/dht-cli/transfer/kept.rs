//! How far a copy has come, in a file: what is copied from where to where, and what was counted. A
//! cursor means something only to the servers that gave it, so the file names those as well.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dht_client::{Scheme, Target};
use dht_proto::resp::{quoted, split_words};
use serde::{Deserialize, Serialize};

use crate::modes::Stop;
use crate::put::Refused;

/// So many keys are kept to be compared at the end, at most.
const SAMPLES: usize = 200;

/// What is copied, by which a file is told from that of another copy.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// `import` or `export`.
    pub direction: String,
    /// Where keys are read, as a URL without the password.
    pub from: String,
    /// Where they are written.
    pub to: String,
    /// Only keys that match this.
    pub pattern: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Keys that were written.
    pub copied: u64,
    /// Keys that expired or were deleted between the page that named them and their reading.
    pub gone: u64,
    /// Keys of types that are not known here.
    pub left: BTreeMap<String, u64>,
    /// Fields that do not expire, though they should.
    pub undying: Refused,
    /// Keys to be compared, quoted; one in so many of those that were copied.
    samples: Vec<String>,
    stride: u64,
}

impl Counts {
    /// All keys that were looked at.
    pub fn seen(&self) -> u64 {
        self.copied + self.gone + self.left.values().sum::<u64>()
    }

    /// A key was copied.
    pub fn note(&mut self, key: &[u8]) {
        self.stride = self.stride.max(1);
        if self.copied.is_multiple_of(self.stride) {
            self.samples.push(quoted(key));
        }
        self.copied += 1;
        if self.samples.len() > SAMPLES {
            let mut number = 0;
            self.samples.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.stride *= 2;
        }
    }

    /// The keys to be compared.
    pub fn samples(&self) -> impl Iterator<Item = Bytes> {
        let words = self.samples.iter();
        let words = words.filter_map(|word| split_words(word.as_bytes())?.pop());
        words.map(Bytes::from)
    }
}

/// What is in the file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    copy: Copy,
    /// Which run of the source's servers the cursor is of.
    run: String,
    /// Where SCAN goes on; zero at the beginning.
    pub cursor: u64,
    pub counts: Counts,
}

impl Kept {
    /// Nothing has been done.
    pub fn new(copy: Copy, run: String) -> Self {
        Self {
            copy,
            run,
            cursor: 0,
            counts: Counts::default(),
        }
    }

    /// Goes on as a file says, if there is one. Says whether it had to begin anew, since the
    /// source has been started again.
    ///
    /// # Errors
    /// The file is of another copy, or of something else, or cannot be read.
    pub fn resume(&mut self, file: &Path) -> Result<bool, Stop> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(Stop::System(error)),
        };
        let name = file.display();
        let Ok(kept) = serde_json::from_str::<Self>(&text) else {
            let why = "does not say how far a copy has come: name another file, or remove it";
            return Err(Stop::Usage(format!("{name} {why}")));
        };
        if kept.copy != self.copy {
            let other = kept.copy.told();
            let why = "name another file, or remove it to begin anew";
            return Err(Stop::Usage(format!(
                "{name} is of another copy, {other}: {why}"
            )));
        }
        let is_same_run = kept.run == self.run;
        if is_same_run {
            *self = kept;
        }
        Ok(!is_same_run)
    }

    /// Writes the file: whenever this is ended, it says either this or what it said before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, file: &Path) -> io::Result<()> {
        let mut new = file.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, file)
    }
}

impl Copy {
    fn told(&self) -> String {
        let Self {
            direction,
            from,
            to,
            pattern,
        } = self;
        let pattern = pattern.as_ref();
        let pattern = pattern.map_or_else(String::new, |pattern| format!(" with {pattern}"));
        format!("{direction} from {from} to {to}{pattern}")
    }
}

/// A target as a URL without its password.
pub fn url(target: &Target) -> String {
    let scheme = match target.scheme {
        Scheme::Dht => "dht",
        Scheme::Redis => "redis",
        Scheme::RedisTls => "rediss",
        Scheme::Cluster => "redis-cluster",
        Scheme::ClusterTls => "rediss-cluster",
    };
    let user = target.credentials.as_ref();
    let user = user.and_then(|credentials| credentials.user.as_ref());
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    format!(
        "{scheme}://{user}{}/{}",
        target.seeds.join(","),
        target.database
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> Copy {
        let from: Target = "redis://me:secret@h:1/2".parse().unwrap();
        Copy {
            direction: "import".to_owned(),
            from: url(&from),
            to: "dht://a:7400/0".to_owned(),
            pattern: None,
        }
    }

    #[test]
    fn only_the_same_copy_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept");
        let mut first = Kept::new(copy(), "run".to_owned());
        assert!(!first.resume(&file).is_ok_and(|anew| anew), "there is none");
        (first.cursor, first.counts.gone) = (7, 3);
        first.counts.note(b"k\xff \"");
        first.keep(&file).unwrap();
        assert!(!std::fs::read_to_string(&file).unwrap().contains("secret"));

        let mut same = Kept::new(copy(), "run".to_owned());
        assert!(same.resume(&file).is_ok_and(|anew| !anew));
        assert_eq!(same, first);
        assert_eq!(
            same.counts.samples().collect::<Vec<_>>(),
            [&b"k\xff \""[..]]
        );
        let mut other_run = Kept::new(copy(), "next".to_owned());
        assert!(other_run.resume(&file).is_ok_and(|anew| anew));
        assert_eq!(other_run, Kept::new(copy(), "next".to_owned()));

        let others: [fn(&mut Copy); 4] = [
            |copy| copy.direction = "export".to_owned(),
            |copy| copy.from = "redis://me@h:2/2".to_owned(),
            |copy| copy.to = "dht://b:7400/0".to_owned(),
            |copy| copy.pattern = Some("a*".to_owned()),
        ];
        for change in others {
            let mut other = copy();
            change(&mut other);
            let refused = Kept::new(other, "run".to_owned()).resume(&file);
            let Err(Stop::Usage(why)) = refused else {
                panic!("goes on");
            };
            assert!(why.contains("is of another copy, import from redis://me@h:1/2 to"));
        }
        for garbage in [&b"12345"[..], b"", b"{}", b"\xff"] {
            std::fs::write(&file, garbage).unwrap();
            let refused = Kept::new(copy(), "run".to_owned()).resume(&file);
            assert!(matches!(refused, Err(Stop::Usage(why)) if why.contains("how far")));
        }
    }

    #[test]
    fn samples_are_of_all_keys_and_few() {
        let mut counts = Counts::default();
        for n in 0..10_000 {
            counts.note(format!("{n}").as_bytes());
        }
        let samples: Vec<Bytes> = counts.samples().collect();
        assert!((SAMPLES / 2..=SAMPLES).contains(&samples.len()));
        let number = |key: &Bytes| str::from_utf8(key).unwrap().parse::<usize>().unwrap();
        let far = samples
            .windows(2)
            .map(|two| number(&two[1]) - number(&two[0]));
        assert!(far.clone().all(|stride| stride == 64), "{far:?}");
        assert_eq!(counts.copied, 10_000);
    }
}
