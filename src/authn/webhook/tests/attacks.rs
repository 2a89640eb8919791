//! What attackers and careless senders do: nothing that is not signed passes, nothing that is refused says more than it
//! must, and no question turns into a signature.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::request::hex;
use super::{NOW, Said, call, compiled, github, judged, live, over, preset, said, sha256_mac};

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
async fn a_statement_says_whether_the_sender_signed_the_id_and_the_type() {
    async fn signed(mut written: Value, headers: &[(&str, &str)], body: &[u8]) -> [Value; 4] {
        written["attestation"] = json!({ "key": "0123456789abcdef" });
        let delivery = said(written, "POST", "/", headers, body).await.delivery();
        let statement = delivery.attestation.unwrap();
        let claims = statement.split('.').nth(1).unwrap();
        let mut claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        ["id", "idSigned", "type", "typeSigned"].map(|name| claims[name].take())
    }
    let body = br#"{"id":"i","type":"t"}"#;
    let signature = github("key", body);
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-delivery", "anybody's"),
        ("x-github-event", "push"),
    ];
    assert_eq!(
        signed(preset("github", &["key"]), &headers, body).await,
        [
            json!("anybody's"),
            json!(false),
            json!("push"),
            json!(false)
        ]
    );
    let mut of_body = preset("github", &["key"]);
    of_body["event"] =
        json!({ "id": ["header:x-none", "json:/id"], "type": "header:x-github-event" });
    assert_eq!(
        signed(of_body, &headers, body).await,
        [json!("i"), json!(true), json!("push"), json!(false)]
    );
    let mac = sha256_mac("key", b"m.1700000000.{\"id\":\"i\",\"type\":\"t\"}");
    let signature = format!("v1,{}", STANDARD.encode(mac));
    let standard = json!({ "preset": "standard-webhooks", "secrets": ["key"], "verify": { "key": { "encoding": "utf8" } } });
    let headers = [
        ("webhook-id", "m"),
        ("webhook-timestamp", "1700000000"),
        ("webhook-signature", signature.as_str()),
        ("idempotency-key", "anybody's"),
    ];
    assert_eq!(
        signed(standard.clone(), &headers, body).await,
        [json!("m"), json!(true), json!("t"), json!(true)]
    );
    let mut other = standard;
    other["event"] = json!({ "id": "header:idempotency-key,webhook-id" });
    assert_eq!(
        signed(other, &headers, body).await,
        [json!("anybody's"), json!(false), json!("t"), json!(true)],
        "the header that was read is not the one that was signed"
    );
    let token = json!({
        "secrets": ["key"], "verify": { "scheme": "token", "header": "x-t" }, "event": { "id": "json:/id" },
    });
    assert_eq!(
        signed(token, &[("x-t", "key")], body).await,
        [json!("i"), json!(false), json!(null), json!(false)]
    );
}

#[tokio::test]
async fn a_source_without_a_secret_is_our_fault_and_nobody_is_charged() {
    let body = b"{}";
    let signature = github("key", body);
    let hub = [("x-hub-signature-256", signature.as_str())];
    let hook = signature.trim_start_matches("sha256=");
    let hook = [("x-hook-signature", hook)];
    let folder = tempfile::tempdir().unwrap();
    let past = |preset: &str| json!({ "preset": preset, "secrets": [{ "value": "key", "until": "2020-01-01T00:00:00Z" }] });
    let ahead = json!({ "preset": "github", "secrets": [{ "value": "key", "from": "2099-01-01T00:00:00Z" }] });
    let file = |name: &str, state: &str| json!({ "preset": "asana", "state": state, "secret_file": folder.path().join(name) });
    for (written, headers, wanted) in [
        (past("github"), &hub[..], "unavailable"),
        (ahead, &hub[..], "unavailable"),
        (past("github"), &[][..], "missing-header"),
        (file("none", "live"), &hook[..], "unavailable"),
        (file("none", "awaiting-secret"), &hook[..], "bad-signature"),
    ] {
        let said = said(written.clone(), "POST", "/", headers, body).await;
        assert_eq!(said.code(), wanted, "{written}");
        let Said::Refused(failure) = said else {
            panic!("it passed");
        };
        let error = failure.into_error("hooks");
        assert!(wanted != "unavailable" || !error.wrong_credentials);
    }
    let crc = said(past("x"), "GET", "/?crc_token=a", &[], b"").await;
    assert_eq!(crc.code(), "unavailable");
    let became = folder.path().join("later");
    for state in ["live", "awaiting-secret"] {
        let spec = compiled(file("later", state)).unwrap();
        std::fs::create_dir_all(&became).unwrap();
        let live = over(spec, HashMap::new());
        let delivery = call("POST", "/", &hook);
        assert_eq!(
            judged(&live, &delivery, body, NOW).await.code(),
            "unavailable"
        );
        if state == "awaiting-secret" {
            let sent = call("POST", "/", &[("x-hook-secret", "first")]);
            assert_eq!(judged(&live, &sent, body, NOW).await.code(), "unavailable");
        }
        std::fs::remove_dir(&became).unwrap();
    }
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
    let certs = vector["config"]["certs"].as_object().unwrap().iter();
    let certs = certs.map(|(url, pem)| (url.clone(), pem.as_str().unwrap().to_owned()));
    let first = live(written.clone(), certs.collect());
    let now = vector["now"].as_i64().unwrap();
    let delivery = call("POST", "/", &[]);
    assert_eq!(judged(&first, &delivery, body, now).await.code(), "ok");
    let mut rebuilt = live(written.clone(), HashMap::new());
    rebuilt.keep_fetched(&first);
    assert_eq!(
        judged(&rebuilt, &delivery, body, now).await.code(),
        "ok",
        "what was fetched outlives a reload"
    );
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
