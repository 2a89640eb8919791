//! The damaged file, in a copy: what cannot be read from the disk is zeros there, the log has been moved into it, and a
//! first page that is no longer one has been replaced. Tables are walked over their damaged places.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::store::schema;
use crate::store::space::PAGE;

const CHUNK: usize = 1 << 20;

/// Copies a file, page by page where the disk fails. How many bytes could not be read.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    let source = File::open(from)?;
    let length = source.metadata()?.len();
    let mut target = File::create(to)?;
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut unreadable) = (0, 0);
    while at < length {
        let size = CHUNK.min((length - at) as usize);
        let chunk = &mut chunk[..size];
        if source.read_exact_at(chunk, at).is_err() {
            for (number, page) in chunk.chunks_mut(PAGE as usize).enumerate() {
                if source
                    .read_exact_at(page, at + number as u64 * PAGE)
                    .is_err()
                {
                    page.fill(0);
                    unreadable += page.len() as u64;
                }
            }
        }
        target.write_all(chunk)?;
        at += size as u64;
    }
    Ok(unreadable)
}

/// A database to read from, as far as it can be read.
pub(super) struct Source {
    pub connection: Connection,
    /// Whether its first page is not its own.
    grafted: bool,
}

/// How a table was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walked {
    Whole,
    /// Some places could not be read.
    WithGaps,
}

impl Walked {
    pub fn and(self, other: Walked) -> Walked {
        if self == Walked::Whole { other } else { self }
    }
}

impl Source {
    /// Opens the copy. `fresh` is an empty store, whose first page stands in for one that is damaged.
    pub fn open(path: &Path, fresh: &Path) -> rusqlite::Result<Source> {
        let opened = Source::try_open(path).ok().filter(Source::is_ours);
        let source = match opened {
            Some(source) => source,
            None => {
                graft(path, fresh)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                Source {
                    grafted: true,
                    ..Source::try_open(path)?
                }
            }
        };
        // Into the database with what the log holds, so that its pages can be looked at one by one. Where that cannot be
        // done, the tables are read through the log all the same.
        let moved = source
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, i64>(0)
            });
        if let Err(error) = moved {
            tracing::warn!(%error, "The damaged store's log cannot be moved into it");
        }
        Ok(source)
    }

    fn try_open(path: &Path) -> rusqlite::Result<Source> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Lets a file be read that is shorter than it says.
        connection.pragma_update(None, "writable_schema", true)?;
        connection.pragma_update(None, "cell_size_check", false)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0)
        })?;
        Ok(Source {
            connection,
            grafted: false,
        })
    }

    /// Whether it is a store of ours, and SQLite finds every page, row and index as it should be.
    pub fn is_in_order(&self) -> bool {
        let found: rusqlite::Result<String> =
            self.connection
                .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
        !self.grafted
            && self.version().is_some_and(|version| version >= 1)
            && found.is_ok_and(|found| found == "ok")
    }

    /// Whether the tables that matter most are there by name.
    fn is_ours(&self) -> bool {
        ["queue", "message", "ready", "flight"]
            .iter()
            .all(|table| self.columns(table).is_ok_and(|columns| !columns.is_empty()))
    }

    /// The format's number, if the first page can be believed.
    pub fn version(&self) -> Option<i64> {
        let number = |pragma: &str| {
            self.connection
                .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
                .ok()
        };
        number("application_id")
            .filter(|id| *id == schema::APPLICATION_ID)
            .and(number("user_version"))
    }

    pub fn columns(&self, table: &str) -> rusqlite::Result<Vec<String>> {
        columns(&self.connection, table)
    }

    /// Every row that can be read, in the order of its row id. Behind a place that cannot be read it goes on with the
    /// next one that can.
    pub fn walk(
        &self,
        table: &str,
        key: &str,
        columns: &str,
        mut each: impl FnMut(i64, Vec<Value>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Walked> {
        let mut walked = Walked::Whole;
        let mut from = i64::MIN;
        let sql = format!(
            "SELECT {key}, {columns} FROM {table} NOT INDEXED WHERE {key} >= ?1 ORDER BY {key}"
        );
        loop {
            let mut last = None;
            let broken = self.scan(&sql, from, |rowid, values| {
                // A damaged tree may lead in a circle.
                if rowid < from || last.is_some_and(|last| rowid <= last) {
                    return Ok(false);
                }
                last = Some(rowid);
                each(rowid, values).map(|()| true)
            })?;
            if !broken {
                return Ok(walked);
            }
            walked = Walked::WithGaps;
            let behind = match last {
                Some(last) => last.checked_add(1),
                None => Some(from),
            };
            match behind.and_then(|behind| self.next_readable(&sql, behind)) {
                Some(next) => from = next,
                None => return Ok(walked),
            }
        }
    }

    /// Reads until the end, or until something is wrong: then true. `each` says whether its row makes sense.
    fn scan(
        &self,
        sql: &str,
        from: i64,
        mut each: impl FnMut(i64, Vec<Value>) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<bool> {
        let Ok(mut statement) = self.connection.prepare_cached(sql) else {
            return Ok(true);
        };
        let count = statement.column_count();
        let Ok(mut rows) = statement.query([from]) else {
            return Ok(true);
        };
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let Ok(rowid) = row.get(0) else {
                        return Ok(true);
                    };
                    // A text that is not UTF-8 is a damaged row, not the end of the table.
                    let values: rusqlite::Result<Vec<Value>> =
                        (1..count).map(|at| row.get(at)).collect();
                    if !each(rowid, values.unwrap_or_default())? {
                        return Ok(true);
                    }
                }
                Ok(None) => return Ok(false),
                Err(_) => return Ok(true),
            }
        }
    }

    /// The first key, not below `from`, at which reading works again: found by doubling steps, then by halving the last.
    fn next_readable(&self, sql: &str, from: i64) -> Option<i64> {
        let works = |at: i64| {
            let Ok(mut statement) = self.connection.prepare_cached(sql) else {
                return false;
            };
            let Ok(mut rows) = statement.query([at]) else {
                return false;
            };
            match rows.next() {
                Ok(Some(row)) => row.get::<_, i64>(0).is_ok_and(|rowid| rowid >= at),
                Ok(None) => true,
                Err(_) => false,
            }
        };
        if works(from) {
            return Some(from);
        }
        // No key of ours is below zero, and from the lowest on the steps would never reach one.
        let mut bad = from.max(0);
        let mut step = 1i64;
        let mut good = loop {
            let at = bad.checked_add(step)?;
            if works(at) {
                break at;
            }
            bad = at;
            step = step.checked_mul(2)?;
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if works(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good)
    }

    /// Every row that can be read of a table without row ids: from its beginning, and where that fails, from its end.
    /// A row may be handed over twice.
    pub fn both_ways(
        &self,
        table: &str,
        key: &str,
        columns: &str,
        mut each: impl FnMut(Vec<Value>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Walked> {
        let backwards = key
            .split(", ")
            .map(|column| format!("{column} DESC"))
            .collect::<Vec<_>>()
            .join(", ");
        for (walked, order) in [(Walked::Whole, key), (Walked::WithGaps, &*backwards)] {
            // The constant stands where `scan` wants a row id.
            let sql = format!("SELECT 0, {columns} FROM {table} WHERE ?1 <= 0 ORDER BY {order}");
            let broken = self.scan(&sql, 0, |_, values| each(values).map(|()| true))?;
            if !broken && walked == Walked::Whole {
                return Ok(Walked::Whole);
            }
        }
        Ok(Walked::WithGaps)
    }
}

/// The columns of a table, in order; none if there is no such table.
pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// Puts the first page of an empty store in the place of a damaged one: the tables are where they always are, for they
/// are made in one order, and an auto-vacuum database keeps their roots at its beginning.
fn graft(path: &Path, fresh: &Path) -> io::Result<()> {
    let mut page = [0; PAGE as usize];
    File::open(fresh)?.read_exact_at(&mut page, 0)?;
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let whole = file.metadata()?.len().div_ceil(PAGE) * PAGE;
    file.set_len(whole)?;
    let pages = u32::try_from(whole / PAGE).unwrap_or(u32::MAX);
    // The size in pages, and no free list: what it would name cannot be believed either.
    page[28..32].copy_from_slice(&pages.to_be_bytes());
    page[32..40].fill(0);
    // The size counts only if both change counters agree.
    let counter: [u8; 4] = [page[24], page[25], page[26], page[27]];
    page[92..96].copy_from_slice(&counter);
    file.write_all_at(&page, 0)
}
