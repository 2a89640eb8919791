//! What throttles count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::metrics::{Level, Name};

/// Labels of a throttle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Throttle {
    /// The route key.
    pub route: Name,
    /// Its name; `auth_failures` where an address has brought too many wrong credentials, `concurrency` and
    /// `concurrency-NAME` for requests at once.
    pub bucket: Name,
    /// `true` where it only counts.
    pub dry_run: &'static str,
}

/// Labels of a call of the Redis that keeps shared buckets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SharedCall {
    /// `ok`, `timeout`, `failed`, or `skipped`: Redis was known to be gone.
    pub result: &'static str,
}

/// The counters of throttles. Cloning shares the values.
#[derive(Clone, Debug, Default)]
pub struct Throttling {
    throttled: Family<Throttle, Counter>,
    calls: Family<SharedCall, Counter>,
    connected: Level,
}

/// The handles of the Redis that keeps shared buckets.
#[derive(Clone, Debug)]
pub struct SharedMeters {
    pub ok: Counter,
    pub timeout: Counter,
    pub failed: Counter,
    pub skipped: Counter,
    /// Servers that are connected.
    pub connected: Level,
}

impl Throttling {
    /// The counter of a throttle, at zero where it is new.
    pub fn of(&self, route: &Name, bucket: &str, dry_run: bool) -> Counter {
        let labels = Throttle {
            route: route.clone(),
            bucket: Name(bucket.into()),
            dry_run: if dry_run { "true" } else { "false" },
        };
        self.throttled.get_or_create(&labels).clone()
    }

    /// The handles for shared buckets.
    pub fn shared(&self) -> SharedMeters {
        let of = |result| self.calls.get_or_create(&SharedCall { result }).clone();
        SharedMeters {
            ok: of("ok"),
            timeout: of("timeout"),
            failed: of("failed"),
            skipped: of("skipped"),
            connected: self.connected.clone(),
        }
    }

    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "throttled",
            "Requests that a throttle refused, or would have refused where dry_run is true",
            self.throttled.clone(),
        );
        registry.register(
            "shared_throttle_calls",
            "Calls of the Redis that keeps shared throttles, by result",
            self.calls.clone(),
        );
        registry.register(
            "shared_throttle_servers_connected",
            "Redis servers of shared throttles that answer",
            self.connected.clone(),
        );
    }
}
