//! How the requests of a deployment end, counted while two are compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::evidence::Tally;
use super::id::DeploymentId;

/// What a request's end says of the deployment that served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether it failed for a reason that a configuration can have.
    pub failed: bool,
    /// Whether it was answered 4xx: a caller's fault, as far as the configuration is right.
    pub refused: bool,
    /// From its head to its answer, without the time in which its body came.
    pub took: Duration,
}

/// Counters of one of two deployments that are compared.
#[derive(Debug, Default)]
pub struct Meters {
    requests: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    slow: AtomicU64,
    /// What is slow, in nanoseconds; 0: nothing.
    limit: u64,
}

impl Meters {
    /// Requests that take longer than `limit` count as slow.
    pub fn new(limit: Option<Duration>) -> Meters {
        let nanos = limit.map_or(0, |limit| {
            u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)
        });
        Meters {
            limit: nanos,
            ..Meters::default()
        }
    }

    /// Counts a request.
    pub fn count(&self, ended: Ended) {
        // Before the others, which publish it: no tally has more failures than requests.
        self.requests.fetch_add(1, Ordering::Relaxed);
        if ended.failed {
            self.failed.fetch_add(1, Ordering::Release);
        }
        if ended.refused {
            self.refused.fetch_add(1, Ordering::Release);
        }
        if self.limit > 0 && ended.took > Duration::from_nanos(self.limit) {
            self.slow.fetch_add(1, Ordering::Release);
        }
    }

    /// What has been counted so far.
    pub fn tally(&self) -> Tally {
        let failed = self.failed.load(Ordering::Acquire);
        let refused = self.refused.load(Ordering::Acquire);
        let slow = self.slow.load(Ordering::Acquire);
        Tally {
            requests: self.requests.load(Ordering::Relaxed),
            failed,
            refused,
            slow,
        }
    }
}

/// What a request knows of its deployment while two are compared.
#[derive(Debug)]
pub struct Part {
    pub deployment: DeploymentId,
    pub is_canary: bool,
    pub meters: Arc<Meters>,
}

impl Part {
    /// The word in metrics.
    pub const fn name(&self) -> &'static str {
        if self.is_canary { "canary" } else { "baseline" }
    }
}
