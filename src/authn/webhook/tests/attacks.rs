//! What attackers and careless senders do: nothing that is not signed passes, nothing that is refused says more than it
//! must, and no question turns into a signature.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::capture;
use super::super::request::hex;
use super::{Said, call, compiled, judged, live, preset};

const NOW: i64 = 1_700_000_000;

fn sha256_mac(secret: &str, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, message).as_ref().to_vec()
}

fn github(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex(&sha256_mac(secret, body)))
}

async fn said(
    written: Value,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Said {
    judged(
        &live(written, HashMap::new()),
        &call(method, target, headers),
        body,
        NOW,
    )
    .await
}

#[tokio::test]
async fn a_secret_counts_from_its_beginning_to_before_its_end() {
    let written = json!({ "preset": "github", "secrets": [
        "always",
        { "value": "later", "from": "2023-11-14T22:13:20Z" },
        { "value": "earlier", "until": "2023-11-14T22:13:20Z" },
    ]});
    let live = live(written, HashMap::new());
    let body = b"{}";
    for (secret, now, wanted) in [
        ("always", 0, Some(0)),
        ("later", NOW - 1, None),
        ("later", NOW, Some(1)),
        ("earlier", NOW - 1, Some(2)),
        ("earlier", NOW, None),
    ] {
        let signature = github(secret, body);
        let call = call("POST", "/in", &[("x-hub-signature-256", &signature)]);
        let said = judged(&live, &call, body, now).await;
        match wanted {
            Some(place) => assert_eq!(said.delivery().key, place, "{secret} at {now}"),
            None => assert_eq!(said.code(), "bad-signature", "{secret} at {now}"),
        }
    }
}

#[tokio::test]
async fn every_header_that_is_read_may_stand_there_once() {
    let body = b"{}";
    let signed = sha256_mac("key", b"id.1700000000.{}");
    let signature = format!("v1,{}", STANDARD.encode(signed));
    let good = [
        ("webhook-id", "id"),
        ("webhook-timestamp", "1700000000"),
        ("webhook-signature", signature.as_str()),
    ];
    let written = || json!({ "preset": "standard-webhooks", "secrets": ["key"], "verify": { "key": { "encoding": "utf8" } } });
    assert_eq!(said(written(), "POST", "/", &good, body).await.code(), "ok");
    for twice in good {
        let mut headers = good.to_vec();
        headers.push(twice);
        assert_eq!(
            said(written(), "POST", "/", &headers, body).await.code(),
            "malformed",
            "{twice:?}"
        );
    }
    let token = preset("eventgrid", &["a"]);
    assert_eq!(
        said(token, "POST", "/?code=a&code=a", &[], b"")
            .await
            .code(),
        "malformed"
    );
}

#[tokio::test]
async fn signatures_come_in_exactly_one_text_form() {
    let body = b"\xff\xfe\r\n\0 raw";
    let mac = sha256_mac("key", body);
    let lower = hex(&mac);
    for (text, wanted) in [
        (format!("sha256={lower}"), "ok"),
        (format!("sha256={}", lower.to_uppercase()), "ok"),
        (format!("SHA256={lower}"), "malformed"),
        (format!("sha256= {lower}"), "malformed"),
        (format!("sha256={lower}0"), "malformed"),
        (format!("sha256={}", &lower[2..]), "malformed"),
        (format!("sha256={}", STANDARD.encode(&mac)), "malformed"),
        ("sha256=".to_owned(), "malformed"),
        (lower.clone(), "malformed"),
        (String::new(), "missing-header"),
    ] {
        let headers = [("x-hub-signature-256", text.as_str())];
        let said = said(preset("github", &["key"]), "POST", "/", &headers, body).await;
        assert_eq!(said.code(), wanted, "{text}");
    }
    let encoded = STANDARD.encode(&mac);
    for (text, wanted) in [
        (encoded.clone(), "ok"),
        (encoded.trim_end_matches('=').to_owned(), "malformed"),
        (encoded.replace('=', " ="), "malformed"),
        (lower, "malformed"),
    ] {
        let headers = [("x-shopify-hmac-sha256", text.as_str())];
        let said = said(preset("shopify", &["key"]), "POST", "/", &headers, body).await;
        assert_eq!(said.code(), wanted, "{text}");
    }
}

#[tokio::test]
async fn a_challenge_that_could_do_harm_is_not_echoed() {
    let long = format!("/?challenge={}", "a".repeat(1_025));
    let fits = format!("/?challenge={}", "a".repeat(1_024));
    for (target, wanted) in [
        ("/?challenge=abc", "handshake"),
        (fits.as_str(), "handshake"),
        (long.as_str(), "refused"),
        ("/?challenge=a%0d%0aX-Evil:1", "refused"),
        ("/?challenge=a%00", "refused"),
        ("/?challenge=%7f", "refused"),
        ("/?challenge=%c2%85", "refused"),
        ("/?challenge=%ff", "refused"),
        ("/?challenge=a&challenge=b", "missing-header"),
        ("/?other=a", "missing-header"),
    ] {
        let said = said(preset("dropbox", &["key"]), "GET", target, &[], b"").await;
        assert_eq!(said.code(), wanted, "{target}");
    }
    let script = said(
        preset("dropbox", &["key"]),
        "GET",
        "/?challenge=%3Cscript%3E",
        &[],
        b"",
    )
    .await;
    let Said::Answer(answer) = script else {
        panic!("{script:?}");
    };
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn no_question_comes_back_with_the_signature_of_a_delivery() {
    for token in ["%7B%7D", "a%20b", "v0:1:x", "", &"a".repeat(513)] {
        let target = format!("/?crc_token={token}");
        let said = said(preset("x", &["key"]), "GET", &target, &[], b"").await;
        assert_eq!(said.code(), "missing-header", "{token}");
    }
    let forged = json!({ "event": "endpoint.url_validation", "payload": { "plainToken": "v0:1700000000:{}" } });
    let body = forged.to_string();
    let signed = sha256_mac("key", format!("v0:{NOW}:{body}").as_bytes());
    let signature = format!("v0={}", hex(&signed));
    let now = NOW.to_string();
    let headers = [
        ("x-zm-signature", signature.as_str()),
        ("x-zm-request-timestamp", &now),
    ];
    let said = said(
        preset("zoom", &["key"]),
        "POST",
        "/",
        &headers,
        body.as_bytes(),
    )
    .await;
    assert_eq!(
        said.code(),
        "ok",
        "it is stored, and not answered with a MAC"
    );
}

#[tokio::test]
async fn what_is_refused_says_neither_secret_nor_what_it_should_have_been() {
    let secret = "hunter2-hunter2";
    let body = b"{\"id\":1}";
    let right = hex(&sha256_mac(secret, body));
    let wrong = "0".repeat(64);
    for headers in [
        vec![("x-hub-signature-256", format!("sha256={wrong}"))],
        vec![("x-hub-signature-256", "sha256=zz".to_owned())],
        vec![],
    ] {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let Said::Refused(failure) =
            said(preset("github", &[secret]), "POST", "/", &headers, body).await
        else {
            panic!("it passed");
        };
        let error = failure.into_error("hooks");
        for text in [&error.cause, &*error.public, &format!("{error:?}")] {
            assert!(
                !text.contains(secret) && !text.contains(&right) && !text.contains(&wrong),
                "{text}"
            );
        }
    }
    let live = live(preset("github", &[secret]), HashMap::new());
    assert!(
        !format!("{live:?}").contains("hunter2"),
        "Debug shows a secret"
    );
    let written =
        json!({ "preset": "meta", "secrets": [secret], "config": { "verify_token": "hunter2" } });
    assert!(!format!("{:?}", compiled(written)).contains("hunter2"));
}

#[tokio::test]
async fn a_secret_is_captured_once_while_one_is_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("asana");
    let written = || json!({ "preset": "asana", "state": "awaiting-secret", "secret_file": file.to_str().unwrap() });
    let live_one = live(written(), HashMap::new());
    let other = live(written(), HashMap::new());
    let hook = |secret: &str| call("POST", "/", &[("x-hook-secret", secret)]);
    for unfit in ["", &"a".repeat(1_025)] {
        let code = judged(&live_one, &hook(unfit), b"{}", NOW).await.code();
        assert_eq!(code, "refused");
    }
    assert_eq!(
        judged(&live_one, &hook("first"), b"{}", NOW).await.code(),
        "handshake"
    );
    assert_eq!(
        judged(&live_one, &hook("second"), b"{}", NOW).await.code(),
        "missing-header"
    );
    assert_eq!(
        judged(&other, &hook("third"), b"{}", NOW).await.code(),
        "missing-header",
        "another instance was open"
    );
    assert_eq!(capture::kept(&file).unwrap().as_deref(), Some("first"));
    let signature = hex(&sha256_mac("first", b"{}"));
    let delivery = call("POST", "/", &[("x-hook-signature", signature.as_str())]);
    for authenticator in [&live_one, &other, &live(written(), HashMap::new())] {
        assert_eq!(
            judged(authenticator, &delivery, b"{}", NOW).await.code(),
            "ok"
        );
    }
    let gone =
        json!({ "preset": "asana", "state": "awaiting-secret", "secret_file": "/nowhere/at/all" });
    let said = judged(&live(gone, HashMap::new()), &hook("a"), b"{}", NOW).await;
    assert_eq!(
        said.code(),
        "unavailable",
        "a secret that cannot be kept is not taken"
    );
}

#[tokio::test]
async fn what_proves_nothing_is_no_proof() {
    let graph = || preset("msgraph", &["state"]);
    for (body, wanted) in [
        (
            r#"{"value":[{"clientState":"state"},{"clientState":"state"}]}"#,
            "ok",
        ),
        (r#"{"value":[]}"#, "missing-header"),
        (r#"{"value":{"clientState":"state"}}"#, "malformed"),
        (
            r#"{"value":[{"clientState":"state","clientState":"state"}]}"#,
            "malformed",
        ),
        (
            r#"{"value":[{"clientState":"state"}],"value":[]}"#,
            "malformed",
        ),
        (r#"{"value":[{"clientState":["state"]}]}"#, "bad-signature"),
    ] {
        let said = said(graph(), "POST", "/", &[], body.as_bytes()).await;
        assert_eq!(said.code(), wanted, "{body}");
    }
    let smuggled = r#"{"value":null}"#.as_bytes();
    let said_of = said(graph(), "POST", "/?validationToken=a", &[], smuggled).await;
    assert_ne!(said_of.code(), "handshake");
    let mac = hex(&sha256_mac("key", b"1700000000tok"));
    let twice = format!(
        r#"{{"signature":{{"timestamp":"1700000000","token":"tok","signature":"{mac}","token":"tok"}}}}"#
    );
    let said_of = said(
        preset("mailgun", &["key"]),
        "POST",
        "/",
        &[],
        twice.as_bytes(),
    )
    .await;
    assert_eq!(said_of.code(), "malformed");
    let basic = json!({ "verify": { "scheme": "basic" }, "secrets": ["user:pass"] });
    for (text, wanted) in [
        ("user:pass", "ok"),
        ("user:pass2", "bad-signature"),
        ("user", "bad-signature"),
    ] {
        let header = format!("Basic {}", STANDARD.encode(text));
        let said = said(
            basic.clone(),
            "POST",
            "/",
            &[("authorization", &header)],
            b"",
        )
        .await;
        assert_eq!(said.code(), wanted, "{text}");
    }
    let bearer = [("authorization", "Bearer x")];
    assert_eq!(
        said(basic, "POST", "/", &bearer, b"").await.code(),
        "malformed"
    );
}

#[tokio::test]
async fn an_id_is_a_key_only_where_it_is_the_only_one_and_short_enough() {
    async fn line(events: Value) -> super::Delivery {
        let body = json!({ "events": events }).to_string();
        let signature = STANDARD.encode(sha256_mac("key", body.as_bytes()));
        let headers = [("x-line-signature", signature.as_str())];
        said(
            preset("line", &["key"]),
            "POST",
            "/",
            &headers,
            body.as_bytes(),
        )
        .await
        .delivery()
    }
    assert_eq!(
        line(json!([{ "webhookEventId": "1" }]))
            .await
            .dedup_id
            .as_deref(),
        Some("1")
    );
    assert_eq!(line(json!([{ "webhookEventId": "1" }, {}])).await.id, None);
    assert_eq!(line(json!([{ "webhookEventId": "" }])).await.id, None);
    let long = "i".repeat(256);
    let delivery = line(json!([{ "webhookEventId": long }])).await;
    assert_eq!((delivery.id, delivery.dedup_id), (Some(long), None));
}

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

#[tokio::test]
async fn a_statement_names_the_body_and_can_be_verified() {
    let written = json!({
        "preset": "github", "secrets": ["other", "key"],
        "attestation": { "key": "0123456789abcdef", "kid": "k1" },
    });
    let body = b"{\"a\":1}";
    let signature = github("key", body);
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-delivery", "d-1"),
    ];
    let delivery = said(written, "POST", "/", &headers, body).await.delivery();
    let statement = delivery.attestation.unwrap();
    let (message, mac) = statement.rsplit_once('.').unwrap();
    assert_eq!(
        URL_SAFE_NO_PAD.decode(mac).unwrap(),
        sha256_mac("0123456789abcdef", message.as_bytes())
    );
    let (head, claims) = message.split_once('.').unwrap();
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(
        read(head),
        json!({ "alg": "HS256", "typ": "JWT", "kid": "k1" })
    );
    let claims = read(claims);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    assert_eq!(claims["bodySha256"], hex(digest.as_ref()));
    assert_eq!(
        [
            &claims["source"],
            &claims["preset"],
            &claims["id"],
            &claims["receivedAt"]
        ],
        ["hooks", "github", "d-1", "2023-11-14T22:13:20Z"]
    );
    assert_eq!((&claims["key"], &claims["iat"]), (&json!(1), &json!(NOW)));
}

#[tokio::test]
async fn a_certificate_that_cannot_be_had_is_no_reason_to_accept() {
    let text = include_str!("../../../../tests/vectors/webhook-vectors.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let vector = vectors
        .as_array()
        .unwrap()
        .iter()
        .find(|vector| vector["id"] == "sns/ok-1")
        .unwrap();
    let written =
        json!({ "preset": "sns", "config": { "topic_arns": vector["config"]["topic_arns"] } });
    let body = vector["body"].as_str().unwrap().as_bytes();
    let said = said(written, "POST", "/", &[], body).await;
    assert_eq!(said.code(), "unavailable");
    let Said::Refused(failure) = said else {
        panic!("it passed");
    };
    assert_eq!(
        failure.into_error("hooks").kind,
        crate::authn::Kind::Unavailable
    );
}

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_altered_byte_of_a_signed_body_passes(
        body in proptest::collection::vec(any::<u8>(), 1..200),
        place in any::<proptest::sample::Index>(),
        change in 1u8..,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let signature = github("key", &body);
        let live = live(preset("github", &["older", "key"]), HashMap::new());
        let call = call("POST", "/", &[("x-hub-signature-256", &signature)]);
        let judge = |body: &[u8]| runtime.block_on(judged(&live, &call, body, NOW)).code();
        prop_assert_eq!(judge(&body), "ok");
        let mut altered = body.clone();
        altered[place.index(body.len())] ^= change;
        prop_assert_eq!(judge(&altered), "bad-signature");
        altered.clone_from(&body);
        altered.push(change);
        prop_assert_eq!(judge(&altered), "bad-signature");
        prop_assert_eq!(judge(&body[1..]), "bad-signature");
    }
}
