//! A text or a list of texts, as people write audiences and the values of claims. Numbers and booleans are their text.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// A text or a list of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

struct One(String);

struct Reader<T>(std::marker::PhantomData<T>);

trait FromTexts: Sized {
    fn one(text: String) -> Self;
    fn many<E: Error>(texts: Vec<String>) -> Result<Self, E>;
}

impl FromTexts for One {
    fn one(text: String) -> One {
        One(text)
    }
    fn many<E: Error>(_: Vec<String>) -> Result<One, E> {
        Err(E::custom("found a list, expected a text"))
    }
}

impl FromTexts for Names {
    fn one(text: String) -> Names {
        Names(vec![text])
    }
    fn many<E: Error>(texts: Vec<String>) -> Result<Names, E> {
        Ok(Names(texts))
    }
}

impl<'de, T: FromTexts> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::one(text.to_owned()))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        Ok(T::one(value.to_string()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Ok(T::one(value.to_string()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        Ok(T::one(value.to_string()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        Ok(T::one(value.to_string()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        let mut texts = Vec::new();
        while let Some(One(text)) = list.next_element()? {
            texts.push(text);
        }
        T::many(texts)
    }
}

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<One, D::Error> {
        deserializer.deserialize_any(Reader(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        deserializer.deserialize_any(Reader(std::marker::PhantomData))
    }
}

impl JsonSchema for Names {
    fn schema_name() -> Cow<'static, str> {
        "Names".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({ "type": ["string", "number", "boolean"] });
        json_schema!({
            "description": "A text, or a list of texts.",
            "anyOf": [one, { "type": "array", "items": one }]
        })
    }
}
