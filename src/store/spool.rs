//! The spool: records that are acknowledged and on their way to a target. One queue for each target, whose only
//! consumer is the gateway itself, and beside it one for the records that the target refused for good.
//!
//! Records with an order key go one at a time for each key, in the order in which they were spooled; records without
//! one go in any number. A record leaves only with the commit that says where it went.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Store;
use super::clock::millis;
use super::dispatch::{Entry, Lot};
use super::error::StoreError;
use super::idempotency::{NewKey, Once};
use super::job::{Job, Solo};
use super::message::prepare_record;
use super::queue::locked;
use super::wait::Waiting;

/// Targets that can have a spool.
pub(super) const MAX_SPOOLS: usize = 1_000;

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
    ///
    /// # Errors
    /// [`StoreError::InvalidParameter`]: a key of no or too many bytes. [`StoreError::Full`], [`StoreError::Overloaded`],
    /// [`StoreError::Unavailable`]: nothing was acknowledged.
    pub async fn spool(
        &self,
        records: Vec<NewRecord>,
        key: Option<(NewKey, Bytes)>,
    ) -> Result<Once<Vec<Spooled>>, StoreError> {
        let records = records.into_iter();
        let records = records.map(|record| (Uuid::new_v4(), record)).collect();
        self.spool_as(records, key).await
    }

    /// As [`Store::spool`], under ids that the caller has chosen: a receipt can name them.
    ///
    /// # Errors
    /// Those of [`Store::spool`].
    pub async fn spool_as(
        &self,
        records: Vec<(Uuid, NewRecord)>,
        key: Option<(NewKey, Bytes)>,
    ) -> Result<Once<Vec<Spooled>>, StoreError> {
        let mut prepared = Vec::with_capacity(records.len());
        for (id, record) in records {
            let row = prepare_record(id, record.key, record.call, record.context)?;
            prepared.push((record.target, row, record.hold.map(millis)));
        }
        let targets = prepared.iter().map(|(target, ..)| target);
        let missing = self.without_spool(targets);
        if !missing.is_empty() {
            // Targets can be named by requests, and a spool stays.
            let spools = self.0.shared.spools.load().len();
            if spools + missing.len() > MAX_SPOOLS {
                return Err(StoreError::TooManySpools { most: MAX_SPOOLS });
            }
            self.order(move |writer| writer.open_spools(&missing))
                .await?;
        }
        let entries = prepared.into_iter().map(|(target, row, hold)| {
            let spool = self.numbers(&target).map(|(queue, _)| queue);
            let queue = spool.ok_or_else(|| StoreError::UnknownQueue(spool_queue(&target)))?;
            Ok(Entry { queue, row, hold })
        });
        let entries = entries.collect::<Result<Vec<Entry>, StoreError>>()?;
        self.ask(|reply| Job::Spool {
            entries,
            key: key.map(Box::new),
            reply,
        })
        .await
    }

    /// Takes what may be delivered now, oldest first, at most one record of each key. The taking is written before it
    /// is answered, but not synced: see [`Store::possible_duplicates`]. Empty if there is nothing, or no such spool.
    /// Parcels whose caller stops waiting can be taken again at once.
    pub async fn take_parcels(
        &self,
        target: &str,
        max_records: usize,
        max_bytes: u64,
    ) -> Result<Vec<Parcel>, StoreError> {
        let Some((queue, _)) = self.numbers(target) else {
            return Ok(Vec::new());
        };
        loop {
            let (reply, answer) = oneshot::channel();
            self.submit(Job::Take {
                queue,
                max_records,
                max_bytes,
                reply,
            })?;
            let mut handover = Handover {
                store: self,
                queue,
                answer,
            };
            let lot = (&mut handover.answer)
                .await
                .unwrap_or(Err(StoreError::Closed))?;
            if !lot.more {
                return Ok(lot.parcels);
            }
        }
    }

    /// Says how deliveries went; durable when answered, but for [`Settlement::Later`]. Records that are gone are no
    /// error, and saying it again after an error is safe. Of [`Reason::detail`] 4,096 bytes are kept.
    pub async fn settle(
        &self,
        target: &str,
        settlements: Vec<(i64, Settlement)>,
    ) -> Result<(), StoreError> {
        let Some((queue, dead_letters)) = self.numbers(target) else {
            return Ok(());
        };
        self.ask(|reply| Job::Settle {
            queue,
            dead_letters,
            settlements,
            reply,
        })
        .await
    }

    /// Waits until the target's spool may hold something to take that it did not hold before, or for this long; or until
    /// the store closes. Meant for one consumer: what stirs while nobody waits ends the next wait at once.
    pub async fn spool_stirs(&self, target: &str, at_most: Duration) {
        let shared = &self.0.shared;
        let stirs = async {
            let made = shared.spool_made.notified();
            tokio::pin!(made);
            // From here on no new spool is missed.
            made.as_mut().enable();
            let spool = shared.spools.load().get(target).map(|p| p.spool.clone());
            let Some(spool) = spool else {
                return made.await;
            };
            let _waiting = Waiting::begin(&spool);
            spool.arrivals.notified().await;
        };
        tokio::select! {
            () = stirs => {}
            () = tokio::time::sleep(at_most) => {}
            () = shared.closing.cancelled() => {}
        }
    }

    /// How much a target's spool holds, as of the last commit; cheap.
    pub fn spool_depth(&self, target: &str) -> SpoolDepth {
        let spools = self.0.shared.spools.load();
        let Some(pair) = spools.get(target) else {
            return SpoolDepth::default();
        };
        let spool = *locked(&pair.spool.counters);
        SpoolDepth {
            depth: spool.depth(),
            bytes: spool.bytes,
            dead_letters: locked(&pair.dead_letters.counters).depth(),
        }
    }

    /// Whether a record with this key waits in the target's spool. Asks the index, on a reader's connection.
    pub async fn spool_holds(&self, target: &str, key: &str) -> Result<bool, StoreError> {
        let Some((queue, _)) = self.numbers(target) else {
            return Ok(false);
        };
        let key = key.to_owned();
        // A key has a lane from its first record's commit to its last one's.
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT 1 FROM lane WHERE queue = ?1 AND group_id = ?2")?
                .exists((queue, key))
        })
        .await
    }

    /// The targets that have a spool, in order.
    pub fn spooled_targets(&self) -> Vec<String> {
        let spools = self.0.shared.spools.load();
        let mut targets: Vec<String> = spools.keys().map(|target| target.to_string()).collect();
        targets.sort_unstable();
        targets
    }

    /// Records that were being delivered when the store was last opened: each may be at its target already.
    pub fn possible_duplicates(&self) -> u64 {
        self.0.shared.possible_duplicates.load(Ordering::Relaxed)
    }

    fn without_spool<'t>(&self, targets: impl Iterator<Item = &'t String>) -> Vec<String> {
        let spools = self.0.shared.spools.load();
        let missing = targets.filter(|target| !spools.contains_key(target.as_str()));
        missing
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// The queues of a target: its spool, its dead letters.
    fn numbers(&self, target: &str) -> Option<(i64, i64)> {
        let spools = self.0.shared.spools.load();
        let pair = spools.get(target)?;
        Some((pair.spool.id, pair.dead_letters.id))
    }
}

/// A take that waits for its answer. A caller that goes away while the answer is on its way gives the parcels back: the
/// writer sees only those whose caller has gone before it answers.
struct Handover<'s> {
    store: &'s Store,
    queue: i64,
    answer: oneshot::Receiver<Result<Lot, StoreError>>,
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        self.answer.close();
        // Empty when the answer was taken, or has not come and never will.
        let Ok(Ok(lot)) = self.answer.try_recv() else {
            return;
        };
        locked(&self.store.0.shared.strays).extend(lot.grips(self.queue));
        // If not even this fits, the writer looks by itself within a second.
        let _ = self.store.submit(Job::Solo(Solo::Look(None)));
    }
}
