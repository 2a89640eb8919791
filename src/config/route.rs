//! A route: who may use it, within what limits, and where its payload goes.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::ack::{Ack, Idempotency};
use super::decode::Decode;
use super::off::{self, OrOff};
use super::throttle::{Concurrencies, Throttles};
use super::validation::{Required, Schema};
use crate::authn::policy;
use crate::integration::IntegrationConfig;
use crate::mapping::Json;
use crate::model::cidr::Cidr;
use crate::model::text::Text;
use crate::model::value::{ByteSize, Span};

/// A route.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Who may come in: one authorizer, or a list that must all let the caller pass, in order. Default: anyone.
    pub authorizer: Option<OneOrMany>,
    /// Scopes of which the caller's token needs at least one (`scope` or `scp`), at most 10. Needs a `jwt` authorizer.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub scopes: Vec<String>,
    /// Who may call: a resource policy of this route, together with that of the API. A deny in either refuses; an allow
    /// in either is enough. Default: none.
    pub policy: Option<policy::Written>,
    /// The listeners that the route can be reached on, by name; on others it is not there. Default: all.
    pub listeners: Option<Vec<String>>,
    /// The addresses that may use the route; everyone else gets 403. Default: everybody's.
    pub allow: Option<Vec<Cidr>>,
    /// The addresses that get 403, also where `allow` has them. Default: nobody's.
    pub deny: Option<Vec<Cidr>>,
    /// The route's own token buckets: one, or a list. The one without `per` takes the place of the general one, those
    /// with `per` stand beside the general ones; `false` or `none` for no bucket at all.
    #[serde(default, deserialize_with = "off::or_off")]
    #[schemars(with = "Option<OrOff<Throttles>>")]
    pub throttle: Option<Option<Throttles>>,
    /// Requests of the route at once: a number, or limits for each caller. Default: only `limits.in_flight`.
    pub concurrency: Option<Concurrencies>,
    /// The route's own limits.
    #[serde(default)]
    pub limits: RouteLimits,
    /// Content codings that are undone before the payload is mapped, in place of the general ones; `false` for none.
    #[serde(default, deserialize_with = "off::or_off")]
    #[schemars(with = "Option<OrOff<Decode>>")]
    pub decode: Option<Option<Decode>>,
    /// What the body has to look like, as JSON. One that does not is answered 400 `schema_invalid`, and nothing is stored.
    /// Default: anything.
    pub schema: Option<Schema>,
    /// Headers and query parameters that have to be there and not be blank: else 400 `parameters_invalid`.
    #[serde(default)]
    pub required: Required,
    /// The content types that are taken, such as `application/json`, `text/*` or `application/*+json`: 415 for another
    /// one, and for none. Default: all.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// Where the payload goes: a service's call with its own parameter names, each a mapping expression.
    pub integration: Option<IntegrationConfig>,
    /// Several targets in place of one: each gets its own copy, and all are acknowledged together. Needs `ack: spool` or
    /// `target-or-spool`; the answer is taken from the first.
    #[serde(default)]
    pub integrations: Vec<IntegrationConfig>,
    /// What has the payload when the answer is 2xx: `target`, `spool` (this machine's disk) or `target-or-spool`.
    /// Default: `target`.
    pub ack: Option<Ack>,
    /// Requests that are sent twice are stored once; `false` for none. Default: none, and behind a webhook authorizer
    /// the sender's own id of the delivery, where it gives one (`{ ttl: 7d, on_mismatch: store }`).
    #[serde(default, deserialize_with = "off::or_off")]
    #[schemars(with = "Option<OrOff<Idempotency>>")]
    pub idempotency: Option<Option<Idempotency>>,
    /// What a success answers, where the dialect's own answer is not what callers want.
    pub response: Option<Response>,
    /// The vendor's response mapping: by the integration's status, `append:header.NAME`, `overwrite:header.NAME`,
    /// `remove:header.NAME` and `overwrite:statuscode`.
    #[serde(default)]
    #[schemars(
        with = "std::collections::BTreeMap<String, std::collections::BTreeMap<String, Text>>"
    )]
    pub response_parameters: IndexMap<String, IndexMap<String, Text>>,
}

/// Limits of one route, in place of the general ones.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteLimits {
    /// The largest body.
    pub body: Option<ByteSize>,
    /// How long a body may take to arrive.
    pub body_timeout: Option<Span>,
    /// How long the target may take to answer, from the body's last byte on.
    pub timeout: Option<Span>,
}

/// What a success answers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
    /// The status, 200 to 299.
    #[schemars(range(min = 200, max = 299))]
    pub status: Option<u16>,
    /// Headers to add; expressions may name `$integration.messageId`, `$context.requestId` and the request.
    #[schemars(with = "std::collections::BTreeMap<String, Text>")]
    pub headers: IndexMap<String, Text>,
    /// The body, as JSON whose texts may be expressions: `{ year: $response.body.Item.year.S }`. A selector alone keeps the
    /// type of what it finds; a member or item without a value is left out, unless it has a default
    /// (`${response.body.x:-}`). Default: the dialect's own.
    pub body: Option<Json>,
}

/// One name, or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![name.to_owned()]))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<OneOrMany, E> {
                if value {
                    Err(E::custom(
                        "found `true`, expected a name or a list of names",
                    ))
                } else {
                    self.visit_str("none")
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(OneOrMany(names))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A name, or a list of names; `false` means `none`.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }, { "const": false }]
        })
    }
}
