//! Latencies: counted in buckets that are at most 3 % wide, so that a connection costs no memory by the request and
//! the counts of all connections add up.

use std::time::Duration;

/// Buckets to each doubling.
const FINE: usize = 32;
const FINE_BITS: u32 = FINE.trailing_zeros();
/// Up to 2^36 µs, some nineteen hours.
const BUCKETS: usize = FINE * 32;

/// How often each latency was seen, in microseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    pub fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.total += other.total;
    }

    /// Milliseconds that this share (0 to 1) of all stayed within; NaN where none was seen.
    pub fn millis(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(at) as f64 / 1e3;
            }
        }
        f64::NAN
    }
}

fn bucket(micros: u64) -> usize {
    if micros < FINE as u64 {
        return micros as usize;
    }
    let doubling = micros.ilog2() - FINE_BITS;
    let within = (micros >> doubling) as usize - FINE;
    (FINE * (doubling as usize + 1) + within).min(BUCKETS - 1)
}

/// The end of a bucket, in microseconds.
fn upper(bucket: usize) -> u64 {
    if bucket < FINE {
        return bucket as u64 + 1;
    }
    let (doubling, within) = (bucket / FINE - 1, bucket % FINE);
    ((FINE + within + 1) as u64) << doubling
}
