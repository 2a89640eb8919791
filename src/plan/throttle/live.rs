//! The limits that requests of a route meet, in three steps of their lives.
//!
//! On a route with authorizers no token is taken for a request whose caller is not proven, or a flood without
//! credentials would empty the bucket for those who have them: buckets whose caller is known early are only looked at
//! early, and charged after the proof. The exception is a bucket for each source address: nobody can empty another's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::key::{Key, When, Who};
use super::{ConcurrencySpec, FailureSpec, ThrottleSpec, WhenGone};
use crate::limit::shared::{SharedKey, SharedStore, SharedStores};
use crate::limit::{Bucket, BucketSpec, CallerTable, Clock, Empty, KeyedBuckets, Level, Places};
use crate::mapping::Sources;
use crate::telemetry::metrics::Name;
use crate::telemetry::throttling::Throttling;

/// What throttles are built with.
pub struct Shared<'a> {
    pub callers: &'a Arc<CallerTable>,
    pub stores: &'a SharedStores,
    pub counters: &'a Throttling,
    pub clock: &'a Clock,
}

/// A route's limits.
#[derive(Debug)]
pub struct Throttles {
    pub early: Step,
    pub authenticated: Step,
    pub verified: Step,
    pub failures: Option<FailureGuard>,
}

/// What is asked at one point of a request's life.
#[derive(Debug, Default)]
pub struct Step {
    /// Buckets that must not be empty; nothing is taken from them yet.
    pub look: Vec<Arc<Throttle>>,
    pub places: Vec<Concurrency>,
    /// Buckets of this instance.
    pub take: Vec<Arc<Throttle>>,
    /// Buckets that are kept by Redis, all by the same one.
    pub shared: Vec<Arc<Throttle>>,
}

/// A token bucket of a route, or one for each of its callers.
#[derive(Debug)]
pub struct Throttle {
    pub name: Arc<str>,
    pub key: Option<Key>,
    pub dry_run: bool,
    pub headers: bool,
    /// When its token is taken.
    pub taken: When,
    pub shared: Option<SharedBucket>,
    pub refused: Counter,
    text: String,
    tokens: Tokens,
}

#[derive(Debug)]
enum Tokens {
    One(Bucket),
    Each(KeyedBuckets),
}

/// Where a bucket is that several instances share.
#[derive(Debug)]
pub struct SharedBucket {
    pub store: Arc<SharedStore>,
    pub timeout: Duration,
    pub when_gone: WhenGone,
    /// What tells it from others there.
    of: String,
}

/// Requests at once.
#[derive(Debug)]
pub struct Concurrency {
    pub name: Arc<str>,
    pub key: Option<Key>,
    pub places: Arc<Places>,
    pub dry_run: bool,
    pub refused: Counter,
}

/// Slows addresses down that bring wrong credentials.
#[derive(Debug)]
pub struct FailureGuard {
    buckets: Arc<KeyedBuckets>,
    ipv6_prefix: u8,
    pub dry_run: bool,
    pub refused: Counter,
}

/// Whose limits they are.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// The API and its stage.
    pub scope: &'a str,
    /// The route's key.
    pub key: &'a str,
    /// What metrics call the route.
    pub label: &'a Name,
}

impl Throttles {
    /// The limits of a route; `None` where it has none. `proven`: when its callers are proven.
    pub fn build(
        (throttles, limits): (&[ThrottleSpec], &[ConcurrencySpec]),
        failures: Option<&FailureSpec>,
        proven: When,
        of: Of<'_>,
        shared: &Shared<'_>,
    ) -> Option<Box<Throttles>> {
        let failures = failures.filter(|_| proven > When::Early);
        if throttles.is_empty() && limits.is_empty() && failures.is_none() {
            return None;
        }
        let mut live = Throttles {
            early: Step::default(),
            authenticated: Step::default(),
            verified: Step::default(),
            failures: failures.map(|spec| FailureGuard::build(spec, of, shared)),
        };
        for spec in throttles {
            live.add(Throttle::build(spec, proven, of, shared));
        }
        for spec in limits {
            let known = spec.key.as_ref().map_or(When::Early, Key::known);
            live.step(known.max(proven)).places.push(Concurrency {
                name: spec.name.clone(),
                key: spec.key.clone(),
                places: Places::new(spec.limit),
                dry_run: spec.dry_run,
                refused: shared.counters.of(of.label, &spec.name, spec.dry_run),
            });
        }
        Some(Box::new(live))
    }

    fn add(&mut self, throttle: Throttle) {
        let known = throttle.key.as_ref().map_or(When::Early, Key::known);
        let throttle = Arc::new(throttle);
        let step = self.step(throttle.taken);
        if throttle.shared.is_some() {
            // Looking would be another round trip.
            step.shared.push(throttle);
            return;
        }
        step.take.push(throttle.clone());
        if known < throttle.taken {
            self.step(known).look.push(throttle);
        }
    }

    fn step(&mut self, when: When) -> &mut Step {
        match when {
            When::Early => &mut self.early,
            When::Authenticated => &mut self.authenticated,
            When::Verified => &mut self.verified,
        }
    }

    /// Every bucket, for people.
    pub fn describe(&self) -> Vec<String> {
        let steps = [&self.early, &self.authenticated, &self.verified];
        let buckets = steps
            .iter()
            .flat_map(|step| step.take.iter().chain(&step.shared));
        let buckets = buckets.map(|one| format!("{}: {}, taken {}", one.name, one.text, one.taken));
        let limits = steps.iter().flat_map(|step| &step.places);
        let limits = limits.map(|one| {
            let per = one
                .key
                .as_ref()
                .map_or(String::new(), |key| format!(", per {key}"));
            let counted = if one.dry_run { ", only counted" } else { "" };
            format!("{}: {} at once{per}{counted}", one.name, one.places.limit())
        });
        let failures = self.failures.iter().map(|guard| {
            let BucketSpec { rate, burst } = guard.buckets.spec();
            let counted = if guard.dry_run { ", only counted" } else { "" };
            format!("auth_failures: {rate}/s, burst {burst}, wrong credentials per source address{counted}")
        });
        buckets.chain(limits).chain(failures).collect()
    }
}

impl Step {
    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.look.is_empty()
            && self.places.is_empty()
            && self.take.is_empty()
            && self.shared.is_empty()
    }
}

impl Throttle {
    fn build(spec: &ThrottleSpec, proven: When, route: Of<'_>, shared: &Shared<'_>) -> Throttle {
        let of = format!("{}:{}:{}", route.scope, route.key, spec.name);
        let taken = match &spec.key {
            // Nobody can empty another address's bucket.
            Some(Key::Address { .. }) => When::Early,
            Some(key) => key.known().max(proven),
            None => proven,
        };
        let tokens = match &spec.key {
            None => Tokens::One(Bucket::new(spec.bucket, shared.clock.clone())),
            Some(_) => Tokens::Each(KeyedBuckets::new(shared.callers, &of, spec.bucket)),
        };
        Throttle {
            name: spec.name.clone(),
            key: spec.key.clone(),
            dry_run: spec.dry_run,
            headers: spec.headers,
            taken,
            // What never gives a token need not ask anybody.
            shared: spec
                .shared
                .as_ref()
                .filter(|_| spec.bucket.rate > 0.0)
                .map(|to| SharedBucket {
                    store: shared.stores.at(&to.address),
                    timeout: to.timeout,
                    when_gone: to.when_gone,
                    of,
                }),
            refused: shared.counters.of(route.label, &spec.name, spec.dry_run),
            text: spec.describe(),
            tokens,
        }
    }

    /// Whose bucket a request takes from.
    pub fn who(&self, address: IpAddr, sources: &dyn Sources) -> Who {
        self.key
            .as_ref()
            .map_or(Who::Absent, |key| key.who(address, sources))
    }

    /// Takes a token of this instance's bucket.
    pub fn take(&self, who: &Who) -> Result<Level, Empty> {
        match &self.tokens {
            Tokens::One(bucket) => bucket.take(),
            Tokens::Each(buckets) => buckets.take(who.bytes()),
        }
    }

    /// Whether this instance's bucket has a token.
    pub fn peek(&self, who: &Who) -> Result<Level, Empty> {
        match &self.tokens {
            Tokens::One(bucket) => bucket.peek(),
            Tokens::Each(buckets) => buckets.peek(who.bytes()),
        }
    }

    /// Puts a token back that was taken for nothing.
    pub fn give_back(&self, who: &Who) {
        match &self.tokens {
            Tokens::One(bucket) => bucket.give_back(),
            Tokens::Each(buckets) => buckets.give_back(who.bytes()),
        }
    }

    /// The bucket as Redis knows it; `None` where it is not shared.
    pub fn shared_key(&self, who: &Who) -> Option<SharedKey> {
        let shared = self.shared.as_ref()?;
        let (spec, caller) = match &self.tokens {
            Tokens::One(bucket) => (bucket.spec(), None),
            Tokens::Each(buckets) => (buckets.spec(), Some(who.bytes())),
        };
        Some(SharedKey {
            name: SharedKey::name(&shared.of, caller),
            spec,
            dry_run: self.dry_run,
        })
    }
}

impl Concurrency {
    /// Who takes a place for a request.
    pub fn who(&self, address: IpAddr, sources: &dyn Sources) -> Who {
        self.key
            .as_ref()
            .map_or(Who::Absent, |key| key.who(address, sources))
    }
}

impl FailureGuard {
    fn build(spec: &FailureSpec, of: Of<'_>, shared: &Shared<'_>) -> FailureGuard {
        // One bucket for an address, whichever routes it tries: the name has no route in it.
        let name = format!("{}:auth_failures:{}", of.scope, spec.ipv6_prefix);
        FailureGuard {
            buckets: Arc::new(KeyedBuckets::new(shared.callers, &name, spec.bucket)),
            ipv6_prefix: spec.ipv6_prefix,
            dry_run: spec.dry_run,
            refused: shared.counters.of(of.label, "auth_failures", spec.dry_run),
        }
    }

    /// Whether an address may try.
    pub fn check(&self, address: IpAddr) -> Result<Level, Empty> {
        self.buckets
            .peek(Who::at(address, self.ipv6_prefix).bytes())
    }

    /// An address has brought wrong credentials.
    pub fn failed(&self, address: IpAddr) {
        // One that finds no token is one of several that were under way together.
        let _ = self
            .buckets
            .take(Who::at(address, self.ipv6_prefix).bytes());
    }
}
