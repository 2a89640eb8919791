//! Places for requests at once, so many for each key. A key takes memory only while somebody holds a place under it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Parts that are locked by themselves.
const SHARDS: usize = 16;

/// Places under keys, the same number for each.
#[derive(Debug)]
pub struct Places {
    limit: usize,
    /// Places taken, by the keyed hash of the key; never 0.
    taken: Box<[Mutex<HashMap<u64, usize>>]>,
    hasher: RandomState,
}

/// A taken place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    of: Arc<Places>,
    key: u64,
}

impl Places {
    /// `limit` places under each key.
    pub fn new(limit: usize) -> Arc<Places> {
        Arc::new(Places {
            limit,
            taken: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        })
    }

    /// How many there are under each key.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a place; `None` when all under the key are taken.
    pub fn take(self: &Arc<Places>, key: &[u8]) -> Option<Place> {
        self.enter(key, self.limit).0
    }

    /// Takes a place even where there is none: for those who only count. Whether there was one.
    pub fn take_anyway(self: &Arc<Places>, key: &[u8]) -> (Option<Place>, bool) {
        self.enter(key, usize::MAX)
    }

    /// The place, if fewer than `most` are taken, and whether it was within the limit.
    fn enter(self: &Arc<Places>, key: &[u8], most: usize) -> (Option<Place>, bool) {
        let key = self.hasher.hash_one(key);
        let mut taken = self
            .shard(key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = taken.get(&key).copied().unwrap_or(0);
        if before >= most {
            return (None, false);
        }
        taken.insert(key, before + 1);
        let of = self.clone();
        (Some(Place { of, key }), before < self.limit)
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, usize>> {
        &self.taken[key as usize % SHARDS]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self
            .of
            .shard(self.key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.key) {
            Some(places) if *places > 1 => *places -= 1,
            _ => {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_places_and_a_dropped_one_is_free() {
        let places = Places::new(2);
        let first = places.take(b"ann").unwrap();
        let _second = places.take(b"ann").unwrap();
        assert!(places.take(b"ann").is_none());
        assert!(places.take(b"bob").is_some());
        drop(first);
        assert!(places.take(b"ann").is_some());
    }

    #[test]
    fn who_only_counts_is_told_and_lets_pass() {
        let places = Places::new(1);
        let (first, within) = places.take_anyway(b"ann");
        assert!(first.is_some() && within);
        let (second, within) = places.take_anyway(b"ann");
        assert!(second.is_some() && !within);
        drop(first);
        assert!(!places.take_anyway(b"ann").1);
    }

    #[test]
    fn keys_without_places_taken_are_forgotten() {
        let places = Places::new(3);
        let held: Vec<_> = (0..100u8).map(|key| places.take(&[key])).collect();
        drop(held);
        assert!(
            places
                .taken
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
    }
}
