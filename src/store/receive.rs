//! Receiving, within a group: what is due becomes visible, the first messages in order become invisible, and what may
//! not be delivered (too old, received too often, damaged) leaves the queue on the way.

use std::collections::HashMap;

use rusqlite::OptionalExtension as _;

use crate::model::message::AttributeValue;

use super::group::{Exit, Flight, Group, Slot};
use super::handle::Grip;
use super::message::{Delivery, sequence_number};
use super::stored::{MESSAGE, Stored, collect};

/// How long a receive attempt may be repeated (SQS: five minutes).
const ATTEMPT_MS: i64 = 5 * 60 * 1000;
/// Attempts that are remembered at most; one more is simply not repeatable.
const MAX_ATTEMPTS: usize = 10_000;
/// Messages that one call moves without delivering them, before it lets others have their turn.
const STEP: usize = 200;

/// A request as the writer sees it.
pub(super) struct Want {
    pub max_messages: usize,
    /// Milliseconds.
    pub visibility: i64,
    pub attempt_id: Option<String>,
}

/// A delivery whose receipt handle is still to be sealed, by the caller.
#[derive(Debug)]
pub(super) struct Taken {
    pub delivery: Delivery,
    pub grip: Grip,
}

/// What a receive found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub taken: Vec<Taken>,
    /// The call ended early: ask again at once.
    pub more: bool,
}

/// Receive attempts of FIFO queues, by queue and id; in memory only.
pub(super) type Attempts = HashMap<(i64, String), Attempt>;

/// The deliveries of one attempt.
pub(super) struct Attempt {
    at: i64,
    grips: Vec<Grip>,
}

/// Forgets attempts that can no longer be repeated.
pub(super) fn forget_old_attempts(attempts: &mut Attempts, steady: i64) {
    attempts.retain(|_, attempt| steady - attempt.at < ATTEMPT_MS);
}

impl Group<'_> {
    /// Delivers up to as many messages as are wanted.
    pub fn receive(
        &mut self,
        queue: i64,
        want: &Want,
        attempts: &mut Attempts,
    ) -> rusqlite::Result<Found> {
        let steady = self.now.steady;
        if self.desk(queue)?.next_due <= steady {
            self.promote(queue, STEP)?;
        }
        let fifo = self.desk(queue)?.queue.spec.load().fifo;
        let attempt = want
            .attempt_id
            .as_ref()
            .filter(|_| fifo)
            .map(|id| (queue, id.clone()));
        if let Some(key) = &attempt
            && let Some(again) = self.repeat(queue, want, attempts.get(key))?
        {
            return Ok(Found {
                taken: again,
                more: false,
            });
        }
        if self.desk(queue)?.counters.visible == 0 {
            return Ok(Found::default());
        }
        let found = if fifo {
            self.receive_by_group(queue, want)?
        } else {
            self.receive_in_order(queue, want)?
        };
        if let Some(key) = attempt
            && !found.taken.is_empty()
            && attempts.len() < MAX_ATTEMPTS
        {
            let grips = found.taken.iter().map(|taken| taken.grip).collect();
            attempts.insert(key, Attempt { at: steady, grips });
        }
        Ok(found)
    }

    fn receive_in_order(&mut self, queue: i64, want: &Want) -> rusqlite::Result<Found> {
        let lifo = self.desk(queue)?.queue.spec.load().lifo;
        let mut found = Found::default();
        let mut passed = 0;
        while found.taken.len() < want.max_messages && passed < STEP {
            let limit = want.max_messages - found.taken.len();
            let candidates = self.candidates(queue, 0, lifo, limit)?;
            if candidates.is_empty() {
                return Ok(found);
            }
            for (slot, stored) in candidates {
                match self.take(queue, slot, stored, want.visibility)? {
                    Some(taken) => found.taken.push(taken),
                    None => passed += 1,
                }
            }
        }
        found.more = found.taken.is_empty();
        Ok(found)
    }

    /// The group whose first message is oldest, among groups of which nothing is in flight; then the next such group.
    fn receive_by_group(&mut self, queue: i64, want: &Want) -> rusqlite::Result<Found> {
        let mut found = Found::default();
        let mut passed = 0;
        while found.taken.len() < want.max_messages && passed < STEP {
            let lane: Option<i64> = self
                .connection
                .prepare_cached(
                    "SELECT id FROM lane WHERE queue = ?1 AND in_flight = 0 AND head > 0 ORDER BY head LIMIT 1",
                )?
                .query_row([queue], |row| row.get(0))
                .optional()?;
            let Some(lane) = lane else {
                return Ok(found);
            };
            let limit = want.max_messages - found.taken.len();
            let mut in_flight = 0;
            for (slot, stored) in self.candidates(queue, lane, false, limit)? {
                match self.take(queue, slot, stored, want.visibility)? {
                    Some(taken) => {
                        found.taken.push(taken);
                        in_flight += 1;
                    }
                    None => passed += 1,
                }
            }
            self.lane_changed(queue, lane, in_flight, 0)?;
        }
        found.more = found.taken.is_empty();
        Ok(found)
    }

    /// The first messages of a lane, each with its row if that is sound.
    fn candidates(
        &self,
        queue: i64,
        lane: i64,
        newest_first: bool,
        limit: usize,
    ) -> rusqlite::Result<Vec<(Slot, Option<Stored>)>> {
        let order = if newest_first { "DESC" } else { "ASC" };
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT r.seq, r.lane, r.arrived_at, r.receive_count, r.first_received_at, r.size, {MESSAGE}
             FROM ready r LEFT JOIN message m ON m.seq = r.seq
             WHERE r.queue = ?1 AND r.lane = ?2 ORDER BY r.seq {order} LIMIT ?3"
        ))?;
        collect(&mut statement, (queue, lane, limit as i64))
    }

    /// Delivers one message, or moves it to where it belongs instead.
    fn take(
        &mut self,
        queue: i64,
        mut slot: Slot,
        stored: Option<Stored>,
        visibility: i64,
    ) -> rusqlite::Result<Option<Taken>> {
        self.remove_ready(queue, slot.lane, slot.seq)?;
        if self.is_expired(queue, slot.arrived_at)? {
            self.drop_message(queue, &slot, Exit::Expired)?;
            return Ok(None);
        }
        let Some(stored) = stored else {
            self.set_aside(queue, &slot)?;
            return Ok(None);
        };
        let spec = self.desk(queue)?.queue.spec.load_full();
        if let Some(redrive) = &spec.redrive
            && slot.receive_count >= redrive.max_receive_count
            && self.dead_letter(queue, &slot, &redrive.to, stored.group_id.as_deref())?
        {
            return Ok(None);
        }
        slot.receive_count = slot.receive_count.saturating_add(1);
        slot.first_received_at.get_or_insert(self.now.wall);
        self.insert_flight(
            queue,
            &Flight {
                slot,
                visible_at: self.now.steady.saturating_add(visibility),
                delayed: false,
            },
        )?;
        let grip = Grip {
            queue,
            seq: slot.seq,
            receive_count: slot.receive_count,
            taken_at: self.now.steady,
        };
        self.taken(grip, &slot, stored).map(Some)
    }

    fn taken(&mut self, grip: Grip, slot: &Slot, stored: Stored) -> rusqlite::Result<Taken> {
        let now = self.now;
        let fifo = self.desk(grip.queue)?.queue.spec.load().fifo;
        let dead_letter_source = (stored.origin != grip.queue)
            .then(|| self.desks.get(&stored.origin))
            .flatten()
            .map(|desk| desk.queue.name.to_string());
        let aws_trace_header = stored
            .system_attributes
            .get("AWSTraceHeader")
            .and_then(|header| match &header.value {
                AttributeValue::String(text) => Some(text.clone()),
                AttributeValue::Binary(_) => None,
            });
        let delivery = Delivery {
            message_id: stored.id.to_string(),
            receipt_handle: String::new(),
            body: stored.body,
            attributes: stored.attributes,
            system_attributes: stored.system_attributes,
            sent_timestamp: stored.sent_at,
            first_receive_timestamp: slot.first_received_at.unwrap_or(now.wall),
            receive_count: slot.receive_count,
            group_id: stored.group_id,
            deduplication_id: stored.deduplication_id,
            sequence_number: fifo.then(|| sequence_number(slot.seq)),
            aws_trace_header,
            dead_letter_source,
        };
        Ok(Taken { delivery, grip })
    }

    /// The deliveries of an earlier attempt again, if all of them are still in flight; their visibility starts anew.
    fn repeat(
        &mut self,
        queue: i64,
        want: &Want,
        attempt: Option<&Attempt>,
    ) -> rusqlite::Result<Option<Vec<Taken>>> {
        let now = self.now;
        let Some(attempt) = attempt.filter(|attempt| now.steady - attempt.at < ATTEMPT_MS) else {
            return Ok(None);
        };
        let mut again = Vec::with_capacity(attempt.grips.len());
        for grip in &attempt.grips {
            let same = self.flight(queue, grip.seq)?.filter(|flight| {
                flight.slot.receive_count == grip.receive_count && flight.visible_at > now.steady
            });
            let Some(flight) = same else {
                return Ok(None);
            };
            let mut statement = self.connection.prepare_cached(&format!(
                "SELECT f.seq, f.lane, f.arrived_at, f.receive_count, f.first_received_at, f.size, {MESSAGE}
                 FROM flight f LEFT JOIN message m ON m.seq = f.seq WHERE f.queue = ?1 AND f.seq = ?2"
            ))?;
            let Some((_, Some(stored))) = collect(&mut statement, (queue, grip.seq))?.pop() else {
                return Ok(None);
            };
            again.push(self.taken(*grip, &flight.slot, stored)?);
        }
        for grip in &attempt.grips {
            self.set_visible_at(queue, grip.seq, now.steady.saturating_add(want.visibility))?;
        }
        Ok(Some(again))
    }

    /// Moves a message, which is in neither `ready` nor `flight`, to the dead-letter queue. The body stays where it is.
    fn dead_letter(
        &mut self,
        queue: i64,
        slot: &Slot,
        to: &str,
        group_id: Option<&str>,
    ) -> rusqlite::Result<bool> {
        let target = self
            .desks
            .values()
            .find(|desk| &*desk.queue.name == to)
            .map(|desk| (desk.queue.id, desk.queue.spec.load().fifo));
        let Some((target, fifo)) = target else {
            return Ok(false);
        };
        self.count_exit(queue, slot, Exit::DeadLettered)?;
        let mut arrived = Slot {
            receive_count: 0,
            first_received_at: None,
            lane: 0,
            ..*slot
        };
        if fifo {
            // As in SQS: the time of arrival stays on standard queues and begins anew on FIFO queues.
            arrived.arrived_at = self.now.wall;
            arrived.lane = self.lane(target, group_id.unwrap_or_default())?.0;
        }
        self.insert_ready(target, &arrived)?;
        self.lane_changed(target, arrived.lane, 0, 0)?;
        let desk = self.changing(target)?;
        desk.counters.ledger.imported += 1;
        desk.counters.bytes += slot.size.max(0) as u64;
        Ok(true)
    }

    /// Moves a message whose row is missing or changed to the table `damaged`.
    pub fn set_aside(&mut self, queue: i64, slot: &Slot) -> rusqlite::Result<()> {
        let name = self.desk(queue)?.queue.name.clone();
        tracing::error!(queue = %name, seq = slot.seq, "A stored message is damaged; it is kept in the table `damaged` and not delivered");
        self.connection
            .prepare_cached(
                "INSERT INTO damaged (found_at, in_queue, seq, queue, id, sent_at, group_id, deduplication_id,
                     attributes, system_attributes, checksum, body)
                 SELECT ?1, ?2, ?3, m.queue, m.id, m.sent_at, m.group_id, m.deduplication_id, m.attributes,
                     m.system_attributes, m.checksum, m.body
                 FROM (SELECT 1) LEFT JOIN message m ON m.seq = ?3",
            )?
            .execute((self.now.wall, queue, slot.seq))?;
        self.drop_message(queue, slot, Exit::Damaged)
    }
}
