//! Usage plans: what the key of a proven caller may still ask. A caller whose proof is in the body is charged once that
//! has been looked at.

use super::rejection::Rejection;
use crate::authn::Caller;
use crate::limit::usage::PlanLimits;
use crate::plan::{Plan, Route};

/// Charges the caller's key, if the caller has one. Says whether a usage plan had anything to decide.
pub(super) fn charge(plan: &Plan, route: &Route, caller: &Caller) -> Result<bool, Rejection> {
    let Some(who) = caller.key_use() else {
        return Ok(false);
    };
    let bucket = who
        .plan
        .and_then(|at| route.plan_buckets.get(usize::from(at)))
        .copied()
        .flatten();
    let charged = plan.usage.charge(who, bucket);
    charged.map_err(Rejection::OverPlan)?;
    Ok(who.plan.is_some())
}

/// What `penstock explain` says of the limits; `None` where the caller brings no key.
pub(super) fn explained(plan: &Plan, route: &Route, caller: &Caller) -> Option<String> {
    let who = caller.key_use()?;
    let Some(limits) = who.plan.and_then(|at| plan.usage.plan(at)) else {
        return Some("the key is in no usage plan".to_owned());
    };
    let PlanLimits {
        name,
        throttle,
        routes,
        quota,
    } = limits;
    let mut parts = Vec::new();
    let own = who
        .plan
        .and_then(|at| *route.plan_buckets.get(usize::from(at))?)
        .and_then(|at| routes.get(usize::from(at)));
    for (bucket, of) in [(own, " to this route"), (throttle.as_ref(), "")] {
        parts.extend(
            bucket.map(|bucket| format!("{} a second, {} at once{of}", bucket.rate, bucket.burst)),
        );
    }
    parts.extend(quota.map(|quota| format!("{} a {}", quota.limit, quota.period.name())));
    if parts.is_empty() {
        parts.push("no limit".to_owned());
    }
    Some(format!("usage plan {name}: {}", parts.join(", ")))
}
