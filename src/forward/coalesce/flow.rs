//! How many calls to a target may be under way, and how long an entry would wait for its own.
//!
//! Needed are rate × latency ÷ records of a call; nobody knows the rate before, so the ceiling is high and only comes
//! down when the target says that it is too much (additive increase, multiplicative decrease): to half at the first
//! throttled call, once for all calls that were under way then, and up by one for each round of calls that filled it.

use std::time::Duration;

use tokio::time::Instant;

/// The ceiling at first, and at most: measured, 32 were too few for 1,024 connections at 15 ms, and more than 256 were
/// never needed.
const AT_FIRST: usize = 128;
pub(super) const AT_MOST: usize = 256;
/// The weight of the latest call in the mean of the latencies.
const WEIGHT: f64 = 0.2;

#[derive(Debug)]
pub(super) struct Flow {
    ceiling: usize,
    /// Calls since the ceiling last rose that went well while it was reached.
    well: usize,
    /// Calls that began before have nothing to say about the ceiling.
    lowered_at: Option<Instant>,
    /// Of calls, in seconds.
    latency: Option<f64>,
}

/// How a call went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) began: Instant,
    pub(super) now: Instant,
    pub(super) throttled: bool,
    /// As many calls were under way as may be.
    pub(super) full: bool,
}

impl Flow {
    pub(super) const fn new() -> Flow {
        Flow {
            ceiling: AT_FIRST,
            well: 0,
            lowered_at: None,
            latency: None,
        }
    }

    /// Calls that may be under way; `cap`: what the configuration says.
    pub(super) fn ceiling(&self, cap: Option<usize>) -> usize {
        self.ceiling.min(cap.unwrap_or(AT_MOST)).max(1)
    }

    /// A call has ended; `cap`: what the configuration says.
    pub(super) fn ended(&mut self, call: &Ended, cap: Option<usize>) {
        let Ended {
            began,
            now,
            throttled,
            full,
        } = *call;
        let took = now.saturating_duration_since(began).as_secs_f64();
        self.latency = Some(match self.latency {
            Some(mean) => mean + (took - mean) * WEIGHT,
            None => took,
        });
        if self.lowered_at.is_some_and(|at| began < at) {
            return;
        }
        if throttled {
            self.ceiling = (self.ceiling(cap) / 2).max(1);
            self.lowered_at = Some(now);
            self.well = 0;
        } else if full {
            self.well += 1;
            if self.well >= self.ceiling {
                self.well = 0;
                self.ceiling = (self.ceiling + 1).min(AT_MOST);
            }
        }
    }

    /// How long until a call has been answered behind that many others, if as many are under way as may be.
    pub(super) fn wait(&self, calls_ahead: usize, cap: Option<usize>) -> Option<Duration> {
        let rounds = (calls_ahead as f64 / self.ceiling(cap) as f64) + 1.0;
        Duration::try_from_secs_f64(self.latency? * rounds).ok()
    }

    /// How long a batch that is not full may wait for more while calls are under way: half of what a call takes, which
    /// then costs little, and `most` at most.
    pub(super) fn linger(&self, most: Duration) -> Duration {
        let half = Duration::try_from_secs_f64(self.latency.unwrap_or_default() / 2.0);
        half.unwrap_or(most).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call from then to then.
    fn call(start: Instant, from: u64, to: u64, throttled: bool, full: bool) -> Ended {
        Ended {
            began: start + Duration::from_millis(from),
            now: start + Duration::from_millis(to),
            throttled,
            full,
        }
    }

    #[test]
    fn a_throttled_round_halves_the_ceiling_once_and_good_ones_raise_it_again() {
        let (mut flow, start) = (Flow::new(), Instant::now());
        assert_eq!(flow.ceiling(None), 128);
        for _ in 0..128 {
            flow.ended(&call(start, 0, 10, true, true), None);
        }
        assert_eq!(flow.ceiling(None), 64, "one round, one step");
        flow.ended(&call(start, 11, 20, true, true), None);
        assert_eq!(flow.ceiling(None), 32);
        for _ in 0..32 {
            flow.ended(&call(start, 21, 30, false, false), None);
        }
        assert_eq!(flow.ceiling(None), 32, "nobody needs more");
        for _ in 0..32 {
            flow.ended(&call(start, 21, 30, false, true), None);
        }
        assert_eq!(flow.ceiling(None), 33);
        let mut now = 40;
        for _ in 0..20 {
            flow.ended(&call(start, now, now + 1, true, true), None);
            now += 2;
        }
        assert_eq!(flow.ceiling(None), 1);
        for _ in 0..100_000 {
            flow.ended(&call(start, now, now + 1, false, true), None);
        }
        assert_eq!(flow.ceiling(None), AT_MOST);
        assert_eq!(flow.ceiling(Some(8)), 8);
    }

    #[test]
    fn the_wait_grows_with_what_is_ahead_and_lingering_is_short() {
        let (mut flow, start) = (Flow::new(), Instant::now());
        assert_eq!(flow.wait(1000, None), None);
        assert_eq!(flow.linger(Duration::from_millis(2)), Duration::ZERO);
        flow.ended(&call(start, 0, 100, false, false), None);
        assert_eq!(flow.wait(0, Some(2)), Some(Duration::from_millis(100)));
        assert_eq!(flow.wait(4, Some(2)), Some(Duration::from_millis(300)));
        assert_eq!(
            flow.linger(Duration::from_millis(2)),
            Duration::from_millis(2)
        );
        assert_eq!(
            flow.linger(Duration::from_secs(1)),
            Duration::from_millis(50)
        );
    }
}
