//! Credentials to a caller: every authorizer of the route must let the caller pass, in order.

use super::authorize;
use super::rejection::Rejection;
use crate::authn::Caller;
use crate::model::identity::Presented;
use crate::plan::{Plan, Route};

/// Who calls, as far as the head says.
pub(super) async fn caller(
    plan: &Plan,
    route: &Route,
    presented: &Presented<'_>,
) -> Result<Caller, Rejection> {
    let mut caller = Caller::anyone();
    for authenticator in &route.authenticators {
        if authenticator.asks_a_service() {
            authorize::not_denied(route, presented, &caller)?;
        }
        authenticator.authenticate(presented, &mut caller).await?;
    }
    caller.identify(&plan.keys)?;
    Ok(caller)
}
