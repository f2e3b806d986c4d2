//! Looking ahead in the requests that have arrived, so that the store's memory is on its way to the
//! processor before they are executed. A hint: it decides nothing, and what it cannot read it
//! leaves to the session.

use dht_proto::resp::{Decoded, RequestReader};
use dht_proto::spec;
use smallvec::SmallVec;

use super::store::{Key, Store};

/// Most keys that are fetched at a time; the processor's cache has to keep them until their turn.
const KEYS: usize = 32;
/// Most bytes that are looked at, which may be those of a request that has not arrived whole.
const BYTES: usize = 8 * 1024;

/// Fetches what the next requests need; gives how many bytes of the input these take.
pub fn fetch(store: &Store, input: &[u8]) -> usize {
    let mut reader = RequestReader::default();
    let mut keys: SmallVec<[Key<'_>; KEYS]> = SmallVec::new();
    let input = &input[..input.len().min(BYTES)];
    let mut at = 0;
    while keys.len() < KEYS && input.get(at) == Some(&b'*') {
        let rest = &input[at..];
        let Ok(Decoded::Request(length)) = reader.read(rest, true) else {
            break;
        };
        keys.extend(first_key(&reader, rest));
        at += length;
    }
    store.prefetch(&keys);
    at
}

/// The key of a request, if it names one; of those that it may name more of, the first.
fn first_key<'i>(reader: &RequestReader, input: &'i [u8]) -> Option<Key<'i>> {
    let words: SmallVec<[&[u8]; 8]> = reader.words(input).collect();
    let keys = spec::find(&words).ok()?.schema().keys?;
    let key = input.get(reader.place(keys.first)?)?;
    Some(Key::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expect: usize) {
        assert_eq!(fetch(&Store::new(), input.as_bytes()), expect, "{input:?}");
    }

    #[test]
    fn looks_at_whole_requests_up_to_the_first_that_it_cannot_read() {
        let get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let ping = "*1\r\n$4\r\nPING\r\n";
        check("", 0);
        check(&format!("{get}{ping}{get}"), 2 * get.len() + ping.len());
        check(&format!("{get}*2\r\n$3\r\nGET\r\n$1\r\n"), get.len());
        check(&format!("{get}GET k\r\n{get}"), get.len());
        check(&format!("{get}*1\r\n!\r\n"), get.len());
        check(&format!("{get}*0\r\n"), get.len());
    }

    #[test]
    fn looks_no_further_than_is_of_use() {
        let get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        check(&get.repeat(2 * KEYS), KEYS * get.len());
        let ping = "*1\r\n$4\r\nPING\r\n";
        check(&ping.repeat(BYTES), BYTES / ping.len() * ping.len());
        let set = format!(
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9000\r\n{}\r\n",
            "x".repeat(9000)
        );
        check(&set, 0);
    }
}
