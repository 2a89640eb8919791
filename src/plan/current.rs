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

    /// Puts another plan in the baseline's place; a canary stays. Requests that hold the old one finish with it.
    pub fn publish(&self, plan: Plan) {
        let trial = self.0.load().trial.clone();
        self.put(Arc::new(plan), trial);
    }

    /// Puts another plan in the place of both.
    pub fn publish_alone(&self, plan: Plan) {
        self.put(Arc::new(plan), None);
    }

    /// Tries another plan beside the baseline, in the place of one that is tried; or none any more.
    pub fn set_trial(&self, trial: Option<Arc<Trial>>) {
        let baseline = self.0.load().baseline.clone();
        self.put(baseline, trial);
    }

    fn put(&self, baseline: Arc<Plan>, trial: Option<Arc<Trial>>) {
        self.0.store(Arc::new(Running { baseline, trial }));
    }

    /// The baseline.
    pub fn load(&self) -> Arc<Plan> {
        self.0.load().baseline.clone()
    }

    /// What is tried beside it.
    pub fn trial(&self) -> Option<Arc<Trial>> {
        self.0.load().trial.clone()
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
