//! The one pointer between those who make plans and those who read them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Plan;

/// The plan that runs.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Plan>>);

impl Current {
    /// The first plan.
    pub fn new(plan: Plan) -> Current {
        Current(Arc::new(ArcSwap::from_pointee(plan)))
    }

    /// Puts another plan in its place, and gives the old one back. Requests that hold it finish with it, so whoever takes
    /// it keeps it until they have: dropping it is nothing for a request to do.
    #[must_use = "the last to drop a plan should not be a request"]
    pub fn publish(&self, plan: Plan) -> Arc<Plan> {
        self.0.swap(Arc::new(plan))
    }

    /// The plan for one request, to its end.
    pub fn load(&self) -> Arc<Plan> {
        self.0.load_full()
    }
}
