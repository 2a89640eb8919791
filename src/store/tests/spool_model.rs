//! The spool against a simple model of it: random records, deliveries and their ends, time passing, reopenings and kills
//! in between. What the model says must be handed out, in that order; a key's records one at a time; and the ledgers must
//! agree at every step.

use std::collections::HashSet;

use proptest::prelude::*;

use super::spool::{TARGET, new, record};
use super::*;

#[derive(Clone, Debug)]
enum Operation {
    Spool {
        key: Option<u8>,
        hold: Option<u64>,
    },
    Take {
        max_records: usize,
    },
    Forwarded {
        record: prop::sample::Index,
    },
    Later {
        record: prop::sample::Index,
        seconds: u64,
    },
    Dead {
        record: prop::sample::Index,
    },
    Purge {
        dead_letters: bool,
    },
    Advance {
        seconds: u64,
    },
    Reopen,
    Kill,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let record = any::<prop::sample::Index>;
    let key = prop_oneof![Just(None), (0..3u8).prop_map(Some)];
    let hold = prop_oneof![4 => Just(None), 1 => (1..40u64).prop_map(Some)];
    prop_oneof![
        12 => (key, hold).prop_map(|(key, hold)| Spool { key, hold }),
        10 => (1..5usize).prop_map(|max_records| Take { max_records }),
        6 => record().prop_map(|record| Forwarded { record }),
        6 => (record(), prop_oneof![Just(0), 1..60u64])
            .prop_map(|(record, seconds)| Later { record, seconds }),
        2 => record().prop_map(|record| Dead { record }),
        1 => any::<bool>().prop_map(|dead_letters| Purge { dead_letters }),
        6 => (1..40u64).prop_map(|seconds| Advance { seconds }),
        1 => Just(Reopen),
        1 => Just(Kill),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Ready,
    /// Taken, until it is settled.
    Out,
    HeldUntil(u64),
    BacksOffUntil(u64),
    Dead,
    Gone,
}

#[derive(Clone, Debug)]
struct Modelled {
    number: i64,
    key: Option<u8>,
    stands: Stands,
    attempts: u32,
}

/// Records in the order of their spooling, and the time in seconds.
#[derive(Default)]
struct Model {
    now: u64,
    records: Vec<Modelled>,
    spool: Ledger,
    dead_letters: Ledger,
}

impl Model {
    /// Holds and backoffs end.
    fn promote(&mut self) {
        for record in &mut self.records {
            if let Stands::HeldUntil(at) | Stands::BacksOffUntil(at) = record.stands
                && at <= self.now
            {
                record.stands = Stands::Ready;
            }
        }
    }

    /// What a take must give.
    fn take(&mut self, max_records: usize) -> Vec<usize> {
        self.promote();
        let mut busy: HashSet<u8> = self
            .records
            .iter()
            .filter(|record| {
                let stands = record.stands;
                !matches!(stands, Stands::Ready | Stands::Dead | Stands::Gone)
            })
            .filter_map(|record| record.key)
            .collect();
        let mut taken = Vec::new();
        for (at, record) in self.records.iter_mut().enumerate() {
            let free =
                record.stands == Stands::Ready && record.key.is_none_or(|key| busy.insert(key));
            if free && taken.len() < max_records {
                record.stands = Stands::Out;
                record.attempts += 1;
                taken.push(at);
            }
        }
        taken
    }

    /// A record that a settlement may name, the one with the most to it first.
    fn pick(&self, index: prop::sample::Index) -> Option<usize> {
        let under_way =
            |at: &usize| matches!(self.records[*at].stands, Stands::Out | Stands::HeldUntil(_));
        let candidates: Vec<usize> = (0..self.records.len()).filter(under_way).collect();
        // Now and then one that is not under way: it must not matter.
        match candidates.is_empty() {
            true if self.records.is_empty() => None,
            true => Some(index.index(self.records.len())),
            false => Some(*index.get(&candidates)),
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        let mut counts = (0, 0, 0);
        for record in &self.records {
            match record.stands {
                Stands::Ready => counts.0 += 1,
                Stands::BacksOffUntil(_) => counts.1 += 1,
                Stands::Out | Stands::HeldUntil(_) => counts.2 += 1,
                Stands::Dead | Stands::Gone => {}
            }
        }
        counts
    }

    /// The process ends: what was under way is so no more. How many records that were.
    fn restart(&mut self) -> u64 {
        let mut under_way = 0;
        for record in &mut self.records {
            if matches!(record.stands, Stands::Out | Stands::HeldUntil(_)) {
                record.stands = Stands::Ready;
                under_way += 1;
            }
        }
        under_way
    }
}

async fn run(operations: Vec<Operation>) {
    let mut t = Fixture::without_queues().await;
    t.store.spool(Vec::new(), None).await.unwrap();
    let first = t.store.spool(vec![record(None, "first")], None).await;
    let number = new(first.unwrap())[0].number;
    let mut model = Model::default();
    model.records.push(Modelled {
        number,
        key: None,
        stands: Stands::Ready,
        attempts: 0,
    });
    model.spool.accepted = 1;
    for operation in operations {
        step(&mut t, &mut model, &operation).await;
        t.store.look().await.unwrap();
        model.promote();
        let stats = t.stats(&spool_queue(TARGET));
        let seen = (stats.visible, stats.delayed, stats.in_flight);
        assert_eq!(seen, model.counts(), "after {operation:?}");
        assert_eq!(stats.ledger, model.spool, "after {operation:?}");
        let dead = t.stats(&dead_letter_queue(TARGET));
        assert_eq!(dead.ledger, model.dead_letters, "after {operation:?}");
        let depth = t.store.spool_depth(TARGET);
        assert_eq!(depth.depth, stats.depth());
        assert_eq!(depth.dead_letters, dead.visible);
        let waits = |record: &&Modelled| !matches!(record.stands, Stands::Dead | Stands::Gone);
        for key in 0..3u8 {
            let holds = t.store.spool_holds(TARGET, &key.to_string()).await;
            let waiting = model.records.iter().filter(waits);
            let expected = waiting.into_iter().any(|record| record.key == Some(key));
            assert_eq!(holds, Ok(expected), "key {key} after {operation:?}");
        }
        let peeked = t.store.peek(&spool_queue(TARGET), None, 1000).await;
        let numbers: Vec<i64> = peeked.unwrap().iter().map(|p| p.number).collect();
        let waiting = model.records.iter().filter(waits).map(|r| r.number);
        assert_eq!(numbers, waiting.collect::<Vec<_>>(), "after {operation:?}");
    }
}

async fn step(t: &mut Fixture, model: &mut Model, operation: &Operation) {
    match *operation {
        Operation::Spool { key, hold } => {
            let text = key.map(|key| key.to_string());
            let record = NewRecord {
                hold: hold.map(Duration::from_secs),
                ..record(text.as_deref(), "call")
            };
            let spooled = new(t.store.spool(vec![record], None).await.unwrap());
            model.records.push(Modelled {
                number: spooled[0].number,
                key,
                stands: hold.map_or(Stands::Ready, |hold| Stands::HeldUntil(model.now + hold)),
                attempts: u32::from(hold.is_some()),
            });
            model.spool.accepted += 1;
        }
        Operation::Take { max_records } => {
            let taken = t.store.take_parcels(TARGET, max_records, 1 << 30).await;
            let taken: Vec<(i64, u32)> = taken
                .unwrap()
                .iter()
                .map(|parcel| (parcel.number, parcel.attempts))
                .collect();
            let expected: Vec<(i64, u32)> = model
                .take(max_records)
                .into_iter()
                .map(|at| (model.records[at].number, model.records[at].attempts))
                .collect();
            assert_eq!(taken, expected);
        }
        Operation::Forwarded { record } => {
            let Some(at) = model.pick(record) else {
                return;
            };
            settle(t, model.records[at].number, Settlement::Forwarded).await;
            let record = &mut model.records[at];
            if !matches!(record.stands, Stands::Dead | Stands::Gone) {
                record.stands = Stands::Gone;
                model.spool.forwarded += 1;
            }
        }
        Operation::Later { record, seconds } => {
            let Some(at) = model.pick(record) else {
                return;
            };
            let pause = Duration::from_secs(seconds);
            settle(t, model.records[at].number, Settlement::Later(pause)).await;
            let record = &mut model.records[at];
            if !matches!(record.stands, Stands::Ready | Stands::Dead | Stands::Gone) {
                record.stands = Stands::BacksOffUntil(model.now + seconds);
            }
        }
        Operation::Dead { record } => {
            let Some(at) = model.pick(record) else {
                return;
            };
            let reason = Reason {
                code: "Refused".to_owned(),
                detail: String::new(),
            };
            settle(t, model.records[at].number, Settlement::Dead(reason)).await;
            let record = &mut model.records[at];
            if !matches!(record.stands, Stands::Ready | Stands::Dead | Stands::Gone) {
                record.stands = Stands::Dead;
                model.spool.dead_lettered += 1;
                model.dead_letters.imported += 1;
            }
        }
        Operation::Purge { dead_letters } => {
            let (name, ledger) = match dead_letters {
                true => (dead_letter_queue(TARGET), &mut model.dead_letters),
                false => (spool_queue(TARGET), &mut model.spool),
            };
            let mut purged = 0;
            for record in &mut model.records {
                let there = record.stands != Stands::Gone
                    && (record.stands == Stands::Dead) == dead_letters;
                if there {
                    record.stands = Stands::Gone;
                    purged += 1;
                }
            }
            ledger.purged += purged;
            assert_eq!(t.store.purge(&name).await, Ok(purged));
        }
        Operation::Advance { seconds } => {
            model.now += seconds;
            t.advance(seconds);
        }
        Operation::Reopen => {
            t.reopen().await;
            assert_eq!(t.store.possible_duplicates(), model.restart());
        }
        Operation::Kill => {
            *t = t.after_a_kill();
            assert_eq!(t.store.possible_duplicates(), model.restart());
        }
    }
}

async fn settle(t: &Fixture, number: i64, settlement: Settlement) {
    let settlements = vec![(number, settlement)];
    t.store.settle(TARGET, settlements).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_spool_does_what_the_model_says(operations in prop::collection::vec(operation(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}
