//! Saves what keys have used, a batch every second, and loads it when the store opens. The store may come late, or fail:
//! requests go on, the counts stay in memory, and what was not saved is tried again.
//!
//! What a process counted before its store was open is added to what was saved; so nobody gets a quota twice for a slow
//! disk. A process that is killed loses at most the counts of its last second.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::period::Day;
use super::shard::{Done, Slot};
use super::succession::{Succession, Successor};
use super::{Usage, key_at, place};
use crate::store::{KeyState, Store, StoreError, UsageDay};

/// How often what has changed is saved.
const EVERY: Duration = Duration::from_secs(1);
/// How often reading what new keys have used is tried again, a second apart.
const LOOKS: usize = 10;
/// Rows of one save, and of one look when they are loaded.
const BATCH: usize = 1_000;
const PAGE: usize = 20_000;
/// Days are kept for so long.
pub const KEPT_DAYS: Day = 400;
/// Rows that are forgotten in one step.
const FORGOTTEN: usize = 1_000;

/// What names keys by their number, and finds numbers by name.
pub trait Names: Send + Sync {
    fn id(&self, key: u32) -> Option<&str>;
    fn number(&self, id: &str) -> Option<u32>;
    /// The position of the key's usage plan.
    fn plan_of(&self, key: u32) -> Option<u16>;
}

/// Keeps the counts of one [`Usage`] in a store.
pub struct Keeper<N> {
    usage: Arc<Usage>,
    names: Arc<N>,
    /// The store, once what it knew is loaded.
    store: Option<Store>,
    /// What failed last, so that it is said once.
    failing: bool,
    /// The day for which what is too old was forgotten.
    tidied: Day,
}

/// A [`Keeper`] at work.
pub struct Keeping<N> {
    end: CancellationToken,
    task: AbortOnDropHandle<()>,
    successors: mpsc::UnboundedSender<Successor<N>>,
}

impl<N> Keeping<N> {
    /// How to say that other keys and plans are to be kept.
    pub fn succession(&self) -> Succession<N> {
        Succession(self.successors.clone())
    }

    /// Saves a last time and ends. A disk that hangs is not waited for beyond the deadline.
    pub async fn finish(self, deadline: Instant) {
        self.end.cancel();
        if tokio::time::timeout_at(deadline, self.task).await.is_err() {
            tracing::warn!("What API keys have used in the last moments could not be saved");
        }
    }
}

/// What is to be saved in one go.
#[derive(Default)]
struct Batch {
    keys: Vec<u32>,
    states: Vec<KeyState>,
    done: Vec<(usize, Done)>,
    over: Vec<UsageDay>,
}

impl Batch {
    fn len(&self) -> usize {
        self.keys.len() + self.done.len()
    }
}

impl<N: Names> Keeper<N> {
    /// Without a store yet.
    pub fn new(usage: Arc<Usage>, names: Arc<N>) -> Keeper<N> {
        Keeper {
            usage,
            names,
            store: None,
            failing: false,
            tidied: 0,
        }
    }

    /// Loads what was saved, unless that was done before. From here on, a failure is told by [`Usage::save_failures`].
    pub async fn attach(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.store.is_some() {
            return Ok(());
        }
        self.usage.set_loading(true);
        let loaded = saved(store).await;
        let usage = self.usage.clone();
        let states = loaded.inspect_err(|_| usage.set_loading(false))?;
        // All is read before any of it counts: half of it twice would be wrong.
        for state in states {
            if let Some(key) = self.names.number(&state.last.key) {
                self.usage.resume(key, &state);
            }
        }
        self.usage.guard.attach(store);
        self.usage.set_loading(false);
        self.store = Some(store.clone());
        Ok(())
    }

    /// Saves all that has changed. Goes on with `store` if there was none before; without any, does nothing.
    pub async fn save(&mut self, store: Option<&Store>) {
        let saved = self.try_save(store).await;
        match saved {
            Ok(()) if self.failing => {
                tracing::info!("What API keys have used is saved again");
                self.failing = false;
            }
            Ok(()) => {}
            Err(error) => {
                self.usage.save_failures.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "What API keys have used cannot be saved; requests go on, and it is tried again");
                }
            }
        }
    }

    async fn try_save(&mut self, store: Option<&Store>) -> Result<(), StoreError> {
        if let Some(store) = store {
            self.attach(store).await?;
        }
        let Some(store) = self.store.clone() else {
            return Ok(());
        };
        loop {
            let batch = self.usage.take_batch(&*self.names, BATCH);
            let taken = batch.len();
            if taken == 0 {
                break;
            }
            let save = store.save_usage(batch.states.clone(), batch.over.clone());
            if let Err(error) = save.await {
                self.usage.put_back(batch);
                return Err(error);
            }
            if taken < BATCH {
                break;
            }
        }
        self.tidy(&store).await
    }

    /// Saves every second from now on, in whatever store `store` gives, if it gives one. Needs a Tokio runtime.
    pub fn run(mut self, store: impl Fn() -> Option<Store> + Send + 'static) -> Keeping<N>
    where
        N: 'static,
    {
        let end = CancellationToken::new();
        let ended = end.clone();
        let (successors, mut followed) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let last = tokio::select! {
                    () = ended.cancelled() => true,
                    () = tokio::time::sleep(EVERY) => false,
                };
                while let Ok(successor) = followed.try_recv() {
                    self.follow(successor).await;
                }
                self.save(store().as_ref()).await;
                if last {
                    return;
                }
            }
        });
        Keeping {
            end,
            task: AbortOnDropHandle::new(task),
            successors,
        }
    }

    /// Keeps other keys and plans from now on. What the store knows of keys that are new in the process counts too.
    async fn follow(&mut self, (usage, names): Successor<N>) {
        let before = std::mem::replace(&mut self.names, names);
        self.usage = usage;
        let Some(store) = self.store.clone() else {
            self.usage.set_loading(false);
            return;
        };
        let mut states = saved(&store).await;
        for _ in 0..LOOKS {
            if states.is_ok() {
                break;
            }
            tokio::time::sleep(EVERY).await;
            states = saved(&store).await;
        }
        match states {
            Ok(states) => {
                for state in states {
                    let id = &state.last.key;
                    if let (Some(key), None) = (self.names.number(id), before.number(id)) {
                        self.usage.resume(key, &state);
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "What new API keys have used before cannot be read; they begin with nothing used");
            }
        }
        self.usage.set_loading(false);
    }

    /// Once a day, forgets what is too old.
    async fn tidy(&mut self, store: &Store) -> Result<(), StoreError> {
        let today = self.usage.today();
        if today == self.tidied || store.time_in_doubt() {
            return Ok(());
        }
        let before = today.saturating_sub(KEPT_DAYS);
        while store.forget_usage(before, FORGOTTEN).await? > 0 {}
        self.tidied = today;
        Ok(())
    }
}

/// What is saved of every key.
async fn saved(store: &Store) -> Result<Vec<KeyState>, StoreError> {
    let mut after = String::new();
    let mut loaded = Vec::new();
    loop {
        let page = store.key_states(after.clone(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(loaded);
        };
        after.clone_from(&last.last.key);
        loaded.extend(page);
    }
}

impl Usage {
    /// Adds what was saved of a key to what has been counted since.
    fn resume(&self, key: u32, saved: &KeyState) {
        if key >= self.keys {
            return;
        }
        let mut shard = self.shard(key);
        let (slot, _) = shard.slot(place(key));
        slot.resume(saved);
    }

    /// What has changed, of at most so many keys and days; it counts as saved.
    fn take_batch(&self, names: &impl Names, most: usize) -> Batch {
        let mut batch = Batch::default();
        for (at, shard) in self.shards.iter().enumerate() {
            let mut shard = shard
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            while batch.len() < most {
                let Some(done) = shard.done.pop() else {
                    break;
                };
                let key = key_at(at, done.at);
                batch.over.extend(self.day_of(names, key, &done.slot));
                batch.done.push((at, done));
            }
            while batch.len() < most {
                let Some(key) = shard.dirty.pop() else {
                    break;
                };
                let (slot, _) = shard.slot(place(key));
                slot.dirty = false;
                if let Some(last) = self.day_of(names, key, slot) {
                    batch.states.push(KeyState {
                        last,
                        quota_period: slot.quota_period,
                        quota_start: slot.quota_start,
                        quota_used: slot.quota_used,
                    });
                }
                batch.keys.push(key);
            }
        }
        batch
    }

    /// What was taken could not be saved.
    fn put_back(&self, batch: Batch) {
        for key in batch.keys {
            let mut shard = self.shard(key);
            let (slot, _) = shard.slot(place(key));
            if !std::mem::replace(&mut slot.dirty, true) {
                shard.dirty.push(key);
            }
        }
        for (at, done) in batch.done {
            let mut shard = self.shards[at]
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            shard.done.push(done);
        }
    }

    fn day_of(&self, names: &impl Names, key: u32, slot: &Slot) -> Option<UsageDay> {
        let quota = self.quota_of(names.plan_of(key));
        Some(UsageDay {
            key: names.id(key)?.to_owned(),
            day: slot.day,
            used: slot.used,
            by_query: slot.by_query.into(),
            by_authorizer: slot.by_authorizer.into(),
            remaining: quota.map(|quota| quota.limit.saturating_sub(slot.quota_used)),
        })
    }

    /// A key's requests by day, as far as they are in memory: today's, and days that are not saved yet.
    fn unsaved(&self, names: &impl Names, key: u32) -> Vec<UsageDay> {
        if key >= self.keys {
            return Vec::new();
        }
        let shard = self.shard(key);
        let done = shard.done.iter().filter(|done| done.at == place(key));
        let slots = done.map(|done| &done.slot).chain(shard.seen(place(key)));
        slots
            .filter_map(|slot| self.day_of(names, key, slot))
            .collect()
    }

    /// A key's requests by day, saved or not; days without any are left out.
    pub async fn report(
        &self,
        names: &impl Names,
        store: Option<&Store>,
        key: &str,
        from: Day,
        to: Day,
    ) -> Result<Vec<UsageDay>, StoreError> {
        let mut days: HashMap<Day, UsageDay> = HashMap::new();
        if let Some(store) = store {
            let saved = store.usage_of(key.to_owned(), from, to).await?;
            days.extend(saved.into_iter().map(|day| (day.day, day)));
        }
        if let Some(number) = names.number(key) {
            let unsaved = self.unsaved(names, number).into_iter();
            days.extend(
                unsaved
                    .filter(|day| (from..=to).contains(&day.day) && day.used > 0)
                    .map(|day| (day.day, day)),
            );
        }
        let mut days: Vec<UsageDay> = days.into_values().collect();
        days.sort_unstable_by_key(|day| day.day);
        Ok(days)
    }
}

impl Slot {
    /// Adds what was saved to what has been counted since the process began.
    fn resume(&mut self, saved: &KeyState) {
        let same_quota =
            (self.quota_period, self.quota_start) == (saved.quota_period, saved.quota_start);
        if self.day == 0 {
            *self = Slot {
                day: saved.last.day,
                used: saved.last.used,
                by_query: saved.last.by_query.try_into().unwrap_or(u32::MAX),
                by_authorizer: saved.last.by_authorizer.try_into().unwrap_or(u32::MAX),
                quota_period: saved.quota_period,
                quota_start: saved.quota_start,
                quota_used: saved.quota_used,
                ..std::mem::take(self)
            };
            return;
        }
        if self.day == saved.last.day {
            self.used = self.used.saturating_add(saved.last.used);
            let add = |own: &mut u32, saved: u64| {
                *own = own.saturating_add(saved.try_into().unwrap_or(u32::MAX));
            };
            add(&mut self.by_query, saved.last.by_query);
            add(&mut self.by_authorizer, saved.last.by_authorizer);
        }
        // The key is not new after all.
        if saved.quota_period != 0 {
            let offset = std::mem::take(&mut self.offset);
            self.quota_used = self.quota_used.saturating_sub(offset);
        }
        if same_quota {
            self.quota_used = self.quota_used.saturating_add(saved.quota_used);
        }
    }
}
