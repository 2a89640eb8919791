//! Sending, within a group: deduplication, limits, the row, and where it waits.

use rusqlite::OptionalExtension as _;
use uuid::Uuid;

use super::clock::millis;
use super::error::StoreError;
use super::group::{Flight, Group, Outcome, Slot};
use super::message::{Prepared, Row, Sent, row_checksum};

/// SQS's deduplication interval: five minutes.
pub(super) const DEDUPLICATION_MS: i64 = 5 * 60 * 1000;

impl Group<'_> {
    /// Stores a message, or finds the earlier one that it repeats.
    pub fn send(&mut self, queue: i64, message: &Prepared) -> Outcome<Sent> {
        let row = &message.row;
        let desk = self.desk(queue)?;
        let spec = desk.queue.spec.load_full();
        let bytes = desk.counters.bytes;
        if let Some(id) = row.deduplication_id.as_deref().filter(|_| spec.fifo)
            && let Some((first, seq)) = self.duplicate_of(queue, id)?
        {
            self.changing(queue)?.counters.ledger.duplicates += 1;
            return Ok(Ok(message.sent(first, Some(seq), true)));
        }
        if let Some(max_size) = spec.max_size
            && bytes + row.size > max_size
        {
            return Ok(Err(StoreError::QueueFull { max_size }));
        }
        if let Err(reason) = self.room.take(row.footprint()) {
            return Ok(Err(StoreError::Full(reason)));
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.insert_message(queue, seq, row)?;
        let now = self.now;
        let delay = message.delay.unwrap_or_else(|| millis(spec.delay));
        let mut visible_at = now.steady.saturating_add(delay);
        let mut slot = Slot {
            seq,
            lane: 0,
            arrived_at: now.wall,
            receive_count: 0,
            first_received_at: None,
            size: row.size as i64,
        };
        if spec.fifo
            && let Some(group_id) = &row.group_id
        {
            let (lane, not_before) = self.lane(queue, group_id)?;
            slot.lane = lane;
            // A delay that was shortened must not let this one overtake its group.
            visible_at = visible_at.max(not_before);
        }
        if visible_at > now.steady {
            self.insert_flight(
                queue,
                &Flight {
                    slot,
                    visible_at,
                    delayed: true,
                },
            )?;
            if slot.lane != 0 {
                self.connection
                    .prepare_cached("UPDATE lane SET not_before = ?2 WHERE id = ?1")?
                    .execute((slot.lane, visible_at))?;
            }
            self.lane_changed(queue, slot.lane, 0, 1)?;
        } else {
            self.insert_ready(queue, &slot)?;
            self.lane_changed(queue, slot.lane, 0, 0)?;
        }
        if let Some(id) = row.deduplication_id.as_deref().filter(|_| spec.fifo) {
            self.connection
                .prepare_cached(
                    "INSERT INTO deduplication (queue, id, at, message, seq) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((queue, id, now.steady, row.id.as_bytes(), seq))?;
        }
        let desk = self.changing(queue)?;
        desk.counters.ledger.accepted += 1;
        desk.counters.bytes += row.size;
        Ok(Ok(message.sent(row.id, spec.fifo.then_some(seq), false)))
    }

    /// Writes the row that never changes.
    pub fn insert_message(&self, queue: i64, seq: i64, row: &Row) -> rusqlite::Result<()> {
        let sent_at = self.now.wall;
        self.connection
            .prepare_cached(
                "INSERT INTO message (seq, queue, id, sent_at, group_id, deduplication_id, attributes, system_attributes, checksum, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute((
                seq,
                queue,
                row.id.as_bytes(),
                sent_at,
                row.group_id.as_deref(),
                row.deduplication_id.as_deref(),
                row.attributes.as_deref(),
                row.system_attributes.as_deref(),
                row_checksum(row.content_hash, seq, queue, sent_at),
                &row.body[..],
            ))?;
        Ok(())
    }

    /// The first message with this deduplication id, if it was sent within the last five minutes. An older entry goes.
    fn duplicate_of(&mut self, queue: i64, id: &str) -> rusqlite::Result<Option<(Uuid, i64)>> {
        let found: Option<(i64, i64, [u8; 16], i64)> = self
            .connection
            .prepare_cached(
                "SELECT n, at, message, seq FROM deduplication WHERE queue = ?1 AND id = ?2",
            )?
            .query_row((queue, id), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((n, at, message, seq)) = found else {
            return Ok(None);
        };
        if self.now.steady - at < DEDUPLICATION_MS || !self.now.expiry {
            return Ok(Some((Uuid::from_bytes(message), seq)));
        }
        self.connection
            .prepare_cached("DELETE FROM deduplication WHERE n = ?1")?
            .execute([n])?;
        Ok(None)
    }
}
