//! What each API key has used: its usage plan's throttles and quota, and its requests by day.
//!
//! Exact within the process, and bounded by the number of keys: each has a slot, made when it is first used. Slots are
//! spread over shards, each behind a lock that is held for some tens of nanoseconds. A request is charged in one step:
//! either everything that its plan limits has room for it, or nothing is taken.
//!
//! Time is guarded (`Guard`): a day, and with it a quota, begins anew only while the wall clock is to be believed.

mod guard;
mod keeper;
mod over;
mod shard;
mod succession;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::BucketSpec;
use super::clock;
use super::gcra::{Empty, Gcra};
use super::period::{Day, Period, day_of, start_of};
use crate::store::Clock;

pub use keeper::{KEPT_DAYS, Keeper, Keeping, Names};
pub use over::{OverLimit, Policy, What};
pub use succession::{Succession, Successor};

use guard::Guard;
use shard::{Shard, Slot};

/// Locks that the keys' slots are spread over.
const SHARDS: usize = 64;

/// Where a request's key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Header,
    Query,
    /// Another authorizer's answer.
    Authorizer,
}

/// A quota: so many requests in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: u64,
    pub period: Period,
    /// Requests that are taken off in the first period in which a key is used.
    pub offset: u64,
}

/// A usage plan: what each of its keys may use.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanLimits {
    pub name: Arc<str>,
    pub throttle: Option<BucketSpec>,
    /// Further buckets, of single routes.
    pub routes: Vec<BucketSpec>,
    pub quota: Option<Quota>,
}

/// The use of a key by one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key's number.
    pub key: u32,
    /// The position of its usage plan.
    pub plan: Option<u16>,
    pub source: Source,
}

struct Plan {
    limits: PlanLimits,
    throttle: Option<Gcra>,
    routes: Vec<Gcra>,
    throttled: AtomicU64,
    exhausted: AtomicU64,
}

/// The usage of all keys.
pub struct Usage {
    plans: Vec<Plan>,
    shards: Vec<Mutex<Shard>>,
    keys: u32,
    clock: Clock,
    guard: Arc<Guard>,
    /// What was saved of the keys is being read.
    loading: AtomicBool,
    steady: clock::Clock,
    by_source: [AtomicU64; 3],
    /// Saves of counts that the store did not take.
    save_failures: AtomicU64,
}

/// What a key has used, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The day of its last request; 0: it has not been used.
    pub day: Day,
    /// Of the quota's period that this day is in.
    pub used: u64,
    /// What is left of the quota; `None` without one.
    pub remaining: Option<u64>,
    /// When the quota begins anew, in seconds since 1970.
    pub resets_at: Option<i64>,
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Usage")
            .field("keys", &self.keys)
            .field("plans", &self.plans.len())
            .finish_non_exhaustive()
    }
}

impl Usage {
    /// Nobody has used anything. `keys`: numbers below this will be charged.
    pub fn new(plans: Vec<PlanLimits>, keys: usize, clock: Clock, steady: clock::Clock) -> Usage {
        let plan = |limits: PlanLimits| Plan {
            throttle: limits.throttle.map(Gcra::new),
            routes: limits.routes.iter().copied().map(Gcra::new).collect(),
            throttled: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
            limits,
        };
        Usage {
            plans: plans.into_iter().map(plan).collect(),
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Shard::new(keys.div_ceil(SHARDS))))
                .collect(),
            keys: u32::try_from(keys).unwrap_or(u32::MAX),
            guard: Arc::new(Guard::new(clock.clone())),
            loading: AtomicBool::new(false),
            clock,
            steady,
            by_source: Default::default(),
            save_failures: AtomicU64::new(0),
        }
    }

    /// Charges a request, or says which limit it would go over; then nothing is taken. `route`: the position of the
    /// route's own bucket in the plan.
    pub fn charge(&self, who: &KeyUse, route: Option<u16>) -> Result<(), Box<OverLimit>> {
        if who.key >= self.keys {
            return Ok(());
        }
        let wall_ms = self.clock.wall_ms();
        let plan = who.plan.and_then(|at| self.plans.get(usize::from(at)));
        let mut shard = self.shard(who.key);
        let (slot, done) = shard.slot(place(who.key));
        slot.turn(day_of(wall_ms), &self.guard, done);
        if let Some(plan) = plan {
            slot.turn_quota(plan.limits.quota);
            let route = route.map(usize::from).filter(|at| *at < plan.routes.len());
            if let Err(over) = plan.admit(slot, route, self.steady.now(), wall_ms) {
                let refused = match over.what {
                    What::Quota(_) => &plan.exhausted,
                    What::Route(_) | What::Plan(_) => &plan.throttled,
                };
                refused.fetch_add(1, Ordering::Relaxed);
                return Err(over);
            }
        }
        slot.count(who.source);
        if !std::mem::replace(&mut slot.dirty, true) {
            shard.dirty.push(who.key);
        }
        drop(shard);
        self.by_source[who.source as usize].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Requests charged since the start, by where their keys came from.
    pub fn by_source(&self) -> [(&'static str, u64); 3] {
        let count = |source: Source| self.by_source[source as usize].load(Ordering::Relaxed);
        [
            ("header", count(Source::Header)),
            ("query", count(Source::Query)),
            ("authorizer", count(Source::Authorizer)),
        ]
    }

    /// Each plan's refusals since the start: its name, throttled, over the quota.
    pub fn refusals(&self) -> impl Iterator<Item = (&Arc<str>, u64, u64)> {
        self.plans.iter().map(|plan| {
            (
                &plan.limits.name,
                plan.throttled.load(Ordering::Relaxed),
                plan.exhausted.load(Ordering::Relaxed),
            )
        })
    }

    /// How often counts could not be saved. They are tried again.
    pub fn save_failures(&self) -> u64 {
        self.save_failures.load(Ordering::Relaxed)
    }

    /// Days of keys whose counts were lost, because the store took none for so long. Quotas are not touched by it.
    pub fn days_lost(&self) -> u64 {
        let lost = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).lost;
        self.shards.iter().map(lost).sum()
    }

    /// The plan at a position.
    pub fn plan(&self, plan: u16) -> Option<&PlanLimits> {
        self.plans.get(usize::from(plan)).map(|plan| &plan.limits)
    }

    /// Whether a quota is to be kept.
    pub fn has_quota(&self) -> bool {
        self.plans.iter().any(|plan| plan.limits.quota.is_some())
    }

    /// Today, by the clock that quotas go by.
    pub fn today(&self) -> Day {
        day_of(self.clock.wall_ms())
    }

    /// What a key has used by now. A key that has not been used since its quota began anew has used nothing.
    pub fn standing(&self, key: u32, plan: Option<u16>) -> Standing {
        let quota = plan
            .and_then(|at| self.plan(at))
            .and_then(|plan| plan.quota);
        let mut standing = Standing {
            day: 0,
            used: 0,
            remaining: quota.map(|quota| quota.limit),
            resets_at: None,
        };
        if key < self.keys {
            let shard = self.shard(key);
            if let Some(slot) = shard.seen(place(key)) {
                standing.day = slot.day;
                if let Some(quota) = quota
                    && slot.quota_period == quota.period.number()
                    && slot.quota_start == quota.period.start(self.today().max(slot.day))
                {
                    standing.used = slot.quota_used;
                    standing.remaining = Some(quota.limit.saturating_sub(slot.quota_used));
                }
            }
        }
        standing.resets_at =
            quota.map(|quota| start_of(quota.period.end(self.today().max(standing.day))));
        standing
    }

    /// The keys that have been used on a day or later.
    pub fn used_since(&self, day: Day) -> Vec<u32> {
        let mut keys = Vec::new();
        for (at, shard) in self.shards.iter().enumerate() {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let used = shard.used().filter(|(_, slot)| slot.day >= day);
            keys.extend(used.map(|(place, _)| key_at(at, place)));
        }
        keys
    }

    fn shard(&self, key: u32) -> MutexGuard<'_, Shard> {
        let at = key as usize % self.shards.len();
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn quota_of(&self, plan: Option<u16>) -> Option<Quota> {
        self.plan(plan?)?.quota
    }
}

/// Where in its shard a key's slot is.
fn place(key: u32) -> usize {
    key as usize / SHARDS
}

/// The key at a place of a shard.
fn key_at(shard: usize, place: usize) -> u32 {
    u32::try_from(place * SHARDS + shard).unwrap_or(u32::MAX)
}

impl Plan {
    /// Takes from everything that limits the request, or from nothing.
    fn admit(
        &self,
        slot: &mut Slot,
        route: Option<usize>,
        now: u64,
        wall_ms: i64,
    ) -> Result<(), Box<OverLimit>> {
        let own = route.map(|at| (at, self.routes[at]));
        let from_route = own.map(|(at, bucket)| bucket.take(slot.route(at), now));
        let from_plan = self.throttle.map(|bucket| bucket.take(slot.full_at, now));
        let quota = self.limits.quota;
        let what = match (&from_route, &from_plan) {
            (Some(Err(Empty { wait, spec })), _) => Some((What::Route(*spec), *wait)),
            (_, Some(Err(Empty { wait, spec }))) => Some((What::Plan(*spec), *wait)),
            _ => quota
                .filter(|quota| slot.quota_used >= quota.limit)
                .map(|quota| (What::Quota(quota), Some(until_reset(quota, slot, wall_ms)))),
        };
        if let Some((what, wait)) = what {
            let mut policies = Vec::new();
            let buckets = [
                (
                    "plan-route",
                    own.map(|(at, bucket)| (bucket, slot.route(at))),
                ),
                ("plan", self.throttle.map(|bucket| (bucket, slot.full_at))),
            ];
            for (name, bucket) in buckets {
                policies.extend(bucket.map(|(bucket, full_at)| {
                    let level = bucket.level(full_at, now);
                    Policy {
                        name,
                        limit: u64::from(level.spec.burst.get()),
                        window: level.spec.window(),
                        remaining: u64::from(level.remaining),
                        reset: level.reset,
                    }
                }));
            }
            policies.extend(quota.map(|quota| Policy {
                name: "quota",
                limit: quota.limit,
                window: quota.period.length(slot.day).as_secs(),
                remaining: quota.limit.saturating_sub(slot.quota_used),
                reset: until_reset(quota, slot, wall_ms),
            }));
            return Err(Box::new(OverLimit {
                plan: self.limits.name.clone(),
                what,
                wait,
                policies,
            }));
        }
        if let (Some((at, _)), Some(Ok((full_at, _)))) = (own, from_route) {
            slot.set_route(at, full_at, self.routes.len());
        }
        if let Some(Ok((full_at, _))) = from_plan {
            slot.full_at = full_at;
        }
        if quota.is_some() {
            slot.quota_used = slot.quota_used.saturating_add(1);
        }
        Ok(())
    }
}

/// Until the quota begins anew. Where the clock is in doubt that may have been already.
fn until_reset(quota: Quota, slot: &Slot, wall_ms: i64) -> Duration {
    let left = start_of(quota.period.end(slot.day)) - wall_ms.div_euclid(1000);
    Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1))
}

#[cfg(test)]
mod tests;
