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
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tower_service::Service;

use crate::aws::CONNECT_TIMEOUT;

/// The client and its pool.
pub(super) type Pool = legacy::Client<InTime<OverTls<Dial>>, Full<Bytes>>;

/// The client, and the proxies that it goes through.
#[derive(Clone, Debug)]
pub(super) struct Http {
    pub(super) pool: Pool,
    proxies: Arc<Matcher>,
    tls: Tls,
}

impl Http {
    /// A client with the proxies of the environment as it is now. Opens nothing.
    pub(super) fn new(proxies: Matcher) -> Http {
        let proxies = Arc::new(proxies);
        let tls = Tls::default();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let dial = Dial {
            proxies: proxies.clone(),
            to_proxy: OverTls {
                connector: tcp.clone(),
                tls: tls.clone(),
            },
            tcp,
        };
        let connector = InTime(OverTls {
            connector: dial,
            tls: tls.clone(),
        });
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Http { pool, proxies, tls }
    }

    /// Reads the system's authorities, which takes a while; else the first connection over TLS does.
    pub(super) async fn warm(&self) {
        if let Err(reason) = self.tls.config().await {
            tracing::warn!(error = %reason, "TLS to AWS cannot be set up");
        }
    }

    /// What a proxy wants to see that is asked in clear; one that is asked for a tunnel sees it there.
    pub(super) fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        if uri.scheme() != Some(&Scheme::HTTP) {
            return None;
        }
        self.proxies.intercept(uri)?.basic_auth().cloned()
    }
}

/// Trust in the system's authorities, read when first needed.
#[derive(Clone, Debug, Default)]
struct Tls(Arc<OnceCell<Arc<ClientConfig>>>);

impl Tls {
    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let read = self.0.get_or_try_init(|| async {
            let read = tokio::task::spawn_blocking(|| crate::outbound::tls(None)).await;
            read.map_err(|error| error.to_string())?.map(Arc::new)
        });
        read.await.cloned()
    }
}

/// A connector that speaks TLS where the URL says so.
#[derive(Clone, Debug)]
pub(super) struct OverTls<C> {
    connector: C,
    tls: Tls,
}

impl<C> Service<Uri> for OverTls<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<Fault>,
{
    type Response = MaybeHttpsStream<C::Response>;
    type Error = Fault;
    type Future = Dialing<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if uri.scheme() == Some(&Scheme::HTTP) {
            let connecting = self.connector.call(uri);
            return Box::pin(async move {
                let connected = connecting.await.map_err(Into::into)?;
                Ok(MaybeHttpsStream::Http(connected))
            });
        }
        let OverTls { connector, tls } = self.clone();
        Box::pin(async move {
            let mut connector = HttpsConnector::from((connector, tls.config().await?));
            connector.call(uri).await
        })
    }
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
    to_proxy: OverTls<HttpConnector>,
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
