//! A body that came in encoded, to what it says: where the route asks for it, and after everything that is computed over
//! the bytes as they came (signatures, payload hashes). What is decoded has the limit of size of what came.

use http::StatusCode;
use tokio::time::timeout_at;

use super::deadline::Deadline;
use super::rejection::Rejection;
use super::verify::Payload;
use crate::decode::{Coding, Codings, DecodeError};
use crate::model::call::Call;
use crate::model::code::Code;
use crate::plan::{Plan, Route};

/// Why there is nothing to map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Every decoder is at work, for longer than the request may take.
    #[error("no processor was free to decode the body in time")]
    Busy,
}

impl ContentError {
    /// Code, status, and the words of the `aws` dialect.
    pub(super) fn place(&self) -> (Code, StatusCode, &'static str) {
        match self {
            ContentError::Busy => (
                Code::Overloaded,
                StatusCode::SERVICE_UNAVAILABLE,
                "Service Unavailable",
            ),
            ContentError::Decode(DecodeError::TooLarge { .. }) => (
                Code::BodyTooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request Entity Too Large",
            ),
            ContentError::Decode(DecodeError::Unsupported(_) | DecodeError::TooMany(_)) => (
                Code::BadRequest,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported Media Type",
            ),
            ContentError::Decode(DecodeError::Corrupt { .. }) => {
                (Code::BadRequest, StatusCode::BAD_REQUEST, "Bad Request")
            }
        }
    }

    /// The codings that would have done, where another one was the fault.
    pub(super) fn accepted(&self) -> Option<&Codings> {
        match self {
            ContentError::Decode(
                DecodeError::Unsupported(codings) | DecodeError::TooMany(codings),
            ) => Some(codings),
            _ => None,
        }
    }
}

/// What has to be undone, from the head alone: a body in another coding is refused before a byte of it is asked for.
pub(super) fn codings(route: &Route, call: &Call) -> Result<Vec<Coding>, Rejection> {
    let applied = route.decode.applied(&call.headers);
    Ok(applied.map_err(ContentError::Decode)?)
}

/// The payload with its content decoded.
pub(super) async fn content(
    plan: &Plan,
    route: &Route,
    codings: &[Coding],
    payload: Payload,
    deadline: Deadline,
) -> Result<Payload, Rejection> {
    if codings.is_empty() {
        return Ok(payload);
    }
    let received = payload.bytes().clone();
    let decoding = plan.decoders.decode(received, codings, route.limits.body);
    let content = timeout_at(deadline.at(), decoding).await;
    let content = content.map_err(|_| ContentError::Busy)?;
    Ok(payload.decoded(content.map_err(ContentError::Decode)?))
}
