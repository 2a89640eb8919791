//! HTTP/2 on one connection: hyper and h2 under our clocks.
//!
//! h2 has no timeout for headers and none for silence. What bounds a client here: the time without a request, pings
//! that it must answer, a number of streams, a size of header lists, and h2's own counts of resets and of
//! CONTINUATION frames. What h2 refuses on a single stream (431 beyond `max_head`, a reset for malformed fields) it
//! does not report, so that it cannot be counted; what ends the connection is.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Serve;
use super::activity::{Event, Silence, Watchdog};
use super::connection::Connection;
use super::malformed::{Malformed, MalformedKind};
use super::parking::Summons;
use super::wire::Wire;

/// Streams that may be reset before we looked at them, and streams that may be reset by us for their errors, before
/// the connection is ended (CVE-2023-44487, RUSTSEC-2024-0003).
const MAX_PENDING_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 256;

/// Runs streams as tasks that the listener waits for. They end with their connection: h2 wakes them.
#[derive(Clone)]
struct Streams(TaskTracker);

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Waits for the word to make room, where it can come.
async fn called(summons: &mut Option<Summons>) {
    match summons {
        Some(summons) => summons.heard().await,
        None => std::future::pending().await,
    }
}

/// Lets a connection write what it has to say, as far as its client takes it now.
async fn last_poll<C: Future + Unpin>(connection: &mut C) {
    std::future::poll_fn(|cx| {
        let _ = Pin::new(&mut *connection).poll(cx);
        Poll::Ready(())
    })
    .await;
}

impl<S: Serve> Connection<S> {
    /// Serves HTTP/2 to the connection's end.
    pub(super) async fn http2<T>(self, wire: Wire<T>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (limits, activity) = (&self.limits, &self.activity);
        let mut connection = http2::Builder::new(Streams(self.streams.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout)
            .serve_connection(TokioIo::new(wire), self.service());
        let mut watchdog =
            Watchdog::new(self.drain.clone(), activity.born() + limits.header_timeout);

        // Set once GOAWAY is on its way: from then on a client without requests has so long to answer it.
        let mut closing: Option<Instant> = None;
        let mut summons: Option<Summons> = None;
        loop {
            let deadline = || match (closing, activity.http2_deadline(limits)) {
                (Some(at), Some((_, Silence::Idle | Silence::Quiet))) => Some((at, Silence::Idle)),
                (Some(_), deadline) => deadline,
                (None, deadline) => {
                    let aged = activity.retires().map(|at| (at, Silence::Aged));
                    deadline.into_iter().chain(aged).min_by_key(|(at, _)| *at)
                }
            };
            let event = tokio::select! {
                biased;
                event = watchdog.next(&mut connection, deadline, || true) => event,
                () = called(&mut summons) => Event::Silent(Silence::Evicted),
            };
            match event {
                Event::Ended(Ok(())) => return,
                Event::Ended(Err(error)) => return self.broken(&error),
                Event::Drain => {
                    Pin::new(&mut connection).graceful_shutdown();
                    closing = Some(Instant::now() + limits.linger);
                }
                Event::Silent(Silence::Idle) if closing.is_none() => {
                    self.stats.idle_closed.fetch_add(1, Relaxed);
                    Pin::new(&mut connection).graceful_shutdown();
                    closing = Some(Instant::now() + limits.linger);
                }
                Event::Silent(Silence::Quiet) => {
                    let (place, called) = self.parking.park();
                    activity.park(place);
                    summons = Some(called);
                }
                Event::Silent(Silence::Evicted) => {
                    summons = None;
                    if !activity.is_busy() {
                        self.stats.evicted.fetch_add(1, Relaxed);
                        Pin::new(&mut connection).graceful_shutdown();
                        return last_poll(&mut connection).await;
                    }
                }
                Event::Silent(Silence::Aged) => {
                    activity.retire();
                    Pin::new(&mut connection).graceful_shutdown();
                    closing = Some(Instant::now() + limits.linger);
                }
                Event::Silent(Silence::Stalled) => {
                    self.stats.stalled.fetch_add(1, Relaxed);
                    return;
                }
                Event::Silent(_) => return,
            }
        }
    }

    /// The connection ended with an error: ours to count if h2 found the fault in what the client sent.
    fn broken(self, error: &hyper::Error) {
        let fault = error
            .source()
            .and_then(|source| source.downcast_ref::<h2::Error>())
            .filter(|fault| fault.is_library());
        match fault {
            Some(fault) => {
                let what = Malformed::new(MalformedKind::Protocol, fault.to_string());
                self.service.malformed(&self.peer, what);
            }
            None => tracing::debug!(%error, "HTTP/2 connection broke"),
        }
    }
}
