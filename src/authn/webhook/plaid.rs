//! Plaid's keys (reference, 4.48): looked up by their `kid` with the client's own credentials.

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use super::Settings;
use super::fetch::{Fetcher, Fresh};
use super::jwt::{Jwk, KeySet};
use super::verdict::Failure;
use crate::outbound::Named;

/// Where keys are asked for; `config.url` takes its place (Plaid's sandbox, say).
const URL: &str = "https://production.plaid.com/webhook_verification_key/get";
/// For how long a key is used without asking again, in seconds.
const FRESH_FOR: i64 = 3_600;

#[derive(Deserialize)]
struct Answer {
    key: Answered,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    expired_at: Option<i64>,
    #[serde(flatten)]
    key: Jwk,
}

/// The key of that name.
pub(super) async fn key(
    kid: &str,
    settings: &Settings,
    fetcher: &Fetcher,
    now: i64,
) -> Result<Fresh<KeySet>, Failure> {
    let setting = |name: &str| settings.one(name).unwrap_or_default().to_owned();
    let asked = serde_json::json!({
        "client_id": setting("client_id"), "secret": setting("secret"), "key_id": kid,
    });
    let unavailable = |reason: String| Failure::unavailable(format!("Plaid's key: {reason}"));
    let request = Request::post(settings.one("url").unwrap_or(URL))
        .header(CONTENT_TYPE, "application/json")
        .body(Bytes::from(asked.to_string()))
        .map_err(|error| unavailable(error.to_string()))?;
    let response = fetcher
        .send(request, Named::ByOperator)
        .await
        .map_err(unavailable)?;
    match response.status().as_u16() {
        200 => {}
        // Plaid says 400 of a key that it does not know; with wrong credentials it says so with the same status.
        400 => {
            return Err(Failure::bad(
                "Plaid does not know the key that the token names, or us",
            ));
        }
        status => return Err(unavailable(format!("the answer is {status}"))),
    }
    let answer: Answer = serde_json::from_slice(response.body())
        .map_err(|error| unavailable(format!("not a key: {error}")))?;
    if answer.key.expired_at.is_some_and(|at| at <= now) {
        return Err(Failure::bad("the token's key has expired"));
    }
    Ok(Fresh {
        value: KeySet(vec![answer.key.key]),
        until: now + FRESH_FOR,
        at_most: now + FRESH_FOR,
    })
}
