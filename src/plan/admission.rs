//! What the process may take in, from configuration to plan: the budgets, and what each route's requests wait for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::authn::Authenticator;
use crate::config::Config;
use crate::forward::AckMode;
use crate::integration::{Integration, Service};
use crate::limit::admission::{Admission, Budget, Settings};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::value::ByteSize;

use super::blueprint::{Blueprint, GatewayLimits, RouteBlueprint};

/// How many requests may wait for one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetPlaces {
    /// `None`: a part of all places.
    pub default: Option<usize>,
    /// By queue URL, ARN or name.
    pub named: HashMap<String, usize>,
}

/// `targets.NAME.requests`.
pub(super) fn target_places(
    config: &Config,
    limits: &GatewayLimits,
    problems: &mut Problems,
) -> TargetPlaces {
    let at = ConfigPath::root().key("targets");
    let mut places = TargetPlaces::default();
    for (name, target) in &config.targets {
        let Some(requests) = target.requests else {
            continue;
        };
        if requests == 0 || requests > limits.in_flight {
            problems
                .error(
                    &at.key(name).key("requests"),
                    format!("{requests} is out of range"),
                )
                .help(format!(
                    "allowed: 1 to {}, which is `limits.in_flight`",
                    limits.in_flight
                ));
        }
        if name == "default" {
            places.default = Some(requests);
        } else {
            places.named.insert(name.clone(), requests);
        }
    }
    places
}

/// A body that the route takes has to have room when there is no other.
pub(super) fn check_bodies(
    limits: &GatewayLimits,
    routes: &[&RouteBlueprint],
    problems: &mut Problems,
) {
    let largest = routes.iter().max_by_key(|route| route.limits.body);
    if let (Some(bodies), Some(route)) = (limits.bodies, largest)
        && bodies > 0
        && bodies < route.limits.body
    {
        problems
            .error(
                &ConfigPath::root().key("limits").key("bodies"),
                format!(
                    "{} is less than one body of {}, which may have {}",
                    ByteSize(bodies),
                    route.key,
                    ByteSize(route.limits.body)
                ),
            )
            .help("allow more, or smaller bodies");
    }
}

/// How much of everything there is.
pub fn settings(blueprint: &Blueprint) -> Settings {
    let limits = &blueprint.limits;
    let bodies = blueprint.routes().map(|route| route.limits.body);
    Settings {
        in_flight: limits.in_flight as u64,
        memory: limits.memory,
        bodies: limits.bodies,
        largest_body: bodies.max().unwrap_or(0),
        cpu_wait: limits.cpu_wait,
    }
}

/// Whether the head alone tells who calls, and no service is asked for it.
pub(super) fn by_identity(authenticators: &[Arc<Authenticator>]) -> bool {
    !authenticators.is_empty()
        && authenticators
            .iter()
            .all(|kind| !kind.needs_body() && !kind.asks_a_service())
}

/// The places of each target that routes lead to.
pub(super) struct TargetBudgets<'a> {
    admission: &'a Admission,
    written: &'a TargetPlaces,
    /// Where nothing is written.
    usual: usize,
}

impl<'a> TargetBudgets<'a> {
    /// Of all routes of a blueprint. Where they all wait for one target there is nothing to keep for others.
    pub fn of(blueprint: &'a Blueprint, admission: &'a Admission) -> TargetBudgets<'a> {
        let all = blueprint.limits.in_flight;
        let named: HashSet<String> = blueprint.routes().map(waits_for).collect();
        let usual = if named.len() > 1 {
            all.div_ceil(2)
        } else {
            all
        };
        admission.keep_targets(&|name| named.contains(name));
        TargetBudgets {
            admission,
            written: &blueprint.target_places,
            usual,
        }
    }

    /// The places of a route's target.
    pub fn budget(&self, route: &RouteBlueprint) -> Arc<Budget> {
        let written = route.integration.plain_target();
        let places = written
            .and_then(|name| self.written.named.get(name))
            .or(self.written.default.as_ref())
            .copied()
            .unwrap_or(self.usual);
        let name: Arc<str> = waits_for(route).into();
        self.admission.target(&name, places as u64)
    }
}

/// What requests of a route wait for: a target by its full name, `store` for the embedded queues and the spool, which
/// share a disk, or `mock`. Receives are apart, for those that wait for messages hold their places for long. Targets
/// that requests name share one name for each kind.
fn waits_for(route: &RouteBlueprint) -> String {
    let integration = &route.integration;
    if route.ack.mode == AckMode::Spool {
        return "store".to_owned();
    }
    if is_embedded(integration) {
        let name = if integration.reads() {
            "store receives"
        } else {
            "store"
        };
        return name.to_owned();
    }
    match (integration.target(), integration.service()) {
        (Some(target), _) => target.as_str().to_owned(),
        (None, Service::Mock) => "mock".to_owned(),
        (None, _) => format!("{}:{}", integration.kind(), integration.target_label()),
    }
}

fn is_embedded(integration: &Integration) -> bool {
    integration.target_label().starts_with("queue:")
}
