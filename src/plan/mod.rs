//! What the gateway runs. A plan is immutable and replaced whole: a request holds one from its route to its answer.
//!
//! `candidate` is what is on its way to become one. `compile` turns a configuration into a [`Blueprint`] (pure, every problem at once), `build` opens what the
//! blueprint names, `current` is the one pointer that the data plane reads.

pub mod admission;
mod api;
pub mod blueprint;
pub mod build;
pub mod candidate;
pub mod change;
pub mod compile;
pub mod cors;
pub mod current;
mod delivery;
mod deployment;
mod error_responses;
mod hosts;
mod keys;
mod listeners;
pub mod live;
pub mod matcher;
pub mod permissions;
mod records;
mod response;
mod routes;
mod sqs;
pub mod throttle;
mod usage;
mod validation;
mod versions;
pub mod written;

use std::sync::Arc;

use http::Method;

use crate::authn::Authenticator;
use crate::authn::api_key::ApiKeys;
use crate::authn::policy::Document;
use crate::config::Dialect;
use crate::decode::{Codings, Decoders};
use crate::forward::{AckPlan, Forward};
use crate::integration::{Integration, Targets};
use crate::limit::admission::{Admission, Budget};
use crate::limit::usage::Usage;
use crate::model::cidr::Access;
use crate::telemetry::exchange::RouteFacts;

pub use api::{Api, Chosen, Picked};
pub use blueprint::{Blueprint, RouteLimits};
pub use build::build;
pub use compile::compile;
pub use cors::CorsPolicy;
pub use current::{Current, Trial};
pub use delivery::IdempotencyPlan;
pub use error_responses::{ErrorResponses, Refused};
pub use hosts::{Host, Hosts, Mount};
pub use matcher::{Matcher, Miss, Variables};
pub use response::{HeaderChange, ResponseMapping, ResponsePlan, WebhookAck};
pub use throttle::Throttles;
pub use validation::{Invalid, Validation};
pub use versions::{Feed, TableSpec, Version, VersionError, VersionTables, Versions};

/// A route that requests go by.
#[derive(Debug)]
pub struct Route {
    pub facts: Arc<RouteFacts>,
    pub dialect: Dialect,
    /// Whom the route lets pass, by address.
    pub access: Access,
    /// The places of all requests that wait for the same target.
    pub target: Arc<Budget>,
    /// Whether callers are known, at no cost, before places are shared out among them: else it is done by address.
    pub shared_by_identity: bool,
    /// `None`: nothing limits the route's requests by their number.
    pub throttles: Option<Arc<Throttles>>,
    /// What the limits were made of: the next plan goes on with those that stay as they are.
    limited_by: LimitedBy,
    /// All must let the caller pass, in order.
    pub authenticators: Vec<Arc<Authenticator>>,
    /// Whether some authorizer knows the caller only once it has seen the body.
    pub proven_by_body: bool,
    /// Where the route only answers the questions of a webhook's sender: the method of its deliveries. Nothing is stored.
    pub questions_of: Option<Method>,
    /// Of which a caller's token needs one; none are asked for where there are none.
    pub scopes: Vec<String>,
    /// Where each usage plan has a bucket of its own for this route, by the plan's position.
    pub plan_buckets: Box<[Option<u16>]>,
    /// The resource policies of the API and of the route: none denies, and one allows where no authorizer does.
    pub policies: Vec<Arc<Document>>,
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

/// What a route's limits of number were made of.
#[derive(Clone, Debug, PartialEq)]
struct LimitedBy {
    throttles: Vec<throttle::ThrottleSpec>,
    concurrency: Vec<throttle::ConcurrencySpec>,
    auth_failures: Option<throttle::FailureSpec>,
    proven: throttle::When,
}

/// What requests of one listener meet.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    pub name: Arc<str>,
    /// Whom the listener lets in, by address.
    pub access: Access,
    position: usize,
}

impl ListenerPlan {
    /// The routes of an API that can be reached on it.
    pub fn routes_of<'a>(&self, api: &'a Api) -> Option<&'a Matcher<Arc<Route>>> {
        api.matchers.get(self.position).map(|matcher| &**matcher)
    }
}

/// All that a request needs from its head to its answer.
pub struct Plan {
    /// The id of the configuration that it was built from.
    pub deployment: Arc<str>,
    /// At least one.
    pub apis: Vec<Api>,
    hosts: Hosts,
    /// In which the gateway answers where no API is asked.
    pub dialect: Dialect,
    /// The largest request line and headers, in bytes.
    pub head_bytes: u64,
    pub header_count: usize,
    pub admission: Arc<Admission>,
    /// What decodes bodies, so many at once.
    pub decoders: Arc<Decoders>,
    pub listeners: Vec<ListenerPlan>,
    pub targets: Arc<Targets>,
    pub forward: Arc<Forward>,
    pub keys: Arc<ApiKeys>,
    /// What keys have used.
    pub usage: Arc<Usage>,
}

impl Plan {
    /// The live authorizers of that name that routes name: of each API its own.
    pub fn authorizers<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p Authenticator> {
        self.apis.iter().filter_map(move |api| api.authorizer(name))
    }

    /// The listener that a request came in on; `None` if it is no longer configured.
    pub fn listener(&self, name: &str) -> Option<&ListenerPlan> {
        self.listeners
            .iter()
            .find(|listener| *listener.name == *name)
    }
}
