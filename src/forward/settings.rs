//! What people may set for a target: breaker, backoff, rate, calls in flight, batches; and for a route: its
//! acknowledgement.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

/// What an answer of 2xx says about the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AckMode {
    /// The target has it.
    #[default]
    Target,
    /// It is on disk here, and goes to the target in the background.
    Spool,
    /// Either: the target is tried first, within the budget.
    TargetOrSpool,
}

impl AckMode {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            AckMode::Target => "target",
            AckMode::Spool => "spool",
            AckMode::TargetOrSpool => "target-or-spool",
        }
    }
}

/// Which records of a route keep their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// None. Records go in parallel, in batches.
    #[default]
    None,
    /// Those of one message group (SQS FIFO) or one partition key (Kinesis).
    Key,
    /// All of the route, one at a time.
    Route,
}

impl Order {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Order::None => "none",
            Order::Key => "key",
            Order::Route => "route",
        }
    }
}

/// What becomes of the records behind one that the target refuses for what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnPoison {
    /// It goes to the dead letters, and they go on.
    #[default]
    Continue,
    /// It stays where it is, and they wait behind it until it is purged.
    Stop,
}

/// Calls of a spool at once, unless the configuration says otherwise.
pub(super) const SPOOL_IN_FLIGHT: usize = 8;

/// One target's settings, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSettings {
    /// Failures in a row that open the breaker.
    pub open_after: u32,
    /// The first pause of an open breaker before it lets a call probe the target.
    pub probe_every: Duration,
    /// The longest such pause.
    pub max_probe: Duration,
    /// Successes in a row that close a breaker that probes.
    pub close_after: u32,
    /// Backoff between the attempts of one record: the first and the longest, with full jitter.
    pub backoff_base: Duration,
    pub backoff_max: Duration,
    /// Records a second that the spool may send; `None`: no cap.
    pub rate: Option<f64>,
    /// Calls at once: of the spool, and as many of requests that share calls. `None`: [`SPOOL_IN_FLIGHT`], and as many
    /// as they need.
    pub in_flight: Option<usize>,
    /// Records of one call; 1: no batches.
    pub batch: usize,
    /// How long a batch may wait to fill. `None`: the spool's not at all, that of requests for as long as costs them
    /// little.
    pub linger: Option<Duration>,
}

impl Default for TargetSettings {
    fn default() -> Self {
        TargetSettings {
            open_after: 5,
            probe_every: Duration::from_secs(1),
            max_probe: Duration::from_secs(10),
            close_after: 3,
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            rate: None,
            in_flight: None,
            batch: usize::MAX,
            linger: None,
        }
    }
}

/// Every target's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub default: TargetSettings,
    /// By queue URL, ARN or name.
    pub named: IndexMap<String, TargetSettings>,
}

impl Settings {
    /// Those of a target, by what its route calls it.
    pub fn of(&self, target: &str) -> &TargetSettings {
        self.named.get(target).unwrap_or(&self.default)
    }
}
