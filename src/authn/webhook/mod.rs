//! Webhook deliveries, verified by their sender's scheme.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AuthnError, Caller, Kind, Verified};
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use bytes::Bytes;

/// Webhook deliveries, verified by their sender's scheme.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookAuthorizer")]
pub struct Config {}

/// A compiled `webhook` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {}

/// The live `webhook` authorizer.
#[derive(Debug)]
pub struct WebhookAuthenticator {
    spec: Arc<Spec>,
}

impl Config {
    /// Checks what was written.
    pub(super) fn compile(
        &self,
        _name: &str,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        problems.error(at, "`webhook` cannot be used yet");
        None
    }
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        String::new()
    }
}

impl WebhookAuthenticator {
    pub(in crate::authn) fn new(
        spec: Arc<Spec>,
        _outbound: &crate::outbound::Client,
    ) -> WebhookAuthenticator {
        WebhookAuthenticator { spec }
    }

    /// Adds to the caller what the body proves.
    pub(in crate::authn) async fn verify(
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
