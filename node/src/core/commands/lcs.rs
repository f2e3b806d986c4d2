//! LCS: the longest common subsequence of two strings.

use dht_proto::{Reply, ReplyError, limits};

use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::keyspace::Read;

/// LCS.
pub fn lcs(ctx: &Read<'_>, args: &mut Args<'_>) -> Outcome {
    let strings = [args.word()?, args.word()?].map(|key| ctx.string(key));
    let [Ok(one), Ok(two)] = strings else {
        let text = "The specified keys must contain string values";
        return Err(ReplyError::err(text));
    };
    let [one, two] = [&one, &two].map(|string| string.map_or(&[][..], |string| string.bytes()));
    let options = Options::parse(args)?;
    if one.len().saturating_mul(two.len()) > limits::LCS_PAIRS {
        let most = limits::LCS_PAIRS;
        let text = format!("String too long for LCS: the lengths make more than {most} pairs");
        return Err(ReplyError::Other(text.into()));
    }
    let matches = matches(one, two);
    let length = Reply::count(matches.iter().map(|found| found.len).sum());
    Ok(match options.what {
        What::Bytes => {
            let parts = matches.iter().rev();
            let parts = parts.map(|found| &one[found.one..found.one + found.len]);
            Reply::bulk(parts.collect::<Vec<_>>().concat())
        }
        What::Length => length,
        What::Places => {
            let shown = matches.iter().filter(|found| found.len >= options.least);
            let shown = shown.map(|found| found.reply(options.with_length));
            Reply::Map(vec![
                (Reply::bulk("matches"), Reply::Array(shown.collect())),
                (Reply::bulk("len"), length),
            ])
        }
    })
}

/// What is answered.
enum What {
    Bytes,
    Length,
    Places,
}

struct Options {
    what: What,
    /// Shorter matches are not shown.
    least: usize,
    with_length: bool,
}

impl Options {
    fn parse(args: &mut Args<'_>) -> Result<Self, ReplyError> {
        let (mut length, mut places, mut with_length, mut least) = (false, false, false, 0);
        while args.left() > 0 {
            if args.option("LEN") {
                length = true;
            } else if args.option("IDX") {
                places = true;
            } else if args.option("WITHMATCHLEN") {
                with_length = true;
            } else if args.left() > 1 && args.option("MINMATCHLEN") {
                least = usize::try_from(args.int()?).unwrap_or_default();
            } else {
                return Err(ReplyError::Syntax);
            }
        }
        let what = match (length, places) {
            (true, true) => {
                let text = "If you want both the length and indexes, please just use IDX.";
                return Err(ReplyError::err(text));
            }
            (true, false) => What::Length,
            (false, true) => What::Places,
            (false, false) => What::Bytes,
        };
        Ok(Self {
            what,
            least,
            with_length,
        })
    }
}

/// Bytes that are alike and stand together in both strings.
#[derive(Clone, Copy)]
struct Match {
    /// Where they begin in the first string.
    one: usize,
    /// Where they begin in the second.
    two: usize,
    len: usize,
}

impl Match {
    fn reply(self, with_length: bool) -> Reply {
        let range = |start: usize| {
            let places = [start, start + self.len - 1];
            Reply::Array(places.map(Reply::count).to_vec())
        };
        let mut parts = vec![range(self.one), range(self.two)];
        if with_length {
            parts.push(Reply::count(self.len));
        }
        Reply::Array(parts)
    }
}

/// The parts of which the longest common subsequence is made, the last one first. Which of several
/// equally long ones it is follows from the way that Redis takes through the same table.
fn matches(one: &[u8], two: &[u8]) -> Vec<Match> {
    let mut found = Vec::new();
    if one.is_empty() || two.is_empty() {
        return found;
    }
    let width = two.len() + 1;
    let lengths = lengths(one, two);
    let (mut i, mut j) = (one.len(), two.len());
    let mut open: Option<Match> = None;
    while i > 0 && j > 0 {
        if one[i - 1] == two[j - 1] {
            (i, j) = (i - 1, j - 1);
            let len = 1 + open.map_or(0, |found| found.len);
            open = Some(Match {
                one: i,
                two: j,
                len,
            });
            continue;
        }
        found.extend(open.take());
        if lengths[(i - 1) * width + j] > lengths[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    found.extend(open);
    found
}

/// The length of the longest common subsequence of the first `i` bytes of one string and the first
/// `j` of the other, row by row. None is longer than the root of what the limit allows.
fn lengths(one: &[u8], two: &[u8]) -> Vec<u16> {
    let width = two.len() + 1;
    let mut lengths = vec![0_u16; (one.len() + 1) * width];
    for (i, byte) in one.iter().enumerate() {
        let (above, row) = lengths[i * width..].split_at_mut(width);
        for (j, other) in two.iter().enumerate() {
            row[j + 1] = if byte == other {
                above[j] + 1
            } else {
                above[j + 1].max(row[j])
            };
        }
    }
    lengths
}
