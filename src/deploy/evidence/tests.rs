//! The test keeps what it promises: simulated canaries, from a seed.

use super::*;

/// A generator of its own, so that a run can be repeated (splitmix64).
struct Dice(u64);

impl Dice {
    fn number(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn bad(&mut self, requests: u64, rate: f64) -> Counted {
        let bad = (0..requests).filter(|_| self.number() < rate).count() as u64;
        Counted { requests, bad }
    }
}

/// Requests of the canary until `worse` reaches `threshold`; `None` if it does not within so many looks.
fn seen_after(
    dice: &mut Dice,
    (baseline, canary): (f64, f64),
    (share, per_look): (f64, u64),
    looks: usize,
    threshold: f64,
) -> Option<u64> {
    let mut weighed = Weighed::nothing(0.02);
    let mut requests = 0;
    for _ in 0..looks {
        let m = (0..per_look).filter(|_| dice.number() < share).count() as u64;
        requests += m;
        let outcome = dice.bad(per_look - m, baseline);
        let of_canary = dice.bad(m, canary);
        weighed.add(outcome, of_canary);
        if weighed.worse() >= threshold {
            return Some(requests);
        }
    }
    None
}

#[test]
fn a_canary_that_is_no_worse_is_seldom_called_worse_however_often_one_looks() {
    let mut dice = Dice(1);
    let runs = 400;
    // A threshold that is easy to reach, so that the promise (one in twenty) is put to the test.
    let threshold = 20.0;
    for rate in [0.002, 0.02, 0.3] {
        for share in [0.05, 0.25, 0.5] {
            let alarms = (0..runs)
                .filter(|_| {
                    let rates = (rate, rate);
                    seen_after(&mut dice, rates, (share, 10), 300, threshold).is_some()
                })
                .count();
            // 20 are promised as a mean; 35 would be more than three standard deviations above it.
            assert!(alarms <= 35, "{alarms} of {runs} at {rate} and {share}");
        }
    }
}

#[test]
fn one_that_does_better_is_never_called_worse() {
    let mut dice = Dice(2);
    for _ in 0..100 {
        assert_eq!(
            seen_after(&mut dice, (0.2, 0.02), (0.25, 20), 200, 20.0),
            None
        );
    }
}

#[test]
fn a_clearly_bad_one_is_seen_within_few_requests() {
    let mut dice = Dice(3);
    for (rates, within) in [
        ((0.0, 1.0), 25),
        ((0.001, 0.5), 60),
        ((0.01, 0.2), 250),
        ((0.05, 0.3), 300),
    ] {
        for share in [0.05, 0.25, 0.5] {
            for _ in 0..50 {
                let seen = seen_after(&mut dice, rates, (share, 20), 2_000, threshold(0));
                assert!(
                    seen.is_some_and(|requests| requests <= within),
                    "{rates:?} at {share}: {seen:?}"
                );
            }
        }
    }
}

#[test]
fn a_limit_is_kept_where_there_is_no_baseline() {
    let mut dice = Dice(4);
    let over = |dice: &mut Dice, rate: f64| {
        let mut weighed = Weighed::nothing(0.02);
        (0..500).any(|_| {
            let outcome = dice.bad(4, rate);
            weighed.add(
                Counted {
                    requests: 0,
                    bad: 0,
                },
                outcome,
            );
            weighed.over() >= 20.0
        })
    };
    let alarms = (0..400).filter(|_| over(&mut dice, 0.02)).count();
    assert!(alarms <= 35, "{alarms}");
    assert!((0..100).all(|_| over(&mut dice, 0.1)));
}

#[test]
fn without_a_baseline_nothing_is_said_against_it() {
    let mut weighed = Weighed::nothing(0.02);
    weighed.add(
        Counted {
            requests: 0,
            bad: 0,
        },
        Counted {
            requests: 100,
            bad: 100,
        },
    );
    assert!((weighed.worse() - 1.0).abs() < 1e-9);
    assert!(weighed.over() > OVERWHELMING);
}

#[test]
fn the_windows_share_what_is_promised() {
    let share: f64 = (0..100_000).map(|window| 1.0 / threshold(window)).sum();
    assert!(
        share * TESTS <= ALPHA && share * TESTS > 0.99 * ALPHA,
        "{share}"
    );
}

#[test]
fn failures_that_are_counted_a_look_late_are_no_more_than_the_requests() {
    let earlier = Tally {
        requests: 10,
        failed: 1,
        refused: 2,
        slow: 0,
    };
    let later = Tally {
        requests: 11,
        failed: 4,
        refused: 4,
        slow: 2,
    };
    assert_eq!(
        later.since(earlier),
        Tally {
            requests: 1,
            failed: 1,
            refused: 1,
            slow: 1
        }
    );
    assert_eq!(earlier.since(later), Tally::default());
}
