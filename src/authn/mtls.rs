//! Client certificates as credentials.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AuthnError, Caller, Kind};
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Client certificates as credentials.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "MtlsAuthorizer")]
pub struct Config {}

/// A compiled `mtls` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {}

/// The live `mtls` authorizer.
#[derive(Debug)]
pub struct MtlsAuthenticator {
    spec: Spec,
}

impl Config {
    /// Checks what was written.
    pub(super) fn compile(&self, at: &ConfigPath, problems: &mut Problems) -> Option<Spec> {
        problems.error(at, "`mtls` cannot be used yet");
        None
    }
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        String::new()
    }
}

impl MtlsAuthenticator {
    pub(in crate::authn) fn new(spec: Spec) -> MtlsAuthenticator {
        MtlsAuthenticator { spec }
    }

    /// Adds to the caller what the head proves.
    pub(in crate::authn) fn authenticate(
        &self,
        _presented: &Presented<'_>,
        _caller: &mut Caller,
    ) -> Result<(), AuthnError> {
        Err(AuthnError::new(
            Kind::AuthorizerFailed,
            "The authorizer failed.",
            format!("{:?}", self.spec),
        ))
    }
}
