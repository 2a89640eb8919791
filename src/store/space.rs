//! Room on the disk: how large database and log may grow, when sends must stop so that receive and delete can go on, and
//! a reserve to give back when the disk is full all the same.

use std::fs::{self, OpenOptions};
use std::io;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::error::{FullReason, OpenError};
use super::open::{Files, Sizes};

/// Bytes of a database page.
pub(super) const PAGE: u64 = 4096;
/// The smallest `max_size`.
pub(super) const SMALLEST: u64 = 1 << 20;
/// How long sends stay refused after the disk refused a write.
const PAUSE: Duration = Duration::from_secs(1);

/// What one group may still add.
pub(super) struct Room {
    left: Result<u64, FullReason>,
    over: FullReason,
}

impl Room {
    /// Takes the room for a message, or says why there is none.
    pub fn take(&mut self, footprint: u64) -> Result<(), FullReason> {
        let left = self.left.as_mut().map_err(|reason| reason.clone())?;
        // A row beyond a quarter of a page spills into pages of its own.
        let cost = if footprint > PAGE / 4 {
            footprint + PAGE
        } else {
            footprint
        };
        match left.checked_sub(cost) {
            Some(rest) => {
                *left = rest;
                Ok(())
            }
            None => Err(self.over.clone()),
        }
    }

    /// Why nothing more may be sent, if so.
    pub fn is_full(&self) -> Option<FullReason> {
        self.left.as_ref().err().cloned()
    }
}

/// Watches the store's sizes and the file system.
pub(super) struct Space {
    files: Files,
    max_size: u64,
    min_free: u64,
    reserve: u64,
    sizes: Sizes,
    /// Sends stop at this many pages; the rest, up to the hard limit, is for receive and delete.
    send_pages: u64,
    free: u64,
    /// Whether the reserve is set aside.
    kept: bool,
    refused_until: Option<Instant>,
    /// Bytes in the write-ahead log, as last counted.
    pub log_bytes: u64,
}

impl Space {
    pub fn plan(files: &Files, max_size: u64, min_free: u64) -> Result<Space, OpenError> {
        if max_size < SMALLEST {
            return Err(OpenError::TooSmall {
                max_size,
                smallest: SMALLEST,
            });
        }
        let log_bytes = (max_size / 8).clamp(256 << 10, 64 << 20);
        let reserve = (max_size / 64).clamp(64 << 10, 4 << 20);
        // The log may come to twice its usual size while a reader holds it.
        let max_pages = (max_size - 2 * log_bytes - reserve) / PAGE;
        Ok(Space {
            files: files.clone(),
            max_size,
            min_free,
            reserve,
            sizes: Sizes {
                max_pages,
                log_bytes,
            },
            send_pages: max_pages - (max_pages / 16).clamp(16, 4096),
            free: u64::MAX,
            kept: files.reserve.exists(),
            refused_until: None,
            log_bytes: 0,
        })
    }

    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The most bytes of messages in one group.
    pub fn group_bytes(&self) -> u64 {
        (self.sizes.log_bytes / 2).min(8 << 20)
    }

    /// The size that the log should keep below: less where little is free, for its pages need room a second time.
    pub fn log_limit(&self) -> u64 {
        (self.free / 4).clamp(256 << 10, self.sizes.log_bytes)
    }

    /// What a group that begins now may add.
    pub fn room(&mut self, connection: &Connection) -> rusqlite::Result<Room> {
        self.look();
        let over = FullReason::MaxSize {
            max_size: self.max_size,
        };
        let low = FullReason::LowSpace {
            free: self.free,
            min_free: self.min_free,
        };
        let refused = |reason: FullReason| {
            Ok(Room {
                left: Err(reason.clone()),
                over: reason,
            })
        };
        if self
            .refused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return refused(FullReason::Disk);
        }
        self.refused_until = None;
        // What is in the log must find room in the database too, and the reserve is not for sends.
        let missing = if self.kept { 0 } else { self.reserve };
        let by_disk = self
            .free
            .saturating_sub(self.min_free)
            .saturating_add(free_pages(connection)? * PAGE)
            .saturating_sub(self.log_bytes)
            .saturating_sub(missing);
        if self.free < self.min_free || by_disk == 0 {
            return refused(low);
        }
        if self.log_bytes >= 2 * self.sizes.log_bytes {
            return refused(FullReason::LogHeld);
        }
        let by_size = self
            .send_pages
            .saturating_sub(used_pages(connection)?)
            .saturating_mul(PAGE);
        if by_size == 0 {
            return refused(over);
        }
        Ok(Room {
            left: Ok(by_size.min(by_disk)),
            over: if by_disk < by_size { low } else { over },
        })
    }

    fn look(&mut self) {
        match statvfs(&self.files.directory) {
            Ok(disk) => self.free = disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(error) => {
                tracing::warn!(%error, "The file system does not say how much is free");
                self.free = u64::MAX;
            }
        }
    }

    /// A write failed for lack of room. Sends pause; the reserve goes, so that deletes find room.
    pub fn refused(&mut self, connection: &Connection) -> FullReason {
        let pages = connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0));
        if pages.is_ok_and(|pages| pages.max(0) as u64 + 1 >= self.sizes.max_pages) {
            return FullReason::MaxSize {
                max_size: self.max_size,
            };
        }
        self.refused_until = Some(Instant::now() + PAUSE);
        self.give_back();
        FullReason::Disk
    }

    /// Whether the reserve is set aside.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Whether the file system has next to nothing left, by a look just now.
    pub fn is_full(&mut self) -> bool {
        self.look();
        self.is_short()
    }

    /// Gives the reserve back to the file system.
    pub fn give_back(&mut self) {
        self.kept = false;
        match fs::remove_file(&self.files.reserve) {
            Ok(()) => tracing::warn!(
                bytes = self.reserve,
                "The disk is full; the store gave back its reserve"
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%error, "The store's reserve cannot be given back"),
        }
    }

    /// Whether the file system has so little left that every free page of the database counts.
    pub fn is_short(&self) -> bool {
        self.free < self.min_free.saturating_add(2 * self.reserve)
    }

    /// Sets the reserve aside (again), where there is room for it.
    pub fn keep_reserve(&mut self) {
        self.look();
        if self.kept || self.refused_until.is_some() || self.is_short() {
            return;
        }
        let kept = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.files.reserve)
            .and_then(|file| {
                fallocate(&file, FallocateFlags::empty(), 0, self.reserve).map_err(io::Error::from)
            });
        match kept {
            Ok(()) => self.kept = true,
            Err(error) => tracing::debug!(%error, "The store keeps no reserve"),
        }
    }

    /// Bytes of the database that hold something.
    pub fn used_bytes(&self, connection: &Connection) -> rusqlite::Result<u64> {
        Ok(used_pages(connection)? * PAGE)
    }

    /// Bytes of database and log on disk.
    pub fn file_bytes(&self) -> u64 {
        [&self.files.database, &self.files.log]
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|file| file.len())
            .sum()
    }
}

fn pragma(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    let number: i64 = connection
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))?;
    Ok(number.max(0) as u64)
}

/// Pages that deleted messages left behind.
pub(super) fn free_pages(connection: &Connection) -> rusqlite::Result<u64> {
    pragma(connection, "PRAGMA freelist_count")
}

fn used_pages(connection: &Connection) -> rusqlite::Result<u64> {
    let all = pragma(connection, "PRAGMA page_count")?;
    Ok(all.saturating_sub(free_pages(connection)?))
}
