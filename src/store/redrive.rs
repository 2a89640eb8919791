//! Moving messages out of a dead-letter queue, in steps, as `StartMessageMoveTask` does; a task outlives the process.
//! The dead letters of a spool go back to their spool the same way.

use thiserror::Error;

use super::Store;
use super::error::StoreError;

/// A task to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMove {
    pub source: String,
    /// `None`: each message to the queue it came from.
    pub destination: Option<String>,
    /// Messages a second; `None`: as fast as others let it.
    pub max_per_second: Option<u32>,
    /// Only these, by their number; `None`: all that are there now.
    pub only: Option<Vec<i64>>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveState {
    Running,
    Completed,
    Cancelling,
    Cancelled,
    Failed,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveTask {
    /// What it is cancelled by; opaque.
    pub handle: String,
    pub source: String,
    pub destination: Option<String>,
    pub max_per_second: Option<u32>,
    pub state: MoveState,
    pub moved: u64,
    pub to_move: u64,
    pub failure: Option<String>,
    /// Milliseconds since 1970.
    pub started_at: i64,
}

/// Why a task was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MoveError {
    #[error("the source is not a dead-letter queue")]
    NotADeadLetterQueue,
    #[error("a task is moving messages out of that queue already")]
    Running,
    #[error("there is no such task, or it has ended")]
    NoSuchTask,
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Begins a task; the handle.
    pub async fn start_move(&self, task: NewMove) -> Result<String, MoveError> {
        let _ = task;
        Err(StoreError::Closed.into())
    }

    /// Ends a task; how many messages it has moved. What has been moved stays moved.
    pub async fn cancel_move(&self, handle: &str) -> Result<u64, MoveError> {
        let _ = handle;
        Err(StoreError::Closed.into())
    }

    /// The last ten tasks of a source, newest first.
    pub async fn moves(&self, source: &str) -> Result<Vec<MoveTask>, StoreError> {
        let _ = source;
        Err(StoreError::Closed)
    }

    /// The queues whose dead letters go to this one, by name.
    pub fn dead_letter_sources(&self, queue: &str) -> Vec<String> {
        let _ = queue;
        Vec::new()
    }
}

/// A task that has not ended.
pub(super) struct Moving {
    pub source: i64,
    /// The steady time of its next step.
    pub due: i64,
}

pub(super) fn read_running(_: &rusqlite::Connection) -> rusqlite::Result<Vec<Moving>> {
    Ok(Vec::new())
}

impl super::writer::Writer {
    pub fn move_some(&mut self) {}
}
