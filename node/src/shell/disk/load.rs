//! Reading a data directory when a node starts: the log, then the snapshots that it names, as many
//! at a time as there are processors.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use dht_proto::limits;
use tracing::info;

use super::log::{self, Segments};
use super::{DataDir, file_name, numbered, snapshots, sync_folder, with_path};
use crate::core::disk::image::{self, HEAD_BYTES, PIECE_HEAD_BYTES};
use crate::core::disk::journal::{Journal, SEGMENT_BYTES};
use crate::core::disk::recovery::{Recovery, Verdict};
use crate::core::disk::segment::Salt;
use crate::core::disk::{Group, Recovered};
use crate::core::formation::Belonging;
use crate::core::node::Node;
use crate::core::replication::machine::Machine;
use crate::core::replication::worker::Restart;
use crate::core::store::{SlotSet, Staging};

/// The log may hold so many bytes of entries, or as many as there is data, before a snapshot is
/// written.
pub(super) const LOG_BYTES: usize = 64 * 1024 * 1024;
/// How often the progress is logged.
const PROGRESS: Duration = Duration::from_secs(1);
/// Longest piece of a snapshot that is believed in.
const PIECE_BYTES: usize = 1024 * 1024 * 1024;

/// What was found.
pub struct Loaded {
    /// For the worker.
    pub restart: Restart,
    /// For the thread that writes the log.
    pub journal: Journal,
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum Fault {
    /// Something in it is not as it was written.
    Damaged(String),
    /// The system refuses something.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads everything; the data goes to the node's store.
///
/// # Errors
/// It is damaged, or cannot be read.
pub fn load(dir: &DataDir, node: &Node) -> Result<Loaded, Fault> {
    let (recovered, journal) = read_log(dir)?;
    if dir.identity().cluster.is_some() && recovered.cluster.is_none() {
        let why = "the log is missing, although this node belongs to a cluster";
        return Err(Fault::Damaged(why.to_owned()));
    }
    if let Some(cluster) = &recovered.cluster {
        let belonging = Belonging::decode(cluster);
        let belonging = belonging.map_err(|error| Fault::Damaged(error.to_string()))?;
        let (made, told) = (belonging.present.shards.len(), node.words.len());
        if made != told {
            // A key's shard follows from how many there are.
            let path = dir.path().display();
            return Err(Fault::Io(io::Error::other(format!(
                "{path}: its cluster was made with --shards {made}, which --shards {told} cannot \
                 change"
            ))));
        }
    }
    let machines = read_snapshots(dir, node, &recovered)?;
    let restart = Restart {
        recovered,
        machines,
        log_bytes: LOG_BYTES,
        piece_bytes: limits::PIECE_BYTES,
    };
    Ok(Loaded { restart, journal })
}

fn read_log(dir: &DataDir) -> Result<(Recovered, Journal), Fault> {
    let folder = dir.log();
    let mut recovery = Recovery::new(dir.identity().salt, SEGMENT_BYTES);
    let segments = numbered(&folder, log::EXTENSION)?;
    for (index, segment) in segments.iter().enumerate() {
        let path = folder.join(file_name(*segment, log::EXTENSION));
        let bytes = fs::read(&path).map_err(|error| with_path(&path, &error))?;
        let (number, of) = (index + 1, segments.len());
        info!(number, of, bytes = bytes.len(), "reading the log");
        recovery.segment(*segment, &bytes);
    }
    let found = recovery.finish();
    match found.verdict {
        Verdict::Clean => (),
        Verdict::TornTail(place) => {
            info!(%place, "the end of the log was being written when the node ended: cut off");
        }
        Verdict::Damage(place, why) => return Err(Fault::Damaged(format!("{place}: {why}"))),
    }
    if !segments.is_empty() {
        Segments::new(dir).execute_all(&found.mending)?;
    }
    Ok((found.recovered, found.journal))
}

/// A file of a snapshot that is to be read.
struct Wanted {
    group: Group,
    number: u64,
    path: PathBuf,
    bytes: u64,
}

fn read_snapshots(
    dir: &DataDir,
    node: &Node,
    recovered: &Recovered,
) -> Result<BTreeMap<Group, Machine>, Fault> {
    let folder = dir.snapshots();
    let mut wanted = Vec::new();
    for (group, kept) in &recovered.groups {
        let Some(number) = kept.base.snapshot else {
            continue;
        };
        let path = folder.join(file_name(number, snapshots::EXTENSION));
        let bytes = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let path = path.display();
                return Err(Fault::Damaged(format!("{path}: it is missing")));
            }
            Err(error) => return Err(with_path(&path, &error).into()),
        };
        let group = *group;
        wanted.push(Wanted {
            group,
            number,
            path,
            bytes,
        });
    }
    remove_others(&folder, &wanted)?;
    let all: u64 = wanted.iter().map(|file| file.bytes).sum();
    if all > 0 {
        info!(files = wanted.len(), bytes = all, "reading snapshots");
    }
    // The longest first, so that none is left over for one processor alone.
    wanted.sort_by_key(|file| file.bytes);
    let reading = Reading {
        node,
        salt: dir.identity().salt,
        wanted: Mutex::new(wanted),
        machines: Mutex::default(),
        read: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    reading.run(all)
}

/// Removes files that nothing names.
fn remove_others(folder: &Path, wanted: &[Wanted]) -> io::Result<()> {
    let unfinished = numbered(folder, snapshots::UNFINISHED)?;
    let unfinished = unfinished.into_iter().map(|it| (it, snapshots::UNFINISHED));
    let complete = numbered(folder, snapshots::EXTENSION)?;
    let others = complete.into_iter();
    let others = others.filter(|it| !wanted.iter().any(|file| file.number == *it));
    let others = others.map(|it| (it, snapshots::EXTENSION));
    for (number, extension) in unfinished.chain(others) {
        fs::remove_file(folder.join(file_name(number, extension)))?;
    }
    sync_folder(folder)
}

/// Files that are read by several threads.
struct Reading<'a> {
    node: &'a Node,
    salt: Salt,
    wanted: Mutex<Vec<Wanted>>,
    machines: Mutex<BTreeMap<Group, Machine>>,
    /// Bytes that are read.
    read: AtomicU64,
    is_over: AtomicBool,
}

impl Reading<'_> {
    fn run(self, all: u64) -> Result<BTreeMap<Group, Machine>, Fault> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            let progress = scope.spawn(|| self.tell(all));
            let readers: Vec<_> = (0..cores)
                .map(|_| scope.spawn(|| self.read_all()))
                .collect();
            let ends = readers.into_iter().map(|reader| match reader.join() {
                Ok(end) => end,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            let end = ends.collect::<Result<Vec<()>, Fault>>();
            self.is_over.store(true, Relaxed);
            progress.thread().unpark();
            end
        })?;
        let machines = self.machines.into_inner();
        Ok(machines.unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, all: u64) {
        loop {
            thread::park_timeout(PROGRESS);
            if self.is_over.load(Relaxed) {
                return;
            }
            let percent = self.read.load(Relaxed) * 100 / all.max(1);
            info!(percent, "reading snapshots");
        }
    }

    fn read_all(&self) -> Result<(), Fault> {
        while let Some(file) = lock(&self.wanted).pop() {
            let machine = self.read_one(&file)?;
            lock(&self.machines).insert(file.group, machine);
            self.read.fetch_add(file.bytes, Relaxed);
        }
        Ok(())
    }

    fn read_one(&self, file: &Wanted) -> Result<Machine, Fault> {
        let damaged = |why: &str| Fault::Damaged(format!("{}: {why}", file.path.display()));
        let slots = self.node.slots_of(file.group - 1);
        let mut pieces = Pieces::open(self.salt, file)?;
        let first = pieces.next()?;
        let machine = first.and_then(|head| {
            let slots = SlotSet::new(vec![slots.clone()]);
            Machine::decode(head, slots).ok()
        });
        let machine = machine.ok_or_else(|| damaged("it does not say what it is of"))?;
        let mut staging = Staging::new(slots);
        while let Some(piece) = pieces.next()? {
            staging.load(piece).map_err(|why| damaged(why.0))?;
        }
        let installed = self.node.store.install(staging);
        installed.map_err(|why| damaged(why.0))?;
        Ok(machine)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whoever has panicked has left whole entries.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pieces of a file, one after the other.
struct Pieces<'a> {
    salt: Salt,
    file: &'a Wanted,
    from: BufReader<File>,
    number: u32,
    is_over: bool,
    piece: Vec<u8>,
}

impl<'a> Pieces<'a> {
    fn open(salt: Salt, file: &'a Wanted) -> Result<Self, Fault> {
        let from = File::open(&file.path).map_err(|error| with_path(&file.path, &error))?;
        let mut pieces = Self {
            salt,
            file,
            from: BufReader::new(from),
            number: 0,
            is_over: false,
            piece: Vec::new(),
        };
        let mut head = [0; HEAD_BYTES];
        pieces.fill(&mut head)?;
        match image::has_head(salt, file.number, &head) {
            true => Ok(pieces),
            false => Err(pieces.damaged("no snapshot of this node begins so")),
        }
    }

    fn next(&mut self) -> Result<Option<&[u8]>, Fault> {
        if self.is_over {
            return Ok(None);
        }
        let mut head = [0; PIECE_HEAD_BYTES];
        self.fill(&mut head)?;
        let piece = image::read_piece_head(&head, self.number);
        let piece = piece.filter(|piece| piece.length <= PIECE_BYTES);
        let piece = piece.ok_or_else(|| self.damaged("a piece is not as it was written"))?;
        let mut bytes = std::mem::take(&mut self.piece);
        bytes.resize(piece.length, 0);
        self.fill(&mut bytes)?;
        if !image::is_whole((self.salt, self.file.number), &head, piece, &bytes) {
            return Err(self.damaged("a piece is not as it was written"));
        }
        self.piece = bytes;
        self.number += 1;
        self.is_over = piece.is_last;
        Ok(Some(&self.piece))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.from
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => self.damaged("its end is missing"),
                _ => Fault::Io(with_path(&self.file.path, &error)),
            })
    }

    fn damaged(&self, why: &str) -> Fault {
        Fault::Damaged(format!("{}: {why}", self.file.path.display()))
    }
}
