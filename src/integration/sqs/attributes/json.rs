//! The vendor's JSON text of attributes. A name that stands twice is an error: nobody can say which one was meant.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{AttributeConfig, FIELDS};
use crate::model::text::{Piece, Text};

/// Reads JSON text in which some pieces were substituted: those stay literal, wherever in a string they stand.
pub(super) fn from_json(text: &Text) -> Result<Vec<(String, AttributeConfig)>, String> {
    let mut literals = Vec::new();
    let all_literal = text
        .0
        .iter()
        .all(|piece| matches!(piece, Piece::Literal(_)));
    let mut json = String::new();
    for piece in &text.0 {
        match piece {
            Piece::Literal(literal) if !all_literal => {
                json.push(MARK);
                json.push_str(&literals.len().to_string());
                json.push(MARK);
                literals.push(literal.clone());
            }
            Piece::Literal(text) | Piece::Written(text) => json.push_str(text),
        }
    }
    let Unique(document) = serde_json::from_str(&json).map_err(|error| error.to_string())?;
    let document = document
        .as_object()
        .ok_or_else(|| "expected an object".to_owned())?;
    let pieces = |text: &str| -> Text {
        if all_literal {
            return Text(vec![Piece::Literal(text.to_owned())]);
        }
        let parts = text
            .split(MARK)
            .enumerate()
            .filter(|(_, part)| !part.is_empty());
        Text(
            parts
                .map(|(position, part)| {
                    match part.parse::<usize>().ok().and_then(|at| literals.get(at)) {
                        Some(literal) if position % 2 == 1 => Piece::Literal(literal.clone()),
                        _ => Piece::Written(part.to_owned()),
                    }
                })
                .collect(),
        )
    };
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(pieces(text)),
        Value::Number(number) => Some(Text::written(number.to_string())),
        Value::Bool(value) => Some(Text::written(value.to_string())),
        _ => None,
    };
    let mut entries = Vec::with_capacity(document.len());
    for (name, value) in document {
        if let Some(text) = scalar(value) {
            entries.push((name.clone(), AttributeConfig::Text(text)));
            continue;
        }
        let fields = value
            .as_object()
            .ok_or_else(|| format!("{name:?} is neither a text nor an object"))?;
        if let Some(stranger) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(format!(
                "{name:?} has {stranger:?}; allowed: {}",
                FIELDS.join(", ")
            ));
        }
        let field = |key: &str| fields.get(key).and_then(scalar);
        entries.push((
            name.clone(),
            AttributeConfig::Typed {
                data_type: field("DataType"),
                string_value: field("StringValue"),
                binary_value: field("BinaryValue"),
            },
        ));
    }
    Ok(entries)
}

/// Stands around the number of a literal while its text is read as JSON: a noncharacter, which no text holds.
const MARK: char = '\u{fdd0}';

/// JSON in which no name stands twice in an object.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Unique)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Unique(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!(
                    "{name:?} stands there twice"
                )));
            }
            let Unique(value) = object.next_value()?;
            members.insert(name, value);
        }
        Ok(members.into())
    }
}
