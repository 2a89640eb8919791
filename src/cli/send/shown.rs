//! What `penstock send` prints: the request as a curl command, and the answer.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use serde_json::{Map, Value, json};

use crate::authn::webhook::Draft;

/// Headers of an answer that somebody who tests wants to see.
const OF_INTEREST: [&str; 8] = [
    "content-type",
    "x-request-id",
    "x-amzn-requestid",
    "x-amzn-errortype",
    "idempotency-replayed",
    "retry-after",
    "www-authenticate",
    "location",
];

/// The request as a command for a shell (bash or zsh, where the body is not text).
pub(super) fn curl(draft: &Draft) -> String {
    let mut text = format!(
        "curl -i -X {} {}",
        draft.method,
        quoted(draft.url.to_string().as_bytes())
    );
    for (name, value) in &draft.headers {
        let header = [name.as_str().as_bytes(), b": ", value.as_bytes()].concat();
        let _ = write!(text, " \\\n  -H {}", quoted(&header));
    }
    if !draft.body.is_empty() {
        let _ = write!(text, " \\\n  --data-raw {}", quoted(&draft.body));
    }
    text + "\n"
}

/// The request, for programs.
pub(super) fn request(draft: &Draft) -> Value {
    json!({
        "method": draft.method.as_str(),
        "url": draft.url.to_string(),
        "headers": headers(&draft.headers, |_| true),
        "body": String::from_utf8_lossy(&draft.body),
    })
}

pub(super) fn answer(answer: &Response<Bytes>, took: Duration) -> String {
    let mut text = format!("{}  ({} ms)\n", answer.status(), took.as_millis());
    for (name, value) in answer.headers().iter().filter(|(name, _)| matters(name)) {
        let _ = writeln!(
            text,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        );
    }
    if !answer.body().is_empty() {
        let _ = writeln!(
            text,
            "\n{}",
            String::from_utf8_lossy(answer.body()).trim_end()
        );
    }
    text
}

pub(super) fn answer_json(answer: &Response<Bytes>, took: Duration) -> Value {
    json!({
        "status": answer.status().as_u16(),
        "took_ms": took.as_millis().to_string().parse::<u64>().unwrap_or(u64::MAX),
        "headers": headers(answer.headers(), matters),
        "body": String::from_utf8_lossy(answer.body()),
    })
}

fn matters(name: &HeaderName) -> bool {
    OF_INTEREST.contains(&name.as_str())
}

fn headers(headers: &HeaderMap, wanted: fn(&HeaderName) -> bool) -> Value {
    let shown = headers
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), Value::from(value.into_owned()))
        });
    Value::Object(shown.collect::<Map<_, _>>())
}

/// An argument for a shell: in quotes; with escapes where it is not plain text.
fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && c != '\n') => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => {
            let mut text = "$'".to_owned();
            for byte in bytes {
                match byte {
                    b'\'' | b'\\' => {
                        text.push('\\');
                        text.push(char::from(*byte));
                    }
                    0x20..=0x7e => text.push(char::from(*byte)),
                    other => {
                        let _ = write!(text, "\\x{other:02x}");
                    }
                }
            }
            text + "'"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_a_shell() {
        assert_eq!(quoted(b"{\"a\": 1}"), "'{\"a\": 1}'");
        assert_eq!(quoted("it's ü".as_bytes()), "'it'\\''s ü'");
        assert_eq!(quoted(b"a\xff'\\"), "$'a\\xff\\'\\\\'");
    }
}
