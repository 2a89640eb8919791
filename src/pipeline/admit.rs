//! Whether the process takes a request: is there room for it, for those that wait for its target, in its caller's share;
//! and is its head one that can be served. Nothing of the body has been read.

use std::net::IpAddr;

use http::Version;
use http::header::CONTENT_LENGTH;

use super::rejection::{Overload, Rejection};
use super::{Gateway, route};
use crate::limit::admission::{Admitted, Scarce};
use crate::model::call::Call;
use crate::model::cidr::Barred;
use crate::model::identity::Identity;
use crate::model::phase::Phase;
use crate::plan::{Plan, Route};

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    #[error("the gateway is shutting down")]
    Draining,
    #[error("request line and headers take {size} bytes, and {limit} are allowed")]
    HeadTooLarge { size: u64, limit: u64 },
    #[error("the request has {count} headers, and {limit} are allowed")]
    TooManyHeaders { count: usize, limit: usize },
    #[error("a request needs exactly one Host header, and this one has {0}")]
    Hosts(usize),
    #[error("the only transfer coding that is understood is one `chunked`")]
    Coding,
    #[error("the listener's lists of addresses: {0}")]
    Barred(Barred),
    #[error("the Host header names another host than :authority")]
    HostsDiffer,
}

/// A request that the process has room for, as far as can be said without a route. It gives back what it takes when it
/// ends.
pub(super) fn entered(gateway: &Gateway, plan: &Plan, call: &Call) -> Result<Admitted, Rejection> {
    if gateway.is_draining() {
        return Err(AdmitError::Draining.into());
    }
    network(plan, call)?;
    head(plan, call)?;
    let entered = plan.admission.enter(declared_length(call).unwrap_or(0));
    entered.map_err(|scarce| overload(plan, call, Phase::Admit, scarce))
}

/// Takes a place among the requests that wait for the route's target; and where callers are told apart by address, asks
/// whether this one has its share already.
pub(super) fn routed(
    plan: &Plan,
    route: &Route,
    call: &Call,
    admitted: &mut Admitted,
) -> Result<(), Rejection> {
    let refused = |scarce| overload(plan, call, Phase::Route, scarce);
    admitted.wait_for(&route.target).map_err(refused)?;
    if route.shared_by_identity {
        return Ok(());
    }
    let shared = match call.source_ip().to_canonical() {
        IpAddr::V4(ip) => admitted.share(&ip.octets()),
        // Whoever has one address of version 6 has all of its network.
        IpAddr::V6(ip) => admitted.share(&ip.octets()[..8]),
    };
    shared.map_err(refused)
}

/// The same for a caller whose name is known.
pub(super) fn identified(
    plan: &Plan,
    route: &Route,
    call: &Call,
    identity: &Identity,
    admitted: &mut Admitted,
) -> Result<(), Rejection> {
    if !route.shared_by_identity {
        return Ok(());
    }
    let name = identity.scope().or(identity.api_key.as_deref());
    let shared = admitted.share(name.unwrap_or_default().as_bytes());
    shared.map_err(|scarce| overload(plan, call, Phase::Authorize, scarce))
}

/// A refusal for want of something. When the caller may come back is a matter of chance.
pub(super) fn overload(plan: &Plan, call: &Call, phase: Phase, scarce: Scarce) -> Rejection {
    Rejection::Overload(Box::new(Overload {
        phase,
        scarce,
        retry_after: plan.admission.retry_after(call.id.chance(0)),
    }))
}

/// The body's length, where the head declares one that can be read.
pub(super) fn declared_length(call: &Call) -> Option<u64> {
    let declared = call.headers.get(CONTENT_LENGTH)?;
    declared.to_str().ok()?.parse().ok()
}

/// Whether the client may come in on this listener, by its address. A listener that is no longer configured has no
/// routes either.
pub(super) fn network(plan: &Plan, call: &Call) -> Result<(), AdmitError> {
    match route::listener(plan, call) {
        Some(listener) if !listener.access.is_open() => listener
            .access
            .admits(call.source_ip())
            .map_err(AdmitError::Barred),
        _ => Ok(()),
    }
}

/// Whether the head is one that can be served.
pub(super) fn head(plan: &Plan, call: &Call) -> Result<(), AdmitError> {
    let count = call.headers.len();
    if count > plan.header_count {
        return Err(AdmitError::TooManyHeaders {
            count,
            limit: plan.header_count,
        });
    }
    let size = head_size(call);
    if size > plan.head_bytes {
        return Err(AdmitError::HeadTooLarge {
            size,
            limit: plan.head_bytes,
        });
    }
    transfer_coding(call)?;
    hosts(call)
}

/// The request line, and each header's name and value with what stands between them in HTTP/1.1.
fn head_size(call: &Call) -> u64 {
    let target = call
        .uri
        .path_and_query()
        .map_or(1, |target| target.as_str().len());
    let line = call.method.as_str().len() + target + " HTTP/1.1  \r\n".len();
    let headers: usize = call
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
        .sum();
    (line + headers) as u64
}

/// A body in a coding that nobody here undoes would be stored as what it is not (RFC 9112, 6.1).
fn transfer_coding(call: &Call) -> Result<(), AdmitError> {
    let mut codings = call.headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let chunked = |value: &http::HeaderValue| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    };
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if chunked(only) => Ok(()),
        _ => Err(AdmitError::Coding),
    }
}

/// RFC 9112, 3.2: a request without exactly one `Host` is refused, but for HTTP/1.0 without any. HTTP/2 names the host
/// in `:authority`, and a `Host` beside it has to say the same (RFC 9113, 8.3.1).
fn hosts(call: &Call) -> Result<(), AdmitError> {
    let mut named = call.headers.get_all(http::header::HOST).iter();
    let (first, more) = (named.next(), named.count());
    let count = more + usize::from(first.is_some());
    let authority = call.uri.authority();
    let needed = call.version == Version::HTTP_11
        || (call.version == Version::HTTP_2 && authority.is_none());
    if count > 1 || (count == 0 && needed) {
        return Err(AdmitError::Hosts(count));
    }
    if let (Version::HTTP_2, Some(authority), Some(host)) = (call.version, authority, first)
        && !host
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return Err(AdmitError::HostsDiffer);
    }
    Ok(())
}
