//! Tokens that try to choose their own algorithm, key or time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{said, sha256_mac};

fn token(head: &str, claims: &str, secret: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(sha256_mac(secret, message.as_bytes()));
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_token_chooses_neither_its_algorithm_nor_its_key() {
    let written =
        || json!({ "preset": "monday", "secrets": ["key"], "public_url": "https://h.example/in" });
    let head = r#"{"alg":"HS256"}"#;
    let claims = r#"{"aud":"https://h.example/in","exp":1700000100}"#;
    for (head, claims, secret, wanted) in [
        (head, claims, "key", "ok"),
        (head, claims, "other", "bad-signature"),
        (r#"{"alg":"none"}"#, claims, "key", "bad-signature"),
        (r#"{"alg":"HS512"}"#, claims, "key", "bad-signature"),
        (r#"{"alg":"hs256"}"#, claims, "key", "bad-signature"),
        (
            r#"{"alg":"HS256","crit":["b64"]}"#,
            claims,
            "key",
            "bad-signature",
        ),
        (
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"b3RoZXI"}}"#,
            claims,
            "other",
            "bad-signature",
        ),
        (
            r#"{"alg":"HS256","alg":"none"}"#,
            claims,
            "key",
            "malformed",
        ),
        (
            head,
            r#"{"aud":"x","aud":"https://h.example/in","exp":1700000100}"#,
            "key",
            "malformed",
        ),
        (
            head,
            r#"{"aud":"https://h.example/in"}"#,
            "key",
            "bad-signature",
        ),
        (
            head,
            r#"{"aud":["a","https://h.example/in"],"exp":1700000100}"#,
            "key",
            "ok",
        ),
        (
            head,
            r#"{"aud":{"a":"https://h.example/in"},"exp":1700000100}"#,
            "key",
            "bad-signature",
        ),
        (
            head,
            r#"{"aud":"https://h.example/in","exp":"1700000100"}"#,
            "key",
            "bad-signature",
        ),
        (
            head,
            r#"{"aud":"https://h.example/in","exp":1699999969}"#,
            "key",
            "stale",
        ),
        (
            head,
            r#"{"aud":"https://h.example/in","exp":1700000100,"nbf":1700000031}"#,
            "key",
            "future",
        ),
        (r#"["HS256"]"#, claims, "key", "malformed"),
    ] {
        let text = token(head, claims, secret);
        let said = said(written(), "POST", "/in", &[("authorization", &text)], b"{}").await;
        assert_eq!(said.code(), wanted, "{head} {claims}");
    }
    for text in ["a.b", "a.b.c.d", "..", "a"] {
        let said = said(written(), "POST", "/in", &[("authorization", text)], b"{}").await;
        assert_eq!(said.code(), "malformed", "{text}");
    }
}
