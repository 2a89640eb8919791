//! Which limit of a usage plan a request would go over, and when to come back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::BucketSpec;
use super::Quota;

/// A limit that has no room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// The plan's bucket of the route.
    Route(BucketSpec),
    /// The plan's bucket.
    Plan(BucketSpec),
    Quota(Quota),
}

/// A limit as `RateLimit` and `RateLimit-Policy` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: &'static str,
    pub limit: u64,
    /// Seconds.
    pub window: u64,
    pub remaining: u64,
    /// Until all of it is there again.
    pub reset: Duration,
}

/// A request is refused by its usage plan.
#[derive(Clone, Debug, PartialEq)]
pub struct OverLimit {
    pub plan: Arc<str>,
    pub what: What,
    /// When there will be room; `None`: never.
    pub wait: Option<Duration>,
    /// Every limit of the plan that the request falls under.
    pub policies: Vec<Policy>,
}

/// For the log.
impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        match self.what {
            What::Route(BucketSpec { rate, burst }) => write!(
                f,
                "the key's bucket for this route in the usage plan {plan} is empty: rate {rate}, burst {burst}"
            ),
            What::Plan(BucketSpec { rate, burst }) => write!(
                f,
                "the key's bucket in the usage plan {plan} is empty: rate {rate}, burst {burst}"
            ),
            What::Quota(Quota { limit, period, .. }) => write!(
                f,
                "the key's quota in the usage plan {plan} is used up: limit {limit}, period {}",
                period.name()
            ),
        }
    }
}

impl OverLimit {
    /// `Retry-After`, in whole seconds: at least 1; where there is no end to the wait, an hour.
    pub fn retry_after(&self) -> u64 {
        self.wait.map_or(3600, |wait| seconds_up(wait).max(1))
    }

    /// What the caller is told.
    pub fn detail(&self) -> String {
        let after = self.retry_after();
        match (self.what, self.wait) {
            (What::Quota(Quota { limit: 0, .. }), _) | (What::Route(_) | What::Plan(_), None) => {
                "Your usage plan takes no requests.".to_owned()
            }
            (What::Route(BucketSpec { rate, .. }), _) => format!(
                "Your usage plan takes {rate} requests a second to this route. Try again in {after} s."
            ),
            (What::Plan(BucketSpec { rate, .. }), _) => {
                format!("Your usage plan takes {rate} requests a second. Try again in {after} s.")
            }
            (What::Quota(Quota { limit, period, .. }), _) => format!(
                "The quota of {limit} requests a {} is used up. It begins anew in {after} s.",
                period.name()
            ),
        }
    }

    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    pub fn headers(&self) -> (String, String) {
        let joined = |one: &dyn Fn(&Policy) -> String| {
            let all: Vec<String> = self.policies.iter().map(one).collect();
            all.join(", ")
        };
        (
            joined(&|policy| {
                let (name, left) = (policy.name, policy.remaining);
                format!("\"{name}\";r={left};t={}", seconds_up(policy.reset))
            }),
            joined(&|policy| {
                let (name, limit) = (policy.name, policy.limit);
                let window = policy.window;
                format!("\"{name}\";q={limit};w={window}")
            }),
        )
    }
}

/// Whole seconds, rounded up.
fn seconds_up(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
