//! Credentials to a caller. One file a kind; `AuthorizerConfig` is the register.

pub mod api_key;
pub mod sigv4;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::call::Call;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// An authorizer: exactly one kind, by its name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub enum AuthorizerConfig {
    /// An API key of `api_keys`, in a header or in the query.
    #[serde(rename = "api_key")]
    ApiKey(api_key::Config),
}

/// A compiled authorizer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    ApiKey(api_key::Spec),
}

/// An authorizer that requests meet.
#[derive(Debug)]
pub enum Authenticator {
    ApiKey(api_key::ApiKeyAuthenticator),
}

/// Who the caller is. Its fields are private: what takes a caller has been through authentication.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    api_key: Option<Arc<str>>,
}

/// Why a caller was not let in. The public text names what is asked for, the private one what was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    #[error("{0}")]
    ApiKey(#[from] api_key::Refused),
}

impl AuthorizerConfig {
    /// Checks what was written.
    pub fn compile(&self, at: &ConfigPath, problems: &mut Problems) -> Option<Spec> {
        match self {
            AuthorizerConfig::ApiKey(config) => config
                .compile(&at.key("api_key"), problems)
                .map(Spec::ApiKey),
        }
    }
}

impl Spec {
    /// The authorizer that can be named without being declared.
    pub fn built_in(name: &str) -> Option<Spec> {
        (name == "api_key").then(|| Spec::ApiKey(api_key::Spec::default()))
    }

    /// What a person reads in a table of routes.
    pub fn describe(&self) -> String {
        match self {
            Spec::ApiKey(spec) => format!("api_key ({})", spec.describe()),
        }
    }

    /// The live authorizer over the configured keys.
    pub fn build(&self, keys: &Arc<api_key::ApiKeys>) -> Authenticator {
        match self {
            Spec::ApiKey(spec) => Authenticator::ApiKey(api_key::ApiKeyAuthenticator::new(
                spec.clone(),
                keys.clone(),
            )),
        }
    }
}

impl Authenticator {
    /// Adds to the caller what this authorizer proves. Of several that each prove a key, the first gives the principal.
    pub fn authenticate(&self, call: &Call, caller: &mut Caller) -> Result<(), AuthnError> {
        match self {
            Authenticator::ApiKey(keys) => {
                let key = keys.authenticate(call)?;
                caller.api_key.get_or_insert(key);
            }
        }
        Ok(())
    }
}

impl Caller {
    /// A caller of whom nothing was asked.
    pub fn anyone() -> Caller {
        Caller::default()
    }

    /// The id of the API key that was proven.
    pub fn api_key_id(&self) -> Option<&str> {
        self.api_key.as_deref()
    }
}
