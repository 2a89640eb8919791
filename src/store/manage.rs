//! Queues made, changed and removed by their users while the gateway runs, as SQS lets them; beside those that the
//! configuration declares.
//!
//! A removed queue is gone for everybody with the commit that renames its row; its messages go in steps after that, also
//! after a kill. Numbers of queues are never given twice: handles and dead letters name queues by them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;
use thiserror::Error;

use super::Store;
use super::commit::Durability;
use super::error::{DeclareError, StoreError};
use super::group::Group;
use super::open::QueueRow;
use super::queue::{Desk, Names, Queue};
use super::recover::spools_of;
use super::spec::{QueueSpec, check_all};
use super::stats::Role;
use super::writer::{LOG_PER_OPERATION, Writer};

/// The most tags of a queue (SQS).
const MAX_TAGS: usize = 50;
/// The longest key and the longest value of a tag, in characters (SQS).
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;
/// Messages of a removed queue that go in one step.
const STEP: usize = 500;
/// How long steps rest after one failed.
const REST_MS: i64 = 1_000;

/// What SQS keeps for a queue and does not act on here (`Policy`, `KmsMasterKeyId`, …); `RedriveAllowPolicy` is kept to.
pub type Extra = BTreeMap<String, String>;

/// Tags of a queue.
pub type Tags = BTreeMap<String, String>;

/// A queue as its users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    pub spec: QueueSpec,
    pub extra: Extra,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub modified_at: i64,
    /// Whether the configuration declares it.
    pub declared: bool,
}

/// Why a queue could not be made, changed or removed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ManageError {
    #[error("there is a queue of that name with other attributes")]
    ExistsOtherwise,
    #[error("the configuration declares the queue; it is removed there")]
    Declared,
    #[error(transparent)]
    Refused(#[from] DeclareError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a queue; one that exists with the same attributes is no error, and keeps its tags.
    ///
    /// # Errors
    /// [`ManageError::ExistsOtherwise`], also where only `extra` differs. [`ManageError::Refused`] for what a declaration
    /// may not say either, and for a dead-letter queue whose `RedriveAllowPolicy` excludes this queue.
    pub async fn create_queue(
        &self,
        spec: QueueSpec,
        extra: Extra,
        tags: Tags,
    ) -> Result<(), ManageError> {
        check_tags(&tags)?;
        self.order(move |writer| writer.create_queue(spec, extra, tags))
            .await
    }

    /// Changes a queue's attributes, all of them. What the configuration declares is declared anew with the next start or
    /// reload.
    pub async fn change_queue(&self, spec: QueueSpec, extra: Extra) -> Result<(), ManageError> {
        self.order(move |writer| writer.change_queue(spec, extra))
            .await
    }

    /// Removes a queue with all its messages. The name is free at once, and long polls on the queue end with
    /// [`StoreError::UnknownQueue`]; the messages go in steps, so that other operations go on.
    ///
    /// # Errors
    /// [`ManageError::Declared`] while the configuration declares the queue.
    pub async fn delete_queue(&self, queue: &str) -> Result<(), ManageError> {
        let queue = self.queue(queue)?;
        self.order(move |writer| writer.remove_queue(&queue)).await
    }

    /// The queue, if it exists. Spools are none.
    pub fn queue_facts(&self, queue: &str) -> Option<QueueFacts> {
        let queue = self.queue(queue).ok()?;
        let facts = queue.facts.load();
        Some(QueueFacts {
            spec: queue.spec.load().as_ref().clone(),
            extra: facts.extra.clone(),
            created_at: facts.created_at / 1000,
            modified_at: facts.modified_at / 1000,
            declared: queue.declared.load(Ordering::Relaxed),
        })
    }

    /// Names of queues, in order. Spools are not among them.
    pub fn queue_names(&self) -> Vec<String> {
        let names = self.0.shared.names.load();
        let mut names: Vec<String> = names
            .values()
            .filter(|queue| queue.role == Role::Queue)
            .map(|queue| queue.name.to_string())
            .collect();
        names.sort_unstable();
        names
    }

    /// The queue's tags.
    pub fn tags(&self, queue: &str) -> Result<Tags, StoreError> {
        Ok(self.queue(queue)?.tags.load().as_ref().clone())
    }

    /// Removes and adds tags; up to 50 a queue, keys of 1 to 128 and values of up to 256 characters.
    pub async fn change_tags(
        &self,
        queue: &str,
        set: Tags,
        removed: Vec<String>,
    ) -> Result<(), StoreError> {
        let queue = self.queue(queue)?;
        self.order(move |writer| {
            let mut tags = queue.tags.load().as_ref().clone();
            tags.retain(|key, _| !removed.contains(key));
            tags.extend(set);
            check_tags(&tags)?;
            writer.known(&queue)?;
            writer.transact(Durability::Durable, |group, _| {
                group.write_tags(queue.id, &tags)
            })?;
            queue.tags.store(Arc::new(tags));
            Ok(())
        })
        .await
    }
}

fn check_tags(tags: &Tags) -> Result<(), StoreError> {
    let invalid = |reason: String| Err(StoreError::InvalidParameter(reason));
    if tags.len() > MAX_TAGS {
        return invalid(format!("a queue has at most {MAX_TAGS} tags"));
    }
    for (key, value) in tags {
        if !(1..=MAX_TAG_KEY).contains(&key.chars().count()) {
            return invalid(format!("a tag's key has 1 to {MAX_TAG_KEY} characters"));
        }
        if value.chars().count() > MAX_TAG_VALUE {
            return invalid(format!(
                "a tag's value has at most {MAX_TAG_VALUE} characters"
            ));
        }
    }
    Ok(())
}

/// Whether the `RedriveAllowPolicy` of a dead-letter queue admits this source. Queues are named by ARN, of which the last
/// part is the name.
fn admits(policy: &str, source: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<serde_json::Value>(policy) else {
        return true;
    };
    match policy["redrivePermission"].as_str() {
        Some("denyAll") => false,
        Some("byQueue") => policy["sourceQueueArns"].as_array().is_some_and(|arns| {
            arns.iter()
                .filter_map(|arn| arn.as_str()?.rsplit(':').next())
                .any(|name| name == source)
        }),
        _ => true,
    }
}

impl Writer {
    fn create_queue(
        &mut self,
        spec: QueueSpec,
        extra: Extra,
        tags: Tags,
    ) -> Result<(), ManageError> {
        if let Some(queue) = self.shared.names.load().get(spec.name.as_str()) {
            let same = **queue.spec.load() == spec && queue.facts.load().extra == extra;
            return if same {
                Ok(())
            } else {
                Err(ManageError::ExistsOtherwise)
            };
        }
        self.check(&spec)?;
        let text = written(&extra)?;
        let entry = self.transact(Durability::Durable, |group, _| {
            let entry = group.upsert(&spec, false, Some(&text))?;
            group.write_tags(entry.id, &tags)?;
            Ok(entry)
        })?;
        let id = entry.id;
        self.enter(spec, false, entry, Some(extra));
        if let Some(desk) = self.desks.get(&id) {
            desk.queue.tags.store(Arc::new(tags));
        }
        Ok(())
    }

    fn change_queue(&mut self, spec: QueueSpec, extra: Extra) -> Result<(), ManageError> {
        let names = self.shared.names.load_full();
        let queue = names
            .get(spec.name.as_str())
            .filter(|queue| queue.role == Role::Queue)
            .ok_or_else(|| StoreError::UnknownQueue(spec.name.clone()))?;
        self.check(&spec)?;
        let declared = queue.declared.load(Ordering::Relaxed);
        let text = written(&extra)?;
        let entry = self.transact(Durability::Durable, |group, _| {
            group.upsert(&spec, declared, Some(&text))
        })?;
        self.enter(spec, declared, entry, Some(extra));
        Ok(())
    }

    /// The rules of a declaration, and what the dead-letter queue lets in.
    fn check(&self, spec: &QueueSpec) -> Result<(), DeclareError> {
        check_all(std::slice::from_ref(spec), &self.held())?;
        let names = self.shared.names.load();
        let target = spec.redrive.as_ref().map(|redrive| redrive.to.as_str());
        let policy = target.and_then(|to| names.get(to)).and_then(|queue| {
            let facts = queue.facts.load();
            facts.extra.get("RedriveAllowPolicy").cloned()
        });
        match (target, policy) {
            (Some(to), Some(policy)) if !admits(&policy, &spec.name) => {
                Err(DeclareError::Invalid {
                    queue: spec.name.clone(),
                    reason: format!("the RedriveAllowPolicy of {to:?} does not admit it"),
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether this very queue is still there.
    fn known(&self, queue: &Queue) -> Result<(), StoreError> {
        match self.desks.get(&queue.id) {
            Some(_) => Ok(()),
            None => Err(StoreError::UnknownQueue(queue.name.to_string())),
        }
    }

    pub fn remove_queue(&mut self, queue: &Queue) -> Result<(), ManageError> {
        self.known(queue)?;
        if queue.declared.load(Ordering::Relaxed) {
            return Err(ManageError::Declared);
        }
        let id = queue.id;
        self.transact(Durability::Durable, |group, _| {
            for sql in [
                // No queue of the users has a name like this.
                "UPDATE queue SET name = 'removed:' || id, role = 3, declared = 0 WHERE id = ?1",
                "DELETE FROM tag WHERE queue = ?1",
                "DELETE FROM move_task WHERE source = ?1",
            ] {
                group.connection.prepare_cached(sql)?.execute([id])?;
            }
            Ok(())
        })?;
        self.shared.names.rcu(|names| {
            let mut next: Names = names.as_ref().clone();
            next.remove(&queue.name);
            next
        });
        self.desks.remove(&id);
        self.moves.retain(|task| task.source != id);
        let (gone, purges) = self.purges.drain(..).partition(|job| job.purge.queue == id);
        self.purges = purges;
        for job in Vec::from(gone) {
            let error = StoreError::UnknownQueue(queue.name.to_string());
            let _ = job.reply.send(Err(error));
        }
        self.removals.push_back(id);
        queue.removed.cancel();
        Ok(())
    }

    /// One step of removing what a removed queue held.
    pub fn remove_some(&mut self) {
        let Some(id) = self.removals.front().copied() else {
            return;
        };
        if self.timeline.now().steady < self.steps_from {
            return;
        }
        let step = self.transact(Durability::Later, |group, _| group.remove_rows(id, STEP));
        self.uncounted += STEP as u64 * LOG_PER_OPERATION;
        match step {
            Ok(true) => drop(self.removals.pop_front()),
            Ok(false) => {}
            Err(_) => self.rest(),
        }
    }

    /// After a failed step: the next one waits a little. The failure has been logged.
    pub fn rest(&mut self) {
        self.steps_from = self.timeline.now().steady + REST_MS;
    }

    /// How long until a step of removing or moving is due; `None` if nothing is to be done.
    pub fn until_next_step(&mut self) -> Option<Duration> {
        let removal = (!self.removals.is_empty()).then_some(i64::MIN);
        let moved = self.moves.iter().map(|task| task.due).min();
        let due = removal.into_iter().chain(moved).min()?.max(self.steps_from);
        let wait = due.saturating_sub(self.timeline.now().steady).max(0);
        Some(Duration::from_millis(wait as u64))
    }

    /// The queues as a freshly opened file has them. What it says counts, also about what was asked while it failed.
    pub fn take_over(&mut self, rows: Vec<QueueRow>) {
        let mut before = std::mem::take(&mut self.desks);
        let mut names = Names::new();
        for row in rows {
            let desk = match before.remove(&row.id) {
                Some(mut desk) => {
                    desk.queue.become_as(row);
                    desk.restore();
                    desk
                }
                None => Desk::new(Arc::new(Queue::read(row))),
            };
            names.insert(desk.queue.name.clone(), desk.queue.clone());
            self.desks.insert(desk.queue.id, desk);
        }
        self.shared.spools.store(Arc::new(spools_of(&names)));
        self.shared.names.store(Arc::new(names));
        for desk in before.into_values() {
            desk.queue.removed.cancel();
        }
    }
}

/// `extra` as the file keeps it.
fn written(extra: &Extra) -> Result<String, StoreError> {
    serde_json::to_string(extra).map_err(|error| StoreError::InvalidParameter(error.to_string()))
}

impl Group<'_> {
    fn write_tags(&self, queue: i64, tags: &Tags) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM tag WHERE queue = ?1")?
            .execute([queue])?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO tag (queue, key, value) VALUES (?1, ?2, ?3)")?;
        for (key, value) in tags {
            insert.execute((queue, key, value))?;
        }
        Ok(())
    }

    /// Removes rows of a removed queue, up to a limit of each kind; whether nothing is left, not even the queue.
    fn remove_rows(&self, queue: i64, limit: usize) -> rusqlite::Result<bool> {
        let mut done = true;
        for sql in [
            "DELETE FROM message WHERE seq IN
                 (SELECT seq FROM ready WHERE queue = ?1 ORDER BY lane, seq LIMIT ?2)",
            "DELETE FROM ready WHERE (queue, lane, seq) IN
                 (SELECT queue, lane, seq FROM ready WHERE queue = ?1 ORDER BY lane, seq LIMIT ?2)",
            "DELETE FROM message WHERE seq IN
                 (SELECT seq FROM flight WHERE queue = ?1 ORDER BY seq LIMIT ?2)",
            "DELETE FROM flight WHERE (queue, seq) IN
                 (SELECT queue, seq FROM flight WHERE queue = ?1 ORDER BY seq LIMIT ?2)",
            "DELETE FROM lane WHERE id IN (SELECT id FROM lane WHERE queue = ?1 LIMIT ?2)",
            "DELETE FROM deduplication WHERE n IN
                 (SELECT n FROM deduplication WHERE queue = ?1 LIMIT ?2)",
        ] {
            let removed = self
                .connection
                .prepare_cached(sql)?
                .execute((queue, limit as i64))?;
            done &= removed < limit;
        }
        if done {
            self.connection
                .prepare_cached("UPDATE queue SET role = 4 WHERE id = ?1")?
                .execute([queue])?;
            // The highest number stays taken: SQLite would give it to the next queue.
            self.connection
                .prepare_cached(
                    "DELETE FROM queue WHERE role = 4 AND id < (SELECT max(id) FROM queue)",
                )?
                .execute([])?;
        }
        Ok(done)
    }
}

/// The tags of all queues, by the queue's number.
pub(super) fn read_tags(connection: &Connection) -> rusqlite::Result<HashMap<i64, Tags>> {
    let mut all: HashMap<i64, Tags> = HashMap::new();
    let mut statement = connection.prepare("SELECT queue, key, value FROM tag")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (key, value) = (row.get(1)?, row.get(2)?);
        all.entry(row.get(0)?).or_default().insert(key, value);
    }
    Ok(all)
}

/// Removed queues that still hold something, or may.
pub(super) fn read_removals(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare("SELECT id FROM queue WHERE role = 3 ORDER BY id")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    ids.collect()
}
