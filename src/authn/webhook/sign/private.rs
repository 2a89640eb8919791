//! Private keys that test deliveries are signed with: PEM (PKCS #8, SEC 1, PKCS #1), or the text form in which the sender
//! shows its public keys.

use std::fmt::Display;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::super::request::from_hex;
use super::super::secret::{PublicAlgorithm, from_base64};

/// The bytes of an Ed25519 private key; what follows them is the public key.
const SEED: usize = 32;

/// A key that signs.
pub(super) enum PrivateKey {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

impl PrivateKey {
    /// The key in a text. The error shows nothing of it.
    pub(super) fn read(text: &str, algorithm: PublicAlgorithm) -> Result<PrivateKey, String> {
        let text = text.trim();
        let is_pem = text.starts_with("-----BEGIN");
        let bytes = Zeroizing::new(if is_pem {
            let key = PrivateKeyDer::from_pem_slice(text.as_bytes());
            let key = key.map_err(|_| "the PEM holds no private key that can be read")?;
            key.secret_der().to_vec()
        } else {
            // Standard Webhooks shows private keys as `whsk_` and base64.
            let bare = text.strip_prefix("whsk_").unwrap_or(text);
            let read = from_hex(bare.as_bytes()).or_else(|| from_base64(bare.as_bytes()));
            read.ok_or("the private key is neither PEM nor hex nor base64")?
        });
        let unfit = |error: &dyn Display| format!("it is no private key of this scheme: {error}");
        Ok(match algorithm {
            PublicAlgorithm::Ed25519 => PrivateKey::Ed25519(
                match bytes.get(..SEED) {
                    Some(seed) if [SEED, 2 * SEED].contains(&bytes.len()) => {
                        Ed25519KeyPair::from_seed_unchecked(seed)
                    }
                    _ => Ed25519KeyPair::from_pkcs8(&bytes),
                }
                .map_err(|error| unfit(&error))?,
            ),
            PublicAlgorithm::EcdsaP256 => PrivateKey::EcdsaP256(
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &bytes)
                    .map_err(|error| unfit(&error))?,
            ),
            PublicAlgorithm::Rsa => PrivateKey::Rsa(
                rsa::KeyPair::from_pkcs8(&bytes)
                    .or_else(|_| rsa::KeyPair::from_der(&bytes))
                    .map_err(|error| unfit(&error))?,
            ),
        })
    }

    /// The signature over a message.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "the private key cannot sign".to_owned();
        match self {
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            PrivateKey::EcdsaP256(key) => {
                let signature = key.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}
