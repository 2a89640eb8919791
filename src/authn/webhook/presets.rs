//! The senders that are known by name: `presets.yaml`, read once through the types that users write.

use std::sync::LazyLock;

use indexmap::IndexMap;
use saphyr_parser::{Event as Step, Parser, ScalarStyle};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::written::{Ack, Event, Handshake, Verify};

/// A sender.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preset {
    pub(super) verify: Verify,
    #[serde(default)]
    pub(super) handshake: Vec<Handshake>,
    #[serde(default)]
    pub(super) event: Event,
    #[serde(default)]
    pub(super) ack: Option<Ack>,
}

static PRESETS: LazyLock<Result<IndexMap<String, Preset>, String>> = LazyLock::new(|| {
    let document = document(include_str!("presets.yaml"))?;
    serde_json::from_value(document).map_err(|error| error.to_string())
});

/// Every preset by name. The error is a bug that a test finds: the text is part of the program.
pub(super) fn all() -> Result<&'static IndexMap<String, Preset>, &'static str> {
    PRESETS.as_ref().map_err(String::as_str)
}

/// A YAML document as a value: mappings, lists, texts, and plain numbers and booleans. No anchors, no tags; what comes
/// from users is read by `config::load`.
fn document(text: &str) -> Result<Value, String> {
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    let mut root = Value::Null;
    let mut parser = Parser::new_from_str(text);
    while let Some(step) = parser.next_event() {
        let (step, span) = step.map_err(|error| error.to_string())?;
        let done = match step {
            Step::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Step::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Step::MappingEnd | Step::SequenceEnd => match open.pop() {
                Some((done, _)) => done,
                None => return Err("an end without a start".to_owned()),
            },
            Step::Scalar(text, style, ..) => {
                let waits = matches!(open.last(), Some((Value::Object(_), None)));
                if waits {
                    if let Some((_, key)) = open.last_mut() {
                        *key = Some(text.into_owned());
                    }
                    continue;
                }
                scalar(&text, style == ScalarStyle::Plain)
            }
            _ => continue,
        };
        match open.last_mut() {
            None => root = done,
            Some((Value::Array(items), _)) => items.push(done),
            Some((Value::Object(members), key)) => {
                let key = key.take().unwrap_or_default();
                if members.insert(key, done).is_some() {
                    return Err(format!("line {}: a key stands twice", span.start.line()));
                }
            }
            Some(_) => return Err("a value within a scalar".to_owned()),
        }
    }
    Ok(root)
}

fn scalar(text: &str, plain: bool) -> Value {
    match (plain, text) {
        (true, "true") => Value::Bool(true),
        (true, "false") => Value::Bool(false),
        (true, text) => text
            .parse::<u64>()
            .map_or_else(|_| Value::from(text), Value::from),
        (false, text) => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sender_of_the_reference_is_there() {
        let presets = all().unwrap();
        assert_eq!(presets.len(), 59);
        assert!(presets.contains_key("stripe") && presets.contains_key("plaid"));
    }

    #[test]
    fn a_document_is_read_with_its_types() {
        let value = document("a: {b: [1, '1', true, x], /c: \"\"}\nd:\n  - e: f\n").unwrap();
        assert_eq!(
            value.to_string(),
            r#"{"a":{"b":[1,"1",true,"x"],"/c":""},"d":[{"e":"f"}]}"#
        );
        assert!(document("a: 1\na: 2").is_err());
    }
}
