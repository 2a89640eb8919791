//! Takes an address: from here on clients can connect, and wait in the backlog until [`run`](super::run) accepts.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections the kernel keeps for us before they are accepted.
const BACKLOG: i32 = 1024;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerSpec {
    /// The listener's name in the configuration.
    pub name: Arc<str>,
    /// `host:port`; port 0 lets the system choose. Of a host name's addresses the first that can be bound is taken.
    pub bind: String,
}

/// An address that is ours, with connections queueing up.
#[derive(Debug)]
pub struct Bound {
    pub(super) name: Arc<str>,
    pub(super) socket: std::net::TcpListener,
    local: SocketAddr,
}

/// Why an address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "Listener `{name}`: `{bind}` is no address to listen on: write host:port, as in 127.0.0.1:8080"
    )]
    Address {
        name: Arc<str>,
        bind: String,
        source: io::Error,
    },
    #[error("Listener `{name}`: cannot listen on {bind}: {source}{}", advice(.source))]
    Bind {
        name: Arc<str>,
        bind: String,
        source: io::Error,
    },
}

/// What to do about an address that cannot be had.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it, or choose another port (0 lets the system choose)"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        _ => "",
    }
}

impl Bound {
    /// Binds and listens. Resolving a host name blocks.
    pub fn bind(spec: &ListenerSpec) -> Result<Bound, BindError> {
        let addresses = spec
            .bind
            .to_socket_addrs()
            .map_err(|source| BindError::Address {
                name: spec.name.clone(),
                bind: spec.bind.clone(),
                source,
            })?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host name has no addresses");
        for address in addresses {
            match listen(address) {
                Ok((socket, local)) => {
                    return Ok(Bound {
                        name: spec.name.clone(),
                        socket,
                        local,
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(BindError::Bind {
            name: spec.name.clone(),
            bind: spec.bind.clone(),
            source: failure,
        })
    }

    /// The address that was bound, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The listener's name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

fn listen(address: SocketAddr) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = std::net::TcpListener::from(socket);
    let local = listener.local_addr()?;
    Ok((listener, local))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(bind: &str) -> ListenerSpec {
        ListenerSpec {
            name: "public".into(),
            bind: bind.to_owned(),
        }
    }

    #[test]
    fn port_zero_gives_a_port_and_host_names_are_resolved() {
        assert_ne!(
            Bound::bind(&spec("127.0.0.1:0"))
                .unwrap()
                .local_addr()
                .port(),
            0
        );
        assert!(
            Bound::bind(&spec("localhost:0"))
                .unwrap()
                .local_addr()
                .ip()
                .is_loopback()
        );
    }

    #[test]
    fn an_address_in_use_says_what_to_do() {
        let first = Bound::bind(&spec("127.0.0.1:0")).unwrap();
        let error = Bound::bind(&spec(&first.local_addr().to_string())).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("Listener `public`: cannot listen on 127.0.0.1:"));
        assert!(text.contains("another process listens there"), "{text}");
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = Bound::bind(&spec("127.0.0.1")).unwrap_err();
        assert!(error.to_string().contains("`127.0.0.1` is no address"));
    }
}
