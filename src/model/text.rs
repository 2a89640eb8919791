//! Text of the configuration in which part may have come from outside (`${env:…}`, `${file:…}`). What was substituted
//! is literal: it is never parsed as a mapping, whatever it holds.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// The newtype name under which the loader hands over pieces instead of one joined string.
pub const TEXT_TOKEN: &str = "$penstock::Text";

/// The same, for a type that takes a list as well: it tells pieces from items itself.
pub const TEXTS_TOKEN: &str = "$penstock::Texts";

/// The same, for JSON of any shape: the loader hands over what is plainly a number, a boolean or nothing as that, any
/// other scalar as an optional value that holds a [`Text`], lists and mappings as they are.
pub const JSON_TOKEN: &str = "$penstock::Json";

/// One piece of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// As written: `$…` and `${…}` in it are mapping expressions.
    Written(String),
    /// Substituted from outside, or a literal `${` that was written `$${`.
    Literal(String),
}

/// A value that may hold mapping expressions. Numbers and booleans are taken as their text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(pub Vec<Piece>);

impl Text {
    /// A text that is all as written.
    pub fn written(text: impl Into<String>) -> Text {
        Text(vec![Piece::Written(text.into())])
    }

    /// The text as one string, pieces joined. May hold secrets: not for messages.
    pub fn joined(&self) -> Cow<'_, str> {
        match self.0.as_slice() {
            [Piece::Written(text) | Piece::Literal(text)] => Cow::Borrowed(text),
            pieces => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Written(text) | Piece::Literal(text) => text.as_str(),
                })
                .collect::<String>()
                .into(),
        }
    }

    /// The text as it may be shown: what came from outside stands as `…`.
    pub fn shown(&self) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Written(text) => text.as_str(),
                Piece::Literal(text) if text == "${" => "$${",
                Piece::Literal(_) => "…",
            })
            .collect()
    }
}

struct Pieces;

impl<'de> Visitor<'de> for Pieces {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, which may hold mapping expressions")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::written(text))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text::written(value.to_string()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Text, E> {
        Ok(Text::written(value.to_string()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Text, E> {
        Ok(Text::written(value.to_string()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Text, E> {
        Ok(Text::written(value.to_string()))
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Text, D::Error> {
        inner.deserialize_any(self)
    }
    /// The loader's form: pairs of (is it literal?, text).
    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Text, A::Error> {
        let mut pieces = Vec::new();
        while let Some((literal, text)) = pairs.next_element::<(bool, String)>()? {
            pieces.push(if literal {
                Piece::Literal(text)
            } else {
                Piece::Written(text)
            });
        }
        Ok(Text(pieces))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_TOKEN, Pieces)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Static text, a mapping expression (`$request.body.id`), or text with `${…}` inside.",
            "type": ["string", "number", "boolean"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_not_shown() {
        let text = Text(vec![
            Piece::Written("Bearer ".into()),
            Piece::Literal("hunter2".into()),
        ]);
        assert_eq!(text.shown(), "Bearer …");
        assert_eq!(text.joined(), "Bearer hunter2");
    }
}
