//! A token bucket for each caller, in memory that is bounded by construction.
//!
//! All keyed buckets of a process share one [`CallerTable`]. An entry takes 16 bytes: a keyed hash of bucket and caller
//! (SipHash with a seed of the process's own, so that nobody can choose where callers fall), and the moment at which the
//! caller's bucket is full again. A bucket that is full is no different from one that was never seen, so its entry is
//! free to be taken: nothing has to be swept.
//!
//! An entry lives in one of two sets of eight, as its hash says (balanced allocations: the fuller set takes no more).
//! Where both hold only buckets that are not full, the part of the table that they belong to doubles; where it may not
//! grow any more, the entry gives way whose bucket is *least* used, by its share of the burst. So an emptied bucket goes
//! only when the sixteen entries that its hash leads to are all emptied, and later than it: somebody who keeps asking
//! has the latest moment of all, and stays limited until callers without number have emptied their buckets within the
//! time that it takes to fill one.
//!
//! The bound, for a table of [`CallerTable::ENTRIES`]: a flood that has every caller empty its bucket must bring about
//! that many distinct callers in `burst / rate` seconds to make the table forget an abuser, who then has one burst more.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use super::clock::Clock;
use super::gcra::{BucketSpec, Empty, Gcra, Level};

/// Parts that are locked and grow by themselves.
const SHARDS: usize = 64;
/// Entries of a set: two cache lines.
const WAYS: usize = 8;
/// The sets of a part that is new.
const FIRST_SETS: usize = 2;

/// Where the buckets of callers are kept. One for a process; see the module's text.
#[derive(Debug)]
pub struct CallerTable {
    shards: Box<[Mutex<Shard>]>,
    most_sets: usize,
    hasher: RandomState,
    clock: Clock,
}

/// A token bucket for each key, all of one size.
#[derive(Debug)]
pub struct KeyedBuckets {
    gcra: Gcra,
    /// What tells this throttle's callers from those of others.
    name: u64,
    table: Arc<CallerTable>,
}

#[derive(Debug)]
struct Shard {
    /// `WAYS` entries for each set; the number of sets is a power of two.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// 58 bits of hash, and 6 that say how long the bucket takes to fill: the exponent of the next power of two.
    tag: u64,
    full_at: u64,
}

impl CallerTable {
    /// Callers that a process can tell apart at once: 32 MiB when all of them are there.
    pub const ENTRIES: usize = 1 << 21;

    /// An empty table of at most so many entries (rounded up to a power of two; 1,024 at least), 16 bytes each.
    pub fn new(entries: usize, clock: Clock) -> CallerTable {
        let sets = entries.div_ceil(SHARDS * WAYS).next_power_of_two();
        let shard = |_| {
            Mutex::new(Shard {
                entries: vec![Entry::default(); FIRST_SETS * WAYS],
            })
        };
        CallerTable {
            shards: (0..SHARDS).map(shard).collect(),
            most_sets: sets.clamp(FIRST_SETS, 1 << 20),
            hasher: RandomState::new(),
            clock,
        }
    }

    /// Bytes that the entries take at present.
    pub fn bytes(&self) -> usize {
        let of_shard = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.len() * size_of::<Entry>()
        };
        self.shards.iter().map(of_shard).sum()
    }

    /// Runs `act` on the part that a hash belongs to, with the hash's tag.
    fn with<T>(&self, hash: u64, gcra: &Gcra, act: impl FnOnce(&mut Shard, u64, u64) -> T) -> T {
        let shard = &self.shards[(hash >> 58) as usize];
        let exponent = u64::from(u64::BITS - gcra.burst.leading_zeros());
        let tag = (hash << 6) | exponent.min(63);
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock, so that time goes one way for each entry.
        act(&mut shard, tag, self.clock.now())
    }
}

impl KeyedBuckets {
    /// Buckets in a table. `name` tells them from others there: buckets of the same name and size are the same buckets,
    /// so what a plan knew of its callers its successor knows too.
    pub fn new(table: &Arc<CallerTable>, name: &str, spec: BucketSpec) -> KeyedBuckets {
        let gcra = Gcra::new(spec);
        let identity = (name, spec.rate.to_bits(), spec.burst);
        KeyedBuckets {
            gcra,
            name: table.hasher.hash_one(identity),
            table: table.clone(),
        }
    }

    /// As written.
    pub fn spec(&self) -> BucketSpec {
        self.gcra.spec()
    }

    /// Takes one token of a caller's bucket.
    pub fn take(&self, key: &[u8]) -> Result<Level, Empty> {
        let most = self.table.most_sets;
        self.table
            .with(self.hash(key), &self.gcra, |shard, tag, now| {
                let at = shard.find(tag);
                let full_at = at.map_or(0, |at| shard.entries[at].full_at);
                let (full_at, level) = self.gcra.take(full_at, now)?;
                let at = at.unwrap_or_else(|| shard.place(tag, now, most));
                shard.entries[at] = Entry { tag, full_at };
                Ok(level)
            })
    }

    /// Whether a token could be taken; takes none, and keeps nothing of the caller.
    pub fn peek(&self, key: &[u8]) -> Result<Level, Empty> {
        self.table
            .with(self.hash(key), &self.gcra, |shard, tag, now| {
                let full_at = shard.find(tag).map_or(0, |at| shard.entries[at].full_at);
                self.gcra.peek(full_at, now)
            })
    }

    /// Puts a token back that was taken for nothing, a moment ago.
    pub fn give_back(&self, key: &[u8]) {
        self.table
            .with(self.hash(key), &self.gcra, |shard, tag, _| {
                if let Some(at) = shard.find(tag) {
                    shard.entries[at].full_at = self.gcra.give_back(shard.entries[at].full_at);
                }
            });
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.table.hasher.hash_one((self.name, key))
    }
}

impl Shard {
    /// The two sets that a tag may stand in: the first entry of each.
    fn sets(&self, tag: u64) -> [usize; 2] {
        let mask = (self.entries.len() / WAYS - 1) as u64;
        [(tag >> 6) & mask, (tag >> 32) & mask].map(|set| set as usize * WAYS)
    }

    fn candidates(&self, tag: u64) -> impl Iterator<Item = usize> + use<> {
        self.sets(tag).into_iter().flat_map(|set| set..set + WAYS)
    }

    fn find(&self, tag: u64) -> Option<usize> {
        self.candidates(tag).find(|at| self.entries[*at].tag == tag)
    }

    /// An entry to put a new caller in.
    fn place(&mut self, tag: u64, now: u64, most_sets: usize) -> usize {
        loop {
            let at = self.least_used(tag, now);
            if self.entries[at].full_at <= now || self.entries.len() / WAYS >= most_sets {
                return at;
            }
            self.grow(now);
        }
    }

    /// Of the entries that a tag may take, one whose bucket is full, of the set that has more of them; else the one
    /// whose bucket is least used, the one that nobody has used for longest among equals.
    fn least_used(&self, tag: u64, now: u64) -> usize {
        let [first, second] = self.sets(tag);
        let used = |set: usize| {
            let entries = &self.entries[set..set + WAYS];
            entries.iter().filter(|entry| entry.full_at > now).count()
        };
        let roomy = if used(second) < used(first) {
            second
        } else {
            first
        };
        let rank = |at: usize| {
            let entry = &self.entries[at];
            let distance = if (roomy..roomy + WAYS).contains(&at) {
                0
            } else {
                1
            };
            (entry.used(now), entry.full_at.max(now), distance)
        };
        // There are sixteen candidates, so there is a least one.
        self.candidates(tag)
            .min_by_key(|at| rank(*at))
            .unwrap_or(first)
    }

    /// Twice as many sets; buckets that are full are left behind, and no other is lost: what stood in a set goes to
    /// one of the two that it becomes.
    fn grow(&mut self, now: u64) {
        let wider = vec![Entry::default(); self.entries.len() * 2];
        let narrow = std::mem::replace(&mut self.entries, wider);
        for (at, entry) in narrow.iter().enumerate() {
            let old = at - at % WAYS;
            let child = self.sets(entry.tag).into_iter();
            let child = child.filter(|set| set % narrow.len() == old);
            let mut places = child.flat_map(|set| set..set + WAYS);
            if entry.full_at > now
                && let Some(place) = places.find(|at| self.entries[*at].tag == 0)
            {
                self.entries[place] = *entry;
            }
        }
    }
}

impl Entry {
    /// How much of the burst is used, 0 for nothing: in parts of 65,536 of the next power of two of its time.
    fn used(&self, now: u64) -> u64 {
        let ahead = u128::from(self.full_at.saturating_sub(now));
        ((ahead << 16) >> (self.tag & 63)) as u64 + u64::from(ahead > 0)
    }
}

#[cfg(test)]
mod tests;
