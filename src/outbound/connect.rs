//! From a URL to a connection: through a proxy or straight, to an address that was looked at.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::net::TcpStream;

use super::address::is_public;

/// Dials what a URL names.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) proxies: Arc<Matcher>,
    /// `None`: any address. Else public ones, and those in these networks.
    pub(super) allow: Option<Arc<[IpNet]>>,
}

/// A host's address is one that may not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{host} is {address}, which may not be asked")]
pub(super) struct Refused {
    pub(super) host: String,
    pub(super) address: IpAddr,
}

/// A connection, and whether a proxy that reads requests is at its other end.
#[derive(Debug)]
pub(super) struct Conn {
    io: TokioIo<TcpStream>,
    reads_requests: bool,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Conn, Fault>> + Send>>;
type Fault = Box<dyn std::error::Error + Send + Sync>;

impl tower_service::Service<Uri> for Dial {
    type Response = Conn;
    type Error = Fault;
    type Future = Dialing;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialing {
        let dial = self.clone();
        Box::pin(async move {
            match dial.proxies.intercept(&uri) {
                Some(proxy) => dial.through(&proxy, uri).await,
                None => straight(&uri, dial.allow.as_deref()).await,
            }
        })
    }
}

impl Dial {
    async fn through(&self, proxy: &Intercept, uri: Uri) -> Result<Conn, Fault> {
        if proxy.uri().scheme() != Some(&Scheme::HTTP) {
            let scheme = proxy.uri().scheme_str().unwrap_or("no scheme");
            return Err(format!(
                "the proxy has to be asked over http, and the environment says {scheme}"
            )
            .into());
        }
        if self.allow.is_some() {
            // A host that only the proxy knows is the proxy's to refuse.
            let (host, port) = host_and_port(&uri)?;
            if let Ok(addresses) = tokio::net::lookup_host((host.as_str(), port)).await {
                for address in addresses {
                    permitted(&host, address.ip(), self.allow.as_deref())?;
                }
            }
        }
        if uri.scheme() == Some(&Scheme::HTTP) {
            let mut conn = straight(proxy.uri(), None).await?;
            conn.reads_requests = true;
            return Ok(conn);
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), Straight);
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        Ok(tower_service::Service::call(&mut tunnel, uri).await?)
    }
}

/// Dials the proxy itself.
#[derive(Clone, Debug)]
struct Straight;

impl tower_service::Service<Uri> for Straight {
    type Response = Conn;
    type Error = Fault;
    type Future = Dialing;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialing {
        Box::pin(async move { straight(&uri, None).await })
    }
}

async fn straight(uri: &Uri, allow: Option<&[IpNet]>) -> Result<Conn, Fault> {
    let (host, port) = host_and_port(uri)?;
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port))
        .await
        .map_err(|error| format!("{host} cannot be resolved: {error}"))?
        .collect();
    let mut failure: Fault = format!("{host} has no address").into();
    for address in addresses {
        permitted(&host, address.ip(), allow)?;
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Conn {
                    io: TokioIo::new(stream),
                    reads_requests: false,
                });
            }
            Err(error) => failure = format!("{address}: {error}").into(),
        }
    }
    Err(failure)
}

fn permitted(host: &str, address: IpAddr, allow: Option<&[IpNet]>) -> Result<(), Refused> {
    let address = address.to_canonical();
    match allow {
        None => Ok(()),
        Some(_) if is_public(address) => Ok(()),
        Some(allow) if allow.iter().any(|network| network.contains(&address)) => Ok(()),
        Some(_) => Err(Refused {
            host: host.to_owned(),
            address,
        }),
    }
}

/// IPv6 addresses lose their brackets.
fn host_and_port(uri: &Uri) -> Result<(String, u16), Fault> {
    let host = uri.host().ok_or("the URL names no host")?;
    let default = if uri.scheme() == Some(&Scheme::HTTPS) {
        443
    } else {
        80
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(default)))
}

/// Trust in the system's authorities, and in those of a file.
pub fn tls(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "A certificate authority of the system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(file) = ca {
        add(&mut roots, file)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Adds the authorities of a PEM file: at least one.
pub(super) fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| named(&error))? {
        let certificate = certificate.map_err(|error| named(&error))?;
        roots.add(certificate).map_err(|error| named(&error))?;
    }
    if roots.len() == before {
        return Err(named(&"it holds no certificate"));
    }
    Ok(())
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.reads_requests)
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
}
