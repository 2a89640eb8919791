//! How a new configuration takes over.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::off::{self, OrOff};
use crate::model::text::Text;
use crate::model::value::{Share, Span};

/// How this configuration takes over from the one that runs, when a file changes, on SIGHUP, or by `penstock deploy`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deployment {
    /// `all`: it serves every request at once; `canary`: a growing share of the callers, and it is taken back when their
    /// requests end worse than those of the others. Default: `all`.
    pub strategy: Option<Strategy>,
    /// The canary's shares, growing. At 100% it has taken over; without such a last step it stays where it is until
    /// `penstock promote`. Default: `[5%, 25%, 100%]`.
    #[schemars(length(min = 1))]
    pub steps: Option<Vec<Share>>,
    /// How long each step lasts at least, 1s to 30d. Default: 5m.
    pub every: Option<Span>,
    /// What a caller is known by, so that it always meets the same one of both: the first of these that a request has.
    /// Headers, query parameters and the source address can be named; `false`: nothing, each request goes its own way.
    /// Default: `[$request.header.authorization, $request.header.x-api-key, $context.identity.sourceIp]`.
    #[serde(deserialize_with = "off::or_off")]
    #[schemars(with = "Option<OrOff<Sticky>>")]
    pub sticky: Option<Option<Sticky>>,
    /// Stage variables of the canary, laid over `stage_variables`; they stay with it when it is promoted.
    pub variables: IndexMap<String, String>,
    /// When the canary is taken back; `false` for never by itself. Default: `{ error_ratio: 2%, min_requests: 200 }`.
    #[serde(deserialize_with = "off::or_off")]
    #[schemars(with = "Option<OrOff<RollbackOn>>")]
    pub rollback_on: Option<Option<RollbackOn>>,
}

/// How a new configuration takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// It serves every request at once.
    #[default]
    All,
    /// It serves a growing share of the callers.
    Canary,
}

/// What a caller is known by: mapping expressions of headers, query parameters and the source address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sticky(pub Vec<Text>);

/// When a canary is taken back: when more of its requests are bad than is said here, and a statistical test shows that
/// it does worse than the baseline at the same time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackOn {
    /// The part of its requests that may fail: answers of 5xx but for overload, and records that the target refuses.
    /// Default: 2%.
    pub error_ratio: Option<Share>,
    /// The part of its requests that may be answered another 4xx beyond that of the baseline's: credentials that it does not
    /// know, routes that it lacks, schemas that nobody follows. `100%`: any. Default: 20%.
    pub refused_ratio: Option<Share>,
    /// How long 99 of 100 of its requests may take, from the head to the answer, without the time in which the body comes.
    /// Default: as long as they do.
    pub p99: Option<Span>,
    /// Requests of the canary at each step before it goes on; before a test that is not overwhelming takes it back, too.
    /// Default: 200.
    pub min_requests: Option<u64>,
}
