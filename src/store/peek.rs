//! Looking without touching: messages as they lie in a queue, on a reader's connection, in pages.

use bytes::Bytes;

use super::Store;
use super::error::StoreError;
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

impl Store {
    /// Up to `limit` messages (at most 1,000) after that place, in the order in which they were sent.
    pub async fn peek(
        &self,
        queue: &str,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Peeked>, StoreError> {
        let _ = (queue, after, limit);
        Err(StoreError::Closed)
    }
}
