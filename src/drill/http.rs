//! One HTTP/1.1 connection to a gateway, and one answer from its admin listener.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// How long the admin listener may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of an answer.
const MOST: usize = 16 << 20;

/// A connection. Dropping it closes it.
pub struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // An error reaches the request that it ends.
            let _ = driver.await;
        });
        Ok(Connection {
            address,
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Whether it leads there and can still be used.
    pub fn leads_to(&self, address: SocketAddr) -> bool {
        self.address == address && self.sender.is_ready()
    }

    /// Sends a request; the answer's head has come.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.send_request(request).await
    }
}

/// The whole of an answer's body; `None` if it broke off, or is too large to be of use.
pub async fn body(answer: Response<Incoming>) -> Option<Bytes> {
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    body.ok().map(|body| body.to_bytes())
}

/// Asks for a path.
pub async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), String> {
    let asked = async {
        let mut connection = Connection::open(address)
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::get(path)
            .header(http::header::HOST, address.to_string())
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let answer = connection
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = answer.status();
        match body(answer).await {
            Some(body) => Ok((status, body)),
            None => Err("the answer broke off".to_owned()),
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}
