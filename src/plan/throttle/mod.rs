//! The limits of number that a route has, from configuration to plan: token buckets, requests at once, and what an
//! address may get wrong.

mod compile;
mod key;
mod live;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::config::WhenSharedFails;
use crate::limit::BucketSpec;
use crate::limit::shared::Address;

pub(super) use compile::{Defaults, bucket, concurrency, failures, route};
pub use key::{Key, When, Who};
pub use live::{Concurrency, FailureGuard, Of, Shared, SharedBucket, Step, Throttle, Throttles};

/// A token bucket of a route, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleSpec {
    /// For headers, logs and metrics: letters, digits, `-`, `_` and `.`.
    pub name: Arc<str>,
    pub bucket: BucketSpec,
    /// `None`: one bucket for all.
    pub key: Option<Key>,
    pub dry_run: bool,
    /// Whether successes tell what is left.
    pub headers: bool,
    pub shared: Option<SharedSpec>,
}

/// The Redis that keeps a bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedSpec {
    pub address: Address,
    pub timeout: Duration,
    pub when_gone: WhenGone,
}

/// What holds while Redis is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenGone {
    /// A bucket of the instance's own.
    Local,
    /// Everybody passes.
    Open,
    /// Nobody passes.
    Closed,
}

/// Requests of a route at once, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ConcurrencySpec {
    /// For logs and metrics.
    pub name: Arc<str>,
    pub limit: usize,
    /// `None`: those of all callers together.
    pub key: Option<Key>,
    pub dry_run: bool,
}

/// What an address may get wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureSpec {
    pub bucket: BucketSpec,
    pub ipv6_prefix: u8,
    pub dry_run: bool,
}

impl ThrottleSpec {
    /// `5/s, burst 20`, and whose bucket it is.
    pub fn describe(&self) -> String {
        let BucketSpec { rate, burst } = self.bucket;
        let mut text = format!("{rate}/s, burst {burst}");
        if let Some(key) = &self.key {
            text += &format!(", per {key}");
        }
        if let Some(shared) = &self.shared {
            text += &format!(", shared through {}", shared.address);
        }
        if self.dry_run {
            text += ", only counted";
        }
        text
    }
}

impl From<WhenSharedFails> for WhenGone {
    fn from(written: WhenSharedFails) -> WhenGone {
        match written {
            WhenSharedFails::Local => WhenGone::Local,
            WhenSharedFails::Open => WhenGone::Open,
            WhenSharedFails::Closed => WhenGone::Closed,
        }
    }
}
