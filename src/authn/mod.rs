//! Credentials to a caller. One folder or file a kind; `AuthorizerConfig` is the register.
//!
//! A kind looks at the head first ([`Authenticator::authenticate`]); what it can only know with the body it says after
//! that has been received ([`Authenticator::verify`]). What a proven caller may do is `Authenticator::authorize`'s.

pub mod api_key;
pub mod error;
pub mod jwt;
pub mod lambda;
pub mod mtls;
pub mod policy;
pub mod sigv4;
pub mod webhook;

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::aws;
use crate::limit::usage::KeyUse;
use crate::model::carried::Carried;
use crate::model::identity::{Identity, Presented};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::secret::Secret;
use crate::outbound;
use crate::telemetry::Metrics;

pub use error::{AuthnError, Kind};

/// An authorizer: exactly one kind, by its name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub enum AuthorizerConfig {
    /// An API key of `api_keys`, in a header, in the query, or named by another authorizer.
    #[serde(rename = "api_key")]
    ApiKey(api_key::Config),
    /// A JSON Web Token, signed by an issuer whose keys are fetched.
    #[serde(rename = "jwt")]
    Jwt(jwt::Config),
    /// A service that decides (the Lambda-authorizer contract).
    #[serde(rename = "lambda", alias = "request")]
    Lambda(lambda::Config),
    /// A certificate that the client has shown in the TLS handshake.
    #[serde(rename = "mtls")]
    Mtls(mtls::Config),
    /// A request signed with AWS Signature Version 4.
    #[serde(rename = "sigv4")]
    SigV4(sigv4::authorizer::Config),
    /// A delivery signed by a webhook's sender.
    #[serde(rename = "webhook")]
    Webhook(Box<webhook::Config>),
}

/// A compiled authorizer.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    ApiKey(api_key::Spec),
    Jwt(jwt::Spec),
    Lambda(lambda::Spec),
    Mtls(mtls::Spec),
    SigV4(sigv4::authorizer::Spec),
    Webhook(Arc<webhook::Spec>),
}

/// An authorizer that requests meet. One for each declared name, shared by all routes that name it.
#[derive(Debug)]
pub enum Authenticator {
    ApiKey(api_key::ApiKeyAuthenticator),
    Jwt(jwt::JwtAuthenticator),
    Lambda(lambda::LambdaAuthenticator),
    Mtls(mtls::MtlsAuthenticator),
    SigV4(sigv4::authorizer::SigV4Authenticator),
    Webhook(webhook::WebhookAuthenticator),
}

/// What live authorizers are made with.
pub struct Shared<'a> {
    pub keys: &'a Arc<api_key::ApiKeys>,
    pub outbound: &'a outbound::Client,
    pub aws: &'a aws::Clients,
    pub metrics: &'a Metrics,
    /// Whether somebody only asks what would become of a request: nothing is changed or confirmed then.
    pub rehearses: bool,
}

/// What authorizers are compiled with beside their own keys.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// `aws.region`.
    pub region: Option<&'a str>,
    pub stage_variables: &'a IndexMap<String, String>,
}

/// Who the caller is. Its fields are private: what takes a caller has been through authentication.
#[derive(Debug, Default)]
pub struct Caller {
    identity: Identity,
    /// The scopes that were granted: `scope` or `scp` of a token.
    scopes: Option<Arc<[String]>>,
    /// What the authorizers' policies say of single requests, all of which must allow.
    policies: Vec<Arc<policy::Document>>,
    /// Whether some authorizer speaks for or against single requests: one that signs, or a service that decides.
    judged: bool,
    /// Who signed.
    signer: Option<Arc<policy::Principal>>,
    /// The API key that an authorizer says the request counts for.
    usage_identifier: Option<Secret<String>>,
    /// Signatures that wait for the body.
    pending: Vec<sigv4::authorizer::Pending>,
    /// Signatures that are good once.
    reservations: Vec<sigv4::replay::Reservation>,
    /// The key whose usage plan is charged.
    key_use: Option<KeyUse>,
}

/// What has become of a request once its body was looked at.
#[derive(Debug)]
pub enum Verified {
    /// It may be stored.
    Passed,
    /// It is no delivery but a question of the sender's, and this is the answer. Nothing is stored.
    Answered(Response<Bytes>),
}

impl AuthorizerConfig {
    /// Checks what was written. `name`: as declared.
    pub fn compile(
        &self,
        name: &str,
        given: &Given<'_>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        match self {
            AuthorizerConfig::ApiKey(config) => config
                .compile(&at.key("api_key"), problems)
                .map(Spec::ApiKey),
            AuthorizerConfig::Jwt(config) => {
                config.compile(&at.key("jwt"), problems).map(Spec::Jwt)
            }
            AuthorizerConfig::Lambda(config) => config
                .compile(name, given, &at.key("lambda"), problems)
                .map(Spec::Lambda),
            AuthorizerConfig::Mtls(config) => {
                config.compile(&at.key("mtls"), problems).map(Spec::Mtls)
            }
            AuthorizerConfig::SigV4(config) => config
                .compile(given, &at.key("sigv4"), problems)
                .map(Spec::SigV4),
            AuthorizerConfig::Webhook(config) => config
                .compile(name, &at.key("webhook"), problems)
                .map(|spec| Spec::Webhook(Arc::new(spec))),
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
            Spec::Jwt(spec) => format!("jwt ({})", spec.describe()),
            Spec::Lambda(spec) => format!("lambda ({})", spec.describe()),
            Spec::Mtls(spec) => format!("mtls ({})", spec.describe()),
            Spec::SigV4(spec) => format!("sigv4 ({})", spec.describe()),
            Spec::Webhook(spec) => format!("webhook ({})", spec.describe()),
        }
    }

    /// Where requests carry what proves who calls: what is struck out of recordings.
    pub fn carried(&self) -> Vec<Carried> {
        match self {
            Spec::ApiKey(spec) => spec.carried(),
            Spec::Jwt(spec) => vec![spec.carried()],
            Spec::Lambda(spec) => spec.carried(),
            // A certificate is public; the handshake has proven the rest. The names of what SigV4 adds say what it is.
            Spec::Mtls(_) | Spec::SigV4(_) => Vec::new(),
            Spec::Webhook(spec) => spec.carried(),
        }
    }

    /// The live authorizer. Opens nothing and waits for nothing; may begin to fetch keys in the background, for which
    /// a Tokio runtime is needed. `before`: the authorizer of that name so far.
    pub fn build(&self, shared: &Shared<'_>, before: Option<&Authenticator>) -> Authenticator {
        match self {
            Spec::ApiKey(spec) => Authenticator::ApiKey(api_key::ApiKeyAuthenticator::new(
                spec.clone(),
                shared.keys.clone(),
            )),
            Spec::Jwt(spec) => Authenticator::Jwt(jwt::JwtAuthenticator::new(
                spec.clone(),
                shared.outbound,
                &shared.metrics.tokens,
                match before {
                    Some(Authenticator::Jwt(before)) => Some(before),
                    _ => None,
                },
            )),
            Spec::Lambda(spec) => Authenticator::Lambda(lambda::LambdaAuthenticator::new(
                spec.clone(),
                shared.outbound,
                shared.aws,
            )),
            Spec::Mtls(spec) => Authenticator::Mtls(mtls::MtlsAuthenticator::new(spec.clone())),
            Spec::SigV4(spec) => Authenticator::SigV4(sigv4::authorizer::SigV4Authenticator::new(
                spec.clone(),
                match before {
                    Some(Authenticator::SigV4(before)) => Some(before),
                    _ => None,
                },
            )),
            Spec::Webhook(spec) => Authenticator::Webhook(webhook::WebhookAuthenticator::new(
                spec.clone(),
                shared.outbound,
                &shared.metrics.webhooks,
                shared.rehearses,
                match before {
                    Some(Authenticator::Webhook(before)) => Some(before),
                    _ => None,
                },
            )),
        }
    }
}

impl Authenticator {
    /// Adds to the caller what the head proves.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
        caller: &mut Caller,
    ) -> Result<(), AuthnError> {
        match self {
            Authenticator::ApiKey(kind) => kind.authenticate(presented, caller),
            Authenticator::Jwt(kind) => kind.authenticate(presented, caller).await,
            Authenticator::Lambda(kind) => kind.authenticate(presented, caller).await,
            Authenticator::Mtls(kind) => kind.authenticate(presented, caller),
            Authenticator::SigV4(kind) => kind.authenticate(presented, caller),
            // Nothing of a delivery is known before its body; `verify` proves it.
            Authenticator::Webhook(_) => Ok(()),
        }
    }

    /// Whether a service outside the gateway is asked for each request.
    pub fn asks_a_service(&self) -> bool {
        matches!(self, Authenticator::Lambda(_))
    }

    /// Whether the caller is proven only once the body is there: until then the source address is charged for it.
    pub fn needs_body(&self) -> bool {
        matches!(self, Authenticator::Webhook(_) | Authenticator::SigV4(_))
    }

    /// Whether it may answer a request in place of what the route is for: only once everyone else let the caller pass.
    pub fn answers_itself(&self) -> bool {
        matches!(self, Authenticator::Webhook(_))
    }

    /// Adds to the caller what the body proves.
    pub async fn verify(
        &self,
        presented: &Presented<'_>,
        body: &Bytes,
        caller: &mut Caller,
    ) -> Result<Verified, AuthnError> {
        match self {
            Authenticator::SigV4(kind) => kind.verify(presented, body, caller),
            Authenticator::Webhook(kind) => kind.verify(presented, body, caller).await,
            Authenticator::ApiKey(_)
            | Authenticator::Jwt(_)
            | Authenticator::Lambda(_)
            | Authenticator::Mtls(_) => Ok(Verified::Passed),
        }
    }

    /// The answer to a question that a webhook's sender asks with a method of its own; `None` where the request is none.
    pub async fn answer_question(
        &self,
        presented: &Presented<'_>,
        body: &Bytes,
    ) -> Result<Option<Response<Bytes>>, AuthnError> {
        match self {
            Authenticator::Webhook(kind) => kind.answer_question(presented, body).await,
            _ => Ok(None),
        }
    }
}

impl Caller {
    /// A caller of whom nothing was asked.
    pub fn anyone() -> Caller {
        Caller::default()
    }

    /// The id of the API key that was proven.
    pub fn api_key_id(&self) -> Option<&str> {
        self.identity.api_key.as_deref()
    }

    /// Everything that is known of the caller.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The scopes that a token grants; `None` where no token was asked for.
    pub fn scopes(&self) -> Option<&[String]> {
        self.scopes.as_deref()
    }

    /// Whether someone signed and is not proven yet: what the caller may do is known once the body is there.
    pub fn is_pending(&self) -> bool {
        self.pending.iter().any(sigv4::authorizer::Pending::is_open)
    }

    /// Who signed.
    pub fn signer(&self) -> Option<&policy::Principal> {
        self.signer.as_deref()
    }

    /// Whether an authorizer of the route speaks of single requests.
    pub fn is_judged(&self) -> bool {
        self.judged
    }

    /// What the authorizers' policies say of a request, every one of which must allow it; `None` where no authorizer of
    /// the route speaks of single requests.
    pub fn answer(&self, asked: &policy::Asked<'_>) -> Option<policy::Answer> {
        if !self.judged {
            return None;
        }
        let mut allowed = policy::Answer::Allowed(policy::Reason {
            document: "the authorizer".into(),
            statement: "no policy".to_owned(),
        });
        for document in &self.policies {
            match document.answer(asked) {
                answer @ policy::Answer::Denied(_) => return Some(answer),
                policy::Answer::Silent => allowed = policy::Answer::Silent,
                answer if allowed != policy::Answer::Silent => allowed = answer,
                _ => {}
            }
        }
        Some(allowed)
    }

    /// From here on what the caller signed may be stored: signatures that are good once are used up.
    pub fn spend(&mut self) {
        self.reservations
            .iter_mut()
            .for_each(sigv4::replay::Reservation::spend);
    }

    /// Nothing was stored after all.
    pub fn unspend(&mut self) {
        self.reservations
            .iter_mut()
            .for_each(sigv4::replay::Reservation::unspend);
    }

    /// Some authorizer speaks of single requests, by a policy or by letting all pass.
    fn judge(&mut self, policy: Option<Arc<policy::Document>>) {
        self.judged = true;
        self.policies.extend(policy);
    }
}
