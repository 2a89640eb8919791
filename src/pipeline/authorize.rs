//! A caller to a permit. No kind of authorization is configured yet beyond having been authenticated.

use super::rejection::Rejection;
use crate::authn::Caller;

/// Leave to have a payload stored. Made here alone, out of a caller.
pub struct Permit(());

/// What the caller may do.
pub(super) fn permit(_caller: &Caller) -> Result<Permit, Rejection> {
    Ok(Permit(()))
}
