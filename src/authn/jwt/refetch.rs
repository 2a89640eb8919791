//! How often tokens may make the gateway look at their issuer: twice at once, then once in 30 seconds (fine print, 5).

use std::time::{Duration, Instant};

const BURST: u32 = 2;
const PERIOD: Duration = Duration::from_secs(30);

/// A small bucket whose time is told to it.
#[derive(Debug)]
pub(super) struct Refetch {
    tokens: u32,
    /// Since when the next token has been filling.
    since: Instant,
}

impl Refetch {
    pub(super) fn full(now: Instant) -> Refetch {
        Refetch {
            tokens: BURST,
            since: now,
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.tokens < BURST && now.saturating_duration_since(self.since) >= PERIOD {
            self.tokens += 1;
            self.since += PERIOD;
        }
        if self.tokens == BURST {
            self.since = now;
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_and_then_one_in_30_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut refetch = Refetch::full(start);
        let takes = [
            (0, true),
            (0, true),
            (0, false),
            (29, false),
            (30, true),
            (31, false),
            (59, false),
            (60, true),
            (1_000, true),
            (1_000, true),
            (1_000, false),
            (1_029, false),
            (1_030, true),
        ];
        for (second, taken) in takes {
            assert_eq!(refetch.take(at(second)), taken, "{second}");
        }
    }
}
