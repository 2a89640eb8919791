//! API, stage and path to a route.

use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use super::Answer;
use super::rejection::Rejection;
use crate::config::TrailingSlash;
use crate::model::call::Call;
use crate::model::cidr::Barred;
use crate::model::identity::Presented;
use crate::plan::{Api, Chosen, ListenerPlan, Matcher, Miss, Plan, Route, Variables, VersionError};

/// The route that a request goes by, with what its path says.
pub struct Found<'c> {
    pub api: &'c Api,
    pub route: Arc<Route>,
    pub variables: Variables,
    /// The path as received, below the API's base path and the stage.
    pub path: &'c str,
}

impl Found<'_> {
    /// The request as authorizers see it.
    pub(super) fn presented<'p>(&'p self, call: &'p Call) -> Presented<'p> {
        let facts = &self.route.facts;
        Presented {
            call,
            api: &facts.api,
            stage: &facts.stage,
            route_key: &facts.key.0,
            path: self.path,
            path_variables: &self.variables,
            stage_variables: &self.api.stage_variables,
            now: time::OffsetDateTime::from(call.arrived_at).unix_timestamp(),
        }
    }
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no API serves this host, or this path of it")]
    NoApi,
    #[error(transparent)]
    Version(VersionError),
    #[error("the stage does not serve this path")]
    NoStage,
    #[error("no route serves this path")]
    NoRoute,
    #[error("no route serves this method on this path")]
    Method { allow: Vec<Method> },
    #[error("the path has a route with its trailing slash the other way round")]
    Redirect {
        location: String,
        /// Whom the route there does not let pass is not told of it.
        barred: Option<Barred>,
    },
}

/// The listener that the request came in on.
pub(super) fn listener<'p>(plan: &'p Plan, call: &Call) -> Option<&'p ListenerPlan> {
    plan.listener(&call.peer.listener)
}

/// The route that serves the request, of the API that it is for.
pub(super) fn matching<'c>(
    plan: &Plan,
    chosen: Option<&Chosen<'c>>,
    call: &Call,
) -> Result<Found<'c>, RouteError> {
    let Chosen { api, path, version } = chosen.ok_or(RouteError::NoApi)?;
    let (api, path): (&'c Api, &'c str) = (api, path);
    if let Some(refusal) = version.as_ref().and_then(|picked| picked.refusal) {
        return Err(RouteError::Version(refusal));
    }
    let matcher = listener(plan, call)
        .and_then(|listener| listener.routes_of(api))
        .ok_or(RouteError::NoRoute)?;
    let path = api.below_stage(path).ok_or(RouteError::NoStage)?;
    let ignore_slash = api.trailing_slash == TrailingSlash::Ignore;
    match matcher.find(&call.method, path, ignore_slash) {
        Ok(found) => Ok(Found {
            api,
            route: found.route.clone(),
            variables: found.variables,
            path,
        }),
        Err(miss) => Err(missed(api, matcher, call, path, miss)),
    }
}

fn missed(
    api: &Api,
    matcher: &Matcher<Arc<Route>>,
    call: &Call,
    path: &str,
    miss: Miss,
) -> RouteError {
    if api.trailing_slash == TrailingSlash::Redirect
        && let Ok(twin) = matcher.find(&call.method, path, true)
    {
        let barred = twin.route.access.admits(call.source_ip()).err();
        let raw = call.raw_path();
        let other = raw
            .strip_suffix('/')
            .map_or_else(|| format!("{raw}/"), str::to_owned);
        let query = call
            .raw_query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        // `//host` at the start, or what browsers take for it, would send the client to another host.
        let location = format!("/{}{query}", other.trim_start_matches(['/', '\\']));
        return RouteError::Redirect { location, barred };
    }
    if miss.allow.is_empty() {
        RouteError::NoRoute
    } else {
        RouteError::Method { allow: miss.allow }
    }
}

/// What a request is told that no route serves: where to go instead, or that there is nothing.
pub(super) fn elsewhere(error: RouteError) -> Result<Answer, Rejection> {
    let RouteError::Redirect {
        location,
        barred: None,
    } = error
    else {
        return Err(error.into());
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    // A raw path and query hold nothing that a header cannot.
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

impl From<RouteError> for Rejection {
    fn from(error: RouteError) -> Rejection {
        match error {
            RouteError::Redirect {
                barred: Some(barred),
                ..
            } => Rejection::Barred(barred),
            error => Rejection::Route(error),
        }
    }
}
