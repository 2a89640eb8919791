//! Whether the canary does worse, as a test that may be looked at as often as one likes.
//!
//! Each look gives a block: `n` requests of the baseline and `m` of the canary since the last one, with those that were bad
//! (failed, refused, or slow). For a pair of rates `a < b`, the block's factor is the likelihood of its outcomes if the baseline's
//! requests are bad at the rate `a` and the canary's at `b`, over their likelihood if all are bad at the rate
//! `c = (n·a + m·b) / (n + m)`. Where the canary is no worse (true rates `s ≥ t`), the factor's mean is
//!
//! ```text
//! (1 + (s-c)(a-c)/(c(1-c)))^n · (1 + (t-c)(b-c)/(c(1-c)))^m
//!     ≤ the same at t = s                                 as the second grows with t, and a < c < b
//!     ≤ exp((s-c)/(c(1-c)) · (n(a-c) + m(b-c))) = exp(0)  as 1+x ≤ exp(x)
//! ```
//!
//! at most 1, so the product over all blocks, and the average of such products over several pairs, is a nonnegative
//! supermartingale: by Ville's inequality the chance that it *ever* reaches `x` is at most `1/x`. Looking often raises no
//! false alarm. (Turner, Ly, Grünwald: Safe tests for 2x2 contingency tables; the rates here are a fixed mixture.)
//!
//! The same holds against a fixed limit `l` with `c = l`, for when there is no baseline to compare with.

/// The chance that a canary that is no worse than the baseline is taken back, over all looks of its life.
pub const ALPHA: f64 = 0.01;

/// Tests of one canary that share [`ALPHA`]: failures and slowness, each against the baseline and against the limit, and
/// refusals against the baseline.
const TESTS: f64 = 5.0;

/// What shows that the canary does worse without any doubt, however few its requests are: one in a million.
pub const OVERWHELMING: f64 = 1e6;

/// Rates of the baseline.
const BASELINE: [f64; 5] = [0.000_2, 0.002, 0.01, 0.05, 0.2];
/// Rates of the canary.
const CANARY: [f64; 6] = [0.01, 0.03, 0.08, 0.2, 0.5, 0.9];

/// How many requests ended, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub failed: u64,
    pub refused: u64,
    pub slow: u64,
}

impl Tally {
    /// What has come since an earlier tally.
    pub fn since(self, earlier: Tally) -> Tally {
        let requests = self.requests.saturating_sub(earlier.requests);
        Tally {
            requests,
            // A request may be counted in one look and its failure in the next.
            failed: self.failed.saturating_sub(earlier.failed).min(requests),
            refused: self.refused.saturating_sub(earlier.refused).min(requests),
            slow: self.slow.saturating_sub(earlier.slow).min(requests),
        }
    }

    pub(super) fn add(&mut self, more: Tally) {
        self.requests += more.requests;
        self.failed += more.failed;
        self.refused += more.refused;
        self.slow += more.slow;
    }

    /// The part of the requests that failed; 0 without any.
    pub fn failed_ratio(self) -> f64 {
        ratio(self.failed, self.requests)
    }

    /// The part of the requests that were refused; 0 without any.
    pub fn refused_ratio(self) -> f64 {
        ratio(self.refused, self.requests)
    }

    /// The part of the requests that were slow; 0 without any.
    pub fn slow_ratio(self) -> f64 {
        ratio(self.slow, self.requests)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// What came between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub baseline: Tally,
    pub canary: Tally,
}

impl Block {
    pub(super) fn add(&mut self, more: Block) {
        self.baseline.add(more.baseline);
        self.canary.add(more.canary);
    }
}

/// Requests of one deployment, and how many of them were bad.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub requests: u64,
    pub bad: u64,
}

/// What the blocks of one window say, of one kind of badness.
#[derive(Clone, Debug)]
pub(super) struct Weighed {
    limit: f64,
    /// The logarithm of the product for each pair of rates.
    against_baseline: Vec<((f64, f64), f64)>,
    /// The same for each rate above the limit.
    against_limit: Vec<(f64, f64)>,
}

impl Weighed {
    /// Nothing has been seen. `limit`: the part of the requests that may be bad.
    pub fn nothing(limit: f64) -> Weighed {
        let pairs = BASELINE.into_iter().flat_map(|a| {
            let above = CANARY.into_iter().filter(move |b| *b >= 2.0 * a);
            above.map(move |b| ((a, b), 0.0))
        });
        // A limit of nothing would be passed with certainty by one bad request.
        let limit = limit.clamp(1e-6, 1.0 - 1e-6);
        let above = [1.5, 2.0, 4.0].map(|times| times * limit);
        let above = above.into_iter().chain(CANARY);
        Weighed {
            limit,
            against_baseline: pairs.collect(),
            against_limit: above
                .filter(|rate| *rate > limit && *rate < 1.0)
                .map(|rate| (rate, 0.0))
                .collect(),
        }
    }

    /// Takes in a block.
    pub fn add(&mut self, baseline: Counted, canary: Counted) {
        let both = (baseline.requests + canary.requests) as f64;
        if both == 0.0 {
            return;
        }
        for ((a, b), log) in &mut self.against_baseline {
            let mean = (baseline.requests as f64 * *a + canary.requests as f64 * *b) / both;
            *log += likelihood(baseline, *a, mean) + likelihood(canary, *b, mean);
        }
        for (rate, log) in &mut self.against_limit {
            *log += likelihood(canary, *rate, self.limit);
        }
    }

    /// How much speaks for the canary being worse than the baseline: 1 is nothing.
    pub fn worse(&self) -> f64 {
        average(self.against_baseline.iter().map(|(_, log)| *log))
    }

    /// How much speaks for the canary being over the limit.
    pub fn over(&self) -> f64 {
        average(self.against_limit.iter().map(|(_, log)| *log))
    }
}

/// What has to speak against a canary in its window of this number, counted from 0, to take it back. The sum of the
/// inverses over all windows is the share of one test in [`ALPHA`].
pub(super) fn threshold(window: u32) -> f64 {
    let n = f64::from(window);
    TESTS / ALPHA * (n + 1.0) * (n + 2.0)
}

/// The logarithm of a likelihood ratio: bad at `rate` against bad at `other`.
fn likelihood(counted: Counted, rate: f64, other: f64) -> f64 {
    let good = counted.requests.saturating_sub(counted.bad) as f64;
    let bad = counted.bad as f64;
    bad * (rate / other).ln() + good * ((1.0 - rate) / (1.0 - other)).ln()
}

/// The average of numbers that are given by their logarithms.
fn average(logs: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = logs.len();
    if count == 0 {
        return 0.0;
    }
    // A number above e^700 says no more than that.
    logs.map(|log| log.min(700.0).exp()).sum::<f64>() / count as f64
}

#[cfg(test)]
#[path = "evidence/tests.rs"]
mod tests;
