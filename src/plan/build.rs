//! From a blueprint to a plan: puts live things where the blueprint has descriptions.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::authn::api_key::ApiKeys;
use crate::authn::{self, Authenticator};
use crate::aws;
use crate::config::Dialect;
use crate::forward::Forward;
use crate::integration::Targets;
use crate::limit::admission::Admission;
use crate::limit::shared::SharedStores;
use crate::limit::usage::Usage;
use crate::limit::{CallerTable, Clock};
use crate::model::route_key::{MethodKey, RouteKey};
use crate::outbound;
use crate::telemetry::Metrics;
use crate::telemetry::exchange::RouteFacts;
use crate::telemetry::metrics::Name;

use super::admission::{self, TargetBudgets};
use super::blueprint::{
    ApiBlueprint, Blueprint, ListenerBlueprint, RouteBlueprint, UsagePlanBlueprint,
};
use super::hosts::Hosts;
use super::matcher::Matcher;
use super::throttle::{self, Throttles, When};
use super::{Api, LimitedBy, ListenerPlan, Plan, Route, VersionTables, Versions};

/// What plans are built with.
pub struct Shared<'a> {
    pub metrics: &'a Metrics,
    pub targets: Arc<Targets>,
    pub forward: Arc<Forward>,
    pub keys: Arc<ApiKeys>,
    pub usage: Arc<Usage>,
    /// Where the buckets of callers are kept.
    pub callers: Arc<CallerTable>,
    /// The Redis servers of shared buckets.
    pub stores: Arc<SharedStores>,
    /// The tables of versions that DynamoDB keeps.
    pub version_tables: Arc<VersionTables>,
    pub outbound: outbound::Client,
    pub aws: aws::Clients,
    pub admission: Arc<Admission>,
    /// Listeners that the blueprint does not have and whose connections still finish: their requests go on as in the plan
    /// before.
    pub leaving: &'a [Arc<str>],
    /// Whether the plan only tells what would become of requests.
    pub rehearses: bool,
    /// Whether the plan is tried beside another one, whose limits of the process hold for both.
    pub beside: bool,
}

/// Builds a plan. Cannot fail: what can has been opened by whoever gives `shared`. `before`: the plan that it follows;
/// buckets, places and authorizers that are to be as they were go on with what they hold.
pub fn build(blueprint: &Blueprint, shared: &Shared<'_>, before: Option<&Plan>) -> Plan {
    if !shared.beside {
        shared.admission.configure(&admission::settings(blueprint));
    }
    let clock = Clock::monotonic();
    let builder = Builder {
        blueprint,
        shared,
        target_places: TargetBudgets::of(blueprint, &shared.admission),
        authorizers: authn::Shared {
            keys: &shared.keys,
            outbound: &shared.outbound,
            aws: &shared.aws,
            metrics: shared.metrics,
            rehearses: shared.rehearses,
        },
        limits: throttle::Shared {
            callers: &shared.callers,
            stores: &shared.stores,
            counters: &shared.metrics.throttling,
            clock: &clock,
        },
    };
    let leaving: Vec<&ListenerPlan> = shared
        .leaving
        .iter()
        .filter_map(|name| before?.listener(name))
        .collect();
    let apis: Vec<Api> = blueprint
        .apis
        .iter()
        .map(|api| {
            let before = before.and_then(|before| before.api(&api.name));
            builder.api(api, before, &leaving)
        })
        .collect();
    let vendor = apis.iter().all(|api| api.dialect == Dialect::Aws);
    let listener = |(position, listener): (usize, &ListenerBlueprint)| ListenerPlan {
        name: listener.name.clone(),
        access: listener.access.clone(),
        position,
    };
    let configured = blueprint.listeners.iter().enumerate().map(listener);
    let left = (blueprint.listeners.len()..)
        .zip(leaving)
        .map(|(position, left)| ListenerPlan {
            position,
            ..left.clone()
        });
    Plan {
        deployment: blueprint.id.shared(),
        apis,
        hosts: Hosts::new(blueprint.apis.iter().map(|api| {
            let mount = &api.mount;
            (!api.is_version).then_some(mount)
        })),
        dialect: if vendor {
            Dialect::Aws
        } else {
            Dialect::Native
        },
        head_bytes: blueprint.limits.head_bytes,
        header_count: blueprint.limits.header_count,
        admission: shared.admission.clone(),
        decoders: before
            .map(|before| before.decoders.clone())
            .unwrap_or_default(),
        listeners: configured.chain(left).collect(),
        targets: shared.targets.clone(),
        forward: shared.forward.clone(),
        keys: shared.keys.clone(),
        usage: shared.usage.clone(),
    }
}

/// What the APIs of a plan are built with.
struct Builder<'b> {
    blueprint: &'b Blueprint,
    shared: &'b Shared<'b>,
    target_places: TargetBudgets<'b>,
    authorizers: authn::Shared<'b>,
    limits: throttle::Shared<'b>,
}

impl Builder<'_> {
    /// `before`: the API of that name in the plan that this one follows.
    fn api(&self, api: &ApiBlueprint, before: Option<&Api>, leaving: &[&ListenerPlan]) -> Api {
        let Builder {
            blueprint, shared, ..
        } = self;
        let stage: Arc<str> = api.stage.0.as_str().into();
        let scope = format!("{}:{stage}", api.name);
        let mut named: HashMap<String, (authn::Spec, Arc<Authenticator>)> = HashMap::new();
        let mut routes = Vec::new();
        let mut questions = Vec::new();
        for route in &api.routes {
            for integration in std::iter::once(&route.integration).chain(&route.copies) {
                match integration.target() {
                    Some(target) => shared.forward.expect(target, &route.ack),
                    None => shared.forward.expect_any(&route.ack),
                }
            }
            let key = Name(route.key.to_string().into());
            let label = self.label(api, &key);
            if route.idempotency.is_some() {
                shared.metrics.expect_keys(&label);
            }
            let authenticators: Vec<_> = route
                .authorizers
                .iter()
                .map(|(name, spec)| {
                    let made = || {
                        (
                            spec.clone(),
                            authenticator(name, spec, &self.authorizers, before),
                        )
                    };
                    named.entry(name.clone()).or_insert_with(made).1.clone()
                })
                .collect();
            let proven_by_body = authenticators.iter().any(|kind| kind.needs_body());
            let proven = match (proven_by_body, authenticators.is_empty()) {
                (true, _) => When::Verified,
                (false, false) => When::Authenticated,
                (false, true) => When::Early,
            };
            let limited_by = LimitedBy {
                throttles: route.throttles.clone(),
                concurrency: route.concurrency.clone(),
                auth_failures: blueprint.auth_failures,
                proven,
            };
            let same_route = before.and_then(|before| {
                let mut routes = before.routes.iter();
                routes.find(|old| {
                    old.facts.key == key && old.facts.label == label && old.limited_by == limited_by
                })
            });
            let throttles = match same_route {
                Some(old) => old.throttles.clone(),
                None => Throttles::build(
                    (&route.throttles, &route.concurrency),
                    blueprint.auth_failures.as_ref(),
                    proven,
                    throttle::Of {
                        scope: &scope,
                        key: &key.0,
                        label: &label,
                    },
                    &self.limits,
                )
                .map(Arc::from),
            };
            let live = |key: Name, questions_of: Option<Method>| {
                let label = self.label(api, &key);
                Arc::new(Route {
                    facts: Arc::new(RouteFacts {
                        api: api.name.clone(),
                        stage: stage.clone(),
                        meters: shared.metrics.route(&label, route.integration.kind()),
                        key,
                        label,
                        integration: route.integration.kind(),
                    }),
                    questions_of,
                    dialect: api.dialect,
                    access: route.access.clone(),
                    target: self.target_places.budget(route),
                    shared_by_identity: admission::by_identity(&authenticators),
                    throttles: throttles.clone(),
                    limited_by: limited_by.clone(),
                    proven_by_body,
                    authenticators: authenticators.clone(),
                    scopes: route.scopes.clone(),
                    plan_buckets: plan_buckets(blueprint, route),
                    policies: route.policies.clone(),
                    limits: route.limits,
                    decode: route.decode.clone(),
                    validation: route.validation.clone(),
                    integration: route.integration.clone(),
                    copies: route.copies.clone(),
                    ack: route.ack,
                    idempotency: route.idempotency.clone(),
                    response: route.response.clone(),
                })
            };
            if let RouteKey::Path {
                method: MethodKey::One(method),
                ..
            } = &route.key
            {
                for question in &route.questions {
                    let name = Name(question.to_string().into());
                    questions.push((routes.len(), question, live(name, Some(method.clone()))));
                }
            }
            routes.push(live(key, None));
        }
        let configured = matchers(&blueprint.listeners, api, &routes, &questions);
        // What was to be had on a listener that goes is to be had until its connections have gone.
        let left = leaving.iter().map(|listener| {
            let routes = before.and_then(|before| before.matchers.get(listener.position));
            routes.cloned().unwrap_or_default()
        });
        Api {
            name: api.name.clone(),
            stage,
            prefix: api.stage_prefix(),
            stage_variables: api.stage_variables.clone(),
            dialect: api.dialect,
            trailing_slash: api.trailing_slash,
            cors: api.cors.clone(),
            versions: self.versions(api),
            versioned: shared.metrics.versions.clone(),
            error_responses: api.error_responses.clone(),
            matchers: configured.into_iter().chain(left).collect(),
            routes,
            authorizers: named,
        }
    }

    /// The versions that an API stands in front of, with the table that is read, and counted from nought on.
    fn versions(&self, api: &ApiBlueprint) -> Option<Versions> {
        let shared = self.shared;
        let versions = api.versions.as_ref()?;
        let names = versions.table().rows().map(|version| version.name.as_str());
        for name in names.chain([""]) {
            drop(shared.metrics.version(&api.name, name));
        }
        let feed = |spec: &_, asked| shared.version_tables.feed(spec, asked, &shared.aws);
        Some(versions.fed(feed))
    }

    /// What metrics call a route: its key, behind the API's name where there are several.
    fn label(&self, api: &ApiBlueprint, key: &Name) -> Name {
        match self.blueprint.apis.as_slice() {
            [_] => key.clone(),
            _ => Name(format!("{} {}", api.name, key.0).into()),
        }
    }
}

/// The authorizer of that name: the one that runs, if it is to be as it is. API keys are looked up in tables that a new
/// configuration brings along, so theirs are always made anew.
fn authenticator(
    name: &str,
    spec: &authn::Spec,
    shared: &authn::Shared<'_>,
    before: Option<&Api>,
) -> Arc<Authenticator> {
    let running = before.and_then(|before| before.authorizers.get(name));
    match running {
        Some((old, live)) if old == spec && !matches!(spec, authn::Spec::ApiKey(_)) => live.clone(),
        _ => Arc::new(spec.build(shared, running.map(|(_, live)| &**live))),
    }
}

/// Where each usage plan has a bucket of its own for a route.
fn plan_buckets(blueprint: &Blueprint, route: &RouteBlueprint) -> Box<[Option<u16>]> {
    let bucket_of = |plan: &UsagePlanBlueprint| {
        let at = plan.routes.iter().position(|key| *key == route.key)?;
        u16::try_from(at).ok()
    };
    blueprint.usage_plans.iter().map(bucket_of).collect()
}

type Routes = Matcher<Arc<Route>>;

/// A route that only answers a webhook's questions, with its key; first the place of the route whose deliveries it is
/// about.
type Question<'b> = (usize, &'b RouteKey, Arc<Route>);

/// The routes of an API on each listener. `routes`: those of its blueprint, in its order.
fn matchers(
    listeners: &[ListenerBlueprint],
    api: &ApiBlueprint,
    routes: &[Arc<Route>],
    questions: &[Question<'_>],
) -> Vec<Arc<Routes>> {
    let mut shared: Vec<(Vec<bool>, Arc<Routes>)> = Vec::new();
    let mut matchers = Vec::new();
    for listener in listeners {
        let on = |route: &RouteBlueprint| route.is_on(&listener.name);
        let reached: Vec<bool> = api.routes.iter().map(on).collect();
        let known = shared.iter().find(|(other, _)| *other == reached);
        if let Some((_, matcher)) = known {
            matchers.push(matcher.clone());
            continue;
        }
        let mut matcher = Routes::default();
        let on = api.routes.iter().zip(routes).zip(&reached);
        for ((written, live), _) in on.filter(|(_, reached)| **reached) {
            // Compiling has refused two routes for the same requests, so the first one always stands.
            let _ = matcher.insert(&written.key, live.clone());
        }
        for (_, key, live) in questions.iter().filter(|(place, ..)| reached[*place]) {
            // Two routes of one path may ask for the same questions; the first one's source answers.
            let _ = matcher.insert(key, live.clone());
        }
        let matcher = Arc::new(matcher);
        shared.push((reached, matcher.clone()));
        matchers.push(matcher);
    }
    matchers
}
