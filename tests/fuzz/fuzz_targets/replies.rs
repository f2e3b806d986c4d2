//! `cargo fuzz run replies`: RESP replies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dht_fuzz::replies(data));
