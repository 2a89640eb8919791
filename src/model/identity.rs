//! What authentication has found out about a caller: for `$context`, the access log, buckets and idempotency scopes.
//! Plain facts; the evidence that they were proven is `authn::Caller`.

use std::borrow::Cow;
use std::sync::Arc;

use indexmap::IndexMap;

use super::call::Call;
use super::context::WebhookField;
use super::deprecation::Deprecation;

/// The facts about a caller, collected over all authorizers of the route.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// `$context.authorizer.principalId`: the id of the API key, the `sub` of the token, the user who signed, the subject
    /// of the certificate, the source of the webhook. The first authorizer gives it.
    pub principal: Option<Arc<str>>,
    /// Who the caller is among all callers of the authorizer: the principal, with what else it takes to tell two of one
    /// name apart. The first authorizer gives it.
    pub scope: Option<Arc<str>>,
    /// `$context.identity.apiKeyId`: the id of the API key that was proven.
    pub api_key: Option<Arc<str>>,
    /// The usage plan that the key belongs to.
    pub usage_plan: Option<Arc<str>>,
    /// What answers tell who came by a way that will go.
    pub deprecation: Option<Arc<Deprecation>>,
    /// `$context.authorizer.claims.NAME`: claims as text, flattened as the reference (4.5) says.
    pub claims: Option<Arc<IndexMap<String, String>>>,
    /// `$context.authorizer.NAME`: what else authorizers said (a request authorizer's context, `claims_json`, `iam.…`).
    pub values: Option<Arc<IndexMap<String, String>>>,
    /// `$webhook.NAME`: what was verified about a delivery. Known after `verify`.
    pub delivery: Option<Arc<Delivery>>,
}

/// A webhook delivery that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The authorizer's name: `$webhook.source`.
    pub source: Arc<str>,
    /// `$webhook.preset`; `None` where the scheme was written out.
    pub preset: Option<Arc<str>>,
    /// `$webhook.id`: the sender's id of the delivery, where the request has one single id.
    pub id: Option<String>,
    /// `$webhook.type`.
    pub kind: Option<String>,
    /// `$webhook.key`: which of the configured secrets matched, from 0.
    pub key: usize,
    /// `$webhook.dedupId`: what tells a repeated delivery. The id, where it is 1 to 255 bytes long, and what has to stand
    /// beside it where the id alone is not enough (PayPal).
    pub dedup_id: Option<String>,
    /// `$webhook.receivedAt`, RFC 3339.
    pub received_at: String,
    /// `$webhook.attestation`: who verified what and when, signed; `None` where no key for that is configured.
    pub attestation: Option<String>,
}

impl Delivery {
    /// `$webhook.NAME`.
    pub fn field(&self, field: WebhookField) -> Option<Cow<'_, str>> {
        match field {
            WebhookField::Id => self.id.as_deref().map(Cow::Borrowed),
            WebhookField::Type => self.kind.as_deref().map(Cow::Borrowed),
            WebhookField::Source => Some(Cow::Borrowed(&self.source)),
            WebhookField::Preset => self.preset.as_deref().map(Cow::Borrowed),
            WebhookField::Key => Some(self.key.to_string().into()),
            WebhookField::DedupId => self.dedup_id.as_deref().map(Cow::Borrowed),
            WebhookField::ReceivedAt => Some(Cow::Borrowed(&self.received_at)),
            WebhookField::Attestation => self.attestation.as_deref().map(Cow::Borrowed),
        }
    }
}

/// A request at the door, with what routing has found out about it. What authorizers see.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    pub call: &'a Call,
    pub api: &'a str,
    pub stage: &'a str,
    /// The route key, as written.
    pub route_key: &'a str,
    /// The path below the stage, as received.
    pub path: &'a str,
    /// The path's variables, decoded.
    pub path_variables: &'a [(Box<str>, String)],
    pub stage_variables: &'a IndexMap<String, String>,
    /// Seconds since 1970, by the wall clock.
    pub now: i64,
}

impl Identity {
    /// Whose idempotency keys are the caller's: no other caller has the same.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref().or(self.principal.as_deref())
    }

    /// Adds a value that `$context.authorizer.NAME` gives. What an earlier authorizer said under the name stays.
    pub fn add_value(&mut self, name: &str, value: String) {
        let values = self.values.get_or_insert_default();
        Arc::make_mut(values)
            .entry(name.to_owned())
            .or_insert(value);
    }
}
