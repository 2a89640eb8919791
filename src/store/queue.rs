//! A queue as both sides see it: the callers' side (declaration, published counts, wake-ups) and the writer's (counts as
//! of the open transaction, what is due next).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::error::StoreError;
use super::manage::{Extra, Tags};
use super::open::QueueRow;
use super::spec::QueueSpec;
use super::stats::{Counters, Role};

/// Locks what only plain assignments happen under: a panic cannot leave it half done.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What only those ask for who manage queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Made by its users while the gateway ran, not by the configuration.
    pub by_users: bool,
    pub extra: Extra,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub modified_at: i64,
}

/// A queue, shared between callers and the writer.
pub(super) struct Queue {
    pub id: i64,
    pub name: Arc<str>,
    pub role: Role,
    pub spec: ArcSwap<QueueSpec>,
    pub declared: AtomicBool,
    pub facts: ArcSwap<Facts>,
    pub tags: ArcSwap<Tags>,
    /// The queue is no more: long polls on it end.
    pub removed: CancellationToken,
    /// As of the last commit.
    pub counters: Mutex<Counters>,
    /// One permit for each message that became visible while somebody waited; on a spool one, too, while nobody did.
    pub arrivals: Notify,
    pub waiting: AtomicUsize,
}

impl Queue {
    pub fn new(id: i64, spec: QueueSpec, declared: bool, counters: Counters) -> Queue {
        Queue {
            id,
            name: spec.name.as_str().into(),
            role: Role::Queue,
            spec: ArcSwap::from_pointee(spec),
            declared: AtomicBool::new(declared),
            facts: ArcSwap::default(),
            tags: ArcSwap::default(),
            removed: CancellationToken::new(),
            counters: Mutex::new(counters),
            arrivals: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub fn with_role(self, role: Role) -> Queue {
        Queue { role, ..self }
    }

    /// A queue as its row has it.
    pub fn read(row: QueueRow) -> Queue {
        let queue = Queue::new(row.id, row.spec, row.declared, row.counters).with_role(row.role);
        queue.facts.store(Arc::new(row.facts));
        queue.tags.store(Arc::new(row.tags));
        queue
    }

    /// What a freshly opened file says counts.
    pub fn become_as(&self, row: QueueRow) {
        self.spec.store(Arc::new(row.spec));
        self.declared.store(row.declared, Ordering::Relaxed);
        self.facts.store(Arc::new(row.facts));
        self.tags.store(Arc::new(row.tags));
        *locked(&self.counters) = row.counters;
    }

    /// Puts the name into an error of the writer's about a queue that it no longer knows.
    pub fn named(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::UnknownQueue(_) => StoreError::UnknownQueue(self.name.to_string()),
            error => error,
        }
    }

    /// Whether nothing can be received, as of the last commit.
    pub fn looks_empty(&self) -> bool {
        locked(&self.counters).visible == 0
    }
}

/// Queues by name, replaced whole when queues are declared.
pub(super) type Names = HashMap<Arc<str>, Arc<Queue>>;

/// The two queues of a target.
pub(super) struct SpoolPair {
    pub spool: Arc<Queue>,
    pub dead_letters: Arc<Queue>,
}

/// Spools by target, replaced whole when one is made.
pub(super) type Spools = HashMap<Box<str>, SpoolPair>;

/// A queue on the writer's side.
pub(super) struct Desk {
    pub queue: Arc<Queue>,
    /// As of the open transaction.
    pub counters: Counters,
    /// Whether the open transaction changed the counters.
    pub dirty: bool,
    /// Whether the age of the oldest message changed: shown to callers, not stored.
    pub aged: bool,
    /// Messages that the open transaction made visible.
    pub arrived: usize,
    /// No message in flight becomes visible before this steady time.
    pub next_due: i64,
    /// While a purge runs: messages below this number are not to become visible again.
    pub purging_below: i64,
    /// A spool's records that somebody in this process was given to deliver and has not settled.
    pub handed_out: HashSet<i64>,
}

impl Desk {
    pub fn new(queue: Arc<Queue>) -> Desk {
        let counters = *locked(&queue.counters);
        Desk {
            queue,
            counters,
            dirty: false,
            aged: false,
            arrived: 0,
            // Not known yet: look at once.
            next_due: i64::MIN,
            purging_below: i64::MIN,
            handed_out: HashSet::new(),
        }
    }

    /// After a commit: lets callers see the counts, and wakes those who wait.
    pub fn publish(&mut self) {
        if self.dirty || self.aged {
            *locked(&self.queue.counters) = self.counters;
            self.dirty = false;
            self.aged = false;
        }
        let arrived = std::mem::take(&mut self.arrived);
        // Who starts to wait on a queue after this line looks at the counts first, and finds them published. A spool's
        // counts do not tell whether anything can be taken: a permit stays for its one consumer instead.
        let waiting = self.queue.waiting.load(Ordering::SeqCst);
        let least = usize::from(self.queue.role == Role::Spool);
        for _ in 0..arrived.min(waiting.max(least)) {
            self.queue.arrivals.notify_one();
        }
    }

    /// After a failed transaction: as if it had never been.
    pub fn restore(&mut self) {
        self.counters = *locked(&self.queue.counters);
        self.dirty = false;
        self.aged = false;
        self.arrived = 0;
        self.next_due = i64::MIN;
    }
}
