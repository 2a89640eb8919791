//! The accept loop of one listener. Nothing that a client or the system does ends it, only the drain.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::Serve;
use super::activity::{Activity, PREFACE};
use super::answer;
use super::bind::{Bound, BoundSocket};
use super::connection::Connection;
use super::drain::{Drain, Drained};
use super::limits::ConnectionLimits;
use super::malformed::{Malformed, MalformedKind};
use super::parking::Parking;
use super::sources::{Counted, Sources};
use super::stats::ListenStats;
use super::steering::{Steered, Steering};
use super::terms::Terms;
use super::tls::Tls;
use super::transport::Transport;
use super::unix::SocketFile;
use crate::model::peer::{Endpoint, Peer};

/// How long to wait after `accept` failed for want of something (descriptors, memory).
const BACK_OFF: Duration = Duration::from_millis(100);

/// How often such a failure is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How many connections are told at the same time that there is no room; others are closed without a word.
const REFUSALS: usize = 256;

/// How long a refused connection may take to say what it wants before it is told, and how long to read the answer.
const REFUSAL: Duration = Duration::from_secs(1);

/// Connections taken out of the backlog after the drain has begun: they were there before.
const LAST_CALL: usize = 1024;

/// How long the tasks of HTTP/2 streams may take to notice that their connection is gone.
const LAST_POLL: Duration = Duration::from_secs(1);

/// Serves a listener until the drain: then stops accepting, lets the connections finish what is in flight, and cuts
/// off what is left at the deadline. Returns when no connection is left; dropping the future cuts off at once.
///
/// Each listener has a [`ListenStats`] of its own. A change of `limits` applies to connections accepted after it.
pub async fn run<S: Serve>(
    bound: Bound,
    terms: Terms,
    limits: watch::Receiver<ConnectionLimits>,
    service: S,
    drain: Drain,
    stats: Arc<ListenStats>,
) -> io::Result<Drained> {
    let (_unmoved, steered) = Steering::new(Arc::new(terms));
    run_steered(bound, steered, limits, service, drain, stats).await
}

/// The same for a listener whose terms and socket may be changed while it serves. One whose socket is taken away ends
/// like one that is drained, once its drain begins.
pub async fn run_steered<S: Serve>(
    bound: Bound,
    steered: Steered,
    limits: watch::Receiver<ConnectionLimits>,
    service: S,
    mut drain: Drain,
    stats: Arc<ListenStats>,
) -> io::Result<Drained> {
    let Bound {
        name,
        socket,
        address,
    } = bound;
    let socket = Listening::new(socket)?;
    let Steered {
        terms: mut changing,
        mut wanted,
    } = steered;
    let terms = changing.borrow_and_update().clone();
    let mut watching = watch_files(terms.tls.as_ref(), &name, &stats);
    let parking = Parking::new(stats.clone());
    let mut listener = Listener {
        name,
        terms,
        limits,
        service,
        drain: drain.clone(),
        stats,
        streams: TaskTracker::new(),
        connections: JoinSet::new(),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        parking,
        sources: Sources::default(),
        logged: None,
    };
    loop {
        tokio::select! {
            biased;
            () = drain.started() => break,
            Some(ended) = listener.connections.join_next() => reap(ended),
            terms = next_terms(&mut changing) => {
                if !same(terms.tls.as_ref(), listener.terms.tls.as_ref()) {
                    watching = watch_files(terms.tls.as_ref(), &listener.name, &listener.stats);
                }
                listener.terms = terms;
            }
            heir = asked_for(&mut wanted) => {
                drop(watching);
                let socket = socket.into_backlog()?;
                // Whoever asked and went away leaves the address unserved, as one who closes it does.
                let _ = heir.send(Bound { name: listener.name.clone(), socket, address });
                return Ok(listener.finish(drain).await);
            }
            accepted = socket.accept() => match accepted {
                Ok(stream) => listener.take(stream),
                Err(error) => listener.accept_failed(&error).await,
            },
        }
    }
    // asked directly: tokio learns of connections only when its driver has run
    let backlog = socket.into_backlog()?;
    for _ in 0..LAST_CALL {
        match backlog.next() {
            Some(stream) => listener.take(stream),
            None => break,
        }
    }
    drop(backlog);
    Ok(listener.finish(drain).await)
}

/// The terms, whenever they are changed.
async fn next_terms(changing: &mut watch::Receiver<Arc<Terms>>) -> Arc<Terms> {
    match changing.changed().await {
        Ok(()) => changing.borrow_and_update().clone(),
        // Nobody changes them any more.
        Err(_) => std::future::pending().await,
    }
}

/// Who gets the socket, once somebody asks for it.
async fn asked_for(
    wanted: &mut oneshot::Receiver<oneshot::Sender<Bound>>,
) -> oneshot::Sender<Bound> {
    if wanted.is_terminated() {
        return std::future::pending().await;
    }
    match wanted.await {
        Ok(heir) => heir,
        Err(_) => std::future::pending().await,
    }
}

/// Whether two listeners' certificates are the same, and looked after already.
fn same(a: Option<&Arc<Tls>>, b: Option<&Arc<Tls>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Looks after the files of TLS for as long as the result lives.
fn watch_files(
    tls: Option<&Arc<Tls>>,
    name: &Arc<str>,
    stats: &Arc<ListenStats>,
) -> Option<AbortOnDropHandle<()>> {
    let Some(tls) = tls else {
        stats.set_expiries(Vec::new());
        return None;
    };
    let watching = tls.clone().watch(name.clone(), stats.clone());
    Some(AbortOnDropHandle::new(tokio::spawn(watching)))
}

/// A socket from which connections are accepted.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, Option<SocketFile>),
}

impl Listening {
    fn new(socket: BoundSocket) -> io::Result<Listening> {
        Ok(match socket {
            BoundSocket::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
            BoundSocket::Unix(socket, file) => {
                Listening::Unix(UnixListener::from_std(socket)?, file)
            }
        })
    }

    async fn accept(&self) -> io::Result<Transport> {
        Ok(match self {
            Listening::Tcp(socket) => Transport::Tcp(socket.accept().await?.0),
            Listening::Unix(socket, _) => Transport::Unix(socket.accept().await?.0),
        })
    }

    /// The same socket, asked for what is in its backlog already.
    fn into_backlog(self) -> io::Result<BoundSocket> {
        Ok(match self {
            Listening::Tcp(socket) => BoundSocket::Tcp(socket.into_std()?),
            Listening::Unix(socket, file) => BoundSocket::Unix(socket.into_std()?, file),
        })
    }
}

impl BoundSocket {
    /// A connection that is in the backlog already.
    fn next(&self) -> Option<Transport> {
        match self {
            BoundSocket::Tcp(socket) => {
                let (stream, _) = socket.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                TcpStream::from_std(stream).ok().map(Transport::Tcp)
            }
            BoundSocket::Unix(socket, _) => {
                let (stream, _) = socket.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                UnixStream::from_std(stream).ok().map(Transport::Unix)
            }
        }
    }
}

/// The two ends of a connection; the far one first.
fn ends(stream: &Transport) -> io::Result<(Endpoint, Endpoint)> {
    let Transport::Tcp(stream) = stream else {
        return Ok((Endpoint::Unix, Endpoint::Unix));
    };
    stream.set_nodelay(true)?;
    Ok((
        Endpoint::Ip(stream.peer_addr()?),
        Endpoint::Ip(stream.local_addr()?),
    ))
}

fn reap(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "Connection panicked");
    }
}

/// Why a connection is not served.
enum Refusal {
    /// As many connections are busy as the listener may have.
    Full,
    /// Its address has as many as it may.
    Crowded,
    /// Its address may not come in.
    Barred,
}

/// A listener at work.
struct Listener<S> {
    name: Arc<str>,
    terms: Arc<Terms>,
    limits: watch::Receiver<ConnectionLimits>,
    service: S,
    drain: Drain,
    stats: Arc<ListenStats>,
    streams: TaskTracker,
    /// Ends its tasks when it is dropped.
    connections: JoinSet<()>,
    refusals: Arc<Semaphore>,
    /// The connections without a request.
    parking: Parking,
    sources: Sources,
    /// When a failure of `accept` was last logged.
    logged: Option<Instant>,
}

impl<S: Serve> Listener<S> {
    /// A new connection: to be served, or refused.
    fn take(&mut self, stream: Transport) {
        self.stats.accepted.fetch_add(1, Relaxed);
        let (remote, local) = match ends(&stream) {
            Ok(ends) => ends,
            Err(error) => {
                tracing::debug!(%error, "Connection was gone before it was served");
                return;
            }
        };
        let peer = Arc::new(Peer {
            trust: self.terms.trust.clone(),
            ..Peer::new(remote, local, self.name.clone())
        });
        let limits = self.limits.borrow().clone();
        let counted = match self.admitted(&peer, &limits) {
            Ok(counted) => counted,
            Err(refusal) => return self.refuse(stream, peer, refusal),
        };
        let connection = Connection {
            service: self.service.clone(),
            peer,
            drain: self.drain.clone(),
            stats: self.stats.clone(),
            streams: self.streams.clone(),
            activity: Arc::new(Activity::new(self.stats.clone(), limits.age)),
            limits,
            parking: self.parking.clone(),
            _open: self.stats.open_connection(),
            _counted: counted,
        };
        self.connections
            .spawn(connection.arrive(stream, self.terms.clone()));
    }

    /// Whether a connection is served, by where it comes from and by how many there are.
    fn admitted(&self, peer: &Peer, limits: &ConnectionLimits) -> Result<Option<Counted>, Refusal> {
        let source = self.terms.source_of(peer);
        if source.is_some() && !self.service.admits(peer) {
            return Err(Refusal::Barred);
        }
        let counted = match source.zip(limits.per_address) {
            Some((address, most)) => {
                let counted = self.sources.count(address, most);
                Some(counted.ok_or(Refusal::Crowded)?)
            }
            None => None,
        };
        if self.stats.open() >= limits.connections as u64 && !self.parking.make_room() {
            return Err(Refusal::Full);
        }
        Ok(counted)
    }

    /// Says why a connection is not served, to as many as can be told at once.
    fn refuse(&mut self, stream: Transport, peer: Arc<Peer>, refusal: Refusal) {
        let (count, status, what) = match refusal {
            Refusal::Full => (
                &self.stats.refused,
                StatusCode::SERVICE_UNAVAILABLE,
                Malformed::new(
                    MalformedKind::TooManyConnections,
                    "the listener has no room for another connection",
                ),
            ),
            Refusal::Crowded => (
                &self.stats.crowded,
                StatusCode::SERVICE_UNAVAILABLE,
                Malformed::new(
                    MalformedKind::TooManyFromAddress,
                    "this address has as many connections as it may",
                ),
            ),
            Refusal::Barred => (
                &self.stats.barred,
                StatusCode::FORBIDDEN,
                Malformed::new(
                    MalformedKind::Barred,
                    "Requests from this address are not allowed here.",
                ),
            ),
        };
        count.fetch_add(1, Relaxed);
        let service = self.service.clone();
        let permit = match self.refusals.clone().try_acquire_owned() {
            // a client that waits for a handshake could not read it
            Ok(permit) if self.terms.tls.is_none() => permit,
            _ => {
                service.malformed(&peer, what);
                return;
            }
        };
        self.connections.spawn(async move {
            let _permit = permit;
            refused(stream, service, peer, what, status).await;
        });
    }

    /// `accept` failed. The connection's own fault is nothing to us; for want of descriptors waiting helps.
    async fn accept_failed(&mut self, error: &io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        self.stats.accept_errors.fetch_add(1, Relaxed);
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            tracing::warn!(%error, listener = %self.name, open = self.stats.open(), "Cannot accept connections");
        }
        tokio::time::sleep(BACK_OFF).await;
    }

    /// Waits for the connections to end, until the deadline.
    async fn finish(mut self, mut drain: Drain) -> Drained {
        let mut drained = Drained::default();
        loop {
            tokio::select! {
                biased;
                ended = self.connections.join_next() => match ended {
                    Some(ended) => reap(ended),
                    None => break,
                },
                () = drain.over() => {
                    drained.connections = self.connections.len();
                    drained.requests = self.stats.in_flight();
                    self.connections.abort_all();
                    while self.connections.join_next().await.is_some() {}
                    break;
                }
            }
        }
        // Streams end with their connection; they only need to be polled once more. One that does not is not waited for.
        self.streams.close();
        let _ = tokio::time::timeout(LAST_POLL, self.streams.wait()).await;
        drained
    }
}

/// Tells a client that it is not served, once it has said something: an answer to nothing would be lost.
async fn refused<S: Serve>(
    mut stream: Transport,
    service: S,
    peer: Arc<Peer>,
    what: Malformed,
    status: StatusCode,
) {
    let mut seen = [0; PREFACE.len()];
    let heard = match tokio::time::timeout(REFUSAL, stream.read(&mut seen)).await {
        Ok(Ok(bytes)) if bytes > 0 => &seen[..bytes],
        _ => return,
    };
    let what = if heard == PREFACE {
        answer::write(&mut stream, answer::GO_AWAY, REFUSAL).await;
        what
    } else if answer::write(&mut stream, &answer::problem(&what, status), REFUSAL).await {
        what.answered(status.as_u16())
    } else {
        what
    };
    service.malformed(&peer, what);
    answer::linger(stream, REFUSAL).await;
}
