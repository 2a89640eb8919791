//! The few answers that the connection plane writes by itself, and the way to close a connection so that its client
//! can read them.

use std::time::Duration;

use http::StatusCode;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::malformed::Malformed;

/// The date of a header (RFC 9110, 5.6.7).
const DATE: &[BorrowedFormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// SETTINGS, and GOAWAY with ENHANCE_YOUR_CALM naming no stream as begun: the client may send its requests elsewhere.
pub(super) const GO_AWAY: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b, // GOAWAY
];

/// An HTTP/1 refusal as a problem document (RFC 9457) that ends the connection.
pub(super) fn problem(what: &Malformed, status: StatusCode) -> Vec<u8> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": what.reason,
        "requestId": what.id.as_str(),
        "code": what.kind.code().name(),
    })
    .to_string();
    let retry = if status == StatusCode::SERVICE_UNAVAILABLE {
        "retry-after: 1\r\n"
    } else {
        ""
    };
    // The year of this clock has four digits.
    let date = OffsetDateTime::now_utc().format(DATE).unwrap_or_default();
    format!(
        "HTTP/1.1 {} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nx-request-id: {}\r\n\
         {retry}connection: close\r\ndate: {date}\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
        what.id,
    )
    .into_bytes()
}

/// Writes the bytes; says whether the transport took them all in time.
pub(super) async fn write<T: AsyncWrite + Unpin>(
    io: &mut T,
    bytes: &[u8],
    within: Duration,
) -> bool {
    let written = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    matches!(tokio::time::timeout(within, written).await, Ok(Ok(())))
}

/// Closes after an answer: says that no more will come, then reads what the client still sends until it closes too.
/// A socket that is closed with unread bytes is reset, and the reset may overtake the answer (RFC 9112, 9.6).
pub(super) async fn linger<T: AsyncRead + AsyncWrite + Unpin>(mut io: T, within: Duration) {
    let closing = async {
        io.shutdown().await?;
        let mut unread = vec![0; 8 * 1024];
        while io.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(within, closing).await {
        tracing::debug!(%error, "Connection was not closed in good order");
    }
}
