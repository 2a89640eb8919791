//! What people write: the types of the route file. They hold no live things. Their doc comments are the reference:
//! `config/schema.json` and `docs/configuration.md` are generated from them.

mod ack;
mod capture;
pub mod certificates;
pub mod copy;
mod decode;
mod deployment;
mod error_responses;
pub mod key_files;
mod keys;
mod listener;
pub mod load;
mod off;
pub mod reference;
mod route;
mod schema;
pub mod secrets;
mod service;
mod stage;
mod target;
mod throttle;
mod usage_plans;
pub mod users;
pub mod validation;
pub mod vendor;
mod versions;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::authn::{AuthorizerConfig, policy};
use crate::aws;
use crate::model::route_key::RouteKey;
use crate::model::value::{QueueName, StageName};
use crate::outbound;
use crate::sqs_api;

use load::Division;
use off::OrOff;

pub use ack::{Ack, Idempotency as IdempotencyConfig, OnMismatch};
pub use capture::{Capture, Struck};
pub use decode::Decode;
pub use deployment::{Deployment, RollbackOn, Sticky, Strategy};
pub use error_responses::ErrorResponse;
pub use keys::{ApiKey, KeyFile};
pub use listener::{Admin, ClientAuth, Listener, Tls as ListenerTls};
pub use route::{OneOrMany, Response, Route, RouteLimits};
pub use schema::{described, schema};
pub use secrets::Secrets;
pub use service::{Queue, Redrive, StoreConfig};
pub use stage::{AccessLog, Cors, Dialect, Limits, LogFormat, TrailingSlash};
pub use target::{Backoff, Batch, Breaker, Target};
pub use throttle::{
    AuthFailures, Concurrencies, Concurrency, Throttle, Throttles, WhenSharedFails,
};
pub use usage_plans::{PlanQuota, PlanThrottle, QuotaPeriod, UsagePlan};
pub use versions::{Partition, Version, VersionAttributes, VersionSource, VersionTable, Versions};

/// What belongs to one API, where files hold several: these sections stand in files that name their `api`. All others
/// are the process's, stand in any file, and hold for every API.
pub const OF_ONE_API: Division = Division {
    sections: &[
        "api",
        "hosts",
        "base_path",
        "strip_base_path",
        "stage",
        "stage_variables",
        "responses",
        "trailing_slash",
        "cors",
        "throttle",
        "rate_limit_headers",
        "decode",
        "authorizers",
        "policy",
        "versions",
        "error_responses",
        "routes",
    ],
    keys: &[("limits", &["body", "body_timeout", "timeout"])],
};

/// A route file: what Penstock listens on, who may come in, and where each request's payload is made durable.
///
/// Values may hold `${env:NAME}`, `${env:NAME:-default}` and `${file:path}`. Durations are written `30s`, sizes
/// `256KiB`, rates as numbers per second. Paths are relative to the file that names them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of the API, `$context.apiId`. Default: the name of the file.
    pub api: Option<String>,
    /// The hosts that the API serves: names, and `*.example.com` for any one name in front. Port and case make no
    /// difference. Where several APIs are configured, an exact name goes before a wildcard, and an API without hosts serves
    /// those that no other API names. Default: every host.
    pub hosts: OneOrMany,
    /// The paths under which the API is found, such as `orders/v1`: whole segments, the longest first; an API without
    /// one serves what is left on its hosts. Default: the whole path.
    pub base_path: OneOrMany,
    /// Whether the base path is taken off before stage and routes are looked at. Default: true.
    pub strip_base_path: Option<bool>,
    /// Which version a request is for, where this API stands in front of several: each version is an API of its own, with
    /// an `api:` and files of its own. One that names neither hosts nor a base path is reached in this way alone.
    /// Default: none.
    pub versions: Option<Versions>,
    /// The stage, `$context.stage`. A named stage serves paths under `/NAME/`; `$default` serves the whole path.
    /// Default: `$default`.
    pub stage: Option<StageName>,
    /// Variables for `$stageVariables.NAME`: names of letters, digits and `_`, up to 64 characters, values up to 2,048.
    pub stage_variables: IndexMap<String, String>,
    /// How answers look: `native` (JSON of our own, RFC 9457 problems) or `aws` (the service's own answers, the
    /// vendor's error bodies). Default: `native`.
    pub responses: Option<Dialect>,
    /// Whether `/orders/` is `/orders`: `strict` (two paths), `ignore` (one path), `redirect` (308 to the path that
    /// has a route). Default: `strict`.
    pub trailing_slash: Option<TrailingSlash>,
    /// The addresses that requests come in on, by name. Default: `public` on 127.0.0.1:8080.
    pub listeners: IndexMap<String, Listener>,
    /// The admin listener: health, metrics, the plan. Default: 127.0.0.1:9901.
    pub admin: Option<Admin>,
    /// How AWS is reached.
    pub aws: Option<aws::Settings>,
    /// How the gateway's own requests go out: for issuers' keys, request authorizers, webhook certificates.
    pub egress: outbound::Settings,
    /// How secrets from outside are kept up to date.
    pub secrets: Secrets,
    /// The embedded durable store.
    pub store: Option<StoreConfig>,
    /// Embedded queues, with the semantics of SQS. Names follow SQS's rule; a FIFO queue's ends in `.fifo`.
    pub queues: IndexMap<QueueName, Queue>,
    /// The SQS protocol over the embedded queues, on a listener of its own. Default: none.
    pub sqs: Option<sqs_api::Settings>,
    /// How targets are treated, by queue URL, ARN or name; `default` for those that are not named.
    pub targets: IndexMap<String, Target>,
    /// Cross-origin resource sharing, for every route; `false` for none. Default: none.
    #[serde(deserialize_with = "off::unless_off")]
    #[schemars(with = "Option<OrOff<Cors>>")]
    pub cors: Option<Cors>,
    /// The token bucket, or the list of them, that every route gets a copy of; `false` for none. Default: none.
    #[serde(deserialize_with = "off::unless_off")]
    #[schemars(with = "Option<OrOff<Throttles>>")]
    pub throttle: Option<Throttles>,
    /// Whether successes tell what is left of the throttles, as refusals do: `RateLimit` and `RateLimit-Policy`, in the
    /// `native` dialect. Default: false.
    pub rate_limit_headers: bool,
    /// How many wrong credentials an address may bring before it is slowed down; `false` for any number. Default:
    /// `{ rate: 10, burst: 100 }`.
    #[serde(deserialize_with = "off::or_off")]
    #[schemars(with = "Option<OrOff<AuthFailures>>")]
    pub auth_failures: Option<Option<AuthFailures>>,
    /// Limits of size, time and number.
    pub limits: Limits,
    /// Content codings (`gzip`, `br`, `zstd`) that are undone before a payload is mapped, on every route; a body in
    /// another one is answered 415. `false` for none: then a body is stored as it came. Default: none.
    #[serde(deserialize_with = "off::unless_off")]
    #[schemars(with = "Option<OrOff<Decode>>")]
    pub decode: Option<Decode>,
    /// Refusals in other words than the gateway's: by code (`no_route`, `throttled`, …), and `default_4xx` and
    /// `default_5xx` for those that are not named. Default: none.
    pub error_responses: IndexMap<String, ErrorResponse>,
    /// Who may come in, by name. `none` and `api_key` are built in.
    pub authorizers: IndexMap<String, AuthorizerConfig>,
    /// Who may call, over all routes: a resource policy in the vendor's JSON, as a mapping or as text
    /// (`${file:policy.json}`). Its resources are `execute-api:/STAGE/METHOD/path`. Default: none.
    pub policy: Option<policy::Written>,
    /// API keys by id: what logs, mappings and reports call them. Up to 128 characters.
    pub api_keys: IndexMap<String, ApiKey>,
    /// Further keys, in files of their own: YAML (`api_keys:` as here), or the CSV of the vendor's import (a first line
    /// with `Name,Key` and, where wanted, `Description`, `Enabled`, `UsagePlanIds`).
    pub api_key_files: Vec<KeyFile>,
    /// How fast and how much the keys of a plan may ask, by name.
    pub usage_plans: IndexMap<String, UsagePlan>,
    /// The routes: `METHOD /path`, `ANY /path`, `METHOD /path/{name}`, `METHOD /path/{rest+}`, `$default`.
    pub routes: IndexMap<RouteKey, Route>,
    /// How this configuration takes over from the one that runs.
    pub deployment: Deployment,
    /// One line for each request; `false` for none. Default: JSON to standard output.
    #[serde(deserialize_with = "off::access_log")]
    #[schemars(with = "Option<OrOff<AccessLog>>")]
    pub access_log: Option<AccessLog>,
    /// A standing recording of requests, for `penstock replay`; `false` for none. Default: none.
    #[serde(deserialize_with = "off::unless_off")]
    #[schemars(with = "Option<OrOff<Capture>>")]
    pub capture: Option<Capture>,
}
