//! What has arrived: for each place, each record's first appearance, and how often it appeared.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use super::place::Place;
use super::record::Id;

/// Counts events: who was first is told by the numbers, by no clock.
#[derive(Debug, Default)]
pub struct Ticks(AtomicU64);

impl Ticks {
    /// The next number.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A record in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// The tick of the first time.
    pub first: u64,
    /// Message group or partition key.
    pub group: Option<String>,
    pub times: u32,
    /// Its bytes are not those that were sent.
    pub altered: bool,
}

/// All that has arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub places: BTreeMap<Place, HashMap<Id, Appearance>>,
    /// Records without an id of this drill.
    pub strangers: u64,
}

impl Seen {
    /// Notes that a record is there.
    pub fn note(&mut self, place: &Place, id: Id, group: Option<&str>, altered: bool, tick: u64) {
        if !self.places.contains_key(place) {
            self.places.insert(place.clone(), HashMap::new());
        }
        let Some(there) = self.places.get_mut(place) else {
            return;
        };
        let appearance = there.entry(id).or_insert_with(|| Appearance {
            first: tick,
            group: group.map(str::to_owned),
            times: 0,
            altered: false,
        });
        appearance.times += 1;
        appearance.altered |= altered;
    }

    /// Forgets a record, wherever it is.
    pub fn forget(&mut self, id: Id) {
        for there in self.places.values_mut() {
            there.remove(&id);
        }
    }
}
