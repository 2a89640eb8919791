//! Raw sockets against a running listener. Times are short, and only outcomes are asserted.

mod drain;
mod floods;
mod hostile;
mod http1;
mod http2;
mod idle;
mod proxy;
mod tls;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::{
    Bound, ConnectionLimits, DrainHandle, Drained, Leaving, ListenStats, ListenerSpec, Malformed,
    MalformedKind, Serve, Terms, run,
};
use crate::model::peer::Peer;

/// Longer than any wait in these tests should be.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for a limit that is not meant to be reached.
const LONG: Duration = Duration::from_secs(120);

/// Answers with method, path and length of the body, or with 400 if the body could not be read.
#[derive(Clone)]
struct Echo {
    requests: Arc<Mutex<Vec<String>>>,
    peers: Arc<Mutex<Vec<Arc<Peer>>>>,
    malformed: Arc<Mutex<Vec<Malformed>>>,
    /// Requests for `/wait` need a permit.
    gate: Arc<Semaphore>,
    /// Whether nobody of this machine is let in.
    barred: Arc<AtomicBool>,
}

impl Serve for Echo {
    type Body = Full<Bytes>;

    fn admits(&self, peer: &Peer) -> bool {
        !self.barred.load(Relaxed) || !peer.remote.ip().is_loopback()
    }

    async fn call(
        &self,
        request: Request<Incoming>,
        peer: &Arc<Peer>,
        leaving: &Leaving,
    ) -> Response<Full<Bytes>> {
        assert_eq!(&*peer.listener, "public");
        let line = format!("{} {}", request.method(), request.uri().path());
        self.requests.lock().unwrap().push(line.clone());
        self.peers.lock().unwrap().push(peer.clone());
        match request.uri().path() {
            "/wait" => {
                let permit = self.gate.acquire().await.unwrap();
                permit.forget();
            }
            "/poll" => leaving.begun().await,
            // answered without a look at the body
            "/early" => return Response::builder().status(413).body(line.into()).unwrap(),
            "/large" => return Response::new(vec![b'x'; 8 << 20].into()),
            _ => {}
        }
        match request.into_body().collect().await {
            Ok(body) => {
                let length = body.to_bytes().len();
                Response::new(format!("{line} {length}\n").into())
            }
            Err(_) => Response::builder()
                .status(400)
                .body("unreadable body".into())
                .unwrap(),
        }
    }

    fn malformed(&self, _peer: &Arc<Peer>, what: Malformed) {
        self.malformed.lock().unwrap().push(what);
    }
}

/// A listener on a port of its own, and what was seen behind it.
struct Gateway {
    address: SocketAddr,
    echo: Echo,
    drain: DrainHandle,
    stats: Arc<ListenStats>,
    running: JoinHandle<Drained>,
}

impl Gateway {
    fn start(limits: ConnectionLimits) -> Gateway {
        Gateway::start_on(Terms::default(), limits)
    }

    fn start_on(terms: Terms, limits: ConnectionLimits) -> Gateway {
        let bound = Bound::bind(&ListenerSpec::new("public", "127.0.0.1:0")).unwrap();
        let address = bound.ip_address().unwrap();
        let echo = Echo {
            requests: Arc::default(),
            peers: Arc::default(),
            malformed: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            barred: Arc::default(),
        };
        let (handle, drain) = DrainHandle::new();
        let stats = Arc::new(ListenStats::default());
        let (service, seen) = (echo.clone(), stats.clone());
        let running = tokio::spawn(async move {
            let (_keep, limits) = watch::channel(limits);
            run(bound, terms, limits, service, drain, seen)
                .await
                .unwrap()
        });
        Gateway {
            address,
            echo,
            drain: handle,
            stats,
            running,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the bytes and reads until the server closes.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }

    fn requests(&self) -> Vec<String> {
        self.echo.requests.lock().unwrap().clone()
    }

    /// What was reported as malformed: kind and status.
    fn malformed(&self) -> Vec<(MalformedKind, Option<u16>)> {
        let seen = self.echo.malformed.lock().unwrap();
        seen.iter().map(|what| (what.kind, what.status)).collect()
    }

    /// Whether a new client is served, after whatever happened before.
    async fn assert_well(&self) {
        let answer = self
            .exchange("GET /well HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("GET /well 0\n"), "{answer}");
    }
}

/// Waits for something that another task brings about.
async fn eventually(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// Everything until the server closes. A reset ends it too.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer of a connection that stays open: until what was read ends so.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let reading = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            assert_ne!(
                stream.read_buf(&mut bytes).await.unwrap(),
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

/// How many answers are in what a client read.
fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count() - text.matches("HTTP/1.1 100 ").count()
}
