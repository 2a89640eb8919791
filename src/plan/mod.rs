//! What the gateway runs. A plan is immutable and replaced whole: a request holds one from its route to its answer.
//!
//! `compile` turns a configuration into a [`Blueprint`] (pure, every problem at once), `build` opens what the
//! blueprint names, `current` is the one pointer that the data plane reads.

pub mod blueprint;
pub mod build;
pub mod compile;
pub mod cors;
pub mod current;
mod delivery;
pub mod matcher;
mod response;
mod routes;
mod sqs;

use std::sync::Arc;

use http::Method;
use indexmap::IndexMap;

use crate::authn::Authenticator;
use crate::config::{Dialect, TrailingSlash};
use crate::forward::{AckPlan, Forward};
use crate::integration::{Integration, Targets};
use crate::limit::{Bucket, Slots};
use crate::telemetry::exchange::RouteFacts;

pub use blueprint::{Blueprint, RouteLimits};
pub use build::build;
pub use compile::compile;
pub use cors::CorsPolicy;
pub use current::Current;
pub use delivery::IdempotencyPlan;
pub use matcher::{Matcher, Miss, Variables};
pub use response::{HeaderChange, ResponseMapping, ResponsePlan, WebhookAck};

/// A route that requests go by.
#[derive(Debug)]
pub struct Route {
    pub facts: Arc<RouteFacts>,
    pub dialect: Dialect,
    pub throttle: Option<Arc<Bucket>>,
    /// All must let the caller pass, in order.
    pub authenticators: Vec<Arc<Authenticator>>,
    /// Whether some authorizer knows the caller only once it has seen the body.
    pub proven_by_body: bool,
    /// Where the route only answers the questions of a webhook's sender: the method of its deliveries. Nothing is stored.
    pub questions_of: Option<Method>,
    pub limits: RouteLimits,
    pub integration: Integration,
    /// Further targets that get a copy.
    pub copies: Vec<Integration>,
    pub ack: AckPlan,
    pub idempotency: Option<IdempotencyPlan>,
    pub response: ResponsePlan,
}

/// All that a request needs from its head to its answer.
pub struct Plan {
    pub api: Arc<str>,
    pub stage: Arc<str>,
    /// `/prod` for a named stage, empty for `$default`.
    pub prefix: String,
    pub stage_variables: Arc<IndexMap<String, String>>,
    pub dialect: Dialect,
    pub trailing_slash: TrailingSlash,
    pub cors: Option<CorsPolicy>,
    /// The largest request line and headers, in bytes.
    pub head_bytes: u64,
    pub header_count: usize,
    pub slots: Slots,
    pub matcher: Matcher<Arc<Route>>,
    pub routes: Vec<Arc<Route>>,
    pub targets: Arc<Targets>,
    pub forward: Arc<Forward>,
}

impl Plan {
    /// The path below the stage; `None` where the stage does not serve the path.
    pub fn below_stage<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(&self.prefix)?;
        match rest {
            "" => Some("/"),
            rest if rest.starts_with('/') || self.prefix.is_empty() => Some(rest),
            _ => None,
        }
    }
}
