//! Secrets: from the text that a sender shows to a key, decoded when the configuration is compiled, and when each counts.

use std::fmt;

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use super::request::from_hex;
use super::written::{KeyEncoding, Scheme};
use crate::model::secret::Secret;

/// Padding or none: senders' secrets come both ways.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A secret, decoded, with the time in which it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretSpec {
    pub(super) bytes: Secret<Vec<u8>>,
    /// Seconds since 1970, included.
    pub(super) from: Option<i64>,
    /// Seconds since 1970, not included.
    pub(super) until: Option<i64>,
}

/// How secrets' texts are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeySpec {
    pub(super) strip: Option<String>,
    pub(super) encoding: KeyEncoding,
}

/// What a secret is to a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Mac(hmac::Algorithm),
    /// Compared as it is, or hashed with the delivery.
    Plain,
    Public(PublicAlgorithm),
}

/// A public-key algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublicAlgorithm {
    Ed25519,
    EcdsaP256,
    Rsa,
}

impl PublicAlgorithm {
    fn verifier(self) -> &'static dyn VerificationAlgorithm {
        match self {
            PublicAlgorithm::Ed25519 => &ED25519,
            PublicAlgorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            PublicAlgorithm::Rsa => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

/// What the scheme makes of its secrets; `None` where it has none.
pub(super) fn use_of(scheme: Scheme) -> Option<Use> {
    Some(match scheme {
        Scheme::HmacSha1 | Scheme::Twilio => Use::Mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        Scheme::HmacSha256 => Use::Mac(hmac::HMAC_SHA256),
        Scheme::HmacSha512 => Use::Mac(hmac::HMAC_SHA512),
        Scheme::Ed25519 => Use::Public(PublicAlgorithm::Ed25519),
        Scheme::EcdsaP256Sha256 => Use::Public(PublicAlgorithm::EcdsaP256),
        Scheme::RsaPkcs1Sha256 => Use::Public(PublicAlgorithm::Rsa),
        Scheme::HashSha256 | Scheme::Token | Scheme::Basic | Scheme::Jwt => Use::Plain,
        Scheme::None | Scheme::Sns | Scheme::Paypal => return None,
    })
}

impl KeySpec {
    /// The key in a secret's text. The error says what is wrong without showing any of it.
    pub(super) fn decode(&self, text: &str, usage: Use) -> Result<Vec<u8>, String> {
        let text = match &self.strip {
            Some(strip) => text.strip_prefix(strip.as_str()).unwrap_or(text),
            None => text,
        };
        let bytes = match self.encoding {
            KeyEncoding::Utf8 => text.as_bytes().to_vec(),
            KeyEncoding::Hex | KeyEncoding::RawHex => {
                from_hex(text.as_bytes()).ok_or("it is not hex")?
            }
            KeyEncoding::Base64 | KeyEncoding::RawBase64 => {
                LENIENT.decode(text).map_err(|_| "it is not base64")?
            }
            KeyEncoding::SpkiBase64 => LENIENT
                .decode(text.trim())
                .map_err(|_| "it is not base64")?,
            KeyEncoding::Pem => public_key_of_pem(text)?,
        };
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let public = matches!(
            self.encoding,
            KeyEncoding::RawHex
                | KeyEncoding::RawBase64
                | KeyEncoding::SpkiBase64
                | KeyEncoding::Pem
        );
        match usage {
            Use::Public(algorithm) => {
                if !public {
                    return Err("this scheme takes public keys; say how they are written with `verify.key.encoding`: raw-hex, raw-base64, spki-base64 or pem".to_owned());
                }
                ParsedPublicKey::new(algorithm.verifier(), &bytes)
                    .map_err(|_| "it is no public key of this scheme".to_owned())?;
            }
            Use::Mac(_) | Use::Plain if public => {
                return Err("this scheme takes a shared secret, and `verify.key.encoding` says that it is a public key".to_owned());
            }
            Use::Mac(_) | Use::Plain => {}
        }
        Ok(bytes)
    }
}

fn public_key_of_pem(text: &str) -> Result<Vec<u8>, String> {
    if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()) {
        return Ok(key.as_ref().to_vec());
    }
    let certificate = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "it is neither a public key nor a certificate in PEM")?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate)
        .map_err(|_| "the certificate cannot be read")?;
    Ok(certificate.public_key().raw.to_vec())
}

/// A key, ready for use: the key schedule of a MAC is paid once.
pub(super) enum Key {
    Mac(Box<hmac::Key>),
    /// The SHA-256 of the secret, by which texts are compared.
    Plain([u8; 32]),
    Public(Box<ParsedPublicKey>),
}

/// A secret that deliveries are held against.
pub(super) struct Held {
    pub(super) bytes: Secret<Vec<u8>>,
    pub(super) key: Key,
    from: Option<i64>,
    until: Option<i64>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held(redacted)")
    }
}

impl Held {
    /// `None` for bytes that compiling would have refused.
    pub(super) fn new(secret: &SecretSpec, usage: Use) -> Option<Held> {
        let bytes = secret.bytes.expose();
        let key = match usage {
            Use::Mac(algorithm) => Key::Mac(Box::new(hmac::Key::new(algorithm, bytes))),
            Use::Plain => Key::Plain(sha256(bytes)),
            Use::Public(algorithm) => Key::Public(Box::new(
                ParsedPublicKey::new(algorithm.verifier(), bytes).ok()?,
            )),
        };
        Some(Held {
            bytes: secret.bytes.clone(),
            key,
            from: secret.from,
            until: secret.until,
        })
    }

    /// Whether it counts at a time, in seconds since 1970.
    pub(super) fn counts(&self, now: i64) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Whether two texts are the same, in a time that says nothing of either but what the first one's length tells.
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(&sha256(left), &sha256(right)).is_ok()
}

/// Standard base64 with its padding, as signatures are written.
pub(super) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: KeyEncoding, text: &str) -> Result<Vec<u8>, String> {
        let spec = KeySpec {
            strip: Some("whsec_".to_owned()),
            encoding,
        };
        spec.decode(text, Use::Mac(hmac::HMAC_SHA256))
    }

    #[test]
    fn a_secret_s_text_is_decoded_as_its_scheme_says() {
        assert_eq!(
            decoded(KeyEncoding::Utf8, "whsec_YQ==").unwrap(),
            b"YQ==".to_vec()
        );
        for text in ["whsec_YQ==", "whsec_YQ", "YQ=="] {
            assert_eq!(decoded(KeyEncoding::Base64, text).unwrap(), b"a".to_vec());
        }
        assert_eq!(decoded(KeyEncoding::Hex, "6A6b").unwrap(), b"jk".to_vec());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for (encoding, text) in [
            (KeyEncoding::Base64, "hunter!2"),
            (KeyEncoding::Hex, "hunter2"),
            (KeyEncoding::Utf8, "whsec_"),
            (KeyEncoding::Pem, "hunter2"),
            (KeyEncoding::RawHex, "6a6b"),
        ] {
            let refusal = decoded(encoding, text).unwrap_err();
            assert!(!refusal.contains("hunter"), "{refusal}");
        }
        let short = KeySpec {
            strip: None,
            encoding: KeyEncoding::RawHex,
        };
        assert!(
            short
                .decode("6a6b", Use::Public(PublicAlgorithm::Ed25519))
                .is_err()
        );
        let secret = SecretSpec {
            bytes: Secret::new(b"hunter2".to_vec()),
            from: Some(10),
            until: Some(20),
        };
        let held = Held::new(&secret, Use::Plain).unwrap();
        assert!(!format!("{held:?} {secret:?}").contains("hunter"));
        assert_eq!(
            [9, 10, 19, 20].map(|now| held.counts(now)),
            [false, true, true, false]
        );
    }
}
