//! The live authorizer: what becomes of one request, in the order of the reference (1.2).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::Response;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::{AuthnError, Caller, Verified};
use super::attestation::{AttestationSpec, Attestor};
use super::certificate::Certificate;
use super::coverage::Covered;
use super::fetch::{Cache, Fetcher, Fresh};
use super::handshake::Rule;
use super::jwt::{JwtSpec, KeySet, KeySource};
use super::quarantine::Quarantine;
use super::reference::Reference;
use super::request::{Delivered, header};
use super::secret::{Held, SecretSpec};
use super::verdict::{Code, Failure};
use super::window::Window;
use super::written::{self, Auth};
use super::{SchemeSpec, Spec, capture, paypal, plaid, scheme, sns, twilio};
use crate::model::identity::{Delivery, Presented};
use crate::model::secret::Secret;
use crate::telemetry::Webhooks;

/// The longest id that tells a repeated delivery, in bytes.
const LONGEST_ID: usize = 255;

/// The live `webhook` authorizer.
#[derive(Debug)]
pub struct WebhookAuthenticator {
    spec: Arc<Spec>,
    secrets: Vec<Held>,
    /// The secret of `secret_file`.
    captured: ArcSwapOption<Held>,
    /// Whether `secret_file` is there and cannot be used.
    unusable: AtomicBool,
    attestor: Option<Attestor>,
    fetcher: Fetcher,
    certificates: Arc<Cache<Certificate>>,
    keys: Arc<Cache<KeySet>>,
    metrics: Webhooks,
    quarantine: Option<Quarantine>,
    /// Whether nothing may be changed or visited: somebody only asks what would become of a request.
    rehearses: bool,
}

/// What a request turned out to be.
pub(super) enum Judged {
    Delivery(Box<Delivery>),
    Answer(Response<Bytes>),
    /// It is not one of the sender's questions, and only those were asked for.
    NoQuestion,
}

/// What has been proven of a delivery.
struct Proof {
    key: usize,
    /// How long ago it was signed, in milliseconds, and how long ago that may be.
    time: Option<(i64, Option<Window>)>,
    /// What tells a repeated delivery beside its id.
    beside_id: Option<String>,
    /// The URL that confirms a subscription.
    confirm: Option<String>,
}

impl Proof {
    fn by(key: usize) -> Proof {
        Proof {
            key,
            time: None,
            beside_id: None,
            confirm: None,
        }
    }
}

impl WebhookAuthenticator {
    pub(in crate::authn) fn new(
        spec: Arc<Spec>,
        outbound: &crate::outbound::Client,
        metrics: &Webhooks,
        rehearses: bool,
        before: Option<&WebhookAuthenticator>,
    ) -> WebhookAuthenticator {
        let fetcher = Fetcher::Web(outbound.clone());
        let mut authenticator =
            WebhookAuthenticator::with_fetcher(spec, fetcher, metrics, rehearses);
        if let Some(before) = before {
            authenticator.keep_fetched(before);
        }
        authenticator
    }

    /// Keeps what the authorizer of that name has fetched so far, where the same would be fetched under the same names:
    /// after each reload those who make names up would have a new chance to be first.
    pub(super) fn keep_fetched(&mut self, before: &WebhookAuthenticator) {
        let (spec, old) = (&self.spec, &before.spec);
        // Certificates go by their whole URL, and whether that may be named is checked each time.
        if std::mem::discriminant(&spec.scheme) == std::mem::discriminant(&old.scheme) {
            self.certificates = before.certificates.clone();
        }
        // Plaid's keys are those of the account that asks for them.
        if spec.scheme == old.scheme && spec.settings == old.settings {
            self.keys = before.keys.clone();
        }
    }

    pub(super) fn with_fetcher(
        spec: Arc<Spec>,
        fetcher: Fetcher,
        metrics: &Webhooks,
        rehearses: bool,
    ) -> WebhookAuthenticator {
        let held = |secret: &SecretSpec| Held::new(secret, spec.usage?);
        metrics.expect(&spec.source, &Code::NAMES);
        let authenticator = WebhookAuthenticator {
            secrets: spec.secrets.iter().filter_map(held).collect(),
            captured: ArcSwapOption::empty(),
            unusable: AtomicBool::new(false),
            attestor: spec.attestation.as_ref().and_then(AttestationSpec::build),
            fetcher,
            certificates: Arc::default(),
            keys: Arc::default(),
            quarantine: spec.quarantine.clone().map(|quarantine| {
                Quarantine::new(quarantine, spec.source.clone(), metrics.clone())
            }),
            metrics: metrics.clone(),
            rehearses,
            spec,
        };
        authenticator.read_secret_file();
        authenticator
    }

    /// Takes the secret of `secret_file`, where there is one.
    fn read_secret_file(&self) {
        let Some(file) = &self.spec.secret_file else {
            return;
        };
        let kept = capture::kept(file);
        self.unusable.store(kept.is_err(), Ordering::Relaxed);
        match kept {
            Ok(None) => {}
            Ok(Some(text)) => {
                if let Err(reason) = self.take(&text) {
                    self.unusable.store(true, Ordering::Relaxed);
                    tracing::error!(
                        source = &*self.spec.source,
                        reason,
                        "The secret in a webhook's file cannot be used; its deliveries are refused"
                    );
                }
            }
            Err(error) => {
                tracing::error!(source = &*self.spec.source, %error, "A webhook's file with its secret cannot be read; its deliveries are refused");
            }
        }
    }

    /// What deliveries are told while there is no secret to hold them against: the sender has done nothing wrong, unless
    /// none has been promised yet.
    fn without_secret(&self) -> Option<Failure> {
        let uses = match &self.spec.scheme {
            SchemeSpec::Jwt(jwt) => jwt.keys == KeySource::Secrets,
            _ => self.spec.usage.is_some(),
        };
        let awaits = self.spec.awaiting && !self.unusable.load(Ordering::Relaxed);
        (uses && !awaits).then(|| Failure::unavailable("no secret counts at this time"))
    }

    fn take(&self, text: &str) -> Result<(), String> {
        let usage = self.spec.usage.ok_or("the scheme has no secrets")?;
        let secret = SecretSpec {
            bytes: Secret::new(self.spec.key.decode(text, usage)?),
            from: None,
            until: None,
        };
        let held = Held::new(&secret, usage).ok_or("it is no key of this scheme")?;
        self.captured.store(Some(Arc::new(held)));
        Ok(())
    }

    /// Adds to the caller what the body proves.
    pub(in crate::authn) async fn verify(
        &self,
        presented: &Presented<'_>,
        body: &Bytes,
        caller: &mut Caller,
    ) -> Result<Verified, AuthnError> {
        match self.judged(presented, body, false).await? {
            Judged::Delivery(delivery) => {
                caller
                    .identity
                    .principal
                    .get_or_insert_with(|| self.spec.source.clone());
                caller
                    .identity
                    .scope
                    .get_or_insert_with(|| self.spec.source.clone());
                caller.identity.delivery.get_or_insert(Arc::from(delivery));
                Ok(Verified::Passed)
            }
            Judged::Answer(answer) => Ok(Verified::Answered(answer)),
            Judged::NoQuestion => Ok(Verified::Passed),
        }
    }

    /// The answer to one of the sender's questions; `None` for anything else.
    pub(in crate::authn) async fn answer_question(
        &self,
        presented: &Presented<'_>,
        body: &Bytes,
    ) -> Result<Option<Response<Bytes>>, AuthnError> {
        match self.judged(presented, body, true).await? {
            Judged::Answer(answer) => Ok(Some(answer)),
            Judged::Delivery(_) | Judged::NoQuestion => Ok(None),
        }
    }

    /// What the request is, counted.
    async fn judged(
        &self,
        presented: &Presented<'_>,
        body: &Bytes,
        questions_only: bool,
    ) -> Result<Judged, AuthnError> {
        let judged = Box::pin(self.judge(presented, body, questions_only)).await;
        let code = match &judged {
            Ok(Judged::Delivery(_)) => Code::Ok,
            Ok(Judged::Answer(_)) => Code::Handshake,
            Ok(Judged::NoQuestion) => return Ok(Judged::NoQuestion),
            Err(failure) => failure.code,
        };
        self.metrics.delivered(&self.spec.source, code.name());
        if let (Err(failure), Some(quarantine)) = (&judged, &self.quarantine)
            && failure.code != Code::Unavailable
            && !self.rehearses
        {
            quarantine.keep(presented, body, failure);
        }
        judged.map_err(|failure| failure.into_error(&self.spec.source))
    }

    pub(super) async fn judge(
        &self,
        presented: &Presented<'_>,
        body: &Bytes,
        questions_only: bool,
    ) -> Result<Judged, Failure> {
        let (spec, now) = (&*self.spec, presented.now);
        let captured = self.captured.load_full();
        let mut delivered = Delivered {
            call: presented.call,
            body,
            public_url: spec.public_url.as_ref(),
            settings: &spec.settings,
            items: Vec::new(),
            timestamp: None,
        };
        let open = spec.awaiting && captured.is_none();
        let question = spec
            .handshakes
            .iter()
            .find(|rule| (open || rule.capture.is_none()) && rule.matches(&delivered));
        if questions_only && question.is_none() {
            return Ok(Judged::NoQuestion);
        }
        let all = self.secrets.iter().chain(captured.as_deref());
        let live: Vec<(usize, &Held)> = all
            .enumerate()
            .filter(|(_, held)| held.counts(now))
            .collect();
        let first = live.first().map(|(_, held)| *held);
        if let Some(rule) = question.filter(|rule| rule.auth == Auth::None) {
            return self.answer(rule, &delivered, first).await;
        }
        let proof = self.prove(&mut delivered, &live, now).await?;
        if let Some((age, window)) = proof.time {
            if let Some(window) = window {
                let signed_at = now.saturating_mul(1_000).saturating_sub(age);
                window.check(signed_at, now)?;
            }
            self.metrics.skewed(&spec.source, age);
        }
        self.metrics.matched(&spec.source, proof.key);
        if let Some(rule) = question {
            return self.answer(rule, &delivered, first).await;
        }
        if let Some(url) = proof.confirm.as_ref().filter(|_| !self.rehearses) {
            sns::confirm(url, &self.fetcher).await?;
            tracing::info!(
                source = &*spec.source,
                "A subscription of a topic has been confirmed"
            );
        }
        let delivery = self.delivery(&delivered, &proof, presented, body);
        Ok(Judged::Delivery(Box::new(delivery)))
    }

    async fn answer(
        &self,
        rule: &Rule,
        delivered: &Delivered<'_>,
        first: Option<&Held>,
    ) -> Result<Judged, Failure> {
        rule.check(delivered)?;
        let key = first.map(|held| hmac::Key::new(hmac::HMAC_SHA256, held.bytes.expose()));
        let answer = rule.reply.make(delivered, key.as_ref())?;
        if let Some(secret) = rule.captured(delivered)? {
            self.capture(secret).await?;
        }
        Ok(Judged::Answer(answer))
    }

    /// Keeps the secret that a sender has sent; the first one closes the source to others.
    async fn capture(&self, secret: String) -> Result<(), Failure> {
        let (Some(file), Some(usage)) = (self.spec.secret_file.clone(), self.spec.usage) else {
            return Err(Failure::missing("no secret is awaited"));
        };
        let usable = self.spec.key.decode(&secret, usage);
        if let Err(reason) = usable {
            return Err(Failure::new(
                Code::Refused(400),
                format!("the secret that came cannot be used: {reason}"),
            ));
        }
        if self.rehearses {
            return Ok(());
        }
        let text = secret.clone();
        let kept = tokio::task::spawn_blocking(move || capture::keep(&file, &text)).await;
        match kept.map_err(std::io::Error::other).flatten() {
            Ok(true) => {
                self.take(&secret).map_err(Failure::unavailable)?;
                tracing::info!(
                    source = &*self.spec.source,
                    "A webhook's secret has been captured; the source is live"
                );
                Ok(())
            }
            Ok(false) => {
                self.read_secret_file();
                Err(match self.captured.load().is_some() {
                    true => Failure::missing("the secret that was awaited has come already"),
                    false => {
                        Failure::unavailable("the file with the secret is there and holds none")
                    }
                })
            }
            Err(error) => Err(Failure::unavailable(format!(
                "the secret that came cannot be kept: {error}"
            ))),
        }
    }

    /// Checks the delivery by the source's scheme; the window of a signed time is the caller's to check.
    async fn prove<'r>(
        &'r self,
        delivered: &mut Delivered<'r>,
        live: &[(usize, &Held)],
        now: i64,
    ) -> Result<Proof, Failure> {
        let spec = &*self.spec;
        let mut candidates = Vec::new();
        match &spec.scheme {
            SchemeSpec::Signed(signed) => {
                delivered.items = signed.carrier.items(delivered)?;
                candidates = signed.candidates(delivered)?;
            }
            SchemeSpec::Twilio(carrier) => {
                delivered.items = carrier.items(delivered)?;
                candidates =
                    carrier.candidates(&delivered.items, written::Encoding::Base64, Some(20))?;
            }
            SchemeSpec::Token(carrier) | SchemeSpec::Basic(carrier) => {
                delivered.items = carrier.items(delivered)?;
            }
            SchemeSpec::Jwt(jwt) => delivered.items = jwt.carrier.items(delivered)?,
            SchemeSpec::TokenOfEach { .. }
            | SchemeSpec::Sns(_)
            | SchemeSpec::Paypal(_)
            | SchemeSpec::Unsigned => {}
        }
        self.required(delivered)?;
        let mut time = None;
        if let Some(timed) = &spec.timestamp {
            let brought = timed.spec.read(&timed.reference, delivered)?;
            let age = now.saturating_mul(1_000).saturating_sub(brought.millis);
            time = Some((age, Some(timed.spec.window)));
            delivered.timestamp = Some(brought.text);
        }
        if live.is_empty()
            && let Some(failure) = self.without_secret()
        {
            return Err(failure);
        }
        let mut proof = match &spec.scheme {
            SchemeSpec::Signed(signed) => {
                if spec.refuses_tokens {
                    signed.refuse_token(delivered)?;
                }
                Proof::by(signed.verify(delivered, &candidates, live)?)
            }
            SchemeSpec::Token(carrier) => Proof::by(scheme::token(carrier, delivered, live)?),
            SchemeSpec::TokenOfEach { each, field } => {
                Proof::by(scheme::token_of_each(each, field, delivered, live)?)
            }
            SchemeSpec::Basic(carrier) => Proof::by(scheme::basic(carrier, delivered, live)?),
            SchemeSpec::Jwt(jwt) => Proof::by(self.token(jwt, delivered, live, now).await?),
            SchemeSpec::Twilio(_) => {
                let public = spec
                    .public_url
                    .as_ref()
                    .ok_or_else(|| Failure::bad("no public URL is configured"))?;
                Proof::by(twilio::verify(delivered, public, &candidates, live)?)
            }
            SchemeSpec::Sns(sns) => {
                let (certificates, fetcher) = (&self.certificates, &self.fetcher);
                let genuine = sns::verify(sns, delivered, certificates, fetcher, now).await?;
                time = Some((genuine.age, None));
                Proof {
                    confirm: genuine.confirm,
                    ..Proof::by(0)
                }
            }
            SchemeSpec::Paypal(paypal) => {
                let (certificates, fetcher) = (&self.certificates, &self.fetcher);
                let genuine = paypal::verify(paypal, delivered, certificates, fetcher, now).await?;
                time = Some((genuine.age, None));
                Proof {
                    beside_id: Some(genuine.transmission),
                    ..Proof::by(0)
                }
            }
            SchemeSpec::Unsigned => Proof::by(0),
        };
        proof.time = time;
        Ok(proof)
    }

    /// What must hold besides the signature.
    fn required(&self, delivered: &Delivered<'_>) -> Result<(), Failure> {
        for (name, wanted) in &self.spec.require_headers {
            if header(&delivered.call.headers, name)? != Some(wanted.as_bytes()) {
                return Err(Failure::malformed(format!(
                    "the header {name} is not what `verify.require` says"
                )));
            }
        }
        for reference in &self.spec.require_absent {
            let present = match reference {
                Reference::Json(pointer) => delivered.json(pointer)?.is_some(),
                other => delivered.value(other)?.is_some(),
            };
            if present {
                return Err(Failure::malformed(format!(
                    "{reference} is there, and `verify.require` says that it must not be"
                )));
            }
        }
        Ok(())
    }

    /// Checks a token.
    async fn token(
        &self,
        spec: &JwtSpec,
        delivered: &Delivered<'_>,
        live: &[(usize, &Held)],
        now: i64,
    ) -> Result<usize, Failure> {
        let texts = spec.carrier.tagged(&delivered.items)?;
        let [text] = texts.as_slice() else {
            return Err(spec.carrier.unreadable("more than one token"));
        };
        let token = spec.token(text)?;
        let place = match &spec.keys {
            KeySource::Secrets => token.signed_by_secret(live)?,
            KeySource::Jwks(url) => {
                let mut keys = self.key_set(url, now, false).await?;
                if !keys.has(token.kid.as_deref()) {
                    keys = self.key_set(url, now, true).await?;
                }
                token.signed_by_key(&keys)?;
                0
            }
            KeySource::Plaid => {
                let kid = token.kid.as_deref();
                let kid = kid
                    .filter(|kid| kid.len() <= 128)
                    .ok_or_else(|| Failure::bad("the token names no key"))?;
                let fetch = plaid::key(kid, &self.spec.settings, &self.fetcher, now);
                let keys = self.keys.get(kid, now, false, fetch).await?;
                token.signed_by_key(&keys)?;
                0
            }
        };
        token.check(spec, delivered, now)?;
        Ok(place)
    }

    async fn key_set(&self, url: &str, now: i64, again: bool) -> Result<Arc<KeySet>, Failure> {
        let fetch = async {
            let json = self
                .fetcher
                .get(url, crate::outbound::Named::ByOperator)
                .await;
            let keys = json.and_then(|json| KeySet::read(&json));
            let value =
                keys.map_err(|reason| Failure::unavailable(format!("the key set: {reason}")))?;
            Ok(Fresh {
                value,
                until: now + 3_600,
                at_most: now + 86_400,
            })
        };
        self.keys.get(url, now, again, fetch).await
    }

    /// What is told of a delivery that is genuine.
    fn delivery(
        &self,
        delivered: &Delivered<'_>,
        proof: &Proof,
        presented: &Presented<'_>,
        body: &Bytes,
    ) -> Delivery {
        let (spec, event) = (&*self.spec, &self.spec.event);
        let first = |references: &[Reference]| {
            references.iter().find_map(|reference| {
                let text = delivered
                    .text(reference)
                    .ok()
                    .flatten()
                    .map(Cow::into_owned);
                let text = text.filter(|text| !text.is_empty())?;
                Some((text, spec.scheme.covers(reference, delivered)))
            })
        };
        let several = event
            .id_unless
            .as_ref()
            .is_some_and(|second| !matches!(delivered.json(second), Ok(None)));
        let (id, id_covered) = first(&event.id).filter(|_| !several).unzip();
        let (kind, kind_covered) = first(&event.kind).unzip();
        let covered = Covered {
            id: id_covered == Some(true),
            kind: kind_covered == Some(true),
        };
        let dedup_id = id.as_ref().filter(|id| id.len() <= LONGEST_ID);
        let received_at = OffsetDateTime::from_unix_timestamp(presented.now)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok());
        let mut delivery = Delivery {
            source: spec.source.clone(),
            preset: spec.preset.clone(),
            dedup_id: dedup_id.map(|id| match &proof.beside_id {
                Some(beside) => format!("{beside}|{id}"),
                None => id.clone(),
            }),
            id,
            kind,
            key: proof.key,
            received_at: received_at.unwrap_or_default(),
            attestation: None,
        };
        if let Some(attestor) = &self.attestor {
            let request_id = presented.call.id.to_string();
            delivery.attestation =
                Some(attestor.attest(&delivery, covered, body, &request_id, presented.now));
        }
        delivery
    }
}
