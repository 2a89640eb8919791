//! Attribute values, as the service writes them (`{ year: { S: "2006" } }`), with mapping expressions where its values
//! stand; and the size of an item (developer guide, "Item sizes and formats").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::integration::parameter::{Compiler, MapError};
use crate::mapping::{Expression, Json, Sources};
use crate::model::path::ConfigPath;
use crate::model::text::Text;

/// Attribute values by name, as people write them; or a mapping that gives the JSON text of such a map.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct AttributeMap(Json);

impl JsonSchema for AttributeMap {
    fn schema_name() -> Cow<'static, str> {
        "AttributeValues".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<Text>();
        json_schema!({
            "description": "Attribute values by name, as DynamoDB writes them: `{ year: { S: $request.querystring.year } }`. \
                            Types: S, N, B, BOOL, NULL, M, L, SS, NS, BS. B is base64 text, but `B: $request.body` takes the body's bytes as they are. \
                            Or a mapping that gives the JSON text of such a map: `$request.body.item`.",
            "anyOf": [text, { "type": "object", "additionalProperties": { "type": "object" } }]
        })
    }
}

/// What an attribute that comes out empty means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    /// It is left out: of an item.
    Dropped,
    /// It is a mistake: of a key, and of a value that an expression names.
    Refused,
}

/// Compiled attribute values.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    parameter: &'static str,
    empty: Empty,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Each(Vec<(String, Attribute)>),
    /// The JSON text comes out of the request.
    Whole(Expression),
}

#[derive(Clone, Debug)]
enum Attribute {
    /// `S`, `N`, `B`, `BOOL`.
    Scalar(Kind, Expression),
    Null,
    /// `SS`, `NS`, `BS`.
    Set(&'static str, Kind, Vec<Expression>),
    Map(Vec<(String, Attribute)>),
    List(Vec<Attribute>),
}

/// What a scalar's text has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Binary,
    Boolean,
}

const TYPES: &str = "write one type and its value, as in `{ S: $request.body.name }`; types: S, N, B, BOOL, NULL, M, L, SS, NS, BS";

impl Kind {
    fn tag(self) -> &'static str {
        match self {
            Kind::Text => "S",
            Kind::Number => "N",
            Kind::Binary => "B",
            Kind::Boolean => "BOOL",
        }
    }

    /// The value as the service's JSON has it.
    fn value(self, bytes: &[u8], raw: bool) -> Result<Value, &'static str> {
        if self == Kind::Binary && raw {
            return Ok(Value::from(BASE64.encode(bytes)));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
        match self {
            Kind::Text => Ok(Value::from(text)),
            Kind::Number if is_number(text) => Ok(Value::from(text)),
            Kind::Number => Err("is not a number"),
            Kind::Binary => match BASE64.decode(text) {
                Ok(_) => Ok(Value::from(text)),
                Err(_) => Err("is not base64 text"),
            },
            Kind::Boolean => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("is neither true nor false"),
            },
        }
    }
}

/// Whether DynamoDB could take it for a number; how many digits it keeps is its own to say.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    text.len() - digits.len() <= 1
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.parse::<f64>().is_ok()
}

impl AttributeMap {
    /// Notes everything that is wrong with it.
    pub(super) fn compile(
        &self,
        parameter: &'static str,
        empty: Empty,
        compiler: &mut Compiler<'_, '_>,
    ) -> Option<Attributes> {
        let at = compiler.at.key(parameter);
        let form = match &self.0 {
            Json::Map(members) => Form::Each(map(members, &at, compiler)?),
            Json::Text(text) => {
                let expression = compiler.expression(&at, text)?;
                if expression.constant().is_some() {
                    return wrong(&at, "is not a map of attribute values", compiler);
                }
                Form::Whole(expression)
            }
            _ => return wrong(&at, "is not a map of attribute values", compiler),
        };
        Some(Attributes {
            parameter,
            empty,
            form,
        })
    }
}

/// Notes what is wrong, and gives nothing.
fn wrong<T>(at: &ConfigPath, what: &str, compiler: &mut Compiler<'_, '_>) -> Option<T> {
    compiler.problems.error(at, what).help(TYPES);
    None
}

fn map(
    members: &[(String, Json)],
    at: &ConfigPath,
    compiler: &mut Compiler<'_, '_>,
) -> Option<Vec<(String, Attribute)>> {
    let compiled: Vec<_> = members
        .iter()
        .filter_map(|(name, value)| {
            Some((name.clone(), attribute(value, &at.key(name), compiler)?))
        })
        .collect();
    (compiled.len() == members.len()).then_some(compiled)
}

fn attribute(value: &Json, at: &ConfigPath, compiler: &mut Compiler<'_, '_>) -> Option<Attribute> {
    let Json::Map(members) = value else {
        return wrong(at, "an attribute's value says its type", compiler);
    };
    let [(tag, value)] = members.as_slice() else {
        return wrong(at, "an attribute has one type", compiler);
    };
    let at = at.key(tag);
    let scalar = |kind, compiler: &mut Compiler<'_, '_>| {
        scalar(kind, value, &at, compiler).map(|expression| Attribute::Scalar(kind, expression))
    };
    match tag.as_str() {
        "S" => scalar(Kind::Text, compiler),
        "N" => scalar(Kind::Number, compiler),
        "B" => scalar(Kind::Binary, compiler),
        "BOOL" => scalar(Kind::Boolean, compiler),
        "NULL" if *value == Json::Bool(true) => Some(Attribute::Null),
        "NULL" => wrong(&at, "`NULL` is always true", compiler),
        "M" => match value {
            Json::Map(members) => map(members, &at, compiler).map(Attribute::Map),
            _ => wrong(&at, "`M` is a map of attribute values", compiler),
        },
        "L" => match value {
            Json::List(items) => {
                let compiled = items.iter().enumerate();
                let compiled: Vec<_> = compiled
                    .filter_map(|(place, item)| attribute(item, &at.index(place), compiler))
                    .collect();
                (compiled.len() == items.len()).then_some(Attribute::List(compiled))
            }
            _ => wrong(&at, "`L` is a list of attribute values", compiler),
        },
        "SS" => set("SS", Kind::Text, value, &at, compiler),
        "NS" => set("NS", Kind::Number, value, &at, compiler),
        "BS" => set("BS", Kind::Binary, value, &at, compiler),
        other => wrong(&at, &format!("{other:?} is not a type"), compiler),
    }
}

fn set(
    tag: &'static str,
    kind: Kind,
    value: &Json,
    at: &ConfigPath,
    compiler: &mut Compiler<'_, '_>,
) -> Option<Attribute> {
    let Json::List(items) = value else {
        return wrong(at, &format!("`{tag}` is a list"), compiler);
    };
    let compiled: Vec<_> = items
        .iter()
        .enumerate()
        .filter_map(|(place, item)| scalar(kind, item, &at.index(place), compiler))
        .collect();
    (compiled.len() == items.len()).then_some(Attribute::Set(tag, kind, compiled))
}

fn scalar(
    kind: Kind,
    value: &Json,
    at: &ConfigPath,
    compiler: &mut Compiler<'_, '_>,
) -> Option<Expression> {
    let expression = match value {
        Json::Text(text) => compiler.expression(at, text)?,
        Json::Bool(value) => Expression::literal(value.to_string()),
        Json::Number(number) => Expression::literal(number.to_string()),
        Json::Null | Json::List(_) | Json::Map(_) => {
            return wrong(at, &format!("`{}` is one value", kind.tag()), compiler);
        }
    };
    if let Some(constant) = expression.constant()
        && let Err(reason) = kind.value(constant.as_bytes(), false)
    {
        return wrong(at, reason, compiler);
    }
    Some(expression)
}

impl Attributes {
    /// The map for a request, in the service's JSON.
    pub(super) fn value(&self, sources: &dyn Sources) -> Result<Map<String, Value>, MapError> {
        match &self.form {
            Form::Each(each) => self.members(each, self.parameter, sources),
            Form::Whole(expression) => {
                let bytes = expression.resolve(self.parameter, sources)?;
                let wrong = |what: &str| MapError::parameter(self.parameter, None, what);
                let map: Map<String, Value> = serde_json::from_slice(&bytes)
                    .map_err(|_| wrong("is not the JSON text of a map of attribute values"))?;
                match map.values().all(is_attribute) {
                    true => Ok(map),
                    false => Err(wrong("holds a value that does not say its type")),
                }
            }
        }
    }

    /// The names that are known before a request comes; `None` where the request brings the map.
    pub(super) fn known(&self) -> Option<impl Iterator<Item = &str>> {
        match &self.form {
            Form::Each(each) => Some(each.iter().map(|(name, _)| name.as_str())),
            Form::Whole(_) => None,
        }
    }

    fn members(
        &self,
        members: &[(String, Attribute)],
        below: &str,
        sources: &dyn Sources,
    ) -> Result<Map<String, Value>, MapError> {
        let mut map = Map::with_capacity(members.len());
        for (name, attribute) in members {
            let at = format!("{below}.{name}");
            if let Some(value) = self.one(attribute, &at, sources)? {
                map.insert(name.clone(), value);
            }
        }
        Ok(map)
    }

    /// `None`: it comes out empty, and is left out.
    fn one(
        &self,
        attribute: &Attribute,
        at: &str,
        sources: &dyn Sources,
    ) -> Result<Option<Value>, MapError> {
        Ok(Some(match attribute {
            Attribute::Null => json!({ "NULL": true }),
            Attribute::Scalar(kind, expression) => {
                let bytes = expression.resolve(at, sources)?;
                let written = expression.constant().is_some();
                if bytes.is_empty() && !written && !expression.is_whole_body() {
                    return match self.empty {
                        Empty::Dropped => Ok(None),
                        Empty::Refused => Err(MapError::parameter(at, None, "is empty")),
                    };
                }
                let value = kind
                    .value(&bytes, expression.is_whole_body())
                    .map_err(|reason| MapError::parameter(at, None, reason))?;
                json!({ kind.tag(): value })
            }
            Attribute::Set(tag, kind, expressions) => {
                let mut items = Vec::with_capacity(expressions.len());
                for (place, expression) in expressions.iter().enumerate() {
                    let at = format!("{at}[{place}]");
                    let bytes = expression.resolve(&at, sources)?;
                    if bytes.is_empty() && expression.constant().is_none() {
                        continue;
                    }
                    let value = kind.value(&bytes, expression.is_whole_body());
                    items.push(value.map_err(|reason| MapError::parameter(at, None, reason))?);
                }
                if items.is_empty() && self.empty == Empty::Dropped {
                    return Ok(None); // the service knows no empty set
                }
                json!({ *tag: items })
            }
            Attribute::Map(members) => json!({ "M": self.members(members, at, sources)? }),
            Attribute::List(list) => {
                let mut items = Vec::with_capacity(list.len());
                for (place, attribute) in list.iter().enumerate() {
                    items.extend(self.one(attribute, &format!("{at}[{place}]"), sources)?);
                }
                json!({ "L": items })
            }
        }))
    }
}

/// Whether a value that a request brought is an attribute's.
fn is_attribute(value: &Value) -> bool {
    let Some((tag, value)) = value.as_object().and_then(|map| {
        let mut members = map.iter();
        members.next().filter(|_| map.len() == 1)
    }) else {
        return false;
    };
    let texts = |value: &Value| {
        let items = value.as_array();
        items.is_some_and(|items| items.iter().all(Value::is_string))
    };
    match tag.as_str() {
        "S" | "B" => value.is_string(),
        "N" => value.as_str().is_some_and(is_number),
        "BOOL" => value.is_boolean(),
        "NULL" => *value == Value::Bool(true),
        "SS" | "NS" | "BS" => texts(value),
        "M" => value
            .as_object()
            .is_some_and(|map| map.values().all(is_attribute)),
        "L" => value
            .as_array()
            .is_some_and(|items| items.iter().all(is_attribute)),
        _ => false,
    }
}

/// The bytes of an item or of a map in it, as the service counts them; of numbers at least.
pub(super) fn size(map: &Map<String, Value>) -> usize {
    map.iter()
        .map(|(name, value)| name.len() + of_value(value))
        .sum()
}

fn of_value(value: &Value) -> usize {
    let Some((tag, value)) = value.as_object().and_then(|map| map.iter().next()) else {
        return 0;
    };
    let text = |value: &Value| value.as_str().map_or(0, str::len);
    let number = |value: &Value| {
        let digits = value.as_str().unwrap_or_default().bytes();
        digits
            .filter(u8::is_ascii_digit)
            .count()
            .min(38)
            .div_ceil(2)
            + 1
    };
    let binary = |value: &Value| {
        let text = value.as_str().unwrap_or_default().trim_end_matches('=');
        text.len() * 3 / 4
    };
    let each = |size: &dyn Fn(&Value) -> usize| {
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().map(size).sum::<usize>()
    };
    match tag.as_str() {
        "S" => text(value),
        "N" => number(value),
        "B" => binary(value),
        "SS" => each(&text),
        "NS" => each(&number),
        "BS" => each(&binary),
        "M" => 3 + value.as_object().map_or(0, |map| map.len() + size(map)),
        "L" => 3 + each(&|item| 1 + of_value(item)),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_and_infinity_is_none() {
        for number in ["0", "-1.5", "+2", "1e3", ".5"] {
            assert!(is_number(number), "{number}");
        }
        for wrong in ["", "-", "1,5", "inf", "NaN", "--1", "0x1", "1 "] {
            assert!(!is_number(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_item_is_as_large_as_its_names_and_values() {
        let size = |json: Value| size(json.as_object().unwrap());
        assert_eq!(size(json!({"a": {"S": "éa"}})), 4);
        assert_eq!(size(json!({"ab": {"N": "123"}})), 5);
        assert_eq!(size(json!({"b": {"B": "AAEC"}})), 4);
        assert_eq!(size(json!({"b": {"B": "AAECAw=="}})), 5);
        assert_eq!(size(json!({"n": {"NULL": true}, "t": {"BOOL": false}})), 4);
        assert_eq!(size(json!({"s": {"SS": ["ab", "c"]}})), 4);
        assert_eq!(size(json!({"l": {"L": [{"S": "ab"}]}})), 1 + 3 + 1 + 2);
        assert_eq!(
            size(json!({"m": {"M": {"k": {"S": "ab"}}}})),
            1 + 3 + 1 + 1 + 2
        );
    }

    #[test]
    fn what_a_request_brings_says_its_types() {
        assert!(is_attribute(
            &json!({"M": {"a": {"L": [{"NULL": true}, {"NS": ["1"]}]}}})
        ));
        for wrong in [
            json!("a"),
            json!({}),
            json!({"S": 1}),
            json!({"N": "x"}),
            json!({"N": 1}),
            json!({"S": "a", "N": "1"}),
            json!({"M": {"a": "b"}}),
            json!({"X": "a"}),
        ] {
            assert!(!is_attribute(&wrong), "{wrong}");
        }
    }
}
