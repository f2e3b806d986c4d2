//! `cargo fuzz run replies`: RESP replies, which have to survive being written and read again.
#![no_main]

use bytes::BytesMut;
use dht_proto::resp::{ReplyReader, Version, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = BytesMut::from(data);
    let mut reader = ReplyReader::default();
    while let Ok(Some(reply)) = reader.read(&mut input) {
        let mut first = BytesMut::new();
        encode(&reply, Version::V3, &mut first);
        let again = ReplyReader::default().read(&mut first.clone());
        let Ok(Some(again)) = again else {
            panic!("{reply:?} became {again:?}");
        };
        let mut second = BytesMut::new();
        encode(&again, Version::V3, &mut second);
        assert_eq!(first, second);
    }
});
