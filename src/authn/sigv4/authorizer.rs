//! Requests signed with AWS Signature Version 4, as an authorizer of routes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{AuthnError, Caller, Kind, Verified};
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use bytes::Bytes;

/// Requests signed with AWS Signature Version 4, as an authorizer of routes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "SigV4Authorizer")]
pub struct Config {}

/// A compiled `sigv4` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {}

/// The live `sigv4` authorizer.
#[derive(Debug)]
pub struct SigV4Authenticator {
    spec: Spec,
}

impl Config {
    /// Checks what was written.
    pub(in crate::authn) fn compile(
        &self,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        problems.error(at, "`sigv4` cannot be used yet");
        None
    }
}

impl Spec {
    pub(in crate::authn) fn describe(&self) -> String {
        String::new()
    }
}

impl SigV4Authenticator {
    pub(in crate::authn) fn new(spec: Spec) -> SigV4Authenticator {
        SigV4Authenticator { spec }
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

    /// Adds to the caller what the body proves.
    pub(in crate::authn) fn verify(
        &self,
        _presented: &Presented<'_>,
        _body: &Bytes,
        _caller: &mut Caller,
    ) -> Result<Verified, AuthnError> {
        Err(AuthnError::new(
            Kind::AuthorizerFailed,
            "The authorizer failed.",
            format!("{:?}", self.spec),
        ))
    }
}
