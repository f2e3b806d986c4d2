//! What the targets of cargo-fuzz check of their inputs. The tests compile it too, and run it, so
//! that it does not rot where nobody fuzzes.

use bytes::{Bytes, BytesMut};
use dht_proto::frame;
use dht_proto::peer::{Acceptor, Dialer, PeerHello, Step};
use dht_proto::resp::{Decoded, ReplyReader, RequestReader, Version, encode};
use dht_proto::rpc::{Message, decode, encode_request};
use dht_proto::spec;
use dht_proto::topology::NodeId;
use tokio_util::codec::Decoder;

/// Longest frame that is cut here, in bytes.
const FRAME_BYTES: usize = 1024;

/// RESP requests, cut at the place that the first byte names, and the commands that they ask for.
pub fn requests(data: &[u8]) {
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
}

/// RESP replies, which have to survive being written and read again.
pub fn replies(data: &[u8]) {
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
}

/// Native messages; requests have to survive being written and read again.
pub fn frames(data: &[u8]) {
    if let Ok(Message::Request(request)) = decode(data) {
        let mut out = BytesMut::new();
        encode_request(request.id, &request.argv, &request.meta, &mut out);
        assert_eq!(decode(&out[4..]), Ok(Message::Request(request)));
    }
}

/// What a native connection sends, in pieces of as many bytes as the first byte says: the same is
/// cut out of it as if it came at once, nothing is lost, and nothing is longer than allowed.
pub fn cuts(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else {
        return;
    };
    let whole = cut(stream, stream.len().max(1));
    assert_eq!(whole, cut(stream, usize::from(*piece).max(1)));
    let again: Vec<u8> = whole.frames.iter().flat_map(with_length).collect();
    let sent = stream.get(frame::PREFACE_BYTES..).unwrap_or_default();
    assert!(sent.starts_with(&again));
    assert!(whole.frames.is_empty() || whole.is_native);
}

/// What was cut out of a stream.
#[derive(Debug, Default, PartialEq)]
struct Cut {
    is_native: bool,
    frames: Vec<Bytes>,
    /// Whether it was given up at a frame that is too long.
    is_refused: bool,
}

fn cut(stream: &[u8], piece: usize) -> Cut {
    let mut cut = Cut::default();
    let Some((preface, frames)) = stream.split_first_chunk() else {
        return cut;
    };
    cut.is_native = frame::read_preface(*preface).is_ok();
    if !cut.is_native {
        return cut;
    }
    let mut codec = frame::codec(FRAME_BYTES);
    let mut arrived = BytesMut::new();
    for bytes in frames.chunks(piece) {
        arrived.extend_from_slice(bytes);
        loop {
            match codec.decode(&mut arrived) {
                Ok(Some(frame)) => {
                    assert!(frame.len() <= FRAME_BYTES);
                    cut.frames.push(frame.freeze());
                }
                Ok(None) => break,
                Err(_) => {
                    cut.is_refused = true;
                    return cut;
                }
            }
        }
    }
    cut
}

fn with_length(frame: &Bytes) -> Vec<u8> {
    let length = frame.len() as u32;
    [&length.to_be_bytes()[..], frame].concat()
}

/// A line whose words, so many as the first byte says at most, ask for a command of the table.
pub fn syntax(data: &[u8]) {
    let Some((words, line)) = data.split_first() else {
        return;
    };
    let words = usize::from(*words).max(1);
    let argv: Vec<&[u8]> = line.splitn(words, |byte| *byte == b' ').collect();
    match spec::find(&argv) {
        Ok(id) => {
            let name = argv[..id.words()].join(&b' ');
            assert!(name.eq_ignore_ascii_case(id.spec().name.as_bytes()));
            assert!(id.schema().accepts(argv.len()));
            if let Some(keys) = id.schema().keys {
                assert!(keys.positions(&argv).all(|at| at < argv.len()));
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("ERR ") && !text.contains(['\r', '\n']));
        }
    }
}

/// Frames at both sides of a peer handshake; none may end it.
pub fn handshakes(frames: &[Vec<u8>]) {
    let hello = PeerHello {
        node: NodeId([7; 20]),
        client: String::new(),
        alone: false,
    };
    let mut dialer = Dialer::new(b"secret", [1; 32], hello.clone());
    let mut acceptor = Acceptor::new(b"secret", [2; 32], hello);
    for frame in frames {
        assert!(!matches!(dialer.on_frame(frame), Ok(Step::Done { .. })));
        assert!(!matches!(acceptor.on_frame(frame), Ok(Step::Done { .. })));
    }
}
