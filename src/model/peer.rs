//! Who is at the other end of a connection, as far as the connection itself says: addresses, a PROXY header, TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::certificate::ClientCert;
use super::cidr::Networks;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Ip(SocketAddr),
    /// A Unix socket: somebody on this machine. Wherever an address is asked for it is 127.0.0.1.
    Unix,
}

/// Which header says who a proxy's client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ForwardingHeader {
    /// `X-Forwarded-For` if there is one, else `Forwarded`: nearly every proxy writes the former, and passes the
    /// latter on as its client sent it.
    #[default]
    Either,
    /// `X-Forwarded-For` and `X-Forwarded-Proto` alone.
    XForwardedFor,
    /// `Forwarded` (RFC 7239) alone.
    Forwarded,
}

/// Whose words about their clients are believed on a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    pub proxies: Networks,
    pub header: ForwardingHeader,
}

/// The two ends of the connection that a request came in on, and what is known of the client before it asks anything.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The socket's other end: a load balancer's where there is one.
    pub remote: Endpoint,
    /// The address that was connected to.
    pub local: Endpoint,
    /// The name of the listener in the configuration.
    pub listener: Arc<str>,
    /// Where the connection came from: as its PROXY header says, else `remote`. The headers of a request may know better:
    /// `Call::source_ip` is what throttles, policies and logs go by.
    pub source: Endpoint,
    /// Whether the connection is encrypted: here, or (by its PROXY header) at the load balancer.
    pub secure: bool,
    /// The VPC endpoint that the connection came through, by its PROXY header: `vpce-…`.
    pub vpce: Option<Arc<str>>,
    /// The certificate that the client has shown and proven to own; its chain has been checked.
    pub client_cert: Option<Arc<ClientCert>>,
    pub trust: Arc<Trust>,
}

impl Peer {
    /// A connection of which nothing but its ends is known. Nobody's words are believed on it.
    pub fn new(remote: Endpoint, local: Endpoint, listener: Arc<str>) -> Peer {
        Peer {
            remote,
            local,
            listener,
            source: remote,
            secure: false,
            vpce: None,
            client_cert: None,
            trust: Arc::default(),
        }
    }

    /// The same, over TCP.
    pub fn tcp(remote: SocketAddr, local: SocketAddr, listener: impl Into<Arc<str>>) -> Peer {
        Peer::new(Endpoint::Ip(remote), Endpoint::Ip(local), listener.into())
    }

    /// Whether what the connection's requests say about the client before it is believed.
    pub fn is_trusted(&self) -> bool {
        !self.trust.proxies.is_empty() && self.trust.proxies.contains(self.source.ip())
    }
}

impl Endpoint {
    /// The address, IPv4 as IPv4.
    pub fn ip(&self) -> IpAddr {
        match self {
            Endpoint::Ip(address) => address.ip().to_canonical(),
            Endpoint::Unix => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Ip(address) => address.fmt(f),
            Endpoint::Unix => f.write_str("unix"),
        }
    }
}
