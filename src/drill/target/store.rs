//! What the fake target keeps: which records it has taken, and what it needs to tell a repetition from a new record.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use super::super::place::Place;
use super::super::record::{find_id, is_altered};
use super::super::seen::{Seen, Ticks};

/// A record as it came.
pub(super) struct Arrival {
    pub place: Place,
    /// Body, data, detail or input, decoded.
    pub content: Vec<u8>,
    /// Everything else of the entry as text: the id may stand in an attribute.
    pub rest: String,
    pub group: Option<String>,
    pub once: Option<Once>,
}

/// What makes two arrivals one record.
pub(super) enum Once {
    /// SQS FIFO: a deduplication id, for five minutes (SendMessage, API reference).
    Deduplicated(String),
    /// An execution's name: the same input gets the running execution again, anything else is refused
    /// (StartExecution, API reference).
    Named(String),
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored under this number.
    Stored(u64),
    /// It was there already, under this number; nothing new was stored.
    Again(u64),
    /// Its name is taken.
    Exists,
    /// Not stored, because this entry failed.
    Failed,
}

const DEDUPLICATION: Duration = Duration::from_secs(300);
/// How long an execution runs.
const EXECUTION: Duration = Duration::from_secs(1);

struct Earlier {
    number: u64,
    input: u64,
    at: Instant,
}

#[derive(Default)]
pub(super) struct Stored {
    pub seen: Seen,
    earlier: HashMap<(Place, String), Earlier>,
    last: u64,
}

impl Stored {
    /// Takes a record, unless it is there already.
    pub(super) fn take(&mut self, arrival: &Arrival, seed: u64, ticks: &Ticks) -> Outcome {
        if let Some(once) = &arrival.once {
            let (Once::Deduplicated(name) | Once::Named(name)) = once;
            let key = (arrival.place.clone(), name.clone());
            let mut hasher = DefaultHasher::new();
            arrival.content.hash(&mut hasher);
            let input = hasher.finish();
            if let Some(earlier) = self.earlier.get(&key) {
                let age = earlier.at.elapsed();
                match once {
                    Once::Deduplicated(_) if age < DEDUPLICATION => {
                        return Outcome::Again(earlier.number);
                    }
                    Once::Deduplicated(_) => {}
                    Once::Named(_) if age < EXECUTION && earlier.input == input => {
                        return Outcome::Again(earlier.number);
                    }
                    Once::Named(_) => return Outcome::Exists,
                }
            }
            let at = Instant::now();
            let number = self.last + 1;
            self.earlier.insert(key, Earlier { number, input, at });
        }
        self.last += 1;
        let id = find_id(seed, &arrival.content).or_else(|| find_id(seed, arrival.rest.as_bytes()));
        match id {
            Some(id) => self.seen.note(
                &arrival.place,
                id,
                arrival.group.as_deref(),
                is_altered(&arrival.content),
                ticks.tick(),
            ),
            None => self.seen.strangers += 1,
        }
        Outcome::Stored(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::place::Service;
    use super::super::super::record::Id;
    use super::*;

    fn arrival(content: &str, once: Option<Once>) -> Arrival {
        Arrival {
            place: Place::new(Service::Sqs, "orders.fifo"),
            content: content.into(),
            rest: String::new(),
            group: Some("g".to_owned()),
            once,
        }
    }

    #[test]
    fn a_deduplication_id_stores_once_and_a_name_with_other_input_is_refused() {
        let (mut stored, ticks) = (Stored::default(), Ticks::default());
        let mut take = |content: &str, once| stored.take(&arrival(content, once), 1, &ticks);
        let first = Some(Once::Deduplicated("d".to_owned()));
        assert_eq!(take("drill-1-0-1", first), Outcome::Stored(1));
        let second = Some(Once::Deduplicated("d".to_owned()));
        assert_eq!(take("drill-1-0-2", second), Outcome::Again(1));
        let name = || Some(Once::Named("n".to_owned()));
        assert_eq!(take("drill-1-0-3", name()), Outcome::Stored(2));
        assert_eq!(take("drill-1-0-3", name()), Outcome::Again(2));
        assert_eq!(take("drill-1-0-4", name()), Outcome::Exists);
        let place = Place::new(Service::Sqs, "orders.fifo");
        assert_eq!(stored.seen.places[&place].len(), 2);
    }

    #[test]
    fn a_record_that_comes_twice_appeared_the_first_time() {
        let (mut stored, ticks) = (Stored::default(), Ticks::default());
        for content in ["drill-1-0-1", "drill-1-0-2", "drill-1-0-1", "a stranger"] {
            stored.take(&arrival(content, None), 1, &ticks);
        }
        let place = Place::new(Service::Sqs, "orders.fifo");
        let there = &stored.seen.places[&place];
        let of = |number| &there[&Id { client: 0, number }];
        assert_eq!((of(1).times, of(2).times), (2, 1));
        assert!(of(1).first < of(2).first);
        assert_eq!(stored.seen.strangers, 1);
    }
}
