//! Token buckets: the route's own, before anyone has been asked who they are.

use super::rejection::Rejection;
use crate::plan::Route;

/// Takes a token of the route's bucket.
pub(super) fn route(route: &Route) -> Result<(), Rejection> {
    match &route.throttle {
        Some(bucket) => bucket.take().map(drop).map_err(Rejection::Throttled),
        None => Ok(()),
    }
}
