//! The file of a backup: blocks with checksums, the last of which says that it is whole.
//!
//! ```text
//! head    "dht-back", version (4 bytes), number (8), CRC32C of these (4)
//! block   length of its bytes (4), CRC32C (4), kind (1), its bytes
//! ```
//!
//! Numbers have their lowest byte first. The checksum of a block starts from the number of the
//! file, which is random, and that of the block in it: a block of another file, or in another
//! place, is none of this one.
//!
//! ```text
//! 1 shard   first and last slot (2 each)
//! 2 piece   items of the shard's image, as proto/src/image.rs has them; never half an item
//! 3 end     how many shards (4) and keys (8) there were
//! ```

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::path::Path;

const MAGIC: &[u8; 8] = b"dht-back";
/// The version of the format; another one is refused.
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 24;
const BLOCK_HEAD_BYTES: usize = 9;
/// Longest block: a piece has about half a mebibyte, and whatever is longer is damage.
const BLOCK_BYTES: usize = 64 * 1024 * 1024;
/// What is read or written at once.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What a backup is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The pieces of these slots follow.
    Shard(RangeInclusive<u16>),
    /// A part of the last shard.
    Piece(Vec<u8>),
    /// It is whole: so many shards and keys.
    End(u32, u64),
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub enum Damage {
    /// It is no backup, or one that this program does not know.
    Foreign(String),
    /// It ends before its end.
    Torn(u64),
    /// The block at this byte is not as it was written, or makes no sense.
    Bad(u64, &'static str),
    /// It cannot be read.
    System(io::Error),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign(why) => f.write_str(why),
            Self::Torn(at) => write!(
                f,
                "it ends at byte {at}, before its end: it was not finished, or a part is lost"
            ),
            Self::Bad(at, why) => write!(f, "it is damaged at byte {at}: {why}"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

/// A backup that is being written.
pub struct Writer {
    out: BufWriter<File>,
    number: u64,
    mark: Mark,
}

/// A place in a file, and the number of the block that comes there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    at: u64,
    block: u64,
}

impl Writer {
    /// A backup without shards, in a file that did not exist: what is there may be one that is
    /// being written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create_new(path)?);
        let number = RandomState::new().hash_one(path);
        out.write_all(&head(VERSION, number))?;
        Ok(Self {
            out,
            number,
            mark: Mark {
                at: HEAD_BYTES as u64,
                block: 0,
            },
        })
    }

    /// Where the next block comes.
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Takes back what was written since then.
    pub fn rewind(&mut self, mark: Mark) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().set_len(mark.at)?;
        self.out.seek(SeekFrom::Start(mark.at))?;
        self.mark = mark;
        Ok(())
    }

    /// Adds a block.
    pub fn write(&mut self, block: &Block) -> io::Result<()> {
        match block {
            Block::Shard(slots) => {
                let mut bytes = [0; 4];
                bytes[..2].copy_from_slice(&slots.start().to_le_bytes());
                bytes[2..].copy_from_slice(&slots.end().to_le_bytes());
                self.block(1, &bytes)
            }
            Block::Piece(bytes) => self.block(2, bytes),
            Block::End(shards, keys) => {
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&shards.to_le_bytes());
                bytes[4..].copy_from_slice(&keys.to_le_bytes());
                self.block(3, &bytes)
            }
        }
    }

    fn block(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let head = block_head((self.number, self.mark.block), kind, bytes);
        self.out.write_all(&head)?;
        self.out.write_all(bytes)?;
        self.mark.at += (head.len() + bytes.len()) as u64;
        self.mark.block += 1;
        Ok(())
    }

    /// Has all of it on the disk; gives its length.
    pub fn finish(mut self) -> io::Result<u64> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(self.mark.at)
    }
}

fn head(version: u32, number: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&version.to_le_bytes());
    head[12..20].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&head[..20]);
    head[20..].copy_from_slice(&checksum.to_le_bytes());
    head
}

fn block_head((file, block): (u64, u64), kind: u8, bytes: &[u8]) -> [u8; BLOCK_HEAD_BYTES] {
    let mut head = [0; BLOCK_HEAD_BYTES];
    // No block is longer than that.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[8] = kind;
    let mut checksum = crc32c::crc32c(&file.to_le_bytes());
    for part in [&block.to_le_bytes()[..], &head[..4], &head[8..], bytes] {
        checksum = crc32c::crc32c_append(checksum, part);
    }
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// A backup that is being read.
pub struct Reader {
    from: BufReader<File>,
    number: u64,
    mark: Mark,
    length: u64,
}

impl Reader {
    /// Opens a backup.
    pub fn open(path: &Path) -> Result<Self, Damage> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut from = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut found = Vec::with_capacity(HEAD_BYTES);
        from.by_ref()
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut found)?;
        if !found.starts_with(MAGIC) {
            return Err(Damage::Foreign("it is no backup of dht".to_owned()));
        }
        if found.len() < HEAD_BYTES {
            return Err(Damage::Torn(length));
        }
        let version = u32::from_le_bytes(array(&found[8..12]));
        let number = u64::from_le_bytes(array(&found[12..20]));
        if found != head(version, number) {
            return Err(Damage::Bad(0, NOT_AS_WRITTEN));
        }
        if version != VERSION {
            let why = format!("it has format {version}, and this program knows format {VERSION}");
            return Err(Damage::Foreign(why));
        }
        let at = HEAD_BYTES as u64;
        let mark = Mark { at, block: 0 };
        Ok(Self {
            from,
            number,
            mark,
            length,
        })
    }

    /// Bytes of the file.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Where the next block begins.
    pub const fn at(&self) -> u64 {
        self.mark.at
    }

    /// The next block.
    pub fn read(&mut self) -> Result<Block, Damage> {
        let at = self.mark.at;
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.fill(&mut head)?;
        let length = u32::from_le_bytes(array(&head[..4])) as usize;
        if length > BLOCK_BYTES {
            return Err(Damage::Bad(at, NOT_AS_WRITTEN));
        }
        // A length that is damaged is not believed.
        if at + (BLOCK_HEAD_BYTES + length) as u64 > self.length {
            return Err(Damage::Torn(self.length));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        if head != block_head((self.number, self.mark.block), head[8], &bytes) {
            return Err(Damage::Bad(at, NOT_AS_WRITTEN));
        }
        self.mark.at += (BLOCK_HEAD_BYTES + length) as u64;
        self.mark.block += 1;
        match (head[8], length) {
            (1, 4) => {
                let slot = |at: usize| u16::from_le_bytes(array(&bytes[at..at + 2]));
                Ok(Block::Shard(slot(0)..=slot(2)))
            }
            (2, _) => Ok(Block::Piece(bytes)),
            (3, 12) => {
                let shards = u32::from_le_bytes(array(&bytes[..4]));
                Ok(Block::End(shards, u64::from_le_bytes(array(&bytes[4..]))))
            }
            _ => Err(Damage::Bad(at, "a block of an unknown kind")),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Damage> {
        match self.from.read_exact(bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(Damage::Torn(self.length))
            }
            read => Ok(read?),
        }
    }
}

const NOT_AS_WRITTEN: &str = "it is not as it was written there";

/// Bytes whose number is known.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks() -> Vec<Block> {
        vec![
            Block::Shard(0..=8191),
            Block::Piece(b"some items".to_vec()),
            Block::Piece(vec![7; 60]),
            Block::Shard(8192..=16383),
            Block::Piece(Vec::new()),
            Block::End(2, u64::MAX),
        ]
    }

    fn written(path: &Path) -> Vec<u8> {
        let mut writer = Writer::create(path).unwrap();
        for block in blocks() {
            writer.write(&block).unwrap();
        }
        let length = writer.finish().unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    fn read(path: &Path) -> Result<Vec<Block>, Damage> {
        let mut reader = Reader::open(path)?;
        let mut blocks = Vec::new();
        while !matches!(blocks.last(), Some(Block::End(..))) {
            blocks.push(reader.read()?);
        }
        assert_eq!(reader.at(), reader.length());
        Ok(blocks)
    }

    #[test]
    fn blocks_come_back_and_what_is_taken_back_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        written(&path);
        assert_eq!(read(&path).unwrap(), blocks());
        let again = Writer::create(&path).map(drop);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let path = folder.path().join("other");
        let mut writer = Writer::create(&path).unwrap();
        writer.write(&blocks()[0]).unwrap();
        let mark = writer.mark();
        writer.write(&Block::Piece(vec![1; 5000])).unwrap();
        writer.rewind(mark).unwrap();
        for block in &blocks()[1..] {
            writer.write(block).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(read(&path).unwrap(), blocks());
    }

    #[test]
    fn no_changed_bit_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let whole = written(&path);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&path).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_file_that_was_cut_is_torn_wherever_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let whole = written(&path);
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            match read(&path) {
                Err(Damage::Torn(at)) => assert_eq!(at, length as u64),
                Err(Damage::Foreign(_)) if length < MAGIC.len() => {}
                other => panic!("{length}: {other:?}"),
            }
        }
    }

    #[test]
    fn other_files_are_told_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let check = |bytes: &[u8], expect: &str| {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap_err().to_string(), expect);
        };
        check(b"REDIS0011 and more than a head", "it is no backup of dht");
        let newer = "it has format 2, and this program knows format 1";
        check(&head(2, 5), newer);
        // A block of another backup, in the same place.
        let one = written(&folder.path().join("one"));
        let other = written(&folder.path().join("other"));
        let mixed = [&one[..HEAD_BYTES], &other[HEAD_BYTES..]].concat();
        check(
            &mixed,
            "it is damaged at byte 24: it is not as it was written there",
        );
    }
}
