//! Moving messages out of a dead-letter queue, as `StartMessageMoveTask` does: beginning a task, ending it, listing what
//! there was. The steps are in `moving.rs`; a task outlives the process. The dead letters of a spool go back to their
//! spool the same way.

use rusqlite::{Connection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::Store;
use super::commit::Durability;
use super::error::StoreError;
use super::moving::Moving;
use super::queue::Queue;
use super::spool::{dead_letter_queue, spool_queue};
use super::stats::Role;
use super::writer::Writer;

/// The most messages a second that a task may be held to (SQS).
const MAX_RATE: u32 = 500;
/// Tasks of a source that are remembered (SQS).
const REMEMBERED: i64 = 10;

/// A task to begin. What is in flight stays; what becomes visible again while the task runs is moved too. A moved message
/// is a new one to its queue: it comes last, with a time of arrival and a receive count of its own; its id and the time
/// when it was sent stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMove {
    pub source: String,
    /// `None`: each message to the queue it was sent to; the dead letters of a spool to that spool.
    pub destination: Option<String>,
    /// Messages a second, 1 to 500; `None`: as fast as others let it.
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

impl MoveState {
    /// As the column `state` has it.
    fn from_number(number: i64) -> Option<MoveState> {
        [
            MoveState::Running,
            MoveState::Completed,
            MoveState::Cancelling,
            MoveState::Cancelled,
            MoveState::Failed,
        ]
        .into_iter()
        .find(|state| state.number() == number)
    }

    pub(super) fn number(self) -> i64 {
        self as i64
    }

    /// Whether there is something left to do.
    pub(super) fn is_open(self) -> bool {
        matches!(self, MoveState::Running | MoveState::Cancelling)
    }

    fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<MoveState> {
        let number = row.get(at)?;
        MoveState::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(at, number))
    }
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
    ///
    /// # Errors
    /// [`MoveError::NotADeadLetterQueue`] unless some queue's dead letters go to the source. [`MoveError::Running`]: one
    /// task at a time for each source. [`MoveError::Invalid`] for a destination of the other kind (FIFO or standard).
    pub async fn start_move(&self, task: NewMove) -> Result<String, MoveError> {
        self.order(move |writer| writer.start_move(&task)).await
    }

    /// Ends a task; how many messages it has moved. What has been moved stays moved.
    pub async fn cancel_move(&self, handle: &str) -> Result<u64, MoveError> {
        let handle = handle.to_owned();
        self.order(move |writer| writer.cancel_move(&handle)).await
    }

    /// The last ten tasks of a source, newest first.
    pub async fn moves(&self, source: &str) -> Result<Vec<MoveTask>, StoreError> {
        let source = self.any_queue(source)?;
        self.order(move |writer| writer.list_moves(&source)).await
    }

    /// The queues whose dead letters go to this one, by name.
    pub fn dead_letter_sources(&self, queue: &str) -> Vec<String> {
        let names = self.0.shared.names.load();
        let mut sources: Vec<String> = names
            .values()
            .filter(|source| source.sends_dead_letters_to(queue))
            .map(|source| source.name.to_string())
            .collect();
        sources.sort_unstable();
        sources
    }
}

impl Queue {
    fn sends_dead_letters_to(&self, name: &str) -> bool {
        let spec = self.spec.load();
        spec.redrive.as_ref().is_some_and(|to| to.to == name)
    }
}

impl Writer {
    pub fn start_move(&mut self, task: &NewMove) -> Result<String, MoveError> {
        let names = self.shared.names.load_full();
        let unknown = |name: &str| StoreError::UnknownQueue(name.to_owned());
        let invalid = |reason: &str| Err(MoveError::Invalid(reason.to_owned()));
        let source = names
            .get(task.source.as_str())
            .filter(|queue| queue.role != Role::Spool)
            .ok_or_else(|| unknown(&task.source))?;
        if task
            .max_per_second
            .is_some_and(|rate| !(1..=MAX_RATE).contains(&rate))
        {
            return invalid("MaxNumberOfMessagesPerSecond is 1 to 500");
        }
        let destination = if source.role == Role::DeadLetters {
            let target = source.name.strip_prefix(&*dead_letter_queue(""));
            let spool = spool_queue(target.unwrap_or_default());
            if task.destination.as_ref().is_some_and(|to| *to != spool) {
                return invalid("what a target refused goes back to its own spool");
            }
            let spool = names.get(spool.as_str()).ok_or_else(|| unknown(&spool))?;
            Some(spool.id)
        } else {
            let is_dead_letter_queue = |queue: &Queue| queue.sends_dead_letters_to(&source.name);
            if !names.values().any(|queue| is_dead_letter_queue(queue)) {
                return Err(MoveError::NotADeadLetterQueue);
            }
            match &task.destination {
                None => None,
                Some(name) => {
                    let to = names
                        .get(name.as_str())
                        .filter(|queue| queue.role == Role::Queue)
                        .ok_or_else(|| unknown(name))?;
                    if to.id == source.id {
                        return invalid("source and destination are the same queue");
                    }
                    if to.spec.load().fifo != source.spec.load().fifo {
                        return invalid(
                            "source and destination must be of the same kind, FIFO or standard",
                        );
                    }
                    Some(to.id)
                }
            }
        };
        if self.moves.iter().any(|task| task.source == source.id) {
            return Err(MoveError::Running);
        }
        let only = task.only.as_ref().map(serde_json::to_string).transpose();
        let only = only.map_err(|error| MoveError::Invalid(error.to_string()))?;
        let visible = self
            .desks
            .get(&source.id)
            .map_or(0, |desk| desk.counters.visible);
        let to_move = task.only.as_ref().map_or(visible, |only| only.len() as u64);
        let handle = Uuid::new_v4().to_string();
        let (below, source) = (self.next_seq, source.id);
        let id = self.transact(Durability::Durable, |group, _| {
            let id = group
                .connection
                .prepare_cached(
                    "INSERT INTO move_task (handle, source, destination, max_per_second, state, below, at_lane, at_seq,
                         only_these, moved, to_move, started_at)
                     VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?6, ?7, 0, ?8, ?9) RETURNING id",
                )?
                .query_row(
                    (
                        &handle,
                        source,
                        destination,
                        task.max_per_second,
                        below,
                        i64::MIN,
                        &only,
                        to_move as i64,
                        group.now.wall,
                    ),
                    |row| row.get(0),
                )?;
            group
                .connection
                .prepare_cached(
                    "DELETE FROM move_task WHERE source = ?1 AND id NOT IN
                         (SELECT id FROM move_task WHERE source = ?1 ORDER BY id DESC LIMIT ?2)",
                )?
                .execute((source, REMEMBERED))?;
            Ok(id)
        })?;
        self.moves.push(Moving {
            id,
            handle: handle.clone(),
            source,
            destination,
            rate: task.max_per_second.map(i64::from),
            state: MoveState::Running,
            below,
            at: (i64::MIN, i64::MIN),
            only: task.only.clone().map(Into::into),
            moved: 0,
            failure: None,
            found: false,
            credit: None,
            due: i64::MIN,
        });
        Ok(handle)
    }

    fn cancel_move(&mut self, handle: &str) -> Result<u64, MoveError> {
        let Some(at) = self.moves.iter().position(|task| task.handle == handle) else {
            return Err(MoveError::NoSuchTask);
        };
        let id = self.moves[at].id;
        self.transact(Durability::Durable, |group, _| {
            group
                .connection
                .prepare_cached("UPDATE move_task SET state = ?2 WHERE id = ?1")?
                .execute((id, MoveState::Cancelling.number()))
        })?;
        let task = &mut self.moves[at];
        task.state = MoveState::Cancelling;
        task.due = i64::MIN;
        Ok(task.moved.max(0) as u64)
    }

    fn list_moves(&mut self, source: &Queue) -> Result<Vec<MoveTask>, StoreError> {
        let rows = self.transact(Durability::Later, |group, _| {
            let mut statement = group.connection.prepare_cached(
                "SELECT handle, max_per_second, state, moved, to_move, failure, started_at, destination
                 FROM move_task WHERE source = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map((source.id, REMEMBERED), |row| {
                let task = MoveTask {
                    handle: row.get(0)?,
                    source: source.name.to_string(),
                    destination: None,
                    max_per_second: row.get(1)?,
                    state: MoveState::read(row, 2)?,
                    moved: row.get::<_, i64>(3)?.max(0) as u64,
                    to_move: row.get::<_, i64>(4)?.max(0) as u64,
                    failure: row.get(5)?,
                    started_at: row.get(6)?,
                };
                Ok((task, row.get(7)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(MoveTask, Option<i64>)>>>()
        })?;
        let name = |id: i64| match self.desks.get(&id) {
            Some(desk) => desk.queue.name.to_string(),
            // As the file calls a removed queue.
            None => format!("removed:{id}"),
        };
        Ok(rows
            .into_iter()
            .map(|(task, destination)| MoveTask {
                destination: destination.map(name),
                ..task
            })
            .collect())
    }
}

/// The tasks that have not ended.
pub(super) fn read_running(connection: &Connection) -> rusqlite::Result<Vec<Moving>> {
    let mut statement = connection.prepare(
        "SELECT id, handle, source, destination, max_per_second, state, below, at_lane, at_seq, only_these, moved
         FROM move_task WHERE state IN (0, 2) ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let only = row.get::<_, Option<String>>(9)?;
        let only = only.map(|text| serde_json::from_str::<Vec<i64>>(&text).map(Into::into));
        Ok(Moving {
            id: row.get(0)?,
            handle: row.get(1)?,
            source: row.get(2)?,
            destination: row.get(3)?,
            rate: row.get(4)?,
            state: MoveState::read(row, 5)?,
            below: row.get(6)?,
            at: (row.get(7)?, row.get(8)?),
            only: only.transpose().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    9,
                    rusqlite::types::Type::Text,
                    error.into(),
                )
            })?,
            moved: row.get(10)?,
            failure: None,
            // What was moved before is not known any more; another walk does no harm.
            found: true,
            credit: None,
            due: i64::MIN,
        })
    })?;
    rows.collect()
}
