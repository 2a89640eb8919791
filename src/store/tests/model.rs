//! The store against a simple model of it: random operations, time passing, reopenings and kills in between. Whatever the
//! model says must come out, in that order, and the ledgers must agree at every step.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const STANDARD: &str = "standard";
const FIFO: &str = "ordered.fifo";
const DEAD: &str = "dead";
const DEAD_FIFO: &str = "dead.fifo";
const QUEUES: [&str; 4] = [STANDARD, FIFO, DEAD, DEAD_FIFO];
const MAX_RECEIVE_COUNT: u32 = 2;
const RETENTION_S: u64 = 400;

#[derive(Clone, Debug)]
enum Operation {
    Send {
        delay: u64,
    },
    SendOrdered {
        group: u8,
        id: u8,
    },
    Receive {
        queue: usize,
        max_messages: usize,
    },
    Delete {
        held: prop::sample::Index,
    },
    ChangeVisibility {
        held: prop::sample::Index,
        seconds: u64,
    },
    Purge {
        queue: usize,
    },
    /// Dead letters of the standard queue go back.
    MoveBack,
    Advance {
        seconds: u64,
    },
    Reopen,
    Kill,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let held = any::<prop::sample::Index>;
    prop_oneof![
        6 => prop_oneof![Just(0), Just(0), 1..60u64].prop_map(|delay| Send { delay }),
        6 => (0..3u8, 0..12u8).prop_map(|(group, id)| SendOrdered { group, id }),
        10 => (0..4usize, 1..5usize).prop_map(|(queue, max_messages)| Receive { queue, max_messages }),
        6 => held().prop_map(|held| Delete { held }),
        3 => (held(), prop_oneof![Just(0), 1..60u64])
            .prop_map(|(held, seconds)| ChangeVisibility { held, seconds }),
        1 => (0..4usize).prop_map(|queue| Purge { queue }),
        2 => Just(MoveBack),
        6 => prop_oneof![1..40u64, 1..40u64, Just(300)].prop_map(|seconds| Advance { seconds }),
        1 => Just(Reopen),
        1 => Just(Kill),
    ]
}

#[derive(Clone, Debug)]
struct Held {
    queue: &'static str,
    message: usize,
    receive_count: u32,
    handle: String,
}

#[derive(Clone, Debug)]
struct Modelled {
    queue: Option<&'static str>,
    body: String,
    id: String,
    group: Option<u8>,
    arrived: u64,
    visible_at: u64,
    received: bool,
    receive_count: u32,
}

/// Messages in the order of their sending, and the time in seconds.
#[derive(Default)]
struct Model {
    now: u64,
    messages: Vec<Modelled>,
    /// Deduplication id → when, and whose id.
    sent: HashMap<u8, (u64, usize)>,
    ledgers: HashMap<&'static str, Ledger>,
}

impl Model {
    fn ledger(&mut self, queue: &'static str) -> &mut Ledger {
        self.ledgers.entry(queue).or_default()
    }

    fn is_visible(&self, message: &Modelled) -> bool {
        message.visible_at <= self.now
    }

    /// Messages that have waited too long go as soon as they are visible.
    fn expire(&mut self) {
        for at in 0..self.messages.len() {
            let message = &self.messages[at];
            if message.queue == Some(STANDARD)
                && self.is_visible(message)
                && self.now - message.arrived >= RETENTION_S
            {
                self.messages[at].queue = None;
                self.ledger(STANDARD).expired += 1;
            }
        }
    }

    /// What can be received of a queue, in order; of a FIFO queue, what one group gives: the one whose first message
    /// is oldest, among groups of which nothing is in flight.
    fn candidates(&self, queue: &'static str, limit: usize) -> Vec<usize> {
        let there = |at: &usize| self.messages[*at].queue == Some(queue);
        let all: Vec<usize> = (0..self.messages.len()).filter(there).collect();
        let held = |group: Option<u8>| {
            let in_flight = |at: &usize| {
                self.messages[*at].group == group && !self.is_visible(&self.messages[*at])
            };
            group.is_some() && all.iter().any(in_flight)
        };
        let mut free = all
            .iter()
            .copied()
            .filter(|at| self.is_visible(&self.messages[*at]) && !held(self.messages[*at].group));
        let Some(first) = free.next() else {
            return Vec::new();
        };
        let group = self.messages[first].group;
        std::iter::once(first)
            .chain(free.filter(|at| self.messages[*at].group == group))
            .take(limit)
            .collect()
    }

    /// What a receive must give, in order.
    fn receive(&mut self, queue: &'static str, max_messages: usize) -> Vec<usize> {
        let target = match queue {
            STANDARD => Some(DEAD),
            FIFO => Some(DEAD_FIFO),
            _ => None,
        };
        let mut taken = Vec::new();
        while taken.len() < max_messages {
            let candidates = self.candidates(queue, max_messages - taken.len());
            if candidates.is_empty() {
                break;
            }
            for at in candidates {
                let message = &mut self.messages[at];
                if let Some(target) = target
                    && message.receive_count >= MAX_RECEIVE_COUNT
                {
                    message.queue = Some(target);
                    message.receive_count = 0;
                    message.received = false;
                    self.ledger(queue).dead_lettered += 1;
                    self.ledger(target).imported += 1;
                    continue;
                }
                message.receive_count += 1;
                message.received = true;
                message.visible_at = self.now + 30;
                taken.push(at);
            }
        }
        taken
    }

    /// Dead letters that can be received come back as new messages of their queue; how many.
    fn move_back(&mut self) -> u64 {
        let mut moved = 0;
        for at in 0..self.messages.len() {
            let message = &self.messages[at];
            if message.queue != Some(DEAD) || !self.is_visible(message) {
                continue;
            }
            self.messages.push(Modelled {
                queue: Some(STANDARD),
                arrived: self.now,
                visible_at: self.now,
                received: false,
                receive_count: 0,
                ..message.clone()
            });
            self.messages[at].queue = None;
            moved += 1;
        }
        self.ledger(DEAD).forwarded += moved;
        self.ledger(STANDARD).imported += moved;
        moved
    }

    fn counts(&self, queue: &str) -> (u64, u64, u64) {
        let mut counts = (0, 0, 0);
        for message in self.messages.iter().filter(|m| m.queue == Some(queue)) {
            *if self.is_visible(message) {
                &mut counts.0
            } else if message.received {
                &mut counts.2
            } else {
                &mut counts.1
            } += 1;
        }
        counts
    }
}

async fn run(operations: Vec<Operation>) {
    let redrive = |to: &str| {
        Some(Redrive {
            to: to.into(),
            max_receive_count: MAX_RECEIVE_COUNT,
        })
    };
    let spec = |name: &str, retention: Option<u64>| QueueSpec {
        retention: retention.map(Duration::from_secs),
        ..QueueSpec::new(name)
    };
    let mut t = Fixture::with(vec![
        QueueSpec {
            redrive: redrive(DEAD),
            ..spec(STANDARD, Some(RETENTION_S))
        },
        QueueSpec {
            redrive: redrive(DEAD_FIFO),
            ..spec(FIFO, None)
        },
        spec(DEAD, None),
        spec(DEAD_FIFO, None),
    ])
    .await;
    let mut model = Model::default();
    let mut held: Vec<Held> = Vec::new();
    for operation in operations {
        step(&mut t, &mut model, &mut held, &operation).await;
        t.store.look().await.unwrap();
        model.expire();
        for queue in QUEUES {
            let stats = t.stats(queue);
            let seen = (stats.visible, stats.delayed, stats.in_flight);
            assert_eq!(seen, model.counts(queue), "{queue} after {operation:?}");
            assert_eq!(
                stats.ledger,
                *model.ledger(queue),
                "{queue} after {operation:?}"
            );
        }
    }
}

async fn step(t: &mut Fixture, model: &mut Model, held: &mut Vec<Held>, operation: &Operation) {
    match *operation {
        Operation::Send { delay } => {
            let body = format!("body {}", model.messages.len());
            let new = NewMessage {
                delay: Some(Duration::from_secs(delay)),
                ..message(&body)
            };
            let sent = t.store.send(STANDARD, new).await.unwrap();
            accept(model, STANDARD, body, sent.message_id, None, delay);
        }
        Operation::SendOrdered { group, id } => {
            let body = format!("body {}", model.messages.len());
            let new = NewMessage {
                group_id: Some(format!("group-{group}")),
                deduplication_id: Some(id.to_string()),
                ..message(&body)
            };
            let sent = t.store.send(FIFO, new).await.unwrap();
            match model.sent.get(&id) {
                Some((at, first)) if model.now - at < 300 => {
                    assert!(sent.duplicate);
                    assert_eq!(sent.message_id, model.messages[*first].id);
                    model.ledger(FIFO).duplicates += 1;
                }
                _ => {
                    assert!(!sent.duplicate);
                    model.sent.insert(id, (model.now, model.messages.len()));
                    accept(model, FIFO, body, sent.message_id, Some(group), 0);
                }
            }
        }
        Operation::Receive {
            queue,
            max_messages,
        } => {
            let queue = QUEUES[queue];
            let expected = model.receive(queue, max_messages);
            let got = t.receive(queue, max_messages).await;
            let wanted: Vec<&str> = expected
                .iter()
                .map(|at| model.messages[*at].body.as_str())
                .collect();
            assert_eq!(bodies(&got), wanted, "{queue}");
            for (delivery, message) in got.into_iter().zip(expected) {
                let receive_count = model.messages[message].receive_count;
                assert_eq!(delivery.receive_count, receive_count);
                assert_eq!(delivery.message_id, model.messages[message].id);
                held.push(Held {
                    queue,
                    message,
                    receive_count,
                    handle: delivery.receipt_handle,
                });
            }
        }
        Operation::Delete { held: at } => {
            let Some(held) = (!held.is_empty()).then(|| at.get(held)) else {
                return;
            };
            let message = &model.messages[held.message];
            let there = message.queue == Some(held.queue);
            let current = message.receive_count == held.receive_count && !model.is_visible(message);
            let answer = t.store.delete(held.queue, &held.handle).await;
            if there && held.queue.ends_with(".fifo") && !current {
                assert_eq!(answer, Err(StoreError::ReceiptHandleExpired));
                return;
            }
            assert_eq!(answer, Ok(()));
            if there {
                model.messages[held.message].queue = None;
                model.ledger(held.queue).deleted += 1;
            }
        }
        Operation::ChangeVisibility { held: at, seconds } => {
            let Some(held) = (!held.is_empty()).then(|| at.get(held)) else {
                return;
            };
            let now = model.now;
            let message = &model.messages[held.message];
            let current = message.queue == Some(held.queue)
                && message.receive_count == held.receive_count
                && !model.is_visible(message);
            let timeout = Duration::from_secs(seconds);
            let answer = t
                .store
                .change_visibility(held.queue, &held.handle, timeout)
                .await;
            assert_eq!(answer.is_ok(), current, "{answer:?}");
            if current {
                model.messages[held.message].visible_at = now + seconds;
            }
        }
        Operation::Purge { queue } => {
            let queue = QUEUES[queue];
            let mut purged = 0;
            for message in &mut model.messages {
                if message.queue == Some(queue) {
                    message.queue = None;
                    purged += 1;
                }
            }
            model.ledger(queue).purged += purged;
            assert_eq!(t.store.purge(queue).await, Ok(purged));
        }
        Operation::MoveBack => {
            let task = t.completed(super::redrive::from(DEAD)).await;
            assert_eq!(task.moved, model.move_back());
        }
        Operation::Advance { seconds } => {
            model.now += seconds;
            t.advance(seconds);
        }
        Operation::Reopen => t.reopen().await,
        Operation::Kill => *t = t.after_a_kill(),
    }
}

fn accept(
    model: &mut Model,
    queue: &'static str,
    body: String,
    id: String,
    group: Option<u8>,
    delay: u64,
) {
    model.messages.push(Modelled {
        queue: Some(queue),
        body,
        id,
        group,
        arrived: model.now,
        visible_at: model.now + delay,
        received: false,
        receive_count: 0,
    });
    model.ledger(queue).accepted += 1;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_says(operations in prop::collection::vec(operation(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}
