//! HTTP/1 on one connection: hyper's parser and dispatcher under our clocks.
//!
//! hyper answers by itself what it cannot parse: 400, or 431 beyond its limits, without a body. A head that stops half
//! way it would only drop; those are answered here.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::Serve;
use super::activity::{Event, Silence, Watchdog};
use super::answer;
use super::arrival::TLS_HANDSHAKE;
use super::connection::{Connection, last_word};
use super::malformed::{Malformed, MalformedKind};
use super::wire::Wire;

/// How much is read of a request before hyper is there to read the rest.
const FIRST: usize = 64;

/// How hyper words that the target alone is too long, which it answers with 414 where other oversized heads get 431.
const TARGET_TOO_LONG: &str = "URI too long";

impl<S: Serve> Connection<S> {
    /// Serves HTTP/1 to the connection's end. Between requests that are far apart nothing is kept of hyper.
    pub(super) async fn http1<T>(mut self, mut wire: Wire<T>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // boxed, so that a connection without a request costs little
        while let Some(back) = Box::pin(self.converse(wire)).await {
            if back.has_ahead() {
                wire = back;
                continue;
            }
            match self.quiet(back).await {
                Some(heard) => wire = heard,
                None => return,
            }
        }
    }

    /// Waits for the next request's first bytes; `None` if the connection ends here.
    async fn quiet<T>(&mut self, mut wire: Wire<T>) -> Option<Wire<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let over = self.activity.quiet_since() + self.limits.idle_timeout;
        let (_place, mut summons) = self.parking.park();
        let mut first = [0; FIRST];
        let counter = tokio::select! {
            biased;
            read = wire.read(&mut first) => match read {
                Ok(bytes) if bytes > 0 => {
                    wire.put_back(Bytes::copy_from_slice(&first[..bytes]));
                    return Some(wire);
                }
                Ok(_) => return None,
                Err(error) => {
                    tracing::debug!(%error, "Connection broke between requests");
                    return None;
                }
            },
            () = last_word(&mut self.drain) => {
                Box::pin(answer::linger(wire.into_inner(), self.limits.linger)).await;
                return None;
            }
            () = summons.heard() => &self.stats.evicted,
            () = tokio::time::sleep_until(over) => &self.stats.idle_closed,
        };
        counter.fetch_add(1, Relaxed);
        None
    }

    /// Serves requests; gives the transport back when none has come for a moment, or nothing when the connection has
    /// ended.
    async fn converse<T>(&self, wire: Wire<T>) -> Option<Wire<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (limits, activity) = (&self.limits, &self.activity);
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(limits.max_head)
            .max_headers(limits.max_headers)
            .max_buf_size(limits.read_buffer())
            .serve_connection(TokioIo::new(wire), self.service());
        let begun = activity.head_begun().unwrap_or(activity.born());
        let mut watchdog = Watchdog::new(self.drain.clone(), begun + limits.header_timeout);

        let end = loop {
            let event = watchdog
                .next(
                    &mut connection,
                    || activity.http1_deadline(limits),
                    // hyper would drop a connection with half a head, although its request is on the way
                    || !activity.is_head_begun(),
                )
                .await;
            match event {
                Event::Ended(result) => break Ok(result),
                Event::Drain => Pin::new(&mut connection).graceful_shutdown(),
                Event::Silent(Silence::HalfClosed) => activity.end_half_close(),
                Event::Silent(silence) => break Err(silence),
            }
        };

        let busy = activity.is_busy();
        let parts = connection.into_parts();
        let mut wire = parts.io.into_inner();
        if let Err(Silence::Quiet) = end {
            if !parts.read_buf.is_empty() {
                // A half head that came in with the request before it, so that no clock was started for it.
                activity.received(parts.read_buf.len());
                wire.put_back(parts.read_buf);
            }
            return Some(wire);
        }
        // boxed, so that a connection does not carry its end with it
        Box::pin(self.ended(wire, end, busy, parts.read_buf)).await;
        None
    }

    /// Closes a connection that came to its end or fell silent; `busy` if a request was in flight.
    async fn ended<T>(
        &self,
        wire: Wire<T>,
        end: Result<hyper::Result<()>, Silence>,
        busy: bool,
        unread: Bytes,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        match end {
            Ok(Ok(())) if wire.has_ended() => {}
            Ok(Ok(())) => answer::linger(wire.into_inner(), self.limits.linger).await,
            // the request was handed over: the pipeline knows what became of it
            Ok(Err(error)) if busy => {
                tracing::debug!(%error, "Connection ended in the middle of a request");
            }
            Ok(Err(error)) => self.unparsed(wire, &error, &unread).await,
            Err(Silence::Stalled) => {
                self.stats.stalled.fetch_add(1, Relaxed);
            }
            // a pipelined half head came in with the request before it, so that no clock was started for it
            Err(Silence::Idle) if unread.is_empty() => {
                self.stats.idle_closed.fetch_add(1, Relaxed);
            }
            Err(_) => self.refuse_late_head(wire.into_inner()).await,
        }
    }

    /// Something came in that did not become a request.
    async fn unparsed<T>(&self, wire: Wire<T>, error: &hyper::Error, unread: &[u8])
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if error.is_parse() {
            // hyper has answered
            let what = if !error.is_parse_too_large() {
                Malformed::new(MalformedKind::Head, reason(error, unread)).answered(400)
            } else {
                let status = if error.to_string() == TARGET_TOO_LONG {
                    414
                } else {
                    431
                };
                Malformed::new(MalformedKind::HeadTooLarge, reason(error, unread)).answered(status)
            };
            self.service.malformed(&self.peer, what);
            answer::linger(wire.into_inner(), self.limits.linger).await;
        } else if error.is_incomplete_message() {
            let what = Malformed::new(
                MalformedKind::HeadTruncated,
                "the client stopped sending in the middle of the head",
            );
            self.refuse(wire.into_inner(), what, StatusCode::BAD_REQUEST)
                .await;
        } else if self.activity.is_head_begun() {
            let what = Malformed::new(
                MalformedKind::HeadTruncated,
                "the connection broke in the middle of the head",
            );
            self.service.malformed(&self.peer, what);
        } else {
            tracing::debug!(%error, "Connection broke between requests");
        }
    }
}

/// What was wrong with a head, in words that hold nothing of it.
fn reason(error: &hyper::Error, unread: &[u8]) -> String {
    if unread.first() == Some(&TLS_HANDSHAKE) {
        "a TLS handshake on a listener without TLS".to_owned()
    } else {
        error.to_string()
    }
}
