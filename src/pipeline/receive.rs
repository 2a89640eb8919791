//! The body, within its limits of size and time. A body whose declared length is over the limit is refused before a
//! byte of it is asked for, so no `100 Continue` goes out either.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt as _;

use super::rejection::Rejection;
use crate::model::call::Call;
use crate::plan::Route;

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is over the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the body did not arrive within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the body cannot be read: {0}")]
    Malformed(String),
}

/// All of the body.
pub(super) async fn body<B>(route: &Route, call: &Call, body: B) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let limits = route.limits;
    let declared = call
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    check_size(route, declared.unwrap_or_default())?;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let collected = tokio::time::timeout(limits.body_timeout, collect(body, limits.body)).await;
    collected
        .unwrap_or(Err(BodyError::Timeout(limits.body_timeout)))
        .map_err(Rejection::Body)
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

/// Joins the frames. A body that came in one frame is passed on without a copy.
async fn collect<B>(body: B, limit: u64) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let expected = body.size_hint().exact();
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    let mut size: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Malformed(causes(&error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len() as u64;
        if size > limit {
            return Err(BodyError::TooLarge { limit });
        }
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
    Ok(joined.map_or(first, BytesMut::freeze))
}

/// An error and what caused it, on one line.
fn causes(error: &dyn std::error::Error) -> String {
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
