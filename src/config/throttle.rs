//! Limits of number: token buckets, of a route or of each of its callers, and requests at once.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::model::secret::Secret;
use crate::model::text::Text;
use crate::model::value::Span;

/// A token bucket: a request takes one token, an empty bucket answers 429. Without `per` there is one bucket for all,
/// and a route's own takes the place of the general one; with `per` each caller has a bucket, beside all others.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// What headers, logs and metrics call it: letters, digits, `-`, `_` and `.`. Default: `route`; with `per` the last
    /// word of the expression, such as `sourceIp`.
    pub name: Option<String>,
    /// Tokens a second; fractions are allowed, 0 refuses everything.
    #[schemars(range(min = 0))]
    pub rate: f64,
    /// The size of the bucket, at least 1. Default: the rate, rounded up.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// Whose bucket it is: a mapping expression, such as `$context.identity.sourceIp`, `$context.identity.apiKeyId`,
    /// `$context.authorizer.claims.sub` or `$request.header.x-tenant`. Checked in the earliest phase that knows its
    /// value; requests without a value share one bucket. Default: one bucket for all.
    pub per: Option<Text>,
    /// How many bits of an IPv6 address make a caller, where `per` is `$context.identity.sourceIp`. Default: 64.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: Option<u8>,
    /// Whether it only counts what it would refuse (`penstock_throttled_total`). Default: false.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether successes tell what is left, as refusals do: `RateLimit` and `RateLimit-Policy`. Default: the stage's
    /// `rate_limit_headers`.
    pub headers: Option<bool>,
    /// The Redis (5 or later) that keeps the bucket for all instances: `redis://[user:password@]host:port/database`, or
    /// `rediss://` for TLS. Default: each instance has its own bucket.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub shared: Option<Secret<String>>,
    /// How long Redis may take to answer. Default: 50ms.
    pub shared_timeout: Option<Span>,
    /// What holds while Redis is gone. Default: `local`.
    pub when_shared_fails: Option<WhenSharedFails>,
}

/// What a shared bucket is while its Redis is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenSharedFails {
    /// Each instance goes by a bucket of its own, of the same size.
    #[default]
    Local,
    /// Every request passes.
    Open,
    /// Every request is refused with 503.
    Closed,
}

/// One bucket, or a list of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throttles(pub Vec<Throttle>);

/// How many wrong credentials a source address may bring before its requests to routes with authorizers are refused
/// with 429, unread: a bucket for each address.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthFailures {
    /// Wrong credentials a second that are forgiven.
    #[schemars(range(min = 0))]
    pub rate: f64,
    /// Wrong credentials at once, at least 1. Default: the rate, rounded up.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// How many bits of an IPv6 address make a source. Default: 64.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: Option<u8>,
    /// Whether it only counts what it would refuse. Default: false.
    #[serde(default)]
    pub dry_run: bool,
}

/// Requests of a route at once: over the limit of all 503, over that of one caller 429.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// Requests at once, at least 1.
    #[schemars(range(min = 1))]
    pub limit: usize,
    /// Whose requests are counted: a mapping expression, as in a throttle. Default: those of all callers together.
    pub per: Option<Text>,
    /// How many bits of an IPv6 address make a caller, where `per` is `$context.identity.sourceIp`. Default: 64.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: Option<u8>,
    /// Whether it only counts what it would refuse. Default: false.
    #[serde(default)]
    pub dry_run: bool,
}

/// A number, a limit, or a list of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Concurrencies(pub Vec<Concurrency>);

/// A URL may hold a password: it is never shown.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(Secret::new(text)))
}

impl<'de> Deserialize<'de> for Throttles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Buckets;
        impl<'de> Visitor<'de> for Buckets {
            type Value = Throttles;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a bucket (`{ rate: 100, burst: 200 }`) or a list of buckets")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Throttles, A::Error> {
                let one = Throttle::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Throttles(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Throttles, A::Error> {
                let mut buckets = Vec::new();
                while let Some(bucket) = list.next_element()? {
                    buckets.push(bucket);
                }
                Ok(Throttles(buckets))
            }
        }
        deserializer.deserialize_any(Buckets)
    }
}

impl JsonSchema for Throttles {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Throttles".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Throttle>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<'de> Deserialize<'de> for Concurrencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limits;
        impl Limits {
            fn number(limit: usize) -> Concurrencies {
                Concurrencies(vec![Concurrency {
                    limit,
                    per: None,
                    ipv6_prefix: None,
                    dry_run: false,
                }])
            }
        }
        impl<'de> Visitor<'de> for Limits {
            type Value = Concurrencies;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of requests, a limit (`{ limit: 10, per: $context.identity.sourceIp }`) or a list of limits")
            }
            fn visit_u64<E: de::Error>(self, limit: u64) -> Result<Concurrencies, E> {
                Ok(Limits::number(usize::try_from(limit).unwrap_or(usize::MAX)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Concurrencies, A::Error> {
                let one = Concurrency::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Concurrencies(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Concurrencies, A::Error> {
                let mut limits = Vec::new();
                while let Some(limit) = list.next_element()? {
                    limits.push(limit);
                }
                Ok(Concurrencies(limits))
            }
        }
        deserializer.deserialize_any(Limits)
    }
}

impl JsonSchema for Concurrencies {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Concurrencies".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Concurrency>();
        json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 1 }, one, { "type": "array", "items": one }]
        })
    }
}
