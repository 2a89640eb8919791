//! Idempotency keys, between `verify` and `map`: a request whose key is known gets the first one's answer, waits, or is
//! refused; the others bring their key along to where the record is stored. The words are those of the IETF draft
//! "The Idempotency-Key HTTP Header Field".

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Answer;
use super::map::RequestSources;
use super::rejection::Rejection;
use super::respond;
use super::route::Found;
use super::verify::Payload;
use crate::forward;
use crate::integration::{StoreState, TargetError};
use crate::mapping::Expression;
use crate::model::call::Call;
use crate::model::identity::Identity;
use crate::model::request_id::RequestId;
use crate::model::value::Span;
use crate::plan::{IdempotencyPlan, Plan};
use crate::store::{Kept, Known, NewKey};
use crate::telemetry::Exchange;
use crate::telemetry::metrics::{KeyUse, Metrics, Name};

/// What a replayed answer carries.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
const LONGEST: usize = 255;
/// How long past its deadline a request waits for a store to hear how it ended.
pub(super) const LAST_WORD: Duration = Duration::from_secs(1);
/// Why a request is refused whose key cannot be looked up or reserved in time.
pub(super) const SLOW: &str = "the store did not answer in time";

/// Why a request is refused for its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("this route needs an idempotency key, and {0} has none")]
    Missing(String),
    #[error("the idempotency key {0}")]
    Malformed(&'static str),
    #[error("the idempotency key was used for another request: another path, query or body")]
    Mismatch,
    #[error("a request with this idempotency key is under way")]
    InFlight(Duration),
}

/// How a request goes on.
pub(super) enum Entry {
    /// Without a key, or with one that no finished request is known by.
    Go(Option<NewKey>),
    /// It is answered already.
    Replay(Answer),
}

/// Looks the request's key up.
pub(super) async fn entry(
    plan: &Plan,
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    caller: &Identity,
    x: &mut Exchange,
) -> Result<Entry, Rejection> {
    let Some(once) = &found.route.idempotency else {
        return Ok(Entry::Go(None));
    };
    let Some(new) = brought(once, found, call, payload, caller, x)? else {
        return Ok(Entry::Go(None));
    };
    let store = plan.targets.open_store()?;
    let looking = timeout(found.route.limits.timeout, store.known(&new)).await;
    let known = looking.map_err(|_| TargetError::no_store(SLOW))?;
    let known = known.map_err(TargetError::of_spool)?;
    match known {
        None => Ok(Entry::Go(Some(new))),
        Some(Known::Mismatch) if once.stores_mismatched => {
            note(x, found, "mismatch_stored");
            Ok(Entry::Go(None))
        }
        Some(known) => known_answer(found, call, payload, known, x).map(Entry::Replay),
    }
}

/// The key that the request brings, which `$context.idempotencyId` is from here on; `None` if it brings none, and need
/// not.
fn brought(
    once: &IdempotencyPlan,
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    caller: &Identity,
    x: &mut Exchange,
) -> Result<Option<NewKey>, Rejection> {
    let Some(key) = key_of(once, found, call, payload, x)? else {
        if once.required {
            return Err(KeyError::Missing(written(&once.key)).into());
        }
        return Ok(None);
    };
    let facts = &found.route.facts;
    let scope = [
        &*facts.api,
        &*facts.stage,
        &*facts.key.0,
        caller.scope().unwrap_or_default(),
    ];
    let mut parts: Vec<&[u8]> = scope.iter().map(|part| part.as_bytes()).collect();
    parts.push(&key);
    let query = call.raw_query().unwrap_or_default();
    let new = NewKey {
        key: digest(&parts),
        fingerprint: digest(&[
            call.method.as_str().as_bytes(),
            found.path.as_bytes(),
            query.as_bytes(),
            payload.received(),
        ]),
        ttl: once.ttl,
        fence: once.fence,
        request_id: call.id.to_string(),
    };
    x.keyed(hex(&new.key));
    Ok(Some(new))
}

/// What `penstock explain` says of the key: where it comes from and its digest, never the key itself. `None` where the
/// route has no keys.
pub(super) fn explained(
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    caller: &Identity,
    x: &mut Exchange,
) -> Result<Option<String>, Rejection> {
    let Some(once) = &found.route.idempotency else {
        return Ok(None);
    };
    let origin = written(&once.key);
    Ok(Some(
        match brought(once, found, call, payload, caller, x)? {
            Some(new) => format!(
                "idempotency key from {origin}, id {}, kept for {}; whether it is known already is in the store",
                hex(&new.key),
                Span(new.ttl)
            ),
            None => {
                format!("no idempotency key: the request has no {origin}, and need not have it")
            }
        },
    ))
}

/// The answer to a request whose key is known.
pub(super) fn known_answer(
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    known: Known,
    x: &mut Exchange,
) -> Result<Answer, Rejection> {
    match known {
        Known::Done(kept) => {
            note(x, found, "replayed");
            x.replayed();
            replay(found, call, payload, &kept, x)
        }
        Known::InFlight(left) => {
            note(x, found, "in_flight");
            Err(KeyError::InFlight(left).into())
        }
        Known::Mismatch => {
            note(x, found, "mismatch_refused");
            Err(KeyError::Mismatch.into())
        }
    }
}

/// Counts the request, which brought a key.
fn note(x: &Exchange, found: &Found<'_>, result: &'static str) {
    if let Some(metrics) = x.metrics() {
        count(metrics, &found.route.facts.label, result);
    }
}

/// Counts a request that brought a key.
pub(super) fn count(metrics: &Metrics, route: &Name, result: &'static str) {
    let labels = KeyUse {
        route: route.clone(),
        result,
    };
    metrics.idempotency_keys.get_or_create(&labels).inc();
}

/// The key that the request brings. A structured string (RFC 8941, as the draft writes it) stands for its content.
fn key_of(
    once: &IdempotencyPlan,
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    x: &Exchange,
) -> Result<Option<Vec<u8>>, Rejection> {
    let sources = RequestSources {
        call,
        variables: &found.variables,
        path: found.path,
        body: payload.bytes(),
        context: x,
    };
    let Ok(value) = once.key.resolve("idempotency.key", &sources) else {
        return Ok(None);
    };
    let key = unquoted(value.trim_ascii());
    match key.len() {
        0 => Ok(None),
        1..=LONGEST => Ok(Some(key)),
        // The id itself is bounded; what stands before it is ours.
        _ if once.by_delivery => Ok(Some(key)),
        _ => Err(KeyError::Malformed("is longer than 255 bytes").into()),
    }
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    let Some(inner) = inner else {
        return value.to_vec();
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => text.push(*escaped),
                // Not a structured string after all.
                _ => return value.to_vec(),
            },
            b'"' => return value.to_vec(),
            byte => text.push(*byte),
        }
    }
    text
}

fn written(expression: &Expression) -> String {
    let names: Vec<&str> = expression
        .references()
        .map(|reference| reference.written.as_str())
        .collect();
    names.join(", ")
}

/// SHA-256 over parts, each with its length, so that no two lists of parts are the same.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A response as it is kept: all but the headers that name the one request.
#[derive(Serialize, Deserialize)]
struct KeptResponse {
    status: u16,
    headers: Vec<(String, String)>,
    /// Base64.
    body: String,
}

/// A response to keep.
fn kept_form(response: &Answer, body: &[u8]) -> Option<Bytes> {
    let headers = response
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    let kept = KeptResponse {
        status: response.status().as_u16(),
        headers,
        body: STANDARD.encode(body),
    };
    serde_json::to_vec(&kept).ok().map(Bytes::from)
}

/// Adds the response to what is kept for the key. The record is durable, and so is what the target said of it: without
/// the response a repeated request is answered with one made anew.
pub(super) async fn keep(
    plan: &Plan,
    found: &Found<'_>,
    key: [u8; 32],
    response: Answer,
    x: &Exchange,
) -> Answer {
    note(x, found, "new");
    let (head, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let response = Response::from_parts(head, Full::new(body.clone()));
    if let (Some(kept), StoreState::Open(store)) =
        (kept_form(&response, &body), plan.targets.store_state())
        // Once the writer has it, it keeps it, also when nobody waits.
        && let Ok(Err(error)) = timeout(LAST_WORD, store.keep_response(key, kept)).await
    {
        tracing::debug!(%error, "A response could not be kept for its idempotency key");
    }
    response
}

fn replay(
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    kept: &Kept,
    x: &mut Exchange,
) -> Result<Answer, Rejection> {
    let mut response = match kept.response.as_deref().and_then(restored) {
        Some(response) => response,
        // The process ended between the record and its answer: the answer is made again, of what the target said.
        None => {
            let answer = forward::answer_of(&kept.receipt).ok_or_else(|| {
                TargetError::no_store("the answer that was kept for this key cannot be read")
            })?;
            let first = RequestId::read(&kept.request_id).unwrap_or(call.id);
            respond::again(&first, found, call, payload, answer, x)?
        }
    };
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn restored(kept: &[u8]) -> Option<Answer> {
    let kept: KeptResponse = serde_json::from_slice(kept).ok()?;
    let body = STANDARD.decode(kept.body).ok()?;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(kept.status).ok()?;
    for (name, value) in kept.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        response
            .headers_mut()
            .append(name, HeaderValue::from_str(&value).ok()?);
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structured_string_is_the_key_that_it_quotes() {
        assert_eq!(unquoted(b"\"abc\""), b"abc");
        assert_eq!(unquoted(b"\"a\\\"b\""), b"a\"b");
        for plain in [&b"abc"[..], b"\"", b"\"a\"b\"", b"\"a\\x\"", b"a\"b\""] {
            assert_eq!(unquoted(plain), plain);
        }
    }

    #[test]
    fn parts_are_not_taken_for_one_another() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(hex(&digest(&[])).len(), 64);
    }

    #[test]
    fn a_kept_response_comes_back_as_it_went() {
        let mut response = Response::new(Full::new(Bytes::from_static(b"\xff{}")));
        *response.status_mut() = StatusCode::ACCEPTED;
        response
            .headers_mut()
            .insert("x-a", HeaderValue::from_static("1"));
        let kept = kept_form(&response, b"\xff{}").unwrap();
        let again = restored(&kept).unwrap();
        assert_eq!(again.status(), 202);
        assert_eq!(again.headers(), response.headers());
        assert_eq!(restored(b"{}").map(|response| response.status()), None);
    }
}
