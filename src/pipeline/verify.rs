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
pub struct Payload {
    received: Bytes,
    content: Bytes,
}

impl Payload {
    /// The bytes to be mapped: as received, or decoded where the route asks for it.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.content
    }

    /// The bytes as received.
    pub(super) fn received(&self) -> &Bytes {
        &self.received
    }

    /// The same payload, with what its bytes were decoded to.
    pub(super) fn decoded(self, content: Bytes) -> Payload {
        Payload { content, ..self }
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
    // Who signed comes first: a webhook may answer its sender itself, and nobody else.
    let was_pending = caller.is_pending();
    let by_body = || route.authenticators.iter().filter(|kind| kind.needs_body());
    for authenticator in by_body().filter(|kind| !kind.answers_itself()) {
        authenticator.verify(presented, &body, caller).await?;
    }
    if was_pending {
        authorize::allowing(route, presented, caller)?;
    }
    if let Some(method) = &route.questions_of {
        for authenticator in &route.authenticators {
            if let Some(answer) = authenticator.answer_question(presented, &body).await? {
                return Ok(Outcome::Answered(answer));
            }
        }
        let allow = vec![method.clone()];
        return Err(RouteError::Method { allow }.into());
    }
    for authenticator in by_body().filter(|kind| kind.answers_itself()) {
        match authenticator.verify(presented, &body, caller).await? {
            Verified::Passed => {}
            Verified::Answered(answer) => return Ok(Outcome::Answered(answer)),
        }
    }
    Ok(Outcome::Payload(Payload {
        content: body.clone(),
        received: body,
    }))
}
