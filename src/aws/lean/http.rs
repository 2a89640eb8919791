//! The connections of our own calls: HTTP/1.1, kept open and shared, through the proxy that the environment names.
//!
//! What the SDK's client does holds here too: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, a tunnel through
//! the proxy for TLS, proxies that are themselves asked over TLS, both address families tried at once. A request on a
//! connection that turns out to be closed before a byte of it was written goes out again on another; none that may have
//! been seen does.

use std::error::Error;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::aws::CONNECT_TIMEOUT;

/// The client and its pool.
pub(super) type Pool = legacy::Client<InTime<HttpsConnector<Dial>>, Full<Bytes>>;

/// The client, and the proxies that it goes through.
#[derive(Clone, Debug)]
pub(super) struct Http {
    pub(super) pool: Pool,
    proxies: Arc<Matcher>,
}

impl Http {
    /// A client with the proxies of the environment as it is now. Reads the system's authorities, which takes a while.
    pub(super) fn new(proxies: Matcher) -> Result<Http, String> {
        let proxies = Arc::new(proxies);
        let tls = crate::outbound::tls(None)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let dial = Dial {
            proxies: proxies.clone(),
            to_proxy: over_tls(tls.clone(), tcp.clone()),
            tcp,
        };
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(InTime(over_tls(tls, dial)));
        Ok(Http { pool, proxies })
    }

    /// What a proxy wants to see that is asked in clear; one that is asked for a tunnel sees it there.
    pub(super) fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        if uri.scheme() != Some(&Scheme::HTTP) {
            return None;
        }
        self.proxies.intercept(uri)?.basic_auth().cloned()
    }
}

fn over_tls<C>(tls: ClientConfig, connector: C) -> HttpsConnector<C> {
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector)
}

type Fault = Box<dyn Error + Send + Sync>;
type Dialing<C> = Pin<Box<dyn Future<Output = Result<C, Fault>> + Send>>;

/// A connector that gives up after [`CONNECT_TIMEOUT`].
#[derive(Clone, Debug)]
pub(super) struct InTime<C>(C);

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri, Error = Fault>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = Fault;
    type Future = Dialing<C::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(connected) => connected,
                Err(_) => {
                    let seconds = CONNECT_TIMEOUT.as_secs();
                    let said = format!("no connection within {seconds} s");
                    Err(io::Error::new(io::ErrorKind::TimedOut, said).into())
                }
            }
        })
    }
}

/// Dials what a URL names, or the proxy that stands before it.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    proxies: Arc<Matcher>,
    tcp: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
}

/// A connection, and whether a proxy that reads requests is at its other end.
#[derive(Debug)]
pub(super) struct Conn {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    reads_requests: bool,
}

impl Service<Uri> for Dial {
    type Response = Conn;
    type Error = Fault;
    type Future = Dialing<Conn>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.proxies.intercept(&uri) {
            Some(proxy) => self.through(&proxy, uri),
            None => {
                let connecting = self.tcp.call(uri);
                Box::pin(async move {
                    Ok(Conn {
                        io: MaybeHttpsStream::Http(connecting.await?),
                        reads_requests: false,
                    })
                })
            }
        }
    }
}

impl Dial {
    fn through(&mut self, proxy: &Intercept, uri: Uri) -> Dialing<Conn> {
        if uri.scheme() == Some(&Scheme::HTTP) {
            let connecting = self.to_proxy.call(proxy.uri().clone());
            return Box::pin(async move {
                Ok(Conn {
                    io: connecting.await?,
                    reads_requests: true,
                })
            });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone());
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        Box::pin(async move {
            Ok(Conn {
                io: tunnel.call(uri).await?,
                reads_requests: false,
            })
        })
    }
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.reads_requests)
    }
}

impl Read for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests;
