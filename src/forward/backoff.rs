//! Pauses between attempts: full jitter, base · 2ⁿ at most, capped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Chance, for jitter: SplitMix64. Not for secrets.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    /// Falls differently in each process.
    pub(super) fn new() -> Dice {
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        Dice::seeded(seed)
    }

    pub(super) fn seeded(seed: u64) -> Dice {
        Dice(AtomicU64::new(seed))
    }

    /// From 0 up to, but not, 1.
    pub(super) fn roll(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The pause after that many failed attempts.
pub(super) fn backoff(base: Duration, max: Duration, attempts: u32, dice: &Dice) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let most = base.saturating_mul(1 << doublings).min(max);
    most.mul_f64(dice.roll())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_fall_anywhere_below() {
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(30));
        let dice = Dice::seeded(7);
        for (attempts, most) in [
            (0, 100),
            (1, 100),
            (2, 200),
            (5, 1600),
            (9, 25_600),
            (10, 30_000),
            (u32::MAX, 30_000),
        ] {
            let pauses: Vec<Duration> = (0..1000)
                .map(|_| backoff(base, max, attempts, &dice))
                .collect();
            let most = Duration::from_millis(most);
            assert!(pauses.iter().all(|pause| *pause < most));
            assert!(pauses.iter().any(|pause| *pause > most.mul_f64(0.9)));
            assert!(pauses.iter().any(|pause| *pause < most.mul_f64(0.1)));
        }
        assert_eq!(
            backoff(Duration::MAX, Duration::ZERO, 40, &dice),
            Duration::ZERO
        );
    }
}
