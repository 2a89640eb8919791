//! Handshakes: what is echoed, what is never signed, what is captured.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::capture;
use super::super::request::hex;
use super::{NOW, Said, call, compiled, github, judged, live, preset, said, sha256_mac};

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
async fn what_was_signed_for_whoever_asked_is_no_delivery() {
    for body in ["true", "12345", "cm0gLXJmIC8=", "a=b"] {
        let token = body.replace('=', "%3D");
        let target = format!("/?crc_token={token}");
        let asked = said(preset("x", &["key"]), "GET", &target, &[], b"").await;
        let Said::Answer(answer) = asked else {
            panic!("{asked:?}");
        };
        let answer: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        let signature = answer["response_token"].as_str().unwrap();
        let headers = [("x-twitter-webhooks-signature", signature)];
        let body = body.as_bytes();
        let forged = said(preset("x", &["key"]), "POST", "/", &headers, body).await;
        assert_eq!(forged.code(), "malformed");
    }
    for body in [r#"{"a":1}"#, "", &"a".repeat(513)] {
        let mac = STANDARD.encode(sha256_mac("key", body.as_bytes()));
        let signature = format!("sha256={mac}");
        let headers = [("x-twitter-webhooks-signature", signature.as_str())];
        let body = body.as_bytes();
        let genuine = said(preset("x", &["key"]), "POST", "/", &headers, body).await;
        assert_eq!(genuine.code(), "ok", "nobody is given the MAC of this");
    }
    let signature = github("key", b"true");
    let headers = [("x-hub-signature-256", signature.as_str())];
    let plain = said(preset("github", &["key"]), "POST", "/", &headers, b"true").await;
    assert_eq!(plain.code(), "ok", "no handshake signs anything here");
}

#[test]
fn tokens_are_refused_only_where_they_could_be_what_is_signed() {
    let source = |signed: &str, auth: &str| {
        compiled(json!({
            "secrets": ["key"],
            "verify": {
                "scheme": "hmac-sha256", "header": "X-S", "signed": signed,
                "timestamp": { "header": "X-T" },
            },
            "handshake": [{
                "when": { "query": { "c": "token" } }, "auth": auth,
                "reply": { "body": "{query:c|hmac-sha256-hex}" },
            }],
        }))
        .unwrap()
    };
    for (signed, auth, wanted) in [
        ("{timestamp}{body}", "none", true),
        ("{timestamp}.{body}", "none", true),
        ("{timestamp}:{body}", "none", false),
        ("{timestamp}.{body}", "verified", false),
    ] {
        assert_eq!(
            source(signed, auth).refuses_tokens,
            wanted,
            "{signed} {auth}"
        );
    }
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
