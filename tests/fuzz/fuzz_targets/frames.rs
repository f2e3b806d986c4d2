//! `cargo fuzz run frames`: native messages; requests have to survive being written and read again.
#![no_main]

use bytes::BytesMut;
use dht_proto::rpc::{Message, decode, encode_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Message::Request(request)) = decode(data) {
        let mut out = BytesMut::new();
        encode_request(request.id, &request.argv, &request.meta, &mut out);
        assert_eq!(decode(&out[4..]), Ok(Message::Request(request)));
    }
});
