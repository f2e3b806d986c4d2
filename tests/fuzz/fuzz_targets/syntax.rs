//! `cargo fuzz run syntax`: words that ask for a command of the table.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dht_fuzz::syntax(data));
