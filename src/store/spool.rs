//! The spool: records that are acknowledged and on their way to a target. One queue for each target, whose only
//! consumer is the gateway itself, and beside it one for the records that the target refused for good.
//!
//! Records with an order key go one at a time for each key, in the order in which they were spooled; records without
//! one go in any number. A record leaves only with the commit that says where it went.

use std::time::Duration;

use bytes::Bytes;

use super::Store;
use super::error::StoreError;
use super::idempotency::{NewKey, Once};

/// A record to spool.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The target's name; the spool is made with its first record.
    pub target: String,
    /// Records of one target with one key keep their order; up to 1,024 bytes.
    pub key: Option<String>,
    /// The whole call.
    pub call: Bytes,
    /// What is known of the request, as JSON.
    pub context: String,
    /// Somebody is delivering the record already: it is not taken before this time is over, unless
    /// [`Store::settle`] says how that went. Its key is held meanwhile.
    pub hold: Option<Duration>,
}

/// A record that is spooled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// What [`Store::settle`] knows the record by.
    pub number: i64,
    /// A UUID.
    pub id: String,
}

/// A record that is to be delivered. Nobody else has it until it is settled or the store is opened anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub number: i64,
    pub id: String,
    pub key: Option<String>,
    pub call: Bytes,
    pub context: String,
    /// Milliseconds since 1970.
    pub spooled_at: i64,
    /// This attempt included.
    pub attempts: u32,
    /// Milliseconds since 1970.
    pub first_attempt_at: i64,
}

/// How a delivery went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The target has it.
    Forwarded,
    /// It waits at least this long; its key waits with it.
    Later(Duration),
    /// The target refused it for what it is.
    Dead(Reason),
}

/// Why a record is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The target's code.
    pub code: String,
    /// The target's words.
    pub detail: String,
}

/// A target's spool, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolDepth {
    /// Records that wait or are being delivered.
    pub depth: u64,
    pub bytes: u64,
    pub dead_letters: u64,
}

/// The queue that holds a target's spool.
pub fn spool_queue(target: &str) -> String {
    format!("spool:{target}")
}

/// The queue that holds what the target refused.
pub fn dead_letter_queue(target: &str) -> String {
    format!("dead:{target}")
}

impl Store {
    /// Spools records, all or none, in one transaction; with an idempotency key its reservation and `receipt` are part
    /// of it.
    pub async fn spool(
        &self,
        records: Vec<NewRecord>,
        key: Option<(NewKey, Bytes)>,
    ) -> Result<Once<Vec<Spooled>>, StoreError> {
        let _ = (records, key);
        Err(StoreError::Closed)
    }

    /// Takes what may be delivered now, oldest first, at most one record of each key. The taking is written before it
    /// is answered, but not synced: see [`Store::possible_duplicates`].
    pub async fn take_parcels(
        &self,
        target: &str,
        max_records: usize,
        max_bytes: u64,
    ) -> Result<Vec<Parcel>, StoreError> {
        let _ = (target, max_records, max_bytes);
        Err(StoreError::Closed)
    }

    /// Says how deliveries went; durable when answered. Records that are gone are no error.
    pub async fn settle(
        &self,
        target: &str,
        settlements: Vec<(i64, Settlement)>,
    ) -> Result<(), StoreError> {
        let _ = (target, settlements);
        Err(StoreError::Closed)
    }

    /// Waits until the target's spool may hold something to take that it did not hold before, or for this long.
    pub async fn spool_stirs(&self, target: &str, at_most: Duration) {
        let _ = target;
        tokio::time::sleep(at_most).await;
    }

    /// How much a target's spool holds, as of the last commit; cheap.
    pub fn spool_depth(&self, target: &str) -> SpoolDepth {
        let _ = target;
        SpoolDepth::default()
    }

    /// Whether a record with this key waits in the target's spool. Asks the index, on a reader's connection.
    pub async fn spool_holds(&self, target: &str, key: &str) -> Result<bool, StoreError> {
        let _ = (target, key);
        Err(StoreError::Closed)
    }

    /// The targets that have a spool.
    pub fn spooled_targets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Records that were being delivered when the store was last opened: each may be at its target already.
    pub fn possible_duplicates(&self) -> u64 {
        0
    }
}
