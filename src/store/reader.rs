//! Reading beside the writer: a few connections that cannot write, used on the blocking pool, each for one short
//! statement at a time, so that none holds the log. They go before the file is closed or opened anew.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::Store;
use super::error::StoreError;
use super::queue::locked;

/// Reads at one time; more wait for their turn.
const READERS: usize = 4;
/// How long the writer waits for reads that are under way. What is still there then holds up the opening, not the writer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connections.
pub(super) struct Readers {
    database: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
    turns: Arc<Semaphore>,
}

struct Pool {
    idle: Vec<Connection>,
    busy: usize,
    /// Why nobody may read now.
    refusal: Option<StoreError>,
}

impl Readers {
    /// Opens nothing yet.
    pub fn new(database: PathBuf) -> Readers {
        Readers {
            database,
            pool: Mutex::new(Pool {
                idle: Vec::new(),
                busy: 0,
                refusal: None,
            }),
            returned: Condvar::new(),
            turns: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Closes all connections; until [`Readers::resume`] every read is refused like this.
    pub fn suspend(&self, refusal: StoreError) {
        let mut pool = locked(&self.pool);
        pool.refusal = Some(refusal);
        pool.idle.clear();
        let waited = self
            .returned
            .wait_timeout_while(pool, PATIENCE, |pool| pool.busy > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.1.timed_out() {
            tracing::warn!("Somebody still reads the database file that is about to be closed");
        }
    }

    /// The file can be read (again).
    pub fn resume(&self) {
        locked(&self.pool).refusal = None;
    }

    fn borrow(&self) -> Result<Option<Connection>, StoreError> {
        let mut pool = locked(&self.pool);
        if let Some(refusal) = &pool.refusal {
            return Err(refusal.clone());
        }
        pool.busy += 1;
        Ok(pool.idle.pop())
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.database, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "cache_size", -1_024)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut loan = Loan {
            readers: self,
            connection: self.borrow()?,
        };
        let read = match loan.connection.take() {
            Some(connection) => Ok(connection),
            None => self.open(),
        }
        .and_then(|connection| {
            let read = work(&connection)?;
            loan.connection = Some(connection);
            Ok(read)
        });
        read.map_err(|error| StoreError::Unavailable {
            reason: error.to_string(),
        })
    }
}

/// A connection that comes back, also if the work panics; one that failed does not.
struct Loan<'r> {
    readers: &'r Readers,
    connection: Option<Connection>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut pool = locked(&self.readers.pool);
        let connection = self.connection.take();
        if pool.refusal.is_none() {
            pool.idle.extend(connection);
        } else {
            // Closed before it counts as returned.
            drop(connection);
        }
        pool.busy -= 1;
        drop(pool);
        self.readers.returned.notify_all();
    }
}

impl Store {
    /// Runs a short statement on a reader's connection.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.0.shared.clone();
        let turn = shared.readers.turns.clone().acquire_owned().await;
        // The semaphore is never closed.
        let turn = turn.map_err(|_| StoreError::Closed)?;
        let read = move || {
            // The read goes on when its caller has gone, and so does its turn.
            let _turn = turn;
            shared.readers.read(work)
        };
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|error| {
                Err(StoreError::Unavailable {
                    reason: format!("a read ended early: {error}"),
                })
            })
    }
}
