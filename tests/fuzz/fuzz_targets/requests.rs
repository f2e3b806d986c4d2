//! `cargo fuzz run requests`: RESP requests, cut at the place that the first byte names, and the
//! commands that they ask for.
#![no_main]

use dht_proto::resp::{Decoded, RequestReader};
use dht_proto::spec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, input)) = data.split_first() else {
        return;
    };
    let mut arrived = input.len().min(usize::from(*cut));
    let mut reader = RequestReader::default();
    let mut start = 0;
    loop {
        match reader.read(&input[start..arrived], cut % 2 == 0) {
            Ok(Decoded::Incomplete) if arrived == input.len() => return,
            Ok(Decoded::Incomplete) => arrived = input.len(),
            Ok(Decoded::Nothing(taken)) => start += taken,
            Ok(Decoded::Request(taken)) => {
                let argv: Vec<&[u8]> = reader.words(&input[start..arrived]).collect();
                if let Ok(id) = spec::find(&argv) {
                    assert!(id.schema().accepts(argv.len()));
                }
                start += taken;
            }
            Err(_) => return,
        }
    }
});
