//! Mapping expressions: compiled from whatever is written, resolved against whatever is sent. Input: the expression, an
//! empty line, the body.
//!
//! What is written either compiles or is said to be wrong; a value is never larger than what it is made of; and a
//! selector finds what a walk through the parsed document finds.

use bytes::Bytes;
use indexmap::IndexMap;
use penstock::mapping::{Expression, Scope, Selector, Side, Source, Sources, WebhookScope, select};
use penstock::model::path::ConfigPath;
use penstock::model::problem::Problems;
use penstock::model::text::Text;
use serde_json::Value;

struct Sent<'s>(&'s [u8]);

impl Sources for Sent<'_> {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
        match source {
            Source::BodyField(selector) | Source::ResponseField(selector) => {
                select(selector, self.0)
            }
            Source::Context(_) | Source::Integration(_) => Ok(None),
            _ => Ok(Some(Bytes::copy_from_slice(self.0))),
        }
    }
}

pub fn run(data: &[u8]) {
    let (written, body) = super::head_and_body(data);
    let stage_variables = IndexMap::from([("tier".to_owned(), "gold".to_owned())]);
    for side in [Side::Request, Side::Response, Side::Log] {
        let scope = Scope {
            side,
            path_variables: &["id", "proxy"],
            stage_variables: &stage_variables,
            webhook: Some(WebhookScope { attested: true }),
            integration_fields: None,
        };
        let mut problems = Problems::default();
        let text = Text::written(written);
        let compiled = Expression::compile(&text, &ConfigPath::root(), &scope, &mut problems);
        assert_eq!(compiled.is_none(), problems.has_errors(), "{written:?}");
        if let Some(expression) = compiled {
            resolve(&expression, written, body);
        }
    }
}

fn resolve(expression: &Expression, written: &str, body: &[u8]) {
    let value = expression.resolve("Parameter", &Sent(body));
    let references = expression.references().count();
    if let Ok(value) = &value {
        // escapes that a selected document holds are copied, never widened; stage variables are four letters
        assert!(value.len() <= written.len() * 4 + references * body.len());
    }
    if let Some(constant) = expression.constant() {
        assert_eq!(value.as_deref(), Ok(constant.as_bytes()));
    }
    if !written.contains('$') {
        assert_eq!(value.as_deref(), Ok(written.as_bytes()));
    }
    for reference in expression.references() {
        if let Source::BodyField(selector) | Source::ResponseField(selector) = &reference.source {
            assert_eq!(
                selector.to_string().parse::<Selector>().as_ref(),
                Ok(selector)
            );
            same_as_walk(selector, &reference.written, body);
        }
    }
}

/// For selectors of plain names and positions.
fn same_as_walk(selector: &Selector, written: &str, body: &[u8]) {
    let Some(path) = written.split_once("body.").map(|(_, path)| path) else {
        return;
    };
    let plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._[]".contains(&b));
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    if !plain || has_double_names(body, &document) {
        return;
    }
    let mut at = Some(&document);
    for step in path
        .replace('[', ".[")
        .split('.')
        .filter(|step| !step.is_empty())
    {
        at = at.and_then(|at| match step.strip_prefix('[') {
            Some(index) => at
                .as_array()?
                .get(index.trim_end_matches(']').parse::<usize>().ok()?),
            None => at.as_object()?.get(step),
        });
    }
    let found = select(selector, body);
    match at {
        None | Some(Value::Null) => assert_eq!(found, Ok(None), "{written}"),
        Some(Value::String(text)) => {
            assert_eq!(
                found.unwrap().as_deref(),
                Some(text.as_bytes()),
                "{written}"
            );
        }
        Some(other) => {
            let found = found.unwrap().unwrap();
            assert_eq!(
                serde_json::from_slice::<Value>(&found).ok().as_ref(),
                Some(other)
            );
        }
    }
}

/// Whether an object has a name twice: readers differ in which of them counts.
fn has_double_names(body: &[u8], document: &Value) -> bool {
    fn names(value: &Value) -> usize {
        match value {
            Value::Object(members) => members.len() + members.values().map(names).sum::<usize>(),
            Value::Array(items) => items.iter().map(names).sum(),
            _ => 0,
        }
    }
    // every member has a colon, and texts may have more
    names(document) != body.iter().filter(|byte| **byte == b':').count()
}
