//! How values that come in several forms are read, and what the schema says of them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Condition, SecretDetails, SecretText, Setting, Several, Word};
use crate::model::secret::Secret;

struct WordForm;

impl Visitor<'_> for WordForm {
    type Value = Word;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
        Ok(Word(text.to_owned()))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Word, E> {
        Ok(Word(value.to_string()))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordForm)
    }
}

pub(super) fn secret_word<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Secret<String>, D::Error> {
    Word::deserialize(deserializer).map(|word| Secret::new(word.0))
}

/// Reads one text or a list of texts.
struct Texts(&'static str);

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(vec![number.to_string()])
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(vec![number.to_string()])
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(vec![value.to_string()])
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(Word(text)) = list.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Texts("a text or a list of texts"))
            .map(Several)
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = deserializer.deserialize_any(Texts("a text or a list of texts"))?;
        Ok(Setting(texts.into_iter().map(Secret::new).collect()))
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Condition;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, `present`, `absent`, `token` or `[]`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Condition, E> {
                Ok(match text {
                    "present" => Condition::Present,
                    "absent" => Condition::Absent,
                    "token" => Condition::Token,
                    text => Condition::Is(text.to_owned()),
                })
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Condition, E> {
                Ok(Condition::Is(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Condition, E> {
                Ok(Condition::Is(number.to_string()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Condition, E> {
                Ok(Condition::Is(value.to_string()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Condition, A::Error> {
                match list.next_element::<de::IgnoredAny>()? {
                    None => Ok(Condition::EmptyList),
                    Some(_) => Err(de::Error::custom("only an empty list is a condition")),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = SecretText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, or `{ value: …, from: …, until: … }`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText {
                    value: Secret::new(text.to_owned()),
                    from: None,
                    until: None,
                })
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<SecretText, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretText, A::Error> {
                let details = SecretDetails::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SecretText {
                    value: Secret::new(details.value.0),
                    from: details.from,
                    until: details.until,
                })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

macro_rules! schema_of {
    ($($type:ident $name:literal => |$generator:ident| $schema:expr;)+) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        })+
    };
}

schema_of! {
    Word "WebhookText" => |_generator| json_schema!({ "type": ["string", "integer", "boolean"] });
    Several "WebhookTexts" => |generator| json_schema!({
        "description": "A text, or a list of texts.",
        "anyOf": [generator.subschema_for::<Word>(), { "type": "array", "items": generator.subschema_for::<Word>() }]
    });
    Setting "WebhookSetting" => |generator| json_schema!({
        "description": "A text, or a list of texts.",
        "anyOf": [generator.subschema_for::<Word>(), { "type": "array", "items": generator.subschema_for::<Word>() }]
    });
    Condition "WebhookCondition" => |generator| json_schema!({
        "description": "A text that the value must be, or `present`, `absent`, `token`, or `[]` for an empty list.",
        "anyOf": [generator.subschema_for::<Word>(), { "type": "array", "maxItems": 0 }]
    });
    SecretText "WebhookSecret" => |generator| json_schema!({
        "description": "A secret, or a secret with the time in which it is accepted.",
        "anyOf": [{ "type": ["string", "integer"] }, generator.subschema_for::<SecretDetails>()]
    });
}
