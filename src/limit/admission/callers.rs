//! How many places each caller holds, while places are worth counting. A caller takes memory only while it holds one.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

/// Parts that are locked by themselves.
const SHARDS: usize = 16;

/// A caller may hold as many times the places that are free.
pub(super) const TIMES_FREE: u64 = 9;

/// Callers are not counted while less than this part of the places is taken: the room that is then left is more than
/// anybody can take from others.
pub(super) const COUNTED_FROM: u64 = 8;

/// Places held, by caller.
#[derive(Debug)]
pub(super) struct Callers {
    /// By the keyed hash of what is waited for and of the caller; never 0.
    held: Box<[Mutex<HashMap<u64, u32>>]>,
    hasher: RandomState,
}

impl Callers {
    pub(super) fn new() -> Callers {
        Callers {
            held: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// What tells a caller from others. Nobody can choose whom it is shared with.
    pub(super) fn key(&self, target: &str, caller: &[u8]) -> u64 {
        self.hasher.hash_one((target, caller))
    }

    /// Notes one place more, if the caller holds less than its share of what is free; else how many it holds.
    pub(super) fn take(&self, key: u64, free: u64) -> Result<(), u32> {
        let mut held = self.shard(key);
        let before = held.get(&key).copied().unwrap_or(0);
        // Whoever holds nothing gets what is there: its own place has been taken already.
        if before > 0 && u64::from(before) >= free.saturating_mul(TIMES_FREE) {
            return Err(before);
        }
        held.insert(key, before + 1);
        Ok(())
    }

    pub(super) fn give_back(&self, key: u64) {
        let mut held = self.shard(key);
        match held.get_mut(&key) {
            Some(places) if *places > 1 => *places -= 1,
            _ => {
                held.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let of_shard = |shard: &Mutex<HashMap<u64, u32>>| shard.lock().map_or(0, |held| held.len());
        self.held.iter().map(of_shard).sum()
    }

    fn shard(&self, key: u64) -> std::sync::MutexGuard<'_, HashMap<u64, u32>> {
        self.held[key as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
