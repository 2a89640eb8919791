//! The metrics of deployments: what became of them, and, while a canary runs, how its requests end and the baseline's.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::histogram::Latencies;
use crate::deploy::{Ended, Part};
use crate::model::value::Share;

/// What became of configurations.
pub const EVENTS: [&str; 6] = [
    "deployed",
    "canary",
    "promoted",
    "rolled_back",
    "refused",
    "pinned",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByEvent {
    /// One of [`EVENTS`].
    pub event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDeployment {
    /// `baseline` or `canary`.
    pub deployment: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByResult {
    /// `baseline` or `canary`.
    pub deployment: &'static str,
    /// `ok`, `failed` or `refused`.
    pub result: &'static str,
}

/// The handles. Cloning shares the values.
#[derive(Clone, Debug, Default)]
pub struct Deployments {
    events: Family<ByEvent, Counter>,
    requests: Family<ByResult, Counter>,
    seconds: Family<ByDeployment, Latencies>,
    share: Gauge<f64, AtomicU64>,
}

impl Deployments {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "deployments",
            "What became of configurations: deployed, canary (begun), promoted, rolled_back, refused, pinned (left out)",
            self.events.clone(),
        );
        registry.register(
            "deployment_requests",
            "Requests that ended while a canary ran, by which of both served them; failed: for a reason that a configuration can have; refused: any other 4xx",
            self.requests.clone(),
        );
        registry.register(
            "deployment_request_seconds",
            "From the head to the answer without the time of the body, while a canary ran",
            self.seconds.clone(),
        );
        registry.register(
            "canary_share_ratio",
            "The share of callers that the canary serves; 0 without one",
            self.share.clone(),
        );
        for event in EVENTS {
            drop(self.events.get_or_create(&ByEvent { event }));
        }
    }

    /// Counts what became of a configuration: one of [`EVENTS`].
    pub fn event(&self, event: &'static str) {
        self.events.get_or_create(&ByEvent { event }).inc();
    }

    /// The canary's share, from now on.
    pub fn share(&self, share: Share) {
        self.share.set(share.ratio());
    }

    /// Counts a request that ended.
    pub(super) fn ended(&self, part: &Part, ended: Ended) {
        part.meters.count(ended);
        let deployment = part.name();
        let result = match ended {
            Ended { failed: true, .. } => "failed",
            Ended { refused: true, .. } => "refused",
            _ => "ok",
        };
        self.requests
            .get_or_create(&ByResult { deployment, result })
            .inc();
        self.seconds
            .get_or_create(&ByDeployment { deployment })
            .observe(ended.took);
    }
}
