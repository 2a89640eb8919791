//! Usage plans, checked.

use crate::authn::api_key::MOST_PLANS;
use crate::config::{Config, PlanThrottle, UsagePlan};
use crate::limit::BucketSpec;
use crate::limit::usage::{PlanLimits, Quota};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::route_key::RouteKey;

use super::blueprint::UsagePlanBlueprint;
use super::throttle::bucket;

/// The usage plans, in the order of the file: keys name them by position. `apis`: at least one; a plan's bucket of a
/// route is shared by the routes of that key in all of them.
pub(super) fn compile(apis: &[&Config], problems: &mut Problems) -> Vec<UsagePlanBlueprint> {
    let Some(config) = apis.first() else {
        return Vec::new();
    };
    let at = ConfigPath::root().key("usage_plans");
    if config.usage_plans.len() > MOST_PLANS {
        let count = config.usage_plans.len();
        problems.error(&at, format!("{count} usage plans; allowed: {MOST_PLANS}"));
    }
    let mut plans = Vec::new();
    for (name, plan) in &config.usage_plans {
        plans.push(compile_plan(apis, name, plan, &at.key(name), problems));
    }
    let unused = config.api_keys.is_empty() && config.api_key_files.is_empty();
    if unused && !plans.is_empty() {
        problems
            .warning(&at, "no key is declared, so nobody is in a usage plan")
            .help("declare keys under `api_keys`, or name files of them in `api_key_files`");
    }
    plans
}

fn compile_plan(
    apis: &[&Config],
    name: &str,
    plan: &UsagePlan,
    at: &ConfigPath,
    problems: &mut Problems,
) -> UsagePlanBlueprint {
    let mut spec = |throttle: &PlanThrottle, at: &ConfigPath| -> Option<BucketSpec> {
        bucket(throttle.rate, throttle.burst, at, problems)
    };
    let throttle = plan
        .throttle
        .as_ref()
        .and_then(|throttle| spec(throttle, &at.key("throttle")));
    let mut routes: Vec<RouteKey> = Vec::new();
    let mut buckets = Vec::new();
    for (key, throttle) in &plan.routes {
        let at = at.key("routes").key(key.to_string());
        if let Some(bucket) = spec(throttle, &at) {
            routes.push(key.clone());
            buckets.push(bucket);
        }
    }
    for key in plan.routes.keys() {
        if !apis.iter().any(|api| api.routes.contains_key(key)) {
            let routes = apis.iter().flat_map(|api| api.routes.keys());
            let known: Vec<String> = routes.map(RouteKey::to_string).collect();
            let near = nearest(&key.to_string(), known.iter().map(String::as_str));
            let problem = problems.error(
                &at.key("routes").key(key.to_string()),
                format!("there is no route `{key}`"),
            );
            match near {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help("write the route's key as it stands under `routes`"),
            };
        }
    }
    let quota = plan.quota.map(|quota| Quota {
        limit: quota.limit,
        period: quota.period.into(),
        offset: quota.offset,
    });
    if let Some(quota) = quota.filter(|quota| quota.offset > quota.limit) {
        problems
            .error(
                &at.key("quota").key("offset"),
                format!("{} is more than the limit", quota.offset),
            )
            .help("it is taken off the limit in the first period");
    }
    UsagePlanBlueprint {
        limits: PlanLimits {
            name: name.into(),
            throttle,
            routes: buckets,
            quota,
        },
        routes,
    }
}
