//! `cargo fuzz run handshakes`: frames at both sides of a peer handshake; none may end it.
#![no_main]

use dht_proto::peer::{Acceptor, Dialer, PeerHello, Step};
use dht_proto::topology::NodeId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frames: Vec<Vec<u8>>| {
    let hello = PeerHello {
        node: NodeId([7; 20]),
        client: String::new(),
        alone: false,
    };
    let mut dialer = Dialer::new(b"secret", [1; 32], hello.clone());
    let mut acceptor = Acceptor::new(b"secret", [2; 32], hello);
    for frame in frames {
        assert!(!matches!(dialer.on_frame(&frame), Ok(Step::Done { .. })));
        assert!(!matches!(acceptor.on_frame(&frame), Ok(Step::Done { .. })));
    }
});
