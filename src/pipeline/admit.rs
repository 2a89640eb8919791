//! What needs no route: whether the process takes requests, whether there is room, whether the head is one that can be
//! served. Nothing of the body has been read.

use http::Version;

use super::rejection::Rejection;
use super::{Gateway, route};
use crate::limit::Slot;
use crate::model::call::Call;
use crate::model::cidr::Barred;
use crate::plan::Plan;

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    #[error("the gateway is shutting down")]
    Draining,
    #[error("all {0} places for requests in flight are taken")]
    Overloaded(usize),
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

/// A place for the request, given back when it ends.
pub(super) fn slot(gateway: &Gateway, plan: &Plan, call: &Call) -> Result<Slot, Rejection> {
    if gateway.is_draining() {
        return Err(AdmitError::Draining.into());
    }
    network(plan, call)?;
    head(plan, call)?;
    let slot = plan.slots.take();
    slot.ok_or_else(|| AdmitError::Overloaded(plan.slots.used().1).into())
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
