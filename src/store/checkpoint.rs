//! Moving the log's pages into the database, off the commit path: a thread with its own connection does the bulk while
//! commits go on, and the writer does the small rest between two groups. Only then can the log begin anew at its start,
//! which keeps its size bounded and its syncs cheap.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: only count.
    Count,
    /// What can be moved without waiting for anybody.
    Passive,
    /// All of it, and the log is cut to nothing.
    Truncate,
}

/// The state of the log after a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// Somebody was in the way.
    pub busy: bool,
    pub pages: u64,
    /// How many of them are in the database.
    pub moved: u64,
}

impl Log {
    /// Whether nothing in the log is missing in the database.
    pub fn is_done(&self) -> bool {
        !self.busy && self.moved >= self.pages
    }
}

/// Checkpoints on this connection.
pub(super) fn checkpoint(connection: &Connection, mode: Mode) -> rusqlite::Result<Log> {
    let sql = match mode {
        Mode::Count => "PRAGMA wal_checkpoint(NOOP)",
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    connection.query_row(sql, [], |row| {
        Ok(Log {
            busy: row.get::<_, i64>(0)? != 0,
            pages: row.get::<_, i64>(1)?.max(0) as u64,
            moved: row.get::<_, i64>(2)?.max(0) as u64,
        })
    })
}

enum Request {
    Run,
    LetGo(Sender<()>),
}

/// The thread beside the writer; dropping it ends it.
pub(super) struct Checkpointer {
    requests: Option<Sender<Request>>,
    results: Receiver<(rusqlite::Result<Log>, Duration)>,
    running: bool,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub fn start(database: PathBuf) -> std::io::Result<Checkpointer> {
        let (requests, inbox) = channel();
        let (outbox, results) = channel();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || {
                let mut connection = None;
                while let Ok(request) = inbox.recv() {
                    match request {
                        Request::Run => {
                            let started = Instant::now();
                            let log = run(&mut connection, &database);
                            if outbox.send((log, started.elapsed())).is_err() {
                                return;
                            }
                        }
                        Request::LetGo(done) => {
                            connection = None;
                            // The writer waits for this unless it is gone itself.
                            let _ = done.send(());
                        }
                    }
                }
            })?;
        Ok(Checkpointer {
            requests: Some(requests),
            results,
            running: false,
            thread: Some(thread),
        })
    }

    /// Asks for a checkpoint, unless one runs.
    pub fn ask(&mut self) {
        if !self.running
            && let Some(requests) = &self.requests
        {
            self.running = requests.send(Request::Run).is_ok();
        }
    }

    /// The result of a checkpoint that has ended since the last look.
    pub fn poll(&mut self) -> Option<(rusqlite::Result<Log>, Duration)> {
        let result = self.results.try_recv().ok()?;
        self.running = false;
        Some(result)
    }

    /// Waits for a checkpoint that runs: commits have outpaced it.
    pub fn wait(&mut self) -> Option<(rusqlite::Result<Log>, Duration)> {
        let result = self.running.then(|| self.results.recv().ok()).flatten();
        self.running = false;
        result
    }

    /// Closes the thread's connection, so that the file can be opened as if for the first time.
    pub fn let_go(&mut self) {
        let (done, wait) = channel();
        if let Some(requests) = &self.requests
            && requests.send(Request::LetGo(done)).is_ok()
        {
            // An error means that the thread has ended, and its connection with it.
            let _ = wait.recv();
        }
        while self.results.try_recv().is_ok() {}
        self.running = false;
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The store's checkpoint thread panicked");
        }
    }
}

fn run(slot: &mut Option<Connection>, database: &PathBuf) -> rusqlite::Result<Log> {
    let connection = match slot {
        Some(connection) => connection,
        None => {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(database, flags)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // A checkpoint syncs log and database only at NORMAL or above.
            connection.pragma_update(None, "synchronous", "FULL")?;
            slot.insert(connection)
        }
    };
    let log = checkpoint(connection, Mode::Passive);
    if log.is_err() {
        *slot = None;
    }
    log
}
