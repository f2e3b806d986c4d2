//! The thread that writes the log: one batch after the other, each durable before it says so.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::error;

use super::room::Room;
use super::{DataDir, file_name, sync_folder, with_path};
use crate::core::disk::identity::Identity;
use crate::core::disk::journal::{Journal, Operation};
use crate::core::disk::{Batch, Report};
use crate::shell::Alarm;
use crate::shell::replication::{Event, Replication};

/// The extension of a segment.
pub(super) const EXTENSION: &str = "seg";

/// After so long it is looked whether there is room.
const LOOK: Duration = Duration::from_millis(100);

/// Starts the thread; what is sent to it is kept. It ends with the sender.
///
/// # Errors
/// The system gives no thread.
pub fn start(
    dir: DataDir,
    journal: Journal,
    (done, alarm): (Replication, Alarm),
) -> io::Result<Sender<Batch>> {
    let (sender, batches) = channel();
    let writer = Writer {
        room: Room::new(dir.path()),
        looked: Instant::now(),
        identity: dir.identity(),
        segments: Segments::new(&dir),
        dir,
        journal,
        done,
    };
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            let _alarm = alarm;
            writer.run(&batches);
        })?;
    Ok(sender)
}

struct Writer {
    dir: DataDir,
    identity: Identity,
    segments: Segments,
    journal: Journal,
    room: Room,
    looked: Instant,
    done: Replication,
}

impl Writer {
    fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            match batches.recv_timeout(LOOK) {
                Ok(batch) => {
                    if let Err(error) = self.keep(&batch) {
                        give_up(&error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look();
        }
    }

    /// Looks from time to time whether there is room.
    fn look(&mut self) {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if let Some(has_room) = self.room.look() {
                self.done.send(Event::Disk(Report::Room(has_room)));
            }
        }
    }

    /// Does it all again while there is no room: what is to be kept may not be dropped.
    fn execute_all(&mut self, operations: &[Operation]) -> io::Result<()> {
        loop {
            match self.segments.execute_all(operations) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    if self.room.is_used_up(&error) {
                        self.done.send(Event::Disk(Report::Room(false)));
                    }
                }
                done => return done,
            }
        }
    }

    fn keep(&mut self, batch: &Batch) -> io::Result<()> {
        let operations = self.journal.append(batch).map_err(io::Error::other)?;
        self.execute_all(&operations)?;
        if self.identity.cluster.is_none() && batch.cluster().is_some() {
            // From now on a directory without a log is one that has lost it.
            self.identity.cluster = batch.cluster();
            self.dir.write_identity(&self.identity)?;
        }
        self.done.send(Event::Disk(Report::Durable(batch.number)));
        let operations = self.journal.durable(batch.number);
        self.segments.execute_all(&operations)
    }
}

/// Nobody knows what of the last writes is on the disk: nothing more may be promised, and what was
/// promised is found out at the next start.
pub(super) fn give_up(error: &io::Error) -> ! {
    error!(%error, "the disk has failed: this process ends");
    std::process::abort()
}

/// The files of the log.
pub(super) struct Segments {
    folder: PathBuf,
    open: Option<(u64, File)>,
}

impl Segments {
    pub(super) fn new(dir: &DataDir) -> Self {
        Self {
            folder: dir.log(),
            open: None,
        }
    }

    pub(super) fn execute_all(&mut self, operations: &[Operation]) -> io::Result<()> {
        for operation in operations {
            let done = self.execute(operation);
            done.map_err(|error| match operation {
                Operation::FlushDirectory => with_path(&self.folder, &error),
                Operation::Create(segment)
                | Operation::Write { segment, .. }
                | Operation::Truncate { segment, .. }
                | Operation::Flush(segment)
                | Operation::Remove(segment) => with_path(&self.path(*segment), &error),
            })?;
        }
        Ok(())
    }

    fn execute(&mut self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::Create(segment) => {
                self.open = Some((*segment, File::create(self.path(*segment))?));
                Ok(())
            }
            Operation::Write {
                segment,
                offset,
                bytes,
            } => self.file(*segment)?.write_all_at(bytes, *offset),
            Operation::Truncate { segment, length } => self.file(*segment)?.set_len(*length),
            Operation::Flush(segment) => self.file(*segment)?.sync_data(),
            Operation::Remove(segment) => fs::remove_file(self.path(*segment)),
            Operation::FlushDirectory => sync_folder(&self.folder),
        }
    }

    fn file(&mut self, segment: u64) -> io::Result<&File> {
        let path = self.path(segment);
        let open = self.open.take().filter(|(open, _)| *open == segment);
        let file = match open {
            Some((_, file)) => file,
            None => File::options().write(true).open(path)?,
        };
        Ok(&self.open.insert((segment, file)).1)
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(file_name(segment, EXTENSION))
    }
}
