//! Values that people may write in more than one shape: a text, a list of texts, a map.
//!
//! The loader hands over a text as a list of pairs (literal?, text), under the names [`TEXT_TOKEN`] and
//! [`TEXTS_TOKEN`]; under the latter a list of texts is a list too. The items tell them apart.

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::text::{Piece, TEXT_TOKEN, TEXTS_TOKEN, Text};

/// A text, a list of texts, or a map from names.
#[derive(Clone, Debug)]
pub(super) enum Shape<V> {
    Text(Text),
    List(Vec<Text>),
    Map(Vec<(String, V)>),
}

/// A list of texts: one text that says them all, or one each.
#[derive(Clone, Debug)]
pub struct TextList(pub(super) Shape<Never>);

/// A map from names to values, or the text (JSON) of one.
#[derive(Clone, Debug)]
pub struct TextMap<V>(pub(super) Shape<V>);

/// What no map here holds.
#[derive(Clone, Debug)]
pub enum Never {}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "expected a text or a list of texts, found a map",
        ))
    }
}

impl<'de> Deserialize<'de> for TextList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expects = "a text or a list of texts";
        deserializer
            .deserialize_newtype_struct(TEXTS_TOKEN, Shapes(expects, PhantomData))
            .map(TextList)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for TextMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expects = "a map, or its JSON text";
        match deserializer.deserialize_newtype_struct(TEXT_TOKEN, Shapes(expects, PhantomData))? {
            Shape::List(_) => Err(D::Error::custom(format!(
                "expected {expects}, found a list"
            ))),
            shape => Ok(TextMap(shape)),
        }
    }
}

impl JsonSchema for TextList {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TextList".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<Text>();
        schemars::json_schema!({
            "description": "A list of texts, a JSON array as text, or texts with commas between.",
            "anyOf": [text, { "type": "array", "items": text }]
        })
    }
}

struct Shapes<V>(&'static str, PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Shapes<V> {
    type Value = Shape<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Shape::Text(Text::written(text)))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Shape::Text(Text::written(value.to_string())))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Shape::Text(Text::written(value.to_string())))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Shape::Text(Text::written(value.to_string())))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Shape::Text(Text::written(value.to_string())))
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        inner.deserialize_any(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        let mut pieces = Vec::new();
        while let Some(item) = list.next_element::<Item>()? {
            match item {
                Item::Piece(piece) => pieces.push(piece),
                Item::Text(text) => texts.push(text),
            }
        }
        Ok(if pieces.is_empty() {
            Shape::List(texts)
        } else {
            Shape::Text(Text(pieces))
        })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Map(entries))
    }
}

/// An item of a list: a piece of one text, or a text of its own.
enum Item {
    Piece(Piece),
    Text(Text),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_TOKEN, Items)
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Text(Text::written(text)))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Item, E> {
        Ok(Item::Text(Text::written(value.to_string())))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Item, E> {
        Ok(Item::Text(Text::written(value.to_string())))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Item, E> {
        Ok(Item::Text(Text::written(value.to_string())))
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Item, D::Error> {
        inner.deserialize_any(self)
    }
    /// Either the pair itself (literal?, text), or a text given in such pairs.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
        let mut pieces = Vec::new();
        while let Some(first) = list.next_element::<First>()? {
            match first {
                First::Literal(literal) => {
                    let text = list
                        .next_element()?
                        .ok_or_else(|| A::Error::invalid_length(1, &self))?;
                    return Ok(Item::Piece(piece(literal, text)));
                }
                First::Pair(piece) => pieces.push(piece),
            }
        }
        Ok(Item::Text(Text(pieces)))
    }
}

fn piece(literal: bool, text: String) -> Piece {
    if literal {
        Piece::Literal(text)
    } else {
        Piece::Written(text)
    }
}

enum First {
    Literal(bool),
    Pair(Piece),
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Firsts;
        impl<'de> Visitor<'de> for Firsts {
            type Value = First;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_bool<E: Error>(self, literal: bool) -> Result<First, E> {
                Ok(First::Literal(literal))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<First, A::Error> {
                let literal = pair
                    .next_element()?
                    .ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let text = pair
                    .next_element()?
                    .ok_or_else(|| A::Error::invalid_length(1, &self))?;
                Ok(First::Pair(piece(literal, text)))
            }
        }
        deserializer.deserialize_any(Firsts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> Shape<Never> {
        serde_json::from_str::<TextList>(json).unwrap().0
    }

    #[test]
    fn a_text_a_list_of_texts_and_a_text_in_pieces_are_told_apart() {
        assert!(matches!(list(r#""All""#), Shape::Text(text) if text.joined() == "All"));
        assert!(matches!(list(r#"["a","b"]"#), Shape::List(texts) if texts.len() == 2));
        let pieces = list(r#"[[false,"a"],[true,"${b}"]]"#);
        assert!(
            matches!(pieces, Shape::Text(Text(pieces)) if pieces[1] == Piece::Literal("${b}".into()))
        );
        let texts = list(r#"[[[false,"a"],[true,"b"]],"c"]"#);
        assert!(matches!(texts, Shape::List(texts) if texts[0].joined() == "ab"));
        assert!(matches!(list("[]"), Shape::List(texts) if texts.is_empty()));
        assert!(serde_json::from_str::<TextList>(r#"{"a":"b"}"#).is_err());
    }

    #[test]
    fn a_map_keeps_its_order_and_a_list_is_no_map() {
        let map: TextMap<Text> = serde_json::from_str(r#"{"b":"1","a":2}"#).unwrap();
        assert!(
            matches!(map.0, Shape::Map(entries) if entries[0].0 == "b" && entries[1].1.joined() == "2")
        );
        assert!(serde_json::from_str::<TextMap<Text>>(r#"["a"]"#).is_err());
    }
}
