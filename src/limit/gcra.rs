//! The arithmetic of a token bucket (generic cell rate algorithm, ITU-T I.371): a bucket is the moment at which it is
//! full again. A token moves that moment by one period; it may not come to lie further ahead than a whole burst.

use std::num::NonZeroU32;
use std::time::Duration;

/// A token bucket as written: `rate` tokens a second, `burst` at most. A rate of 0 refuses everything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketSpec {
    pub rate: f64,
    pub burst: NonZeroU32,
}

/// What is in a bucket after a token was taken, or was looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    pub spec: BucketSpec,
    /// Whole tokens that are left.
    pub remaining: u32,
    /// Until the bucket is full, if nobody takes any more.
    pub reset: Duration,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Empty {
    /// When a token will be there; `None`: never.
    pub wait: Option<Duration>,
    pub spec: BucketSpec,
}

/// A bucket's numbers, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gcra {
    spec: BucketSpec,
    /// Between two tokens; 0 where none ever comes.
    period: u64,
    /// A whole burst: how far ahead the moment of being full may lie.
    pub(super) burst: u64,
}

/// A burst is full again within a hundred years, so that moments fit their 64 bits.
const SLOWEST: u64 = 100 * 365 * 86_400 * 1_000_000_000;

impl BucketSpec {
    /// The time in which an empty bucket fills, in whole seconds, rounded up: the window of a `RateLimit-Policy`. An
    /// hour where nothing ever comes.
    pub fn window(&self) -> u64 {
        if self.rate > 0.0 {
            (f64::from(self.burst.get()) / self.rate)
                .ceil()
                .clamp(1.0, 1e9) as u64
        } else {
            3600
        }
    }
}

impl Empty {
    /// `Retry-After`: whole seconds, at least 1 and at most an hour.
    pub fn retry_after(&self) -> u64 {
        self.wait.map_or(3600, |wait| {
            (wait.as_secs_f64().ceil() as u64).clamp(1, 3600)
        })
    }
}

impl Gcra {
    /// The period is rounded up to the nanosecond: never faster than written. The fastest gives a token each nanosecond.
    pub(super) fn new(spec: BucketSpec) -> Gcra {
        let burst = u64::from(spec.burst.get());
        let slowest = SLOWEST / burst;
        let period = if spec.rate > 0.0 {
            // A float that is too large becomes the largest integer.
            ((1e9 / spec.rate).ceil() as u64).clamp(1, slowest)
        } else {
            0
        };
        Gcra {
            spec,
            period,
            burst: period * burst,
        }
    }

    pub(super) fn spec(&self) -> BucketSpec {
        self.spec
    }

    /// Takes a token at `now` from a bucket that is full at `full_at`: when it is full then, and what is left.
    pub(super) fn take(&self, full_at: u64, now: u64) -> Result<(u64, Level), Empty> {
        let level = self.level(full_at, now);
        if self.period == 0 {
            return Err(Empty {
                wait: None,
                spec: self.spec,
            });
        }
        let after = full_at.max(now).saturating_add(self.period);
        let ahead = after - now;
        match ahead.checked_sub(self.burst) {
            None | Some(0) => Ok((after, self.level(after, now))),
            Some(wait) => Err(Empty {
                wait: Some(Duration::from_nanos(wait)),
                spec: level.spec,
            }),
        }
    }

    /// Whether a token could be taken at `now`, and what there is.
    pub(super) fn peek(&self, full_at: u64, now: u64) -> Result<Level, Empty> {
        self.take(full_at, now)?;
        Ok(self.level(full_at, now))
    }

    /// Puts a token back: the moment at which the bucket is full then.
    pub(super) fn give_back(&self, full_at: u64) -> u64 {
        full_at.saturating_sub(self.period)
    }

    /// What there is at `now`.
    pub(super) fn level(&self, full_at: u64, now: u64) -> Level {
        let ahead = full_at.saturating_sub(now);
        let tokens = self.burst.saturating_sub(ahead).checked_div(self.period);
        Level {
            spec: self.spec,
            // At most the burst, which has 32 bits.
            remaining: u32::try_from(tokens.unwrap_or(0)).unwrap_or(u32::MAX),
            reset: Duration::from_nanos(ahead),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bucket as everybody would write it: it counts tokens, and what has dripped in of the next one.
    struct Naive {
        period: u64,
        burst: u64,
        tokens: u64,
        dripped: u64,
        at: u64,
    }

    impl Naive {
        fn take(&mut self, now: u64) -> bool {
            let dripped = self.dripped + (now - self.at);
            self.at = now;
            self.tokens += dripped / self.period;
            self.dripped = dripped % self.period;
            if self.tokens >= self.burst {
                self.tokens = self.burst;
                self.dripped = 0;
            }
            let taken = self.tokens > 0;
            self.tokens -= u64::from(taken);
            taken
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_as_good_as_a_count_of_tokens(
            rate in prop_oneof![0.01f64..10.0, 10.0f64..100_000.0],
            burst in 1u32..50,
            steps in proptest::collection::vec(0.0f64..3.0, 1..200),
        ) {
            let spec = BucketSpec { rate, burst: NonZeroU32::new(burst).unwrap() };
            let gcra = Gcra::new(spec);
            let mut naive = Naive { period: gcra.period, burst: u64::from(burst), tokens: u64::from(burst), dripped: 0, at: 0 };
            let (mut now, mut full_at) = (0u64, 0u64);
            for step in steps {
                now += (step * gcra.period as f64) as u64;
                let taken = gcra.take(full_at, now);
                prop_assert_eq!(taken.is_ok(), naive.take(now));
                prop_assert_eq!(gcra.peek(full_at, now).is_ok(), taken.is_ok());
                match taken {
                    Ok((after, level)) => {
                        prop_assert_eq!(u64::from(level.remaining), naive.tokens);
                        full_at = after;
                    }
                    Err(empty) => {
                        // What it says to wait is exactly what there is to wait.
                        let wait = empty.wait.unwrap().as_nanos() as u64;
                        prop_assert!(gcra.take(full_at, now + wait).is_ok());
                        prop_assert!(gcra.take(full_at, now + wait - 1).is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn rates_at_the_edges_make_a_bucket() {
        for (rate, burst) in [
            (1e12, 1),
            (1e-300, 1),
            (1e-300, u32::MAX),
            (f64::MAX, u32::MAX),
        ] {
            let spec = BucketSpec {
                rate,
                burst: NonZeroU32::new(burst).unwrap(),
            };
            let (full_at, level) = Gcra::new(spec).take(0, 0).unwrap();
            assert_eq!(level.remaining, burst - 1);
            assert!(full_at > 0);
        }
    }

    #[test]
    fn a_token_put_back_can_be_taken_again() {
        let gcra = Gcra::new(BucketSpec {
            rate: 1.0,
            burst: NonZeroU32::MIN,
        });
        let (full_at, _) = gcra.take(5, 7).unwrap();
        assert!(gcra.take(full_at, 7).is_err());
        assert!(gcra.take(gcra.give_back(full_at), 7).is_ok());
    }
}
