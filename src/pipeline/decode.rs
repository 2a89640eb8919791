//! A body that came in encoded, to what it says: where the route asks for it, and after everything that is computed over
//! the bytes as they came (signatures, payload hashes). What is decoded has the limit of size of what came, and takes
//! room as what came does.

use http::StatusCode;

use super::admit;
use super::rejection::Rejection;
use super::verify::Payload;
use crate::decode::{Coding, Codings, DecodeError};
use crate::limit::admission::Admitted;
use crate::model::call::Call;
use crate::model::code::Code;
use crate::model::phase::Phase;
use crate::plan::{Plan, Route};

/// Code, status, and the words of the `aws` dialect.
pub(super) fn place(error: &DecodeError) -> (Code, StatusCode, &'static str) {
    match error {
        DecodeError::TooLarge { .. } => (
            Code::BodyTooLarge,
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request Entity Too Large",
        ),
        DecodeError::Unsupported(_) | DecodeError::TooMany(_) => (
            Code::BadRequest,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Unsupported Media Type",
        ),
        DecodeError::Corrupt { .. } => (Code::BadRequest, StatusCode::BAD_REQUEST, "Bad Request"),
    }
}

/// The codings that would have done, where another one was the fault.
pub(super) fn accepted(error: &DecodeError) -> Option<&Codings> {
    match error {
        DecodeError::Unsupported(codings) | DecodeError::TooMany(codings) => Some(codings),
        DecodeError::TooLarge { .. } | DecodeError::Corrupt { .. } => None,
    }
}

/// What has to be undone, from the head alone: a body in another coding is refused before a byte of it is asked for.
pub(super) fn codings(route: &Route, call: &Call) -> Result<Vec<Coding>, Rejection> {
    Ok(route.decode.applied(&call.headers)?)
}

/// The payload with its content decoded. `admitted`: where room is taken for it.
pub(super) async fn content(
    plan: &Plan,
    route: &Route,
    call: &Call,
    codings: &[Coding],
    payload: Payload,
    mut admitted: Option<&mut Admitted>,
) -> Result<Payload, Rejection> {
    if codings.is_empty() {
        return Ok(payload);
    }
    let received = payload.bytes().clone();
    let room = |more| match &mut admitted {
        Some(admitted) => admitted
            .arrived(more)
            .map_err(|scarce| admit::overload(plan, call, Phase::Verify, scarce)),
        None => Ok(()),
    };
    let limit = route.limits.body;
    let decoded = plan.decoders.decode(received, codings, limit, room).await?;
    Ok(payload.decoded(decoded))
}
