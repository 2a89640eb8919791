//! Idempotency keys, within a group: who has a key, since when, and with which answer. Fences and expiry run on steady
//! time; nothing expires while the clock is in doubt.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};
use std::time::Duration;

use super::clock::{Now, millis};
use super::error::StoreError;
use super::group::{Group, Outcome};
use super::idempotency::{Kept, Known, NewKey, Once, Reservation};
use super::message::{Prepared, Sent};

/// Bytes that a key takes in the file, besides its answer.
const FOOTPRINT: u64 = 512;

/// What becomes of a key that somebody has.
pub(super) enum KeyChange {
    Complete {
        reservation: Reservation,
        /// Milliseconds.
        ttl: i64,
        receipt: Bytes,
        response: Option<Bytes>,
    },
    Respond {
        key: [u8; 32],
        response: Bytes,
    },
    Release(Reservation),
}

impl KeyChange {
    /// Bytes that wait with it.
    pub fn footprint(&self) -> u64 {
        match self {
            KeyChange::Complete {
                receipt, response, ..
            } => (receipt.len() + response.as_ref().map_or(0, Bytes::len)) as u64,
            KeyChange::Respond { response, .. } => response.len() as u64,
            KeyChange::Release(_) => 0,
        }
    }

    /// A response that is lost is made again from the receipt.
    pub fn is_durable(&self) -> bool {
        !matches!(self, KeyChange::Respond { .. })
    }
}

/// A row of `idempotency`.
struct KeyRow {
    fingerprint: Vec<u8>,
    done: bool,
    fence_at: i64,
    expires_at: i64,
    request_id: String,
    receipt: Option<Vec<u8>>,
    response: Option<Vec<u8>>,
}

/// What is known of a key now; `None`: nothing that still counts.
pub(super) fn known(
    connection: &Connection,
    key: &NewKey,
    steady: i64,
    expiry: bool,
) -> rusqlite::Result<Option<Known>> {
    Ok(read(connection, key)?.and_then(|row| row.judge(key, steady, expiry)))
}

fn read(connection: &Connection, key: &NewKey) -> rusqlite::Result<Option<KeyRow>> {
    connection
        .prepare_cached(
            "SELECT fingerprint, state, fence_at, expires_at, request_id, receipt, response FROM idempotency WHERE key = ?1",
        )?
        .query_row([&key.key], |row| {
            Ok(KeyRow {
                fingerprint: row.get(0)?,
                done: row.get::<_, i64>(1)? != 0,
                fence_at: row.get(2)?,
                expires_at: row.get(3)?,
                request_id: row.get(4)?,
                receipt: row.get(5)?,
                response: row.get(6)?,
            })
        })
        .optional()
}

impl KeyRow {
    fn judge(self, key: &NewKey, steady: i64, expiry: bool) -> Option<Known> {
        let over = if self.done {
            expiry && steady >= self.expires_at
        } else {
            steady >= self.fence_at
        };
        if over {
            return None;
        }
        if self.fingerprint != key.fingerprint {
            return Some(Known::Mismatch);
        }
        if !self.done {
            let left = self.fence_at.saturating_sub(steady).max(0);
            return Some(Known::InFlight(Duration::from_millis(left as u64)));
        }
        Some(Known::Done(Kept {
            request_id: self.request_id,
            receipt: self.receipt.unwrap_or_default().into(),
            response: self.response.map(Bytes::from),
        }))
    }

    /// Whether it is this very request that has the key reserved.
    fn is_own(&self, key: &NewKey) -> bool {
        !self.done && self.request_id == key.request_id && self.fingerprint == key.fingerprint
    }
}

impl Group<'_> {
    /// What keeps this request from having the key, if anything does. Its own reservation does not.
    pub fn taken_by_another(&self, key: &NewKey) -> rusqlite::Result<Option<Known>> {
        let Now { steady, expiry, .. } = self.now;
        let row = read(self.connection, key)?.filter(|row| !row.is_own(key));
        Ok(row.and_then(|row| row.judge(key, steady, expiry)))
    }

    /// Reserves a key, or says who has it.
    pub fn reserve(&mut self, key: &NewKey) -> Outcome<Once<Reservation>> {
        let Now { steady, expiry, .. } = self.now;
        let other = read(self.connection, key)?.filter(|row| !row.is_own(key));
        let took_over = other.as_ref().is_some_and(|row| !row.done);
        if let Some(known) = other.and_then(|row| row.judge(key, steady, expiry)) {
            return Ok(Ok(Once::Known(known)));
        }
        if let Err(reason) = self.room.take(FOOTPRINT) {
            return Ok(Err(StoreError::Full(reason)));
        }
        let token = self.write_key(key, false, None)?;
        Ok(Ok(Once::New(Reservation {
            key: key.key,
            token,
            took_over,
        })))
    }

    /// Stores a message, and with it the key's answer: nothing if the key is known.
    pub fn send_once(
        &mut self,
        queue: i64,
        message: &Prepared,
        key: &NewKey,
    ) -> Outcome<Once<Sent>> {
        if let Some(known) = self.taken_by_another(key)? {
            return Ok(Ok(Once::Known(known)));
        }
        let sent = match self.send(queue, message)? {
            Ok(sent) => sent,
            Err(refused) => return Ok(Err(refused)),
        };
        let receipt = serde_json::to_vec(&sent)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        self.keep_answer(key, &receipt)?;
        Ok(Ok(Once::New(sent)))
    }

    /// The key is done, whether this request had reserved it before or not.
    pub fn keep_answer(&mut self, key: &NewKey, receipt: &[u8]) -> rusqlite::Result<()> {
        self.write_key(key, true, Some(receipt)).map(drop)
    }

    /// Writes the key's row anew; the token.
    fn write_key(
        &mut self,
        key: &NewKey,
        done: bool,
        receipt: Option<&[u8]>,
    ) -> rusqlite::Result<i64> {
        // Sequence numbers are never given twice, not even over restarts.
        let token = self.next_seq;
        self.next_seq += 1;
        let fence_at = self.now.steady.saturating_add(millis(key.fence));
        let counts_until = if done { self.now.steady } else { fence_at };
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO idempotency
                     (key, fingerprint, state, token, fence_at, expires_at, request_id, receipt, response)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL)",
            )?
            .execute((
                &key.key,
                &key.fingerprint,
                done,
                token,
                fence_at,
                counts_until.saturating_add(millis(key.ttl)),
                &key.request_id,
                receipt,
            ))?;
        Ok(token)
    }

    /// Does nothing where somebody else has the key by now.
    pub fn change_key(&mut self, change: &KeyChange) -> rusqlite::Result<()> {
        let connection = self.connection;
        match change {
            KeyChange::Complete {
                reservation,
                ttl,
                receipt,
                response,
            } => connection
                .prepare_cached(
                    "UPDATE idempotency SET state = 1, expires_at = ?3, receipt = ?4, response = ?5
                     WHERE key = ?1 AND token = ?2 AND state = 0",
                )?
                .execute((
                    &reservation.key,
                    reservation.token,
                    self.now.steady.saturating_add(*ttl),
                    &receipt[..],
                    response.as_deref(),
                ))?,
            KeyChange::Respond { key, response } => connection
                .prepare_cached(
                    "UPDATE idempotency SET response = ?2 WHERE key = ?1 AND state = 1 AND response IS NULL",
                )?
                .execute((key, &response[..]))?,
            KeyChange::Release(reservation) => connection
                .prepare_cached(
                    "DELETE FROM idempotency WHERE key = ?1 AND token = ?2 AND state = 0",
                )?
                .execute((&reservation.key, reservation.token))?,
        };
        Ok(())
    }

    /// Removes keys whose time is over, up to a limit; whether that was all. A reservation that nobody ended goes a
    /// lifetime after its fence: until then a late answer to it still counts.
    pub fn forget_keys(&mut self, limit: usize) -> rusqlite::Result<bool> {
        if !self.now.expiry {
            return Ok(true);
        }
        let forgotten = self
            .connection
            .prepare_cached(
                "DELETE FROM idempotency WHERE key IN
                     (SELECT key FROM idempotency INDEXED BY idempotency_expiry WHERE expires_at <= ?1
                      ORDER BY expires_at LIMIT ?2)",
            )?
            .execute((self.now.steady, limit as i64))?;
        Ok(forgotten < limit)
    }
}
