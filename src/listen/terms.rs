//! On what terms a listener takes connections: whether a PROXY header comes first, whose, and whether TLS comes next.

use std::net::IpAddr;
use std::sync::Arc;

use super::proxy_protocol::ProxyProtocol;
use super::tls::Tls;
use crate::model::peer::{Endpoint, Peer, Trust};

/// The terms of one listener. The default is plain HTTP from anybody, of whom nothing is believed.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub proxy_protocol: ProxyProtocol,
    /// Whose PROXY headers, and whose words about their clients, are believed. Where nobody is named anybody may send
    /// PROXY headers.
    pub trust: Arc<Trust>,
    pub tls: Option<Arc<Tls>>,
}

impl Terms {
    /// Whether requests are the first that comes.
    pub(super) fn are_plain(&self) -> bool {
        self.proxy_protocol == ProxyProtocol::Off && self.tls.is_none()
    }

    /// The address of the client at the other end of a connection, where nothing that it sends could name another one.
    pub(super) fn source_of(&self, peer: &Peer) -> Option<IpAddr> {
        let Endpoint::Ip(address) = peer.remote else {
            return None;
        };
        let ip = address.ip();
        let is_client =
            self.proxy_protocol == ProxyProtocol::Off && !self.trust.proxies.contains(ip);
        is_client.then_some(ip)
    }

    /// Whether an address may send PROXY headers.
    pub(super) fn may_speak(&self, ip: IpAddr) -> bool {
        let proxies = &self.trust.proxies;
        proxies.is_empty() || proxies.contains(ip)
    }
}
