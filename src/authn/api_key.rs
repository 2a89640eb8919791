//! API keys: known by their SHA-256, sent in a header or (deprecated) in the query.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{AuthnError, Caller, Kind};
use crate::model::call::Call;
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// The key of `config/quickstart.yaml`. Everyone knows it, so a configuration that takes it is warned about wherever
/// strangers can reach it.
pub const DEMO_KEY: &str = "psk_demo5f0c7d2be14a49c3a86f3d9b1e7c2a40";

/// API keys: where a caller may put one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `header:NAME` or `query:NAME`, tried in order. Query strings end up in other people's logs: deprecated, a
    /// warning. Default: `[header:x-api-key]`.
    pub from: Option<Vec<String>>,
}

/// Where a key may stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    Header(HeaderName),
    Query(String),
}

/// A compiled `api_key` authorizer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    from: Vec<KeySource>,
}

/// A key as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub id: Arc<str>,
    pub enabled: bool,
}

/// Every configured key, by the SHA-256 of its text. One look-up a request, whatever their number.
#[derive(Debug, Default)]
pub struct ApiKeys {
    by_hash: HashMap<[u8; 32], KeyEntry>,
    /// How many requests brought their key in the query.
    from_query: AtomicU64,
}

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no API key was sent")]
    Missing,
    #[error("the API key is not known")]
    Unknown,
    #[error("the API key {0} is disabled")]
    Disabled(Arc<str>),
}

impl From<Refused> for AuthnError {
    fn from(refused: Refused) -> AuthnError {
        let cause = refused.to_string();
        match refused {
            Refused::Missing => {
                AuthnError::new(Kind::ApiKey, "This route needs an API key.", cause)
            }
            Refused::Unknown | Refused::Disabled(_) => {
                AuthnError::new(Kind::ApiKey, "The API key is not accepted.", cause).wrong()
            }
        }
    }
}

impl FromStr for KeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("header", name)) => name
                .parse()
                .map(KeySource::Header)
                .map_err(|_| format!("{name:?} is not a header name")),
            Some(("query", name)) if !name.is_empty() => Ok(KeySource::Query(name.to_owned())),
            _ => Err(format!(
                "{text:?} is not a place for a key; allowed: `header:NAME`, `query:NAME`"
            )),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::Header(name) => write!(f, "header:{name}"),
            KeySource::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            from: vec![KeySource::Header(HeaderName::from_static("x-api-key"))],
        }
    }
}

impl Config {
    pub(super) fn compile(&self, at: &ConfigPath, problems: &mut Problems) -> Option<Spec> {
        let Some(written) = &self.from else {
            return Some(Spec::default());
        };
        let at = at.key("from");
        if written.is_empty() {
            problems
                .error(&at, "the list is empty, so no key could ever be found")
                .help("write [header:x-api-key]");
        }
        let mut from = Vec::new();
        for (index, text) in written.iter().enumerate() {
            match text.parse::<KeySource>() {
                Ok(source) => {
                    if matches!(source, KeySource::Query(_)) {
                        problems
                            .warning(
                                &at.index(index),
                                "a key in the query ends up in logs, histories and referrers",
                            )
                            .help("move callers to a header, then remove this");
                    }
                    from.push(source);
                }
                Err(refusal) => {
                    problems.error(&at.index(index), refusal);
                }
            }
        }
        (!from.is_empty()).then_some(Spec { from })
    }
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        self.from
            .iter()
            .map(KeySource::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// What a key is known by.
pub fn hash_of(key: &[u8]) -> [u8; 32] {
    let mut hash = [0u8; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
    hash
}

/// The digest in `sha256:<64 hexadecimal digits>`.
pub fn parse_hash(text: &str) -> Result<[u8; 32], String> {
    let refused =
        || "write `sha256:` and the 64 hexadecimal digits of the key's SHA-256".to_owned();
    let digits = text
        .strip_prefix("sha256:")
        .filter(|digits| digits.len() == 64 && digits.is_ascii())
        .ok_or_else(refused)?;
    let mut hash = [0u8; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| refused())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| refused())?;
    }
    Ok(hash)
}

impl ApiKeys {
    /// The keys of a configuration.
    pub fn new(keys: impl IntoIterator<Item = ([u8; 32], KeyEntry)>) -> ApiKeys {
        ApiKeys {
            by_hash: keys.into_iter().collect(),
            from_query: AtomicU64::new(0),
        }
    }

    /// How many requests brought their key in the query since the start.
    pub fn from_query(&self) -> u64 {
        self.from_query.load(Ordering::Relaxed)
    }

    fn find(&self, key: &[u8]) -> Result<Arc<str>, Refused> {
        if key.is_empty() {
            return Err(Refused::Missing);
        }
        match self.by_hash.get(&hash_of(key)) {
            Some(entry) if entry.enabled => Ok(entry.id.clone()),
            Some(entry) => Err(Refused::Disabled(entry.id.clone())),
            None => Err(Refused::Unknown),
        }
    }
}

/// The live `api_key` authorizer.
#[derive(Debug)]
pub struct ApiKeyAuthenticator {
    spec: Spec,
    keys: Arc<ApiKeys>,
}

impl ApiKeyAuthenticator {
    pub(super) fn new(spec: Spec, keys: Arc<ApiKeys>) -> ApiKeyAuthenticator {
        ApiKeyAuthenticator { spec, keys }
    }

    /// Adds to the caller the key that the call brings.
    pub(super) fn authenticate(
        &self,
        presented: &Presented<'_>,
        caller: &mut Caller,
    ) -> Result<(), AuthnError> {
        let key = self.find(presented.call)?;
        let identity = &mut caller.identity;
        identity.principal.get_or_insert_with(|| key.clone());
        identity.api_key.get_or_insert(key);
        Ok(())
    }

    /// The id of the key that the call brings. The first place that holds a key decides. A header sent twice is not
    /// one key.
    fn find(&self, call: &Call) -> Result<Arc<str>, Refused> {
        for source in &self.spec.from {
            match source {
                KeySource::Header(name) => {
                    let mut values = call.headers.get_all(name).iter();
                    match (values.next(), values.next()) {
                        (None, _) => {}
                        (Some(value), None) => return self.keys.find(value.as_bytes()),
                        (Some(_), Some(_)) => return Err(Refused::Unknown),
                    }
                }
                KeySource::Query(name) => {
                    if let Some(value) = call.query(name) {
                        self.keys.from_query.fetch_add(1, Ordering::Relaxed);
                        return self.keys.find(&value);
                    }
                }
            }
        }
        Err(Refused::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Arc<ApiKeys> {
        let entry = |id: &str, enabled| KeyEntry {
            id: id.into(),
            enabled,
        };
        Arc::new(ApiKeys::new([
            (hash_of(b"good"), entry("acme", true)),
            (hash_of(b"old"), entry("former", false)),
        ]))
    }

    fn call(uri: &str, headers: &[&str]) -> Call {
        let mut request = http::Request::builder().uri(uri);
        for value in headers {
            request = request.header("x-api-key", *value);
        }
        let any = "127.0.0.1:1".parse().unwrap();
        let peer = crate::model::peer::Peer::tcp(any, any, "public");
        Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer))
    }

    #[test]
    fn a_key_is_found_by_its_hash_and_refused_by_what_is_wrong_with_it() {
        let header = ApiKeyAuthenticator::new(Spec::default(), keys());
        assert_eq!(header.find(&call("/", &["good"])).as_deref(), Ok("acme"));
        assert_eq!(header.find(&call("/", &[])), Err(Refused::Missing));
        assert_eq!(header.find(&call("/", &[""])), Err(Refused::Missing));
        assert_eq!(header.find(&call("/", &["bad"])), Err(Refused::Unknown));
        assert_eq!(
            header.find(&call("/", &["old"])),
            Err(Refused::Disabled("former".into()))
        );
        assert_eq!(
            header.find(&call("/", &["good", "good"])),
            Err(Refused::Unknown)
        );
        assert_eq!(
            header.find(&call("/?apiKey=good", &[])),
            Err(Refused::Missing)
        );
    }

    #[test]
    fn a_key_in_the_query_is_taken_where_configured_and_counted() {
        let mut problems = Problems::default();
        let config = Config {
            from: Some(vec!["header:x-api-key".into(), "query:apiKey".into()]),
        };
        let spec = config.compile(&ConfigPath::root(), &mut problems).unwrap();
        assert_eq!((problems.errors(), problems.0.len()), (0, 1));
        let both = ApiKeyAuthenticator::new(spec, keys());
        assert_eq!(
            both.find(&call("/?apiKey=good", &[])).as_deref(),
            Ok("acme")
        );
        assert_eq!(
            both.find(&call("/?apiKey=good", &["bad"])),
            Err(Refused::Unknown)
        );
        assert_eq!(both.keys.from_query(), 1);
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        assert_eq!(
            parse_hash(&format!("sha256:{}", "0F".repeat(32))),
            Ok([15; 32])
        );
        for wrong in [
            "",
            "sha256:",
            "md5:00",
            &format!("sha256:{}", "g".repeat(64)),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            assert!(parse_hash(wrong).is_err(), "{wrong}");
        }
    }
}
