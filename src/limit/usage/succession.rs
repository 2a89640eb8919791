//! What happens to the counts when keys or plans change while the gateway runs: a new [`Usage`] goes on with what the old
//! one has counted, key by key. Charges of requests that began with the old plan and end after it are lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;

use super::keeper::Names;
use super::shard::Done;
use super::{PlanLimits, SHARDS, Usage, place};

/// The keys and plans that follow, with their counts.
pub type Successor<N> = (Arc<Usage>, Arc<N>);

/// Tells the one who keeps the counts whose counts to keep from now on.
#[derive(Debug)]
pub struct Succession<N>(pub(super) mpsc::UnboundedSender<Successor<N>>);

impl<N> Succession<N> {
    /// From now on these are kept. Nobody keeps any more while the process ends.
    pub fn hand_over(&self, usage: Arc<Usage>, names: Arc<N>) {
        usage.set_loading(true);
        let _ = self.0.send((usage, names));
    }
}

impl Usage {
    /// What is to follow: other plans and keys, by the same clocks. Nothing is counted yet ([`Usage::take_over`]).
    pub fn successor(&self, plans: Vec<PlanLimits>, keys: usize) -> Usage {
        let (wall, steady) = (self.clock.clone(), self.steady.clone());
        Usage {
            guard: self.guard.clone(),
            ..Usage::new(plans, keys, wall, steady)
        }
    }

    /// Whether what was saved of the keys is being read at the moment: until that is over, counts cannot change hands.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Acquire)
    }

    pub(super) fn set_loading(&self, loading: bool) {
        self.loading.store(loading, Ordering::Release);
    }

    /// Whether keys and plans are the same, so that one [`Usage`] does for both.
    pub fn serves(&self, own: &impl Names, other: &Usage, others: &impl Names) -> bool {
        let limits = |usage: &Usage| {
            let plans = usage.plans.iter();
            plans.map(|plan| plan.limits.clone()).collect::<Vec<_>>()
        };
        self.keys == other.keys
            && limits(self) == limits(other)
            && (0..self.keys)
                .all(|key| own.id(key) == others.id(key) && own.plan_of(key) == others.plan_of(key))
    }

    /// Goes on with what `before` has counted of the keys that are known by the same id. Buckets are full again for keys
    /// whose plan has changed; a quota goes on as long as its period is of the same kind.
    pub fn take_over(&self, before: &Usage, old: &impl Names, new: &impl Names) {
        let add = |to: &AtomicU64, from: &AtomicU64| {
            to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        add(&self.save_failures, &before.save_failures);
        for (own, others) in self.by_source.iter().zip(&before.by_source) {
            add(own, others);
        }
        for own in &self.plans {
            let mut others = before.plans.iter();
            if let Some(other) = others.find(|other| other.limits.name == own.limits.name) {
                add(&own.throttled, &other.throttled);
                add(&own.exhausted, &other.exhausted);
            }
        }
        for (at, shard) in before.shards.iter().enumerate() {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let number = |place: usize| {
                let key = u32::try_from(place * SHARDS + at).ok()?;
                let successor = new.number(old.id(key)?)?;
                (successor < self.keys).then_some((key, successor))
            };
            for (at, slot) in shard.used() {
                let Some((key, successor)) = number(at) else {
                    continue;
                };
                let mut slot = slot.clone();
                let limits = |usage: &Usage, plan: Option<u16>| usage.plan(plan?).cloned();
                if limits(before, old.plan_of(key)) != limits(self, new.plan_of(successor)) {
                    slot.full_at = 0;
                    slot.routes = None;
                }
                let dirty = slot.dirty;
                let mut shard = self.shard(successor);
                *shard.slot(place(successor)).0 = slot;
                if dirty {
                    shard.dirty.push(successor);
                }
            }
            for done in &shard.done {
                if let Some((_, successor)) = number(done.at) {
                    self.shard(successor).done.push(Done {
                        at: place(successor),
                        slot: done.slot.clone(),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeyUse, PlanLimits, Quota, Source};
    use super::*;
    use crate::limit::clock;
    use crate::limit::period::Period;
    use crate::store::Clock;

    /// Keys by their place, all in the first plan.
    struct Ids(Vec<&'static str>);

    impl Names for Ids {
        fn id(&self, key: u32) -> Option<&str> {
            self.0.get(key as usize).copied()
        }
        fn number(&self, id: &str) -> Option<u32> {
            let at = self.0.iter().position(|known| *known == id)?;
            u32::try_from(at).ok()
        }
        fn plan_of(&self, _: u32) -> Option<u16> {
            Some(0)
        }
    }

    fn usage(ids: &Ids, limit: u64) -> Usage {
        let plan = PlanLimits {
            name: "gold".into(),
            throttle: None,
            routes: Vec::new(),
            quota: Some(Quota {
                limit,
                period: Period::Month,
                offset: 0,
            }),
        };
        let steady = clock::Clock::monotonic();
        Usage::new(vec![plan], ids.0.len(), Clock::system(), steady)
    }

    fn charge(usage: &Usage, key: u32) -> bool {
        let source = Source::Header;
        let plan = Some(0);
        usage.charge(&KeyUse { key, plan, source }, None).is_ok()
    }

    #[test]
    fn a_key_keeps_its_count_under_another_number_and_a_new_limit() {
        let (old, new) = (Ids(vec!["a", "b", "c"]), Ids(vec!["c", "new", "a"]));
        let before = usage(&old, 3);
        assert!(charge(&before, 0) && charge(&before, 0) && charge(&before, 2));
        let plans = usage(&new, 2)
            .plans
            .iter()
            .map(|plan| plan.limits.clone())
            .collect();
        let after = before.successor(plans, new.0.len());
        after.take_over(&before, &old, &new);
        assert!(!charge(&after, 2), "`a` had used two");
        assert!(charge(&after, 0) && !charge(&after, 0), "`c` had used one");
        assert!(charge(&after, 1), "a new key has used nothing");
    }

    #[test]
    fn one_usage_does_for_the_same_keys_and_plans_only() {
        let (some, same, other) = (Ids(vec!["a"]), Ids(vec!["a"]), Ids(vec!["b"]));
        let first = usage(&some, 3);
        assert!(first.serves(&some, &usage(&same, 3), &same));
        assert!(!first.serves(&some, &usage(&same, 4), &same));
        assert!(!first.serves(&some, &usage(&other, 3), &other));
    }
}
