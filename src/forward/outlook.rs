//! Whether a spool that holds something can give anything out: what its worker has found, and what waits for its time.
//! Asked when the process ends, which waits for nothing that will not come.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::locked;

/// Pauses are known this exactly.
const TICK: Duration = Duration::from_millis(100);
/// How long the end of a pause is kept that is over: the worker looks sooner than that.
const KEPT_TICKS: u64 = 100;

/// What is known of one spool.
pub(super) struct Outlook {
    /// The ends of pauses are told from here, in ticks.
    made_at: Instant,
    seen: Mutex<Seen>,
    stirs: Notify,
}

#[derive(Default)]
struct Seen {
    /// Lookings and calls that are under way.
    under_way: usize,
    /// When the worker began to look the last time that it found nothing.
    nothing_at: Option<Instant>,
    /// When something came that may be taken.
    changed_at: Option<Instant>,
    ends: BTreeSet<u64>,
}

impl Default for Outlook {
    fn default() -> Self {
        Outlook {
            made_at: Instant::now(),
            seen: Mutex::default(),
            stirs: Notify::new(),
        }
    }
}

impl Outlook {
    /// Has the worker look.
    pub(super) fn stirs(&self) {
        self.stirs.notify_one();
    }

    /// Until [`Outlook::stirs`].
    pub(super) async fn stirred(&self) {
        self.stirs.notified().await;
    }

    /// Something has come, or something that others wait behind has gone.
    pub(super) fn changes(&self, now: Instant) {
        locked(&self.seen).changed_at = Some(now);
    }

    /// A record waits this long from now.
    pub(super) fn pauses(&self, pause: Duration, now: Instant) {
        let mut seen = locked(&self.seen);
        seen.ends = seen
            .ends
            .split_off(&self.tick(now).saturating_sub(KEPT_TICKS));
        // rounded up; as many as there are ticks in the longest pause
        seen.ends.insert(self.tick(now + pause) + 1);
    }

    /// Whether something may go until then. Certain only once the worker has looked since `from`.
    pub(super) fn may_give(&self, from: Instant, until: Instant) -> bool {
        let seen = locked(&self.seen);
        let looked_at = seen.nothing_at.filter(|at| *at >= from);
        let Some(looked_at) = looked_at.filter(|_| seen.under_way == 0) else {
            return true;
        };
        let may_be_taken = seen.changed_at.is_some_and(|at| at >= looked_at);
        let due = self.tick(looked_at)..=self.tick(until);
        may_be_taken || seen.ends.range(due).next().is_some()
    }

    fn tick(&self, at: Instant) -> u64 {
        let ticks = at.saturating_duration_since(self.made_at).as_millis() / TICK.as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX - 1)
    }
}

/// A looking that is under way, or the calls that came of it.
pub(super) struct UnderWay {
    outlook: Arc<Outlook>,
    began: Instant,
}

impl UnderWay {
    pub(super) fn begin(outlook: &Arc<Outlook>, began: Instant) -> UnderWay {
        locked(&outlook.seen).under_way += 1;
        UnderWay {
            outlook: outlook.clone(),
            began,
        }
    }

    /// Nothing could be taken.
    pub(super) fn found_nothing(self) {
        locked(&self.outlook.seen).nothing_at = Some(self.began);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut seen = locked(&self.outlook.seen);
        seen.under_way = seen.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_once_the_worker_has_looked_and_nothing_is_due_or_new() {
        let outlook = Arc::<Outlook>::default();
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let looks = |seconds| UnderWay::begin(&outlook, at(seconds)).found_nothing();
        assert!(outlook.may_give(at(0), at(5)), "nobody has looked");
        looks(0);
        assert!(!outlook.may_give(at(0), at(5)));
        assert!(outlook.may_give(at(1), at(5)), "not since then");
        let calling = UnderWay::begin(&outlook, at(0));
        assert!(outlook.may_give(at(0), at(5)));
        outlook.pauses(Duration::from_secs(30), at(0));
        drop(calling);
        assert!(!outlook.may_give(at(0), at(5)), "it waits too long");
        outlook.pauses(Duration::from_secs(2), at(0));
        assert!(outlook.may_give(at(0), at(5)));
        looks(1);
        assert!(outlook.may_give(at(0), at(5)), "it is not due yet");
        looks(3);
        assert!(!outlook.may_give(at(0), at(5)));
        outlook.changes(at(4));
        assert!(outlook.may_give(at(0), at(5)));
    }
}
