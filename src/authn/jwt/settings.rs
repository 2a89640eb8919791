//! What people write of a `jwt` authorizer, and the checks of it.

use std::time::Duration;

use indexmap::IndexMap;
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::Deserialize;

use super::issuer::{Issuer, IssuerSpec};
use super::names::Names;
use super::token_source::TokenSource;
use crate::authn::sigv4::SecretText;
use crate::model::carried::Carried;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::value::{ByteSize, Span};

const MAX_LEEWAY: Duration = Duration::from_secs(60);
/// Those that are accepted where none are written, and those that can be written beside `HS256`.
pub(super) const PUBLIC_KEY_ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// JSON Web Tokens of OpenID Connect issuers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "JwtAuthorizer")]
pub struct Config {
    /// The issuer's URL, exactly as tokens say it in `iss`. Its keys are found through
    /// `ISSUER/.well-known/openid-configuration`.
    pub issuer: Option<String>,
    /// Whom tokens are for: one of these has to be in `aud`, or be `client_id` where a token has no `aud`. Up to 50.
    pub audience: Names,
    /// Where the issuer's keys are (a JWK set), in place of what its discovery document says.
    pub jwks_uri: Option<String>,
    /// The issuer's keys themselves (a JWK set), such as `${file:keys.json}`. Nothing is fetched.
    pub jwks: Option<String>,
    /// A secret of at least 32 bytes that the issuer shares; tokens are then signed with HS256, and with nothing else.
    pub secret: Option<SecretText>,
    /// Several issuers, each with an audience and keys of its own, in place of the five keys above.
    pub issuers: Vec<Issuer>,
    /// Signature algorithms that are accepted. Default: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and
    /// EdDSA, each only with keys made for it; HS256 where a secret is configured.
    pub algorithms: Vec<String>,
    /// How far the issuer's clock may be off, for `exp`, `nbf` and `iat`: 0 to 60s. Default: 0.
    pub leeway: Option<Span>,
    /// Where the token stands: `$request.header.NAME` or `$request.querystring.NAME`, as it is or after `Bearer `.
    /// Query strings end up in other people's logs: a warning. Default: `$request.header.authorization`.
    pub identity_source: Option<String>,
    /// Further claims that a token has to have: by name, the value or the list of values of which it has to be one. A
    /// claim that is a list has to hold one of them. Numbers and booleans are compared as their text.
    #[schemars(with = "std::collections::BTreeMap<String, Names>")]
    pub claims: IndexMap<String, Names>,
    /// What is remembered of tokens and keys.
    pub cache: Cache,
}

/// What is remembered of tokens and keys.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "JwtCache")]
pub struct Cache {
    /// Memory for tokens that were verified, so that a signature is checked once and not with each request; a token is
    /// forgotten when it expires or its key is withdrawn. 0: none are kept. Default: 16MiB, about 8,000 tokens.
    pub size: Option<ByteSize>,
    /// How long keys are used while the issuer cannot be reached. Default: 24h.
    pub stale: Option<Span>,
}

/// A compiled `jwt` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub(super) issuers: Vec<IssuerSpec>,
    /// Those of all issuers.
    pub(super) algorithms: Vec<Algorithm>,
    /// Seconds.
    pub(super) leeway: i64,
    pub(super) source: TokenSource,
    pub(super) required: Vec<(String, Vec<String>)>,
    /// Bytes.
    pub(super) cache_size: u64,
    pub(super) stale: Duration,
}

impl Config {
    /// Checks what was written.
    pub(in crate::authn) fn compile(
        &self,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        let before = problems.errors();
        let written = self.issuers(at, problems);
        let chosen = self.algorithms(at, problems);
        let mut issuers = Vec::<IssuerSpec>::new();
        for (issuer, at) in &written {
            if issuers.iter().any(|known| *known.issuer == *issuer.issuer) {
                problems
                    .error(&at.key("issuer"), "the same issuer twice")
                    .help("write its audiences in one list");
            } else if let Some(issuer) = issuer.compile(at, &chosen, problems) {
                issuers.push(issuer);
            }
        }
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for algorithm in issuers.iter().flat_map(|issuer| &issuer.algorithms) {
            if !algorithms.contains(algorithm) {
                algorithms.push(*algorithm);
            }
        }
        if chosen.contains(&Algorithm::HS256) && !written.iter().any(|(i, _)| i.secret.is_some()) {
            problems
                .error(
                    &at.key("algorithms"),
                    "HS256 is for a secret, and none is written",
                )
                .help("write `secret`, or leave HS256 out");
        }
        let leeway = self.leeway.map_or(Duration::ZERO, |span| span.0);
        if leeway > MAX_LEEWAY {
            problems.error(
                &at.key("leeway"),
                format!("{} is out of range; allowed: 0 to 60s", Span(leeway)),
            );
        } else if leeway.subsec_nanos() != 0 {
            problems
                .error(
                    &at.key("leeway"),
                    format!("{} is not whole seconds", Span(leeway)),
                )
                .help("times in tokens count seconds");
        }
        let source = self.source(at, problems);
        for (name, values) in &self.claims {
            if values.0.is_empty() {
                problems
                    .error(
                        &at.key("claims").key(name),
                        "the list is empty, so no token could have one of its values",
                    )
                    .help("write the values that are accepted");
            }
        }
        if problems.errors() > before {
            return None;
        }
        Some(Spec {
            issuers,
            algorithms,
            leeway: i64::try_from(leeway.as_secs()).unwrap_or(0),
            source: source?,
            required: self
                .claims
                .iter()
                .map(|(name, values)| (name.clone(), values.0.clone()))
                .collect(),
            cache_size: self.cache.size.map_or(16 << 20, |size| size.0),
            stale: self
                .cache
                .stale
                .map_or(Duration::from_secs(86_400), |s| s.0),
        })
    }

    /// The issuers, however they are written, each with its place.
    fn issuers(&self, at: &ConfigPath, problems: &mut Problems) -> Vec<(Issuer, ConfigPath)> {
        let alone = Issuer {
            issuer: self.issuer.clone().unwrap_or_default(),
            audience: self.audience.clone(),
            jwks_uri: self.jwks_uri.clone(),
            jwks: self.jwks.clone(),
            secret: self.secret.clone(),
        };
        if self.issuers.is_empty() {
            if self.issuer.is_none() {
                problems
                    .error(at, "no issuer is written, so no token could be checked")
                    .help("write `issuer: https://…`, or `issuers`");
                return Vec::new();
            }
            return vec![(alone, at.clone())];
        }
        let beside = [
            ("issuer", self.issuer.is_some()),
            ("audience", !alone.audience.0.is_empty()),
            ("jwks_uri", alone.jwks_uri.is_some()),
            ("jwks", alone.jwks.is_some()),
            ("secret", alone.secret.is_some()),
        ];
        for (key, _) in beside.iter().filter(|(_, written)| *written) {
            problems
                .error(&at.key(*key), format!("`{key}` stands beside `issuers`"))
                .help("write it with the issuer that it is for");
        }
        let at = at.key("issuers");
        self.issuers
            .iter()
            .enumerate()
            .map(|(index, issuer)| (issuer.clone(), at.index(index)))
            .collect()
    }

    /// The algorithms that are written; empty where the default holds.
    fn algorithms(&self, at: &ConfigPath, problems: &mut Problems) -> Vec<Algorithm> {
        let at = at.key("algorithms");
        let mut chosen = Vec::new();
        for (index, name) in self.algorithms.iter().enumerate() {
            match name.parse::<Algorithm>() {
                Ok(algorithm)
                    if algorithm == Algorithm::HS256
                        || PUBLIC_KEY_ALGORITHMS.contains(&algorithm) =>
                {
                    chosen.push(algorithm);
                }
                _ => {
                    let names: Vec<String> = PUBLIC_KEY_ALGORITHMS
                        .iter()
                        .chain(&[Algorithm::HS256])
                        .map(|algorithm| format!("{algorithm:?}"))
                        .collect();
                    let meant = nearest(name, names.iter().map(String::as_str))
                        .filter(|_| !name.eq_ignore_ascii_case("none"))
                        .map(|meant| format!("did you mean {meant}? "))
                        .unwrap_or_default();
                    problems
                        .error(
                            &at.index(index),
                            format!("{name:?} is not an algorithm that can be accepted"),
                        )
                        .help(format!("{meant}allowed: {}", names.join(", ")));
                }
            }
        }
        chosen
    }

    fn source(&self, at: &ConfigPath, problems: &mut Problems) -> Option<TokenSource> {
        let at = at.key("identity_source");
        let source = match &self.identity_source {
            None => TokenSource::default(),
            Some(text) => match text.parse() {
                Ok(source) => source,
                Err(refusal) => {
                    problems.error(&at, refusal);
                    return None;
                }
            },
        };
        if matches!(source, TokenSource::Query(_)) {
            problems
                .warning(
                    &at,
                    "a token in the query ends up in logs, histories and referrers",
                )
                .help("move callers to a header, then remove this");
        }
        Some(source)
    }
}

impl Spec {
    /// What a person reads in a table of routes.
    pub(in crate::authn) fn describe(&self) -> String {
        self.issuers
            .iter()
            .map(|issuer| &*issuer.issuer)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Where requests carry their token.
    pub(in crate::authn) fn carried(&self) -> Carried {
        match &self.source {
            TokenSource::Header(name) => Carried::Header(name.clone()),
            TokenSource::Query(name) => Carried::Query(name.clone()),
        }
    }
}
