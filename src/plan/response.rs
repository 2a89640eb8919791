//! What a success answers beyond the dialect: the route's own status and headers, and the vendor's response mapping
//! (reference, 3.2).

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use indexmap::IndexMap;

use crate::authn::webhook;
use crate::config::Response;
use crate::mapping::{Expression, Scope, Template};
use crate::model::header::is_reserved;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::text::Text;

/// What happens to a header of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    Append(HeaderName, Expression),
    Overwrite(HeaderName, Expression),
    Remove(HeaderName),
}

/// The changes for one status of the integration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseMapping {
    pub status: Option<Expression>,
    pub headers: Vec<HeaderChange>,
}

/// What a webhook's sender wants to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAck {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

impl WebhookAck {
    /// `None` for one that compiling the authorizer has refused.
    pub(super) fn new(ack: &webhook::Ack) -> Option<WebhookAck> {
        let content_type = ack.content_type.as_deref().map(HeaderValue::from_str);
        Some(WebhookAck {
            status: StatusCode::from_u16(ack.status.unwrap_or(202)).ok()?,
            content_type: content_type.transpose().ok()?,
            body: Bytes::from(ack.body.clone().unwrap_or_default()),
        })
    }
}

/// A route's response, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponsePlan {
    /// For a success, before the rest: what the sender of a webhook wants.
    pub webhook_ack: Option<WebhookAck>,
    /// For a success.
    pub status: Option<StatusCode>,
    /// For a success.
    pub headers: Vec<(HeaderName, Expression)>,
    /// For a success: JSON in the place of the dialect's body.
    pub body: Option<Template>,
    /// By the integration's status, before `status` is applied.
    pub mappings: IndexMap<u16, ResponseMapping>,
}

impl ResponsePlan {
    pub(super) fn compile(
        response: Option<&Response>,
        parameters: &IndexMap<String, IndexMap<String, Text>>,
        at: &ConfigPath,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> ResponsePlan {
        let mut plan = ResponsePlan::default();
        if let Some(response) = response {
            let at = at.key("response");
            if let Some(status) = response.status {
                match StatusCode::from_u16(status) {
                    Ok(status) if status.is_success() => plan.status = Some(status),
                    _ => {
                        problems
                            .error(&at.key("status"), format!("{status} is not a success"))
                            .help("allowed: 200 to 299");
                    }
                }
            }
            for (name, text) in &response.headers {
                let at = at.key("headers").key(name);
                let header = destination(name, &at, problems);
                let value = Expression::compile(text, &at, scope, problems);
                plan.headers.extend(header.zip(value));
            }
            let body = response.body.as_ref();
            plan.body = body.and_then(|body| body.compile(&at.key("body"), scope, problems));
        }
        let at = at.key("response_parameters");
        for (status, changes) in parameters {
            let at = at.key(status);
            match status.parse::<u16>() {
                Ok(code @ 200..=599) => {
                    let mapping = mapping(changes, &at, scope, problems);
                    let success = mapping
                        .status
                        .as_ref()
                        .and_then(Expression::constant)
                        .filter(|status| *status < "400");
                    if let Some(success) = success.filter(|_| code >= 400) {
                        problems.error(
                            &at.key("overwrite:statuscode"),
                            format!("a failure ({code}) cannot be answered with {success}: a success means that the payload is durable"),
                        );
                    }
                    plan.mappings.insert(code, mapping);
                }
                _ => {
                    problems
                        .error(&at, format!("{status:?} is not a status"))
                        .help("allowed: 200 to 599, each exactly");
                }
            }
        }
        plan
    }
}

fn mapping(
    changes: &IndexMap<String, Text>,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> ResponseMapping {
    let mut mapping = ResponseMapping::default();
    for (key, text) in changes {
        let at = at.key(key);
        if key == "overwrite:statuscode" {
            let status = Expression::compile(text, &at, scope, problems);
            if let Some(constant) = status.as_ref().and_then(Expression::constant)
                && !constant
                    .parse::<u16>()
                    .is_ok_and(|code| (200..=599).contains(&code))
            {
                problems
                    .error(&at, format!("{constant:?} is not a status"))
                    .help("allowed: 200 to 599");
            }
            mapping.status = status;
            continue;
        }
        let Some((change, name)) = key
            .split_once(':')
            .and_then(|(change, place)| Some((change, place.strip_prefix("header.")?)))
        else {
            unknown(key, &at, problems);
            continue;
        };
        let Some(header) = destination(name, &at, problems) else {
            continue;
        };
        let value = match change {
            "remove" => {
                mapping.headers.push(HeaderChange::Remove(header));
                continue;
            }
            "append" | "overwrite" => Expression::compile(text, &at, scope, problems),
            _ => {
                unknown(key, &at, problems);
                continue;
            }
        };
        let Some(value) = value else { continue };
        mapping.headers.push(if change == "append" {
            HeaderChange::Append(header, value)
        } else {
            HeaderChange::Overwrite(header, value)
        });
    }
    mapping
}

fn unknown(key: &str, at: &ConfigPath, problems: &mut Problems) {
    let allowed = [
        "append:header.NAME",
        "overwrite:header.NAME",
        "remove:header.NAME",
        "overwrite:statuscode",
    ];
    let near = nearest(key, allowed).map(|near| format!("did you mean `{near}`?"));
    problems
        .error(at, format!("{key:?} is no change of a response"))
        .help(near.unwrap_or_else(|| format!("allowed: {}", allowed.join(", "))));
}

fn destination(name: &str, at: &ConfigPath, problems: &mut Problems) -> Option<HeaderName> {
    let Ok(header) = name.parse::<HeaderName>() else {
        problems.error(at, format!("{name:?} is not a header name"));
        return None;
    };
    if is_reserved(&header) {
        problems.error(
            at,
            format!("the header `{header}` is reserved and cannot be mapped to"),
        );
        return None;
    }
    Some(header)
}
