//! One look at an issuer: its discovery document (OpenID Connect Discovery 1.0, 4) and its JWK set, each within 1,500 ms
//! and 150,000 bytes (reference, 4.3).

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, Request, StatusCode, Uri};
use serde_json::Value;

use super::issuer::KeyPlace;
use super::json;
use super::key::{KeySet, Read};
use super::origin::named_by;
use crate::outbound::{Bounds, Client, FetchError, Named};

const BOUNDS: Bounds = Bounds {
    timeout: Duration::from_millis(1_500),
    max_body: 150_000,
};
/// How soon keys are looked at again, whatever the answer says of its age.
const FRESH_FOR: std::ops::RangeInclusive<u64> = 300..=7_200;
/// Where it says nothing.
const FRESH_BY_DEFAULT: u64 = 3_600;

/// Keys as fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub read: Read,
    /// When to look again.
    pub fresh_for: Duration,
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("the {0} cannot be fetched: {1}")]
    Fetch(&'static str, FetchError),
    #[error("the {0} was answered with the status {1}")]
    Status(&'static str, u16),
    #[error("the OIDC discovery document cannot be used: {0}")]
    Document(&'static str),
    #[error("the JWK set cannot be used: {0}")]
    Keys(&'static str),
}

const DOCUMENT: &str = "OIDC discovery document";
const KEYS: &str = "JWK set";

/// Fetches an issuer's keys. `before`: the set that they replace.
pub(super) async fn keys(
    client: &Client,
    issuer: &str,
    place: &KeyPlace,
    before: Option<&KeySet>,
) -> Result<Fetched, Failure> {
    let (uri, named) = match place {
        KeyPlace::Discovered(document) => discovered(client, issuer, document).await?,
        KeyPlace::At(uri) => (uri.clone(), Named::ByOperator),
        KeyPlace::Written(set) => {
            let read = Read {
                set: set.clone(),
                unusable: Vec::new(),
            };
            let fresh_for = Duration::from_secs(*FRESH_FOR.end());
            return Ok(Fetched { read, fresh_for });
        }
    };
    let (headers, body) = get(client, KEYS, uri, named).await?;
    let read = KeySet::read(&body, before).map_err(Failure::Keys)?;
    Ok(Fetched {
        read,
        fresh_for: fresh_for(&headers),
    })
}

/// Where the discovery document says that the keys are.
async fn discovered(client: &Client, issuer: &str, at: &Uri) -> Result<(Uri, Named), Failure> {
    let (_, body) = get(client, DOCUMENT, at.clone(), Named::ByOperator).await?;
    let document = json::object(&body).ok_or(Failure::Document(
        "it is not a JSON object, or says something twice",
    ))?;
    // Discovery 1.0, 4.3: whoever serves this may speak for this issuer alone.
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(Failure::Document("its `issuer` is another one"));
    }
    let uri = document
        .get("jwks_uri")
        .and_then(Value::as_str)
        .and_then(|text| text.parse::<Uri>().ok())
        .ok_or(Failure::Document("it has no `jwks_uri`"))?;
    let named = named_by(at, &uri).ok_or(Failure::Document(
        "its `jwks_uri` is not HTTPS, and the issuer is",
    ))?;
    Ok((uri, named))
}

async fn get(
    client: &Client,
    what: &'static str,
    uri: Uri,
    named: Named,
) -> Result<(HeaderMap, Bytes), Failure> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = uri;
    request.headers_mut().insert(
        ACCEPT,
        http::HeaderValue::from_static("application/json, application/jwk-set+json"),
    );
    let answer = client
        .send(request, named, BOUNDS)
        .await
        .map_err(|error| Failure::Fetch(what, error))?;
    if answer.status() != StatusCode::OK {
        return Err(Failure::Status(what, answer.status().as_u16()));
    }
    let (head, body) = answer.into_parts();
    Ok((head.headers, body))
}

/// How long an answer says that it is fresh (RFC 9111, 5.2.2), within bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let directives: Vec<String> = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase())
        .collect();
    let forbidden = directives
        .iter()
        .any(|directive| directive == "no-store" || directive == "no-cache");
    let seconds = if forbidden {
        0
    } else {
        directives
            .iter()
            .find_map(|directive| directive.strip_prefix("max-age="))
            .and_then(|seconds| seconds.trim_matches('"').parse().ok())
            .unwrap_or(FRESH_BY_DEFAULT)
    };
    Duration::from_secs(seconds.clamp(*FRESH_FOR.start(), *FRESH_FOR.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_long_it_is_fresh_within_5_minutes_and_2_hours() {
        for (value, seconds) in [
            (None, 3_600),
            (Some("max-age=900"), 900),
            (Some("public, Max-Age=900, must-revalidate"), 900),
            (Some("max-age=0"), 300),
            (Some("max-age=86400"), 7_200),
            (Some("no-store, max-age=900"), 300),
            (Some("max-age=soon"), 3_600),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(fresh_for(&headers).as_secs(), seconds, "{value:?}");
        }
    }
}
