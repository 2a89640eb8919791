//! Tokens, as written: the algorithms, where keys come from, what claims must say.

use std::time::Duration;

use http::Uri;

use super::super::jwt::{Alg, JwtSpec, KeySource, Wanted};
use super::super::reference::Reference;
use super::super::template::Template;
use super::super::written::{Encoding, Keys, Several, Verify};
use super::{Known, carriers, noted};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};

/// How a token is checked.
pub(super) fn jwt(
    verify: &Verify,
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<JwtSpec> {
    let at = &at.key("verify");
    let mut algs = Vec::new();
    for (place, name) in verify.algs.iter().flatten().enumerate() {
        let at = at.key("algs").index(place);
        match Alg::named(name) {
            Some(alg) => algs.push(alg),
            None => {
                let names = Alg::ALL.map(|(name, _)| name);
                problems
                    .error(
                        &at,
                        format!("{name:?} is not an algorithm that is verified here"),
                    )
                    .help(match nearest(name, names) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("allowed: {}", names.join(", ")),
                    });
            }
        }
    }
    if verify.algs.as_ref().is_none_or(Vec::is_empty) {
        problems
            .error(
                at,
                "`algs` is missing: the token must not choose how it is checked",
            )
            .help("write `algs: [RS256]`");
    }
    let keys = key_source(verify.keys.as_ref(), known, at, problems)?;
    let shared = keys == KeySource::Secrets;
    if algs.iter().any(|alg| alg.mac().is_some() != shared) {
        problems
            .error(
                &at.key("algs"),
                match shared {
                    true => "`keys: { secrets: true }` goes with HS256, HS384 and HS512 only",
                    false => {
                        "HS256, HS384 and HS512 take a shared secret, and these keys are public"
                    }
                },
            )
            .help("an algorithm of the other kind would turn a public key into a secret");
    }
    let templates = |written: &Option<Several>, name: &str, problems: &mut Problems| {
        let texts = written.iter().flat_map(|several| &several.0);
        texts
            .filter_map(|text| constant(text, known, &at.key(name), problems))
            .collect::<Vec<_>>()
    };
    let iss = templates(&verify.iss, "iss", problems);
    let aud = templates(&verify.aud, "aud", problems);
    let mut claims = Vec::new();
    for (name, value) in &verify.claims {
        let at = at.key("claims").key(name);
        let wanted = match value {
            serde_json::Value::String(text) => {
                constant(text, known, &at, problems).map(Wanted::Text)
            }
            other => Some(Wanted::Value(other.clone())),
        };
        claims.extend(wanted.map(|wanted| (name.clone(), wanted)));
    }
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Some(JwtSpec {
        carrier: carriers::own_or(verify, "authorization", known, at, problems)?,
        algs,
        keys,
        iss,
        aud,
        claims,
        max_age: verify.max_age.map(|span| seconds(span.0)),
        leeway: verify.leeway.map_or(30, |span| seconds(span.0)),
        body_hash: verify
            .body_hash
            .as_ref()
            .map(|hash| (hash.claim.clone(), hash.encoding.unwrap_or(Encoding::Hex))),
    })
}

/// A template whose value is the same for every request.
fn constant(
    text: &str,
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Template> {
    let template = noted(Template::parse(text), at, problems)?;
    for hole in template.holes() {
        if !matches!(hole.reference, Reference::Setting(_) | Reference::PublicUrl) {
            problems
                .error(at, format!("`{}` cannot stand here", hole.reference))
                .help("allowed: `{config:NAME}` and `{public_url}`");
        }
        known.check(&hole.reference, true, at, problems);
    }
    Some(template)
}

fn key_source(
    keys: Option<&Keys>,
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<KeySource> {
    let at = at.key("keys");
    let keys = keys.cloned().unwrap_or_default();
    match (&keys.jwks, keys.secrets, keys.code.as_deref()) {
        (Some(url), None, None) => {
            let uri = url.parse::<Uri>().ok();
            let web = uri.is_some_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
            });
            if !web {
                problems
                    .error(&at.key("jwks"), format!("{url:?} is not a URL"))
                    .help("such as https://www.googleapis.com/oauth2/v3/certs");
            }
            Some(KeySource::Jwks(url.clone()))
        }
        (None, Some(true), None) => Some(KeySource::Secrets),
        (None, None, Some("plaid")) => {
            for name in ["client_id", "secret"] {
                known.check(&Reference::Setting(name.to_owned()), true, &at, problems);
            }
            Some(KeySource::Plaid)
        }
        (None, None, Some(other)) => {
            problems
                .error(
                    &at.key("code"),
                    format!("there is no key look-up called {other:?}"),
                )
                .help("allowed: plaid");
            None
        }
        _ => {
            problems
                .error(&at, "exactly one place where keys come from is needed")
                .help("write `jwks: URL`, `secrets: true` or `code: plaid`");
            None
        }
    }
}
