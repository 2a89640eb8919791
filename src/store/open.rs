//! Opening the store: the lock, the file's identity and version, its settings. Whatever is wrong with the file is an
//! error that says so, and the file stays as it is: nothing here repairs, renames or deletes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::clock::LastSeen;
use super::error::OpenError;
use super::handle::HandleKey;
use super::manage::{Extra, Tags, read_removals, read_tags};
use super::moving::Moving;
use super::queue::Facts;
use super::redrive::read_running;
use super::schema;
use super::space::PAGE;
use super::spec::{QueueSpec, Redrive};
use super::stats::{Counters, Ledger, Role};

/// The files of a store, all in one directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub directory: PathBuf,
    pub database: PathBuf,
    /// SQLite's write-ahead log.
    pub log: PathBuf,
    pub lock: PathBuf,
    /// The number of the last synced commit, beside the database: it makes a shortened log loud.
    pub commits: PathBuf,
    /// Space to give back when the disk is full.
    pub reserve: PathBuf,
}

impl Files {
    pub fn within(directory: &Path) -> Files {
        Files {
            directory: directory.to_owned(),
            database: directory.join("store.db"),
            log: directory.join("store.db-wal"),
            lock: directory.join("lock"),
            commits: directory.join("commits"),
            reserve: directory.join("reserve"),
        }
    }

    /// Which files are behind the names of database and log now.
    pub fn identity(&self) -> [Option<(u64, u64)>; 2] {
        [&self.database, &self.log]
            .map(|path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino())))
    }
}

/// Takes the lock of the directory, creating the directory if it is missing. Waits while another process has it.
pub(super) fn lock(files: &Files, wait: Duration) -> Result<File, OpenError> {
    let refused = |error: io::Error| io_error(&files.directory, &error);
    fs::create_dir_all(&files.directory).map_err(refused)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&files.lock)
        .map_err(refused)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(refused(error)),
            Err(TryLockError::WouldBlock) if started.elapsed() >= wait => {
                let mut holder = String::new();
                // Who holds it is a courtesy; not being able to say so is no error.
                let holder = file.read_to_string(&mut holder).ok().and(Some(holder));
                return Err(OpenError::Locked {
                    lock: files.lock.clone(),
                    holder: holder.and_then(|pid| pid.trim().parse().ok()),
                    waited: wait,
                });
            }
            Err(TryLockError::WouldBlock) => {
                let left = wait.saturating_sub(started.elapsed());
                std::thread::sleep(left.min(Duration::from_millis(25)));
            }
        }
    }
    let named = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    named.map_err(refused)?;
    Ok(file)
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> OpenError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { path, reason }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OpenError::Full { path, reason }
        }
        _ => OpenError::Io { path, reason },
    }
}

pub(super) fn sqlite_error(files: &Files, error: &rusqlite::Error) -> OpenError {
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Corrupt {
            file: files.database.clone(),
            reason,
        },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::ReadOnly {
            path: files.directory.clone(),
            reason,
        },
        Some(ErrorCode::DiskFull) => OpenError::Full {
            path: files.directory.clone(),
            reason,
        },
        // A column that cannot be read as what it was written as.
        None => OpenError::Corrupt {
            file: files.database.clone(),
            reason,
        },
        Some(_) => OpenError::Io {
            path: files.directory.clone(),
            reason,
        },
    }
}

/// How large database and log may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub max_pages: u64,
    pub log_bytes: u64,
}

/// A file that is open for writing, and what it remembers.
pub(super) struct Session {
    pub connection: Connection,
    pub state: StateRow,
    pub queues: Vec<QueueRow>,
    /// Removed queues that still hold something.
    pub removals: Vec<i64>,
    /// Tasks that have not ended.
    pub moves: Vec<Moving>,
}

/// The table `state`.
pub(super) struct StateRow {
    pub commits: i64,
    pub next_seq: i64,
    pub last_seen: LastSeen,
    pub handle_key: Vec<u8>,
}

/// A row of the table `queue`.
pub(super) struct QueueRow {
    pub id: i64,
    pub role: Role,
    pub declared: bool,
    pub spec: QueueSpec,
    pub facts: Facts,
    pub tags: Tags,
    pub counters: Counters,
}

/// Opens the database; creates it only where there has never been one.
pub(super) fn open(files: &Files, sizes: Sizes, wall: i64) -> Result<Session, OpenError> {
    let length = match fs::metadata(&files.database) {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(io_error(&files.directory, &error)),
    };
    let synced = synced_commits(files)?;
    if length > 0 && (synced.is_some() || !is_blank(files)) {
        return reopen(files, sizes);
    }
    if let Some(commits) = synced {
        return Err(OpenError::Corrupt {
            file: files.database.clone(),
            reason: format!(
                "it is missing or empty, though {commits} commits were made; to begin anew, remove {} too",
                files.commits.display()
            ),
        });
    }
    create(files, wall).map_err(|error| sqlite_error(files, &error))?;
    // SQLite syncs the directory for its log, not for the database.
    File::open(&files.directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error(&files.directory, &error))?;
    reopen(files, sizes)
}

/// Whether the file is what a crash amid [`create`] leaves: a database without a table. Unreadable is not blank.
fn is_blank(files: &Files) -> bool {
    let tables = Connection::open_with_flags(
        &files.database,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .and_then(|connection| {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok(tables + version)
    });
    matches!(tables, Ok(0))
}

pub(super) fn create(files: &Files, wall: i64) -> rusqlite::Result<()> {
    let mut connection = Connection::open(&files.database)?;
    // Nothing may come before these on a new file: later they have no effect.
    connection.pragma_update(None, "page_size", PAGE as i64)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let secret = HandleKey::fresh_secret().ok_or_else(|| {
        rusqlite::Error::ToSqlConversionFailure("the system gives no random numbers".into())
    })?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::create(&transaction, &secret, wall)?;
    transaction.commit()
}

/// Opens a database that exists.
pub(super) fn reopen(files: &Files, sizes: Sizes) -> Result<Session, OpenError> {
    let refused = |error: rusqlite::Error| sqlite_error(files, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&files.database, flags).map_err(refused)?;
    // Closing a file that turns out to be corrupt must not write to it.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(refused)?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .map_err(refused)?;
    let number =
        |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let version = number("user_version").map_err(refused)?;
    let application = number("application_id").map_err(refused)?;
    if application != schema::APPLICATION_ID || version < 1 {
        return Err(OpenError::Corrupt {
            file: files.database.clone(),
            reason: "it is not a store of Penstock".to_owned(),
        });
    }
    if version > schema::VERSION {
        return Err(OpenError::NewerVersion {
            file: files.database.clone(),
            found: version,
            known: schema::VERSION,
        });
    }
    if connection.is_readonly("main").map_err(refused)? {
        return Err(OpenError::ReadOnly {
            path: files.database.clone(),
            reason: "the database file is read-only".to_owned(),
        });
    }
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(refused)?;
    if mode != "wal" {
        return Err(OpenError::Io {
            path: files.directory.clone(),
            reason: format!("the file system cannot hold a write-ahead log (journal mode {mode})"),
        });
    }
    schema::set_up(&connection, sizes.max_pages, sizes.log_bytes).map_err(refused)?;
    if version < schema::VERSION {
        let upgrade =
            rusqlite::Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)
                .and_then(|transaction| {
                    schema::upgrade(&transaction, version)?;
                    transaction.commit()
                });
        upgrade.map_err(refused)?;
    }
    let state = read_state(&connection).map_err(refused)?;
    let queues = read_queues(&connection).map_err(refused)?;
    let removals = read_removals(&connection).map_err(refused)?;
    let moves = read_running(&connection).map_err(refused)?;
    Ok(Session {
        connection,
        state,
        queues,
        removals,
        moves,
    })
}

fn read_state(connection: &Connection) -> rusqlite::Result<StateRow> {
    let mut state = connection.query_row(
        "SELECT commits, next_seq, wall, steady, boot, boot_id, handle_key FROM state WHERE id = 1",
        [],
        |row| {
            Ok(StateRow {
                commits: row.get(0)?,
                next_seq: row.get(1)?,
                last_seen: LastSeen {
                    wall: row.get(2)?,
                    steady: row.get(3)?,
                    boot: row.get(4)?,
                    boot_id: row.get(5)?,
                },
                handle_key: row.get(6)?,
            })
        },
    )?;
    let last: Option<i64> =
        connection.query_row("SELECT max(seq) FROM message", [], |row| row.get(0))?;
    state.next_seq = state.next_seq.max(last.unwrap_or(0) + 1);
    Ok(state)
}

fn read_queues(connection: &Connection) -> rusqlite::Result<Vec<QueueRow>> {
    let mut tags = read_tags(connection)?;
    let mut statement = connection.prepare(
        "SELECT id, name, declared, fifo, content_based, lifo, visibility_ms, retention_ms, delay_ms, max_size,
                max_message_size, redrive_to, max_receive_count, accepted, imported, deleted, forwarded,
                dead_lettered, expired, purged, damaged, duplicates, visible, delayed, in_flight, bytes, role, origin,
                extra, created_at, modified_at
         FROM queue WHERE role < 3 ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let count = |at: usize| row.get::<_, i64>(at).map(|n| n.max(0) as u64);
        let span = |at: usize| count(at).map(Duration::from_millis);
        let redrive = match row.get::<_, Option<String>>(11)? {
            Some(to) => Some(Redrive {
                to,
                max_receive_count: row.get(12)?,
            }),
            None => None,
        };
        let id = row.get(0)?;
        let role = row.get(26)?;
        let created_at = row.get(29)?;
        Ok(QueueRow {
            id,
            role: Role::from_number(role)
                .ok_or(rusqlite::Error::IntegralValueOutOfRange(26, role))?,
            declared: row.get(2)?,
            facts: Facts {
                by_users: row.get(27)?,
                extra: read_extra(row.get(28)?)?,
                created_at,
                // A file of the first version does not know.
                modified_at: row.get::<_, i64>(30)?.max(created_at),
            },
            tags: tags.remove(&id).unwrap_or_default(),
            spec: QueueSpec {
                name: row.get(1)?,
                fifo: row.get(3)?,
                content_based_deduplication: row.get(4)?,
                lifo: row.get(5)?,
                visibility_timeout: span(6)?,
                retention: row
                    .get::<_, Option<i64>>(7)?
                    .map(|ms| Duration::from_millis(ms.max(0) as u64)),
                delay: span(8)?,
                max_size: row.get::<_, Option<i64>>(9)?.map(|n| n.max(0) as u64),
                max_message_size: count(10)?,
                redrive,
            },
            counters: Counters {
                ledger: Ledger {
                    accepted: count(13)?,
                    imported: count(14)?,
                    deleted: count(15)?,
                    forwarded: count(16)?,
                    dead_lettered: count(17)?,
                    expired: count(18)?,
                    purged: count(19)?,
                    damaged: count(20)?,
                    duplicates: count(21)?,
                },
                visible: count(22)?,
                delayed: count(23)?,
                in_flight: count(24)?,
                bytes: count(25)?,
                oldest: None,
            },
        })
    })?;
    rows.collect()
}

fn read_extra(text: Option<String>) -> rusqlite::Result<Extra> {
    let Some(text) = text else {
        return Ok(Extra::new());
    };
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(28, rusqlite::types::Type::Text, error.into())
    })
}

/// The number of the last synced commit that the sidecar knows; `None` if there is no sidecar yet.
pub(super) fn synced_commits(files: &Files) -> Result<Option<i64>, OpenError> {
    match fs::read(&files.commits) {
        Ok(bytes) => {
            let number = String::from_utf8_lossy(&bytes).trim().parse().ok();
            if number.is_none() {
                tracing::warn!(file = %files.commits.display(), "The commit sidecar is not readable; a shortened log would go unnoticed this time");
            }
            Ok(number.filter(|commits| *commits > 0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&files.directory, &error)),
    }
}

/// Opens the sidecar for writing.
pub(super) fn sidecar(files: &Files) -> Result<File, OpenError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&files.commits)
        .map_err(|error| io_error(&files.directory, &error))
}
