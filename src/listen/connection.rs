//! One connection: tells its protocol by the first bytes, and hands it on.
//!
//! hyper-util's `auto` has no timeout while it sniffs: silence, a `P`, or the first half of a preface would stay open
//! for ever. So the sniffing is done here.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::Serve;
use super::activity::{Activity, PREFACE, Tracked};
use super::answer;
use super::drain::Drain;
use super::limits::ConnectionLimits;
use super::malformed::{Malformed, MalformedKind};
use super::parking::Parking;
use super::sources::Counted;
use super::stats::{ListenStats, Open};
use super::wire::Wire;
use crate::model::peer::Peer;

/// What a connection knows.
pub(super) struct Connection<S> {
    pub(super) service: S,
    pub(super) peer: Arc<Peer>,
    pub(super) limits: ConnectionLimits,
    pub(super) drain: Drain,
    pub(super) stats: Arc<ListenStats>,
    /// Where the tasks of HTTP/2 streams are waited for.
    pub(super) streams: TaskTracker,
    pub(super) activity: Arc<Activity>,
    /// Where it waits while nothing is asked.
    pub(super) parking: Parking,
    pub(super) _open: Open,
    pub(super) _counted: Option<Counted>,
}

/// How a connection begins.
enum Opening {
    Http1,
    Http2,
    /// Nothing came, or the client left again, or the drain began.
    Nothing,
    /// It began with something that could become HTTP/2, and stopped there.
    HalfHead,
}

/// Waits for the drain, and then for a request that may be here already: tokio has not looked for bytes before the
/// first poll.
pub(super) async fn last_word(drain: &mut Drain) {
    drain.started().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

impl<S: Serve> Connection<S> {
    /// Serves the connection to its end. `seen`: what was read of its first request already.
    pub(super) async fn run<T>(mut self, mut io: T, mut seen: Vec<u8>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !seen.is_empty() {
            self.activity.received(seen.len());
        }
        match self.opening(&mut io, &mut seen).await {
            Opening::Nothing => {}
            // boxed, so that a connection which has said nothing yet costs little
            Opening::HalfHead => Box::pin(self.refuse_late_head(io)).await,
            Opening::Http1 => {
                let wire = Wire::http1(io, seen, self.activity.clone());
                self.http1(wire).await;
            }
            Opening::Http2 => {
                self.stats.http2.fetch_add(1, Relaxed);
                let wire = Wire::http2(io, seen, self.activity.clone());
                Box::pin(self.http2(wire)).await;
            }
        }
    }

    /// Reads until the bytes are the HTTP/2 preface or cannot become it, for at most the time of a head.
    async fn opening<T: AsyncRead + Unpin>(&mut self, io: &mut T, seen: &mut Vec<u8>) -> Opening {
        let (_place, mut summons) = self.parking.park();
        loop {
            if !PREFACE.starts_with(&seen[..seen.len().min(PREFACE.len())]) {
                return Opening::Http1;
            }
            if seen.len() >= PREFACE.len() {
                return Opening::Http2;
            }
            let since = self.activity.head_begun().unwrap_or(self.activity.born());
            let missing = PREFACE.len() - seen.len();
            let mut rest = (&mut *io).take(missing as u64);
            let read = tokio::select! {
                read = rest.read_buf(seen) => read,
                () = last_word(&mut self.drain), if seen.is_empty() => return Opening::Nothing,
                () = summons.heard(), if seen.is_empty() => {
                    self.stats.evicted.fetch_add(1, Relaxed);
                    return Opening::Nothing;
                }
                () = tokio::time::sleep_until(since + self.limits.header_timeout) => {
                    return if seen.is_empty() { Opening::Nothing } else { Opening::HalfHead };
                }
            };
            match read {
                Ok(0) if seen.is_empty() => return Opening::Nothing,
                // hyper finds the end again, and words the refusal
                Ok(0) => return Opening::Http1,
                Ok(bytes) => self.activity.received(bytes),
                Err(error) => {
                    tracing::debug!(%error, "Connection broke before its first request");
                    return Opening::Nothing;
                }
            }
        }
    }

    /// What hyper calls for each request of this connection.
    pub(super) fn service(
        &self,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Tracked<S::Body>>,
        Error = Infallible,
        Future: Send + 'static,
    > + use<S> {
        let (service, peer, activity) = (
            self.service.clone(),
            self.peer.clone(),
            self.activity.clone(),
        );
        service_fn(move |request: Request<Incoming>| {
            let in_flight = activity.begin();
            let (service, peer) = (service.clone(), peer.clone());
            async move {
                let http1 = request.version() < Version::HTTP_2;
                let mut response = service.call(request, &peer, in_flight.leaving()).await;
                if http1 && in_flight.retires() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                Ok(response.map(|body| Tracked::new(body, in_flight)))
            }
        })
    }

    /// Refuses a head that took too long.
    pub(super) async fn refuse_late_head<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let what = Malformed::new(
            MalformedKind::HeadTimeout,
            "the head of the request was not complete in time",
        );
        self.refuse(io, what, StatusCode::REQUEST_TIMEOUT).await;
    }

    /// Answers what is no request, closes, and has it counted.
    pub(super) async fn refuse<T>(&self, mut io: T, mut what: Malformed, status: StatusCode)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let bytes = answer::problem(&what, status);
        if answer::write(&mut io, &bytes, self.limits.linger).await {
            what = what.answered(status.as_u16());
        }
        self.service.malformed(&self.peer, what);
        answer::linger(io, self.limits.linger).await;
    }
}
