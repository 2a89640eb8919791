//! Refusals themselves under overload: when those who are refused may come back, and how many are told at once.
//!
//! A refusal costs a good part of what a cheap request costs. Clients that come back at once could make the gateway do
//! nothing but refuse, so beyond a number a second a refusal is held for a moment before it is said: up to two and a half
//! seconds, in which its connection asks nothing. Whoever waits as `Retry-After` says is never held up by this.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::super::clock::Clock;

/// The part of the requests that are served for which a refusal is said at once, and how many a second at the least.
const PROMPT: f64 = 0.02;
const LEAST_PROMPT: f64 = 100.0;
/// Those that are said at once after a time without any, in seconds of the rate.
const BURST: Duration = Duration::from_millis(500);
/// The longest that one is held.
pub(super) const LONGEST: Duration = Duration::from_millis(2_500);
/// The part of that by which some are held shorter than others.
const SPREAD: f64 = 0.4;
/// How many are held together. Further ones are said at once: memory is dearer than time.
const MOST_HELD: usize = 10_000;
/// `Retry-After`: the latest, without an overload to speak of, and when nearly all are refused.
const LATEST_CALM: f64 = 3.0;
const LATEST: f64 = 30.0;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Refusals {
    clock: Clock,
    /// Nanoseconds between refusals.
    every: AtomicU64,
    judged_at: AtomicU64,
    /// Requests a second that were served, of late.
    served: AtomicU64,
    /// When the next may be said, at the least.
    next: AtomicU64,
    held: AtomicUsize,
    /// Pauses so far.
    paused: AtomicU64,
    /// Refusals so far, and at the last judgement.
    refused: AtomicU64,
    refused_before: AtomicU64,
    received_before: AtomicU64,
    /// The part of the requests that are refused, of late: in millionths.
    part: AtomicU64,
}

/// A refusal that waits to be said.
#[derive(Debug)]
pub struct Pause<'a> {
    of: &'a Refusals,
    length: Duration,
}

impl Refusals {
    pub(super) fn new(clock: Clock) -> Refusals {
        Refusals {
            every: AtomicU64::new((1e9 / LEAST_PROMPT) as u64),
            judged_at: AtomicU64::new(clock.now()),
            served: AtomicU64::new(0),
            clock,
            next: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            paused: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_before: AtomicU64::new(0),
            received_before: AtomicU64::new(0),
            part: AtomicU64::new(0),
        }
    }

    /// Counts a refusal.
    pub(super) fn count(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Draws the conclusions of the time since the last judgement. `received`: requests so far.
    pub(super) fn judge(&self, received: u64) {
        let refused = self.refused.load(Relaxed);
        let refusals = refused.saturating_sub(self.refused_before.swap(refused, Relaxed));
        let requests = received.saturating_sub(self.received_before.swap(received, Relaxed));
        let now = self.clock.now();
        let took = now.saturating_sub(self.judged_at.swap(now, Relaxed)).max(1);
        let served = requests.saturating_sub(refusals) as f64 * 1e9 / took as f64;
        let served = self.served.load(Relaxed) as f64 * 0.8 + served * 0.2;
        self.served.store(served as u64, Relaxed);
        let prompt = (served * PROMPT).max(LEAST_PROMPT);
        self.every.store((1e9 / prompt) as u64, Relaxed);
        let part = (refusals as f64 / requests.max(refusals).max(1) as f64).min(1.0);
        let before = self.part.load(Relaxed) as f64 / 1e6;
        // An overload that comes and goes within a second is one.
        self.part
            .store(((before * 0.9 + part * 0.1) * 1e6) as u64, Relaxed);
    }

    /// How long this refusal is to be held.
    pub(super) fn pause(&self) -> Option<Pause<'_>> {
        let now = self.clock.now();
        let burst = BURST.as_nanos() as u64;
        let longest = LONGEST.as_nanos() as u64;
        let every = self.every.load(Relaxed);
        let later = |next: u64| {
            let at = next.max(now.saturating_sub(burst)) + every;
            Some(at.min(now + longest))
        };
        let at = match self.next.fetch_update(Relaxed, Relaxed, later) {
            Ok(before) | Err(before) => later(before).unwrap_or(now),
        };
        // Those who are refused together do not come back together.
        let n = self.paused.fetch_add(1, Relaxed);
        let shorter = (n as f64 * 0.618_034).fract() * SPREAD;
        let length = Duration::from_nanos(at.saturating_sub(now)).mul_f64(1.0 - shorter);
        if length < Duration::from_millis(1) {
            return None;
        }
        if self.held.fetch_add(1, Relaxed) >= MOST_HELD {
            self.held.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Pause { of: self, length })
    }

    /// See [`super::Admission::retry_after`].
    pub(super) fn retry_after(&self, chance: f64) -> u64 {
        let part = self.part.load(Relaxed) as f64 / 1e6;
        let latest = LATEST_CALM + (LATEST - LATEST_CALM) * part * part;
        1 + (chance * latest) as u64
    }
}

impl Pause<'_> {
    /// How long.
    pub fn length(&self) -> Duration {
        self.length
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.of.held.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_refused_together_come_back_at_different_times() {
        let refusals = Refusals::new(Clock::standing());
        let at = |chance| refusals.retry_after(chance);
        assert_eq!([at(0.0), at(0.4), at(0.999)], [1, 2, 3]);
    }

    #[test]
    fn the_more_are_refused_the_later_they_may_come_back() {
        let refusals = Refusals::new(Clock::standing());
        for window in 1..=50 {
            (0..90).for_each(|_| refusals.count());
            refusals.judge(window * 100);
        }
        assert!((15..=30).contains(&refusals.retry_after(0.99)));
        assert_eq!(refusals.retry_after(0.0), 1);
        for window in 51..=100 {
            refusals.judge(window * 100);
        }
        assert_eq!(refusals.retry_after(0.99), 3);
    }

    #[test]
    fn a_few_refusals_are_said_at_once_and_a_flood_is_held() {
        let clock = Clock::standing();
        clock.advance(Duration::from_secs(10));
        let refusals = Refusals::new(clock.clone());
        let prompt = BURST.as_secs_f64() * LEAST_PROMPT;
        for _ in 0..prompt as u32 {
            assert!(refusals.pause().is_none());
        }
        let mut held: Vec<_> = (0..20_000).filter_map(|_| refusals.pause()).collect();
        assert_eq!(held.len(), MOST_HELD);
        assert!(held.iter().all(|pause| pause.length() <= LONGEST));
        let late = |pause: &&Pause<'_>| pause.length() > LONGEST.mul_f64(0.9);
        assert!((1_000..5_000).contains(&held.iter().filter(late).count()));
        held.clear();
        // Quiet for a while, and the next are told at once again.
        clock.advance(Duration::from_secs(3));
        assert!(refusals.pause().is_none());
    }
}
