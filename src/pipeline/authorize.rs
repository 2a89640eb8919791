//! A caller to a permit: what the route asks for beyond being somebody. Nothing of the body has been read.

use super::rejection::Rejection;
use crate::authn::Caller;
use crate::plan::Route;

/// Leave to have a payload stored. Made here alone, out of a caller.
pub struct Permit(());

/// Why a proven caller may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("the token grants none of the scopes {}", .0.join(", "))]
    Scope(Vec<String>),
}

/// What the caller may do.
pub(super) fn permit(route: &Route, caller: &Caller) -> Result<Permit, Rejection> {
    let granted = caller.scopes().unwrap_or_default();
    let needs_scope = !route.scopes.is_empty();
    if needs_scope && !route.scopes.iter().any(|scope| granted.contains(scope)) {
        return Err(Forbidden::Scope(route.scopes.clone()).into());
    }
    Ok(Permit(()))
}
