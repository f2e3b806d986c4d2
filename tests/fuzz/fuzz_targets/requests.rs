//! `cargo fuzz run requests`: RESP requests, cut at a place that the first byte names.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dht_fuzz::requests(data));
