//! A configuration that has been checked: parsed, cross-checked, and nothing opened yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::authn;
use crate::authn::api_key::ApiKeys;
use crate::authn::policy::Document;
use crate::aws;
use crate::config::{Dialect, TrailingSlash};
use crate::decode::Codings;
use crate::deploy::{self, DeploymentId};
use crate::forward::{self, AckMode, AckPlan};
use crate::integration::Integration;
use crate::limit::Clock;
use crate::limit::usage::{PlanLimits, Usage};
use crate::listen::{DEFAULT_MODE, ProxyProtocol, TlsSpec};
use crate::model::carried::Carried;
use crate::model::cidr::Access;
use crate::model::peer::Trust;
use crate::model::route_key::RouteKey;
use crate::model::secret::Secret;
use crate::model::value::{MemoryShare, StageName};
use crate::outbound;
use crate::sqs_api;
use crate::store::{self, QueueSpec};
use crate::telemetry::access_log::Destination;
use crate::telemetry::capture;
use crate::telemetry::log_format::LogFormat;

use super::admission::TargetPlaces;
use super::cors::CorsPolicy;
use super::delivery::IdempotencyPlan;
use super::error_responses::ErrorResponses;
use super::hosts::Mount;
use super::listeners::is_loopback;
use super::response::ResponsePlan;
use super::throttle::{ConcurrencySpec, FailureSpec, ThrottleSpec};
use super::validation::Validation;
use super::versions::Versions;

/// Everything that a plan is built from.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Of the texts that it was compiled from.
    pub id: DeploymentId,
    /// At least one, in the order in which they are first named.
    pub apis: Vec<ApiBlueprint>,
    pub listeners: Vec<ListenerBlueprint>,
    /// `host:port` of the admin listener.
    pub admin: String,
    /// What those who see and change messages through the admin listener bring.
    pub admin_token: Option<Secret<String>>,
    pub aws: aws::Settings,
    pub egress: outbound::Settings,
    /// How often secrets that AWS keeps are fetched again.
    pub secrets_refresh: Duration,
    pub store: StoreBlueprint,
    pub sqs: Option<SqsBlueprint>,
    pub limits: GatewayLimits,
    /// What an address may get wrong; `None`: anything.
    pub auth_failures: Option<FailureSpec>,
    pub keys: Arc<ApiKeys>,
    /// Keys name them by position.
    pub usage_plans: Vec<UsagePlanBlueprint>,
    /// How targets are treated.
    pub targets: forward::Settings,
    /// How many requests may wait for each of them.
    pub target_places: TargetPlaces,
    /// How it takes over from the one that runs.
    pub deployment: deploy::Settings,
    pub log_destination: Destination,
    pub log_format: LogFormat,
    /// The standing recording of requests.
    pub capture: Option<capture::Settings>,
    /// What is struck out of every recording beside credentials.
    pub redacted: Vec<Carried>,
}

/// One API of a blueprint.
#[derive(Clone, Debug)]
pub struct ApiBlueprint {
    /// `$context.apiId`; no two have the same.
    pub name: Arc<str>,
    /// By which hosts and base paths it is found.
    pub mount: Mount,
    /// Whether it is reached as a version of another API alone.
    pub is_version: bool,
    /// The versions that it stands in front of.
    pub versions: Option<Versions>,
    pub error_responses: Option<ErrorResponses>,
    pub stage: StageName,
    pub stage_variables: Arc<IndexMap<String, String>>,
    pub dialect: Dialect,
    pub trailing_slash: TrailingSlash,
    pub cors: Option<CorsPolicy>,
    pub routes: Vec<RouteBlueprint>,
}

impl ApiBlueprint {
    /// What paths of a named stage begin with, `/prod`; empty for `$default`.
    pub fn stage_prefix(&self) -> String {
        if self.stage.is_default() {
            String::new()
        } else {
            format!("/{}", self.stage.0)
        }
    }

    /// A base path under which it is found, its stage included: what stands before the paths of its routes.
    pub fn prefix(&self) -> String {
        let base = self.mount.base_paths.first().filter(|_| self.mount.strip);
        base.cloned().unwrap_or_default() + &self.stage_prefix()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerBlueprint {
    pub name: Arc<str>,
    /// `host:port`, or `unix:` and a path.
    pub bind: String,
    /// The permissions of a Unix socket's file.
    pub mode: u32,
    pub tls: Option<TlsSpec>,
    pub proxy_protocol: ProxyProtocol,
    pub trust: Trust,
    /// Whom it lets in, by address.
    pub access: Access,
}

impl ListenerBlueprint {
    /// A listener for plain HTTP from anybody.
    pub fn plain(name: impl Into<Arc<str>>, bind: impl Into<String>) -> ListenerBlueprint {
        ListenerBlueprint {
            name: name.into(),
            bind: bind.into(),
            mode: DEFAULT_MODE,
            tls: None,
            proxy_protocol: ProxyProtocol::Off,
            trust: Trust::default(),
            access: Access::default(),
        }
    }

    /// Whether it can be reached from this machine only.
    pub fn is_local(&self) -> bool {
        is_loopback(&self.bind)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreBlueprint {
    pub path: PathBuf,
    /// Bytes on disk, write-ahead log included.
    pub max_size: u64,
    /// How long to wait for another process that holds it.
    pub wait: Duration,
    pub queues: Vec<QueueSpec>,
    /// Whether anything configured needs it: a queue is declared, or a route names one.
    pub needed: bool,
}

impl StoreBlueprint {
    /// Whether it is the same store; its queues can be others.
    pub fn same_place(&self, other: &StoreBlueprint) -> bool {
        (&self.path, self.max_size, self.wait) == (&other.path, other.max_size, other.wait)
    }
}

/// A usage plan, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct UsagePlanBlueprint {
    pub limits: PlanLimits,
    /// The routes that its further buckets are of, in their order.
    pub routes: Vec<RouteKey>,
}

/// The listener of the SQS protocol.
#[derive(Clone, Debug)]
pub struct SqsBlueprint {
    /// `host:port`.
    pub bind: String,
    pub access: sqs_api::Access,
    /// Of the queues' ARNs.
    pub region: String,
}

/// Limits that hold for the gateway as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    pub head_bytes: u64,
    pub header_count: usize,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub in_flight: usize,
    /// `None`: whatever there is.
    pub memory: Option<MemoryShare>,
    /// Bytes of bodies at once; `None`: by the memory.
    pub bodies: Option<u64>,
    /// `None`: work may wait for the CPU as long as it does.
    pub cpu_wait: Option<Duration>,
    pub connections: usize,
    pub connections_per_address: Option<usize>,
    pub connection_age: Option<Duration>,
    pub drain: Duration,
}

/// Limits of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// Bytes.
    pub body: u64,
    pub body_timeout: Duration,
    /// From the head to the target's answer, without the body's time and the wait of a long poll.
    pub timeout: Duration,
}

/// A route, checked.
#[derive(Clone, Debug)]
pub struct RouteBlueprint {
    pub key: RouteKey,
    /// Further methods on the same path by which a webhook's sender asks its questions; nothing is stored by them.
    pub questions: Vec<RouteKey>,
    /// The listeners that it can be reached on; `None` for all.
    pub listeners: Option<Vec<Arc<str>>>,
    /// Whom it lets pass, by address.
    pub access: Access,
    /// By name, in the order in which they are asked.
    pub authorizers: Vec<(String, authn::Spec)>,
    /// Of which a caller's token needs one; none are asked for where there are none.
    pub scopes: Vec<String>,
    /// The resource policies of the API and of the route.
    pub policies: Vec<Arc<Document>>,
    pub throttles: Vec<ThrottleSpec>,
    pub concurrency: Vec<ConcurrencySpec>,
    pub limits: RouteLimits,
    /// The codings in which bodies are decoded.
    pub decode: Codings,
    /// What is asked of a request; `None`: nothing.
    pub validation: Option<Arc<Validation>>,
    pub integration: Integration,
    /// Further targets that get a copy.
    pub copies: Vec<Integration>,
    pub ack: AckPlan,
    pub idempotency: Option<IdempotencyPlan>,
    pub response: ResponsePlan,
}

impl RouteBlueprint {
    /// Whether the route can be reached on a listener.
    pub fn is_on(&self, listener: &str) -> bool {
        let named = |names: &Vec<Arc<str>>| names.iter().any(|name| **name == *listener);
        self.listeners.as_ref().is_none_or(named)
    }

    /// Every target, the first one first.
    pub fn targets(&self) -> impl Iterator<Item = &Integration> {
        std::iter::once(&self.integration).chain(&self.copies)
    }

    /// Whether requests of the route can need the embedded store.
    pub fn needs_store(&self) -> bool {
        self.ack.mode != AckMode::Target
            || self.idempotency.is_some()
            || self.targets().any(Integration::touches_store)
    }
}

impl Blueprint {
    /// The routes of all APIs.
    pub fn routes(&self) -> impl Iterator<Item = &RouteBlueprint> {
        self.apis.iter().flat_map(|api| &api.routes)
    }

    /// What is struck out of recordings: wherever some authorizer looks for what proves a caller, and what the operator
    /// says.
    pub fn carried(&self) -> Vec<Carried> {
        let authorizers = self.routes().flat_map(|route| &route.authorizers);
        let mut places: Vec<Carried> = self.redacted.clone();
        for place in authorizers.flat_map(|(_, spec)| spec.carried()) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// What the keys use, by their plans: nothing yet.
    pub fn usage(&self) -> Arc<Usage> {
        let plans = self.usage_plans.iter().map(|plan| plan.limits.clone());
        let keys = self.keys.len();
        let (wall, steady) = (store::Clock::system(), Clock::monotonic());
        Arc::new(Usage::new(plans.collect(), keys, wall, steady))
    }

    /// The same, for keys that go on with what `before` has counted.
    pub fn usage_after(&self, before: &Usage) -> Arc<Usage> {
        let plans = self.usage_plans.iter().map(|plan| plan.limits.clone());
        Arc::new(before.successor(plans.collect(), self.keys.len()))
    }

    /// Whether keys or plans are others than before, so that counts have to change hands.
    pub fn usage_changes(&self, before: &Blueprint) -> bool {
        let limits = |blueprint: &Blueprint| {
            let plans = blueprint.usage_plans.iter();
            plans.map(|plan| plan.limits.clone()).collect::<Vec<_>>()
        };
        limits(self) != limits(before) || !self.keys.same_names(&before.keys)
    }

    /// Whether some usage plan has a quota, which is kept in the store.
    pub fn has_quotas(&self) -> bool {
        let mut plans = self.usage_plans.iter();
        plans.any(|plan| plan.limits.quota.is_some())
    }
}
