//! Request authorizers: a service decides, by the Lambda-authorizer contract.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AuthnError, Caller, Kind};
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Request authorizers: a service decides, by the Lambda-authorizer contract.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LambdaAuthorizer")]
pub struct Config {}

/// A compiled `lambda` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {}

/// The live `lambda` authorizer.
#[derive(Debug)]
pub struct LambdaAuthenticator {
    spec: Spec,
}

impl Config {
    /// Checks what was written.
    pub(super) fn compile(
        &self,
        _name: &str,
        _given: &super::Given<'_>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        problems.error(at, "`lambda` cannot be used yet");
        None
    }
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        String::new()
    }
}

impl LambdaAuthenticator {
    pub(in crate::authn) fn new(
        spec: Spec,
        _outbound: &crate::outbound::Client,
        _aws: &crate::aws::Clients,
    ) -> LambdaAuthenticator {
        LambdaAuthenticator { spec }
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
