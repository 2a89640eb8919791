//! Keys that sign, tokens made of any header and claims, and an authorizer to bring them to.

mod attacks;
mod fetching;
mod remembering;
mod written;

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::authn::Kind;
use crate::model::call::Call;
use crate::model::path::ConfigPath;
use crate::model::peer::Peer;
use crate::model::problem::Problems;

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://idp.example.com";

/// A key that signs.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Signer {
    pub(super) fn rsa() -> Signer {
        Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(super) fn p256() -> Signer {
        let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        Signer::Ec(EcdsaKeyPair::generate(curve).unwrap())
    }

    fn p384() -> Signer {
        let curve = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
        Signer::Ec(EcdsaKeyPair::generate(curve).unwrap())
    }

    fn ed25519() -> Signer {
        Signer::Ed(Ed25519KeyPair::generate().unwrap())
    }

    /// The public half as a JWK.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Signer::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero();
                let e = public.exponent().big_endian_without_leading_zero();
                json!({"kty": "RSA", "kid": kid, "n": text(n), "e": text(e)})
            }
            Signer::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let half = (point.len() - 1) / 2;
                let curve = if half == 32 { "P-256" } else { "P-384" };
                let (x, y) = (&point[1..=half], &point[1 + half..]);
                json!({"kty": "EC", "crv": curve, "kid": kid, "x": text(x), "y": text(y)})
            }
            Signer::Ed(pair) => {
                let x = pair.public_key().as_ref();
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(x)})
            }
            Signer::Secret(bytes) => json!({"kty": "oct", "kid": kid, "k": text(bytes)}),
        }
    }

    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(pair) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut bytes).unwrap();
                bytes
            }
            Signer::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Signer::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::Secret(bytes) => {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bytes);
                aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
            }
        }
    }

    /// A token of that header and those claims, as texts.
    pub(super) fn token(&self, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let algorithm = serde_json::from_str::<Value>(header)
            .ok()
            .and_then(|header| header["alg"].as_str().map(str::to_owned))
            .unwrap_or_default();
        let signature = self.sign(&algorithm, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// One key of each kind, made once: RSA keys take a while.
pub(super) struct Keys {
    pub rsa: Signer,
    pub p256: Signer,
    p384: Signer,
    ed: Signer,
}

pub(super) static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: Signer::rsa(),
    p256: Signer::p256(),
    p384: Signer::p384(),
    ed: Signer::ed25519(),
});

pub(super) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The set of [`KEYS`].
pub(super) fn all_keys() -> String {
    let keys = &*KEYS;
    jwks(&[
        keys.rsa.jwk("rsa"),
        keys.p256.jwk("p256"),
        keys.p384.jwk("p384"),
        keys.ed.jwk("ed"),
    ])
}

/// Claims that pass, changed by `change`: what is null is taken out.
pub(super) fn claims(change: Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": "shop", "sub": "user-1", "exp": NOW + 60, "iat": NOW, "nbf": NOW,
    });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

/// The spec of a configuration that has no errors.
pub(super) fn compiled(config: &Config) -> Spec {
    let mut problems = Problems::default();
    let spec = config.compile(&ConfigPath::root(), &mut problems);
    spec.unwrap_or_else(|| panic!("{:?}", problems.0))
}

/// An issuer whose keys are written down.
pub(super) fn config(jwks: String) -> Config {
    Config {
        issuer: Some(ISSUER.into()),
        audience: names::Names(vec!["shop".into()]),
        jwks: Some(jwks),
        ..Config::default()
    }
}

pub(super) fn authenticator(config: &Config) -> JwtAuthenticator {
    JwtAuthenticator::new(
        compiled(config),
        &Client::default(),
        &Tokens::default(),
        None,
    )
}

/// What becomes of a token at that second.
pub(super) async fn bring_at(
    authenticator: &JwtAuthenticator,
    token: &str,
    now: i64,
) -> Result<Caller, AuthnError> {
    let request = http::Request::builder()
        .uri("/orders")
        .header("authorization", format!("Bearer {token}"));
    let any = "127.0.0.1:1".parse().unwrap();
    let peer = Peer::tcp(any, any, "public");
    let call = Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer));
    let presented = Presented {
        call: &call,
        api: "shop",
        stage: "$default",
        route_key: "POST /orders",
        path: "/orders",
        path_variables: &[],
        stage_variables: &IndexMap::new(),
        now,
    };
    let mut caller = Caller::anyone();
    authenticator.authenticate(&presented, &mut caller).await?;
    Ok(caller)
}

pub(super) async fn bring(
    authenticator: &JwtAuthenticator,
    token: &str,
) -> Result<Caller, AuthnError> {
    bring_at(authenticator, token, NOW).await
}

/// What is wrong with a token, in the words of the log; `ok` if nothing is.
pub(super) async fn verdict(authenticator: &JwtAuthenticator, token: &str) -> String {
    match bring(authenticator, token).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.cause,
    }
}
