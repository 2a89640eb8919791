//! The connection plane: binds, accepts, runs one task a connection, and hands every request to a [`Serve`].
//!
//! HTTP/1.1 and HTTP/2 cleartext (prior knowledge) share a port; the first bytes tell which. What never becomes a
//! request is answered here and reported through [`Serve::malformed`], so that it is counted like everything else.
//! What a request means, and every limit that has a refusal of its own (header bytes and count, body, time), belongs
//! to the pipeline; the limits here are the last resort below it.
//!
//! A connection's life: `accept` → `arrival` (PROXY header, TLS) → `connection` (which protocol?) → `http1` or `http2`,
//! with the clocks of `activity` deciding when it has been silent for too long, until the client leaves or [`drain`] asks
//! to end it. Nothing here knows TCP but [`bind`], `accept` and `transport`.

pub mod bind;
pub mod drain;
pub mod limits;
pub mod malformed;
pub mod proxy_protocol;
pub mod stats;
pub mod steering;
pub mod terms;
pub mod tls;

mod accept;
mod activity;
mod answer;
mod arrival;
mod connection;
mod http1;
mod http2;
mod inherited;
mod leaving;
mod parking;
mod sources;
mod transport;
mod unix;
mod wire;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::model::peer::Peer;

pub use accept::{run, run_steered};
pub use arrival::ProxyFailure;
pub use bind::{BindError, Bound, BoundAddress, DEFAULT_MODE, ListenerSpec, UNIX};
pub use drain::{Drain, DrainHandle, Drained};
pub use inherited::untaken;
pub use leaving::Leaving;
pub use limits::ConnectionLimits;
pub use malformed::{Malformed, MalformedKind};
pub use proxy_protocol::ProxyProtocol;
pub use stats::ListenStats;
pub use steering::{Steered, Steering};
pub use terms::Terms;
pub use tls::failure::HandshakeFailure;
pub use tls::{Tls, TlsError, TlsSpec};

/// What the connection plane hands requests to.
///
/// A clone is taken for each connection and each request, so it should be as cheap as an `Arc`.
pub trait Serve: Clone + Send + Sync + 'static {
    /// The body of an answer. Its error cuts the connection off: the head has been sent by then.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Whether a client may connect, by the address that its connection comes from. Asked before anything is read, where
    /// that address is the client's own: neither PROXY headers nor forwarding headers are believed.
    fn admits(&self, _peer: &Peer) -> bool {
        true
    }

    /// Answers one request. `leaving` tells when its HTTP/1 client will send no more. The future is dropped when the client is gone (on HTTP/1 after
    /// [`ConnectionLimits::half_close`], in case only the sending half was closed) or at the drain deadline.
    fn call(
        &self,
        request: Request<Incoming>,
        peer: &Arc<Peer>,
        leaving: &Leaving,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Something came in that is no request: received, refused in the phase *listen*, and already answered if it could
    /// be.
    fn malformed(&self, peer: &Arc<Peer>, what: Malformed);
}
