//! What is counted of webhook deliveries: how each was judged, which secret matched, how far senders' clocks are away.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::Name;

/// Labels of a judged request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Judged {
    source: Name,
    /// `ok`, `handshake`, or why it was refused.
    result: &'static str,
}

/// Labels of a secret that matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Matched {
    source: Name,
    /// Its place among the configured ones, from 0.
    key: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: Name,
}

/// The handles. Cloning shares the values. Sources are the names of authorizers, a closed set.
#[derive(Clone, Debug, Default)]
pub struct Webhooks {
    deliveries: Family<Judged, Counter>,
    key_matches: Family<Matched, Counter>,
    skew: Family<BySource, Gauge<f64, AtomicU64>>,
    quarantined: Family<Judged, Counter>,
}

impl Webhooks {
    /// What is counted of a source is there from now on, at zero where nothing has been counted.
    pub fn expect(&self, source: &Arc<str>, results: &[&'static str]) {
        for result in results {
            drop(self.judged(source, result));
        }
    }

    fn judged(&self, source: &Arc<str>, result: &'static str) -> Counter {
        let labels = Judged {
            source: Name(source.clone()),
            result,
        };
        self.deliveries.get_or_create(&labels).clone()
    }

    /// A request was judged.
    pub fn delivered(&self, source: &Arc<str>, result: &'static str) {
        self.judged(source, result).inc();
    }

    /// A secret matched, by its place.
    pub fn matched(&self, source: &Arc<str>, key: usize) {
        let labels = Matched {
            source: Name(source.clone()),
            key: key as u64,
        };
        self.key_matches.get_or_create(&labels).inc();
    }

    /// A genuine delivery was signed so many milliseconds ago.
    pub fn skewed(&self, source: &Arc<str>, millis: i64) {
        let labels = BySource {
            source: Name(source.clone()),
        };
        self.skew
            .get_or_create(&labels)
            .set(millis as f64 / 1_000.0);
    }

    /// A refused delivery was `kept`, `dropped` for there were too many, or could not be kept (`failed`).
    pub fn quarantined(&self, source: &Arc<str>, result: &'static str) {
        let labels = Judged {
            source: Name(source.clone()),
            result,
        };
        self.quarantined.get_or_create(&labels).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "webhook_deliveries",
            "Requests that a webhook's authorizer has judged, by result",
            self.deliveries.clone(),
        );
        registry.register(
            "webhook_key_matches",
            "Genuine requests by the place of the secret that matched: one that no longer counts up can go",
            self.key_matches.clone(),
        );
        registry.register(
            "webhook_quarantined",
            "Refused deliveries that were to be kept for debugging, by result",
            self.quarantined.clone(),
        );
        registry.register_with_unit(
            "webhook_skew",
            "How long ago the last genuine delivery was signed by its sender's clock; below zero: ahead of ours",
            Unit::Seconds,
            self.skew.clone(),
        );
    }
}
