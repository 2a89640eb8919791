//! Declaring queues: the set is checked as a whole, written in one transaction, and then seen by callers at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock::millis;
use super::commit::Durability;
use super::error::DeclareError;
use super::group::Group;
use super::manage::Extra;
use super::queue::{Desk, Facts, Names, Queue};
use super::spec::{Notice, QueueSpec, check_all};
use super::stats::{Counters, Role};
use super::writer::Writer;

impl Writer {
    /// The queues that people know, as they are now.
    pub fn held(&self) -> Vec<QueueSpec> {
        self.desks
            .values()
            .filter(|desk| desk.queue.role == Role::Queue)
            .map(|desk| desk.queue.spec.load().as_ref().clone())
            .collect()
    }

    /// Creates what is new, changes what changed; what is no longer declared keeps its messages.
    pub fn declare(&mut self, specs: Vec<QueueSpec>) -> Result<Vec<Notice>, DeclareError> {
        check_all(&specs, &self.held())?;
        let names = self.shared.names.load_full();
        let mut missing: Vec<i64> = self
            .desks
            .values()
            .filter(|desk| {
                desk.queue.role == Role::Queue
                    && !desk.queue.facts.load().by_users
                    && !specs.iter().any(|spec| *spec.name == *desk.queue.name)
            })
            .map(|desk| desk.queue.id)
            .collect();
        missing.sort_unstable();
        let entries = self.transact(Durability::Durable, |group, _| {
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
                        Ok(None)
                    }
                    _ => group.upsert(spec, true, None).map(Some),
                })
                .collect::<rusqlite::Result<Vec<Option<Entry>>>>()
        })?;
        for (spec, entry) in specs.into_iter().zip(entries) {
            if let Some(entry) = entry {
                self.enter(spec, true, entry, None);
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
        Ok(notices)
    }

    /// Lets everybody see a queue as it was just written.
    pub fn enter(&mut self, spec: QueueSpec, declared: bool, entry: Entry, extra: Option<Extra>) {
        let known = self.desks.get(&entry.id).map(|desk| desk.queue.clone());
        let before = known.as_ref().map(|queue| queue.facts.load_full());
        let facts = Facts {
            by_users: entry.by_users,
            extra: extra
                .or(before.map(|facts| facts.extra.clone()))
                .unwrap_or_default(),
            created_at: entry.created_at,
            modified_at: entry.modified_at,
        };
        if let Some(queue) = known {
            queue.declared.store(declared, Ordering::Relaxed);
            queue.spec.store(Arc::new(spec));
            queue.facts.store(Arc::new(facts));
            return;
        }
        let queue = Arc::new(Queue::new(entry.id, spec, declared, Counters::default()));
        queue.facts.store(Arc::new(facts));
        self.desks.insert(entry.id, Desk::new(queue.clone()));
        self.shared.names.rcu(|names| {
            let mut next: Names = names.as_ref().clone();
            next.insert(queue.name.clone(), queue.clone());
            next
        });
    }
}

/// What the file made of a queue that was written.
pub(super) struct Entry {
    pub id: i64,
    pub by_users: bool,
    pub created_at: i64,
    pub modified_at: i64,
}

impl Group<'_> {
    /// Writes a queue's settings, and makes the queue if it is new. What is declared belongs to the configuration from
    /// then on. Without `extra` that of the queue stays.
    pub fn upsert(
        &self,
        spec: &QueueSpec,
        declared: bool,
        extra: Option<&str>,
    ) -> rusqlite::Result<Entry> {
        let redrive = spec.redrive.as_ref();
        self.connection
            .prepare_cached(
                "INSERT INTO queue (name, declared, fifo, content_based, lifo, visibility_ms, retention_ms, delay_ms,
                     max_size, max_message_size, redrive_to, max_receive_count, created_at, modified_at, origin, extra)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13, NOT ?2, ?14)
                 ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, content_based = excluded.content_based,
                     lifo = excluded.lifo, visibility_ms = excluded.visibility_ms, retention_ms = excluded.retention_ms,
                     delay_ms = excluded.delay_ms, max_size = excluded.max_size,
                     max_message_size = excluded.max_message_size, redrive_to = excluded.redrive_to,
                     max_receive_count = excluded.max_receive_count, modified_at = excluded.modified_at,
                     origin = min(origin, excluded.origin), extra = coalesce(excluded.extra, extra)
                 RETURNING id, origin, created_at, modified_at",
            )?
            .query_row(
                (
                    &spec.name,
                    declared,
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
                    extra,
                ),
                |row| {
                    Ok(Entry {
                        id: row.get(0)?,
                        by_users: row.get(1)?,
                        created_at: row.get(2)?,
                        modified_at: row.get(3)?,
                    })
                },
            )
    }
}

fn bounded(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
