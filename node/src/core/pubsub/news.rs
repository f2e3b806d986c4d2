//! What nodes tell each other about messages. Frames of news hold nothing else, so that they need
//! not wait for the thread of replication.

use bytes::{Bytes, BytesMut};
use dht_proto::frame::Malformed;

use super::Said;
use crate::core::kinds::{NOTIFY, SAID};
use crate::core::notify::{Flags, Setting};
use crate::core::pack::{self, Reader};

/// Something that all nodes of the cluster are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something was said on a channel.
    Said(Said),
    /// Which events of keys are told.
    Notify(Setting),
}

impl News {
    /// Appends it to a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Said(said) => {
                pack::uint(out, SAID);
                pack::uint(out, said.sharded.into());
                pack::bin(out, &said.channel);
                pack::bin(out, &said.text);
            }
            Self::Notify(setting) => {
                pack::uint(out, NOTIFY);
                pack::uint(out, setting.version);
                pack::uint(out, setting.flags.bits().into());
            }
        }
    }

    /// About how long it is in a frame, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const AROUND: usize = 16;
        match self {
            Self::Said(said) => AROUND + said.channel.len() + said.text.len(),
            Self::Notify(_) => AROUND,
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match from.uint()? {
            SAID => Ok(Self::Said(Said {
                sharded: from.uint()? != 0,
                channel: Bytes::copy_from_slice(from.bin()?),
                text: Bytes::copy_from_slice(from.bin()?),
            })),
            NOTIFY => Ok(Self::Notify(Setting {
                version: from.uint()?,
                flags: Flags::from_bits(u32::try_from(from.uint()?).unwrap_or_default()),
            })),
            _ => Err(Malformed("no news")),
        }
    }
}

/// Whether a frame holds news.
#[must_use]
pub fn is_news(frame: &[u8]) -> bool {
    let kind = Reader::new(frame).uint();
    kind.is_ok_and(|kind| matches!(kind, SAID | NOTIFY))
}

/// Takes the news off a frame, as far as they make sense.
pub fn read_all(frame: &[u8], take: &mut dyn FnMut(News)) {
    let mut from = Reader::new(frame);
    while !from.is_empty() {
        match News::take(&mut from) {
            Ok(news) => take(news),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_come_out_as_they_went_in() {
        let said = |sharded, text: &'static [u8]| {
            News::Said(Said {
                sharded,
                channel: Bytes::from_static(b"channel"),
                text: Bytes::from_static(text),
            })
        };
        let notify = News::Notify(Setting {
            version: u64::from(u32::MAX),
            flags: Flags::from_bits(7),
        });
        let all = [
            said(false, b"x"),
            said(true, &[0xc1; 300]),
            notify,
            said(false, b""),
        ];
        let mut frame = BytesMut::new();
        all.iter().for_each(|news| news.encode(&mut frame));
        assert!(is_news(&frame));
        assert!(frame.len() <= all.iter().map(News::bytes).sum());
        let mut read = Vec::new();
        read_all(&frame, &mut |news| read.push(news));
        assert_eq!(read, all);
        // What is cut off is not there; what is before it is.
        read.clear();
        read_all(&frame[..frame.len() - 1], &mut |news| read.push(news));
        assert_eq!(read, all[..3]);
        for frame in [&b""[..], b"\x00", b"\xc1", b"\x0b\x0c"] {
            assert!(!is_news(frame));
            read_all(frame, &mut |news| panic!("{news:?}"));
        }
    }
}
