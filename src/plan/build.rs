//! From a blueprint to a plan: puts live things where the blueprint has descriptions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::authn::api_key::ApiKeys;
use crate::authn::{self, Authenticator};
use crate::aws;
use crate::config::{Dialect, TrailingSlash};
use crate::forward::Forward;
use crate::integration::Targets;
use crate::limit::{Bucket, Slots};
use crate::outbound;
use crate::telemetry::Metrics;
use crate::telemetry::exchange::RouteFacts;
use crate::telemetry::metrics::Name;

use super::blueprint::Blueprint;
use super::matcher::Matcher;
use super::{ListenerPlan, Plan, Route};

/// What plans are built with.
pub struct Shared<'a> {
    pub metrics: &'a Metrics,
    pub targets: Arc<Targets>,
    pub forward: Arc<Forward>,
    pub keys: Arc<ApiKeys>,
    pub outbound: outbound::Client,
    pub aws: aws::Clients,
}

/// Builds a plan. Cannot fail: what can has been opened by whoever gives `shared`.
pub fn build(blueprint: &Blueprint, shared: &Shared<'_>) -> Plan {
    let dialect: Dialect = blueprint.dialect;
    let trailing_slash: TrailingSlash = blueprint.trailing_slash;
    let stage: Arc<str> = blueprint.stage.0.as_str().into();
    let prefix = if blueprint.stage.is_default() {
        String::new()
    } else {
        format!("/{stage}")
    };
    let authorizers = authn::Shared {
        keys: &shared.keys,
        outbound: &shared.outbound,
        aws: &shared.aws,
    };
    let mut named: HashMap<&str, Arc<Authenticator>> = HashMap::new();
    let mut routes = Vec::new();
    for route in &blueprint.routes {
        for integration in std::iter::once(&route.integration).chain(&route.copies) {
            match integration.target() {
                Some(target) => shared.forward.expect(target, &route.ack),
                None => shared.forward.expect_any(&route.ack),
            }
        }
        let key = Name(route.key.to_string().into());
        if route.idempotency.is_some() {
            shared.metrics.expect_keys(&key);
        }
        let facts = RouteFacts {
            api: blueprint.api.clone(),
            stage: stage.clone(),
            meters: shared.metrics.route(&key),
            key,
            integration: route.integration.kind(),
        };
        let authenticators: Vec<_> = route
            .authorizers
            .iter()
            .map(|(name, spec)| {
                named
                    .entry(name)
                    .or_insert_with(|| Arc::new(spec.build(&authorizers)))
                    .clone()
            })
            .collect();
        let live = Arc::new(Route {
            facts: Arc::new(facts),
            dialect,
            access: route.access.clone(),
            throttle: route.throttle.map(|spec| Arc::new(Bucket::new(spec))),
            proven_by_body: authenticators.iter().any(|kind| kind.needs_body()),
            authenticators,
            limits: route.limits,
            integration: route.integration.clone(),
            copies: route.copies.clone(),
            ack: route.ack,
            idempotency: route.idempotency.clone(),
            response: route.response.clone(),
        });
        routes.push(live);
    }
    Plan {
        api: blueprint.api.clone(),
        stage,
        stage_variables: blueprint.stage_variables.clone(),
        prefix,
        dialect,
        trailing_slash,
        cors: blueprint.cors.clone(),
        head_bytes: blueprint.limits.head_bytes,
        header_count: blueprint.limits.header_count,
        slots: Slots::new(blueprint.limits.in_flight),
        listeners: listeners(blueprint, &routes),
        routes,
        targets: shared.targets.clone(),
        forward: shared.forward.clone(),
    }
}

type Routes = Matcher<Arc<Route>>;

/// Each listener with its routes. `routes`: those of the blueprint, in its order.
fn listeners(blueprint: &Blueprint, routes: &[Arc<Route>]) -> Vec<ListenerPlan> {
    let mut shared: Vec<(Vec<bool>, Arc<Routes>)> = Vec::new();
    let mut plans = Vec::new();
    for listener in &blueprint.listeners {
        let reached: Vec<bool> = blueprint
            .routes
            .iter()
            .map(|route| route.is_on(&listener.name))
            .collect();
        let known = shared.iter().find(|(other, _)| *other == reached);
        let matcher = match known {
            Some((_, matcher)) => matcher.clone(),
            None => {
                let mut matcher = Routes::default();
                let on = blueprint.routes.iter().zip(routes).zip(&reached);
                for ((written, live), _) in on.filter(|(_, reached)| **reached) {
                    // Compiling has refused two routes for the same requests, so the first one always stands.
                    let _ = matcher.insert(&written.key, live.clone());
                }
                let matcher = Arc::new(matcher);
                shared.push((reached, matcher.clone()));
                matcher
            }
        };
        plans.push(ListenerPlan {
            name: listener.name.clone(),
            access: listener.access.clone(),
            matcher,
        });
    }
    plans
}
