//! Takes an address: from here on clients can connect, and wait in the backlog until [`run`](super::run) accepts.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::inherited;
use super::unix::SocketFile;

/// How many connections the kernel keeps for us before they are accepted.
const BACKLOG: i32 = 1024;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerSpec {
    /// The listener's name in the configuration.
    pub name: Arc<str>,
    /// `host:port`; port 0 lets the system choose. Of a host name's addresses the first that can be bound is taken.
    /// Or `unix:` and the path of a socket.
    pub bind: String,
    /// Who may connect to a Unix socket: the permissions of its file.
    pub mode: u32,
}

/// The permissions of a Unix socket's file where nothing else is written: its owner and its group may connect.
pub const DEFAULT_MODE: u32 = 0o660;

/// What stands before the path of a Unix socket.
pub const UNIX: &str = "unix:";

/// An address that is ours, with connections queueing up.
#[derive(Debug)]
pub struct Bound {
    pub(super) name: Arc<str>,
    pub(super) socket: BoundSocket,
    pub(super) address: BoundAddress,
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum BoundSocket {
    Tcp(std::net::TcpListener),
    /// The file goes when the listening ends; one that was passed to us is another's to remove.
    Unix(std::os::unix::net::UnixListener, Option<SocketFile>),
}

/// The address that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// With the port that the system chose.
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundAddress::Ip(address) => address.fmt(f),
            BoundAddress::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl ListenerSpec {
    /// A listener, by name and address.
    pub fn new(name: impl Into<Arc<str>>, bind: impl Into<String>) -> ListenerSpec {
        ListenerSpec {
            name: name.into(),
            bind: bind.into(),
            mode: DEFAULT_MODE,
        }
    }
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
    #[error(
        "Listener `{name}`: the socket that was passed under its name cannot be used: {source}"
    )]
    Passed { name: Arc<str>, source: io::Error },
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
            "; another process listens there: stop it, or choose another address (port 0 lets the system choose)"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AlreadyExists => "; remove it, or choose another path",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        _ => "",
    }
}

impl Bound {
    /// Takes the socket that a supervisor has passed under the listener's name; else binds and listens. Resolving a host
    /// name blocks.
    pub fn bind(spec: &ListenerSpec) -> Result<Bound, BindError> {
        let passed = Bound::passed(&spec.name).map_err(|source| BindError::Passed {
            name: spec.name.clone(),
            source,
        });
        if let Some(bound) = passed? {
            return Ok(bound);
        }
        if let Some(path) = spec.bind.strip_prefix(UNIX) {
            return Bound::bind_unix(spec, Path::new(path));
        }
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
                        socket: BoundSocket::Tcp(socket),
                        address: BoundAddress::Ip(local),
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

    fn passed(name: &Arc<str>) -> io::Result<Option<Bound>> {
        let Some(socket) = inherited::take(name)? else {
            return Ok(None);
        };
        let local = socket.local_addr()?;
        let (socket, address) = match (local.as_socket(), local.as_pathname()) {
            (Some(address), _) => (BoundSocket::Tcp(socket.into()), BoundAddress::Ip(address)),
            (None, Some(path)) => {
                let path = path.to_owned();
                let socket = BoundSocket::Unix(socket.into(), None);
                (socket, BoundAddress::Unix(path))
            }
            (None, None) => {
                let said = "it is neither a TCP socket nor a Unix one with a path";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
            }
        };
        Ok(Some(Bound {
            name: name.clone(),
            socket,
            address,
        }))
    }

    fn bind_unix(spec: &ListenerSpec, path: &Path) -> Result<Bound, BindError> {
        let (socket, file) =
            super::unix::listen(path, spec.mode, BACKLOG).map_err(|source| BindError::Bind {
                name: spec.name.clone(),
                bind: spec.bind.clone(),
                source,
            })?;
        Ok(Bound {
            name: spec.name.clone(),
            socket: BoundSocket::Unix(socket, Some(file)),
            address: BoundAddress::Unix(path.to_owned()),
        })
    }

    /// The address that was bound.
    pub fn address(&self) -> &BoundAddress {
        &self.address
    }

    /// The same, where it is not a Unix socket's.
    pub fn ip_address(&self) -> Option<SocketAddr> {
        match self.address {
            BoundAddress::Ip(address) => Some(address),
            BoundAddress::Unix(_) => None,
        }
    }

    /// The same address under another listener's name.
    pub fn renamed(self, name: Arc<str>) -> Bound {
        Bound { name, ..self }
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
        ListenerSpec::new("public", bind)
    }

    #[test]
    fn port_zero_gives_a_port_and_host_names_are_resolved() {
        assert_ne!(
            Bound::bind(&spec("127.0.0.1:0"))
                .unwrap()
                .ip_address()
                .unwrap()
                .port(),
            0
        );
        assert!(
            Bound::bind(&spec("localhost:0"))
                .unwrap()
                .ip_address()
                .unwrap()
                .ip()
                .is_loopback()
        );
    }

    #[test]
    fn an_address_in_use_says_what_to_do() {
        let first = Bound::bind(&spec("127.0.0.1:0")).unwrap();
        let error = Bound::bind(&spec(&first.address().to_string())).unwrap_err();
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
