//! What API keys have used: their requests by day, and how much of the current quota. Whoever counts keeps the counts and
//! saves them now and then; here they outlive the process. A save replaces what was saved before, so saving twice is
//! saving once. Not synced: what a crash of the process leaves is whole, a power cut may undo the last saves.

use rusqlite::{Connection, OptionalExtension as _};

use super::Store;
use super::commit::Durability;
use super::error::StoreError;
use super::group::{Group, Outcome};
use super::space::PAGE;

/// Bytes that a row takes in the file, at most.
const FOOTPRINT: u64 = 256;

/// Requests of a key on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageDay {
    pub key: String,
    /// Days since 1970.
    pub day: u32,
    pub used: u64,
    /// Of these, those whose key came in the query.
    pub by_query: u64,
    /// Of these, those whose key came in an authorizer's answer.
    pub by_authorizer: u64,
    /// What was left of the quota after the day's last request; `None` without a quota.
    pub remaining: Option<u64>,
}

/// Where a key stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// The day of its last request.
    pub last: UsageDay,
    /// The kind of the quota's period, a number of whoever counts; 0: none.
    pub quota_period: u8,
    /// The period's first day.
    pub quota_start: u32,
    pub quota_used: u64,
}

impl Store {
    /// Saves where keys stand, and days of theirs that are over.
    ///
    /// # Errors
    /// Some of the rows may have been saved then; all of them can be saved again.
    pub async fn save_usage(
        &self,
        states: Vec<KeyState>,
        over: Vec<UsageDay>,
    ) -> Result<(), StoreError> {
        self.order(move |writer| {
            writer.uncounted += 2 * PAGE * (2 * states.len() + over.len()) as u64;
            writer.transact(Durability::Later, |group, _| {
                group.save_usage(&states, &over)
            })?
        })
        .await
    }

    /// Where keys stand, in the order of their names, from behind a name on.
    pub async fn key_states(
        &self,
        after: String,
        limit: usize,
    ) -> Result<Vec<KeyState>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.key, s.day, coalesce(u.used, 0), coalesce(u.by_query, 0), coalesce(u.by_authorizer, 0),
                        u.remaining, s.quota_period, s.quota_start, s.quota_used
                 FROM key_state s LEFT JOIN usage u ON u.day = s.day AND u.key = s.key
                 WHERE s.key > ?1 ORDER BY s.key LIMIT ?2",
            )?;
            let rows = statement.query_map((after, limit as i64), |row| {
                Ok(KeyState {
                    last: usage_day(row)?,
                    quota_period: row.get(6)?,
                    quota_start: row.get(7)?,
                    quota_used: count(row, 8)?,
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// A key's requests, by day; days without any are left out.
    pub async fn usage_of(
        &self,
        key: String,
        from: u32,
        to: u32,
    ) -> Result<Vec<UsageDay>, StoreError> {
        self.read(move |connection| {
            let mut days = Vec::new();
            for day in from..=to {
                days.extend(day_of(connection, &key, day)?);
            }
            Ok(days)
        })
        .await
    }

    /// Forgets days before this one, and keys that have not been used since; so many rows at most. Says how many went.
    pub async fn forget_usage(&self, before: u32, limit: usize) -> Result<usize, StoreError> {
        self.order(move |writer| {
            writer.uncounted += 2 * PAGE * limit as u64;
            writer.transact(Durability::Later, |group, _| {
                group.forget_usage(before, limit)
            })
        })
        .await
    }
}

impl Group<'_> {
    fn save_usage(&mut self, states: &[KeyState], over: &[UsageDay]) -> Outcome<()> {
        for day in states.iter().map(|state| &state.last).chain(over) {
            if let Err(reason) = self.room.take(FOOTPRINT) {
                return Ok(Err(StoreError::Full(reason)));
            }
            self.connection
                .prepare_cached(
                    "INSERT INTO usage (day, key, used, by_query, by_authorizer, remaining)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (day, key) DO UPDATE SET used = ?3, by_query = ?4, by_authorizer = ?5, remaining = ?6",
                )?
                .execute((
                    day.day,
                    &day.key,
                    signed(day.used),
                    signed(day.by_query),
                    signed(day.by_authorizer),
                    day.remaining.map(signed),
                ))?;
        }
        for state in states {
            if let Err(reason) = self.room.take(FOOTPRINT) {
                return Ok(Err(StoreError::Full(reason)));
            }
            self.connection
                .prepare_cached(
                    "INSERT INTO key_state (key, day, quota_period, quota_start, quota_used) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (key) DO UPDATE SET day = ?2, quota_period = ?3, quota_start = ?4, quota_used = ?5",
                )?
                .execute((
                    &state.last.key,
                    state.last.day,
                    state.quota_period,
                    state.quota_start,
                    signed(state.quota_used),
                ))?;
        }
        Ok(Ok(()))
    }

    fn forget_usage(&mut self, before: u32, limit: usize) -> rusqlite::Result<usize> {
        let days = self
            .connection
            .prepare_cached(
                "DELETE FROM usage WHERE (day, key) IN (SELECT day, key FROM usage WHERE day < ?1 LIMIT ?2)",
            )?
            .execute((before, limit as i64))?;
        let keys = self
            .connection
            .prepare_cached(
                "DELETE FROM key_state WHERE key IN (SELECT key FROM key_state WHERE day < ?1 LIMIT ?2)",
            )?
            .execute((before, limit as i64))?;
        Ok(days + keys)
    }
}

fn day_of(connection: &Connection, key: &str, day: u32) -> rusqlite::Result<Option<UsageDay>> {
    connection
        .prepare_cached(
            "SELECT key, day, used, by_query, by_authorizer, remaining FROM usage WHERE day = ?1 AND key = ?2",
        )?
        .query_row((day, key), usage_day)
        .optional()
}

fn usage_day(row: &rusqlite::Row<'_>) -> rusqlite::Result<UsageDay> {
    Ok(UsageDay {
        key: row.get(0)?,
        day: row.get(1)?,
        used: count(row, 2)?,
        by_query: count(row, 3)?,
        by_authorizer: count(row, 4)?,
        remaining: row.get::<_, Option<i64>>(5)?.map(|n| n.max(0) as u64),
    })
}

fn count(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(|n| n.max(0) as u64)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
