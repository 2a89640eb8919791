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

    /// Puts another plan in its place. Requests that hold the old one finish with it.
    pub fn publish(&self, plan: Plan) {
        self.0.store(Arc::new(plan));
    }

    /// The plan for one request, to its end.
    pub fn load(&self) -> Arc<Plan> {
        self.0.load_full()
    }
}
