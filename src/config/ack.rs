//! What a route promises with a 2xx, and how requests that are sent twice are told from new ones.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::forward::{AckMode, OnPoison, Order};
use crate::model::text::Text;
use crate::model::value::Span;

/// What an answer of 2xx says about the payload: a mode, or a mode with its details.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    pub mode: AckMode,
    pub budget: Option<Span>,
    pub order: Option<Order>,
    pub on_poison: Option<OnPoison>,
}

/// A mode with its details.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AckDetails")]
struct Details {
    /// `target`: the target has it. `spool`: it is on disk here and goes to the target in the background.
    /// `target-or-spool`: either, and the answer says which.
    mode: AckMode,
    /// `target-or-spool`: how long the target may take before the payload is spooled instead. Default: 800ms.
    budget: Option<Span>,
    /// Spooled records that keep their order: `none`, `key` (those of one message group or partition key), `route`
    /// (all of the route, one at a time). Default: `key` for FIFO queues and Kinesis, else `none`.
    order: Option<Order>,
    /// What becomes of the records behind one that the target refuses for what it is: they `continue`, or `stop` until
    /// somebody has purged it. Default: `continue`.
    on_poison: Option<OnPoison>,
}

impl<'de> Deserialize<'de> for Ack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Ack;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`target`, `spool`, `target-or-spool`, or `{ mode: …, budget: …, order: … }`",
                )
            }
            fn visit_str<E: de::Error>(self, mode: &str) -> Result<Ack, E> {
                let mode = AckMode::deserialize(StrDeserializer::new(mode))?;
                Ok(Ack {
                    mode,
                    ..Ack::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Ack, A::Error> {
                let details = Details::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Ack {
                    mode: details.mode,
                    budget: details.budget,
                    order: details.order,
                    on_poison: details.on_poison,
                })
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Ack {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ack".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What an answer of 2xx says about the payload: a mode, or a mode with its details.",
            "anyOf": [generator.subschema_for::<AckMode>(), generator.subschema_for::<Details>()]
        })
    }
}

/// Requests with the same key are served once: a repeated one gets the first answer, with `idempotency-replayed: true`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// The key, a mapping expression such as `$request.header.idempotency-key`: 1 to 255 bytes. Keys of different
    /// routes, stages and callers are different keys. `$context.idempotencyId` is what identifies it to a target.
    #[schemars(required)]
    pub key: Option<Text>,
    /// How long an answer is kept, 1s to 30d. Default: 24h.
    pub ttl: Option<Span>,
    /// What a known key with another payload is: `refuse` (422), or `store` (a new request, stored without the key).
    /// Default: `refuse`.
    pub on_mismatch: Option<OnMismatch>,
    /// Whether a request without a key is refused with 400. Default: false.
    #[serde(default)]
    pub required: bool,
}

/// What a known key with another payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnMismatch {
    /// 422.
    #[default]
    Refuse,
    /// A new request, which is stored without the key. For the ids of webhook deliveries.
    Store,
}
