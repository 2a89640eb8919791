//! JSON in which mapping expressions stand, as YAML writes it: maps, lists, numbers, booleans, and texts that may hold
//! `${…}`. There is no template language: what is written is the shape, and expressions fill its leaves. A value is put
//! in as JSON text of its own, so nothing that a request or a target brings can change the shape.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;

use super::select::compact;
use super::{Expression, Part, Scope, Source, Sources, select_json};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::text::{JSON_TOKEN, Text};

/// JSON as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

/// The same, compiled: rendered for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// JSON text that is the same for every request.
    Constant(String),
    /// A text, or the JSON that a selector finds.
    Leaf(Expression),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
}

impl Json {
    /// Parses the expressions in its leaves; everything wrong with them is noted at their places below `at`.
    pub fn compile(
        &self,
        at: &ConfigPath,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<Template> {
        let before = problems.errors();
        let template = match self {
            Json::Null => Template::Constant("null".to_owned()),
            Json::Bool(value) => Template::Constant(value.to_string()),
            Json::Number(number) => Template::Constant(number.to_string()),
            Json::Text(text) => {
                let expression = Expression::compile(text, at, scope, problems)?;
                match expression.constant() {
                    Some(text) => Template::Constant(quoted(text)),
                    None => Template::Leaf(expression),
                }
            }
            Json::List(items) => {
                let items = items.iter().enumerate();
                let compiled = items
                    .filter_map(|(place, item)| item.compile(&at.index(place), scope, problems));
                Template::List(compiled.collect())
            }
            Json::Map(members) => {
                let members = members.iter();
                let compiled = members.filter_map(|(name, value)| {
                    let value = value.compile(&at.key(name), scope, problems)?;
                    Some((name.clone(), value))
                });
                Template::Map(compiled.collect())
            }
        };
        (problems.errors() == before).then_some(template)
    }
}

impl Template {
    /// The JSON text for a request. A leaf without a value is left out of its map or list; alone it is `null`.
    pub fn render(&self, sources: &dyn Sources) -> String {
        let mut out = String::new();
        if !self.write(sources, &mut out) {
            out.push_str("null");
        }
        out
    }

    /// Whether there was a value to write.
    fn write(&self, sources: &dyn Sources, out: &mut String) -> bool {
        match self {
            Template::Constant(json) => out.push_str(json),
            Template::Leaf(expression) => match leaf(expression, sources) {
                Some(json) => out.push_str(&json),
                None => return false,
            },
            Template::List(items) => {
                out.push('[');
                let begun = out.len();
                for item in items {
                    let before = out.len();
                    if before > begun {
                        out.push(',');
                    }
                    if !item.write(sources, out) {
                        out.truncate(before);
                    }
                }
                out.push(']');
            }
            Template::Map(members) => {
                out.push('{');
                let begun = out.len();
                for (name, value) in members {
                    let before = out.len();
                    if before > begun {
                        out.push(',');
                    }
                    out.push_str(&quoted(name));
                    out.push(':');
                    if !value.write(sources, out) {
                        out.truncate(before);
                    }
                }
                out.push('}');
            }
        }
        true
    }
}

/// What stands in a leaf. A selector alone gives what it finds as the JSON that it is: a number stays one, an object
/// too. So do a whole body and a field of the target's answer, where they are an object or a list. Everything else is
/// text.
fn leaf(expression: &Expression, sources: &dyn Sources) -> Option<String> {
    if let [Part::Reference(only)] = expression.parts() {
        let found = match &only.source {
            Source::BodyField(selector) => json_in(selector, sources.get(&Source::Body)),
            Source::ResponseField(selector) => {
                json_in(selector, sources.get(&Source::ResponseBody))
            }
            whole @ (Source::Body | Source::ResponseBody | Source::Integration(_)) => {
                structured(sources.get(whole))
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    let value = expression.resolve("body", sources).ok()?;
    Some(quoted(&String::from_utf8_lossy(&value)))
}

type Found = Result<Option<Bytes>, String>;

/// A value in a document, unless it is absent, `null` or an empty text, which a default may stand in for.
fn json_in(selector: &super::Selector, body: Found) -> Option<String> {
    let body = body.ok()??;
    let found = select_json(selector, &body).ok()??;
    match found {
        "null" | "\"\"" => None,
        found => utf8(compact(found)),
    }
}

fn structured(value: Found) -> Option<String> {
    let value = value.ok()??;
    let json: &RawValue = serde_json::from_slice(&value).ok()?;
    match json.get().as_bytes().first() {
        Some(b'{' | b'[') => utf8(compact(json.get())),
        _ => None,
    }
}

fn utf8(json: Vec<u8>) -> Option<String> {
    String::from_utf8(json).ok()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(JSON_TOKEN, Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON, in which texts may hold mapping expressions")
    }
    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("JSON has no such number"))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(Text::written(text)))
    }
    /// The loader's form of a text.
    fn visit_some<D: Deserializer<'de>>(self, text: D) -> Result<Json, D::Error> {
        Text::deserialize(text).map(Json::Text)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Json, D::Error> {
        inner.deserialize_any(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format_args!(
                    "{name:?} stands there twice"
                )));
            }
            members.push((name, value));
        }
        Ok(Json::Map(members))
    }
}

impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "JSON of any shape; its texts may be mapping expressions, or hold `${…}`.",
            "type": ["object", "array", "string", "number", "boolean", "null"]
        })
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::mapping::{Side, select};

    struct Answer(&'static str);

    impl Sources for Answer {
        fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
            let body = Bytes::from_static(self.0.as_bytes());
            match source {
                Source::ResponseBody => Ok(Some(body)),
                Source::ResponseField(selector) => select(selector, &body),
                Source::Integration(name) if name == "output" => {
                    Ok(Some(Bytes::from_static(b"{\"a\": [1, 2]}")))
                }
                Source::Integration(_) => Ok(Some(Bytes::from_static(b"123"))),
                Source::Query(_) => Ok(Some(Bytes::from_static(b"a\"b\n\xff"))),
                _ => Ok(None),
            }
        }
    }

    fn render(template: &str, answer: &'static str) -> String {
        let json: Json = serde_json::from_str(template).unwrap();
        let mut problems = Problems::default();
        let stage_variables = IndexMap::new();
        let scope = Scope {
            side: Side::Response,
            path_variables: &[],
            stage_variables: &stage_variables,
            webhook: None,
            integration_fields: None,
        };
        let template = json.compile(&ConfigPath::root(), &scope, &mut problems);
        assert!(problems.0.is_empty(), "{:?}", problems.0);
        template.unwrap().render(&Answer(answer))
    }

    const ITEM: &str = r#"{"Item":{"year":{"S":"2006"},"n":12345678901234567890123,"winner":{"S":"It\"aly"},"tags":[ "a", {"b": "c d"} ],"none":null,"empty":""}}"#;

    #[test]
    fn the_canary_seed_s_answer_is_made_of_the_item() {
        let template = r#"{"year":"$response.body.Item.year.S","winner":"$response.body.Item.winner.S","runner-up":"$response.body.Item.runner-up.S"}"#;
        assert_eq!(
            render(template, ITEM),
            r#"{"year":"2006","winner":"It\"aly"}"#
        );
        let with_defaults = r#"{"year":"${response.body.Item.year.S:-}","winner":"${response.body.Item.winner.S:-}"}"#;
        assert_eq!(render(with_defaults, "{}"), r#"{"year":"","winner":""}"#);
    }

    #[test]
    fn what_is_selected_keeps_its_type_and_text_around_it_makes_text() {
        assert_eq!(
            render(
                r#"{"n":"$response.body.Item.n","t":"$response.body.Item.tags","s":"n=${response.body.Item.n}","k":[1,true,null,"x",1.5]}"#,
                ITEM
            ),
            r#"{"n":12345678901234567890123,"t":["a",{"b":"c d"}],"s":"n=12345678901234567890123","k":[1,true,null,"x",1.5]}"#
        );
        assert_eq!(
            render(
                r#"{"o":"$integration.output","i":"$integration.messageId"}"#,
                ""
            ),
            r#"{"o":{"a":[1,2]},"i":"123"}"#
        );
        assert_eq!(render(r#""$response.body""#, "[ 1 ]"), "[1]");
        assert_eq!(render(r#""$response.body""#, "plain"), "\"plain\"");
    }

    #[test]
    fn what_has_no_value_is_left_out_and_no_value_changes_the_shape() {
        assert_eq!(
            render(
                r#"{"a":"$response.body.x","b":["$response.body.x",1,"$response.body.Item.none"],"c":"$response.body.Item.empty"}"#,
                ITEM
            ),
            r#"{"b":[1]}"#
        );
        assert_eq!(render(r#""$response.body.x""#, "{}"), "null");
        assert_eq!(
            render(r#"{"a\"b":"$request.querystring.q"}"#, ""),
            "{\"a\\\"b\":\"a\\\"b\\n\u{fffd}\"}"
        );
    }
}
