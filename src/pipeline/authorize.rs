//! Whom a route lets pass by address, and a caller to a permit. No kind of authorization is configured yet beyond having been authenticated.

use super::rejection::Rejection;
use crate::authn::Caller;
use crate::model::call::Call;
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

/// What the caller may do.
pub(super) fn permit(_caller: &Caller) -> Result<Permit, Rejection> {
    Ok(Permit(()))
}
