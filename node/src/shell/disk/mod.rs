//! The data directory of a node: its files, and the threads that write them. What is in the files
//! is decided elsewhere.
//!
//! ```text
//! identity                  whose it is
//! lock                      held by the process that uses it
//! log/NUMBER.seg            the log of all groups, by the number of a segment's first batch
//! snapshots/NUMBER.snap     the state of a shard; NUMBER.new while it is being written
//! reserve                   room for what has to be kept at any price
//! damaged                   why it cannot be used as it is; what is there is set aside then
//! set-aside-NUMBER/         what was
//! ```

pub mod load;
pub mod log;
mod room;
pub mod snapshots;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use dht_proto::topology::NodeId;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::random;
use crate::core::disk::identity::Identity;
use crate::core::disk::segment::Salt;

/// How often, and after which pauses, the lock is tried: a process that was killed a moment ago may
/// not be gone yet.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

const IDENTITY: &str = "identity";
const LOCK: &str = "lock";
const DAMAGED: &str = "damaged";
const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";

/// A data directory that this process alone uses, as long as a clone of this lives.
#[derive(Clone, Debug)]
pub struct DataDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    identity: Identity,
    _lock: File,
    /// Told after that.
    released: CancellationToken,
    _releases: DropGuard,
}

impl DataDir {
    /// Takes a directory into use, and makes it if there is none. What was found damaged before is
    /// set aside: the node is a new one then.
    ///
    /// # Errors
    /// It cannot be used: why, in one line.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| with_path(path, &error);
        fs::create_dir_all(path).map_err(named)?;
        let lock = lock(path)?;
        if path.join(DAMAGED).exists() {
            set_aside(path).map_err(named)?;
        }
        let identity = match fs::read_to_string(path.join(IDENTITY)) {
            Ok(text) => Identity::parse(&text).map_err(|why| {
                io::Error::other(format!("{}: {why}", path.join(IDENTITY).display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => begin(path)?,
            Err(error) => return Err(with_path(&path.join(IDENTITY), &error)),
        };
        for folder in [LOG, SNAPSHOTS] {
            fs::create_dir_all(path.join(folder)).map_err(named)?;
        }
        sync_folder(path).map_err(named)?;
        let released = CancellationToken::new();
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            identity,
            _lock: lock,
            _releases: released.clone().drop_guard(),
            released,
        })))
    }

    /// Set when the directory is not used any more.
    #[must_use]
    pub fn released(&self) -> CancellationToken {
        self.0.released.clone()
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Says durably whose it is from now on.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write_identity(&self, identity: &Identity) -> io::Result<()> {
        write_identity(&self.0.path, identity)
    }

    /// Says durably that what is there cannot be used as it is.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn mark_damaged(&self, why: &str) -> io::Result<()> {
        replace(&self.0.path, DAMAGED, &format!("{why}\n"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    fn log(&self) -> PathBuf {
        self.0.path.join(LOG)
    }

    fn snapshots(&self) -> PathBuf {
        self.0.path.join(SNAPSHOTS)
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let path = path.join(LOCK);
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| with_path(&path, &error))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(with_path(&path, &error)),
        }
    }
    let path = path.display();
    Err(io::Error::other(format!(
        "{path}: another process uses this data directory"
    )))
}

/// Makes a directory that of a new node. One that has a log has lost its identity.
fn begin(path: &Path) -> io::Result<Identity> {
    let log = fs::read_dir(path.join(LOG));
    if log.is_ok_and(|mut entries| entries.next().is_some()) {
        let path = path.join(IDENTITY);
        return Err(io::Error::other(format!(
            "{}: it is missing, although there is a log",
            path.display()
        )));
    }
    let identity = Identity {
        node: NodeId(random()?),
        salt: Salt(u64::from_ne_bytes(random()?)),
        cluster: None,
    };
    write_identity(path, &identity)?;
    Ok(identity)
}

fn write_identity(path: &Path, identity: &Identity) -> io::Result<()> {
    replace(path, IDENTITY, &identity.to_text())
}

/// Moves everything that a node has kept out of the way. It may have been begun before.
fn set_aside(path: &Path) -> io::Result<()> {
    let names = (1..).map(|number: u32| path.join(format!("set-aside-{number}")));
    let Some(aside) = { names }.find(|name| !name.exists()) else {
        unreachable!("there is always a next number");
    };
    fs::create_dir(&aside)?;
    for name in [LOG, SNAPSHOTS, IDENTITY] {
        if path.join(name).exists() {
            fs::rename(path.join(name), aside.join(name))?;
        }
    }
    sync_folder(&aside)?;
    sync_folder(path)?;
    begin(path)?;
    let why = fs::read_to_string(path.join(DAMAGED)).unwrap_or_default();
    fs::rename(path.join(DAMAGED), aside.join(DAMAGED))?;
    sync_folder(path)?;
    let (was, to) = (why.trim_end(), aside.display());
    warn!(%to, was, "what was damaged is set aside: this node begins anew with the others' data");
    Ok(())
}

/// Puts a small file in the place of another, durably and as a whole.
fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let (new, path) = (folder.join(format!("{name}.new")), folder.join(name));
    let written = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(folder)
    };
    written().map_err(|error| with_path(&path, &error))
}

/// Waits until it is durable which files there are in a folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The numbers of the files in a folder whose names are a number and this extension.
fn numbered(folder: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = PathBuf::from(entry?.file_name());
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|it| it == extension)
            && let Some(stem) = stem.filter(|stem| stem.len() == 16)
        {
            numbers.extend(u64::from_str_radix(stem, 16));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn file_name(number: u64, extension: &str) -> String {
    format!("{number:016x}.{extension}")
}

#[cfg(test)]
mod tests {
    use dht_proto::limits::{COPIED_BYTES, SNAPSHOT_HELD_BYTES};

    use super::*;
    use crate::core::disk::journal::SEGMENT_BYTES;

    #[test]
    fn what_operators_are_told_of_files_and_sizes_is_so() {
        let text = include_str!("../../../../docs/operating.md");
        let check = |before: &str, bytes: u64, after: &str| {
            let said = format!("{before}{} MiB{after}", bytes >> 20);
            assert!(text.contains(&said), "{said}");
        };
        check("after its first batch | ", SEGMENT_BYTES, " each |");
        check("on a full disk | ", room::RESERVE_BYTES, " at most |");
        check("the entries in it exceed ", load::LOG_BYTES as u64, ",");
        check("in the background, at ", COPIED_BYTES as u64, " a second");
        check("as full when fewer than ", room::LOW_BYTES, " are free");
        let held_bytes = SNAPSHOT_HELD_BYTES as u64;
        check("are being copied from it ", held_bytes, " at most");
        for name in [IDENTITY, LOCK, DAMAGED, LOG, SNAPSHOTS] {
            assert!(text.contains(&format!("| `{name}")), "{name}");
        }
    }

    #[test]
    fn a_directory_is_of_one_process_and_keeps_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some/where");
        let dir = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("another process uses this data directory"),
            "{error}"
        );
        let identity = dir.identity();
        drop(dir);
        assert_eq!(DataDir::open(&path).unwrap().identity(), identity);
    }

    #[test]
    fn what_was_damaged_is_set_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let before = {
            let dir = DataDir::open(folder.path()).unwrap();
            fs::write(dir.log().join("0000000000000001.seg"), "x").unwrap();
            dir.mark_damaged("for a test").unwrap();
            dir.identity()
        };
        let after = DataDir::open(folder.path()).unwrap().identity();
        assert_ne!(after.node, before.node);
        assert_ne!(after.salt, before.salt);
        let aside = folder.path().join("set-aside-1");
        assert!(aside.join("log/0000000000000001.seg").exists());
        let old = fs::read_to_string(aside.join("identity")).unwrap();
        assert_eq!(Identity::parse(&old), Ok(before));
        assert_eq!(DataDir::open(folder.path()).unwrap().identity(), after);
    }

    #[test]
    fn a_directory_that_cannot_be_what_it_seems_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataDir::open(folder.path()).unwrap());
        let identity = folder.path().join("identity");
        let text = fs::read_to_string(&identity).unwrap();
        fs::write(&identity, text.replace("format 1", "format 9")).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("newer than format 1"), "{error}");
        fs::write(folder.path().join("log/0000000000000001.seg"), "x").unwrap();
        fs::remove_file(&identity).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("missing, although there is a log"),
            "{error}"
        );
    }
}
