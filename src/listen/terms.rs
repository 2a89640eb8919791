//! On what terms a listener takes connections: whether a PROXY header comes first, whose, and whether TLS comes next.

use std::net::IpAddr;
use std::sync::Arc;

use super::proxy_protocol::ProxyProtocol;
use super::tls::Tls;
use crate::model::peer::Trust;

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

    /// Whether an address may send PROXY headers.
    pub(super) fn may_speak(&self, ip: IpAddr) -> bool {
        let proxies = &self.trust.proxies;
        proxies.is_empty() || proxies.contains(ip)
    }
}
