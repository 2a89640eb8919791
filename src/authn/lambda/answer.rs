//! What a request authorizer says (reference, 5.3): `{"isAuthorized": …}`, or a policy that is asked for each request.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::super::policy::{Document, Side, Strict};
use super::{Format, Spec};
use crate::model::secret::Secret;

/// An answer, read.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub decision: Decision,
    /// `principalId`
    pub principal: Option<Arc<str>>,
    /// `context`, flattened to text: text as it is, numbers and booleans as their text, lists and maps as JSON.
    pub values: IndexMap<String, String>,
    /// `usageIdentifierKey`: the API key that the request counts for.
    pub usage_identifier: Option<Secret<String>>,
}

#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// Every request with these identity sources, or none.
    All(bool),
    Policy(Arc<Document>),
}

/// What cannot be used as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The function's error text was exactly `Unauthorized`.
    Unauthorized,
    /// Why.
    Broken(String),
}

/// Names in `context` that mean something else in `$context.authorizer`.
const RESERVED: [&str; 3] = ["claims", "claims_json", "principalId"];

/// Reads an answer's body.
pub(super) fn read(spec: &Spec, body: &[u8]) -> Result<Said, Unusable> {
    let broken = |why: String| Unusable::Broken(why);
    let Strict(value) = serde_json::from_slice(body)
        .map_err(|error| broken(format!("the answer is not JSON: {error}")))?;
    let Value::Object(map) = value else {
        return Err(broken("the answer is not a JSON object".to_owned()));
    };
    if let Some(message) = map.get("errorMessage") {
        return Err(match message.as_str() {
            Some("Unauthorized") => Unusable::Unauthorized,
            message => broken(format!(
                "the function failed: {}",
                short(message.unwrap_or_default())
            )),
        });
    }
    Ok(Said {
        decision: decision(spec, &map).map_err(Unusable::Broken)?,
        principal: match map.get("principalId") {
            None | Some(Value::Null) => None,
            Some(Value::String(principal)) => Some(principal.as_str().into()),
            Some(Value::Number(principal)) => Some(principal.to_string().into()),
            Some(_) => return Err(broken("`principalId` is not text".to_owned())),
        },
        values: values(map.get("context")).map_err(Unusable::Broken)?,
        usage_identifier: match map.get("usageIdentifierKey") {
            None | Some(Value::Null) => None,
            Some(Value::String(key)) => Some(Secret::new(key.clone())),
            Some(_) => return Err(broken("`usageIdentifierKey` is not text".to_owned())),
        },
    })
}

fn decision(spec: &Spec, map: &Map<String, Value>) -> Result<Decision, String> {
    let simple = match spec.format {
        Format::V2 { simple } => simple,
        Format::V1 | Format::Token => Some(false),
    };
    match (map.get("isAuthorized"), map.get("policyDocument")) {
        (Some(Value::Bool(all)), None) if simple != Some(false) => Ok(Decision::All(*all)),
        (None, Some(policy)) if simple != Some(true) => {
            let side = Side::Caller {
                region: spec.region.as_deref(),
            };
            let name = format!("the answer of {}", spec.name);
            let (document, faults) = Document::parse(&name, policy, side);
            match faults.into_iter().find(|fault| fault.is_error) {
                None => Ok(Decision::Policy(Arc::new(document))),
                Some(fault) => Err(format!(
                    "its policy cannot be used: {}: {}",
                    fault.path, fault.message
                )),
            }
        }
        (Some(_), Some(_)) => Err("it has both `isAuthorized` and `policyDocument`".to_owned()),
        (Some(Value::Bool(_)), None) => {
            Err("it is a simple response, and a policy is expected".to_owned())
        }
        (Some(_), None) => Err("`isAuthorized` is neither true nor false".to_owned()),
        (None, Some(_)) => Err("it is a policy, and a simple response is expected".to_owned()),
        (None, None) => Err("it has neither `isAuthorized` nor `policyDocument`".to_owned()),
    }
}

fn values(context: Option<&Value>) -> Result<IndexMap<String, String>, String> {
    let map = match context {
        None | Some(Value::Null) => return Ok(IndexMap::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err("`context` is not an object".to_owned()),
    };
    let mut values = IndexMap::new();
    for (name, value) in map {
        if RESERVED.contains(&name.as_str()) {
            tracing::debug!(
                name,
                "A reserved name in an authorizer's context is left out"
            );
            continue;
        }
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        values.insert(name.clone(), text);
    }
    Ok(values)
}

/// Enough of a text for a log.
fn short(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
