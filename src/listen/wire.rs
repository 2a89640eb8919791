//! The transport as hyper sees it: gives back the bytes that were read to tell the protocol, and notes on the
//! connection's clocks what moves.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// A transport under hyper.
pub(super) struct Wire<T> {
    io: T,
    /// What was read ahead.
    ahead: Bytes,
    activity: Arc<Activity>,
    /// On HTTP/1 a request outlives its client's closing of the sending half for a while, and the end of the
    /// connection is ours: hyper's shutdown only flushes.
    http1: bool,
    ended: bool,
}

impl<T> Wire<T> {
    pub(super) fn http1(io: T, ahead: Vec<u8>, activity: Arc<Activity>) -> Self {
        Wire {
            io,
            ahead: ahead.into(),
            activity,
            http1: true,
            ended: false,
        }
    }

    pub(super) fn http2(io: T, ahead: Vec<u8>, activity: Arc<Activity>) -> Self {
        Wire {
            http1: false,
            ..Wire::http1(io, ahead, activity)
        }
    }

    /// Whether the client will send no more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Puts bytes back that were read; they come first.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.ahead = bytes;
    }

    /// Whether something was read ahead.
    pub(super) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The transport, without what was read ahead.
    pub(super) fn into_inner(self) -> T {
        self.io
    }

    fn noted_write(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Pending => self.activity.stalled(),
            Poll::Ready(_) => self.activity.wrote(self.http1),
        }
        polled
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut filled = buf.filled().len();
        if !this.ahead.is_empty() {
            let part = this.ahead.split_to(this.ahead.len().min(buf.remaining()));
            buf.put_slice(part.chunk());
            filled += part.len();
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            // the rest of the head is mostly there: one parse instead of two
            return match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(Ok(())) => {
                    this.activity.received(buf.filled().len() - filled);
                    Poll::Ready(Ok(()))
                }
                // if the transport is broken, the next read says so too
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(Ok(())),
            };
        }
        if !this.ended {
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            let bytes = buf.filled().len() - filled;
            if bytes > 0 || buf.remaining() == 0 {
                this.activity.received(bytes);
                return Poll::Ready(Ok(()));
            }
            this.ended = true;
        }
        if this.http1 && this.activity.keep_half_open() {
            // no waker: the watchdog polls again when the time has come
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.noted_write(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.noted_write(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.http1 {
            Pin::new(&mut self.io).poll_flush(cx)
        } else {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }
}
