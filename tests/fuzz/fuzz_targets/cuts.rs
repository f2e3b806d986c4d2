//! `cargo fuzz run cuts`: the frames of a native connection, in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dht_fuzz::cuts(data));
