//! The metrics of the way from here to the targets: what is spooled and why, what is forwarded, what comes to nothing,
//! and how the breakers stand. Targets that routes name are told apart by their full names; `dynamic` stands for the others.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::{Level, Name};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByTarget {
    pub target: Name,
}

/// Why a record is spooled.
pub const SPOOLED_WHY: [&str; 7] = [
    "mode", "breaker", "order", "busy", "budget", "failed", "setup",
];

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
    pub shared: Shared,
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
            shared: Shared::default(),
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
        self.shared.register(registry);
    }
}

/// Why a record that was to share a call was not sent.
pub const TURNED_AWAY: [&str; 4] = ["full", "late", "displaced", "withdrawn"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TurnedAwayWhy {
    pub target: Name,
    /// One of [`TURNED_AWAY`].
    pub why: &'static str,
}

/// Calls that requests share.
#[derive(Clone, Debug)]
pub struct Shared {
    pub records: Family<ByTarget, Counter>,
    pub calls: Family<ByTarget, Counter>,
    pub call_records: Family<ByTarget, Histogram>,
    pub in_flight: Family<ByTarget, Level>,
    pub waiting: Family<ByTarget, Level>,
    pub waited: Family<ByTarget, Histogram>,
    pub billed: Family<ByTarget, Counter>,
    pub unshared: Family<ByTarget, Counter>,
    pub turned_away: Family<TurnedAwayWhy, Counter>,
}

impl Default for Shared {
    fn default() -> Self {
        let sizes = || Histogram::new([1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 20.0, 50.0, 100.0, 500.0]);
        let waits = || Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0]);
        Shared {
            records: Family::default(),
            calls: Family::default(),
            call_records: Family::new_with_constructor(sizes),
            in_flight: Family::default(),
            waiting: Family::default(),
            waited: Family::new_with_constructor(waits),
            billed: Family::default(),
            unshared: Family::default(),
            turned_away: Family::default(),
        }
    }
}

impl Shared {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "shared_records",
            "Records that requests brought to their target in calls that they can share",
            self.records.clone(),
        );
        registry.register(
            "shared_calls",
            "Calls for those records",
            self.calls.clone(),
        );
        registry.register(
            "shared_call_records",
            "Records of one such call",
            self.call_records.clone(),
        );
        registry.register(
            "shared_calls_in_flight",
            "Such calls that are under way",
            self.in_flight.clone(),
        );
        registry.register(
            "shared_waiting_records",
            "Records that wait for such a call",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "shared_wait",
            "How long records waited for such a call",
            Unit::Seconds,
            self.waited.clone(),
        );
        registry.register(
            "target_billed_units",
            "What the target's service bills for those calls, as its price list counts",
            self.billed.clone(),
        );
        registry.register(
            "target_unshared_units",
            "What it would have billed with one record a call",
            self.unshared.clone(),
        );
        registry.register(
            "shared_turned_away",
            "Records that were not sent, because too many waited or they waited for too long",
            self.turned_away.clone(),
        );
    }
}
