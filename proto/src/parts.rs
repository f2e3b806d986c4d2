//! Lists that are too long to be made at once: their items are made block by block, as they are
//! written. What a client that does not read costs is then what they are made of, which is shared
//! with the store or packed.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{Malformed, Output, Reply, rpc};

/// Items of a block of [`Items`] and of what is unpacked.
const BLOCK_ITEMS: usize = 512;
/// Bytes of a block of a [`Packing`], about.
const BLOCK_BYTES: usize = 32 * 1024;

/// Appends a reply in a protocol.
pub type Encode = fn(&Reply, &mut Output);

/// Makes the items of a list.
pub trait Blocks: Send + Sync {
    /// The items of a block, few enough to be made in a moment; nothing behind the last block. The
    /// same every time.
    fn block(&self, index: usize) -> Option<Vec<Reply>>;

    /// About how many bytes of memory nobody else has.
    fn kept(&self) -> usize;
}

/// What the items are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An array.
    Array,
    /// A map: each key is followed by its value.
    Map,
}

/// A list of which the items are still to be made. Clones share what they are made of.
#[derive(Clone)]
pub struct Parts {
    shape: Shape,
    items: usize,
    of: Vec<Arc<dyn Blocks>>,
}

impl Parts {
    /// So many items of these blocks.
    #[must_use]
    pub fn new(shape: Shape, items: usize, of: Arc<dyn Blocks>) -> Self {
        let of = vec![of];
        Self { shape, items, of }
    }

    /// What the items are together.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of items; of a map keys and values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items
    }

    /// Whether there is no item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Appends the items of another list.
    pub fn append(&mut self, other: Self) {
        self.items += other.items;
        self.of.extend(other.of);
    }

    /// About how many bytes of memory nobody else has.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.of.iter().map(|blocks| blocks.kept()).sum()
    }

    /// All blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = Vec<Reply>> + '_ {
        let mut unmade = Unmade::new(self.clone());
        std::iter::from_fn(move || unmade.next_block())
    }

    /// All items, made.
    #[must_use]
    pub fn whole(&self) -> Vec<Reply> {
        self.blocks().flatten().collect()
    }

    /// The list, made.
    #[must_use]
    pub fn made(&self) -> Reply {
        let mut items = self.whole().into_iter();
        match self.shape {
            Shape::Array => Reply::Array(items.collect()),
            Shape::Map => {
                let pairs = std::iter::from_fn(|| items.next().zip(items.next()));
                Reply::Map(pairs.collect())
            }
        }
    }
}

impl From<Vec<Reply>> for Parts {
    fn from(items: Vec<Reply>) -> Self {
        Self::new(Shape::Array, items.len(), Arc::new(Items(items)))
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} items", self.shape, self.items)
    }
}

/// For tests: lists of equal items are equal.
impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        (self.shape, self.items) == (other.shape, other.items) && self.whole() == other.whole()
    }
}

/// What of a list is not made yet.
#[derive(Clone, Debug)]
pub(crate) struct Unmade {
    parts: Parts,
    /// The list of blocks, and the block of it, that come next.
    next: (usize, usize),
}

impl Unmade {
    pub(crate) const fn new(parts: Parts) -> Self {
        let next = (0, 0);
        Self { parts, next }
    }

    pub(crate) fn next_block(&mut self) -> Option<Vec<Reply>> {
        let (list, block) = &mut self.next;
        while let Some(blocks) = self.parts.of.get(*list) {
            if let Some(items) = blocks.block(*block) {
                *block += 1;
                return Some(items);
            }
            (*list, *block) = (*list + 1, 0);
        }
        None
    }

    /// Appends the next block; says whether there was one.
    pub(crate) fn encode_next(&mut self, encode: Encode, output: &mut Output) -> bool {
        let block = self.next_block();
        for item in block.iter().flatten() {
            encode(item, output);
        }
        block.is_some()
    }

    pub(crate) fn kept(&self) -> usize {
        self.parts.kept()
    }
}

/// Items that are made already.
struct Items(Vec<Reply>);

impl Blocks for Items {
    fn block(&self, index: usize) -> Option<Vec<Reply>> {
        self.0.chunks(BLOCK_ITEMS).nth(index).map(<[_]>::to_vec)
    }

    fn kept(&self) -> usize {
        self.0.iter().map(Reply::own_bytes).sum()
    }
}

/// Packs the byte strings of a long array, which takes less memory than an array of replies.
#[derive(Debug, Default)]
pub struct Packing {
    items: usize,
    bytes: usize,
    done: Vec<Bytes>,
    block: BytesMut,
}

impl Packing {
    /// Bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is no item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Appends an item.
    pub fn push(&mut self, item: &[u8]) {
        if self.block.len() + item.len() > BLOCK_BYTES && !self.block.is_empty() {
            let block = std::mem::take(&mut self.block);
            self.done.push(block.freeze());
        }
        if self.block.capacity() == 0 && !self.done.is_empty() {
            self.block.reserve(BLOCK_BYTES.max(item.len() + 5));
        }
        rpc::append_bulk(item, &mut self.block);
        self.items += 1;
        self.bytes += item.len();
    }

    /// The array.
    #[must_use]
    pub fn reply(mut self) -> Reply {
        if self.done.is_empty() {
            return Reply::Array(unpacked(&self.block));
        }
        self.done.push(self.block.freeze());
        let parts = Parts::new(Shape::Array, self.items, Arc::new(Packed(self.done)));
        Reply::Parts(parts)
    }
}

/// Blocks of items, each packed as in native frames.
struct Packed(Vec<Bytes>);

impl Blocks for Packed {
    fn block(&self, index: usize) -> Option<Vec<Reply>> {
        self.0.get(index).map(|block| unpacked(block))
    }

    fn kept(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

fn unpacked(mut block: &[u8]) -> Vec<Reply> {
    let mut items = Vec::new();
    while !block.is_empty()
        && let Ok(item) = rpc::take_reply(&mut block)
    {
        items.push(item);
    }
    items
}

/// Reads a reply as [`rpc::append_reply`] has written it. The items of a long list are looked
/// through, and kept packed until they are written.
///
/// # Errors
/// There is none, or more than one.
pub fn unpack(bytes: &Bytes) -> Result<Reply, Malformed> {
    let mut rest = &bytes[..];
    let reply = match rpc::long_list(bytes, 2 * BLOCK_ITEMS) {
        Some((shape, items, header)) => {
            rest = &bytes[header..];
            let mut blocks = Vec::with_capacity(items.div_ceil(BLOCK_ITEMS));
            for block in 0..items.div_ceil(BLOCK_ITEMS) {
                let start = bytes.len() - rest.len();
                for _ in 0..BLOCK_ITEMS.min(items - block * BLOCK_ITEMS) {
                    rpc::take_reply(&mut rest)?;
                }
                blocks.push(bytes.slice(start..bytes.len() - rest.len()));
            }
            Reply::Parts(Parts::new(shape, items, Arc::new(Packed(blocks))))
        }
        None => rpc::take_reply(&mut rest)?,
    };
    if rest.is_empty() {
        Ok(reply)
    } else {
        Err(Malformed("bytes behind the reply"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Sink;
    use crate::resp::{Version, encode};

    fn item(n: usize) -> Vec<u8> {
        format!("item:{n}").into_bytes()
    }

    fn packed(items: usize) -> Reply {
        let mut packing = Packing::default();
        (0..items).for_each(|n| packing.push(&item(n)));
        packing.reply()
    }

    fn array(items: usize) -> Reply {
        Reply::Array((0..items).map(|n| Reply::bulk(item(n))).collect())
    }

    fn written(reply: &Reply) -> Vec<u8> {
        let mut output = Output::default();
        output.put(b"before");
        encode(reply, Version::V3, &mut output);
        output.put(b"behind");
        let mut all = Vec::new();
        while !output.is_empty() {
            output.make();
            let mut slices = [std::io::IoSlice::new(&[]); 3];
            let count = output.slices(&mut slices);
            let sent: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            slices[..count]
                .iter()
                .for_each(|slice| all.extend_from_slice(slice));
            output.advance(sent);
        }
        all
    }

    #[test]
    fn a_long_list_is_written_as_a_made_one_is() {
        for items in [0, 1, 5000, 20_000] {
            assert_eq!(matches!(packed(items), Reply::Parts(_)), items > 1);
            let mut parts = packed(items);
            assert!(written(&parts) == written(&array(items)), "{items}");
            if let (Reply::Parts(parts), Reply::Parts(more)) = (&mut parts, packed(items)) {
                parts.append(more);
                assert_eq!((parts.len(), parts.whole().len()), (2 * items, 2 * items));
            }
        }
    }

    #[test]
    fn what_comes_from_another_node_is_unpacked_when_it_is_written() {
        let map = (0..2000).map(|n| (Reply::bulk(item(n)), Reply::Int(1)));
        let map = Reply::Map(map.collect());
        for (reply, is_long) in [(packed(5000), true), (map, true), (array(9), false)] {
            let mut bytes = BytesMut::new();
            rpc::append_reply(&reply, &mut bytes);
            let bytes = bytes.freeze();
            let unpacked = unpack(&bytes).unwrap();
            assert_eq!(matches!(unpacked, Reply::Parts(_)), is_long);
            assert!(written(&unpacked) == written(&reply));
            assert!(unpack(&bytes.slice(..bytes.len() - 1)).is_err());
            assert!(unpack(&[&bytes[..], &[0]].concat().into()).is_err());
        }
    }

    #[test]
    fn no_more_is_made_than_can_be_sent_at_once() {
        let mut output = Output::default();
        let Reply::Parts(parts) = packed(200_000) else {
            panic!("it is not long");
        };
        let kept = parts.kept();
        encode(&Reply::Parts(parts), Version::V2, &mut output);
        assert!(output.is_unmade());
        output.advance(output.len());
        output.make();
        assert!(
            (1..4 * BLOCK_BYTES).contains(&output.len()),
            "{}",
            output.len()
        );
        assert!(output.owned() < kept + 4 * BLOCK_BYTES);
    }
}
