//! Whom a route lets pass by address, and a caller to a permit: what the route asks for beyond being somebody. Nothing of
//! the body has been read, unless the caller is proven by it: then policies are asked again once that is done (`proven`).

use super::rejection::Rejection;
use crate::authn::Caller;
use crate::authn::policy::{Answer, Asked, Reason, decide};
use crate::model::call::Call;
use crate::model::identity::Presented;
use crate::plan::Route;

/// Whether the client may use the route, by its address. Asked before anything else is: it costs nothing to refuse.
pub(super) fn address(route: &Route, call: &Call) -> Result<(), Rejection> {
    if route.access.is_open() {
        return Ok(());
    }
    let admitted = route.access.admits(call.source_ip());
    admitted.map_err(Rejection::Barred)
}

/// Leave to have a payload stored. Made here alone, out of a caller.
pub struct Permit(());

/// Why a proven caller may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("the token grants none of the scopes {}", .0.join(", "))]
    Scope(Vec<String>),
    #[error("{who} is not authorized to perform execute-api:Invoke on {resource}: {}", denied(.by.as_ref()))]
    Policy {
        who: String,
        /// `execute-api:/STAGE/METHOD/path`
        resource: String,
        /// The statement that denies; `None` where none allows.
        by: Option<Reason>,
    },
}

fn denied(by: Option<&Reason>) -> String {
    by.map_or_else(
        || "no statement allows it".to_owned(),
        |by| format!("{by} denies it"),
    )
}

/// What the caller may do.
pub(super) fn permit(
    route: &Route,
    presented: &Presented<'_>,
    caller: &Caller,
) -> Result<Permit, Rejection> {
    let granted = caller.scopes().unwrap_or_default();
    let needs_scope = !route.scopes.is_empty();
    if needs_scope && !route.scopes.iter().any(|scope| granted.contains(scope)) {
        return Err(Forbidden::Scope(route.scopes.clone()).into());
    }
    if !caller.is_pending() {
        allowing(route, presented, caller)?;
    }
    Ok(Permit(()))
}

/// The statement that lets a request pass; `None` where no policy is asked (reference, 12.1): without an authorizer that
/// speaks of single requests the resource policy alone must allow.
pub(super) fn allowing(
    route: &Route,
    presented: &Presented<'_>,
    caller: &Caller,
) -> Result<Option<Reason>, Forbidden> {
    if route.policies.is_empty() && !caller.is_judged() {
        return Ok(None);
    }
    let asked = Asked::of(presented, caller.signer());
    let answer = match caller.answer(&asked) {
        None => resource(route, &asked),
        Some(answer) => {
            let foreign = caller.signer().is_some_and(|signer| signer.foreign);
            decide(answer, resource(route, &asked), foreign)
        }
    };
    match answer {
        Answer::Allowed(by) => Ok(Some(by)),
        Answer::Denied(by) => Err(refused(presented, caller, Some(by))),
        Answer::Silent => Err(refused(presented, caller, None)),
    }
}

/// Stops a request that the resource policy denies whatever an authorizer says, before a service is asked for nothing.
pub(super) fn not_denied(
    route: &Route,
    presented: &Presented<'_>,
    caller: &Caller,
) -> Result<(), Forbidden> {
    match resource(route, &Asked::of(presented, caller.signer())) {
        Answer::Denied(by) => Err(refused(presented, caller, Some(by))),
        Answer::Allowed(_) | Answer::Silent => Ok(()),
    }
}

/// What the policies of the API and of the route say together.
fn resource(route: &Route, asked: &Asked<'_>) -> Answer {
    let answers = route.policies.iter().map(|policy| policy.answer(asked));
    answers.fold(Answer::Silent, Answer::and)
}

fn refused(presented: &Presented<'_>, caller: &Caller, by: Option<Reason>) -> Forbidden {
    let who = caller.signer().map(|signer| signer.arn.to_string());
    let principal = caller.identity().principal.as_deref().map(str::to_owned);
    Forbidden::Policy {
        who: who.or(principal).unwrap_or_else(|| "anonymous".to_owned()),
        resource: format!(
            "execute-api:/{}/{}{}",
            presented.stage, presented.call.method, presented.path
        ),
        by,
    }
}
