//! One token bucket for all.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::Clock;
use super::gcra::{BucketSpec, Empty, Gcra, Level};

/// A live token bucket. Any number of threads may take from it.
#[derive(Debug)]
pub struct Bucket {
    gcra: Gcra,
    full_at: AtomicU64,
    clock: Clock,
}

impl Bucket {
    /// A full bucket.
    pub fn new(spec: BucketSpec, clock: Clock) -> Bucket {
        Bucket {
            gcra: Gcra::new(spec),
            full_at: AtomicU64::new(0),
            clock,
        }
    }

    /// As it was written.
    pub fn spec(&self) -> BucketSpec {
        self.gcra.spec()
    }

    /// Takes one token.
    pub fn take(&self) -> Result<Level, Empty> {
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            // Asked anew in each round: a thread that was stopped meanwhile would find the bucket ahead of its time.
            let (after, level) = self.gcra.take(full_at, self.clock.now())?;
            match self.full_at.compare_exchange_weak(
                full_at,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(level),
                Err(other) => full_at = other,
            }
        }
    }

    /// Whether a token could be taken; takes none.
    pub fn peek(&self) -> Result<Level, Empty> {
        self.gcra
            .peek(self.full_at.load(Ordering::Relaxed), self.clock.now())
    }

    /// Puts a token back that was taken for nothing, a moment ago.
    pub fn give_back(&self) {
        self.full_at
            .update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                self.gcra.give_back(full_at)
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn bucket(rate: f64, burst: u32, clock: &Clock) -> Bucket {
        Bucket::new(
            BucketSpec {
                rate,
                burst: NonZeroU32::new(burst).unwrap(),
            },
            clock.clone(),
        )
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_says_when_to_come_back() {
        let clock = Clock::standing();
        let bucket = bucket(0.5, 3, &clock);
        for left in [2, 1, 0] {
            assert_eq!(bucket.take().unwrap().remaining, left);
        }
        let empty = bucket.take().unwrap_err();
        assert_eq!((empty.retry_after(), empty.spec.window()), (2, 6));
        clock.advance(Duration::from_secs(2));
        assert_eq!(bucket.peek().unwrap().remaining, 1);
        assert_eq!(bucket.take().unwrap().remaining, 0);
        bucket.give_back();
        assert!(bucket.take().is_ok() && bucket.take().is_err());
    }

    #[test]
    fn a_rate_of_zero_refuses_everything() {
        let empty = bucket(0.0, 5, &Clock::monotonic()).take().unwrap_err();
        assert_eq!((empty.wait, empty.retry_after()), (None, 3600));
    }

    #[test]
    fn many_threads_together_get_the_burst_and_no_more() {
        let clock = Clock::standing();
        let bucket = bucket(1.0, 1_000, &clock);
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..500).filter(|_| bucket.take().is_ok()).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(taken, 1_000);
    }
}
