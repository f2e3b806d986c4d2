//! The thread that writes the files of snapshots, in the background of everything else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use bytes::BytesMut;
use tracing::warn;

use super::log::give_up;
use super::{DataDir, file_name, sync_folder, with_path};
use crate::core::disk::segment::Salt;
use crate::core::disk::{Report, Save, image};
use crate::shell::Alarm;
use crate::shell::replication::{Event, Replication};

/// The extension of a complete file.
pub(super) const EXTENSION: &str = "snap";
/// The extension of one that is not.
pub(super) const UNFINISHED: &str = "new";

/// Starts the thread; what is sent to it is written. It ends with the sender.
///
/// # Errors
/// The system gives no thread.
pub fn start(dir: DataDir, (done, alarm): (Replication, Alarm)) -> io::Result<Sender<Save>> {
    let (sender, saves) = channel();
    let writer = Writer {
        folder: dir.snapshots(),
        salt: dir.identity().salt,
        _dir: dir,
        unfinished: BTreeMap::new(),
        done,
    };
    thread::Builder::new()
        .name("snapshots".to_owned())
        .spawn(move || {
            let _alarm = alarm;
            writer.run(&saves);
        })?;
    Ok(sender)
}

struct Writer {
    _dir: DataDir,
    folder: PathBuf,
    salt: Salt,
    unfinished: BTreeMap<u64, Unfinished>,
    done: Replication,
}

struct Unfinished {
    file: File,
    /// Pieces that are in it.
    pieces: u32,
    /// It could not be written; what still comes for it is dropped.
    has_failed: bool,
}

/// A disk that fails to flush is not asked again; one that is full may have room later.
fn flushed(path: &Path, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| {
        let error = with_path(path, &error);
        if error.kind() != io::ErrorKind::StorageFull {
            give_up(&error);
        }
        error
    })
}

impl Writer {
    fn run(mut self, saves: &Receiver<Save>) {
        while let Ok(save) = saves.recv() {
            match save {
                Save::Piece {
                    snapshot,
                    bytes,
                    last,
                } => self.take(snapshot, &bytes, last),
                Save::Remove(snapshot) => self.remove(snapshot),
            }
        }
    }

    fn take(&mut self, snapshot: u64, bytes: &[u8], last: bool) {
        let has_failed = |it: &Unfinished| it.has_failed;
        if self.unfinished.get(&snapshot).is_some_and(has_failed) {
            return;
        }
        let mut written = self.write(snapshot, bytes, last);
        if written.is_ok() {
            self.report(Report::Piece(snapshot));
            if last {
                written = self.finish(snapshot);
            }
        }
        match written {
            Ok(()) if last => self.report(Report::Saved(snapshot)),
            Ok(()) => (),
            Err(error) => {
                warn!(%error, "a snapshot could not be written, and will be tried again");
                self.fail(snapshot);
                self.report(Report::Unsaved(snapshot));
            }
        }
    }

    fn report(&self, report: Report) {
        self.done.send(Event::Disk(report));
    }

    fn write(&mut self, snapshot: u64, bytes: &[u8], last: bool) -> io::Result<()> {
        let path = self.path(snapshot, UNFINISHED);
        let salt = self.salt;
        let mut written = || {
            let unfinished = match self.unfinished.entry(snapshot) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    let mut file = File::create(&path)?;
                    let mut head = BytesMut::new();
                    image::put_head(salt, snapshot, &mut head);
                    file.write_all(&head)?;
                    new.insert(Unfinished {
                        file,
                        pieces: 0,
                        has_failed: false,
                    })
                }
            };
            let head = image::piece_head((salt, snapshot), unfinished.pieces, last, bytes);
            unfinished.pieces += 1;
            unfinished.file.write_all(&head)?;
            unfinished.file.write_all(bytes)
        };
        written().map_err(|error| with_path(&path, &error))
    }

    fn finish(&mut self, snapshot: u64) -> io::Result<()> {
        let (from, to) = (
            self.path(snapshot, UNFINISHED),
            self.path(snapshot, EXTENSION),
        );
        if let Some(unfinished) = self.unfinished.get(&snapshot) {
            flushed(&from, unfinished.file.sync_all())?;
        }
        fs::rename(&from, &to).map_err(|error| with_path(&to, &error))?;
        flushed(&self.folder, sync_folder(&self.folder))?;
        self.unfinished.remove(&snapshot);
        Ok(())
    }

    /// Nothing is left of a file; what else comes for it is dropped.
    fn fail(&mut self, snapshot: u64) {
        if let Some(unfinished) = self.unfinished.get_mut(&snapshot) {
            unfinished.has_failed = true;
        }
        self.remove_file(snapshot, UNFINISHED);
        self.remove_file(snapshot, EXTENSION);
    }

    fn remove(&mut self, snapshot: u64) {
        if self.unfinished.remove(&snapshot).is_some() {
            return self.remove_file(snapshot, UNFINISHED);
        }
        self.remove_file(snapshot, EXTENSION);
    }

    /// What stays is removed at the next start.
    fn remove_file(&self, snapshot: u64, extension: &str) {
        match fs::remove_file(self.path(snapshot, extension)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%error, "a snapshot of no use could not be removed");
            }
            _ => (),
        }
    }

    fn path(&self, snapshot: u64, extension: &str) -> PathBuf {
        self.folder.join(file_name(snapshot, extension))
    }
}
