//! Spools on the writer's side: they are made with their first record; and what was being delivered when the file was
//! last closed, or failed, comes back.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::commit::Durability;
use super::dispatch::UNTIL_SETTLED;
use super::error::StoreError;
use super::group::{Flight, Group, Slot};
use super::queue::{Desk, Names, Queue, SpoolPair, Spools};
use super::spec::QueueSpec;
use super::spool::{dead_letter_queue, spool_queue};
use super::stats::{Counters, Role};
use super::writer::Writer;

/// What is still to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// The process is new: whatever was being delivered, of records below this number.
    Opened { below: i64 },
    /// The file was opened again: what was handed out by a commit of which nobody heard.
    Reconnected,
}

/// The spools among the queues.
pub(super) fn spools_of(names: &Names) -> Spools {
    let pair = |queue: &Arc<Queue>| {
        let target = queue.name.strip_prefix(&*spool_queue(""))?;
        let dead_letters = names.get(dead_letter_queue(target).as_str())?;
        let pair = SpoolPair {
            spool: queue.clone(),
            dead_letters: dead_letters.clone(),
        };
        Some((target.into(), pair))
    };
    let spools = names.values().filter(|queue| queue.role == Role::Spool);
    spools.filter_map(pair).collect()
}

impl Writer {
    /// Makes the queues of targets that have none yet; durable.
    pub fn open_spools(&mut self, targets: &[String]) -> Result<(), StoreError> {
        let specs: Vec<(Role, QueueSpec)> = targets
            .iter()
            .flat_map(|target| {
                [
                    (Role::Spool, spec(spool_queue(target))),
                    (Role::DeadLetters, spec(dead_letter_queue(target))),
                ]
            })
            .collect();
        let ids = self.transact(Durability::Durable, |group, _| {
            specs
                .iter()
                .map(|(role, spec)| group.insert_spool(*role, spec))
                .collect::<rusqlite::Result<Vec<i64>>>()
        })?;
        let mut names: Names = self.shared.names.load().as_ref().clone();
        for (id, (role, spec)) in ids.into_iter().zip(specs) {
            // Two callers may have asked for the same spool.
            if let Entry::Vacant(desk) = self.desks.entry(id) {
                let queue = Queue::new(id, spec, true, Counters::default()).with_role(role);
                let queue = Arc::new(queue);
                names.insert(queue.name.clone(), queue.clone());
                desk.insert(Desk::new(queue));
            }
        }
        self.shared.spools.store(Arc::new(spools_of(&names)));
        self.shared.names.store(Arc::new(names));
        self.shared.spool_made.notify_waiters();
        Ok(())
    }

    /// Makes takeable again what nobody delivers any more. Looks at what is in flight only, so it takes no longer with a
    /// deeper spool. What cannot be done now, on a full disk, is tried again later: meanwhile those records wait.
    pub fn recover_spools(&mut self) {
        let Some(recovery) = self.recovery else {
            return;
        };
        let spools: Vec<i64> = self
            .desks
            .iter()
            .filter(|(_, desk)| desk.queue.role == Role::Spool)
            .map(|(id, _)| *id)
            .collect();
        let recovered = self.transact(Durability::Later, |group, _| {
            let mut recovered = 0;
            for spool in spools {
                recovered += group.recover(spool, recovery)?;
            }
            Ok(recovered)
        });
        // A failure has been logged, and the next beat tries again.
        let Ok(recovered) = recovered else {
            return;
        };
        self.recovery = None;
        if recovered > 0 && recovery != Recovery::Reconnected {
            tracing::warn!(
                records = recovered,
                "Spooled records were being delivered when the store was closed; each may arrive twice"
            );
            let duplicates = &self.shared.possible_duplicates;
            duplicates.fetch_add(recovered, Ordering::Relaxed);
        }
    }
}

/// A queue without limits of its own.
fn spec(name: String) -> QueueSpec {
    QueueSpec {
        fifo: false,
        retention: None,
        max_message_size: i64::MAX as u64,
        ..QueueSpec::new(name)
    }
}

impl Group<'_> {
    fn insert_spool(&self, role: Role, spec: &QueueSpec) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached(
                "INSERT INTO queue (name, declared, fifo, content_based, lifo, visibility_ms, delay_ms, max_message_size,
                     created_at, modified_at, role)
                 VALUES (?1, 1, 0, 0, 0, ?2, 0, ?3, ?4, ?4, ?5)
                 ON CONFLICT (name) DO UPDATE SET role = excluded.role RETURNING id",
            )?
            .query_row(
                (
                    &spec.name,
                    super::clock::millis(spec.visibility_timeout),
                    i64::try_from(spec.max_message_size).unwrap_or(i64::MAX),
                    self.now.wall,
                    role.number(),
                ),
                |row| row.get(0),
            )
    }

    fn recover(&mut self, queue: i64, recovery: Recovery) -> rusqlite::Result<u64> {
        // What is held comes back by itself; after a start it may come back at once.
        let (below, from) = match recovery {
            Recovery::Opened { below } => (below, i64::MIN),
            Recovery::Reconnected => (i64::MAX, UNTIL_SETTLED),
        };
        let flights: Vec<Flight> = self
            .connection
            .prepare_cached(
                "SELECT visible_at, delayed, seq, lane, arrived_at, receive_count, first_received_at, size
                 FROM flight WHERE queue = ?1 AND seq < ?2 AND delayed = 0 AND visible_at >= ?3 ORDER BY seq",
            )?
            .query_map((queue, below, from), |row| {
                Ok(Flight {
                    visible_at: row.get(0)?,
                    delayed: row.get(1)?,
                    slot: Slot::read(row, 2)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        let mut recovered = 0;
        for flight in &flights {
            if !self.desk(queue)?.handed_out.contains(&flight.slot.seq) {
                self.show(queue, flight)?;
                recovered += 1;
            }
        }
        Ok(recovered)
    }
}
