//! Keys that tokens are checked with: read out of a JWK set (RFC 7517), or a secret. A key knows which algorithms it is
//! for, by its type, curve, `use`, `key_ops` and `alg`; no token can talk it into another.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::Value;

use super::compact::Compact;
use super::json::{self, Object};
use super::refusal::Refusal;
use crate::model::secret::Secret;

/// RSA keys that are shorter are refused (RFC 7518, 3.3), and longer ones buy CPU time for those who forge.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key, and what it may be used for.
#[derive(Clone)]
pub(super) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    /// What tells it from others: its numbers.
    material: Secret<Vec<u8>>,
    decoding: DecodingKey,
}

/// The keys of an issuer at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// A set as read: what can be used, and why the rest cannot.
#[derive(Debug)]
pub(super) struct Read {
    pub set: KeySet,
    pub unusable: Vec<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.kid == other.kid
            && self.algorithms == other.algorithms
            && self.material == other.material
    }
}

impl KeySet {
    /// A secret that both sides know, for HS256 alone.
    pub(super) fn of_secret(secret: &Secret<String>) -> KeySet {
        let bytes = secret.expose().as_bytes();
        let key = Key {
            kid: None,
            algorithms: vec![Algorithm::HS256],
            material: Secret::new(bytes.to_vec()),
            decoding: DecodingKey::from_secret(bytes),
        };
        KeySet {
            keys: vec![Arc::new(key)],
        }
    }

    /// Reads a JWK set. Keys that cannot be used here are left out: a set may hold what others need. `before`: the
    /// set that it replaces; a key that is in both stays the same [`Arc`], by which tokens remember it.
    pub(super) fn read(text: &[u8], before: Option<&KeySet>) -> Result<Read, &'static str> {
        let document =
            json::object(text).ok_or("it is not a JSON object, or says something twice")?;
        let Some(Value::Array(listed)) = document.get("keys") else {
            return Err("it has no list of `keys`");
        };
        let (mut keys, mut unusable) = (Vec::<Arc<Key>>::new(), Vec::new());
        for (index, jwk) in listed.iter().enumerate() {
            match jwk.as_object().ok_or("it is no object").and_then(Key::read) {
                Ok(key) if keys.iter().any(|known| **known == key) => {}
                Ok(key) => {
                    let known = before.and_then(|set| set.keys.iter().find(|k| ***k == key));
                    keys.push(known.cloned().unwrap_or_else(|| Arc::new(key)));
                }
                Err(why) => unusable.push(format!("key {index}: {why}")),
            }
        }
        Ok(Read {
            set: KeySet { keys },
            unusable,
        })
    }

    /// Whether no key is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether that very key is still in it.
    pub(super) fn holds(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key))
    }

    /// The one key that fits what the token says. A token without `kid` is checked only where no choice is left
    /// (reference, 4.2); where two fit, neither is meant for certain.
    pub(super) fn fitting(&self, token: &Compact<'_>) -> Option<&Arc<Key>> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithms.contains(&token.algorithm)
                && (token.kid.is_none() || token.kid == key.kid || key.is_secret())
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }

    /// Whether a newer set might have a key where this one has none that fits: not where the token's key is here and is
    /// for other algorithms, nor where several fit.
    pub(super) fn may_be_outdated_for(&self, token: &Compact<'_>) -> bool {
        self.keys.iter().all(|key| match token.kid {
            Some(_) => key.kid != token.kid,
            None => !key.algorithms.contains(&token.algorithm),
        })
    }
}

impl Key {
    fn is_secret(&self) -> bool {
        self.decoding.family() == AlgorithmFamily::Hmac
    }

    /// Checks the signature. The algorithm is one that the key is for, because [`KeySet::fitting`] has chosen it.
    pub(super) fn verify(&self, token: &Compact<'_>) -> Result<(), Refusal> {
        let checked = jsonwebtoken::crypto::verify(
            token.signature,
            token.signed,
            &self.decoding,
            token.algorithm,
        );
        match checked {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Refusal::Signature),
        }
    }

    fn read(jwk: &Object) -> Result<Key, &'static str> {
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("its `kid` is no text"),
        };
        match jwk.get("use") {
            None => {}
            Some(purpose) if purpose == "sig" => {}
            Some(_) => return Err("its `use` is not `sig`"),
        }
        match jwk.get("key_ops") {
            None => {}
            Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
            Some(_) => return Err("its `key_ops` have no `verify`"),
        }
        let (mut algorithms, material, decoding) = match text(jwk, "kty")? {
            "RSA" => rsa(jwk)?,
            "EC" => elliptic(jwk)?,
            "OKP" => edwards(jwk)?,
            _ => return Err("its `kty` is not RSA, EC or OKP"),
        };
        if let Some(only) = jwk.get("alg") {
            let only: Option<Algorithm> = only.as_str().and_then(|name| name.parse().ok());
            algorithms.retain(|algorithm| Some(*algorithm) == only);
            if algorithms.is_empty() {
                return Err("its `alg` is not one of its kind's");
            }
        }
        Ok(Key {
            kid,
            algorithms,
            material: Secret::new(material),
            decoding,
        })
    }
}

type Parts = (Vec<Algorithm>, Vec<u8>, DecodingKey);

fn rsa(jwk: &Object) -> Result<Parts, &'static str> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let n = without_leading_zeros(&n);
    let e = without_leading_zeros(&e);
    let bits = n
        .first()
        .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err("it has not 2048 to 8192 bits");
    }
    // 1 would make every signature its own message, and an even exponent is none.
    if e.len() > 8 || matches!(e, [] | [1]) || e.last().is_some_and(|last| last % 2 == 0) {
        return Err("its exponent is no exponent");
    }
    let material = [b"RSA", n, b"/", e].concat();
    let algorithms = AlgorithmFamily::Rsa.algorithms().to_vec();
    Ok((
        algorithms,
        material,
        DecodingKey::from_rsa_raw_components(n, e),
    ))
}

fn elliptic(jwk: &Object) -> Result<Parts, &'static str> {
    let (algorithm, length, curve): (_, _, &'static dyn VerificationAlgorithm) =
        match text(jwk, "crv")? {
            "P-256" => (Algorithm::ES256, 32, &signature::ECDSA_P256_SHA256_FIXED),
            "P-384" => (Algorithm::ES384, 48, &signature::ECDSA_P384_SHA384_FIXED),
            _ => return Err("its curve is not P-256 or P-384"),
        };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    if x.len() != length || y.len() != length || ParsedPublicKey::new(curve, &point).is_err() {
        return Err("it is no point of its curve");
    }
    let decoding = DecodingKey::from_ec_der(&point);
    Ok((
        vec![algorithm],
        [b"EC", point.as_slice()].concat(),
        decoding,
    ))
}

fn edwards(jwk: &Object) -> Result<Parts, &'static str> {
    if text(jwk, "crv")? != "Ed25519" {
        return Err("its curve is not Ed25519");
    }
    let x = bytes(jwk, "x")?;
    if ParsedPublicKey::new(&signature::ED25519, &x).is_err() {
        return Err("it is no point of its curve");
    }
    let decoding = DecodingKey::from_ed_der(&x);
    Ok((
        vec![Algorithm::EdDSA],
        [b"OKP", x.as_slice()].concat(),
        decoding,
    ))
}

fn text<'j>(jwk: &'j Object, name: &str) -> Result<&'j str, &'static str> {
    jwk.get(name)
        .and_then(Value::as_str)
        .ok_or("it lacks a member")
}

fn bytes(jwk: &Object, name: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD
        .decode(text(jwk, name)?)
        .map_err(|_| "a member of it is not base64url")
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
