//! `cargo fuzz run handshakes`: frames at both sides of a peer handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|frames: Vec<Vec<u8>>| dht_fuzz::handshakes(&frames));
