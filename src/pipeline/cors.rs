//! Preflights: answered from the path before anyone is asked who they are, unless a route key literally says `OPTIONS`
//! (reference, 9.2).

use bytes::Bytes;
use http::header::ORIGIN;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::Answer;
use super::route::{Found, RouteError, listener};
use crate::config::TrailingSlash;
use crate::model::call::Call;
use crate::plan::{Chosen, CorsPolicy, Plan};

/// The answer to a preflight; `None` if the request is none, or CORS is not configured.
pub(super) fn preflight(
    plan: &Plan,
    chosen: Option<&Chosen<'_>>,
    call: &Call,
    found: &Result<Found<'_>, RouteError>,
) -> Option<Answer> {
    let Chosen { api, path, .. } = chosen?;
    let policy = api.cors.as_ref()?;
    if !CorsPolicy::is_preflight(&call.method, &call.headers)
        || matches!(found, Err(RouteError::NoStage))
    {
        return None;
    }
    let path = api.below_stage(path)?;
    // A route that a webhook's questions have brought about is not one that somebody wrote.
    let asked = matches!(found, Ok(found) if found.route.questions_of.is_some());
    let ignore_slash = api.trailing_slash == TrailingSlash::Ignore;
    let matcher = listener(plan, call)?.routes_of(api)?;
    if !asked && matcher.serves_literally(&call.method, path, ignore_slash) {
        return None;
    }
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    policy.answer_preflight(call.headers.get(ORIGIN)?, response.headers_mut());
    Some(response)
}
