//! A server that does as it is told, on every connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does.
#[derive(Clone, Debug)]
pub(super) enum Does {
    /// Answers each request with this.
    Says(String),
    /// The same, and closes.
    SaysAndCloses(String),
    /// The same, and then waits for ever.
    SaysAndIsSilent(String),
    ReadsAndCloses,
    ReadsAndResets,
    IsSilent,
    /// Does not even read.
    Closes,
    Resets,
}

struct Shared {
    does: Mutex<Does>,
    requests: AtomicUsize,
}

pub(super) struct Server {
    pub(super) address: String,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(super) async fn start() -> Server {
        Server::listen(None).await
    }

    /// With a certificate that nobody has signed.
    pub(super) async fn over_tls() -> Server {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        Server::listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await
    }

    /// Where nobody listens.
    pub(super) async fn gone() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    async fn listen(tls: Option<tokio_rustls::TlsAcceptor>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            does: Mutex::new(Does::IsSilent),
            requests: AtomicUsize::new(0),
        });
        let of_connections = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = of_connections.clone();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => plain(socket, &shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(socket).await {
                                serve(stream, &shared).await;
                            }
                        }
                    }
                });
            }
        });
        Server {
            address,
            shared,
            accepting,
        }
    }

    /// Does this from now on, on connections that are open too.
    pub(super) fn now(&self, does: Does) {
        *self.shared.does.lock().unwrap() = does;
    }

    /// How many requests it has read.
    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

async fn plain(mut socket: TcpStream, shared: &Shared) {
    let does = shared.does.lock().unwrap().clone();
    match does {
        Does::Closes => return,
        Does::Resets => {
            socket.set_zero_linger().unwrap();
            return;
        }
        _ => {}
    }
    if serve(&mut socket, shared).await {
        socket.set_zero_linger().unwrap();
    }
}

/// Whether the connection is to be reset.
async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> bool {
    let mut buffer = Vec::new();
    while next_request(&mut socket, &mut buffer).await.is_some() {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let does = shared.does.lock().unwrap().clone();
        let (says, then_closes) = match does {
            Does::Says(text) => (text, false),
            Does::SaysAndCloses(text) => (text, true),
            Does::SaysAndIsSilent(text) => {
                let _ = socket.write_all(text.as_bytes()).await;
                std::future::pending().await
            }
            Does::IsSilent => std::future::pending().await,
            Does::ReadsAndResets | Does::Resets => return true,
            Does::ReadsAndCloses | Does::Closes => return false,
        };
        if socket.write_all(says.as_bytes()).await.is_err() || then_closes {
            return false;
        }
    }
    false
}

async fn next_request(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap());
            if buffer.len() >= whole {
                buffer.drain(..whole);
                return Some(());
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
