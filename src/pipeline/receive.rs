//! The body, within its limits of size and time. A body whose declared length is over the limit is refused before a
//! byte of it is asked for, so no `100 Continue` goes out either.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::Body;
use http_body_util::BodyExt as _;

use super::admit;
use super::rejection::Rejection;
use crate::limit::admission::{Admitted, Scarce};
use crate::model::call::Call;
use crate::model::phase::Phase;
use crate::plan::{Plan, Route};

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is over the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the body did not arrive within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the body cannot be read: {0}")]
    Malformed(String),
    /// Nobody is there to be answered, most likely.
    #[error("the client left before its body was whole")]
    Left,
}

/// All of the body.
pub(super) async fn body<B>(
    plan: &Plan,
    route: &Route,
    call: &Call,
    body: B,
    admitted: &mut Admitted,
) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes>,
    B::Error: Error + 'static,
{
    let limits = route.limits;
    let declared = admit::declared_length(call).unwrap_or_default();
    check_size(route, declared)?;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let scarce = |scarce| admit::overload(plan, call, Phase::Receive, scarce);
    admitted.reserve(declared).map_err(scarce)?;
    let whole = call.version != Version::HTTP_2;
    let collected = collect(body, limits.body, whole, admitted);
    let collected = tokio::time::timeout(limits.body_timeout, collected).await;
    match collected.unwrap_or(Err(BodyError::Timeout(limits.body_timeout).into())) {
        Ok(body) => Ok(body),
        Err(Broken::Body(error)) => Err(error.into()),
        Err(Broken::Scarce(error)) => Err(scarce(error)),
    }
}

/// Why a body was not read to its end.
#[derive(Debug)]
enum Broken {
    Body(BodyError),
    /// It turned out to be more than there is room for.
    Scarce(Scarce),
}

impl From<BodyError> for Broken {
    fn from(error: BodyError) -> Broken {
        Broken::Body(error)
    }
}

/// Whether a body of so many bytes is taken.
pub(super) fn check_size(route: &Route, size: u64) -> Result<(), BodyError> {
    let limit = route.limits.body;
    if size > limit {
        Err(BodyError::TooLarge { limit })
    } else {
        Ok(())
    }
}

/// Joins the frames. A body that came in one frame is passed on without a copy. `end_is_end`: the end of the frames is
/// the end of the body. On HTTP/2 it is not: hyper also ends them for a stream that was reset without an error.
async fn collect<B>(
    body: B,
    limit: u64,
    end_is_end: bool,
    admitted: &mut Admitted,
) -> Result<Bytes, Broken>
where
    B: Body<Data = Bytes>,
    B::Error: Error + 'static,
{
    let expected = body.size_hint().exact();
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    let mut size: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len() as u64;
        if size > limit {
            return Err(BodyError::TooLarge { limit }.into());
        }
        admitted
            .arrived(data.len() as u64)
            .map_err(Broken::Scarce)?;
        match &mut joined {
            Some(joined) => joined.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                // The limit bounds what is set aside, whatever was declared.
                let room = expected.unwrap_or(size * 2).min(limit).max(size) as usize;
                let mut both = BytesMut::with_capacity(room);
                both.extend_from_slice(&first);
                both.extend_from_slice(&data);
                joined = Some(both);
            }
        }
    }
    if !end_is_end && !body.is_end_stream() {
        return Err(BodyError::Left.into());
    }
    Ok(joined.map_or(first, BytesMut::freeze))
}

/// Whether a connection is gone, rather than its words wrong.
fn ended(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// Whether a body that cannot be read was sent wrong, or broke off.
fn broken(error: &(dyn Error + 'static)) -> BodyError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let h2 = error.downcast_ref::<h2::Error>();
        let reset = h2.is_some_and(|error| {
            error.is_io()
                || error.is_go_away()
                || (error.is_remote() && error.reason() == Some(h2::Reason::CANCEL))
        });
        if reset || io.is_some_and(ended) {
            return BodyError::Left;
        }
        cause = error.source();
    }
    BodyError::Malformed(causes(error))
}

/// An error and what caused it, on one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Rejection {
        Rejection::Body(error)
    }
}
