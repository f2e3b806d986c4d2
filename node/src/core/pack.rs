//! MessagePack as nodes write it for each other: numbers, bytes and arrays. Knows none of the
//! messages.

use bytes::{BufMut, BytesMut};
use dht_proto::frame::Malformed;
use dht_proto::msgpack::{Item, item};
use dht_proto::{Reply, rpc};
use rmp::encode::{self, ValueWriteError};

/// Appends an unsigned number.
pub fn uint(out: &mut BytesMut, number: u64) {
    written(encode::write_uint(&mut out.writer(), number).map(drop));
}

/// Appends bytes.
pub fn bin(out: &mut BytesMut, bytes: &[u8]) {
    written(encode::write_bin(&mut out.writer(), bytes));
}

/// Appends the head of an array.
pub fn array(out: &mut BytesMut, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    written(encode::write_array_len(&mut out.writer(), count).map(drop));
}

fn written(result: Result<(), ValueWriteError>) {
    if let Err(error) = result {
        unreachable!("writing to memory failed: {error}");
    }
}

/// Reads what the functions of this module have written.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.0.len()
    }

    /// An unsigned number.
    ///
    /// # Errors
    /// Something else, or nothing, is there.
    pub fn uint(&mut self) -> Result<u64, Malformed> {
        match item(&mut self.0)? {
            Item::Int(number) => u64::try_from(number).ok(),
            _ => None,
        }
        .ok_or(Malformed("an unsigned number was expected"))
    }

    /// Bytes.
    ///
    /// # Errors
    /// Something else, or nothing, is there.
    pub fn bin(&mut self) -> Result<&'a [u8], Malformed> {
        match item(&mut self.0)? {
            Item::Bin(bytes) => Ok(bytes),
            _ => Err(Malformed("bytes were expected")),
        }
    }

    /// A reply of a command.
    ///
    /// # Errors
    /// Something else, or nothing, is there.
    pub fn reply(&mut self) -> Result<Reply, Malformed> {
        rpc::take_reply(&mut self.0)
    }

    /// What `read` takes, as bytes.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn span<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<&'a [u8], Malformed> {
        let before = self.0;
        read(self)?;
        Ok(&before[..before.len() - self.0.len()])
    }

    /// The head of an array of at most `most` items.
    ///
    /// # Errors
    /// Something else, nothing, or a longer array is there.
    pub fn array(&mut self, most: usize) -> Result<usize, Malformed> {
        match item(&mut self.0)? {
            Item::Array(count) if count <= most => Ok(count),
            _ => Err(Malformed("an array was expected, and no longer one")),
        }
    }

    /// The head of an array of exactly `count` items.
    ///
    /// # Errors
    /// Something else is there.
    pub fn array_of(&mut self, count: usize) -> Result<(), Malformed> {
        if self.array(count)? == count {
            Ok(())
        } else {
            Err(Malformed("a longer array was expected"))
        }
    }
}
