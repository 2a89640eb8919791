//! A signed statement about a delivery, for those who consume it: who verified what, with which key, when. A compact JWS
//! (RFC 7515) over claims that name the body by its hash.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use super::coverage::Covered;
use super::request::sha256_hex;
use super::written::{Attestation, AttestationAlgorithm};
use crate::model::identity::Delivery;
use crate::model::secret::Secret;

/// A shared key has at least as many bytes.
const SHORTEST_KEY: usize = 16;

/// How statements are signed; the key has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttestationSpec {
    key: Secret<String>,
    algorithm: AttestationAlgorithm,
    kid: Option<String>,
}

/// Signs statements.
pub(super) struct Attestor {
    /// Ends in the dot.
    head: String,
    key: Key,
}

enum Key {
    Shared(Box<hmac::Key>),
    Private(Box<Ed25519KeyPair>),
}

impl fmt::Debug for Attestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attestor(redacted)")
    }
}

impl AttestationSpec {
    /// Checks the key; the error does not show it.
    pub(super) fn compile(written: &Attestation) -> Result<AttestationSpec, &'static str> {
        let spec = AttestationSpec {
            key: written.key.clone(),
            algorithm: written.algorithm,
            kid: written.kid.clone(),
        };
        match spec.algorithm {
            AttestationAlgorithm::Hs256 if written.key.expose().len() < SHORTEST_KEY => {
                Err("a shared key has at least 16 bytes")
            }
            AttestationAlgorithm::EdDsa if spec.private().is_none() => Err(
                "it is no Ed25519 private key in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` writes it",
            ),
            _ => Ok(spec),
        }
    }

    fn private(&self) -> Option<Ed25519KeyPair> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(self.key.expose().as_bytes()).ok()?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok()
    }

    /// `None` for a key that compiling would have refused.
    pub(super) fn build(&self) -> Option<Attestor> {
        let (name, key) = match self.algorithm {
            AttestationAlgorithm::Hs256 => (
                "HS256",
                Key::Shared(Box::new(hmac::Key::new(
                    hmac::HMAC_SHA256,
                    self.key.expose().as_bytes(),
                ))),
            ),
            AttestationAlgorithm::EdDsa => ("EdDSA", Key::Private(Box::new(self.private()?))),
        };
        let mut head = json!({ "alg": name, "typ": "JWT" });
        if let Some(kid) = &self.kid {
            head["kid"] = kid.as_str().into();
        }
        Some(Attestor {
            head: format!("{}.", URL_SAFE_NO_PAD.encode(head.to_string())),
            key,
        })
    }
}

impl Attestor {
    /// The statement about a delivery, and which of the values that name it are the sender's own word. `now`: seconds since 1970.
    pub(super) fn attest(
        &self,
        delivery: &Delivery,
        covered: Covered,
        body: &[u8],
        request_id: &str,
        now: i64,
    ) -> String {
        let claims = json!({
            "source": &*delivery.source,
            "preset": delivery.preset.as_deref(),
            "key": delivery.key,
            "id": delivery.id,
            "idSigned": covered.id,
            "type": delivery.kind,
            "typeSigned": covered.kind,
            "bodySha256": sha256_hex(body),
            "receivedAt": delivery.received_at,
            "requestId": request_id,
            "iat": now,
        });
        let mut statement = self.head.clone();
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut statement);
        let signature = match &self.key {
            Key::Shared(key) => URL_SAFE_NO_PAD.encode(hmac::sign(key, statement.as_bytes())),
            Key::Private(pair) => URL_SAFE_NO_PAD.encode(pair.sign(statement.as_bytes())),
        };
        statement.push('.');
        statement.push_str(&signature);
        statement
    }
}
