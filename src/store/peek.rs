//! Looking without touching: messages as they lie in a queue, on a reader's connection, in pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;

use super::Store;
use super::dispatch::take_context;
use super::error::StoreError;
use super::queue::Queue;
use super::stats::Role;
use super::stored::{MESSAGE, Stored};
use crate::model::message::Attributes;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// May be received (or waits for its group).
    Ready,
    Delayed,
    InFlight,
}

/// A message as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Its place; pass the last one's to see what follows.
    pub number: i64,
    pub id: String,
    pub standing: Standing,
    pub body: Bytes,
    pub attributes: Attributes,
    pub system_attributes: Attributes,
    /// Milliseconds since 1970.
    pub sent_at: i64,
    pub receive_count: u32,
    pub group_id: Option<String>,
    pub deduplication_id: Option<String>,
    /// Spools and their dead letters: the request that it came with, as JSON.
    pub context: Option<String>,
    /// Dead letters of a spool: why and when.
    pub death: Option<Death>,
}

/// How a record became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    pub code: String,
    pub detail: String,
    pub attempts: u32,
    /// Milliseconds since 1970.
    pub first_attempt_at: i64,
    pub last_attempt_at: i64,
}

/// The most messages of a page.
const MAX_PAGE: usize = 1000;
/// Bytes of bodies after which a page ends early.
const PAGE_BYTES: usize = 32 << 20;
/// Small rows that one statement walks over.
const STEP: usize = 20_000;

impl Store {
    /// Up to `limit` messages (at most 1,000) after that place, in the order in which they were sent; of queues of any
    /// role. A page also ends when its bodies come to 32 MiB: what follows nothing is the empty page.
    ///
    /// Each page of a queue with groups or keys walks over a few bytes for each of its messages. Messages that come, go
    /// or move while a page is read may be in it or not; one that is damaged is not, and the log says so.
    pub async fn peek(
        &self,
        queue: &str,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Peeked>, StoreError> {
        let queue = self.any_queue(queue)?;
        let limit = limit.min(MAX_PAGE);
        let mut after = after.unwrap_or(i64::MIN);
        loop {
            let (messages, last) = self.page(&queue, after, limit).await?;
            match last {
                // All of them damaged, or gone since.
                Some(last) if messages.is_empty() => after = last,
                _ => return Ok(messages),
            }
        }
    }

    /// The messages of a page, and the last number that belongs to it.
    async fn page(
        &self,
        queue: &Arc<Queue>,
        after: i64,
        limit: usize,
    ) -> Result<(Vec<Peeked>, Option<i64>), StoreError> {
        let steady = self.0.shared.steady.now();
        let mut page = Page {
            queue: queue.id,
            after,
            limit,
            found: BTreeMap::new(),
        };
        page = self
            .read(move |connection| {
                page.walk_flight(connection, steady)?;
                page.walk_first_lane(connection)?;
                Ok(page)
            })
            .await?;
        let mut at = Some((0, i64::MAX));
        while let Some(from) = at {
            (page, at) = self
                .read(move |connection| {
                    let next = page.walk_lanes(connection, from)?;
                    Ok((page, next))
                })
                .await?;
        }
        let queue = queue.clone();
        self.read(move |connection| {
            // What was taken while the lanes were walked over.
            page.walk_flight(connection, steady)?;
            let last = page.found.keys().next_back().copied();
            Ok((page.fetch(connection, &queue)?, last))
        })
        .await
    }
}

/// How a message lies there, but for its row.
struct Lying {
    standing: Standing,
    receive_count: u32,
}

/// The first messages after a place, as far as they are known.
struct Page {
    queue: i64,
    after: i64,
    limit: usize,
    found: BTreeMap<i64, Lying>,
}

impl Page {
    fn add(&mut self, seq: i64, lying: Lying) {
        self.found.insert(seq, lying);
        if self.found.len() > self.limit {
            self.found.pop_last();
        }
    }

    fn walk_flight(&mut self, connection: &Connection, steady: i64) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "SELECT seq, receive_count, visible_at, delayed FROM flight WHERE queue = ?1 AND seq > ?2
             ORDER BY seq LIMIT ?3",
        )?;
        let mut rows = statement.query((self.queue, self.after, self.limit as i64))?;
        while let Some(row) = rows.next()? {
            let standing = match (row.get::<_, i64>(2)? > steady, row.get(3)?) {
                (false, _) => Standing::Ready,
                (true, true) => Standing::Delayed,
                (true, false) => Standing::InFlight,
            };
            let receive_count = row.get(1)?;
            let lying = Lying {
                standing,
                receive_count,
            };
            self.add(row.get(0)?, lying);
        }
        Ok(())
    }

    /// Messages without a group or key.
    fn walk_first_lane(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "SELECT seq, receive_count FROM ready WHERE queue = ?1 AND lane = 0 AND seq > ?2 ORDER BY seq LIMIT ?3",
        )?;
        let mut rows = statement.query((self.queue, self.after, self.limit as i64))?;
        while let Some(row) = rows.next()? {
            self.add(row.get(0)?, ready(row.get(1)?));
        }
        Ok(())
    }

    /// One step over the other lanes; where the next one begins.
    fn walk_lanes(
        &mut self,
        connection: &Connection,
        from: (i64, i64),
    ) -> rusqlite::Result<Option<(i64, i64)>> {
        let mut statement = connection.prepare_cached(
            "SELECT lane, seq, receive_count FROM ready WHERE queue = ?1 AND (lane, seq) > (?2, ?3)
             ORDER BY lane, seq LIMIT ?4",
        )?;
        let mut rows = statement.query((self.queue, from.0, from.1, STEP as i64))?;
        let mut walked = 0;
        let mut last = from;
        while let Some(row) = rows.next()? {
            last = (row.get(0)?, row.get(1)?);
            walked += 1;
            if last.1 > self.after {
                self.add(last.1, ready(row.get(2)?));
            }
        }
        Ok((walked == STEP).then_some(last))
    }

    /// The messages themselves; each is read by itself, so that no snapshot is held for long.
    fn fetch(self, connection: &Connection, queue: &Queue) -> rusqlite::Result<Vec<Peeked>> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT d.code, d.detail, d.attempts, d.first_attempt_at, d.last_attempt_at, {MESSAGE}
             FROM message m LEFT JOIN death d ON d.seq = m.seq WHERE m.seq = ?1"
        ))?;
        let mut page = Vec::new();
        let mut bytes = 0;
        for (seq, lying) in self.found {
            if bytes >= PAGE_BYTES {
                break;
            }
            let mut rows = statement.query([seq])?;
            // Gone since.
            let Some(row) = rows.next()? else {
                continue;
            };
            let Some(stored) = Stored::read(row, 5, seq)? else {
                tracing::error!(queue = %queue.name, seq, "A stored message is damaged; it is not shown");
                continue;
            };
            bytes += stored.body.len();
            let death = match (queue.role, row.get::<_, Option<String>>(0)?) {
                (Role::DeadLetters, Some(code)) => Some(Death {
                    code,
                    detail: row.get(1)?,
                    attempts: row.get(2)?,
                    first_attempt_at: row.get(3)?,
                    last_attempt_at: row.get(4)?,
                }),
                _ => None,
            };
            page.push(lying.peeked(seq, stored, queue.role, death));
        }
        Ok(page)
    }
}

fn ready(receive_count: u32) -> Lying {
    Lying {
        standing: Standing::Ready,
        receive_count,
    }
}

impl Lying {
    fn peeked(self, number: i64, mut stored: Stored, role: Role, death: Option<Death>) -> Peeked {
        let context = match role {
            Role::Queue => None,
            Role::Spool | Role::DeadLetters => Some(take_context(&mut stored)),
        };
        Peeked {
            number,
            id: stored.id.to_string(),
            standing: self.standing,
            body: stored.body,
            attributes: stored.attributes,
            system_attributes: stored.system_attributes,
            sent_at: stored.sent_at,
            receive_count: self.receive_count,
            group_id: stored.group_id,
            deduplication_id: stored.deduplication_id,
            context,
            death,
        }
    }
}
