//! API keys: known by their hashes (`hash`), kept in one table (`keys`), taken from where the configuration says
//! (`source`), made by `penstock keys new` (`mint`). What a key may use is its usage plan's business (`limit::usage`).

pub(crate) mod hash;
mod index;
mod keys;
mod mint;
mod source;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{AuthnError, Caller, Kind};
use crate::limit::usage::{KeyUse, Source};
use crate::model::call::Call;
use crate::model::carried::Carried;
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::secret::Secret;

pub use hash::{KeyHash, is_id_of_a_key};
pub use keys::{ApiKeys, Clash, KeyEntry, MOST_PLANS, NewKey, Refused};
pub use mint::{NoRandomness, mint, mint_salted, salt};
pub use source::{Place, Since, Written};

use source::{KeySource, Location};

/// The key of `config/quickstart.yaml`. Everyone knows it, so a configuration that takes it is warned about wherever
/// strangers can reach it.
pub const DEMO_KEY: &str = "psk_demo5f0c7d2be14a49c3a86f3d9b1e7c2a40";

/// API keys: where a caller may put one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `header:NAME`, `query:NAME`, or `authorizer` (the `usageIdentifierKey` that an authorizer before this one has
    /// answered); tried in order, and the first that holds a key decides. Query strings end up in other people's logs:
    /// deprecated, a warning. `{ query: NAME, deprecated: 2026-11-01, sunset: 2027-01-01 }` tells callers so. Default:
    /// `[header:x-api-key]`.
    pub from: Option<Vec<Written>>,
}

/// A compiled `api_key` authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    from: Vec<KeySource>,
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

impl Default for Spec {
    fn default() -> Self {
        Spec {
            from: vec![KeySource {
                location: Location::Header(http::HeaderName::from_static("x-api-key")),
                notice: None,
            }],
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
        let from: Vec<KeySource> = written
            .iter()
            .enumerate()
            .filter_map(|(index, written)| written.compile(&at.index(index), problems))
            .collect();
        (!from.is_empty()).then_some(Spec { from })
    }
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        self.from
            .iter()
            .map(|source| source.location.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Where requests carry keys.
    pub(super) fn carried(&self) -> Vec<Carried> {
        let places = self.from.iter();
        let places = places.filter_map(|source| match &source.location {
            Location::Header(name) => Some(Carried::Header(name.clone())),
            Location::Query(name) => Some(Carried::Query(name.clone())),
            Location::Authorizer => None,
        });
        places.collect()
    }

    /// Whether keys are taken from another authorizer's answer.
    pub fn asks_an_authorizer(&self) -> bool {
        self.from
            .iter()
            .any(|source| source.location == Location::Authorizer)
    }

    /// The query parameters that may hold a key.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.from
            .iter()
            .filter_map(|source| match &source.location {
                Location::Query(name) => Some(name.as_str()),
                Location::Header(_) | Location::Authorizer => None,
            })
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
        let (entry, source) = self.find(presented.call, caller.usage_identifier())?;
        caller.add_key(&self.keys, entry, source.location.source());
        if let Some(notice) = &source.notice {
            caller.identity.deprecation = Some(notice.clone());
        }
        Ok(())
    }

    /// The key that the call brings. The first place that holds a key decides. A header sent twice is not one key.
    fn find(
        &self,
        call: &Call,
        identifier: Option<&Secret<String>>,
    ) -> Result<(KeyEntry, &KeySource), Refused> {
        for source in &self.spec.from {
            let found = match &source.location {
                Location::Header(name) => {
                    let mut values = call.headers.get_all(name).iter();
                    match (values.next(), values.next()) {
                        (None, _) => continue,
                        (Some(value), None) => self.keys.find(value.as_bytes()),
                        (Some(_), Some(_)) => Err(Refused::Unknown),
                    }
                }
                Location::Query(name) => {
                    let Some(value) = call.query(name).map(Zeroizing::new) else {
                        continue;
                    };
                    self.keys.count_query();
                    self.keys.find(&value)
                }
                Location::Authorizer => {
                    let Some(identifier) = identifier else {
                        continue;
                    };
                    self.keys.find(identifier.expose().as_bytes())
                }
            };
            return found.map(|entry| (entry, source));
        }
        Err(Refused::Missing)
    }
}

impl Caller {
    /// The API key that an authorizer's answer names: `usageIdentifierKey`.
    pub fn usage_identifier(&self) -> Option<&Secret<String>> {
        self.usage_identifier.as_ref()
    }

    /// The key whose plan is charged.
    pub fn key_use(&self) -> Option<&KeyUse> {
        self.key_use.as_ref()
    }

    /// Where an authorizer's answer names a key and no `api_key` authorizer has asked for one, the named key gives the
    /// usage plan. Where no key is declared the answer means nothing here.
    pub fn identify(&mut self, keys: &ApiKeys) -> Result<(), AuthnError> {
        if let (Some(named), None, false) = (&self.usage_identifier, &self.key_use, keys.is_empty())
        {
            // The client has proven itself; what the authorizer names is not its doing.
            let entry = keys
                .find(named.expose().as_bytes())
                .map_err(|refused| AuthnError {
                    wrong_credentials: false,
                    ..refused.into()
                })?;
            self.add_key(keys, entry, Source::Authorizer);
        }
        Ok(())
    }

    /// The first key counts, and the first principal.
    fn add_key(&mut self, keys: &ApiKeys, entry: KeyEntry, source: Source) {
        let identity = &mut self.identity;
        identity.principal.get_or_insert_with(|| entry.id.clone());
        identity.scope.get_or_insert_with(|| entry.id.clone());
        if self.key_use.is_some() {
            return;
        }
        identity.usage_plan = entry.plan.and_then(|plan| keys.plan_name(plan)).cloned();
        identity.api_key = Some(entry.id);
        self.key_use = Some(KeyUse {
            key: entry.number,
            plan: entry.plan,
            source,
        });
    }
}

#[cfg(test)]
mod tests;
