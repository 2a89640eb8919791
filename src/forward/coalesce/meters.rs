//! What is counted of the calls that records share: handles of one target's, taken once.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::forwarding::{ByTarget, Forwarding, TURNED_AWAY, TurnedAwayWhy};
use crate::telemetry::metrics::{Level, Name};

/// Why a record was not sent: its place in [`TURNED_AWAY`].
#[derive(Clone, Copy, Debug)]
pub(super) enum TurnedAway {
    /// As much waited as may wait.
    Full,
    /// It would have waited for too long.
    Late,
    /// It gave way to a tenant who had less.
    Displaced,
    /// Its time was over before its turn came.
    Withdrawn,
}

/// Levels as they were last shown.
#[derive(Debug, Default)]
pub(super) struct Levels {
    waiting: usize,
    calling: usize,
}

/// The handles.
pub(in crate::forward) struct Meters {
    records: Counter,
    calls: Counter,
    sizes: Histogram,
    waiting: Level,
    waited: Histogram,
    in_flight: Level,
    billed: Counter,
    unshared: Counter,
    turned_away: [Counter; 4],
}

impl Meters {
    pub(in crate::forward) fn new(metrics: &Forwarding, target: &Name) -> Meters {
        let target = ByTarget {
            target: target.clone(),
        };
        let shared = &metrics.shared;
        Meters {
            records: shared.records.get_or_create(&target).clone(),
            calls: shared.calls.get_or_create(&target).clone(),
            sizes: shared.call_records.get_or_create(&target).clone(),
            waiting: shared.waiting.get_or_create(&target).clone(),
            waited: shared.waited.get_or_create(&target).clone(),
            in_flight: shared.in_flight.get_or_create(&target).clone(),
            billed: shared.billed.get_or_create(&target).clone(),
            unshared: shared.unshared.get_or_create(&target).clone(),
            turned_away: TURNED_AWAY.map(|why| {
                let labels = TurnedAwayWhy {
                    target: target.target.clone(),
                    why,
                };
                shared.turned_away.get_or_create(&labels).clone()
            }),
        }
    }

    /// A call goes. `units`: what it is billed as, and what a call for each record would be.
    pub(super) fn sends(&self, records: usize, (billed, unshared): (u64, u64)) {
        self.records.inc_by(records as u64);
        self.calls.inc();
        self.sizes.observe(records as f64);
        self.billed.inc_by(billed);
        self.unshared.inc_by(unshared);
    }

    pub(super) fn waited(&self, waited: Duration) {
        self.waited.observe(waited.as_secs_f64());
    }

    pub(super) fn turned_away(&self, why: TurnedAway) {
        self.turned_away[why as usize].inc();
    }

    /// The levels have changed by what they were shown as before: several targets may share a label.
    pub(super) fn show(&self, shown: &mut Levels, waiting: usize, calling: usize) {
        for (level, before, now) in [
            (&self.waiting, &mut shown.waiting, waiting),
            (&self.in_flight, &mut shown.calling, calling),
        ] {
            if *before != now {
                level.inc_by(now as i64 - *before as i64);
                *before = now;
            }
        }
    }
}
