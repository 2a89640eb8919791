//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The two ends of the connection that a request came in on.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the TCP peer.
    pub remote: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The name of the listener in the configuration.
    pub listener: Arc<str>,
}

impl Peer {
    /// The address that throttles, policies and logs go by.
    pub fn source_ip(&self) -> IpAddr {
        self.remote.ip().to_canonical()
    }
}
