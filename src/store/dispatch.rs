//! The spool, within a group: records come in, are handed out to be delivered, and leave with the commit that says where
//! they went. A key's records go one at a time: while one is being delivered, or waits for its next attempt, its lane
//! counts as in flight.

use rusqlite::OptionalExtension as _;

use super::error::StoreError;
use super::group::{Exit, Flight, Group, Outcome, Slot};
use super::handle::Grip;
use super::idempotency::{NewKey, Once};
use super::message::{CONTEXT, Row};
use super::spool::{Parcel, Reason, Settlement, Spooled};
use super::stored::{MESSAGE, Stored, collect};
use crate::model::message::AttributeValue;

/// Damaged records that one call sets aside before it lets others have their turn.
const STEP: usize = 200;
/// The steady time until which a record is handed out: until it is settled.
pub(super) const UNTIL_SETTLED: i64 = i64::MAX;
/// Bytes of a target's words that are kept.
const MAX_DETAIL: usize = 4096;

/// A record made ready for the writer.
pub(super) struct Entry {
    pub queue: i64,
    pub row: Row,
    /// Milliseconds for which somebody delivers it already.
    pub hold: Option<i64>,
}

/// What a take found.
#[derive(Debug, Default)]
pub(super) struct Lot {
    pub parcels: Vec<Parcel>,
    /// The call ended early: ask again at once.
    pub more: bool,
}

impl Lot {
    /// What gives the parcels back if nobody has them.
    pub fn grips(&self, queue: i64) -> impl Iterator<Item = Grip> {
        self.parcels.iter().map(move |parcel| Grip {
            queue,
            seq: parcel.number,
            receive_count: parcel.attempts,
            taken_at: 0,
        })
    }
}

/// A record that may be taken.
struct Candidate {
    seq: i64,
    lane: i64,
    size: u64,
}

impl Group<'_> {
    /// Spools all records, or none.
    pub fn spool(
        &mut self,
        entries: &[Entry],
        key: Option<&(NewKey, bytes::Bytes)>,
    ) -> Outcome<Once<Vec<Spooled>>> {
        if let Some((key, _)) = key
            && let Some(known) = self.taken_by_another(key)?
        {
            return Ok(Ok(Once::Known(known)));
        }
        for entry in entries {
            if let Err(reason) = self.room.take(entry.row.footprint()) {
                return Ok(Err(StoreError::Full(reason)));
            }
        }
        let mut spooled = Vec::with_capacity(entries.len());
        for entry in entries {
            spooled.push(self.spool_one(entry)?);
        }
        if let Some((key, receipt)) = key {
            self.keep_answer(key, receipt)?;
        }
        Ok(Ok(Once::New(spooled)))
    }

    fn spool_one(&mut self, entry: &Entry) -> rusqlite::Result<Spooled> {
        let Entry { queue, row, hold } = entry;
        let now = self.now;
        let seq = self.next_seq;
        self.next_seq += 1;
        self.insert_message(*queue, seq, row)?;
        let lane = match &row.group_id {
            Some(key) => self.lane(*queue, key)?.0,
            None => 0,
        };
        let slot = Slot {
            seq,
            lane,
            arrived_at: now.wall,
            receive_count: u32::from(hold.is_some()),
            first_received_at: hold.map(|_| now.wall),
            size: row.size as i64,
        };
        let in_flight = match hold {
            Some(hold) => {
                let flight = Flight {
                    slot,
                    visible_at: now.steady.saturating_add(*hold),
                    delayed: false,
                };
                self.insert_flight(*queue, &flight)?;
                1
            }
            None => {
                self.insert_ready(*queue, &slot)?;
                0
            }
        };
        self.lane_changed(*queue, lane, in_flight, 0)?;
        let desk = self.changing(*queue)?;
        desk.counters.ledger.accepted += 1;
        desk.counters.bytes += row.size;
        Ok(Spooled {
            number: seq,
            id: row.id.to_string(),
        })
    }

    /// Hands out what may be delivered now, oldest first: at least one record if there is any, and no more bytes than
    /// asked for unless the first has more.
    pub fn take_parcels(
        &mut self,
        queue: i64,
        max_records: usize,
        max_bytes: u64,
    ) -> rusqlite::Result<Lot> {
        if self.desk(queue)?.next_due <= self.now.steady {
            self.promote(queue, STEP)?;
        }
        let mut lot = Lot::default();
        let (mut bytes, mut passed) = (0, 0);
        while passed < STEP && lot.parcels.is_empty() && max_records > 0 {
            if self.desk(queue)?.counters.visible == 0 {
                return Ok(lot);
            }
            let candidates = self.takeable(queue, max_records)?;
            if candidates.is_empty() {
                return Ok(lot);
            }
            for candidate in candidates {
                bytes += candidate.size;
                if !lot.parcels.is_empty() && bytes > max_bytes {
                    return Ok(lot);
                }
                match self.take_parcel(queue, &candidate)? {
                    Some(parcel) => lot.parcels.push(parcel),
                    None => passed += 1,
                }
            }
        }
        lot.more = lot.parcels.is_empty() && max_records > 0;
        Ok(lot)
    }

    /// The first records without a key, and the first of each key that has nothing in flight; oldest first.
    fn takeable(&self, queue: i64, limit: usize) -> rusqlite::Result<Vec<Candidate>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found = Vec::new();
        for sql in [
            "SELECT seq, lane, size FROM ready WHERE queue = ?1 AND lane = 0 ORDER BY seq LIMIT ?2",
            "SELECT r.seq, r.lane, r.size
             FROM lane l INDEXED BY lane_free CROSS JOIN ready r ON r.queue = l.queue AND r.lane = l.id AND r.seq = l.head
             WHERE l.queue = ?1 AND l.in_flight = 0 AND l.head > 0 ORDER BY l.head LIMIT ?2",
        ] {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map((queue, limit), |row| {
                Ok(Candidate {
                    seq: row.get(0)?,
                    lane: row.get(1)?,
                    size: row.get::<_, i64>(2)?.max(0) as u64,
                })
            })?;
            for candidate in rows {
                found.push(candidate?);
            }
        }
        found.sort_unstable_by_key(|candidate| candidate.seq);
        found.truncate(limit as usize);
        Ok(found)
    }

    fn take_parcel(
        &mut self,
        queue: i64,
        candidate: &Candidate,
    ) -> rusqlite::Result<Option<Parcel>> {
        let Candidate { seq, lane, .. } = *candidate;
        let row = {
            let mut statement = self.connection.prepare_cached(&format!(
                "SELECT r.seq, r.lane, r.arrived_at, r.receive_count, r.first_received_at, r.size, {MESSAGE}
                 FROM ready r LEFT JOIN message m ON m.seq = r.seq
                 WHERE r.queue = ?1 AND r.lane = ?2 AND r.seq = ?3"
            ))?;
            collect(&mut statement, (queue, lane, seq))?.pop()
        };
        let Some((mut slot, stored)) = row else {
            return Ok(None);
        };
        self.remove_ready(queue, lane, seq)?;
        let Some(mut stored) = stored else {
            self.set_aside(queue, &slot)?;
            self.lane_changed(queue, lane, 0, 0)?;
            return Ok(None);
        };
        slot.receive_count = slot.receive_count.saturating_add(1);
        let first_attempt_at = *slot.first_received_at.get_or_insert(self.now.wall);
        let flight = Flight {
            slot,
            visible_at: UNTIL_SETTLED,
            delayed: false,
        };
        self.insert_flight(queue, &flight)?;
        self.lane_changed(queue, lane, 1, 0)?;
        Ok(Some(Parcel {
            number: seq,
            id: stored.id.to_string(),
            context: take_context(&mut stored),
            key: stored.group_id,
            call: stored.body,
            spooled_at: stored.sent_at,
            attempts: slot.receive_count,
            first_attempt_at,
        }))
    }

    /// Says how one delivery went. A record that is gone, or was settled before, is no error.
    pub fn settle(
        &mut self,
        queue: i64,
        dead_letters: i64,
        number: i64,
        settlement: &Settlement,
    ) -> rusqlite::Result<()> {
        let Some(flight) = self.flight(queue, number)? else {
            if *settlement == Settlement::Forwarded {
                self.forwarded_late(queue, number)?;
            }
            return Ok(());
        };
        match settlement {
            Settlement::Forwarded => {
                self.remove_flight(queue, &flight)?;
                self.drop_message(queue, &flight.slot, Exit::Forwarded)?;
                self.lane_changed(queue, flight.slot.lane, -1, 0)
            }
            Settlement::Later(pause) if pause.is_zero() => self.show(queue, &flight),
            Settlement::Later(pause) => {
                let visible_at = self.now.steady.saturating_add(super::clock::millis(*pause));
                self.back_off(queue, &flight, visible_at)
            }
            Settlement::Dead(reason) => {
                self.remove_flight(queue, &flight)?;
                self.bury(queue, dead_letters, &flight.slot, reason)?;
                self.lane_changed(queue, flight.slot.lane, -1, 0)
            }
        }
    }

    /// A record whose hold was over before its delivery was: if nobody has begun another, that one is not needed.
    fn forwarded_late(&mut self, queue: i64, number: i64) -> rusqlite::Result<()> {
        let slot = {
            let mut statement = self.connection.prepare_cached(&format!(
                "SELECT r.seq, r.lane, r.arrived_at, r.receive_count, r.first_received_at, r.size, {MESSAGE}
                 FROM message m LEFT JOIN lane l ON l.queue = ?1 AND l.group_id = m.group_id
                 JOIN ready r ON r.queue = ?1 AND r.lane = ifnull(l.id, 0) AND r.seq = m.seq WHERE m.seq = ?2"
            ))?;
            collect(&mut statement, (queue, number))?.pop()
        };
        let Some((slot, _)) = slot else {
            return Ok(());
        };
        self.remove_ready(queue, slot.lane, number)?;
        self.drop_message(queue, &slot, Exit::Forwarded)?;
        self.lane_changed(queue, slot.lane, 0, 0)
    }

    /// The record stays invisible, and its lane with it.
    fn back_off(&mut self, queue: i64, flight: &Flight, visible_at: i64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE flight SET visible_at = ?3, delayed = 1 WHERE queue = ?1 AND seq = ?2",
            )?
            .execute((queue, flight.slot.seq, visible_at))?;
        let desk = self.changing(queue)?;
        desk.next_due = desk.next_due.min(visible_at);
        if !flight.delayed {
            desk.counters.in_flight = desk.counters.in_flight.saturating_sub(1);
            desk.counters.delayed += 1;
        }
        Ok(())
    }

    /// Moves a record, which is in neither `ready` nor `flight`, to the dead letters. The call stays where it is.
    fn bury(
        &mut self,
        queue: i64,
        dead_letters: i64,
        slot: &Slot,
        reason: &Reason,
    ) -> rusqlite::Result<()> {
        let now = self.now.wall;
        self.count_exit(queue, slot, Exit::DeadLettered)?;
        let arrived = Slot {
            lane: 0,
            arrived_at: now,
            receive_count: 0,
            first_received_at: None,
            ..*slot
        };
        self.insert_ready(dead_letters, &arrived)?;
        let desk = self.changing(dead_letters)?;
        desk.counters.ledger.imported += 1;
        desk.counters.bytes += slot.size.max(0) as u64;
        let detail = &reason.detail[..reason.detail.floor_char_boundary(MAX_DETAIL)];
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO death (seq, code, detail, attempts, first_attempt_at, last_attempt_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                slot.seq,
                &reason.code,
                detail,
                slot.receive_count,
                slot.first_received_at.unwrap_or(now),
                now,
            ))?;
        Ok(())
    }

    /// The age of a spool: of what can be taken, or else is in flight. A lane's other records are younger.
    pub fn note_oldest(&mut self, queue: i64) -> rusqlite::Result<bool> {
        let first_in_flight: Option<i64> = self
            .connection
            .prepare_cached("SELECT arrived_at FROM flight WHERE queue = ?1 ORDER BY seq LIMIT 1")?
            .query_row([queue], |row| row.get(0))
            .optional()?;
        let mut oldest = first_in_flight;
        for lane in [Some(0), self.first_free_lane(queue)?]
            .into_iter()
            .flatten()
        {
            let head = self.head(queue, lane)?.map(|slot| slot.arrived_at);
            oldest = [oldest, head].into_iter().flatten().min();
        }
        let desk = self.desk(queue)?;
        desk.aged |= desk.counters.oldest != oldest;
        desk.counters.oldest = oldest;
        Ok(true)
    }
}

/// What a record's row says of its request.
pub(super) fn take_context(stored: &mut Stored) -> String {
    match stored.system_attributes.remove(CONTEXT).map(|a| a.value) {
        Some(AttributeValue::String(text)) => text,
        _ => String::new(),
    }
}
