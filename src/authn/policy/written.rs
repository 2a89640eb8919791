//! A policy as people write it: the vendor's JSON as text (`${file:policy.json}`), or the same as a YAML mapping.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Document, LONGEST, Side};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// A policy document, not read yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    value: Value,
    /// Written as JSON text, so that its parts have no places of their own.
    is_text: bool,
}

impl Written {
    /// The JSON text of a document; the error says what is wrong with it as JSON.
    pub fn text(text: &str) -> Result<Written, String> {
        let Strict(value) = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Written {
            value,
            is_text: true,
        })
    }

    /// A value of a JSON document.
    pub fn value(value: Value) -> Written {
        Written {
            value,
            is_text: true,
        }
    }

    /// Reads it; `name`: whose it is, for people. Everything wrong with it is noted.
    pub fn compile(
        &self,
        name: &str,
        side: Side<'_>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Arc<Document>> {
        let before = problems.errors();
        let (document, faults) = Document::parse(name, &self.value, side);
        for fault in faults {
            let (path, message) = if self.is_text && !fault.path.0.is_empty() {
                (at.clone(), format!("{}: {}", fault.path, fault.message))
            } else {
                (
                    ConfigPath([&at.0[..], &fault.path.0[..]].concat()),
                    fault.message,
                )
            };
            let problem = if fault.is_error {
                problems.error(&path, message)
            } else {
                problems.warning(&path, message)
            };
            if let Some(help) = fault.help {
                problem.help(help);
            }
        }
        let length = length(&self.value);
        if length > LONGEST {
            problems.warning(
                at,
                format!("the document has {length} characters; the vendor takes {LONGEST}"),
            );
        }
        (problems.errors() == before).then(|| Arc::new(document))
    }
}

/// Characters without white space between the tokens.
fn length(value: &Value) -> usize {
    value.to_string().chars().count()
}

/// Any JSON, in which no key stands twice: of two conditions the one that was meant would be lost.
#[derive(Debug)]
pub(in crate::authn) struct Strict(pub Value);

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy document: a mapping, or its JSON as text")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Strict(list.into()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Strict, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "the key `{key}` stands twice"
                )));
            }
            map.insert(key, value);
        }
        Ok(Strict(map.into()))
    }
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Strict(value) = Strict::deserialize(deserializer)?;
        match value {
            Value::String(text) => Written::text(&text).map_err(|error| {
                de::Error::custom(format_args!("the policy is not JSON: {error}"))
            }),
            value => Ok(Written {
                value,
                is_text: false,
            }),
        }
    }
}

impl JsonSchema for Written {
    fn schema_name() -> Cow<'static, str> {
        "Policy".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An IAM policy document: a mapping with `Version` and `Statement`, or its JSON as text, such as `${file:policy.json}`.",
            "type": ["object", "string"]
        })
    }
}
