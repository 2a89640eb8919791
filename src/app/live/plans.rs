//! Plans: made of a blueprint and of what the process shares, and put in their place.

use std::sync::Arc;

use super::{After, Live};
use crate::limit::usage::Usage;
use crate::plan::build::Shared;
use crate::plan::{Blueprint, Plan, build};

impl Live {
    /// Makes the plan and swaps the one pointer.
    pub(in crate::app) fn put(
        &mut self,
        blueprint: &Blueprint,
        leaving: &[Arc<str>],
        after: After,
    ) {
        let baseline = self.services.gateway.current.load();
        let usage = self.usage(&baseline, blueprint);
        let (before, alone) = match &after {
            After::Itself => (&baseline, false),
            After::Baseline => (&baseline, true),
            After::Canary(plan) => (plan, true),
        };
        let plan = self.planned(blueprint, usage, leaving, before, false);
        drop(baseline);
        let old = self.services.gateway.current.publish(plan, alone);
        self.reaper.take(old);
        if let After::Canary(plan) = after {
            self.reaper.take(plan);
        }
    }

    /// A plan beside the baseline's. What keys have used is counted apart where keys or usage plans are others.
    pub(in crate::app) fn beside(&self, blueprint: &Blueprint) -> Plan {
        let before = self.services.gateway.current.load();
        let usage = blueprint.usage_after(&before.usage);
        let (old, new) = (&*before.keys, &*blueprint.keys);
        let usage = if before.usage.serves(old, &usage, new) {
            before.usage.clone()
        } else {
            usage.take_over(&before.usage, old, new);
            usage
        };
        self.planned(blueprint, usage, &[], &before, true)
    }

    fn planned(
        &self,
        blueprint: &Blueprint,
        usage: Arc<Usage>,
        leaving: &[Arc<str>],
        before: &Plan,
        beside: bool,
    ) -> Plan {
        let shared = Shared {
            metrics: &self.metrics,
            targets: self.targets.clone(),
            forward: self.forward.clone(),
            keys: blueprint.keys.clone(),
            usage,
            callers: self.callers.clone(),
            stores: self.stores.clone(),
            version_tables: self.version_tables.clone(),
            outbound: self.outbound.clone(),
            admission: self.admission.clone(),
            leaving,
            rehearses: false,
            beside,
            aws: self.aws.clone(),
        };
        // Before a request can bring it.
        let captures = &self.services.gateway.telemetry.captures;
        captures.strike(&blueprint.carried());
        build(blueprint, &shared, Some(before))
    }

    /// The counts of the plan that follows: those that run, where keys and usage plans stay the same.
    fn usage(&self, before: &Plan, next: &Blueprint) -> Arc<Usage> {
        let usage = next.usage_after(&before.usage);
        let (old, new) = (&*before.keys, &*next.keys);
        if before.usage.serves(old, &usage, new) {
            return before.usage.clone();
        }
        usage.take_over(&before.usage, old, new);
        self.succession.hand_over(usage.clone(), next.keys.clone());
        usage
    }
}
