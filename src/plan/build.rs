//! From a blueprint to a plan: puts live things where the blueprint has descriptions.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::authn::api_key::ApiKeys;
use crate::authn::{self, Authenticator};
use crate::aws;
use crate::config::{Dialect, TrailingSlash};
use crate::forward::Forward;
use crate::integration::Targets;
use crate::limit::{Bucket, Slots};
use crate::model::route_key::{MethodKey, RouteKey};
use crate::outbound;
use crate::telemetry::Metrics;
use crate::telemetry::exchange::RouteFacts;
use crate::telemetry::metrics::Name;

use super::blueprint::Blueprint;
use super::matcher::Matcher;
use super::{Plan, Route};

/// What plans are built with.
pub struct Shared<'a> {
    pub metrics: &'a Metrics,
    pub targets: Arc<Targets>,
    pub forward: Arc<Forward>,
    pub keys: Arc<ApiKeys>,
    pub outbound: outbound::Client,
    pub aws: aws::Clients,
    /// Whether the plan only tells what would become of requests.
    pub rehearses: bool,
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
        metrics: shared.metrics,
        rehearses: shared.rehearses,
    };
    let mut named: HashMap<&str, Arc<Authenticator>> = HashMap::new();
    let mut matcher = Matcher::default();
    let mut routes = Vec::new();
    let mut questions = Vec::new();
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
        let live = |key: Name, questions_of: Option<Method>| {
            let facts = RouteFacts {
                api: blueprint.api.clone(),
                stage: stage.clone(),
                meters: shared.metrics.route(&key),
                key,
                integration: route.integration.kind(),
            };
            Arc::new(Route {
                facts: Arc::new(facts),
                dialect,
                throttle: route.throttle.map(|spec| Arc::new(Bucket::new(spec))),
                proven_by_body: authenticators.iter().any(|kind| kind.needs_body()),
                questions_of,
                authenticators: authenticators.clone(),
                limits: route.limits,
                integration: route.integration.clone(),
                copies: route.copies.clone(),
                ack: route.ack,
                idempotency: route.idempotency.clone(),
                response: route.response.clone(),
            })
        };
        let own = live(key, None);
        // Compiling has refused two routes for the same requests, so the first one always stands.
        if matcher.insert(&route.key, own.clone()).is_ok() {
            routes.push(own);
        }
        if let RouteKey::Path {
            method: MethodKey::One(method),
            ..
        } = &route.key
        {
            for question in &route.questions {
                questions.push((
                    question,
                    live(Name(question.to_string().into()), Some(method.clone())),
                ));
            }
        }
    }
    // Two routes of one source on one path ask for the same questions: one of them answers.
    for (key, route) in questions {
        if matcher.insert(key, route.clone()).is_ok() {
            routes.push(route);
        }
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
        matcher,
        routes,
        targets: shared.targets.clone(),
        forward: shared.forward.clone(),
    }
}
