//! Credentials to a caller: every authorizer of the route must let the caller pass, in order.

use super::rejection::Rejection;
use crate::authn::Caller;
use crate::model::call::Call;
use crate::plan::Route;

/// Who calls.
pub(super) fn caller(route: &Route, call: &Call) -> Result<Caller, Rejection> {
    let mut caller = Caller::anyone();
    for authenticator in &route.authenticators {
        authenticator.authenticate(call, &mut caller)?;
    }
    Ok(caller)
}
