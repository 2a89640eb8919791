//! JSON Web Tokens of OpenID Connect issuers.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AuthnError, Caller, Kind};
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// JSON Web Tokens of OpenID Connect issuers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "JwtAuthorizer")]
pub struct Config {}

/// A compiled `jwt` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {}

/// The live `jwt` authorizer.
#[derive(Debug)]
pub struct JwtAuthenticator {
    spec: Spec,
}

impl Config {
    /// Checks what was written.
    pub(super) fn compile(&self, at: &ConfigPath, problems: &mut Problems) -> Option<Spec> {
        problems.error(at, "`jwt` cannot be used yet");
        None
    }
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        String::new()
    }
}

impl JwtAuthenticator {
    pub(in crate::authn) fn new(
        spec: Spec,
        _outbound: &crate::outbound::Client,
    ) -> JwtAuthenticator {
        JwtAuthenticator { spec }
    }

    /// Adds to the caller what the head proves.
    pub(in crate::authn) async fn authenticate(
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
