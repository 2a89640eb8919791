//! What needs the body before it may be stored: signatures, payload hashes. A payload can be made only here, and only
//! with a permit and the caller it was given to.

use bytes::Bytes;
use http::Response;

use super::authorize::{self, Permit};
use super::rejection::Rejection;
use super::route::RouteError;
use crate::authn::{Caller, Verified};
use crate::model::identity::Presented;
use crate::plan::Route;

/// A body that may be stored.
pub struct Payload(Bytes);

impl Payload {
    /// The bytes, as received.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// What has become of a permitted request's body.
pub(super) enum Outcome {
    /// It may be stored.
    Payload(Payload),
    /// It was a sender's question, and this is the answer.
    Answered(Response<Bytes>),
}

/// The body of a permitted request.
pub(super) async fn payload(
    route: &Route,
    presented: &Presented<'_>,
    _permit: Permit,
    caller: &mut Caller,
    body: Bytes,
) -> Result<Outcome, Rejection> {
    if let Some(method) = &route.questions_of {
        for authenticator in &route.authenticators {
            if let Some(answer) = authenticator.answer_question(presented, &body).await? {
                return Ok(Outcome::Answered(answer));
            }
        }
        let allow = vec![method.clone()];
        return Err(RouteError::Method { allow }.into());
    }
    let was_pending = caller.is_pending();
    for authenticator in route.authenticators.iter().filter(|kind| kind.needs_body()) {
        match authenticator.verify(presented, &body, caller).await? {
            Verified::Passed => {}
            Verified::Answered(answer) => return Ok(Outcome::Answered(answer)),
        }
    }
    if was_pending {
        authorize::allowing(route, presented, caller)?;
    }
    Ok(Outcome::Payload(Payload(body)))
}
