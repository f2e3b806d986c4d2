//! Whether the disk has room. Some is held back in a file: votes and terms are written also when
//! there is no other.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tracing::{info, warn};

/// Bytes that are held back, at most.
pub(super) const RESERVE_BYTES: u64 = 16 * 1024 * 1024;
/// With fewer free bytes than this, at most, a disk counts as full. Of a small disk it is a part.
pub(super) const LOW_BYTES: u64 = 64 * 1024 * 1024;
/// The part of a small disk.
const PART: u64 = 16;
/// The pause before something is tried again that found no room.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of the room.
pub struct Room {
    folder: PathBuf,
    reserve: PathBuf,
    has_room: bool,
}

impl Room {
    /// Holds some room back.
    pub fn new(folder: &Path) -> Self {
        let room = Self {
            folder: folder.to_owned(),
            reserve: folder.join("reserve"),
            has_room: true,
        };
        room.hold_back();
        room
    }

    /// Looks how much there is; says so if it has changed.
    pub fn look(&mut self) -> Option<bool> {
        let (free, low) = self.free()?;
        match self.has_room {
            true if free < low => {
                self.has_room = false;
                warn!(free, low, dir = %self.folder.display(), "the disk is full: no writes");
                Some(false)
            }
            false if free >= 2 * low && self.hold_back() => {
                self.has_room = true;
                info!(free, dir = %self.folder.display(), "the disk has room again");
                Some(true)
            }
            _ => None,
        }
    }

    /// Something found no room: gives what is held back, or waits a moment. Says whether that is
    /// new.
    pub fn is_used_up(&mut self, error: &io::Error) -> bool {
        if fs::remove_file(&self.reserve).is_err() {
            sleep(PAUSE);
        }
        let is_new = std::mem::replace(&mut self.has_room, false);
        if is_new {
            warn!(%error, dir = %self.folder.display(), "the disk is full: no writes");
        }
        is_new
    }

    /// Free bytes, and how few are too few.
    fn free(&self) -> Option<(u64, u64)> {
        let disk = statvfs(&self.folder).ok()?;
        let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        Some((free, LOW_BYTES.min(all / PART)))
    }

    /// Holds room back, if there is some; says whether it is held.
    fn hold_back(&self) -> bool {
        let wanted = self.free().map_or(0, |(_, low)| RESERVE_BYTES.min(low / 4));
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.reserve);
        let held = file.is_ok_and(|file| {
            // A file system that cannot reserve has to do without.
            let reserved = fallocate(&file, FallocateFlags::empty(), 0, wanted.max(1));
            reserved != Err(rustix::io::Errno::NOSPC)
        });
        if !held {
            let _ = fs::remove_file(&self.reserve);
        }
        held
    }
}
