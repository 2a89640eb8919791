//! `POST /v1/reload`: has the configuration read anew from where it came, and says what became of it.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::api::refusal;
use super::guard::Guard;
use super::json_response;
use crate::plan::candidate::{Candidate, Door, Origin, Outcome, Refused};

/// Answers when the configuration runs, or does not.
pub(super) async fn answer(
    door: &Door,
    guard: &Guard,
    headers: &HeaderMap,
) -> Response<Full<Bytes>> {
    if let Err(refused) = guard.may_write(headers) {
        return refusal(&refused);
    }
    told(&door.submit(Candidate::anew(Origin::Reload)).await)
}

/// What became of a candidate: 200 with what runs; 422 where the configuration has errors, 409 where something that it
/// needs cannot be had, 503 where it may be asked for again in a moment.
pub fn told(became: &Result<Outcome, Refused>) -> Response<Full<Bytes>> {
    match became {
        Ok(outcome) => json_response(StatusCode::OK, outcome),
        Err(refused) => {
            let status = match refused {
                Refused::Problems(_) => StatusCode::UNPROCESSABLE_ENTITY,
                Refused::Build(_) => StatusCode::CONFLICT,
                Refused::NotYet(_) | Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            let body = json!({ "reason": refused.kind(), "problems": refused.lines() });
            json_response(status, &body)
        }
    }
}
