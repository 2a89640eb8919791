//! Declaring queues: the set is checked as a whole, written in one transaction, and then seen by callers at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock::millis;
use super::commit::Durability;
use super::error::DeclareError;
use super::group::Group;
use super::queue::{Desk, Names, Queue};
use super::spec::{Notice, QueueSpec, check_all};
use super::stats::{Counters, Role};
use super::writer::Writer;

impl Writer {
    /// Creates what is new, changes what changed; what is no longer declared keeps its messages.
    pub fn declare(&mut self, specs: Vec<QueueSpec>) -> Result<Vec<Notice>, DeclareError> {
        let held: Vec<QueueSpec> = self
            .desks
            .values()
            .filter(|desk| desk.queue.role == Role::Queue)
            .map(|desk| desk.queue.spec.load().as_ref().clone())
            .collect();
        check_all(&specs, &held)?;
        let names = self.shared.names.load_full();
        let mut missing: Vec<i64> = self
            .desks
            .values()
            .filter(|desk| desk.queue.role == Role::Queue)
            .filter(|desk| !specs.iter().any(|spec| *spec.name == *desk.queue.name))
            .map(|desk| desk.queue.id)
            .collect();
        missing.sort_unstable();
        let ids = self.transact(Durability::Durable, |group, _| {
            for id in &missing {
                group
                    .connection
                    .prepare_cached("UPDATE queue SET declared = 0 WHERE id = ?1 AND declared = 1")?
                    .execute([id])?;
            }
            specs
                .iter()
                .map(|spec| match names.get(spec.name.as_str()) {
                    Some(queue)
                        if **queue.spec.load() == *spec
                            && queue.declared.load(Ordering::Relaxed) =>
                    {
                        Ok(queue.id)
                    }
                    _ => group.upsert(spec),
                })
                .collect::<rusqlite::Result<Vec<i64>>>()
        })?;
        let mut next: Names = names.as_ref().clone();
        for (id, spec) in ids.into_iter().zip(specs) {
            match self.desks.get(&id) {
                Some(desk) => {
                    desk.queue.declared.store(true, Ordering::Relaxed);
                    desk.queue.spec.store(Arc::new(spec));
                }
                None => {
                    let queue = Arc::new(Queue::new(id, spec, true, Counters::default()));
                    next.insert(queue.name.clone(), queue.clone());
                    self.desks.insert(id, Desk::new(queue));
                }
            }
        }
        let mut notices = Vec::new();
        for desk in missing.iter().filter_map(|id| self.desks.get(id)) {
            desk.queue.declared.store(false, Ordering::Relaxed);
            notices.push(Notice::Undeclared {
                queue: desk.queue.name.to_string(),
                depth: desk.counters.depth(),
            });
        }
        self.shared.names.store(Arc::new(next));
        Ok(notices)
    }
}

impl Group<'_> {
    fn upsert(&self, spec: &QueueSpec) -> rusqlite::Result<i64> {
        let redrive = spec.redrive.as_ref();
        self.connection
            .prepare_cached(
                "INSERT INTO queue (name, declared, fifo, content_based, lifo, visibility_ms, retention_ms, delay_ms,
                     max_size, max_message_size, redrive_to, max_receive_count, created_at)
                 VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 ON CONFLICT (name) DO UPDATE SET declared = 1, content_based = excluded.content_based,
                     lifo = excluded.lifo, visibility_ms = excluded.visibility_ms, retention_ms = excluded.retention_ms,
                     delay_ms = excluded.delay_ms, max_size = excluded.max_size,
                     max_message_size = excluded.max_message_size, redrive_to = excluded.redrive_to,
                     max_receive_count = excluded.max_receive_count
                 RETURNING id",
            )?
            .query_row(
                (
                    &spec.name,
                    spec.fifo,
                    spec.content_based_deduplication,
                    spec.lifo,
                    millis(spec.visibility_timeout),
                    spec.retention.map(millis),
                    millis(spec.delay),
                    spec.max_size.map(bounded),
                    bounded(spec.max_message_size),
                    redrive.map(|redrive| &redrive.to),
                    redrive.map(|redrive| redrive.max_receive_count),
                    self.now.wall,
                ),
                |row| row.get(0),
            )
    }
}

fn bounded(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
