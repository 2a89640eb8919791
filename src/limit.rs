//! Limits by number: token buckets (governor behind our own words) and in-flight slots.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A token bucket as written: `rate` tokens a second, `burst` at most. A rate of 0 refuses everything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketSpec {
    pub rate: f64,
    pub burst: NonZeroU32,
}

/// A live token bucket.
#[derive(Debug)]
pub struct Bucket {
    spec: BucketSpec,
    /// `None`: the rate is 0.
    limiter: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Empty {
    /// When a token will be there; `None`: never.
    pub wait: Option<Duration>,
    pub spec: BucketSpec,
}

impl Bucket {
    /// A full bucket.
    pub fn new(spec: BucketSpec) -> Bucket {
        let clock = DefaultClock::default();
        let limiter = (spec.rate > 0.0)
            .then(|| Quota::with_period(period(spec)))
            .flatten()
            .map(|quota| {
                RateLimiter::direct_with_clock(quota.allow_burst(spec.burst), clock.clone())
            });
        Bucket {
            spec,
            limiter,
            clock,
        }
    }

    /// As it was written.
    pub fn spec(&self) -> BucketSpec {
        self.spec
    }

    /// Takes one token.
    pub fn take(&self) -> Result<(), Empty> {
        let Some(limiter) = &self.limiter else {
            return Err(Empty {
                wait: None,
                spec: self.spec,
            });
        };
        // A thread that was stopped between reading the clock and taking its token would find the bucket ahead of its
        // time; asked again, with the time as it is now, the bucket says what is true.
        let taken = limiter.check().or_else(|_| limiter.check());
        taken.map_err(|not_until| Empty {
            wait: Some(not_until.wait_time_from(self.clock.now())),
            spec: self.spec,
        })
    }
}

/// The time between two tokens. governor counts nanoseconds in 64 bits and multiplies them by the burst, so a token
/// comes at the most every nanosecond, and a whole burst at the least in a hundred years.
fn period(spec: BucketSpec) -> Duration {
    let slowest = Duration::from_secs(100 * 365 * 86_400) / spec.burst.get();
    let asked = Duration::try_from_secs_f64(1.0 / spec.rate).unwrap_or(slowest);
    asked.min(slowest).max(Duration::from_nanos(1))
}

impl Empty {
    /// `Retry-After`: whole seconds, at least 1 and at most an hour.
    pub fn retry_after(&self) -> u64 {
        self.wait.map_or(3600, |wait| {
            (wait.as_secs_f64().ceil() as u64).clamp(1, 3600)
        })
    }

    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): quota, window and what remains.
    pub fn headers(&self) -> (String, String) {
        let burst = self.spec.burst.get();
        let window = if self.spec.rate > 0.0 {
            (f64::from(burst) / self.spec.rate).ceil().clamp(1.0, 1e9) as u64
        } else {
            3600
        };
        (
            format!("\"route\";r=0;t={}", self.retry_after()),
            format!("\"route\";q={burst};w={window}"),
        )
    }
}

/// Places for requests in flight.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
}

/// A taken place; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// `limit` places, all free.
    pub fn new(limit: usize) -> Slots {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Slots {
            free: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    /// Takes a place; `None` when all are taken.
    pub fn take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    /// Places taken, and all there are.
    pub fn used(&self) -> (usize, usize) {
        (self.limit - self.free.available_permits(), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: f64, burst: u32) -> Bucket {
        Bucket::new(BucketSpec {
            rate,
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_says_when_to_come_back() {
        let bucket = bucket(0.5, 3);
        for _ in 0..3 {
            assert_eq!(bucket.take(), Ok(()));
        }
        let empty = bucket.take().unwrap_err();
        assert_eq!(empty.retry_after(), 2);
        assert_eq!(
            empty.headers(),
            (
                "\"route\";r=0;t=2".to_owned(),
                "\"route\";q=3;w=6".to_owned()
            )
        );
    }

    #[test]
    fn a_rate_of_zero_refuses_everything() {
        let empty = bucket(0.0, 5).take().unwrap_err();
        assert_eq!((empty.wait, empty.retry_after()), (None, 3600));
    }

    #[test]
    fn rates_at_the_edges_make_a_bucket() {
        assert_eq!(bucket(1e12, 1).take(), Ok(()));
        assert_eq!(bucket(1e-300, 1).take(), Ok(()));
        assert_eq!(bucket(1e-300, u32::MAX).take(), Ok(()));
    }

    #[test]
    fn a_slot_comes_back_when_it_is_dropped() {
        let slots = Slots::new(1);
        let slot = slots.take().unwrap();
        assert!(slots.take().is_none());
        assert_eq!(slots.used(), (1, 1));
        drop(slot);
        assert!(slots.take().is_some());
    }
}
