//! The `integration` of a route as people write it: one tag with the service's own parameters, and our keys beside it.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::kind::{Aggregate, DecodeData, Encode, Kind, OwnKeys};
use super::{KEYS, NAMES, Parameters};

/// What a route calls: exactly one of the vendor's subtypes or `Mock`, with the service's own parameter names, and
/// Penstock's own keys beside it.
#[derive(Clone, Debug)]
pub struct IntegrationConfig {
    pub(super) parameters: Parameters,
    pub(super) own: OwnKeys,
}

/// The keys that are ours.
pub(super) const ENCODE: &str = "encode";
pub(super) const DECODE_DATA: &str = "decode_data";
pub(super) const AGGREGATE: &str = "aggregate";

impl<'de> Deserialize<'de> for IntegrationConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = IntegrationConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integration, such as `SQS-SendMessage: { QueueUrl: …, MessageBody: $request.body }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut own = OwnKeys::default();
        let mut parameters: Option<Parameters> = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                ENCODE => own.encode = Some(map.next_value()?),
                DECODE_DATA => own.decode_data = Some(map.next_value()?),
                AGGREGATE => own.aggregate = Some(map.next_value()?),
                tag if NAMES.contains(&tag) => {
                    if let Some(first) = &parameters {
                        return Err(A::Error::custom(format!(
                            "a route has one integration; found `{}` and `{tag}`",
                            first.name()
                        )));
                    }
                    parameters = Parameters::read(tag, &mut map)?;
                }
                unknown => {
                    return Err(A::Error::unknown_field(unknown, KEYS));
                }
            }
        }
        match parameters {
            Some(parameters) => Ok(IntegrationConfig { parameters, own }),
            None => Err(A::Error::custom(format!(
                "no integration is named; allowed: {}",
                NAMES.join(", ")
            ))),
        }
    }
}

impl JsonSchema for IntegrationConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Integration".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut one_of = Vec::with_capacity(NAMES.len());
        for (tag, schema) in Parameters::schemas(generator) {
            let mut properties = Map::from_iter([(tag.to_owned(), Value::from(schema))]);
            if tag == <super::sqs::SendMessage as Kind>::NAME {
                let schema = generator.subschema_for::<Encode>();
                properties.insert(ENCODE.to_owned(), Value::from(schema));
            }
            if tag == <super::kinesis::PutRecord as Kind>::NAME {
                let schema = generator.subschema_for::<DecodeData>();
                properties.insert(DECODE_DATA.to_owned(), Value::from(schema));
                let schema = generator.subschema_for::<Aggregate>();
                properties.insert(AGGREGATE.to_owned(), Value::from(schema));
            }
            one_of.push(json!({
                "type": "object",
                "properties": properties,
                "required": [tag],
                "additionalProperties": false
            }));
        }
        schemars::json_schema!({
            "description": "What the route calls: one of the vendor's subtypes or Mock, with the service's own parameter names.",
            "oneOf": one_of
        })
    }
}
