//! Whether a file that SQLite has called corrupt is. A read that the disk fails (EIO) is called the same:
//! `unixRead` makes SQLITE_IOERR_CORRUPTFS of it, and `sqlite3VdbeExec` SQLITE_CORRUPT of that. Only the report of an
//! integrity check tells the two apart, so one is made, on a thread of its own, before the store works on or gives up.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// A file that is called corrupt again so soon after it was found sound is not believed to be.
const BELIEVED: Duration = Duration::from_secs(600);
/// SQLITE_IOERR, the low byte of every error code that the disk is to blame for.
const IO_ERROR: u32 = 10;

/// What an integrity check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Sound,
    /// The disk did not give a page: the check has to be made again.
    Unreadable(String),
    Corrupt(String),
}

/// The doubts about one file.
#[derive(Default)]
pub(super) struct Inquiry {
    check: Option<JoinHandle<Finding>>,
    doubted: bool,
    cleared: Option<Instant>,
}

impl Inquiry {
    /// SQLite called the file corrupt. False if it is past doubt.
    pub fn doubt(&mut self) -> bool {
        self.doubted = self.cleared.is_none_or(|at| at.elapsed() > BELIEVED);
        self.doubted
    }

    /// What came out, if there was a doubt and if the check is done; begins one. `Ok`: nothing speaks against working on.
    pub fn settle(&mut self, database: &Path) -> Result<(), Option<Finding>> {
        if !self.doubted {
            return Ok(());
        }
        let Some(check) = self.check.take() else {
            let database = database.to_owned();
            let check = std::thread::Builder::new()
                .name("store-check".to_owned())
                .spawn(move || examined(&database));
            return Err(match check {
                Ok(check) => {
                    self.check = Some(check);
                    None
                }
                Err(error) => Some(Finding::Unreadable(error.to_string())),
            });
        };
        if !check.is_finished() {
            self.check = Some(check);
            return Err(None);
        }
        match check.join() {
            Ok(Finding::Sound) => {
                self.doubted = false;
                self.cleared = Some(Instant::now());
                Ok(())
            }
            Ok(finding) => Err(Some(finding)),
            Err(_) => Err(Some(Finding::Unreadable("the check panicked".to_owned()))),
        }
    }
}

/// Reads the whole file. Nothing is written, and nothing is held against other readers.
fn examined(database: &Path) -> Finding {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let report = Connection::open_with_flags(database, flags).and_then(|connection| {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.query_row("PRAGMA integrity_check(1)", [], |row| {
            row.get::<_, String>(0)
        })
    });
    match report {
        Ok(report) if report == "ok" => Finding::Sound,
        Ok(report) if blames_the_disk(&report) => Finding::Unreadable(report),
        Ok(report) => Finding::Corrupt(report),
        // Not even the schema could be read, which says nothing about why.
        Err(error) => Finding::Unreadable(error.to_string()),
    }
}

/// Whether a report is about a page that could not be read: "unable to get the page. error code=8458", for one.
fn blames_the_disk(report: &str) -> bool {
    report
        .split("error code=")
        .skip(1)
        .filter_map(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            digits?.parse::<u32>().ok()
        })
        .any(|code| code & 0xff == IO_ERROR)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn settled(inquiry: &mut Inquiry, database: &Path) -> Result<(), Finding> {
        loop {
            match inquiry.settle(database) {
                Ok(()) => return Ok(()),
                Err(Some(finding)) => return Err(finding),
                Err(None) => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_sound_file_is_cleared_and_a_second_doubt_is_not_heard() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(100000));")
            .unwrap();
        let mut inquiry = Inquiry::default();
        assert_eq!(inquiry.settle(&path), Ok(()), "nobody doubts");
        assert!(inquiry.doubt());
        assert_eq!(settled(&mut inquiry, &path), Ok(()));
        assert!(!inquiry.doubt());
    }

    #[test]
    fn a_damaged_file_is_found_corrupt() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(100000));")
            .unwrap();
        drop(database);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xa5; 4096], 4096).unwrap();
        let mut inquiry = Inquiry::default();
        assert!(inquiry.doubt());
        let found = settled(&mut inquiry, &path);
        assert!(matches!(found, Err(Finding::Corrupt(_))), "{found:?}");
    }

    #[test]
    fn a_page_that_the_disk_does_not_give_is_no_corruption() {
        assert!(blames_the_disk(
            "*** in database main ***\nTree 2 page 9: unable to get the page. error code=8458"
        ));
        assert!(!blames_the_disk(
            "Tree 2 page 9: unable to get the page. error code=11"
        ));
        assert!(!blames_the_disk("row 3 missing from index i"));
    }
}
