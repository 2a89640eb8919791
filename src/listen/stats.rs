//! What a listener counts about its connections, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::arrival::ProxyFailure;
use super::tls::failure::HandshakeFailure;
use super::tls::material::Expiry;

/// Counters of one listener. The caller keeps a clone of the `Arc` and reads them at any time.
#[derive(Debug, Default)]
pub struct ListenStats {
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) http2: AtomicU64,
    pub(super) in_flight: AtomicU64,
    pub(super) parked: AtomicU64,
    pub(super) barred: AtomicU64,
    pub(super) crowded: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) aged: AtomicU64,
    pub(super) idle_closed: AtomicU64,
    pub(super) stalled: AtomicU64,
    pub(super) handshakes: AtomicU64,
    handshake_failures: [AtomicU64; HandshakeFailure::ALL.len()],
    proxy_failures: [AtomicU64; ProxyFailure::ALL.len()],
    reload_failures: AtomicU64,
    expiries: Mutex<Vec<Expiry>>,
}

impl ListenStats {
    /// Connections accepted, the refused ones included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections open now, without those that are being refused.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Connections closed at once because the listener had no room for them.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Connections that have been without a request for a moment.
    pub fn parked(&self) -> u64 {
        self.parked.load(Relaxed)
    }

    /// Connections closed at once for the address that they came from.
    pub fn barred(&self) -> u64 {
        self.barred.load(Relaxed)
    }

    /// Connections closed at once because their address held as many as it may.
    pub fn crowded(&self) -> u64 {
        self.crowded.load(Relaxed)
    }

    /// Connections without a request that were closed to make room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Connections that were ended for their age.
    pub fn aged(&self) -> u64 {
        self.aged.load(Relaxed)
    }

    /// Connections that we closed for a reason of ours, by the metric's label.
    pub fn closed(&self) -> [(&'static str, u64); 6] {
        [
            ("idle", self.idle_closed()),
            ("stalled", self.stalled()),
            ("evicted", self.evicted()),
            ("aged", self.aged()),
            ("barred", self.barred()),
            ("crowded", self.crowded()),
        ]
    }

    /// Failures of `accept` itself: no descriptors left, no memory.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Relaxed)
    }

    /// Connections that turned out to speak HTTP/2.
    pub fn http2(&self) -> u64 {
        self.http2.load(Relaxed)
    }

    /// Requests handed over whose answers are not sent yet.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Connections closed because nothing was asked on them.
    pub fn idle_closed(&self) -> u64 {
        self.idle_closed.load(Relaxed)
    }

    /// Connections cut because the client took no byte of its answer any more.
    pub fn stalled(&self) -> u64 {
        self.stalled.load(Relaxed)
    }

    /// TLS handshakes that were brought to their end.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Relaxed)
    }

    /// TLS handshakes that came to nothing, by the reason.
    pub fn handshake_failures(&self) -> impl Iterator<Item = (HandshakeFailure, u64)> {
        let count =
            |reason: HandshakeFailure| self.handshake_failures[reason as usize].load(Relaxed);
        HandshakeFailure::ALL
            .into_iter()
            .map(move |reason| (reason, count(reason)))
    }

    /// Connections closed for what their PROXY header was, or was not.
    pub fn proxy_failures(&self) -> impl Iterator<Item = (ProxyFailure, u64)> {
        let count = |reason: ProxyFailure| self.proxy_failures[reason as usize].load(Relaxed);
        ProxyFailure::ALL
            .into_iter()
            .map(move |reason| (reason, count(reason)))
    }

    /// How often new certificates could not be used.
    pub fn reload_failures(&self) -> u64 {
        self.reload_failures.load(Relaxed)
    }

    /// When the certificates and revocation lists that are in use end; empty on a listener without TLS.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.expiries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_expiries(&self, expiries: Vec<Expiry>) {
        *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
    }

    pub(super) fn reload_failed(&self) {
        self.reload_failures.fetch_add(1, Relaxed);
    }

    pub(super) fn handshake_failed(&self, reason: HandshakeFailure) {
        self.handshake_failures[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn proxy_failed(&self, reason: ProxyFailure) {
        self.proxy_failures[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts a connection as open until the value is dropped.
    pub(super) fn open_connection(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Relaxed);
        Open(self.clone())
    }
}

/// An open connection, as far as counting goes.
#[derive(Debug)]
pub(super) struct Open(Arc<ListenStats>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
