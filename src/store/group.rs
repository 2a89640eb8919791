//! One group of operations in one open transaction, and the moves of a message between the tables that all operations
//! are made of. Each move keeps the counters; the writer stores them with the same commit.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::clock::Now;
use super::error::StoreError;
use super::queue::Desk;
use super::space::Room;
use super::stats::Role;

/// What an operation gives: the answer or its refusal; or a failure of the file, which ends the whole group.
pub(super) type Outcome<T> = rusqlite::Result<Result<T, StoreError>>;

/// All queues, by their number.
pub(super) type Desks = HashMap<i64, Desk>;

/// The open transaction.
pub(super) struct Group<'a> {
    pub connection: &'a Connection,
    pub desks: &'a mut Desks,
    pub now: Now,
    pub next_seq: i64,
    pub room: Room,
}

/// The small row that says where a message stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub seq: i64,
    pub lane: i64,
    pub arrived_at: i64,
    pub receive_count: u32,
    pub first_received_at: Option<i64>,
    pub size: i64,
}

impl Slot {
    /// Columns `seq, lane, arrived_at, receive_count, first_received_at, size`, from this one on.
    pub fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Slot> {
        Ok(Slot {
            seq: row.get(from)?,
            lane: row.get(from + 1)?,
            arrived_at: row.get(from + 2)?,
            receive_count: row.get(from + 3)?,
            first_received_at: row.get(from + 4)?,
            size: row.get(from + 5)?,
        })
    }

    fn bytes(&self) -> u64 {
        self.size.max(0) as u64
    }
}

/// A row of `flight`.
pub(super) struct Flight {
    pub slot: Slot,
    pub visible_at: i64,
    pub delayed: bool,
}

/// How a message leaves a queue; each is a column of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Deleted,
    Forwarded,
    Expired,
    Purged,
    DeadLettered,
    Damaged,
}

impl Group<'_> {
    /// The desk of a queue. Jobs about a queue that was removed are refused before they come here; to find none would be
    /// a bug upstream.
    pub fn desk(&mut self, queue: i64) -> rusqlite::Result<&mut Desk> {
        self.desks
            .get_mut(&queue)
            .ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// The desk, to change its counters.
    pub fn changing(&mut self, queue: i64) -> rusqlite::Result<&mut Desk> {
        let desk = self.desk(queue)?;
        desk.dirty = true;
        Ok(desk)
    }

    /// Whether a message that arrived then is past the queue's retention.
    pub fn is_expired(&mut self, queue: i64, arrived_at: i64) -> rusqlite::Result<bool> {
        let now = self.now;
        let spec = self.desk(queue)?.queue.spec.load();
        Ok(now.expiry
            && spec
                .retention
                .is_some_and(|keep| now.wall - arrived_at >= super::clock::millis(keep)))
    }

    /// Makes a message receivable.
    pub fn insert_ready(&mut self, queue: i64, slot: &Slot) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO ready (queue, lane, seq, arrived_at, receive_count, first_received_at, size)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                queue,
                slot.lane,
                slot.seq,
                slot.arrived_at,
                slot.receive_count,
                slot.first_received_at,
                slot.size,
            ))?;
        let desk = self.changing(queue)?;
        desk.counters.visible += 1;
        desk.arrived += 1;
        if slot.lane == 0 {
            let oldest = desk.counters.oldest.get_or_insert(slot.arrived_at);
            *oldest = slot.arrived_at.min(*oldest);
        }
        Ok(())
    }

    /// Takes a message out of `ready`; false if it is not there.
    pub fn remove_ready(&mut self, queue: i64, lane: i64, seq: i64) -> rusqlite::Result<bool> {
        let removed = self
            .connection
            .prepare_cached("DELETE FROM ready WHERE queue = ?1 AND lane = ?2 AND seq = ?3")?
            .execute((queue, lane, seq))?;
        if removed > 0 {
            let desk = self.changing(queue)?;
            desk.counters.visible = desk.counters.visible.saturating_sub(1);
        }
        Ok(removed > 0)
    }

    /// Makes a message invisible until a steady time.
    pub fn insert_flight(&mut self, queue: i64, flight: &Flight) -> rusqlite::Result<()> {
        let Flight {
            slot,
            visible_at,
            delayed,
        } = flight;
        self.connection
            .prepare_cached(
                "INSERT INTO flight (queue, seq, lane, visible_at, delayed, arrived_at, receive_count, first_received_at, size)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                queue,
                slot.seq,
                slot.lane,
                visible_at,
                delayed,
                slot.arrived_at,
                slot.receive_count,
                slot.first_received_at,
                slot.size,
            ))?;
        let desk = self.changing(queue)?;
        desk.next_due = desk.next_due.min(*visible_at);
        *if *delayed {
            &mut desk.counters.delayed
        } else {
            &mut desk.counters.in_flight
        } += 1;
        Ok(())
    }

    /// A message in flight, if it is.
    pub fn flight(&self, queue: i64, seq: i64) -> rusqlite::Result<Option<Flight>> {
        self.connection
            .prepare_cached(
                "SELECT visible_at, delayed, seq, lane, arrived_at, receive_count, first_received_at, size
                 FROM flight WHERE queue = ?1 AND seq = ?2",
            )?
            .query_row((queue, seq), |row| {
                Ok(Flight {
                    visible_at: row.get(0)?,
                    delayed: row.get(1)?,
                    slot: Slot::read(row, 2)?,
                })
            })
            .optional()
    }

    /// Takes a message out of `flight`.
    pub fn remove_flight(&mut self, queue: i64, flight: &Flight) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM flight WHERE queue = ?1 AND seq = ?2")?
            .execute((queue, flight.slot.seq))?;
        let desk = self.changing(queue)?;
        let counter = if flight.delayed {
            &mut desk.counters.delayed
        } else {
            &mut desk.counters.in_flight
        };
        *counter = counter.saturating_sub(1);
        Ok(())
    }

    /// Counts a message out of its queue. Its rows in `ready` and `flight` are gone already.
    pub fn count_exit(&mut self, queue: i64, slot: &Slot, exit: Exit) -> rusqlite::Result<()> {
        let desk = self.changing(queue)?;
        desk.counters.bytes = desk.counters.bytes.saturating_sub(slot.bytes());
        let ledger = &mut desk.counters.ledger;
        *match exit {
            Exit::Deleted => &mut ledger.deleted,
            Exit::Forwarded => &mut ledger.forwarded,
            Exit::Expired => &mut ledger.expired,
            Exit::Purged => &mut ledger.purged,
            Exit::DeadLettered => &mut ledger.dead_lettered,
            Exit::Damaged => &mut ledger.damaged,
        } += 1;
        Ok(())
    }

    /// The end of a message that has left `ready` and `flight`: its body goes, and it is counted.
    pub fn drop_message(&mut self, queue: i64, slot: &Slot, exit: Exit) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM message WHERE seq = ?1")?
            .execute([slot.seq])?;
        if self.desk(queue)?.queue.role == Role::DeadLetters {
            self.forget_death(slot.seq)?;
        }
        self.count_exit(queue, slot, exit)
    }

    /// A record is no dead letter any more.
    pub fn forget_death(&self, seq: i64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM death WHERE seq = ?1")?
            .execute([seq])?;
        Ok(())
    }

    /// What a message in flight is to its lane, as changes to `in_flight` and `delayed` when it is no longer. A delayed
    /// message stands behind those of its lane that are ready; a record that failed stands before them, and holds them up.
    pub fn leaving(&mut self, queue: i64, flight: &Flight) -> rusqlite::Result<(i64, i64)> {
        let behind = flight.delayed && self.desk(queue)?.queue.role != Role::Spool;
        Ok(if behind { (0, -1) } else { (-1, 0) })
    }

    /// The lane of a message group, made if the group is new; and the time before which no later message of the group
    /// may become visible.
    pub fn lane(&mut self, queue: i64, group_id: &str) -> rusqlite::Result<(i64, i64)> {
        let found = self
            .connection
            .prepare_cached("SELECT id, not_before FROM lane WHERE queue = ?1 AND group_id = ?2")?
            .query_row((queue, group_id), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        let id = self
            .connection
            .prepare_cached("INSERT INTO lane (queue, group_id) VALUES (?1, ?2) RETURNING id")?
            .query_row((queue, group_id), |row| row.get(0))?;
        Ok((id, 0))
    }

    /// After messages of a lane moved: its head is found anew, and a lane without messages goes. A lane that has become
    /// free wakes who waits.
    pub fn lane_changed(
        &mut self,
        queue: i64,
        lane: i64,
        in_flight: i64,
        delayed: i64,
    ) -> rusqlite::Result<()> {
        if lane == 0 {
            return Ok(());
        }
        let (head, in_flight_now, delayed_now): (Option<i64>, i64, i64) = self
            .connection
            .prepare_cached(
                "UPDATE lane SET in_flight = in_flight + ?3, delayed = delayed + ?4,
                     head = (SELECT min(seq) FROM ready WHERE queue = ?2 AND lane = ?1)
                 WHERE id = ?1 RETURNING head, in_flight, delayed",
            )?
            .query_row((lane, queue, in_flight, delayed), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        if head.is_none() && in_flight_now == 0 && delayed_now == 0 {
            self.connection
                .prepare_cached("DELETE FROM lane WHERE id = ?1")?
                .execute([lane])?;
        } else if head.is_some() && in_flight_now == 0 && in_flight < 0 {
            self.desk(queue)?.arrived += 1;
        }
        Ok(())
    }
}
