//! The target's answer to a response, in the route's dialect, with the route's own additions.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};

use super::Answer;
use super::map::RequestSources;
use super::rejection::Rejection;
use super::route::Found;
use super::store::Receipt;
use super::verify::Payload;
use crate::config::Dialect;
use crate::integration::{Answer as Answered, NativeAnswer, Rendered};
use crate::mapping::{Expression, Source, Sources, select};
use crate::model::call::Call;
use crate::model::request_id::RequestId;
use crate::plan::{CorsPolicy, HeaderChange, ResponseMapping};
use crate::telemetry::Exchange;
use crate::telemetry::exchange::TargetFacts;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VENDOR_REQUEST_ID: HeaderName = HeaderName::from_static("apigw-requestid");

/// The answer to a request whose call has succeeded. In the native dialect a success that hides a failure (an entry
/// that was refused, a workflow that failed) is a refusal; in the other it is answered as the service answered it.
pub(super) fn answered(
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    receipt: Receipt,
    x: &Exchange,
) -> Result<Answer, Rejection> {
    answered_as(&call.id, found, call, payload, receipt, x)
}

/// The same under a request's id: that of the first, where a repeated one is answered.
fn answered_as(
    id: &RequestId,
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    receipt: Receipt,
    x: &Exchange,
) -> Result<Answer, Rejection> {
    let route = &found.route;
    let answer = &receipt.answer;
    let failure = answer.failure();
    let mut response = match (route.dialect, failure) {
        (Dialect::Native, Some(failure)) => return Err(failure.clone().into()),
        (Dialect::Native, None) => native(id, answer.native(), receipt.facts.durability),
        (Dialect::Aws, _) => rendered(&answer.aws(id)),
    };
    if found.api.cors.is_some() {
        // Where CORS is configured, what a target says of it does not go out (reference, 9.3).
        let own: Vec<HeaderName> = response
            .headers()
            .keys()
            .filter(|name| name.as_str().starts_with("access-control-"))
            .cloned()
            .collect();
        for name in own {
            response.headers_mut().remove(name);
        }
    }
    let plan = &route.response;
    let mapping = plan.mappings.get(&answer.service_status());
    let plain = plan.status.is_none()
        && plan.headers.is_empty()
        && plan.body.is_none()
        && plan.webhook_ack.is_none();
    if plain && mapping.is_none() {
        return Ok(response);
    }
    let request = RequestSources {
        call,
        variables: &found.variables,
        path: found.path,
        body: payload.bytes(),
        context: x,
    };
    // The answer as the service gave it is what `$response.…` means, in either dialect.
    let (headers, body) = (response.headers().clone(), answer.aws(id).body);
    let sources = ResponseSources {
        request,
        receipt: Some(&receipt),
        headers: &headers,
        body: &body,
    };
    if failure.is_none() && response.status().is_success() {
        if let Some(ack) = &plan.webhook_ack {
            *response.status_mut() = ack.status;
            *response.body_mut() = Full::new(ack.body.clone());
            response.headers_mut().remove(CONTENT_TYPE);
            if let Some(content_type) = &ack.content_type {
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, content_type.clone());
            }
        }
        if let Some(status) = plan.status {
            *response.status_mut() = status;
        }
        if let Some(body) = &plan.body {
            *response.body_mut() = Full::new(Bytes::from(body.render(&sources)));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in &plan.headers {
            if let Some(value) = header_value(name, value, &sources) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    if let Some(mapping) = mapping {
        apply(mapping, &mut response, &sources);
    }
    Ok(response)
}

/// The answer to a repeated request, made anew of what the target said to the first.
pub(super) fn again(
    first: &RequestId,
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    answer: Answered,
    x: &Exchange,
) -> Result<Answer, Rejection> {
    let facts = TargetFacts {
        status: Some(answer.service_status()),
        message_id: answer.message_id().map(str::to_owned),
        durability: Some(if answer.is_spooled() {
            "spooled"
        } else {
            "target"
        }),
        ..TargetFacts::default()
    };
    let receipt = Receipt {
        answer,
        facts,
        kept_for: None,
    };
    answered_as(first, found, call, payload, receipt, x)
}

/// The answer to a request whose call has failed: the refusal, with what the route maps for the service's status. A
/// failure stays one: no mapping makes it a success.
pub(super) fn refused(
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    rejection: Rejection,
    x: &mut Exchange,
) -> Result<Answer, Rejection> {
    let route = &found.route;
    let mapping = rejection
        .service_status()
        .and_then(|status| route.response.mappings.get(&status));
    let Some(mapping) = mapping else {
        return Err(rejection);
    };
    let verdict = rejection.verdict(call);
    x.refuse(verdict.refusal());
    let mut response = verdict.into_response(route.dialect, Some(found.api), call);
    let request = RequestSources {
        call,
        variables: &found.variables,
        path: found.path,
        body: payload.bytes(),
        context: x,
    };
    let (headers, body) = (response.headers().clone(), rejection.service_body(call));
    let sources = ResponseSources {
        request,
        receipt: None,
        headers: &headers,
        body: &body,
    };
    let refused = response.status();
    apply(mapping, &mut response, &sources);
    if response.status().as_u16() < 400 {
        *response.status_mut() = refused;
    }
    Ok(response)
}

fn native(id: &RequestId, answer: NativeAnswer, durability: Option<&'static str>) -> Answer {
    let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::OK);
    let fields = match answer {
        NativeAnswer::Raw(raw) => return rendered(&raw),
        NativeAnswer::Fields(fields) => fields,
        NativeAnswer::Stored(fields) => {
            let mut all = Map::with_capacity(fields.len() + 2);
            all.insert("requestId".to_owned(), Value::from(id.as_str()));
            all.extend(fields);
            all.insert("durability".to_owned(), Value::from(durability));
            all
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(Value::Object(fields).to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response that is ready but for the headers that every response carries.
pub(super) fn rendered(rendered: &Rendered) -> Answer {
    let mut response = Response::new(Full::new(rendered.body.clone()));
    *response.status_mut() =
        StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let content_type = rendered
        .content_type
        .as_deref()
        .and_then(|text| HeaderValue::from_str(text).ok());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    for (name, value) in &rendered.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// What every response carries: the request's id, and what CORS asks for; and no content where its status has none.
pub(super) fn finish(
    dialect: Dialect,
    cors: Option<&CorsPolicy>,
    call: &Call,
    response: &mut Answer,
) {
    // These statuses have no content (RFC 9110, 15.3.5, 15.3.6, 15.4.5); HTTP/2 clients take it for an error.
    if matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    ) {
        // The type goes with the content that had it; one that somebody wants without content stays (Discord does).
        if http_body::Body::size_hint(response.body()).exact() != Some(0) {
            response.headers_mut().remove(CONTENT_TYPE);
        }
        *response.body_mut() = Full::default();
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(call.id.as_str()) {
        if dialect == Dialect::Aws {
            headers.insert(VENDOR_REQUEST_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
    if let (Some(policy), Some(origin)) = (cors, call.headers.get(ORIGIN)) {
        policy.decorate(origin, headers);
    }
}

/// The changes for the integration's status. A value that does not resolve leaves its header alone.
fn apply(mapping: &ResponseMapping, response: &mut Answer, sources: &ResponseSources<'_>) {
    for change in &mapping.headers {
        match change {
            HeaderChange::Remove(name) => {
                response.headers_mut().remove(name);
            }
            HeaderChange::Append(name, value) => {
                if let Some(value) = header_value(name, value, sources) {
                    response.headers_mut().append(name, value);
                }
            }
            HeaderChange::Overwrite(name, value) => {
                if let Some(value) = header_value(name, value, sources) {
                    response.headers_mut().insert(name, value);
                }
            }
        }
    }
    let status = mapping
        .status
        .as_ref()
        .and_then(|status| status.resolve("statuscode", sources).ok());
    let status = status
        .and_then(|text| std::str::from_utf8(&text).ok()?.parse::<u16>().ok())
        .filter(|code| (200..=599).contains(code));
    if let Some(status) = status.and_then(|code| StatusCode::from_u16(code).ok()) {
        *response.status_mut() = status;
    }
}

/// The value, if it resolves and can stand in a header.
fn header_value(
    name: &HeaderName,
    value: &Expression,
    sources: &ResponseSources<'_>,
) -> Option<HeaderValue> {
    let bytes = value.resolve(name.as_str(), sources).ok()?;
    HeaderValue::from_bytes(&bytes).ok()
}

/// The values of a request and of its answer.
struct ResponseSources<'r> {
    request: RequestSources<'r>,
    /// `None`: the target gave no success.
    receipt: Option<&'r Receipt>,
    headers: &'r http::HeaderMap,
    body: &'r Bytes,
}

impl Sources for ResponseSources<'_> {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
        let owned = |value: Cow<'_, str>| Bytes::from(value.into_owned());
        Ok(match source {
            Source::Integration(name) => self
                .receipt
                .and_then(|receipt| receipt.answer.field(name))
                .map(owned),
            Source::ResponseHeader(name) => self
                .headers
                .get(name)
                .map(|value| Bytes::copy_from_slice(value.as_bytes())),
            Source::ResponseBody => Some(self.body.clone()),
            Source::ResponseField(selector) => return select(selector, self.body),
            _ => return self.request.get(source),
        })
    }
}
