//! The rate at which a spool is emptied: a token bucket of records, full at the start, that holds what comes in a
//! second.

use std::time::Duration;

use tokio::time::Instant;

/// How many records may go.
#[derive(Debug)]
pub(super) struct Pace {
    tokens: f64,
    /// When the tokens were counted, and the rate by which they were.
    counted: Option<(Instant, f64)>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace {
            tokens: 0.0,
            counted: None,
        }
    }

    /// How many of `wanted` records may go now, at least one; or when one may. `None`: no cap.
    pub(super) fn grant(
        &mut self,
        rate: Option<f64>,
        wanted: usize,
        now: Instant,
    ) -> Result<usize, Duration> {
        let Some(rate) = rate else {
            self.counted = None;
            return Ok(wanted);
        };
        let most = rate.max(1.0);
        self.tokens = match self.counted {
            Some((at, before)) if before == rate => {
                let came = now.saturating_duration_since(at).as_secs_f64() * rate;
                (self.tokens + came).min(most)
            }
            _ => most,
        };
        self.counted = Some((now, rate));
        // so close to a whole token that no clock tells the difference
        let whole = (self.tokens + 1e-6).floor();
        if whole >= 1.0 {
            return Ok(wanted.min(whole as usize));
        }
        let wait = (1.0 - self.tokens) / rate;
        // a rate of next to nothing: the question comes again, and settings can change meanwhile
        Err(Duration::try_from_secs_f64(wait)
            .unwrap_or(Duration::MAX)
            .min(Duration::from_secs(60)))
    }

    /// That many have gone.
    pub(super) fn spend(&mut self, records: usize) {
        self.tokens -= records as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_at_the_rate_and_no_faster() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        let mut gone = 0;
        let mut now = start;
        while now < start + Duration::from_secs(100) {
            match pace.grant(Some(25.0), 10, now) {
                Ok(granted) => {
                    assert!((1..=10).contains(&granted));
                    pace.spend(granted);
                    gone += granted;
                }
                Err(wait) => now += wait,
            }
        }
        // what a second holds at the start, and then 25 a second
        assert!((2500..=2530).contains(&gone), "{gone}");
    }

    #[test]
    fn without_a_cap_everything_goes_and_a_new_rate_counts_at_once() {
        let (mut pace, now) = (Pace::new(), Instant::now());
        assert_eq!(pace.grant(None, 500, now), Ok(500));
        assert_eq!(pace.grant(Some(0.5), 500, now), Ok(1));
        pace.spend(1);
        assert_eq!(pace.grant(Some(0.5), 500, now), Err(Duration::from_secs(2)));
        assert_eq!(pace.grant(Some(1e-9), 1, now), Ok(1));
        pace.spend(1);
        assert_eq!(pace.grant(Some(1e-9), 1, now), Err(Duration::from_secs(60)));
        assert_eq!(pace.grant(Some(1000.0), 500, now), Ok(500));
    }
}
