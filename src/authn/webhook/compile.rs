//! From what people write to a spec: everything that the reference (2.6) has refused when the configuration is loaded, at
//! once, with what to write instead.

use http::{HeaderValue, Uri};

use super::attestation::AttestationSpec;
use super::paypal::PaypalSpec;
use super::quarantine::QuarantineSpec;
use super::reference::{self, Reference, Wrong};
use super::scheme::{Signed, SignedKind};
use super::secret::{KeySpec, PublicAlgorithm, SecretSpec, use_of};
use super::sns::{self, SnsSpec};
use super::template::Template;
use super::written::{Encoding, Event, Scheme, Several, State, Verify};
use super::{Config, EventSpec, PublicUrl, SchemeSpec, Settings, Spec, presets};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::secret::Secret;

mod carriers;
mod handshakes;
mod secrets;
mod times;
mod tokens;

/// Notes what is wrong with a text.
fn note(wrong: Wrong, at: &ConfigPath, problems: &mut Problems) {
    problems.error(at, wrong.message).help(wrong.help);
}

/// Notes it, and goes on without the value.
fn noted<T>(result: Result<T, Wrong>, at: &ConfigPath, problems: &mut Problems) -> Option<T> {
    result.map_err(|wrong| note(wrong, at, problems)).ok()
}

/// What references may name.
struct Known<'c> {
    settings: &'c Settings,
    has_public_url: bool,
    has_timestamp: bool,
}

impl Known<'_> {
    /// Checks that a reference has a value here. `strict`: a setting that is missing is an error; otherwise what asks for
    /// it never holds, which is a warning.
    fn check(&self, reference: &Reference, strict: bool, at: &ConfigPath, problems: &mut Problems) {
        if reference.needs_public_url() && !self.has_public_url {
            problems
                .error(at, format!("`{reference}` needs `public_url`, and there is none"))
                .help("write the URL that the sender knows, such as `public_url: https://hooks.example.com/in/x`: it cannot be told from a request");
        }
        if *reference == Reference::Timestamp && !self.has_timestamp {
            problems
                .error(
                    at,
                    "`timestamp` is named, and `verify.timestamp` is not written",
                )
                .help(
                    "write where it is, such as `timestamp: { header: X-Timestamp, format: unix }`",
                );
        }
        if let Reference::Setting(name) = reference {
            let empty = self.settings.one(name).is_none_or(str::is_empty);
            if empty && strict {
                problems
                    .error(at, format!("the setting `config.{name}` is missing"))
                    .help(format!("write `config: {{ {name}: … }}`"));
            } else if empty {
                problems
                    .warning(at, format!("the setting `config.{name}` is missing, so every such request is refused"))
                    .help(format!("write `config: {{ {name}: … }}`"));
            }
        }
    }
}

impl Config {
    /// Checks what was written.
    pub(in crate::authn) fn compile(
        &self,
        name: &str,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        self.compiled(name, at, true, problems)
    }

    /// The same; `verifies`: whether it is to verify, for which it needs its secrets.
    pub(super) fn compiled(
        &self,
        name: &str,
        at: &ConfigPath,
        verifies: bool,
        problems: &mut Problems,
    ) -> Option<Spec> {
        let before = problems.errors();
        let preset = match presets::all() {
            Ok(presets) => match &self.preset {
                None => None,
                Some(wanted) => {
                    let found = presets.get(wanted);
                    if found.is_none() {
                        let near = nearest(wanted, presets.keys().map(String::as_str));
                        problems
                            .error(&at.key("preset"), format!("there is no preset {wanted:?}"))
                            .help(match near {
                                Some(near) => format!("did you mean `{near}`?"),
                                None => "leave it out and write `verify`; docs/webhooks.md lists the presets".to_owned(),
                            });
                        return None;
                    }
                    found
                }
            },
            Err(reason) => {
                problems.error(at, format!("the presets cannot be read: {reason}"));
                return None;
            }
        };
        let own = self.verify.clone().unwrap_or_default();
        let verify = match preset {
            Some(preset) => own.over(preset.verify.clone()),
            None => own,
        };
        let in_verify = at.key("verify");
        let Some(scheme) = verify.scheme else {
            problems
                .error(at, "nothing says how deliveries are verified")
                .help("write `preset: NAME`, or `verify: { scheme: … }`");
            return None;
        };
        let settings = Settings(self.config.clone());
        let public_url = self
            .public_url
            .as_deref()
            .and_then(|url| public_url(url, &at.key("public_url"), problems));
        let known = Known {
            settings: &settings,
            has_public_url: self.public_url.is_some(),
            has_timestamp: verify.timestamp.is_some(),
        };
        let usage = use_of(scheme);
        let key = KeySpec {
            strip: verify.key.as_ref().and_then(|key| key.strip.clone()),
            encoding: verify
                .key
                .as_ref()
                .and_then(|key| key.encoding)
                .unwrap_or_default(),
        };
        let secrets = match verifies {
            true => self.secrets(&verify, scheme, &key, at, problems),
            false => Vec::new(),
        };
        let scheme_spec = self.scheme(&verify, scheme, &known, at, problems);
        let timestamp = times::timestamp(&verify, scheme, &scheme_spec, &in_verify, problems);
        let require = verify.require.clone().unwrap_or_default();
        let in_require = in_verify.key("require");
        let mut require_headers = Vec::new();
        for (name, value) in &require.headers {
            let at = in_require.key("headers").key(name);
            if let Some(name) = noted(reference::header_name(name), &at, problems) {
                require_headers.push((name, value.0.clone()));
            }
        }
        let require_absent =
            references(&require.absent, &known, &in_require.key("absent"), problems);
        let written = match (&self.handshake, preset) {
            (Some(own), _) => own.clone(),
            (None, Some(preset)) => preset.handshake.clone(),
            (None, None) => Vec::new(),
        };
        let has_secret = !verifies || !self.secrets.is_empty() || self.secret_file.is_some();
        let keyed = usage.is_some() && has_secret;
        let handshakes =
            handshakes::compile(&written, &known, keyed, &at.key("handshake"), problems);
        let refuses_tokens =
            handshakes::refuses_tokens(&handshakes, &scheme_spec, &at.key("handshake"), problems);
        let captures = handshakes.iter().any(|rule| rule.capture.is_some());
        self.check_state(captures, &at.key("state"), problems);
        let own = self.event.clone().unwrap_or_default();
        let event = match preset {
            Some(preset) => own.over(preset.event.clone()),
            None => own,
        };
        let event = compiled_event(&event, &known, &at.key("event"), problems);
        let ack = self.ack.clone().or_else(|| preset?.ack.clone());
        if let Some(ack) = &ack {
            let at = at.key("ack");
            if ack
                .status
                .is_some_and(|status| !(200..=299).contains(&status))
            {
                problems
                    .error(&at.key("status"), "it is not a success")
                    .help("allowed: 200 to 299");
            }
            let fits = |text: &String| HeaderValue::from_str(text).is_ok();
            if ack.content_type.as_ref().is_some_and(|text| !fits(text)) {
                problems.error(&at.key("type"), "it is not a content type");
            }
        }
        let attestation = self.attestation.as_ref().and_then(|written| {
            AttestationSpec::compile(written)
                .map_err(|reason| {
                    problems.error(&at.key("attestation").key("key"), reason);
                })
                .ok()
        });
        let scheme_spec = scheme_spec?;
        (problems.errors() == before).then(|| Spec {
            source: name.into(),
            preset: self.preset.as_deref().map(Into::into),
            scheme: scheme_spec,
            usage,
            key,
            secrets,
            secret_file: self.secret_file.clone(),
            quarantine: QuarantineSpec::compile(self, at, problems),
            awaiting: self.state == State::AwaitingSecret,
            public_url,
            settings,
            timestamp,
            require_headers,
            require_absent,
            handshakes,
            refuses_tokens,
            event,
            partial: verify.partial == Some(true),
            ack,
            attestation,
        })
    }

    fn check_state(&self, captures: bool, at: &ConfigPath, problems: &mut Problems) {
        if self.state != State::AwaitingSecret {
            return;
        }
        if !captures {
            problems
                .error(
                    at,
                    "no handshake of this sender brings a secret, so none would ever come",
                )
                .help("leave `state` out, or write a handshake with `capture`");
        }
        if self.secret_file.is_none() {
            problems
                .error(at, "the secret that comes would be lost with the next restart: there is no `secret_file`")
                .help("write the file that it is to be kept in, such as `secret_file: asana.secret`");
        }
    }

    fn secrets(
        &self,
        verify: &Verify,
        scheme: Scheme,
        key: &KeySpec,
        own: &ConfigPath,
        problems: &mut Problems,
    ) -> Vec<SecretSpec> {
        let at = own.key("secrets");
        let by_key_set = scheme == Scheme::Jwt
            && verify
                .keys
                .as_ref()
                .is_some_and(|keys| keys.secrets != Some(true));
        let Some(usage) = use_of(scheme).filter(|_| !by_key_set) else {
            if !self.secrets.is_empty() {
                problems
                    .warning(
                        &at,
                        format!("`scheme: {}` has no use for secrets here", scheme.name()),
                    )
                    .help("leave them out");
            }
            return Vec::new();
        };
        if self.secrets.is_empty() && self.secret_file.is_none() {
            problems
                .error(
                    &at,
                    format!(
                        "`scheme: {}` needs a secret, and there is none",
                        scheme.name()
                    ),
                )
                .help("write `secrets: [ \"${env:NAME}\" ]`");
        }
        let mut secrets = Vec::new();
        for (place, secret) in self.secrets.iter().enumerate() {
            let at = at.index(place);
            let decoded = key.decode(secret.value.expose(), usage);
            let bytes = match decoded {
                Ok(bytes) => Some(bytes),
                Err(reason) => {
                    problems
                        .error(&at, format!("the secret cannot be used: {reason}"))
                        .help(match secret.value.expose().is_empty() {
                            true => "is the variable or the file that it comes from empty?",
                            false => {
                                "write it as the sender shows it; how it is decoded is `verify.key`"
                            }
                        });
                    None
                }
            };
            let from = secrets::moment(secret.from.as_deref(), &at.key("from"), problems);
            let until = secrets::moment(secret.until.as_deref(), &at.key("until"), problems);
            if let (Some(from), Some(until)) = (from, until)
                && from >= until
            {
                problems.error(
                    &at.key("until"),
                    "it is not after `from`, so the secret never counts",
                );
            }
            secrets.extend(bytes.map(|bytes| SecretSpec {
                bytes: Secret::new(bytes),
                from,
                until,
            }));
        }
        match &self.secret_file {
            Some(file) => secrets::file(file, key, usage, &own.key("secret_file"), problems),
            None => secrets::lifetimes(&secrets, &at, problems),
        }
        secrets
    }

    fn scheme(
        &self,
        verify: &Verify,
        scheme: Scheme,
        known: &Known<'_>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<SchemeSpec> {
        carriers::unused(verify, scheme, &at.key("verify"), problems);
        let in_verify = at.key("verify");
        Some(match scheme {
            Scheme::HmacSha1
            | Scheme::HmacSha256
            | Scheme::HmacSha512
            | Scheme::HashSha256
            | Scheme::Ed25519
            | Scheme::EcdsaP256Sha256
            | Scheme::RsaPkcs1Sha256 => {
                let carrier = carriers::carrier(verify, known, &in_verify, problems);
                let template = signed(verify, scheme, known, &in_verify, problems);
                SchemeSpec::Signed(Signed {
                    carrier: carrier?,
                    encoding: verify.encoding.unwrap_or(Encoding::Hex),
                    template: template?,
                    kind: match scheme {
                        Scheme::HmacSha1 => SignedKind::Mac(20),
                        Scheme::HmacSha512 => SignedKind::Mac(64),
                        Scheme::HashSha256 => SignedKind::Digest,
                        Scheme::Ed25519 => SignedKind::Public(PublicAlgorithm::Ed25519),
                        Scheme::EcdsaP256Sha256 => SignedKind::Public(PublicAlgorithm::EcdsaP256),
                        Scheme::RsaPkcs1Sha256 => SignedKind::Public(PublicAlgorithm::Rsa),
                        _ => SignedKind::Mac(32),
                    },
                })
            }
            Scheme::Token => match (&verify.each, &verify.field) {
                (Some(each), Some(field)) => SchemeSpec::TokenOfEach {
                    each: noted(reference::pointer(each), &in_verify.key("each"), problems)?,
                    field: field.clone(),
                },
                (None, None) => {
                    SchemeSpec::Token(carriers::carrier(verify, known, &in_verify, problems)?)
                }
                _ => {
                    problems
                        .error(&in_verify, "`each` and `field` stand together")
                        .help("such as `each: /value, field: clientState`");
                    return None;
                }
            },
            Scheme::Basic => {
                for (place, secret) in self.secrets.iter().enumerate() {
                    if !secret.value.expose().contains(':') {
                        problems
                            .error(
                                &at.key("secrets").index(place),
                                "HTTP Basic takes a user and a password",
                            )
                            .help("write `user:password`");
                    }
                }
                SchemeSpec::Basic(carriers::own_or(
                    verify,
                    "authorization",
                    known,
                    &in_verify,
                    problems,
                )?)
            }
            Scheme::Twilio => {
                known.check(&Reference::Url, true, at, problems);
                SchemeSpec::Twilio(carriers::own_or(
                    verify,
                    "x-twilio-signature",
                    known,
                    &in_verify,
                    problems,
                )?)
            }
            Scheme::Jwt => SchemeSpec::Jwt(tokens::jwt(verify, known, at, problems)?),
            Scheme::Sns => {
                let topic_arns = known.settings.all("topic_arns");
                if topic_arns.is_empty() {
                    problems
                        .error(at, "the setting `config.topic_arns` is missing: any AWS account can sign for a topic of its own")
                        .help("write `config: { topic_arns: [ \"arn:aws:sns:…\" ] }`");
                }
                for arn in &topic_arns {
                    if !arn.starts_with("arn:") {
                        problems
                            .error(
                                &at.key("config").key("topic_arns"),
                                format!("{arn:?} is not an ARN"),
                            )
                            .help("such as arn:aws:sns:eu-west-1:111122223333:topic");
                    }
                }
                let own = times::own_window(verify, sns::WINDOW, &in_verify, problems);
                SchemeSpec::Sns(SnsSpec {
                    topic_arns,
                    window: own.unwrap_or(sns::WINDOW),
                })
            }
            Scheme::Paypal => {
                known.check(
                    &Reference::Setting("webhook_id".to_owned()),
                    true,
                    at,
                    problems,
                );
                let hosts = known.settings.all("cert_hosts");
                SchemeSpec::Paypal(PaypalSpec {
                    webhook_id: known
                        .settings
                        .one("webhook_id")
                        .unwrap_or_default()
                        .to_owned(),
                    hosts: match hosts.is_empty() {
                        true => PaypalSpec::default_hosts(),
                        false => hosts,
                    },
                    window: times::own_window(verify, times::TOLERANCE, &in_verify, problems),
                })
            }
            Scheme::None => {
                if !self.allow_unsigned {
                    problems
                        .error(
                            &in_verify.key("scheme"),
                            "`none` lets everybody's deliveries pass",
                        )
                        .help("write `allow_unsigned: true` beside `verify` if that is meant");
                }
                SchemeSpec::Unsigned
            }
        })
    }
}

/// The bytes that were signed.
fn signed(
    verify: &Verify,
    scheme: Scheme,
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Template> {
    let Some(text) = &verify.signed else {
        problems
            .error(
                at,
                format!(
                    "`scheme: {}` needs `signed`, the bytes that were signed",
                    scheme.name()
                ),
            )
            .help("write `signed: \"{body}\"`");
        return None;
    };
    let at = at.key("signed");
    let template = noted(Template::parse(text), &at, problems)?;
    for hole in template.holes() {
        known.check(&hole.reference, true, &at, problems);
        if hole.filters.iter().any(|filter| filter.is_keyed()) {
            problems
                .error(&at, "a keyed filter cannot stand in what was signed")
                .help("it is for answers to handshakes");
        }
    }
    let names_secret = template
        .holes()
        .any(|hole| hole.reference == Reference::Secret);
    if names_secret != (scheme == Scheme::HashSha256) {
        problems
            .error(
                &at,
                match names_secret {
                    true => "`{secret}` can only stand in what `hash-sha256` hashes",
                    false => "`hash-sha256` without `{secret}` is a digest that everybody can make",
                },
            )
            .help("a MAC (`hmac-sha256`) takes its secret apart from what is signed");
    }
    if !template.names(&Reference::Body) && verify.partial != Some(true) {
        problems
            .error(&at, "the body is not part of what is signed, so anybody who has seen one delivery could send another")
            .help("name `{body}`, or write `partial: true` if the sender signs no more");
    }
    Some(template)
}

fn references(
    texts: &[String],
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Vec<Reference> {
    let mut references = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        let at = at.index(place);
        if let Some(reference) = noted(Reference::parse(text), &at, problems) {
            if matches!(reference, Reference::Secret | Reference::Timestamp) {
                problems.error(&at, format!("`{reference}` cannot stand here"));
            }
            known.check(&reference, true, &at, problems);
            references.push(reference);
        }
    }
    references
}

fn compiled_event(
    event: &Event,
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> EventSpec {
    let list = |several: &Option<Several>, name: &str, problems: &mut Problems| match several {
        Some(Several(texts)) => references(texts, known, &at.key(name), problems),
        None => Vec::new(),
    };
    let id = list(&event.id, "id", problems);
    let kind = list(&event.kind, "type", problems);
    let id_unless = event.id_unless.as_ref().and_then(|text| {
        let pointer = text.strip_prefix("json:").unwrap_or(text);
        noted(reference::pointer(pointer), &at.key("id_unless"), problems)
    });
    EventSpec {
        id,
        id_unless,
        kind,
    }
}

pub(super) fn public_url(url: &str, at: &ConfigPath, problems: &mut Problems) -> Option<PublicUrl> {
    let uri = url.parse::<Uri>().ok();
    let origin = uri.as_ref().and_then(|uri| {
        let scheme = uri
            .scheme_str()
            .filter(|scheme| ["http", "https"].contains(scheme))?;
        Some(format!("{scheme}://{}", uri.authority()?))
    });
    let origin = origin.filter(|_| !url.contains('#'));
    if origin.is_none() {
        problems
            .error(at, format!("{url:?} is not the URL of an endpoint"))
            .help("write it as the sender knows it, such as https://hooks.example.com/in/x");
    }
    Some(PublicUrl {
        whole: url.to_owned(),
        origin: origin?,
    })
}
