//! `/metrics`: what the registry holds, and what is read off other rooms at the moment of asking.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::overload;
use super::status::Configured;
use crate::authn::api_key::ApiKeys;
use crate::integration::{AggregationCounts, StoreState};
use crate::limit::usage::Usage;
use crate::pipeline::Gateway;
use crate::store::{Health, QueueStats, Role, Store};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{
    ByFile, ByListener, ByQueue, ByReason, BySource, Count, Level, Name, PlanRefusal, QueueFate,
    QueueState, write_ledger,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that `/metrics` shows.
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// Registers what counts by itself.
    pub fn new(metrics: &Metrics) -> Exposition {
        let mut registry = Registry::with_prefix("penstock");
        metrics.register(&mut registry);
        Exposition { registry }
    }

    /// The metrics as OpenMetrics text.
    pub fn response(&self, gateway: &Gateway, configured: &Configured) -> Response<Full<Bytes>> {
        let mut text = String::with_capacity(32 << 10);
        // Endings are read before arrivals, so what is in flight is never less than nothing.
        let encoded = encode(&mut text, &self.registry);
        let received = gateway.telemetry.metrics.received.get();
        let encoded =
            encoded.and_then(|()| encode_after(&mut text, &self.momentary(gateway, configured)));
        if let Err(error) = encoded {
            tracing::error!(%error, "The metrics cannot be written");
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                Bytes::from_static(b"The metrics cannot be written.\n"),
            );
        }
        let in_flight = Metrics::in_flight(received, &text);
        cut_end(&mut text);
        write_ledger(&mut text, received, in_flight);
        text.push_str("# EOF\n");
        plain(StatusCode::OK, OPEN_METRICS, text.into())
    }

    /// What other rooms count for themselves.
    fn momentary(&self, gateway: &Gateway, configured: &Configured) -> Registry {
        let mut registry = Registry::with_prefix("penstock");
        let open: Family<ByListener, Level> = Family::default();
        let accepted: Family<ByListener, Count> = Family::default();
        let refused: Family<ByListener, Count> = Family::default();
        let idle: Family<ByListener, Level> = Family::default();
        let closed: Family<ByReason, Count> = Family::default();
        configuration_metrics(configured, &mut registry);
        for (listener, stats) in &configured.listeners {
            let by = ByListener {
                listener: listener.clone(),
            };
            open.get_or_create(&by).set(signed(stats.open()));
            idle.get_or_create(&by).set(signed(stats.parked()));
            accepted.get_or_create(&by).inc_by(stats.accepted());
            refused.get_or_create(&by).inc_by(stats.refused());
            for (reason, count) in stats.closed() {
                let by = ByReason {
                    listener: listener.clone(),
                    reason,
                };
                closed.get_or_create(&by).inc_by(count);
            }
        }
        self.listener_metrics(configured, &mut registry);
        registry.register("connections_open", "Connections open now", open);
        registry.register(
            "connections_idle",
            "Connections that have been without a request for a moment",
            idle,
        );
        registry.register("connections", "Connections accepted", accepted);
        registry.register(
            "connections_refused",
            "Connections refused because the listener was full",
            refused,
        );
        registry.register(
            "connections_closed",
            "Connections that the gateway closed by itself, by reason",
            closed,
        );
        let plan = gateway.current.load();
        let from_query = Count::default();
        from_query.inc_by(plan.keys.from_query());
        registry.register(
            "api_keys_in_query",
            "Requests that brought their API key in the query (deprecated)",
            from_query,
        );
        key_metrics(&plan.keys, &plan.usage, &mut registry);
        overload::metrics(&plan.admission.report(), &mut registry);
        aggregation_metrics(plan.targets.aggregation(), &mut registry);
        match plan.targets.store_state() {
            StoreState::Open(store) => store_metrics(&store, &mut registry),
            // A store that cannot be opened must be as loud as one that fails later.
            StoreState::Unavailable(_) => register_healthy(false, &mut registry),
            StoreState::Absent => {}
        }
        registry
    }
}

/// Which configuration runs, since when, and whether another one was refused since.
fn configuration_metrics(configured: &Configured, registry: &mut Registry) {
    let hash = configured.outcome.hash.clone();
    registry.register(
        "config",
        "The configuration that runs, by the hash of its texts",
        Info::new([("hash", hash)]),
    );
    let since = Level::default();
    let age = configured.since.duration_since(UNIX_EPOCH);
    since.set(signed(age.map_or(0, |since| since.as_secs())));
    registry.register(
        "config_published_timestamp_seconds",
        "When the configuration that runs was published, in seconds since 1970",
        since,
    );
    let good = Level::default();
    good.set(i64::from(configured.refused.is_none()));
    registry.register(
        "config_last_reload_successful",
        "1 where the last configuration that was to run does; 0 where it was refused and an older one runs",
        good,
    );
}

/// What `aggregate: kpl` came to.
fn aggregation_metrics(counts: AggregationCounts, registry: &mut Registry) {
    let all = [
        (
            "aggregated_records",
            "Records for Kinesis that went into aggregated records of the stream",
            counts.records,
        ),
        (
            "aggregates",
            "Aggregated records that Kinesis has taken",
            counts.aggregates,
        ),
        (
            "aggregates_saved_units",
            "PUT payload units that the aggregated records would have cost more alone",
            counts.units_saved,
        ),
        (
            "aggregates_misplaced_records",
            "Records sent again alone, because their aggregate came to another shard than expected",
            counts.misplaced,
        ),
        (
            "aggregates_unmapped_batches",
            "Batches aggregated by hash alone, because the stream's shards were not known",
            counts.unmapped,
        ),
    ];
    for (name, help, value) in all {
        let count = Count::default();
        count.inc_by(value);
        registry.register(name, help, count);
    }
}

/// What API keys have used. Single keys are told by `/v1/usage`.
fn key_metrics(keys: &ApiKeys, usage: &Usage, registry: &mut Registry) {
    let known = Level::default();
    known.set(signed(keys.len() as u64));
    registry.register("api_keys", "API keys that are configured", known);
    let requests: Family<BySource, Count> = Family::default();
    for (source, count) in usage.by_source() {
        requests.get_or_create(&BySource { source }).inc_by(count);
    }
    registry.register(
        "api_key_requests",
        "Requests that an API key was charged for, by where the key came from",
        requests,
    );
    let refused: Family<PlanRefusal, Count> = Family::default();
    for (plan, throttled, exhausted) in usage.refusals() {
        for (code, count) in [("throttled", throttled), ("quota_exceeded", exhausted)] {
            let plan = Name(plan.clone());
            refused
                .get_or_create(&PlanRefusal { plan, code })
                .inc_by(count);
        }
    }
    registry.register(
        "usage_plan_refusals",
        "Requests that a usage plan had no room for",
        refused,
    );
    let failures = Count::default();
    failures.inc_by(usage.save_failures());
    registry.register(
        "usage_save_failures",
        "Attempts to save what API keys have used that the store refused; they are made again",
        failures,
    );
    let lost = Count::default();
    lost.inc_by(usage.days_lost());
    registry.register(
        "usage_days_lost",
        "Days of keys whose counts were lost, because the store took none for days; quotas are not touched",
        lost,
    );
}

impl Exposition {
    /// What comes before the requests: PROXY headers, TLS. Listeners without either show nothing of it.
    fn listener_metrics(&self, configured: &Configured, registry: &mut Registry) {
        let handshakes: Family<ByListener, Count> = Family::default();
        let failures: Family<ByReason, Count> = Family::default();
        let proxy: Family<ByReason, Count> = Family::default();
        let reloads: Family<ByListener, Count> = Family::default();
        let certificates: Family<ByFile, Level> = Family::default();
        let lists: Family<ByFile, Level> = Family::default();
        for (listener, stats) in &configured.listeners {
            let by = ByListener {
                listener: listener.clone(),
            };
            let by_reason = |reason| ByReason {
                listener: listener.clone(),
                reason,
            };
            for (reason, count) in stats.proxy_failures().filter(|(_, count)| *count > 0) {
                proxy.get_or_create(&by_reason(reason.name())).inc_by(count);
            }
            let expiries = stats.expiries();
            if expiries.is_empty() {
                continue;
            }
            handshakes.get_or_create(&by).inc_by(stats.handshakes());
            reloads.get_or_create(&by).inc_by(stats.reload_failures());
            for (reason, count) in stats.handshake_failures() {
                failures
                    .get_or_create(&by_reason(reason.name()))
                    .inc_by(count);
            }
            for expiry in expiries {
                let family = if expiry.of_list {
                    &lists
                } else {
                    &certificates
                };
                let labels = ByFile {
                    listener: listener.clone(),
                    file: Name(expiry.file),
                };
                family.get_or_create(&labels).set(expiry.at);
            }
        }
        registry.register(
            "tls_handshakes",
            "TLS handshakes that were brought to their end",
            handshakes,
        );
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes that came to nothing, by reason",
            failures,
        );
        registry.register(
            "tls_reload_failures",
            "New certificates that could not be used; the old ones stayed",
            reloads,
        );
        registry.register_with_unit(
            "tls_certificate_not_after",
            "When a file's certificate expires, since 1970; of several the first",
            Unit::Seconds,
            certificates,
        );
        registry.register_with_unit(
            "tls_crl_next_update",
            "When a revocation list goes out of date, since 1970; of several in a file the first",
            Unit::Seconds,
            lists,
        );
        registry.register(
            "proxy_header_failures",
            "Connections closed for their PROXY header, by reason",
            proxy,
        );
    }
}

fn store_metrics(store: &Store, registry: &mut Registry) {
    let meters = store.meters();
    registry.register(
        "store_commit_operations",
        "Operations that shared one commit",
        meters.commit_messages,
    );
    registry.register_with_unit(
        "store_commit",
        "From a commit's begin to the end of its fsync",
        Unit::Seconds,
        meters.commit_seconds,
    );
    registry.register("store_commits", "Commits", meters.commits);
    registry.register(
        "store_failed_groups",
        "Groups of operations that failed as a whole",
        meters.failed_groups,
    );
    registry.register(
        "store_overloaded",
        "Operations refused because too much waited for the disk",
        meters.overloaded,
    );
    registry.register_with_unit(
        "store_checkpoint",
        "Time of a checkpoint",
        Unit::Seconds,
        meters.checkpoint_seconds,
    );
    let stats = store.stats();
    let messages: Family<QueueState, Level> = Family::default();
    let fates: Family<QueueFate, Count> = Family::default();
    let oldest: Family<
        ByQueue,
        prometheus_client::metrics::gauge::Gauge<f64, std::sync::atomic::AtomicU64>,
    > = Family::default();
    let waiting: Family<ByQueue, Level> = Family::default();
    for queue in &stats.queues {
        let name = Name(queue.name.as_str().into());
        for (state, count) in [
            ("visible", queue.visible),
            ("in_flight", queue.in_flight),
            ("delayed", queue.delayed),
        ] {
            messages
                .get_or_create(&QueueState {
                    queue: name.clone(),
                    state,
                })
                .set(signed(count));
        }
        for (fate, count) in fates_of(queue) {
            fates
                .get_or_create(&QueueFate {
                    queue: name.clone(),
                    fate,
                })
                .inc_by(count);
        }
        if queue.role == Role::Queue {
            waiting
                .get_or_create(&ByQueue {
                    queue: name.clone(),
                })
                .set(signed(queue.receives_waiting));
        }
        if let Some(age) = queue.oldest_age {
            oldest
                .get_or_create(&ByQueue { queue: name })
                .set(age.as_secs_f64());
        }
    }
    registry.register(
        "queue_messages",
        "Messages in an embedded queue, by state",
        messages,
    );
    registry.register(
        "queue_fates",
        "What became of a queue's messages: accepted + imported = depth + deleted + forwarded + dead_lettered + expired + purged + damaged; duplicates are apart",
        fates,
    );
    registry.register_with_unit(
        "queue_oldest_message",
        "Age of the oldest message",
        Unit::Seconds,
        oldest,
    );
    registry.register(
        "queue_receives_waiting",
        "Receives of an embedded queue that have begun and not ended: long polls",
        waiting,
    );
    let bytes = Level::default();
    bytes.set(signed(stats.file_bytes));
    registry.register_with_unit(
        "store_size",
        "The store's database and log on disk",
        Unit::Bytes,
        bytes,
    );
    let lost = Count::default();
    lost.inc_by(stats.lost_commits);
    registry.register(
        "store_lost_commits",
        "Commits that had been synced and were missing when the store was opened: the disk lost the end of the log",
        lost,
    );
    let suspended = Level::default();
    suspended.set(i64::from(stats.expiry_suspended));
    registry.register(
        "store_expiry_suspended",
        "1 while nothing expires because the clock stepped, else 0",
        suspended,
    );
    register_healthy(stats.health == Health::Healthy, registry);
}

fn register_healthy(healthy: bool, registry: &mut Registry) {
    let level = Level::default();
    level.set(i64::from(healthy));
    registry.register(
        "store_healthy",
        "1 when the store takes messages, else 0",
        level,
    );
}

/// The ledger of a queue, by name.
fn fates_of(queue: &QueueStats) -> [(&'static str, u64); 9] {
    let ledger = &queue.ledger;
    [
        ("accepted", ledger.accepted),
        ("imported", ledger.imported),
        ("deleted", ledger.deleted),
        ("forwarded", ledger.forwarded),
        ("dead_lettered", ledger.dead_lettered),
        ("expired", ledger.expired),
        ("purged", ledger.purged),
        ("damaged", ledger.damaged),
        ("duplicates", ledger.duplicates),
    ]
}

pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Appends another registry's text in place of the end mark.
fn encode_after(text: &mut String, registry: &Registry) -> std::fmt::Result {
    cut_end(text);
    encode(text, registry)
}

fn cut_end(text: &mut String) {
    if let Some(stem) = text.strip_suffix("# EOF\n") {
        text.truncate(stem.len());
    }
}

fn plain(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
