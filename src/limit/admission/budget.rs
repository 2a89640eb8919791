//! So much of something: places, bytes. What is taken is given back by whoever took it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So much of something, and how much of it is taken.
#[derive(Debug)]
pub struct Budget {
    name: Arc<str>,
    used: AtomicU64,
    limit: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Budget {
        Budget::named("".into(), limit)
    }

    pub(super) fn named(name: Arc<str>, limit: u64) -> Budget {
        Budget {
            name,
            used: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
        }
    }

    /// What it is of.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How much is taken.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// How much there is.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// How much is left.
    pub(super) fn free(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    /// From now on there is so much. What is taken stays taken, though it be more.
    pub(super) fn resize(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// Takes so much, if there is as much left.
    pub(super) fn take(&self, much: u64) -> bool {
        let limit = self.limit();
        let fitting = |used: u64| used.checked_add(much).filter(|used| *used <= limit);
        self.used.fetch_update(Relaxed, Relaxed, fitting).is_ok()
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, much: u64) {
        self.used.fetch_sub(much, Relaxed);
    }
}
