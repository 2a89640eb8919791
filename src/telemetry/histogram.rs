//! A histogram that threads fill without waiting for one another.
//!
//! The library's own takes a lock for each observation; a request makes about ten of them. Here each thread counts on a
//! stripe of its own as far as there are enough, and whoever scrapes adds them up.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// More stripes than this are not made, however many processors there are: each costs a histogram's memory.
const MOST_STRIPES: usize = 8;

/// Upper bounds of latencies in microseconds: 0.1 ms to 25 s, by powers of two and a half, about.
const LATENCIES: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000,
];

/// Times by how long they took. Cloning shares the values.
#[derive(Clone)]
pub struct Latencies(Arc<[Stripe]>);

/// What some threads have observed. Aligned, so that threads do not share cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    /// The last one: longer than any bound.
    buckets: [AtomicU64; LATENCIES.len() + 1],
    /// Nanoseconds, modulo 2^64: 584 years.
    sum: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies((0..stripes()).map(|_| Stripe::default()).collect())
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latencies({})", self.count())
    }
}

fn stripes() -> usize {
    static STRIPES: OnceLock<usize> = OnceLock::new();
    *STRIPES.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |threads| threads.get().min(MOST_STRIPES))
    })
}

/// A number for this thread: threads take turns.
fn turn() -> usize {
    static TURNS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static TURN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    TURN.with(|turn| {
        turn.get().unwrap_or_else(|| {
            let mine = TURNS.fetch_add(1, Ordering::Relaxed);
            turn.set(Some(mine));
            mine
        })
    })
}

impl Latencies {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = LATENCIES.partition_point(|micros| micros * 1_000 < nanos);
        if let Some(stripe) = self.0.get(turn() % self.0.len().max(1)) {
            stripe.buckets[bucket].fetch_add(1, Ordering::Relaxed);
            stripe.sum.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// How many have been counted.
    pub fn count(&self) -> u64 {
        self.buckets().iter().sum()
    }

    fn buckets(&self) -> [u64; LATENCIES.len() + 1] {
        let mut all = [0; LATENCIES.len() + 1];
        for stripe in self.0.iter() {
            for (total, bucket) in all.iter_mut().zip(&stripe.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
        }
        all
    }
}

impl TypedMetric for Latencies {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latencies {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.buckets();
        let nanos = |stripe: &Stripe| stripe.sum.load(Ordering::Relaxed);
        let sum: u64 = self.0.iter().map(nanos).fold(0, u64::wrapping_add);
        let bounds = LATENCIES.iter().map(|micros| *micros as f64 / 1e6);
        let bounds = bounds.chain(std::iter::once(f64::MAX));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = counts.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(sum as f64 / 1e9, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn what_threads_have_counted_is_added_up() {
        let latencies = Latencies::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|_| latencies.observe(Duration::from_millis(3))));
            }
        });
        let mut registry = Registry::default();
        registry.register("x", "X", latencies.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(latencies.count(), 20_000);
        for line in [
            "x_sum 60.0",
            "x_count 20000",
            "x_bucket{le=\"0.0025\"} 0",
            "x_bucket{le=\"0.005\"} 20000",
            "x_bucket{le=\"+Inf\"} 20000",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn a_bound_holds_what_is_equal_to_it_and_the_last_bucket_what_is_beyond_all() {
        let latencies = Latencies::default();
        latencies.observe(Duration::from_micros(100));
        latencies.observe(Duration::from_nanos(100_001));
        latencies.observe(Duration::from_secs(26));
        latencies.observe(Duration::MAX);
        let buckets = latencies.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[17]), (1, 1, 2));
    }
}
