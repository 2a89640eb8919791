//! Signed tokens. Input: the token.
//!
//! A token is accepted only if the configured secret signed it as it stands, for us, by the issuer, for now. Computed
//! here from the token's own letters.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock::authn::Authenticator;
use serde_json::{Value, json};

use super::webhook::{authenticator, presented};

/// 2024-01-02T03:04:05Z
const NOW: i64 = 1_704_164_645;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

thread_local! {
    static DOOR: Arc<Authenticator> = authenticator(&json!({ "jwt": {
        "issuer": "https://idp.example.com",
        "audience": "shop",
        "secret": SECRET,
    }}));
}

pub fn run(data: &[u8]) {
    let header = [b"Bearer ", data].concat();
    let Ok(header) = http::HeaderValue::from_bytes(&header) else {
        return;
    };
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::AUTHORIZATION, header);
    let accepted = DOOR.with(|door| presented(door, headers, &[], NOW));
    assert!(
        !accepted || genuine(data),
        "accepted: {:?}",
        String::from_utf8_lossy(data)
    );
    if genuine(data) && plain(data) {
        assert!(accepted, "refused: {:?}", String::from_utf8_lossy(data));
    }
}

fn parts(token: &[u8]) -> Option<(Value, Value, bool)> {
    let text = std::str::from_utf8(token).ok()?.trim();
    let (signed, signature) = text.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let right = hmac::verify(&key, signed.as_bytes(), &decode(signature)?).is_ok();
    let read = |part: &str| serde_json::from_slice(&decode(part)?).ok();
    Some((read(header)?, read(claims)?, right))
}

fn genuine(token: &[u8]) -> bool {
    let Some((header, claims, true)) = parts(token) else {
        return false;
    };
    let for_us = match &claims["aud"] {
        Value::String(one) => one == "shop",
        Value::Array(several) => several.iter().any(|one| one == "shop"),
        Value::Null => claims["client_id"] == "shop",
        _ => false,
    };
    header["alg"] == "HS256"
        && claims["iss"] == "https://idp.example.com"
        && for_us
        && claims["exp"].as_f64().is_some_and(|end| end > NOW as f64)
}

/// Nothing that a careful reader may refuse although it is signed.
fn plain(token: &[u8]) -> bool {
    let Some((header, claims, _)) = parts(token) else {
        return false;
    };
    // a name that stands twice is not printed twice
    let printed = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string()).into_bytes();
    let same = [printed(&header), printed(&claims)].join(&b'.');
    let (Some(header), Some(claims)) = (header.as_object(), claims.as_object()) else {
        return false;
    };
    header.keys().all(|name| name == "alg" || name == "typ")
        && header.get("typ").is_none_or(|typ| typ == "JWT")
        && claims
            .keys()
            .all(|name| ["iss", "aud", "exp", "sub"].contains(&name.as_str()))
        && claims["exp"].is_u64()
        && claims.get("sub").is_none_or(Value::is_string)
        && claims["aud"].is_string()
        && token.len() < 4096
        && token.starts_with(&same)
}
