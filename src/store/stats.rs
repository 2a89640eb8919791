//! Counts: the ledger of each queue, which the writer keeps in the same transactions as the messages; what an operator
//! may ask at any time; and the meters of the writer itself.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::error::FullReason;

/// Where the messages of a queue came from and went, since the queue was created. It balances at every commit:
/// `accepted + imported = depth + deleted + forwarded + dead_lettered + expired + purged + damaged`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Sent to this queue and acknowledged.
    pub accepted: u64,
    /// Came from another queue, as dead letters do.
    pub imported: u64,
    pub deleted: u64,
    /// Handed on by the gateway itself (a spool).
    pub forwarded: u64,
    /// Moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Older than the retention.
    pub expired: u64,
    pub purged: u64,
    /// Found changed on disk, and set aside in the table `damaged`.
    pub damaged: u64,
    /// Sends that were answered with an earlier message's id. Not part of the balance.
    pub duplicates: u64,
}

impl Ledger {
    /// Everything that came in, less everything that went out: what the depth must be.
    pub fn balance(&self) -> u64 {
        let out = self.deleted
            + self.forwarded
            + self.dead_lettered
            + self.expired
            + self.purged
            + self.damaged;
        (self.accepted + self.imported).saturating_sub(out)
    }
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Its users send to it and receive from it.
    #[default]
    Queue,
    /// Records on their way to a target.
    Spool,
    /// Records that a target refused for good.
    DeadLetters,
}

impl Role {
    /// As the column `role` has it; `None` for what this version does not know.
    pub(super) fn from_number(number: i64) -> Option<Role> {
        [Role::Queue, Role::Spool, Role::DeadLetters]
            .into_iter()
            .find(|role| role.number() == number)
    }

    pub(super) fn number(self) -> i64 {
        self as i64
    }
}

/// One queue, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStats {
    pub name: String,
    pub role: Role,
    /// Whether the current configuration names it.
    pub declared: bool,
    pub ledger: Ledger,
    /// May be received, or waits for its FIFO group.
    pub visible: u64,
    pub delayed: u64,
    pub in_flight: u64,
    /// Bytes of bodies and attributes.
    pub bytes: u64,
    /// Age of the oldest message that waits to be received; of a spool, of the oldest record in it. Refreshed every
    /// second.
    pub oldest_age: Option<Duration>,
    /// Receives that have begun and not ended: long polls, almost always.
    pub receives_waiting: u64,
}

impl QueueStats {
    /// All messages in the queue.
    pub fn depth(&self) -> u64 {
        self.visible + self.delayed + self.in_flight
    }
}

/// Whether the store does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Healthy,
    /// Sends are refused; receive and delete go on as far as the disk lets them.
    Full(FullReason),
    /// Everything is refused.
    Failed(String),
}

/// The store, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStats {
    /// By name.
    pub queues: Vec<QueueStats>,
    pub health: Health,
    /// Bytes of database and log on disk.
    pub file_bytes: u64,
    /// Bytes of the database that hold something.
    pub used_bytes: u64,
    /// Transactions committed since the store was created.
    pub commits: u64,
    /// Groups that failed as a whole, since the store was opened.
    pub failed_groups: u64,
    /// Commits that had been synced and were missing when the store was opened: the disk lost its log's end.
    pub lost_commits: u64,
    /// Whether expiry stands still because the clock stepped.
    pub expiry_suspended: bool,
    /// Bytes of messages that wait for the writer.
    pub waiting_bytes: u64,
}

/// The writer's own meters, for the registry. Cloning gives handles to the same values.
#[derive(Clone, Debug)]
pub struct Meters {
    /// Operations in each committed group.
    pub commit_messages: Histogram,
    /// Seconds from a group's begin to the end of its commit, sync included.
    pub commit_seconds: Histogram,
    pub commits: Counter,
    pub failed_groups: Counter,
    /// Operations refused because too much waited.
    pub overloaded: Counter,
    pub checkpoint_seconds: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        Meters {
            commit_messages: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            commits: Counter::default(),
            failed_groups: Counter::default(),
            overloaded: Counter::default(),
            checkpoint_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
        }
    }
}

/// What the writer counts for one queue; a row of the table `queue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub ledger: Ledger,
    pub visible: u64,
    pub delayed: u64,
    pub in_flight: u64,
    pub bytes: u64,
    /// Wall time of arrival of the oldest message that waits, as last seen.
    pub oldest: Option<i64>,
}

impl Counters {
    pub fn depth(&self) -> u64 {
        self.visible + self.delayed + self.in_flight
    }
}
