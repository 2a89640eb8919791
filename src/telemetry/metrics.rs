//! Every metric: its name, its labels, its meaning. Labels come from closed sets (routes, phases, codes, kinds).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::capture;
use super::deployments::Deployments;
use super::forwarding::Forwarding;
use super::histogram::Latencies;
use super::renewal::Renewal;
use super::throttling::Throttling;
use super::tokens::Tokens;
use super::webhooks::Webhooks;
use crate::model::phase::Phase;

/// How a request ended: exactly one of these, for every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its payload is durable.
    Stored,
    /// It was answered from an earlier request's result.
    Replayed,
    /// It was answered, and there was nothing to store: reads, deletes, mocks, preflights.
    Answered,
    /// It was refused, for a reason of the closed set.
    Rejected,
    /// The client went away before anything was stored.
    Gone,
}

impl Outcome {
    /// The name in logs and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Stored => "stored",
            Outcome::Replayed => "replayed",
            Outcome::Answered => "answered",
            Outcome::Rejected => "rejected",
            Outcome::Gone => "gone",
        }
    }
}

/// A name of a closed set that lives as long as the process or the plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(pub Arc<str>);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(&self.0)
    }
}

/// Labels of a finished request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// The route key; empty where no route was found.
    pub route: Name,
    pub outcome: &'static str,
    /// The reason of a refusal; empty otherwise.
    pub code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByRoute {
    pub route: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByPhase {
    pub phase: &'static str,
}

/// What an idempotency key turns out to be; and `taken_over`, beside the others, where an earlier request ended without a
/// word: what it was to store may be stored twice.
pub const KEY_RESULTS: [&str; 6] = [
    "new",
    "replayed",
    "in_flight",
    "mismatch_refused",
    "mismatch_stored",
    "taken_over",
];

/// Labels of a request that brought an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyUse {
    pub route: Name,
    /// One of [`KEY_RESULTS`].
    pub result: &'static str,
}

/// Labels of stored payloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Durable {
    pub route: Name,
    /// `target` or `spooled`.
    pub durability: &'static str,
}

/// Labels of a request to an API that stands in front of versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Versioned {
    pub api: Name,
    /// As the table has it; empty for none that is there.
    pub version: Name,
}

/// Labels of a target's call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Called {
    pub integration: &'static str,
    /// `ok`, or the reason code of the failure.
    pub result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByIntegration {
    pub integration: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByListener {
    pub listener: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    pub listener: Name,
    pub reason: &'static str,
}

/// Labels of what a listener reads from a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByFile {
    pub listener: Name,
    pub file: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByQueue {
    pub queue: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySource {
    /// `header`, `query` or `authorizer`.
    pub source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PlanRefusal {
    pub plan: Name,
    /// `throttled` or `quota_exceeded`.
    pub code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueState {
    pub queue: Name,
    pub state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueFate {
    pub queue: Name,
    /// `accepted`, `imported`, `deleted`, `forwarded`, `dead_lettered`, `expired`, `purged`, `damaged`, `duplicates`.
    pub fate: &'static str,
}

/// Labels of a request to the SQS listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SqsRequest {
    /// The action; empty where none was understood.
    pub action: &'static str,
    /// `ok`, or the code of the refusal.
    pub code: &'static str,
}

/// The handles that a route's requests count on; looked up once when a plan is built.
#[derive(Clone, Debug)]
pub struct RouteMeters {
    pub seconds: Latencies,
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
    pub stored: Counter,
    pub durable_target: Counter,
    pub durable_spooled: Counter,
    pub answered: Counter,
    /// Calls to the target that were well.
    pub target_ok: Counter,
    pub target_seconds: Latencies,
}

/// Every metric's handle. Cloning shares the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub received: Counter,
    pub ended: Family<Ended, Counter>,
    pub seconds: Family<ByRoute, Latencies>,
    phase_family: Family<ByPhase, Latencies>,
    /// By the phase's index: the handles of the family's members.
    pub phase_seconds: [Latencies; 12],
    pub received_bytes: Family<ByRoute, Counter>,
    pub sent_bytes: Family<ByRoute, Counter>,
    pub answers_lost: Counter,
    pub durable: Family<Durable, Counter>,
    pub versions: Family<Versioned, Counter>,
    pub idempotency_keys: Family<KeyUse, Counter>,
    pub target_calls: Family<Called, Counter>,
    pub target_seconds: Family<ByIntegration, Latencies>,
    pub sqs_requests: Family<SqsRequest, Counter>,
    pub log_dropped: Counter,
    pub log_lines: Counter,
    pub deployments: Deployments,
    pub forwarding: Forwarding,
    pub renewal: Renewal,
    pub capture: capture::Meters,
    pub tokens: Tokens,
    pub webhooks: Webhooks,
    pub throttling: Throttling,
}

impl Default for Metrics {
    fn default() -> Self {
        let phase_family: Family<ByPhase, Latencies> = Family::default();
        let of_phase = |index: usize| {
            phase_family
                .get_or_create(&ByPhase {
                    phase: Phase::ALL[index].name(),
                })
                .clone()
        };
        Metrics {
            phase_seconds: std::array::from_fn(of_phase),
            phase_family,
            received: Counter::default(),
            ended: Family::default(),
            seconds: Family::default(),
            received_bytes: Family::default(),
            sent_bytes: Family::default(),
            answers_lost: Counter::default(),
            durable: Family::default(),
            versions: Family::default(),
            idempotency_keys: Family::default(),
            target_calls: Family::default(),
            target_seconds: Family::default(),
            sqs_requests: Family::default(),
            log_dropped: Counter::default(),
            log_lines: Counter::default(),
            deployments: Deployments::default(),
            forwarding: Forwarding::default(),
            renewal: Renewal::default(),
            capture: capture::Meters::default(),
            tokens: Tokens::default(),
            webhooks: Webhooks::default(),
            throttling: Throttling::default(),
        }
    }
}

impl Metrics {
    /// Fresh metrics, all at zero.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// Where requests for a version of an API are counted.
    pub fn version(&self, api: &str, version: &str) -> Counter {
        let labels = Versioned {
            api: Name(api.into()),
            version: Name(version.into()),
        };
        self.versions.get_or_create(&labels).clone()
    }

    /// The handles of a route, which calls this integration.
    pub fn route(&self, route: &Name, integration: &'static str) -> RouteMeters {
        let by_route = ByRoute {
            route: route.clone(),
        };
        let ended = |outcome: Outcome| {
            let labels = Ended {
                route: route.clone(),
                outcome: outcome.name(),
                code: "",
            };
            self.ended.get_or_create(&labels).clone()
        };
        let durable = |durability| {
            let labels = Durable {
                route: route.clone(),
                durability,
            };
            self.durable.get_or_create(&labels).clone()
        };
        RouteMeters {
            seconds: self.seconds.get_or_create(&by_route).clone(),
            received_bytes: self.received_bytes.get_or_create(&by_route).clone(),
            sent_bytes: self.sent_bytes.get_or_create(&by_route).clone(),
            stored: ended(Outcome::Stored),
            durable_target: durable("target"),
            durable_spooled: durable("spooled"),
            answered: ended(Outcome::Answered),
            target_ok: self
                .target_calls
                .get_or_create(&Called {
                    integration,
                    result: "ok",
                })
                .clone(),
            target_seconds: self
                .target_seconds
                .get_or_create(&ByIntegration { integration })
                .clone(),
        }
    }

    /// What is counted of a route's idempotency keys is there from now on, at zero where nothing has been counted.
    pub fn expect_keys(&self, route: &Name) {
        for result in KEY_RESULTS {
            let labels = KeyUse {
                route: route.clone(),
                result,
            };
            drop(self.idempotency_keys.get_or_create(&labels));
        }
    }

    /// Registers every metric. `ended` must be read before `received` for the ledger to balance, so `in_flight` is
    /// not among them: [`Metrics::in_flight`] computes it, and the admin listener writes it.
    pub fn register(&self, registry: &mut Registry) {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register(
            "requests",
            "Requests that have ended, by route and outcome; code is the reason of a refusal",
            self.ended.clone(),
        );
        registry.register(
            "versioned_requests",
            "Requests to an API in front of versions, by the version that they are for",
            self.versions.clone(),
        );
        registry.register_with_unit(
            "request",
            "From the head's arrival to the answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "phase",
            "Time spent in a phase of a request's life",
            Unit::Seconds,
            self.phase_family.clone(),
        );
        registry.register_with_unit(
            "request_body",
            "Body bytes received",
            Unit::Bytes,
            self.received_bytes.clone(),
        );
        registry.register_with_unit(
            "response_body",
            "Body bytes sent",
            Unit::Bytes,
            self.sent_bytes.clone(),
        );
        registry.register(
            "answers_lost",
            "Payloads stored whose client was gone before the answer",
            self.answers_lost.clone(),
        );
        registry.register(
            "payloads_stored",
            "Payloads acknowledged, by who has them: the target, or the spool",
            self.durable.clone(),
        );
        registry.register(
            "idempotency_keys",
            "Requests that brought an idempotency key, by what it was found to be",
            self.idempotency_keys.clone(),
        );
        registry.register(
            "target_calls",
            "Calls of targets by result",
            self.target_calls.clone(),
        );
        registry.register_with_unit(
            "target_call",
            "Time from the call to the target's answer",
            Unit::Seconds,
            self.target_seconds.clone(),
        );
        registry.register(
            "sqs_requests",
            "Requests to the SQS listener, by action and result",
            self.sqs_requests.clone(),
        );
        registry.register(
            "access_log_lines",
            "Access log lines written",
            self.log_lines.clone(),
        );
        registry.register(
            "access_log_dropped",
            "Access log lines dropped because the log could not keep up",
            self.log_dropped.clone(),
        );
        self.deployments.register(registry);
        self.forwarding.register(registry);
        self.renewal.register(registry);
        self.capture.register(registry);
        self.tokens.register(registry);
        self.webhooks.register(registry);
        self.throttling.register(registry);
    }

    /// Requests that have been received and have not ended. `rendered` is the text in which the endings stand: the
    /// sum is taken from it, so that the text as a whole balances.
    pub fn in_flight(received: u64, rendered: &str) -> u64 {
        let ended: u64 = rendered
            .lines()
            .filter(|line| line.starts_with("penstock_requests_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        received.saturating_sub(ended)
    }
}

/// Appends a counter and a gauge in the text format.
pub fn write_ledger(out: &mut String, received: u64, in_flight: u64) {
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "# HELP penstock_requests_received Requests received, malformed ones included.\n\
         # TYPE penstock_requests_received counter\npenstock_requests_received_total {received}\n\
         # HELP penstock_requests_in_flight Requests received that have not ended.\n\
         # TYPE penstock_requests_in_flight gauge\npenstock_requests_in_flight {in_flight}\n"
    );
}

/// A gauge of whole numbers.
pub type Level = Gauge<i64, std::sync::atomic::AtomicI64>;
/// A counter of whole numbers.
pub type Count = Counter<u64, AtomicU64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_is_summed_from_the_text_that_is_shown() {
        let metrics = Metrics::new();
        let name = Name("POST /orders".into());
        metrics.route(&name, "Mock").stored.inc_by(3);
        metrics
            .ended
            .get_or_create(&Ended {
                route: name,
                outcome: "rejected",
                code: "throttled",
            })
            .inc_by(2);
        metrics.received.inc_by(7);
        metrics.expect_keys(&Name("POST /orders".into()));
        let mut registry = Registry::with_prefix("penstock");
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(
                "penstock_requests_total{route=\"POST /orders\",outcome=\"stored\",code=\"\"} 3"
            ),
            "{text}"
        );
        assert!(
            text.contains("penstock_phase_seconds_count{phase=\"store\"} 0"),
            "{text}"
        );
        assert!(
            text.contains(
                "penstock_idempotency_keys_total{route=\"POST /orders\",result=\"replayed\"} 0"
            ),
            "{text}"
        );
        assert_eq!(Metrics::in_flight(metrics.received.get(), &text), 2);
    }
}
