//! What is refused when a configuration is loaded, and what may be replaced in a preset.

use serde_json::{Value, json};

use super::compiled;

#[test]
fn what_the_loader_must_reject_is_rejected() {
    let hmac = |more: Value| {
        let mut verify = json!({ "scheme": "hmac-sha256", "header": "X-S", "signed": "{body}" });
        for (name, value) in more.as_object().unwrap() {
            verify[name] = value.clone();
        }
        json!({ "verify": verify, "secrets": ["key"] })
    };
    let with = |mut written: Value, name: &str, value: Value| {
        written[name] = value;
        written
    };
    let mac_reply = |when: Value| json!([{ "when": when, "reply": { "json": { "m": "{query:c|hmac-sha256-hex}" } } }]);
    assert!(compiled(hmac(json!({}))).is_ok());
    for (written, reason) in [
        (json!({}), "nothing says how deliveries are verified"),
        (json!({ "preset": "strip" }), "did you mean `stripe`?"),
        (hmac(json!({ "colour": 1 })), "unknown field"),
        (hmac(json!({ "scheme": "hmac-md5" })), "unknown variant"),
        (hmac(json!({ "signed": "{bdoy}" })), "did you mean `body`?"),
        (hmac(json!({ "signed": "{body|md5}" })), "is not a filter"),
        (
            hmac(json!({ "signed": "{timestamp}.{body}" })),
            "`verify.timestamp` is not written",
        ),
        (
            hmac(json!({ "signed": "{header:X-Id}" })),
            "the body is not part of what is signed",
        ),
        (
            hmac(json!({ "signed": "{body|crc32}" })),
            "the body is not part of what is signed",
        ),
        (
            hmac(json!({ "signed": "{secret}{body}" })),
            "`{secret}` can only stand",
        ),
        (
            hmac(json!({ "scheme": "hash-sha256" })),
            "everybody can make",
        ),
        (
            hmac(json!({ "signed": "{url}{body}" })),
            "needs `public_url`",
        ),
        (
            hmac(json!({ "signed": "{public_url}{body}" })),
            "needs `public_url`",
        ),
        (
            hmac(json!({ "timestamp": { "header": "X-T" } })),
            "not part of what is signed",
        ),
        (
            hmac(json!({ "timestamp": { "header": "X-T", "json": "/t" } })),
            "exactly one place",
        ),
        (
            hmac(
                json!({ "signed": "{timestamp}{body}", "timestamp": { "header": "X-T", "tolerance": "25h" } }),
            ),
            "out of range",
        ),
        (hmac(json!({ "in": "json:/s" })), "side by side"),
        (
            hmac(json!({ "in": "body", "header": null })),
            "no signature can be in",
        ),
        (hmac(json!({ "each": "/v" })), "no meaning with"),
        (hmac(json!({ "algs": ["RS256"] })), "no meaning with"),
        (
            hmac(json!({ "key": { "encoding": "hex" } })),
            "it is not hex",
        ),
        (
            hmac(json!({ "key": { "encoding": "pem" } })),
            "neither a public key",
        ),
        (hmac(json!({ "scheme": "ed25519" })), "takes public keys"),
        (
            with(hmac(json!({})), "secrets", json!([])),
            "needs a secret",
        ),
        (with(hmac(json!({})), "secrets", json!([""])), "it is empty"),
        (
            with(
                hmac(json!({})),
                "secrets",
                json!([{ "value": "k", "from": "monday" }]),
            ),
            "is not a time",
        ),
        (
            with(
                hmac(json!({})),
                "secrets",
                json!([{ "value": "k", "from": "2026-03-01T00:00:00Z", "until": "2026-03-01T00:00:00Z" }]),
            ),
            "never counts",
        ),
        (json!({ "verify": { "scheme": "none" } }), "allow_unsigned"),
        (
            json!({ "verify": { "scheme": "token", "header": "X-T" } }),
            "needs a secret",
        ),
        (
            json!({ "preset": "square", "secrets": ["k"] }),
            "needs `public_url`",
        ),
        (
            json!({ "preset": "monday", "secrets": ["k"] }),
            "needs `public_url`",
        ),
        (json!({ "preset": "pubsub" }), "config.audience"),
        (json!({ "preset": "sns" }), "topic_arns"),
        (json!({ "preset": "paypal" }), "config.webhook_id"),
        (json!({ "preset": "plaid" }), "config.client_id"),
        (
            json!({ "preset": "plaid", "config": { "client_id": "a", "secret": "b" }, "verify": { "algs": ["HS256"] } }),
            "take a shared secret",
        ),
        (
            json!({ "preset": "asana", "state": "awaiting-secret", "secrets": ["k"] }),
            "there is no `secret_file`",
        ),
        (
            json!({ "preset": "github", "state": "awaiting-secret", "secret_file": "f" }),
            "brings a secret",
        ),
        (
            with(
                hmac(json!({})),
                "handshake",
                mac_reply(json!({ "query": { "c": "present" } })),
            ),
            "forged delivery",
        ),
        (
            with(
                hmac(json!({})),
                "handshake",
                json!([{ "when": { "query": { "c": "token" } }, "reply": { "body": "{query:c|header-values|hmac-sha256-hex}" } }]),
            ),
            "so that anything would be",
        ),
        (
            json!({
                "preset": "monday", "secrets": ["k"], "public_url": "https://h.example/in",
                "handshake": [{ "when": { "query": { "c": "token" } }, "reply": { "body": "{query:c|hmac-sha256-hex}" } }],
            }),
            "a token's head and claims",
        ),
        (
            with(hmac(json!({})), "handshake", mac_reply(json!({}))),
            "holds for every request",
        ),
        (
            with(
                hmac(json!({})),
                "handshake",
                json!([{ "when": { "method": "GTE" }, "reply": {} }]),
            ),
            "did you mean `GET`?",
        ),
        (
            with(
                hmac(json!({})),
                "handshake",
                json!([{ "when": { "method": "GET" }, "reply": { "type": "text/html" } }]),
            ),
            "might be run",
        ),
        (
            with(hmac(json!({})), "attestation", json!({ "key": "short" })),
            "at least 16 bytes",
        ),
        (
            with(hmac(json!({})), "public_url", json!("hooks.example.com")),
            "is not the URL of an endpoint",
        ),
        (
            with(hmac(json!({})), "event", json!({ "id": "jsn:/id" })),
            "did you mean `json`?",
        ),
        (
            with(hmac(json!({})), "ack", json!({ "status": 404 })),
            "it is not a success",
        ),
    ] {
        match compiled(written.clone()) {
            Ok(_) => panic!("{written} was taken"),
            Err(said) => assert!(
                said.iter().any(|line| line.contains(reason)),
                "{written}: {said:#?}"
            ),
        }
    }
    assert!(
        compiled(with(
            hmac(json!({})),
            "handshake",
            mac_reply(json!({ "query": { "c": "token" } }))
        ))
        .is_ok()
    );
}

#[test]
fn single_keys_of_a_preset_can_be_replaced() {
    let spec = compiled(json!({
        "preset": "mailgun", "secrets": ["k"],
        "verify": { "in": "json:/signature/parent-signature", "timestamp": { "tolerance": "1h" } },
    }));
    assert!(spec.is_ok(), "{spec:?}");
    let polar = json!({ "preset": "standard-webhooks", "secrets": ["plain text"], "verify": { "key": { "encoding": "utf8" } } });
    assert!(compiled(polar).is_ok());
}
