//! The one pointer between those who make plans and those who read them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Plan;
use crate::deploy::{Part, Split};
use crate::model::call::Call;

/// A plan that serves a share of the requests, beside the baseline.
pub struct Trial {
    pub plan: Arc<Plan>,
    pub split: Split,
    /// What requests of each know.
    pub baseline: Arc<Part>,
    pub canary: Arc<Part>,
}

/// What runs: the baseline, and at most one canary.
struct Running {
    baseline: Arc<Plan>,
    trial: Option<Arc<Trial>>,
}

/// The plan that runs, and a canary beside it. One owner changes it; anybody reads it.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Running>>);

impl Current {
    /// The first plan.
    pub fn new(plan: Plan) -> Current {
        Current(Arc::new(ArcSwap::from_pointee(Running {
            baseline: Arc::new(plan),
            trial: None,
        })))
    }

    /// Puts another plan in the baseline's place, and gives the old one back; a canary stays, unless it serves `alone`.
    /// Requests that hold the old one finish with it, so whoever takes it keeps it until they have: dropping it is nothing
    /// for a request to do.
    #[must_use = "the last to drop a plan should not be a request"]
    pub fn publish(&self, plan: Plan, alone: bool) -> Arc<Plan> {
        let before = self.0.load_full();
        let trial = before.trial.clone().filter(|_| !alone);
        self.0.store(Arc::new(Running {
            baseline: Arc::new(plan),
            trial,
        }));
        before.baseline.clone()
    }

    /// Tries another plan beside the baseline, or none any more; gives back the one that was tried.
    #[must_use = "the last to drop a plan should not be a request"]
    pub fn set_trial(&self, trial: Option<Arc<Trial>>) -> Option<Arc<Plan>> {
        let before = self.0.load_full();
        self.0.store(Arc::new(Running {
            baseline: before.baseline.clone(),
            trial,
        }));
        before.trial.as_ref().map(|trial| trial.plan.clone())
    }

    /// The baseline.
    pub fn load(&self) -> Arc<Plan> {
        self.0.load().baseline.clone()
    }

    /// The plan for one request, to its end; and while two are compared, what the request knows of its own.
    pub fn serving(&self, call: &Call) -> (Arc<Plan>, Option<Arc<Part>>) {
        let running = self.0.load();
        match &running.trial {
            None => (running.baseline.clone(), None),
            Some(trial) if trial.split.is_canary(call) => {
                (trial.plan.clone(), Some(trial.canary.clone()))
            }
            Some(trial) => (running.baseline.clone(), Some(trial.baseline.clone())),
        }
    }
}
