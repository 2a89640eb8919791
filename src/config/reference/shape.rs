//! What a JSON Schema says, in the few forms that the reference tells apart.

use serde_json::{Map, Value};

/// What a schema allows, as far as the page shows it.
pub enum Shape<'a> {
    /// A mapping with named keys.
    Keys(&'a Map<String, Value>),
    /// A mapping from any name to one form.
    Map(&'a Value),
    List(&'a Value),
    /// A closed set of words, each with its meaning.
    Words(Vec<(String, String)>),
    /// A mapping without keys.
    Empty,
    /// One of several forms.
    Choice(Vec<&'a Value>),
    Plain,
}

/// `schema` without the alternative `null`, where only one other is left.
pub fn without_null(schema: &Value) -> &Value {
    let forms = ["anyOf", "oneOf"]
        .into_iter()
        .find_map(|key| schema.get(key)?.as_array());
    let Some(forms) = forms else {
        return schema;
    };
    let mut kept = forms.iter().filter(|form| !is_null(form));
    match (kept.next(), kept.next()) {
        (Some(only), None) => only,
        _ => schema,
    }
}

/// Whether a form has keys of its own and no name under which they could be described.
pub fn is_structured(form: &Value) -> bool {
    match shape(form) {
        Shape::Keys(_) => true,
        Shape::Choice(forms) => forms.into_iter().any(is_structured),
        _ => false,
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The shape of a schema without `$ref`.
pub fn shape(schema: &Value) -> Shape<'_> {
    if let Some(keys) = schema.get("properties").and_then(Value::as_object) {
        return Shape::Keys(keys);
    }
    if let Some(forms) = ["oneOf", "anyOf"]
        .into_iter()
        .find_map(|key| schema.get(key)?.as_array())
    {
        let words: Option<Vec<_>> = forms.iter().map(words).collect();
        return match words {
            Some(words) => Shape::Words(words.concat()),
            None => Shape::Choice(forms.iter().filter(|form| !is_null(form)).collect()),
        };
    }
    if let Some(words) = words(schema) {
        return Shape::Words(words);
    }
    let pattern = schema.get("patternProperties").and_then(Value::as_object);
    if let Some(value) = pattern.and_then(|patterns| patterns.values().next()) {
        return Shape::Map(value);
    }
    match schema.get("additionalProperties") {
        Some(value @ Value::Object(_)) => return Shape::Map(value),
        Some(Value::Bool(false)) if plain(schema) == "mapping" => return Shape::Empty,
        _ => {}
    }
    match schema.get("items") {
        Some(items @ Value::Object(_)) => Shape::List(items),
        _ => Shape::Plain,
    }
}

/// The words of a closed set, if the schema is one.
fn words(schema: &Value) -> Option<Vec<(String, String)>> {
    let shown = |value: &Value| match value {
        Value::String(word) => format!("`{word}`"),
        other => format!("`{other}`"),
    };
    if let Some(word) = schema.get("const") {
        return Some(vec![(shown(word), description(schema))]);
    }
    let words = schema.get("enum")?.as_array()?;
    let words = words.iter().filter(|word| !word.is_null());
    Some(
        words
            .map(|word| (shown(word), description(schema)))
            .collect(),
    )
}

/// The key that tells this form from its siblings: the one that is required.
pub fn tag(schema: &Value) -> Option<&str> {
    match names(schema, "required").as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

/// Whether a default only says that there is none.
pub fn is_nothing(default: &Value) -> bool {
    match default {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        _ => false,
    }
}

/// The strings in a list of the schema's.
pub fn names<'a>(schema: &'a Value, key: &str) -> Vec<&'a str> {
    let list = schema.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The words for a value that needs no explanation.
pub fn plain(schema: &Value) -> String {
    let one = |name: &str| match name {
        "string" => "text",
        "integer" => "whole number",
        "number" => "number",
        "boolean" => "true or false",
        "array" => "list",
        "object" => "mapping",
        _ => "anything",
    };
    match schema.get("type") {
        Some(Value::String(name)) => one(name).to_owned(),
        Some(Value::Array(several)) => {
            let kinds = several.iter().filter_map(Value::as_str);
            let kinds: Vec<&str> = kinds.filter(|name| *name != "null").map(one).collect();
            match kinds.as_slice() {
                // what takes every scalar takes it as its text
                ["text", "number", "true or false"] => "text".to_owned(),
                kinds => kinds.join(" or "),
            }
        }
        _ => "anything".to_owned(),
    }
}

/// The range of a number, where one was set by hand.
pub fn range(schema: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).filter(|bound| bound.is_number());
    match (bound("minimum"), bound("maximum")) {
        (Some(low), Some(high)) => Some(format!("{low} to {high}")),
        // an unsigned type's own lower bound says nothing
        (Some(low), None) if low.as_f64() != Some(0.0) => Some(format!("{low} or more")),
        (None, Some(high)) => Some(format!("up to {high}")),
        _ => None,
    }
}

/// What the schema says about itself.
pub fn description(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str);
    text.unwrap_or_default().trim().to_owned()
}
