//! What callers are told of their limits: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write as _;
use std::sync::Arc;

use super::gcra::{BucketSpec, Empty, Level};

/// The buckets that a request has met and that may be told about, in order.
#[derive(Clone, Debug, Default)]
pub struct RateLimits(Vec<Told>);

#[derive(Clone, Debug)]
struct Told {
    bucket: Arc<str>,
    spec: BucketSpec,
    remaining: u32,
    /// Whole seconds until the bucket is full, or, where it is empty, until there is a token.
    reset: u64,
}

impl RateLimits {
    /// A bucket that gave a token. Its name holds nothing that a quoted string cannot.
    pub fn passed(&mut self, bucket: &Arc<str>, level: &Level) {
        self.0.push(Told {
            bucket: bucket.clone(),
            spec: level.spec,
            remaining: level.remaining,
            reset: level.reset.as_secs_f64().ceil() as u64,
        });
    }

    /// A bucket that is empty.
    pub fn refused(&mut self, bucket: &Arc<str>, empty: &Empty) {
        self.0.push(Told {
            bucket: bucket.clone(),
            spec: empty.spec,
            remaining: 0,
            reset: empty.retry_after(),
        });
    }

    /// The values of `RateLimit` and of `RateLimit-Policy`; `None` where there is nothing to tell.
    pub fn headers(&self) -> Option<(String, String)> {
        if self.0.is_empty() {
            return None;
        }
        let (mut limits, mut policies) = (String::new(), String::new());
        for told in &self.0 {
            let separator = if limits.is_empty() { "" } else { ", " };
            let (bucket, spec) = (&told.bucket, told.spec);
            // Writing to a String cannot fail.
            let _ = write!(
                limits,
                "{separator}\"{bucket}\";r={};t={}",
                told.remaining, told.reset
            );
            let _ = write!(
                policies,
                "{separator}\"{bucket}\";q={};w={}",
                spec.burst,
                spec.window()
            );
        }
        Some((limits, policies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    #[test]
    fn several_policies_stand_side_by_side() {
        let spec = |rate, burst| BucketSpec {
            rate,
            burst: NonZeroU32::new(burst).unwrap(),
        };
        let mut told = RateLimits::default();
        assert_eq!(told.headers(), None);
        let level = Level {
            spec: spec(10.0, 100),
            remaining: 42,
            reset: Duration::from_millis(5_800),
        };
        told.passed(&"route".into(), &level);
        let empty = Empty {
            wait: Some(Duration::from_millis(1_500)),
            spec: spec(0.5, 3),
        };
        told.refused(&"apiKeyId".into(), &empty);
        let (limits, policies) = told.headers().unwrap();
        assert_eq!(limits, "\"route\";r=42;t=6, \"apiKeyId\";r=0;t=2");
        assert_eq!(policies, "\"route\";q=100;w=10, \"apiKeyId\";q=3;w=6");
    }
}
