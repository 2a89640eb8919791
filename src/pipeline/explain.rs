//! What would become of a request: the same phases, in the same order, by the same code, and nothing sent. No token is
//! taken from a bucket, so throttles are only described.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::rejection::Rejection;
use super::route::RouteError;
use super::verify::Outcome;
use super::{
    admit, authenticate, authorize, cors, decode, map, once, receive, route, usage, validate,
    verify,
};
use crate::forward::AckMode;
use crate::integration::Integration;
use crate::model::call::Call;
use crate::model::identity::{Delivery, Identity};
use crate::model::phase::Phase;
use crate::plan::{Picked, Plan};
use crate::telemetry::Exchange;

/// What a phase would decide.
#[derive(Debug, Serialize)]
pub struct Decision {
    pub phase: &'static str,
    /// Whether the request would go on.
    pub passes: bool,
    pub detail: String,
}

/// What would become of a request.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The API that the request is for.
    pub api: Option<String>,
    /// The route key.
    pub route: Option<String>,
    /// The path's variables.
    pub variables: serde_json::Map<String, Value>,
    pub phases: Vec<Decision>,
    /// The status, where the request would be answered without a call.
    pub status: Option<u16>,
    /// The reason code of a refusal.
    pub code: Option<&'static str>,
    /// The exact service call, with the service's own parameter names.
    pub call: Option<Value>,
}

/// Follows a request up to the call that it would make. The exchange gives `$context` its values; it is not written down.
/// `recorded`: who the caller was, where nobody can prove it again; for a plan that asks nobody who they are.
pub async fn explain(
    plan: &Plan,
    call: &Call,
    body: &Bytes,
    mut exchange: Exchange,
    recorded: Option<&Identity>,
) -> Explanation {
    let mut explanation = Explanation::default();
    let followed = follow(plan, call, body, recorded, &mut exchange, &mut explanation);
    if let Err(rejection) = followed.await {
        let verdict = rejection.verdict(call).refusal();
        explanation.status = Some(verdict.status);
        explanation.code = Some(verdict.code.name());
        explanation.decide(
            verdict.phase,
            false,
            format!("{} {}: {}", verdict.status, verdict.code, verdict.cause),
        );
    }
    explanation
}

async fn follow(
    plan: &Plan,
    call: &Call,
    body: &Bytes,
    recorded: Option<&Identity>,
    exchange: &mut Exchange,
    x: &mut Explanation,
) -> Result<(), Rejection> {
    admit::network(plan, call)?;
    admit::head(plan, call)?;
    x.decide(
        Phase::Admit,
        true,
        format!("request line and headers fit in {} bytes", plan.head_bytes),
    );
    let chosen = plan.choose(call);
    let found = route::matching(plan, chosen.as_ref(), call);
    x.api = chosen.as_ref().map(|chosen| chosen.api.name.to_string());
    if let Ok(found) = &found {
        authorize::address(&found.route, call)?;
    }
    if let Some(answer) = cors::preflight(plan, chosen.as_ref(), call, &found) {
        x.status = Some(answer.status().as_u16());
        x.decide(
            Phase::Cors,
            true,
            "204: a preflight, answered by the gateway".to_owned(),
        );
        return Ok(());
    }
    if let Err(RouteError::Redirect {
        location,
        barred: None,
    }) = &found
    {
        x.status = Some(308);
        // The query stays as it is, and may hold a key.
        let path = location.split('?').next().unwrap_or_default();
        x.decide(Phase::Route, true, format!("308: to {path}"));
        return Ok(());
    }
    let found = found?;
    let route = &found.route;
    exchange.routed(route.facts.clone());
    x.route = Some(route.facts.key.0.to_string());
    x.variables = found
        .variables
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(value.as_str())))
        .collect();
    let of_api = match plan.apis.as_slice() {
        [_] => String::new(),
        _ => format!(" of {}", found.api.name),
    };
    let version = chosen.as_ref().and_then(|chosen| chosen.version.as_ref());
    let of_api = match version.and_then(Picked::name) {
        Some(version) => format!("{of_api}, version {version}"),
        None => of_api,
    };
    x.decide(Phase::Route, true, format!("{}{of_api}", route.facts.key.0));
    let throttles = route.throttles.as_ref();
    let limits = throttles.map_or(Vec::new(), |throttles| throttles.describe());
    if limits.is_empty() {
        x.decide(Phase::Throttle, true, "none".to_owned());
    }
    for limit in limits {
        x.decide(Phase::Throttle, true, limit);
    }
    let presented = found.presented(call);
    let mut caller = authenticate::caller(plan, route, &presented).await?;
    let who = match &caller.identity().principal {
        _ if route.authenticators.is_empty() => "anyone may come in".to_owned(),
        Some(principal) => principal.to_string(),
        None => "known once the body is verified".to_owned(),
    };
    x.decide(Phase::Authenticate, true, who);
    exchange.identified(recorded.unwrap_or(caller.identity()));
    let permit = authorize::permit(route, &presented, &caller)?;
    let asked = match route.scopes.as_slice() {
        [] => "no scope is asked for".to_owned(),
        scopes => format!("one of the scopes {}", scopes.join(", ")),
    };
    x.decide(Phase::Authorize, true, asked);
    let was_pending = caller.is_pending();
    if was_pending {
        let said = "policies are asked once the body has proven who signed".to_owned();
        x.decide(Phase::Authorize, true, said);
    } else if let Some(by) = authorize::allowing(route, &presented, &caller)? {
        x.decide(Phase::Authorize, true, format!("allowed by {by}"));
    }
    if let Some(said) = usage::explained(plan, route, &caller) {
        x.decide(Phase::Throttle, true, said);
    }
    let codings = decode::codings(route, call)?;
    receive::check_size(route, body.len() as u64)?;
    x.decide(
        Phase::Receive,
        true,
        format!("{} bytes of at most {}", body.len(), route.limits.body),
    );
    let payload =
        match verify::payload(route, &presented, permit, &mut caller, body.clone()).await? {
            Outcome::Payload(payload) => payload,
            Outcome::Answered(answer) => {
                x.status = Some(answer.status().as_u16());
                let said = format!("{}: a handshake, answered by the gateway", answer.status());
                x.decide(Phase::Verify, true, said);
                return Ok(());
            }
        };
    let identity = recorded.unwrap_or(caller.identity());
    exchange.identified(identity);
    let proven = match &identity.principal {
        _ if let Some(delivery) = &identity.delivery => genuine(delivery),
        Some(principal) if route.proven_by_body => principal.to_string(),
        _ => "no signature is asked for".to_owned(),
    };
    x.decide(Phase::Verify, true, proven);
    if was_pending && let Some(by) = authorize::allowing(route, &presented, &caller)? {
        x.decide(Phase::Authorize, true, format!("allowed by {by}"));
    }
    let payload = decode::content(plan, route, call, &codings, payload, None).await?;
    if !codings.is_empty() {
        let names: Vec<&str> = codings.iter().map(|coding| coding.name()).collect();
        let said = format!(
            "decoded ({}) to {} bytes",
            names.join(", "),
            payload.bytes().len()
        );
        x.decide(Phase::Verify, true, said);
    }
    validate::request(route, call, &payload).await?;
    if route.validation.is_some() {
        let said = "what the route asks of a request is there".to_owned();
        x.decide(Phase::Verify, true, said);
    }
    if let Some(said) = once::explained(&found, call, &payload, identity, exchange)? {
        x.decide(Phase::Verify, true, said);
    }
    let requests = map::records(&found, call, &payload, exchange)?;
    let kinds: Vec<&str> = std::iter::once(&route.integration)
        .chain(&route.copies)
        .map(Integration::kind)
        .collect();
    x.decide(Phase::Map, true, kinds.join(", "));
    if route.ack.mode != AckMode::Target {
        x.decide(Phase::Store, true, format!("ack: {}", route.ack));
    }
    let called = match requests.as_slice() {
        [one] => serde_json::to_value(one),
        several => serde_json::to_value(several),
    };
    x.call = Some(called.unwrap_or_else(|error| Value::from(error.to_string())));
    Ok(())
}

/// What is known of a webhook delivery that is genuine.
fn genuine(delivery: &Delivery) -> String {
    let named = |name: &str, value: &Option<String>| match value {
        Some(value) => format!("{name} {value}"),
        None => format!("no {name}"),
    };
    format!(
        "a genuine delivery of {}: secret {} matched, {}, {}",
        delivery.source,
        delivery.key,
        named("id", &delivery.id),
        named("type", &delivery.kind)
    )
}

impl Explanation {
    fn decide(&mut self, phase: Phase, passes: bool, detail: String) {
        self.phases.push(Decision {
            phase: phase.name(),
            passes,
            detail,
        });
    }
}
