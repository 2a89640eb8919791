//! Every sender that shares a secret: what is signed here is what the gateway accepts.

use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::super::presets;
use super::super::request::hex;
use super::super::tests::{NOW, call, compiled, judged, live};
use super::super::written::Scheme;
use super::{Draft, SignError, Signer, Wish};
use crate::model::secret::Secret;

const URL: &str = "https://hooks.example.com/in/x";

fn wish() -> Wish {
    Wish {
        id: None,
        at_millis: NOW * 1_000,
        hides_secret: false,
    }
}

fn draft(body: &str) -> Draft {
    Draft {
        method: Method::POST,
        url: URL.parse().unwrap(),
        headers: HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )]),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn signer(preset: &str, secret: &str) -> Result<Signer, String> {
    Signer::of_preset(
        preset,
        Some(&Secret::new(secret.to_owned())),
        URL.to_owned(),
    )
    .map_err(|error| error.to_string())
}

/// A secret that every sender's key form takes.
fn secret_of(preset: &str) -> &'static str {
    match preset {
        "standard-webhooks" | "gitlab" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        _ => "6a6b6c6d6e6f707172737475767778796a6b6c6d6e6f70717273747576777879",
    }
}

/// What the verifier says of a signed draft.
async fn verdict(preset: &str, secret: &str, signed: &Draft) -> &'static str {
    let written = json!({ "preset": preset, "secrets": [secret], "public_url": URL });
    let headers: Vec<(&str, &str)> = signed
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let target = signed.url.path_and_query().unwrap().as_str();
    let call = call(signed.method.as_str(), target, &headers);
    let authenticator = live(written, HashMap::new());
    judged(&authenticator, &call, &signed.body, NOW)
        .await
        .code()
}

fn shares_a_secret(preset: &str) -> bool {
    let verify = &presets::all().unwrap()[preset].verify;
    let by_secret = verify
        .keys
        .as_ref()
        .is_some_and(|keys| keys.secrets == Some(true));
    match verify.scheme.unwrap() {
        Scheme::Sns | Scheme::Paypal | Scheme::Ed25519 | Scheme::EcdsaP256Sha256 => false,
        Scheme::Jwt => by_secret,
        _ => true,
    }
}

#[tokio::test]
async fn the_verifier_accepts_what_is_signed_for_it_and_no_other_secret() {
    let mut tried = 0;
    for preset in presets::all()
        .unwrap()
        .keys()
        .filter(|name| shares_a_secret(name))
    {
        let secret = secret_of(preset);
        let signed = signer(preset, secret).and_then(|s| s.sign(draft("{}"), &wish()));
        let signed = signed.unwrap_or_else(|error| panic!("{preset}: {error}"));
        assert_eq!(
            verdict(preset, secret, &signed).await,
            "ok",
            "{preset}: {signed:?}"
        );
        let other = format!("{}AAAA", &secret[..secret.len() - 4]);
        assert_eq!(
            verdict(preset, &other, &signed).await,
            "bad-signature",
            "{preset}"
        );
        tried += 1;
    }
    assert!(tried >= 50, "{tried}");
}

#[tokio::test]
async fn a_time_that_was_asked_for_is_the_one_that_is_signed() {
    let old = Wish {
        at_millis: (NOW - 3_600) * 1_000,
        ..wish()
    };
    for preset in ["stripe", "slack", "linear", "box", "hubspot", "mailgun"] {
        let signed = signer(preset, "k")
            .unwrap()
            .sign(draft("{}"), &old)
            .unwrap();
        assert_eq!(verdict(preset, "k", &signed).await, "stale", "{preset}");
    }
}

#[test]
fn an_id_goes_where_the_sender_has_it_and_is_minted_for_headers_only() {
    let asked = Wish {
        id: Some("d-1".to_owned()),
        ..wish()
    };
    let sign = |preset: &str, wish: &Wish| signer(preset, "k").unwrap().sign(draft("{}"), wish);
    let github = sign("github", &asked).unwrap();
    assert_eq!(github.headers["x-github-delivery"], "d-1");
    let stripe: Value = serde_json::from_slice(&sign("stripe", &asked).unwrap().body).unwrap();
    assert_eq!(stripe, json!({ "id": "d-1" }));
    assert_eq!(sign("stripe", &wish()).unwrap().body, "{}");
    assert!(
        sign("github", &wish())
            .unwrap()
            .headers
            .contains_key("x-github-delivery")
    );
    assert!(sign("zoom", &asked).unwrap_err().contains("no id"));
}

#[test]
fn a_token_is_not_shown_where_it_is_to_be_hidden() {
    let hidden = Wish {
        hides_secret: true,
        ..wish()
    };
    for preset in [
        "telegram",
        "okta",
        "cloudevents",
        "eventgrid",
        "dockerhub",
        "msgraph",
    ] {
        let signed = signer(preset, "hunter2")
            .unwrap()
            .sign(draft("{}"), &hidden)
            .unwrap();
        assert!(!format!("{signed:?}").contains("hunter2"), "{preset}");
    }
    assert!(!format!("{:?}", signer("github", "hunter2").unwrap()).contains("hunter2"));
}

#[test]
fn what_the_sender_alone_can_sign_is_refused() {
    for preset in ["sns", "paypal", "pubsub", "plaid"] {
        let refusal = signer(preset, "k").unwrap_err();
        assert!(
            refusal.contains("the sender alone has"),
            "{preset}: {refusal}"
        );
    }
    assert!(
        signer("gihtub", "k")
            .unwrap_err()
            .contains("did you mean `github`")
    );
    let none = Signer::of_preset("github", None, URL.to_owned()).unwrap_err();
    assert_eq!(none, SignError::NoSecret);
    assert!(
        signer("discord-events", "k")
            .unwrap_err()
            .contains("neither PEM")
    );
}

#[tokio::test]
async fn public_key_senders_are_signed_with_the_private_half() {
    let seed = [7; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let signed = signer("discord-events", &hex(&seed)).unwrap();
    let signed = signed.sign(draft("{}"), &wish()).unwrap();
    let public = hex(pair.public_key().as_ref());
    assert_eq!(verdict("discord-events", &public, &signed).await, "ok");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let signed = signer("sendgrid", &key.serialize_pem()).unwrap();
    let signed = signed.sign(draft("[]"), &wish()).unwrap();
    let pem = key.public_key_pem();
    let public: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(verdict("sendgrid", &public, &signed).await, "ok");
}

#[test]
fn an_authorizer_s_own_scheme_and_secret_are_used() {
    let spec = compiled(json!({
        "secrets": ["k"],
        "verify": { "scheme": "hmac-sha256", "header": "x-sig", "signed": "{header:x-nonce}.{body}" },
    }))
    .unwrap();
    let signed = Signer::of_authorizer(&spec, None, None).unwrap();
    let signed = signed.sign(draft("{}"), &wish()).unwrap();
    assert!(signed.headers.contains_key("x-nonce") && signed.headers.contains_key("x-sig"));
}
