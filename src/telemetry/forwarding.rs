//! The metrics of the way from here to the targets: what is spooled and why, what is forwarded, what comes to nothing,
//! and how the breakers stand. Targets that routes name are told apart by their full names; `dynamic` stands for the others.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics::{Level, Name};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByTarget {
    pub target: Name,
}

/// Why a record is spooled.
pub const SPOOLED_WHY: [&str; 6] = ["mode", "breaker", "order", "budget", "failed", "setup"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SpooledWhy {
    pub target: Name,
    /// One of [`SPOOLED_WHY`].
    pub why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempted {
    pub target: Name,
    /// `ok`, or the reason code of the failure.
    pub result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Doubled {
    /// Empty for what was found when the store was opened.
    pub target: Name,
    /// `unknown`: resent after an outcome that nobody knows. `restart`: under way when the process ended.
    pub cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BreakerState {
    pub target: Name,
    /// `closed`, `open`, `half-open`.
    pub state: &'static str,
}

/// The handles. Cloning shares the values.
#[derive(Clone, Debug)]
pub struct Forwarding {
    pub spooled: Family<SpooledWhy, Counter>,
    pub forwarded: Family<ByTarget, Counter>,
    pub attempts: Family<Attempted, Counter>,
    pub batch_records: Family<ByTarget, Histogram>,
    pub dead_letters: Family<ByTarget, Counter>,
    pub possible_duplicates: Family<Doubled, Counter>,
    pub order_gaps: Family<ByTarget, Counter>,
    pub stuck: Family<ByTarget, Level>,
    pub breaker_state: Family<BreakerState, Level>,
    pub breaker_transitions: Family<BreakerState, Counter>,
}

impl Default for Forwarding {
    fn default() -> Self {
        let sizes = || Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]);
        Forwarding {
            spooled: Family::default(),
            forwarded: Family::default(),
            attempts: Family::default(),
            batch_records: Family::new_with_constructor(sizes),
            dead_letters: Family::default(),
            possible_duplicates: Family::default(),
            order_gaps: Family::default(),
            stuck: Family::default(),
            breaker_state: Family::default(),
            breaker_transitions: Family::default(),
        }
    }
}

impl Forwarding {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "spooled_records",
            "Records spooled, by target and why they were not sent at once",
            self.spooled.clone(),
        );
        registry.register(
            "forwarded_records",
            "Records that left the spool because their target has them",
            self.forwarded.clone(),
        );
        registry.register(
            "forward_attempts",
            "Attempts of the spool to deliver a record, by result",
            self.attempts.clone(),
        );
        registry.register(
            "forward_batch_records",
            "Records that the spool sent together",
            self.batch_records.clone(),
        );
        registry.register(
            "dead_letters",
            "Records that their target refused for what they are",
            self.dead_letters.clone(),
        );
        registry.register(
            "possible_duplicates",
            "Records that are sent again although the target may have them",
            self.possible_duplicates.clone(),
        );
        registry.register(
            "order_gaps",
            "Records with an order key that became dead letters: their group goes on without them",
            self.order_gaps.clone(),
        );
        registry.register(
            "stuck_records",
            "Records that their target refuses and that keep their place: those behind them wait",
            self.stuck.clone(),
        );
        registry.register(
            "breaker_state",
            "1 for the state in which the target's breaker is",
            self.breaker_state.clone(),
        );
        registry.register(
            "breaker_transitions",
            "Times that the target's breaker came into a state",
            self.breaker_transitions.clone(),
        );
    }
}
