//! Tests of the store as a whole: what SQS's semantics ask, what survives, and what is refused.

mod broken;
mod crash;
mod deployments;
mod faults;
mod fifo;
mod format;
mod idempotency;
mod manage;
mod model;
mod peek;
mod redrive;
mod spool;
mod spool_crash;
mod spool_limits;
mod spool_model;
mod standard;

use std::path::Path;
use std::time::Duration;

use super::*;

/// Wall time at which manual clocks start.
const START: i64 = 1_700_000_000_000;

/// A store in a temporary directory, on a clock that only the test moves.
struct Fixture {
    directory: tempfile::TempDir,
    clock: Clock,
    store: Store,
}

fn options(path: &Path, clock: &Clock) -> Options {
    Options {
        lock_wait: Duration::ZERO,
        min_free: 0,
        clock: clock.clone(),
        ..Options::new(path)
    }
}

impl Fixture {
    async fn with(specs: Vec<QueueSpec>) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let store = Store::open(options(directory.path(), &clock)).unwrap();
        store.declare(specs).await.unwrap();
        Fixture {
            directory,
            clock,
            store,
        }
    }

    async fn with_queue(name: &str) -> Fixture {
        Fixture::with(vec![QueueSpec::new(name)]).await
    }

    async fn reopen(&mut self) {
        self.store.close().await;
        self.store = Store::open(options(self.directory.path(), &self.clock)).unwrap();
    }

    /// Opens a copy of the files as they are now: what a kill would leave.
    fn after_a_kill(&self) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        for file in ["store.db", "store.db-wal", "commits"] {
            std::fs::copy(
                self.directory.path().join(file),
                directory.path().join(file),
            )
            .unwrap();
        }
        let store = Store::open(options(directory.path(), &self.clock)).unwrap();
        Fixture {
            directory,
            clock: self.clock.clone(),
            store,
        }
    }

    /// What kills would leave before, between and after steps of the writer's, which says whether there are more.
    async fn after_kills_amid(
        &self,
        mut step: impl FnMut(&mut Writer) -> bool + Send + 'static,
    ) -> Vec<Fixture> {
        let from = self.directory.path().to_owned();
        let copied = self.store.order(move |writer| {
            let mut copies = Vec::new();
            let mut more = true;
            while more {
                more = step(writer);
                let directory = tempfile::tempdir().unwrap();
                for file in ["store.db", "store.db-wal", "commits"] {
                    std::fs::copy(from.join(file), directory.path().join(file)).unwrap();
                }
                copies.push(directory);
            }
            Ok::<_, StoreError>(copies)
        });
        let opened = copied.await.unwrap().into_iter().map(|directory| {
            let store = Store::open(options(directory.path(), &self.clock)).unwrap();
            let clock = self.clock.clone();
            Fixture {
                directory,
                clock,
                store,
            }
        });
        opened.collect()
    }

    async fn send(&self, queue: &str, body: &str) -> Sent {
        self.store.send(queue, message(body)).await.unwrap()
    }

    async fn receive(&self, queue: &str, max_messages: usize) -> Vec<Delivery> {
        let request = Receive {
            max_messages,
            ..Receive::default()
        };
        self.store.receive(queue, request).await.unwrap()
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn stats(&self, queue: &str) -> QueueStats {
        let stats = self.store.stats();
        let queue = stats.queues.into_iter().find(|q| q.name == queue).unwrap();
        assert_eq!(queue.ledger.balance(), queue.depth(), "{queue:?}");
        queue
    }
}

fn message(body: &str) -> NewMessage {
    NewMessage {
        body: body.to_owned().into(),
        ..NewMessage::default()
    }
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|delivery| std::str::from_utf8(&delivery.body).unwrap())
        .collect()
}
