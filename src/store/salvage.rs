//! Salvaging a store whose file is damaged: every message that can be read and whose checksum is right goes into a new
//! file, at its place in its queue; the old files are set aside and never changed.
//!
//! A store with which nothing is wrong is left as it is, unless a new file is wanted all the same.
//!
//! The work is done on a copy, beside the store, and takes up to twice the room of the damaged file. The new file takes
//! the old one's name in the last step; a salvage that is cut off before leaves everything as it was.
//!
//! What counts as saved: a message that `ready` or `flight` names, found in its table or in any leaf of the file. Where
//! those tables are damaged too, a message without a place goes back to the queue that it was sent to: it may have been
//! delivered or deleted before, but it is not lost. Ledgers balance afterwards: what a queue held by its count and what
//! could not be read is `damaged`, what was found beyond the count is `imported`.

mod pages;
mod queues;
mod rebuild;
mod row;
mod source;
mod tables;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use time::OffsetDateTime;
use time::macros::format_description;

use super::clock::Clock;
use super::error::OpenError;
use super::open::{self, Files, Sizes};
use super::schema;
use super::space::PAGE;

pub use queues::QueueSalvage;
pub use tables::Rows;

/// What was saved and what was lost.
#[derive(Clone, Debug)]
pub struct Salvage {
    /// Whether nothing was wrong: SQLite finds its file in order, and every message is there and at its place.
    pub sound: bool,
    /// The old files, under their new names; none where the store was left as it is.
    pub set_aside: Vec<PathBuf>,
    /// By name.
    pub queues: Vec<QueueSalvage>,
    /// Tables beside the messages: `deduplication`, `death`, `move_task`, `damaged`, `tag`, `idempotency`,
    /// `usage`, `key_state`, `deployment`, `stage`.
    pub tables: Vec<(&'static str, Rows)>,
    /// Commits that had been synced and that the file did not know; what they held is not known.
    pub lost_commits: u64,
    /// Bytes that the disk did not give.
    pub unreadable_bytes: u64,
    /// Whether the file's own counters could be read; if not, receipt handles given out before are void.
    pub state_read: bool,
}

impl Salvage {
    /// Whether nothing was lost, as far as anybody can tell.
    pub fn is_whole(&self) -> bool {
        self.lost_commits == 0
            && self.state_read
            && self.tables.iter().all(|(_, rows)| !rows.gaps)
            && self
                .queues
                .iter()
                .all(|queue| queue.lost == 0 && !queue.rebuilt)
    }
}

/// Salvages the store in a directory. Blocks for as long as copying the file twice takes. A sound store is left as it is,
/// unless `force` asks for a new file.
///
/// # Errors
/// [`OpenError::Locked`] at once if a process has the store. [`OpenError::NewerVersion`] for what a later version wrote.
/// Whatever the error, the files are as they were.
pub fn salvage(directory: &Path, clock: &Clock, force: bool) -> Result<Salvage, OpenError> {
    let files = Files::within(directory);
    if !files.database.exists() {
        return Err(OpenError::Io {
            path: directory.to_owned(),
            reason: missing(directory),
        });
    }
    let _lock = open::lock(&files, Duration::ZERO)?;
    let stamp = stamp(clock);
    let work = Workplace::new(directory, &stamp)?;
    let (salvage, commits) = work.salvage(&files, clock)?;
    if salvage.sound && !force {
        return Ok(salvage);
    }
    let set_aside = exchange(&files, &work, &stamp, commits)?;
    Ok(Salvage {
        set_aside,
        ..salvage
    })
}

/// Where the copy and the new file are; gone when the work is done, or failed.
struct Workplace {
    directory: PathBuf,
    /// The damaged database; its log lies beside it.
    copy: PathBuf,
    /// The new store.
    new: Files,
}

impl Workplace {
    fn new(directory: &Path, stamp: &str) -> Result<Workplace, OpenError> {
        let work = directory.join(format!("recovery-{stamp}"));
        fs::create_dir(&work).map_err(|error| open::io_error(directory, &error))?;
        Ok(Workplace {
            copy: work.join("damaged.db"),
            new: Files::within(&work),
            directory: work,
        })
    }

    /// Builds the new file, whole and synced. Also: the number of the last commit, for the sidecar.
    fn salvage(&self, files: &Files, clock: &Clock) -> Result<(Salvage, i64), OpenError> {
        let failed = |error: rusqlite::Error| open::sqlite_error(&self.new, &error);
        let io_failed = |error: io::Error| open::io_error(&files.directory, &error);
        let mut unreadable_bytes = source::copy(&files.database, &self.copy).map_err(io_failed)?;
        if files.log.exists() {
            let log = self.directory.join("damaged.db-wal");
            unreadable_bytes += source::copy(&files.log, &log).map_err(io_failed)?;
        }
        // A sidecar that cannot be read says nothing; the damage it would show is only not shown.
        let synced = open::synced_commits(files).ok().flatten().unwrap_or(0);
        open::create(&self.new, clock.wall_ms()).map_err(failed)?;
        let source = source::Source::open(&self.copy, &self.new.database).map_err(failed)?;
        if let Some(found) = source.version()
            && (schema::VERSION + 1..schema::VERSION + 100).contains(&found)
        {
            return Err(OpenError::NewerVersion {
                file: files.database.clone(),
                found,
                known: schema::VERSION,
            });
        }
        let in_order = unreadable_bytes == 0 && source.is_in_order();
        let image = File::open(&self.copy).map_err(io_failed)?;
        let target = Connection::open(&self.new.database).map_err(failed)?;
        let rebuilt = rebuild::rebuild(&source, &image, &target, synced).map_err(failed)?;
        target.close().map_err(|(_, error)| failed(error))?;
        // Whether it is a store that a gateway will open.
        let sizes = Sizes {
            max_pages: (i64::MAX as u64) / PAGE,
            log_bytes: 1 << 20,
        };
        let session = open::reopen(&self.new, sizes)?;
        let commits = session.state.commits;
        session
            .connection
            .set_db_config(
                rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
                false,
            )
            .map_err(failed)?;
        session
            .connection
            .close()
            .map_err(|(_, error)| failed(error))?;
        File::open(&self.new.database)
            .and_then(|file| file.sync_all())
            .map_err(io_failed)?;
        let lost_commits = rebuilt.commits.map_or(0, |known| (synced - known).max(0));
        let mut salvage = Salvage {
            sound: false,
            set_aside: Vec::new(),
            queues: rebuilt.queues,
            tables: rebuilt.tables,
            lost_commits: lost_commits.unsigned_abs(),
            unreadable_bytes,
            state_read: rebuilt.commits.is_some(),
        };
        let all_placed = salvage.queues.iter().all(|queue| queue.found == 0);
        salvage.sound = in_order && salvage.is_whole() && all_placed;
        Ok((salvage, commits))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "The folder of the recovery is left behind");
        }
    }
}

/// Sets the damaged files aside and puts the new one in their place. The database goes first: should the machine stop
/// in between, a store without its database is refused, while one without its log would open and miss its end.
fn exchange(
    files: &Files,
    work: &Workplace,
    stamp: &str,
    commits: i64,
) -> Result<Vec<PathBuf>, OpenError> {
    let failed = |error: io::Error| open::io_error(&files.directory, &error);
    let sync = || File::open(&files.directory).and_then(|directory| directory.sync_all());
    let mut set_aside = Vec::new();
    for suffix in ["", "-wal", "-shm"] {
        let from = files.directory.join(format!("store.db{suffix}"));
        let to = files
            .directory
            .join(format!("store.db.corrupt-{stamp}{suffix}"));
        match fs::rename(&from, &to) {
            Ok(()) => set_aside.push(to),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    sync().map_err(failed)?;
    fs::rename(&work.new.database, &files.database).map_err(failed)?;
    fs::write(&files.commits, format!("{commits:020}\n")).map_err(failed)?;
    sync().map_err(failed)?;
    Ok(set_aside)
}

/// Why there is no database to salvage.
fn missing(directory: &Path) -> String {
    let cut_off = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|name| name.starts_with("store.db.corrupt-") && !name.ends_with("-wal"));
    match cut_off {
        Some(name) => format!(
            "there is no store.db; if a recovery was cut off, rename {name} (and {name}-wal) back to store.db (and \
             store.db-wal) and begin again"
        ),
        None => "there is no store.db".to_owned(),
    }
}

/// The time, as part of a file's name.
fn stamp(clock: &Clock) -> String {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let wall = clock.wall_ms();
    OffsetDateTime::from_unix_timestamp(wall / 1000)
        .ok()
        .and_then(|at| at.format(&form).ok())
        .unwrap_or_else(|| wall.to_string())
}
