//! What happens to a message that was received, within a group: it is deleted, its visibility changes, or it becomes
//! visible again. And what befalls messages by themselves: they become due, grow too old, are purged.

use rusqlite::OptionalExtension as _;

use super::error::StoreError;
use super::group::{Exit, Flight, Group, Outcome, Slot};
use super::handle::Grip;
use super::send::DEDUPLICATION_MS;
use super::spec::MAX_VISIBILITY;
use super::stats::Role;

/// A purge on its way: in steps, so that others have their turn in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purge {
    pub queue: i64,
    /// Messages sent later than this stay.
    pub below: i64,
    /// Where the walk over `ready` has come to.
    pub at: (i64, i64),
    pub ready_done: bool,
}

impl Group<'_> {
    /// Deletes the message that a handle names. That it is gone already is no error.
    ///
    /// On a standard queue every handle that was ever given out for the message deletes it, also when it has become
    /// visible or was received by somebody else since: whoever holds a handle has had the message, and says that its
    /// work is done. On a FIFO queue the handle must be that of the current delivery, within its visibility timeout.
    pub fn delete(&mut self, grip: &Grip) -> Outcome<()> {
        let queue = grip.queue;
        let fifo = self.desk(queue)?.queue.spec.load().fifo;
        if let Some(flight) = self.flight(queue, grip.seq)? {
            if fifo && !self.is_current(&flight, grip) {
                return Ok(Err(StoreError::ReceiptHandleExpired));
            }
            self.remove_flight(queue, &flight)?;
            self.drop_message(queue, &flight.slot, Exit::Deleted)?;
            let (in_flight, delayed) = self.leaving(queue, &flight)?;
            self.lane_changed(queue, flight.slot.lane, in_flight, delayed)?;
            return Ok(Ok(()));
        }
        if fifo {
            let waits = self
                .connection
                .prepare_cached(
                    "SELECT 1 FROM message m JOIN lane l ON l.queue = ?1 AND l.group_id = m.group_id
                     JOIN ready r ON r.queue = ?1 AND r.lane = l.id AND r.seq = m.seq WHERE m.seq = ?2",
                )?
                .exists((queue, grip.seq))?;
            return Ok(if waits {
                Err(StoreError::ReceiptHandleExpired)
            } else {
                Ok(())
            });
        }
        if let Some(slot) = self.ready_slot(queue, grip.seq)? {
            self.remove_ready(queue, 0, grip.seq)?;
            self.drop_message(queue, &slot, Exit::Deleted)?;
        }
        Ok(Ok(()))
    }

    /// Changes when the message becomes visible again: this long from now, 0 for at once.
    pub fn change_visibility(&mut self, grip: &Grip, visibility: i64) -> Outcome<()> {
        let held = self.now.steady - grip.taken_at + visibility;
        if held > super::clock::millis(MAX_VISIBILITY) {
            return Ok(Err(StoreError::InvalidParameter(
                "the total visibility timeout of a message is at most 43200 seconds".to_owned(),
            )));
        }
        let Some(flight) = self.flight(grip.queue, grip.seq)? else {
            return Ok(Err(StoreError::MessageNotInFlight));
        };
        if !self.is_current(&flight, grip) {
            return Ok(Err(StoreError::MessageNotInFlight));
        }
        if visibility == 0 {
            self.show(grip.queue, &flight)?;
        } else {
            let visible_at = self.now.steady.saturating_add(visibility);
            self.set_visible_at(grip.queue, grip.seq, visible_at)?;
        }
        Ok(Ok(()))
    }

    /// Makes a delivery that nobody got visible at once.
    pub fn release(&mut self, grip: &Grip) -> rusqlite::Result<()> {
        if let Some(flight) = self.flight(grip.queue, grip.seq)?
            && self.is_current(&flight, grip)
        {
            self.show(grip.queue, &flight)?;
        }
        Ok(())
    }

    fn is_current(&self, flight: &Flight, grip: &Grip) -> bool {
        flight.slot.receive_count == grip.receive_count && flight.visible_at > self.now.steady
    }

    /// A standard queue's message that waits.
    fn ready_slot(&self, queue: i64, seq: i64) -> rusqlite::Result<Option<Slot>> {
        self.connection
            .prepare_cached(
                "SELECT seq, lane, arrived_at, receive_count, first_received_at, size
                 FROM ready WHERE queue = ?1 AND lane = 0 AND seq = ?2",
            )?
            .query_row((queue, seq), |row| Slot::read(row, 0))
            .optional()
    }

    /// Sets the steady time at which a message in flight becomes visible.
    pub fn set_visible_at(
        &mut self,
        queue: i64,
        seq: i64,
        visible_at: i64,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE flight SET visible_at = ?3 WHERE queue = ?1 AND seq = ?2")?
            .execute((queue, seq, visible_at))?;
        let desk = self.desk(queue)?;
        desk.next_due = desk.next_due.min(visible_at);
        Ok(())
    }

    /// Moves a message from `flight` to `ready`, unless it is too old or being purged.
    pub fn show(&mut self, queue: i64, flight: &Flight) -> rusqlite::Result<()> {
        let slot = &flight.slot;
        self.remove_flight(queue, flight)?;
        if slot.seq < self.desk(queue)?.purging_below {
            self.drop_message(queue, slot, Exit::Purged)?;
        } else if self.is_expired(queue, slot.arrived_at)? {
            self.drop_message(queue, slot, Exit::Expired)?;
        } else {
            self.insert_ready(queue, slot)?;
        }
        let (in_flight, delayed) = self.leaving(queue, flight)?;
        self.lane_changed(queue, slot.lane, in_flight, delayed)
    }

    /// Makes visible what is due, up to a limit; whether that was all.
    pub fn promote(&mut self, queue: i64, limit: usize) -> rusqlite::Result<bool> {
        let due: Vec<Flight> = self
            .connection
            .prepare_cached(
                "SELECT visible_at, delayed, seq, lane, arrived_at, receive_count, first_received_at, size
                 FROM flight INDEXED BY flight_due WHERE queue = ?1 AND visible_at <= ?2 ORDER BY visible_at LIMIT ?3",
            )?
            .query_map((queue, self.now.steady, limit as i64), |row| {
                Ok(Flight {
                    visible_at: row.get(0)?,
                    delayed: row.get(1)?,
                    slot: Slot::read(row, 2)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        for flight in &due {
            self.show(queue, flight)?;
        }
        let next: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT min(visible_at) FROM flight INDEXED BY flight_due WHERE queue = ?1",
            )?
            .query_row([queue], |row| row.get(0))?;
        self.desk(queue)?.next_due = next.unwrap_or(i64::MAX);
        Ok(due.len() < limit)
    }

    /// Removes what has waited longer than the retention, oldest first, up to a limit; whether that was all. Groups of
    /// which something is in flight have their turn later; receiving looks at each message's own age anyway.
    pub fn expire(&mut self, queue: i64, limit: usize) -> rusqlite::Result<bool> {
        if self.desk(queue)?.queue.role == Role::Spool {
            return self.note_oldest(queue);
        }
        let fifo = self.desk(queue)?.queue.spec.load().fifo;
        let mut removed = 0;
        loop {
            let lane = if fifo {
                self.first_free_lane(queue)?
            } else {
                Some(0)
            };
            let head = match lane {
                Some(lane) => self.head(queue, lane)?,
                None => None,
            };
            let oldest = head.map(|slot| slot.arrived_at);
            let desk = self.desk(queue)?;
            desk.aged |= desk.counters.oldest != oldest;
            desk.counters.oldest = oldest;
            let Some(slot) = head else {
                return Ok(true);
            };
            if !self.is_expired(queue, slot.arrived_at)? {
                return Ok(true);
            }
            if removed == limit {
                return Ok(false);
            }
            self.remove_ready(queue, slot.lane, slot.seq)?;
            self.drop_message(queue, &slot, Exit::Expired)?;
            self.lane_changed(queue, slot.lane, 0, 0)?;
            removed += 1;
        }
    }

    pub fn first_free_lane(&self, queue: i64) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached(
                "SELECT id FROM lane WHERE queue = ?1 AND in_flight = 0 AND head > 0 ORDER BY head LIMIT 1",
            )?
            .query_row([queue], |row| row.get(0))
            .optional()
    }

    pub fn head(&self, queue: i64, lane: i64) -> rusqlite::Result<Option<Slot>> {
        self.connection
            .prepare_cached(
                "SELECT seq, lane, arrived_at, receive_count, first_received_at, size
                 FROM ready WHERE queue = ?1 AND lane = ?2 ORDER BY seq LIMIT 1",
            )?
            .query_row((queue, lane), |row| Slot::read(row, 0))
            .optional()
    }

    /// Forgets deduplication ids older than five minutes, up to a limit; whether that was all.
    pub fn forget_duplicates(&mut self, limit: usize) -> rusqlite::Result<bool> {
        if !self.now.expiry {
            return Ok(true);
        }
        let before = self.now.steady - DEDUPLICATION_MS;
        let forgotten = self
            .connection
            .prepare_cached(
                "DELETE FROM deduplication WHERE n IN
                     (SELECT n FROM (SELECT n, at FROM deduplication ORDER BY n LIMIT ?2) WHERE at <= ?1)",
            )?
            .execute((before, limit as i64))?;
        Ok(forgotten < limit)
    }

    /// One step of a purge; whether that was the last.
    pub fn purge(&mut self, purge: &mut Purge, limit: usize) -> rusqlite::Result<bool> {
        self.desk(purge.queue)?.purging_below = purge.below;
        if !purge.ready_done {
            purge.ready_done = self.purge_ready(purge, limit)?;
            return Ok(false);
        }
        let queue = purge.queue;
        let flights: Vec<Flight> = self
            .connection
            .prepare_cached(
                "SELECT visible_at, delayed, seq, lane, arrived_at, receive_count, first_received_at, size
                 FROM flight WHERE queue = ?1 AND seq < ?2 ORDER BY seq LIMIT ?3",
            )?
            .query_map((queue, purge.below, limit as i64), |row| {
                Ok(Flight {
                    visible_at: row.get(0)?,
                    delayed: row.get(1)?,
                    slot: Slot::read(row, 2)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        for flight in &flights {
            self.show(queue, flight)?;
        }
        let done = flights.len() < limit;
        if done {
            self.desk(queue)?.purging_below = i64::MIN;
        }
        Ok(done)
    }

    fn purge_ready(&mut self, purge: &mut Purge, limit: usize) -> rusqlite::Result<bool> {
        let queue = purge.queue;
        let (lane, seq) = purge.at;
        let slots: Vec<Slot> = self
            .connection
            .prepare_cached(
                "SELECT seq, lane, arrived_at, receive_count, first_received_at, size FROM ready
                 WHERE queue = ?1 AND (lane, seq) > (?2, ?3) ORDER BY lane, seq LIMIT ?4",
            )?
            .query_map((queue, lane, seq, limit as i64), |row| Slot::read(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut touched = Vec::new();
        for slot in slots.iter().filter(|slot| slot.seq < purge.below) {
            self.remove_ready(queue, slot.lane, slot.seq)?;
            self.drop_message(queue, slot, Exit::Purged)?;
            if touched.last() != Some(&slot.lane) {
                touched.push(slot.lane);
            }
        }
        for lane in touched {
            self.lane_changed(queue, lane, 0, 0)?;
        }
        if let Some(last) = slots.last() {
            purge.at = (last.lane, last.seq);
        }
        Ok(slots.len() < limit)
    }
}
