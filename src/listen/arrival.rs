//! What comes before the first request: the PROXY header, then the TLS handshake, both within the time of a head. From
//! here on the peer is known.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::Serve;
use super::answer;
use super::connection::{Connection, last_word};
use super::malformed::{Malformed, MalformedKind};
use super::proxy_protocol::{self, Fault, Header, ProxyProtocol, Read};
use super::terms::Terms;
use super::tls::Tls;
use super::tls::failure::HandshakeFailure;
use super::transport::{Rewind, Transport};
use crate::model::certificate::ClientCert;
use crate::model::peer::{Endpoint, Peer};

/// The first byte of a TLS handshake record (RFC 8446, 5.1).
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// How long a client whose handshake has failed may take to read why.
const ALERT_LINGER: Duration = Duration::from_millis(500);

/// Why a connection was closed for its PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFailure {
    /// It has none, and has to have one.
    Missing,
    Malformed,
    Checksum,
    /// It was not complete within `header_timeout`.
    Timeout,
    /// Its sender is not among those who may send one.
    Untrusted,
}

impl ProxyFailure {
    /// Every reason, in the order of their declaration.
    pub const ALL: [ProxyFailure; 5] = [
        ProxyFailure::Missing,
        ProxyFailure::Malformed,
        ProxyFailure::Checksum,
        ProxyFailure::Timeout,
        ProxyFailure::Untrusted,
    ];

    /// The metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            ProxyFailure::Missing => "missing",
            ProxyFailure::Malformed => "malformed",
            ProxyFailure::Checksum => "checksum",
            ProxyFailure::Timeout => "timeout",
            ProxyFailure::Untrusted => "untrusted",
        }
    }
}

/// A reading that went on as far as it could.
enum Heard {
    /// At least one more byte.
    More,
    /// The client has left, or the connection broke, or nothing had come when the drain began.
    Nothing,
    Late,
}

impl<S: Serve> Connection<S> {
    /// Serves a connection from its first byte to its end.
    pub(super) async fn arrive(self, io: Transport, terms: Arc<Terms>) {
        if terms.are_plain() {
            return self.run(io, Vec::new()).await;
        }
        // boxed, and gone before the first request
        if let Some((connection, transport, seen)) = Box::pin(self.enter(io, &terms)).await {
            connection.run(transport, seen).await;
        }
    }

    /// What requests come over, and what was read of the first one; `None` if the connection ends here.
    async fn enter(
        mut self,
        mut io: Transport,
        terms: &Terms,
    ) -> Option<(Self, Transport, Vec<u8>)> {
        let mut seen = Vec::new();
        self.proxy_header(&mut io, terms, &mut seen).await?;
        match &terms.tls {
            None => Some((self, io, seen)),
            Some(tls) => self.handshake(io, seen, tls).await,
        }
    }

    fn deadline(&self) -> Instant {
        self.activity.born() + self.limits.header_timeout
    }

    /// Reads something more, in the time that is left.
    async fn hear<T: AsyncRead + Unpin>(&mut self, io: &mut T, seen: &mut Vec<u8>) -> Heard {
        let deadline = self.deadline();
        let begun = !seen.is_empty();
        tokio::select! {
            read = io.read_buf(seen) => match read {
                Ok(0) => Heard::Nothing,
                Ok(_) => Heard::More,
                Err(error) => {
                    tracing::debug!(%error, remote = %self.peer.remote, "Connection broke before its first request");
                    Heard::Nothing
                }
            },
            () = last_word(&mut self.drain), if !begun => Heard::Nothing,
            () = tokio::time::sleep_until(deadline) => Heard::Late,
        }
    }

    /// Reads the PROXY header off the connection, if there is one; `seen` holds what came after it.
    async fn proxy_header(
        &mut self,
        io: &mut Transport,
        terms: &Terms,
        seen: &mut Vec<u8>,
    ) -> Option<()> {
        let mode = terms.proxy_protocol;
        if mode == ProxyProtocol::Off {
            return Some(());
        }
        if !terms.may_speak(self.peer.remote.ip()) {
            // what it sends is its own: a request, or nonsense that begins with `PROXY`
            if mode == ProxyProtocol::Auto {
                return Some(());
            }
            return self.proxy_failed(ProxyFailure::Untrusted);
        }
        loop {
            let failure = match proxy_protocol::read(seen, mode) {
                Ok(Read::Header(header, length)) => {
                    seen.drain(..length);
                    self.learn(header);
                    return Some(());
                }
                Ok(Read::Absent) => return Some(()),
                Ok(Read::More) => match self.hear(io, seen).await {
                    Heard::More => continue,
                    // a port that is only tried, as load balancers do
                    Heard::Nothing if seen.is_empty() => return None,
                    Heard::Nothing => ProxyFailure::Malformed,
                    Heard::Late => ProxyFailure::Timeout,
                },
                Err(fault) => {
                    tracing::debug!(error = %fault, remote = %self.peer.remote, "PROXY header was refused");
                    match fault {
                        Fault::Absent => ProxyFailure::Missing,
                        Fault::Malformed(_) => ProxyFailure::Malformed,
                        Fault::Checksum => ProxyFailure::Checksum,
                    }
                }
            };
            return self.proxy_failed(failure);
        }
    }

    fn proxy_failed(&self, failure: ProxyFailure) -> Option<()> {
        self.stats.proxy_failed(failure);
        let peer: &Peer = &self.peer;
        tracing::debug!(reason = failure.name(), remote = %peer.remote, listener = %peer.listener, "Connection was closed for its PROXY header");
        None
    }

    /// Takes over what a PROXY header says.
    fn learn(&mut self, header: Header) {
        if let Header::Passed(passed) = header {
            let peer = Arc::make_mut(&mut self.peer);
            peer.source = Endpoint::Ip(passed.source);
            peer.local = Endpoint::Ip(passed.destination);
            peer.secure = passed.secure;
            peer.vpce = passed.vpce.map(Into::into);
        }
    }

    async fn handshake(
        mut self,
        mut io: Transport,
        mut seen: Vec<u8>,
        tls: &Tls,
    ) -> Option<(Self, Transport, Vec<u8>)> {
        if seen.is_empty() {
            match self.hear(&mut io, &mut seen).await {
                Heard::More => {}
                // a port that is only tried
                Heard::Nothing => return None,
                Heard::Late => return self.handshake_failed(HandshakeFailure::Timeout, None),
            }
        }
        match seen.first() {
            Some(&TLS_HANDSHAKE) => {}
            Some(first) if first.is_ascii_alphabetic() => {
                self.handshake_failed::<()>(HandshakeFailure::PlainHttp, None);
                let what = Malformed::new(
                    MalformedKind::PlainHttp,
                    "plain HTTP on a listener with TLS: write https:// in place of http://",
                );
                self.refuse(io, what, StatusCode::BAD_REQUEST).await;
                return None;
            }
            _ => return self.handshake_failed(HandshakeFailure::NotTls, None),
        }
        let io = Rewind {
            ahead: seen.into(),
            io,
        };
        let accepting = TlsAcceptor::from(tls.config()).accept(io).into_fallible();
        let stream = match timeout_at(self.deadline(), accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err((error, io))) => {
                self.handshake_failed::<()>(HandshakeFailure::of(&error), Some(&error));
                answer::linger(io, ALERT_LINGER).await;
                return None;
            }
            Err(_) => return self.handshake_failed(HandshakeFailure::Timeout, None),
        };
        let shown = stream.get_ref().1.peer_certificates();
        let certificate = match shown
            .and_then(|chain| chain.first())
            .map(|leaf| ClientCert::read(leaf))
        {
            None => None,
            Some(Ok(certificate)) => Some(Arc::new(certificate)),
            Some(Err(_)) => {
                return self.handshake_failed(HandshakeFailure::CertificateInvalid, None);
            }
        };
        self.stats.handshakes.fetch_add(1, Relaxed);
        let peer = Arc::make_mut(&mut self.peer);
        peer.secure = true;
        peer.client_cert = certificate;
        Some((self, Transport::Tls(Box::new(stream)), Vec::new()))
    }

    fn handshake_failed<T>(
        &self,
        reason: HandshakeFailure,
        error: Option<&std::io::Error>,
    ) -> Option<T> {
        self.stats.handshake_failed(reason);
        let peer: &Peer = &self.peer;
        let error = error.map(tracing::field::display);
        tracing::debug!(reason = reason.name(), error, remote = %peer.remote, listener = %peer.listener, "TLS handshake failed");
        None
    }
}
