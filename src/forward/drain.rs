//! The end: what can still be forwarded is, and then no call of ours is under way. Nothing is waited for that will not
//! come: a target that does not work gets one last probe.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::Forward;
use super::breaker::Standing;
use super::lane::{Lane, locked};

/// How often the spools are looked at when nothing is heard of them.
const LOOK: Duration = Duration::from_millis(100);
/// How long a target whose breaker is open has to answer its last probe, and those calls that it still owes an answer.
const LAST_PROBE: Duration = Duration::from_secs(2);
/// How long the store may take to hear how the last deliveries went.
const LAST_WORD: Duration = Duration::from_secs(2);

/// How a drain began.
struct Begun {
    at: Instant,
    deadline: Instant,
    /// By target, where the breaker was open: what it was then; see [`Lane::epoch`].
    probing: HashMap<String, u64>,
}

impl Forward {
    /// Forwards until the spools are empty, until nothing that is left can go, or until the deadline; afterwards no call
    /// of ours is under way. How many records are left. For the end of the process: nothing is forwarded any more.
    ///
    /// What cannot go: what is behind a breaker that its last probe has not closed, what is refused and keeps its place,
    /// what follows such a record in order, and what waits beyond the deadline.
    pub async fn drain(&self, deadline: Instant) -> u64 {
        let begun = self.begin_drain(deadline);
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // from here on nothing is missed
            settled.as_mut().enable();
            if Instant::now() >= deadline || !self.is_worth_waiting(&begun) {
                break;
            }
            let _ = timeout_at(deadline.min(Instant::now() + LOOK), settled).await;
        }
        self.ending.cancel();
        self.tasks.close();
        let owed = deadline.min(begun.at + LAST_PROBE);
        if timeout_at(owed, self.tasks.wait()).await.is_err() {
            for lane in locked(&self.lanes).values() {
                if lane.standing() == Standing::Open {
                    lane.cut.cancel();
                }
            }
        }
        if timeout_at(deadline, self.tasks.wait()).await.is_err() {
            self.cut.cancel();
            if timeout(LAST_WORD, self.tasks.wait()).await.is_err() {
                tracing::error!("The store did not take how the last deliveries went in time");
            }
        }
        self.left()
    }

    /// Has every worker look at its spool once more, and every open breaker let its probe through now.
    fn begin_drain(&self, deadline: Instant) -> Begun {
        let at = Instant::now();
        let lanes = locked(&self.lanes);
        let probing = lanes.iter().filter_map(|(target, lane)| {
            let epoch = lane.hurry();
            epoch.map(|epoch| (target.clone(), epoch))
        });
        Begun {
            at,
            deadline,
            probing: probing.collect(),
        }
    }

    /// Whether anything that is spooled may still go.
    fn is_worth_waiting(&self, begun: &Begun) -> bool {
        let Ok(store) = self.targets.open_store() else {
            return false;
        };
        let lanes = locked(&self.lanes);
        let spools = store.spooled_targets().into_iter();
        let mut waiting = spools.filter(|target| store.spool_depth(target).depth > 0);
        // a spool without a lane is about to get one
        waiting.any(|target| match lanes.get(&target) {
            Some(lane) => may_go(lane, begun, begun.probing.get(&target)),
            None => true,
        })
    }

    /// Records in all spools.
    fn left(&self) -> u64 {
        let Ok(store) = self.targets.open_store() else {
            return 0;
        };
        let targets = store.spooled_targets();
        let depths = targets.iter().map(|target| store.spool_depth(target).depth);
        depths.sum()
    }
}

/// Whether anything of a spool that holds something may still go.
fn may_go(lane: &Lane, begun: &Begun, probing: Option<&u64>) -> bool {
    let until = match lane.standing() {
        // opened since, or again: that was its chance
        Standing::Open if probing != Some(&lane.epoch()) => return false,
        Standing::Open => begun.deadline.min(begun.at + LAST_PROBE),
        Standing::Closed | Standing::HalfOpen => begun.deadline,
    };
    Instant::now() < until && lane.may_give(begun.at, until)
}
