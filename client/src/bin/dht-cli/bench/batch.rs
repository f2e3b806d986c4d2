//! Requests as bytes, a pipeline at a time: built once, and sent again with other numbers.

use std::ops::Range;

use bytes::BytesMut;
use dht_proto::resp::encode_request;
use dht_proto::slot::{SLOTS, key_slot};
use dht_proto::spec::look_up;

/// What stands for a number; the number has as many digits.
const PLACEHOLDER: &[u8] = b"__rand_int__";
const DIGITS: usize = PLACEHOLDER.len();

/// So many keys are looked at to find out which slots are concerned.
const KEYS_TRIED: u64 = 1_000_000;

/// A request with places for numbers.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where numbers begin.
    numbers: Vec<usize>,
    /// Where the first key is, if the command has one.
    key: Option<Range<usize>>,
}

impl Template {
    /// The request of these words. The first argument of a command that the table does not know is
    /// taken for its key.
    pub fn new(words: &[Vec<u8>]) -> Self {
        let mut bytes = BytesMut::new();
        encode_request(words, &mut bytes);
        let places = places(words);
        let numbers = places.iter().zip(words).flat_map(|(place, word)| {
            let found = word.windows(DIGITS).enumerate();
            found.filter_map(|(at, text)| (text == PLACEHOLDER).then_some(place.start + at))
        });
        Self {
            numbers: numbers.collect(),
            key: key_position(words).and_then(|position| places.get(position).cloned()),
            bytes: bytes.to_vec(),
        }
    }

    /// The slots that requests may concern, some more than once: those of the first keys, or all
    /// where no key says which.
    pub fn slots(&self, keys: u64) -> impl Iterator<Item = u16> {
        let count = match &self.key {
            None => SLOTS.into(),
            Some(_) if self.numbers.is_empty() => 1,
            Some(_) => keys.min(KEYS_TRIED),
        };
        let mut bytes = self.bytes.clone();
        (0..count).map(move |number| {
            let Some(key) = self.key.clone() else {
                return number as u16;
            };
            for at in &self.numbers {
                write_number(&mut bytes[*at..*at + DIGITS], number);
            }
            key_slot(&bytes[key])
        })
    }
}

/// Where each word is in the encoded request.
fn places(words: &[Vec<u8>]) -> Vec<Range<usize>> {
    let mut at = format!("*{}\r\n", words.len()).len();
    let place = |word: &Vec<u8>| {
        let start = at + format!("${}\r\n", word.len()).len();
        at = start + word.len() + 2;
        start..start + word.len()
    };
    words.iter().map(place).collect()
}

fn key_position(words: &[Vec<u8>]) -> Option<usize> {
    let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    match look_up(&argv) {
        Ok(command) => Some(command.schema().keys?.first),
        Err(_) => Some(1),
    }
}

/// Writes a number into all of this place, with leading zeros.
fn write_number(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The pipeline of a connection.
#[derive(Debug)]
pub struct Batch {
    template: Template,
    /// Requests, and behind them what ends every pipeline.
    bytes: Vec<u8>,
    depth: usize,
    /// Numbers are below this.
    keys: u64,
    random: u64,
}

impl Batch {
    /// A pipeline of up to `depth` requests and then `end`. Batches of different seeds draw
    /// different numbers.
    pub fn new(template: Template, depth: usize, end: &[u8], keys: u64, seed: u64) -> Self {
        let mut bytes = template.bytes.repeat(depth);
        bytes.extend_from_slice(end);
        Self {
            template,
            bytes,
            depth,
            keys,
            random: seed << 32,
        }
    }

    /// So many requests with new numbers, each drawn again until `wanted` likes the key's slot, and
    /// the end of the pipeline. `count` is at most the depth.
    pub fn draw(&mut self, count: usize, wanted: impl Fn(u16) -> bool) -> &[u8] {
        let length = self.template.bytes.len();
        let first = (self.depth - count) * length;
        if !self.template.numbers.is_empty() {
            for start in (first..self.depth * length).step_by(length) {
                while !self.draw_one(start, &wanted) {}
            }
        }
        &self.bytes[first..]
    }

    /// Draws the numbers of the request at `start`; says whether its slot is wanted.
    fn draw_one(&mut self, start: usize, wanted: impl Fn(u16) -> bool) -> bool {
        for index in 0..self.template.numbers.len() {
            let at = start + self.template.numbers[index];
            let number = self.next_number();
            write_number(&mut self.bytes[at..at + DIGITS], number);
        }
        self.template.key.as_ref().is_none_or(|key| {
            let key = start + key.start..start + key.end;
            wanted(key_slot(&self.bytes[key]))
        })
    }

    /// SplitMix64 (Steele, Lea and Flood 2014), brought below the number of keys.
    fn next_number(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mixed = mixed ^ (mixed >> 31);
        ((u128::from(mixed) * u128::from(self.keys)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().into()).collect()
    }

    fn text(bytes: &[u8]) -> &str {
        str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn numbers_go_where_the_placeholders_are() {
        let template = Template::new(&words("SET a__rand_int__b __rand_int____rand_int__"));
        let mut batch = Batch::new(template, 2, b"", 1, 1);
        let zero = "000000000000";
        let request = format!("*3\r\n$3\r\nSET\r\n$14\r\na{zero}b\r\n$24\r\n{zero}{zero}\r\n");
        assert_eq!(text(batch.draw(2, |_| true)), request.repeat(2));
    }

    #[test]
    fn fewer_requests_are_followed_by_the_same_end() {
        let mut batch = Batch::new(Template::new(&words("PING")), 16, b"END", 1, 1);
        assert_eq!(text(batch.draw(1, |_| false)), "*1\r\n$4\r\nPING\r\nEND");
    }

    #[test]
    fn numbers_are_below_the_range_and_of_wanted_slots() {
        let template = Template::new(&words("GET __rand_int__"));
        let mut batch = Batch::new(template, 1, b"", 1000, 7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            let sent = text(batch.draw(1, |slot| slot < 8192));
            let key = sent.split("\r\n").nth(4).unwrap().to_owned();
            assert!(key_slot(key.as_bytes()) < 8192, "{key}");
            seen.insert(key.parse::<u64>().unwrap());
        }
        let all = (0..1000).filter(|n| key_slot(format!("{n:012}").as_bytes()) < 8192);
        assert_eq!(seen, all.collect());
    }

    #[test]
    fn the_table_says_where_the_key_is() {
        let check = |line: &str, key: Option<&str>| {
            let template = Template::new(&words(line));
            let found = template.key.clone().map(|key| text(&template.bytes[key]));
            assert_eq!(found, key, "{line}");
        };
        check("hset k f v", Some("k"));
        check("ping", None);
        check("client id", None);
        check("zadd z 1 m", Some("z"));
        check("zadd", None);
    }
}
