//! One issuer of tokens, as people write it: whom its tokens are for, and where its keys are.

use std::sync::Arc;

use http::Uri;
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::Deserialize;

use super::key::KeySet;
use super::names::Names;
use super::origin::{Use, endpoint};
use super::settings::PUBLIC_KEY_ALGORITHMS;
use crate::authn::sigv4::SecretText;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// The vendor's limit on audiences (reference, 4.3).
const MAX_AUDIENCES: usize = 50;
/// RFC 7518, 3.2: a secret of HS256 is no shorter than its hash.
const MIN_SECRET: usize = 32;

/// One of several issuers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "JwtIssuer")]
pub struct Issuer {
    /// The issuer's URL, exactly as tokens say it in `iss`.
    pub issuer: String,
    /// Whom its tokens are for. Up to 50.
    pub audience: Names,
    /// Where its keys are, in place of what its discovery document says.
    pub jwks_uri: Option<String>,
    /// Its keys themselves (a JWK set).
    pub jwks: Option<String>,
    /// The secret that it shares, for HS256.
    pub secret: Option<SecretText>,
}

/// A compiled issuer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IssuerSpec {
    pub issuer: Arc<str>,
    pub audience: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub keys: KeyPlace,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum KeyPlace {
    /// Named by the discovery document, which is there.
    Discovered(Uri),
    /// There.
    At(Uri),
    /// In the configuration.
    Written(KeySet),
}

impl Issuer {
    /// `chosen`: the algorithms that are written, or none.
    pub(super) fn compile(
        &self,
        at: &ConfigPath,
        chosen: &[Algorithm],
        problems: &mut Problems,
    ) -> Option<IssuerSpec> {
        let before = problems.errors();
        if self.audience.0.is_empty() {
            problems
                .error(
                    &at.key("audience"),
                    "no audience is written, so tokens for others would do",
                )
                .help("write who you are to the issuer: `audience: [shop]`");
        } else if self.audience.0.len() > MAX_AUDIENCES {
            problems.error(
                &at.key("audience"),
                format!(
                    "{} audiences; allowed: up to {MAX_AUDIENCES}",
                    self.audience.0.len()
                ),
            );
        } else if self.audience.0.iter().any(String::is_empty) {
            problems.error(&at.key("audience"), "an audience is empty");
        }
        let keys = self.keys(at, problems);
        let algorithms: Vec<Algorithm> = if self.secret.is_some() {
            vec![Algorithm::HS256]
        } else {
            PUBLIC_KEY_ALGORITHMS.to_vec()
        };
        let algorithms: Vec<Algorithm> = algorithms
            .into_iter()
            .filter(|algorithm| chosen.is_empty() || chosen.contains(algorithm))
            .collect();
        if algorithms.is_empty() && !chosen.is_empty() {
            let (place, message, help) = if self.secret.is_some() {
                (
                    "secret",
                    "a secret is for HS256, which `algorithms` does not accept",
                    "leave `algorithms` out, or the secret",
                )
            } else {
                (
                    "issuer",
                    "its keys are public, and `algorithms` accepts HS256 alone",
                    "name an algorithm for public keys too",
                )
            };
            problems.error(&at.key(place), message).help(help);
        }
        (problems.errors() == before).then_some(IssuerSpec {
            issuer: self.issuer.as_str().into(),
            audience: self.audience.0.clone(),
            algorithms,
            keys: keys?,
        })
    }

    fn keys(&self, at: &ConfigPath, problems: &mut Problems) -> Option<KeyPlace> {
        let places = [
            ("jwks_uri", self.jwks_uri.is_some()),
            ("jwks", self.jwks.is_some()),
            ("secret", self.secret.is_some()),
        ];
        let written: Vec<&str> = places.iter().filter(|p| p.1).map(|p| p.0).collect();
        if let [first, second, ..] = written.as_slice() {
            problems
                .error(
                    &at.key(*second),
                    format!("`{second}` stands beside `{first}`; keys come from one place"),
                )
                .help(format!("leave `{first}` or `{second}` out"));
            return None;
        }
        let discovered = written.is_empty();
        // Where keys are written down, the issuer is a name; where it is asked for them, it has to be an address too.
        let issuer = if discovered || self.issuer.contains("://") || self.issuer.is_empty() {
            endpoint(
                &self.issuer,
                Use::Issuer {
                    fetched: discovered,
                },
                &at.key("issuer"),
                problems,
            )
        } else {
            None
        };
        if let Some(secret) = &self.secret {
            if secret.0.expose().len() < MIN_SECRET {
                problems
                    .error(&at.key("secret"), "the secret is shorter than 32 bytes")
                    .help("HS256 is as strong as its secret: `openssl rand -base64 48`");
            }
            return Some(KeyPlace::Written(KeySet::of_secret(&secret.0)));
        }
        if let Some(text) = &self.jwks {
            return written_keys(text, &at.key("jwks"), problems).map(KeyPlace::Written);
        }
        if let Some(uri) = &self.jwks_uri {
            return endpoint(uri, Use::Keys, &at.key("jwks_uri"), problems).map(KeyPlace::At);
        }
        let issuer = issuer?;
        let document = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.strip_suffix('/').unwrap_or(&self.issuer)
        );
        Some(KeyPlace::Discovered(document.parse().unwrap_or(issuer)))
    }
}

fn written_keys(text: &str, at: &ConfigPath, problems: &mut Problems) -> Option<KeySet> {
    match KeySet::read(text.as_bytes(), None) {
        Ok(read) => {
            for why in &read.unusable {
                problems.warning(at, format!("{why}; it is left out"));
            }
            if read.set.is_empty() {
                problems
                    .error(at, "the set has no key that tokens could be checked with")
                    .help("a JWK set is `{\"keys\":[…]}` with RSA, EC or OKP keys for signatures");
                return None;
            }
            Some(read.set)
        }
        Err(why) => {
            problems
                .error(at, format!("this is no JWK set: {why}"))
                .help("write `${file:keys.json}` for a file that holds `{\"keys\":[…]}`");
            None
        }
    }
}
