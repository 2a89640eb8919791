//! Whether a request is what its route asks for: headers and parameters that must be there, a content type, a JSON Schema
//! for the body. Asked once the caller is proven and the body decoded, and before anything is remembered of the request,
//! so that what is refused here burns no idempotency key.

use std::sync::Arc;

use super::rejection::Rejection;
use super::verify::Payload;
use crate::model::call::Call;
use crate::plan::{Invalid, Route, Validation};

/// Larger bodies are looked at on a thread of their own, in bytes.
const SMALL: usize = 64 << 10;

/// Refuses what is not asked for.
pub(super) async fn request(
    route: &Route,
    call: &Call,
    payload: &Payload,
) -> Result<(), Rejection> {
    let Some(validation) = &route.validation else {
        return Ok(());
    };
    validation.head(call)?;
    if !validation.asks_body() {
        return Ok(());
    }
    let body = payload.bytes();
    if body.len() <= SMALL {
        return Ok(validation.body(body)?);
    }
    let (validation, body): (Arc<Validation>, _) = (validation.clone(), body.clone());
    let looked = tokio::task::spawn_blocking(move || validation.body(&body)).await;
    match looked {
        Ok(verdict) => Ok(verdict?),
        Err(error) if error.is_panic() => Err(Rejection::panicked(&*error.into_panic())),
        Err(error) => Err(Rejection::panicked(&error.to_string())),
    }
}

impl From<Invalid> for Rejection {
    fn from(invalid: Invalid) -> Rejection {
        Rejection::Invalid(Box::new(invalid))
    }
}
