//! Webhook deliveries, verified by their sender's scheme. Most senders are an entry of `presets.yaml`, in the words that
//! users write theirs in; code stands here only where a template cannot say it (SNS, Twilio, PayPal, Plaid's keys).
//!
//! `written` is what people write, `compile` checks it, and a request goes through `live`: `handshake` before verification, `carrier`,
//! `window`'s syntax, `scheme` (all secrets against all candidates), `window`, `handshake` after it, event. What is read
//! of a request comes through `request`, by `reference` and `template`.

mod attestation;
mod capture;
mod carried;
mod carrier;
mod certificate;
mod compile;
mod coverage;
mod fetch;
mod handshake;
mod jwt;
mod live;
mod overrides;
mod paypal;
mod plaid;
mod pointer;
mod presets;
mod quarantine;
mod reference;
mod request;
mod scheme;
mod secret;
mod sign;
mod sns;
mod template;
#[cfg(test)]
mod tests;
mod twilio;
mod verdict;
mod window;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, Method};
use indexmap::IndexMap;

use attestation::AttestationSpec;
use carrier::Carrier;
use handshake::Rule;
use jwt::JwtSpec;
use paypal::PaypalSpec;
use pointer::Pointer;
use quarantine::QuarantineSpec;
use reference::Reference;
use scheme::Signed;
use secret::{KeySpec, SecretSpec, Use};
use sns::SnsSpec;
use window::TimestampSpec;
use written::Setting;

pub use live::WebhookAuthenticator;
pub use sign::{Draft, SignError, Signer, Wish};
pub use written::{Ack, Config, OnFail};

/// A compiled `webhook` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    source: Arc<str>,
    preset: Option<Arc<str>>,
    scheme: SchemeSpec,
    /// What a secret is to the scheme; `None` where it has none.
    usage: Option<Use>,
    /// How a secret's text is read.
    key: KeySpec,
    secrets: Vec<SecretSpec>,
    secret_file: Option<PathBuf>,
    quarantine: Option<QuarantineSpec>,
    /// Whether a sender may send the secret, while there is none in `secret_file`.
    awaiting: bool,
    public_url: Option<PublicUrl>,
    settings: Settings,
    timestamp: Option<Timed>,
    require_headers: Vec<(HeaderName, String)>,
    require_absent: Vec<Reference>,
    handshakes: Vec<Rule>,
    /// Whether anybody can have a bare token signed (a handshake's answer) that could pass for what a delivery signs: such
    /// deliveries are refused.
    refuses_tokens: bool,
    event: EventSpec,
    /// The signature does not cover the whole body.
    partial: bool,
    ack: Option<Ack>,
    attestation: Option<AttestationSpec>,
}

/// A timestamp, and the reference that reads it.
#[derive(Clone, Debug, PartialEq)]
struct Timed {
    spec: TimestampSpec,
    reference: Reference,
}

/// How a delivery is checked.
#[derive(Clone, Debug, PartialEq)]
enum SchemeSpec {
    Signed(Signed),
    Token(Carrier),
    TokenOfEach { each: Pointer, field: String },
    Basic(Carrier),
    Jwt(JwtSpec),
    Twilio(Carrier),
    Sns(SnsSpec),
    Paypal(PaypalSpec),
    Unsigned,
}

/// Where the sender's own id and type are.
#[derive(Clone, Debug, Default, PartialEq)]
struct EventSpec {
    id: Vec<Reference>,
    id_unless: Option<Pointer>,
    kind: Vec<Reference>,
}

/// The URL under which the sender knows the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PublicUrl {
    whole: String,
    /// Scheme and authority.
    origin: String,
}

/// `config`: settings by name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Settings(IndexMap<String, Setting>);

impl Settings {
    fn one(&self, name: &str) -> Option<&str> {
        let Setting(values) = self.0.get(name)?;
        values.first().map(|value| value.expose().as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.get(name).map(|Setting(values)| values.as_slice());
        let values = values.unwrap_or_default().iter();
        values.map(|value| value.expose().clone()).collect()
    }
}

/// How a delivery's id tells repeated deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deduplication {
    /// Whether a known id with another body is a new delivery. Not where the signature covers the id and not the body:
    /// there it is a forgery.
    pub stores_mismatched: bool,
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        match &self.preset {
            Some(preset) => preset.to_string(),
            None => "own scheme".to_owned(),
        }
    }

    /// The methods of the sender's questions, beside those of deliveries.
    pub fn handshake_methods(&self) -> Vec<Method> {
        let mut methods: Vec<Method> = Vec::new();
        for method in self
            .handshakes
            .iter()
            .filter_map(|rule| rule.method.clone())
        {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods
    }

    /// What a stored delivery is answered.
    pub fn ack(&self) -> Option<&Ack> {
        self.ack.as_ref()
    }

    /// How the delivery's id tells repeated ones; `None` where the sender gives none.
    pub fn deduplication(&self) -> Option<Deduplication> {
        (!self.event.id.is_empty()).then_some(Deduplication {
            stores_mismatched: !self.partial,
        })
    }

    /// The authorizer's name.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether deliveries come with a signed statement.
    pub fn attests(&self) -> bool {
        self.attestation.is_some()
    }
}
