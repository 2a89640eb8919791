//! The body of a request, within its limits of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::{Code, Fault};

/// The largest body, in bytes. A batch holds at most 1 MiB (SQS), which escapes in JSON and in forms make up to three
/// times and a little more.
const LARGEST: usize = 4 << 20;
/// Bodies up to this size need no place.
const SMALL: usize = 64 << 10;
/// Bytes of all larger bodies at once.
const TOGETHER: usize = 64 << 20;
/// How long a body may take to arrive, its wait for a place included.
const PATIENCE: Duration = Duration::from_secs(30);
/// The unit of places.
const KIB: usize = 1 << 10;

/// Room for bodies.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

/// A body, and its place for as long as it is needed.
pub struct Received {
    pub bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(Semaphore::new(TOGETHER / KIB)))
    }
}

impl Room {
    /// All of the body.
    pub async fn receive<B>(&self, head: &Parts, body: B) -> Result<Received, Fault>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error,
    {
        let declared = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|size| size > LARGEST) {
            return Err(too_large());
        }
        if body.is_end_stream() {
            return Ok(Received {
                bytes: Bytes::new(),
                _place: None,
            });
        }
        let received = async {
            let needed = declared.unwrap_or(LARGEST);
            let place = match u32::try_from(needed.div_ceil(KIB)) {
                Ok(places) if needed > SMALL => {
                    self.0.clone().acquire_many_owned(places).await.ok()
                }
                _ => None,
            };
            let bytes = collected(body, head.version).await?;
            Ok(Received {
                bytes,
                _place: place,
            })
        };
        let late = |_| {
            let seconds = PATIENCE.as_secs();
            Code::RequestTimeout.because(format!("The body did not arrive within {seconds} s."))
        };
        tokio::time::timeout(PATIENCE, received)
            .await
            .map_err(late)?
    }
}

fn too_large() -> Fault {
    Code::RequestTooLarge.because(format!("A request has at most {LARGEST} bytes."))
}

async fn collected<B>(mut body: B, version: Version) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    let broken = || Code::MalformedInput.because("The body is not whole.");
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broken())?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.len() > LARGEST {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
    // hyper ends the frames of a stream that was reset without an error, too.
    if version == Version::HTTP_2 && !body.is_end_stream() {
        return Err(broken());
    }
    Ok(whole.freeze())
}
