//! The fake target's address: it stays the same, whether or not somebody listens there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::schedule::Fault;
use super::{Shared, Weather};

/// Connections that may queue.
const BACKLOG: i32 = 1024;

/// A port that nobody else gets while a listener comes and goes: a second socket is bound to it and never listens.
pub(super) struct Port {
    _reserved: Socket,
    address: SocketAddr,
}

impl Port {
    pub(super) fn reserve() -> io::Result<Port> {
        let reserved = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reserved
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the bound address is none of TCP"))?;
        Ok(Port {
            _reserved: reserved,
            address,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn open(&self) -> io::Result<TcpListener> {
        let socket = bound(self.address)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Accepts while the target is up; refuses or resets while it is down.
pub(super) async fn serve(port: Port, first: TcpListener, shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        let now = *weather.borrow_and_update();
        if now.fault == Some(Fault::Down) {
            // Connections that were open end too, with whatever was on its way.
            connections.shutdown().await;
        }
        if now.fault == Some(Fault::Down) && !now.reset {
            listener = None;
            if weather.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take().map_or_else(|| port.open(), Ok) {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(%error, "The fake target cannot listen again yet");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let changed = accept(&open, now, &mut weather, &mut connections, &shared).await;
        listener = Some(open);
        if changed.is_err() {
            return;
        }
    }
}

/// Accepts until the weather changes.
async fn accept(
    listener: &TcpListener,
    now: Weather,
    weather: &mut watch::Receiver<Weather>,
    connections: &mut JoinSet<()>,
    shared: &Arc<Shared>,
) -> Result<(), watch::error::RecvError> {
    loop {
        tokio::select! {
            changed = weather.changed() => return changed,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if now.fault == Some(Fault::Down) => reset(&stream, shared),
                Ok((stream, _)) => {
                    connections.spawn(answer(stream, shared.clone()));
                }
                // Out of file descriptors, or a client that has gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
        }
    }
}

fn reset(stream: &TcpStream, shared: &Shared) {
    shared.fired(Fault::Down);
    // Where this is refused, the connection ends in an orderly way: it is down all the same.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn answer(stream: TcpStream, shared: Arc<Shared>) {
    // Only a matter of speed.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Box::pin(shared.serve(request)).await }
    });
    // An error is a client that has gone, or an answer that was lost on purpose.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
