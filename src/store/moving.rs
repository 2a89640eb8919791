//! The steps of a task that moves messages out of a dead-letter queue: a few messages in each, so that others have their
//! turn, and no more in a second than the task may.
//!
//! A moved message gets a new number, so that it comes last in its queue, and so that one that fails again and comes
//! back is not moved twice by the same task. Its row is verified and signed anew.

use std::sync::Arc;

use rusqlite::OptionalExtension as _;

use super::clock::millis;
use super::commit::Durability;
use super::group::{Exit, Flight, Group, Slot};
use super::message::row_checksum;
use super::redrive::MoveState;
use super::stats::Role;
use super::stored::{MESSAGE, Stored};
use super::writer::{LOG_PER_OPERATION, Writer};

/// Messages in one step at most, and bytes after which a step ends.
const STEP: usize = 200;
const STEP_BYTES: u64 = 4 << 20;
/// What one message costs of a task's credit.
const COST: i64 = 1_000;
/// A task with a limit makes at most this many steps a second.
const STEPS_A_SECOND: i64 = 20;

/// What a step looks at: each with where the walk is after it; `None` where nothing can be received.
type Batch = Vec<((i64, i64), Option<Slot>)>;

/// A task that has not ended.
#[derive(Clone)]
pub(super) struct Moving {
    pub id: i64,
    pub handle: String,
    pub source: i64,
    pub destination: Option<i64>,
    /// Messages a second.
    pub rate: Option<i64>,
    pub state: MoveState,
    /// Messages of this number and later came after the task began.
    pub below: i64,
    /// How far the walk over the source has come: lane and number, or the place in `only`.
    pub at: (i64, i64),
    pub only: Option<Arc<[i64]>>,
    pub moved: i64,
    pub failure: Option<String>,
    /// Whether this walk has found anything to move. If so there is another: messages may have become visible behind it.
    pub found: bool,
    /// What may be moved of a limited rate, in thousandths of messages, and the steady time of that.
    pub credit: Option<(i64, i64)>,
    /// The steady time of the next step.
    pub due: i64,
}

impl Moving {
    /// How many messages may be moved now.
    fn allowance(&mut self, steady: i64) -> usize {
        let Some(rate) = self.rate else {
            return STEP;
        };
        let (credit, at) = self.credit.unwrap_or((COST, steady));
        let grown = (steady - at).max(0).saturating_mul(rate);
        let credit = credit.saturating_add(grown).min(rate * COST);
        self.credit = Some((credit, steady));
        usize::try_from(credit / COST).unwrap_or(0).min(STEP)
    }

    /// Counts a message, and plans the next step.
    fn count_moved(&mut self) {
        self.moved += 1;
        self.found = true;
        if let Some((credit, _)) = &mut self.credit {
            *credit -= COST;
        }
    }

    fn plan(&mut self, steady: i64) {
        self.due = match (self.rate, self.credit) {
            (Some(rate), Some((credit, _))) => {
                let wanted = (rate / STEPS_A_SECOND).max(1) * COST;
                let missing = (wanted - credit).max(0);
                steady + (missing + rate - 1) / rate
            }
            _ => i64::MIN,
        };
    }
}

impl Writer {
    /// A step of each task that is due.
    pub fn move_some(&mut self) {
        if self.moves.is_empty() {
            return;
        }
        let steady = self.timeline.now().steady;
        if steady < self.steps_from {
            return;
        }
        let mut tasks = std::mem::take(&mut self.moves);
        for task in tasks.iter_mut().filter(|task| task.due <= steady) {
            let mut next = task.clone();
            let limit = next.allowance(steady);
            let step = self.transact(Durability::Later, |group, _| {
                group.move_step(&mut next, limit)
            });
            match step {
                Ok(bytes) => {
                    self.uncounted += 2 * bytes + limit as u64 * LOG_PER_OPERATION;
                    next.plan(steady);
                    *task = next;
                }
                Err(_) => {
                    self.rest();
                    break;
                }
            }
        }
        tasks.retain(|task| task.state.is_open());
        self.moves = tasks;
    }
}

impl Group<'_> {
    /// One step; how many bytes were moved.
    fn move_step(&mut self, task: &mut Moving, limit: usize) -> rusqlite::Result<u64> {
        let mut bytes = 0;
        if task.state == MoveState::Cancelling {
            task.state = MoveState::Cancelled;
        } else if limit > 0 {
            bytes = self.walk(task, limit)?;
        }
        self.connection
            .prepare_cached(
                "UPDATE move_task SET state = ?2, at_lane = ?3, at_seq = ?4, moved = ?5, failure = ?6 WHERE id = ?1",
            )?
            .execute((
                task.id,
                task.state.number(),
                task.at.0,
                task.at.1,
                task.moved,
                &task.failure,
            ))?;
        Ok(bytes)
    }

    fn walk(&mut self, task: &mut Moving, limit: usize) -> rusqlite::Result<u64> {
        let batch = match task.only.clone() {
            Some(only) => self.picked(task, &only, limit)?,
            None => self.following(task, limit)?,
        };
        let mut last = batch.len() < limit;
        let mut bytes = 0;
        let mut touched: Vec<i64> = Vec::new();
        let mut skipped = None;
        for (at, slot) in batch {
            let Some(slot) = slot else {
                task.at = at;
                continue;
            };
            let late = task.only.is_none() && slot.seq >= task.below;
            if late || !touched.contains(&slot.lane) && self.is_held(slot.lane)? {
                skipped = Some(slot.lane);
            }
            if skipped == Some(slot.lane) {
                // Later messages of the lane stay behind this one.
                task.at = match task.only {
                    Some(_) => at,
                    None => (slot.lane, i64::MAX),
                };
                continue;
            }
            let moved = self.move_one(task, &slot)?;
            if let Err(reason) = moved {
                task.state = MoveState::Failed;
                task.failure = Some(reason);
                break;
            }
            task.at = at;
            if !touched.contains(&slot.lane) {
                touched.push(slot.lane);
            }
            bytes += slot.size.max(0) as u64;
            if bytes >= STEP_BYTES {
                last = false;
                break;
            }
        }
        for lane in touched {
            self.lane_changed(task.source, lane, 0, 0)?;
        }
        if last && task.state == MoveState::Running {
            if task.only.is_none() && std::mem::take(&mut task.found) {
                task.at = (i64::MIN, i64::MIN);
            } else {
                task.state = MoveState::Completed;
            }
        }
        Ok(bytes)
    }

    /// What can be received of the source, after where the walk has come to.
    fn following(&self, task: &Moving, limit: usize) -> rusqlite::Result<Batch> {
        let (lane, seq) = task.at;
        self.connection
            .prepare_cached(
                "SELECT seq, lane, arrived_at, receive_count, first_received_at, size FROM ready
                 WHERE queue = ?1 AND (lane, seq) > (?2, ?3) ORDER BY lane, seq LIMIT ?4",
            )?
            .query_map((task.source, lane, seq, limit as i64), |row| {
                let slot = Slot::read(row, 0)?;
                Ok(((slot.lane, slot.seq), Some(slot)))
            })?
            .collect()
    }

    /// The next of those that were asked for; `None` where one cannot be received.
    fn picked(&self, task: &Moving, only: &[i64], limit: usize) -> rusqlite::Result<Batch> {
        let done = usize::try_from(task.at.1).unwrap_or(0);
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, lane, arrived_at, receive_count, first_received_at, size FROM ready
             WHERE queue = ?1 AND seq = ?2 AND lane IN
                 (0, (SELECT l.id FROM message m JOIN lane l ON l.queue = ?1 AND l.group_id = m.group_id WHERE m.seq = ?2))",
        )?;
        only.iter()
            .enumerate()
            .skip(done)
            .take(limit)
            .map(|(place, seq)| {
                let slot = statement
                    .query_row((task.source, seq), |row| Slot::read(row, 0))
                    .optional()?;
                Ok(((0, place as i64 + 1), slot))
            })
            .collect()
    }

    /// Whether something of the lane is in flight: what comes after it waits for it.
    fn is_held(&self, lane: i64) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM lane WHERE id = ?1 AND in_flight > 0")?
            .exists([lane])
    }

    /// Moves one message, or says why the task cannot go on. A damaged one is set aside.
    fn move_one(&mut self, task: &mut Moving, slot: &Slot) -> rusqlite::Result<Result<(), String>> {
        let stored = self
            .connection
            .prepare_cached(&format!("SELECT {MESSAGE} FROM message m WHERE m.seq = ?1"))?
            .query_row([slot.seq], |row| Stored::read(row, 0, slot.seq))
            .optional()?
            .flatten();
        let Some(stored) = stored else {
            self.remove_ready(task.source, slot.lane, slot.seq)?;
            self.set_aside(task.source, slot)?;
            return Ok(Ok(()));
        };
        let to = match self.destination(task, slot, &stored) {
            Ok(to) => to,
            Err(reason) => return Ok(Err(reason)),
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        self.remove_ready(task.source, slot.lane, slot.seq)?;
        self.count_exit(task.source, slot, Exit::Forwarded)?;
        self.forget_death(slot.seq)?;
        self.connection
            .prepare_cached(
                "UPDATE message SET seq = ?2, queue = ?3, checksum = ?4 WHERE seq = ?1",
            )?
            .execute((
                slot.seq,
                seq,
                to,
                row_checksum(stored.content_hash, seq, to, stored.sent_at),
            ))?;
        let arrived = Slot {
            seq,
            lane: 0,
            arrived_at: self.now.wall,
            receive_count: 0,
            first_received_at: None,
            size: slot.size,
        };
        self.arrive(to, arrived, stored.group_id.as_deref())?;
        task.count_moved();
        Ok(Ok(()))
    }

    /// Where a message goes, or why it cannot. Where SQS has a word for the reason, the reason begins with it.
    fn destination(&self, task: &Moving, slot: &Slot, stored: &Stored) -> Result<i64, String> {
        let id = &stored.id;
        let to = task.destination.unwrap_or(stored.origin);
        if to == task.source {
            return Err(format!(
                "CouldNotDetermineMessageSource: message {id} was sent to this queue itself"
            ));
        }
        let Some(desk) = self.desks.get(&to) else {
            return Err(match task.destination {
                Some(_) => {
                    "AWS.SimpleQueueService.NonExistentQueue: the destination has been removed"
                        .to_owned()
                }
                None => format!(
                    "AWS.SimpleQueueService.NonExistentQueue: the queue that message {id} was sent to has been removed"
                ),
            });
        };
        match desk.queue.spec.load().max_size {
            Some(max_size) if desk.counters.bytes + slot.size.max(0) as u64 > max_size => {
                Err(format!(
                    "queue {:?} is full: its max_size is {max_size} bytes",
                    desk.queue.name
                ))
            }
            _ => Ok(to),
        }
    }

    /// Puts a message, whose row is there, at the end of a queue, as if it had just been sent.
    fn arrive(
        &mut self,
        queue: i64,
        mut slot: Slot,
        group_id: Option<&str>,
    ) -> rusqlite::Result<()> {
        let now = self.now.steady;
        let desk = self.changing(queue)?;
        desk.counters.ledger.imported += 1;
        desk.counters.bytes += slot.size.max(0) as u64;
        let spec = desk.queue.spec.load_full();
        let is_spool = desk.queue.role == Role::Spool;
        let mut visible_at = now.saturating_add(millis(spec.delay));
        let group_id = if spec.fifo {
            Some(group_id.unwrap_or_default())
        } else {
            group_id.filter(|_| is_spool)
        };
        if let Some(group_id) = group_id {
            let (lane, not_before) = self.lane(queue, group_id)?;
            slot.lane = lane;
            visible_at = visible_at.max(not_before);
        }
        // A spool's lane is held by what is in flight, not by time.
        if is_spool || visible_at <= now {
            self.insert_ready(queue, &slot)?;
            return self.lane_changed(queue, slot.lane, 0, 0);
        }
        let flight = Flight {
            slot,
            visible_at,
            delayed: true,
        };
        self.insert_flight(queue, &flight)?;
        if slot.lane != 0 {
            self.connection
                .prepare_cached("UPDATE lane SET not_before = ?2 WHERE id = ?1")?
                .execute((slot.lane, visible_at))?;
        }
        self.lane_changed(queue, slot.lane, 0, 1)
    }
}
