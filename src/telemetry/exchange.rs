//! All that becomes known of one request: the one source of its access-log line, its metrics and its `$context`.
//!
//! An exchange ends exactly once. One that is dropped without having been closed ends as `gone`, unless a call that
//! stores is still under way: then it waits for that call ([`Ticket`]) and ends as what became of the payload.

mod captured;
mod context;
mod ending;
mod ticket;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::ending::{Ending, common_log_time, epoch_millis, millis};
use super::Telemetry;
use super::log_format::LogFormat;
use super::metrics::{Ended, Metrics, Name, Outcome, RouteMeters};
use crate::deploy::{self, Part};
use crate::model::call::Call;
use crate::model::code::Code;
use crate::model::context::{PhaseFact, Plain};
use crate::model::deprecation::Deprecation;
use crate::model::identity::Identity;
use crate::model::peer::{Endpoint, Peer};
use crate::model::phase::Phase;
use crate::model::request_id::RequestId;
use bytes::Bytes;
use http::header::USER_AGENT;

pub use ticket::Ticket;

/// What a route tells of itself to whoever writes about its requests.
#[derive(Debug)]
pub struct RouteFacts {
    pub api: Arc<str>,
    pub stage: Arc<str>,
    /// The route key.
    pub key: Name,
    /// What metrics call the route: its key, behind the API's name where there are several APIs.
    pub label: Name,
    /// The integration's name.
    pub integration: &'static str,
    pub meters: RouteMeters,
}

/// What the target did.
#[derive(Clone, Debug, Default)]
pub struct TargetFacts {
    /// The service's HTTP status, where it gave one.
    pub status: Option<u16>,
    pub latency: Duration,
    /// The service's own request id.
    pub request_id: Option<String>,
    /// Its code and message, or why there was no answer.
    pub error: Option<String>,
    pub message_id: Option<String>,
    /// `target`, `spooled` or `none`.
    pub durability: Option<&'static str>,
    /// Why it is spooled: as `penstock_spooled_records_total` has it. `error` then says how the target's own call failed.
    pub why: Option<&'static str>,
    /// Records of the call that the request shared with others, and how long it waited for that call.
    pub shared: Option<(usize, Duration)>,
}

/// How a refusal is written down. The caller's public text is not part of it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub phase: Phase,
    pub code: Code,
    pub status: u16,
    /// What was wrong, in full; for the log only.
    pub cause: String,
}

#[derive(Clone, Copy, Debug)]
struct PhaseNote {
    status: u16,
    took: Duration,
}

/// The head of the request, or what there was of it.
#[derive(Debug)]
enum Head {
    Call(Arc<Call>),
    /// No request came of it.
    Malformed {
        id: RequestId,
        peer: Arc<Peer>,
    },
}

#[derive(Debug)]
struct Facts {
    telemetry: Arc<Telemetry>,
    head: Head,
    opened: Instant,
    opened_at: SystemTime,
    mark: Instant,
    phases: [Option<PhaseNote>; 12],
    route: Option<Arc<RouteFacts>>,
    api: Arc<str>,
    stage: Arc<str>,
    deployment: Option<Arc<str>>,
    /// While two deployments are compared.
    part: Option<Arc<Part>>,
    /// The path that the API is seen under, before the route's own.
    identity: Identity,
    request_bytes: u64,
    /// Kept while somebody records.
    body: Option<Bytes>,
    response_bytes: u64,
    status: Option<u16>,
    refusal: Option<Refusal>,
    target: Option<TargetFacts>,
    idempotency_id: Option<String>,
    stored: bool,
    replayed: bool,
    left: bool,
}

/// All that is known of one request. See the module's text.
#[derive(Debug)]
pub struct Exchange {
    /// Taken when the exchange ends or is handed to a ticket.
    facts: Option<Box<Facts>>,
    ticket: Option<Arc<Ticket>>,
}

impl Exchange {
    /// Counts the request as received and begins its record.
    pub fn open(
        telemetry: Arc<Telemetry>,
        call: Arc<Call>,
        api: Arc<str>,
        stage: Arc<str>,
    ) -> Exchange {
        let (opened, opened_at) = (call.arrived, call.arrived_at);
        Exchange::begin(telemetry, Head::Call(call), opened, opened_at, api, stage)
    }

    /// Records something that came in and never became a request. `status`: what was sent, if anything could be.
    pub fn malformed(
        telemetry: Arc<Telemetry>,
        peer: Arc<Peer>,
        id: RequestId,
        status: Option<u16>,
        refusal: Refusal,
        (api, stage): (Arc<str>, Arc<str>),
    ) {
        let head = Head::Malformed { id, peer };
        let mut exchange = Exchange::begin(
            telemetry,
            head,
            Instant::now(),
            SystemTime::now(),
            api,
            stage,
        );
        exchange.refuse(refusal);
        exchange.close(status, 0);
    }

    fn begin(
        telemetry: Arc<Telemetry>,
        head: Head,
        opened: Instant,
        opened_at: SystemTime,
        api: Arc<str>,
        stage: Arc<str>,
    ) -> Exchange {
        telemetry.metrics.received.inc();
        let facts = Facts {
            telemetry,
            head,
            opened,
            opened_at,
            mark: opened,
            phases: [None; 12],
            route: None,
            api,
            stage,
            deployment: None,
            part: None,
            identity: Identity::default(),
            request_bytes: 0,
            body: None,
            response_bytes: 0,
            status: None,
            refusal: None,
            target: None,
            idempotency_id: None,
            stored: false,
            replayed: false,
            left: false,
        };
        Exchange {
            facts: Some(Box::new(facts)),
            ticket: None,
        }
    }

    fn with<T>(&mut self, change: impl FnOnce(&mut Facts) -> T) -> Option<T> {
        self.facts.as_deref_mut().map(change)
    }

    /// The phase is over and let the request pass; its time is that since the one before.
    pub fn passed(&mut self, phase: Phase) {
        self.with(|facts| facts.end_phase(phase, 200));
    }

    /// The deployment that serves the request; and which of two that are compared.
    pub fn deployed(&mut self, deployment: Arc<str>, part: Option<Arc<Part>>) {
        self.with(|facts| {
            facts.deployment = Some(deployment);
            facts.part = part;
        });
    }

    /// The route that the request goes by.
    pub fn routed(&mut self, route: Arc<RouteFacts>) {
        self.with(|facts| facts.route = Some(route));
    }

    /// What authentication has found out about the caller. Said again when the body has told more.
    pub fn identified(&mut self, identity: &Identity) {
        self.with(|facts| facts.identity = identity.clone());
    }

    /// The body has arrived.
    pub fn received(&mut self, bytes: usize) {
        self.with(|facts| facts.request_bytes = bytes as u64);
    }

    /// The request is refused in a phase.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.with(|facts| {
            facts.end_phase(refusal.phase, refusal.status);
            facts.refusal = Some(refusal);
        });
    }

    /// The target has answered. `stored`: the payload is durable.
    pub fn answered(&mut self, target: TargetFacts, stored: bool) {
        self.with(|facts| {
            facts.target = Some(target);
            facts.stored |= stored;
        });
    }

    /// The request brought an idempotency key; what identifies it to targets.
    pub fn keyed(&mut self, id: String) {
        self.with(|facts| facts.idempotency_id = Some(id));
    }

    /// The answer is that of an earlier request.
    pub fn replayed(&mut self) {
        self.with(|facts| facts.replayed = true);
    }

    /// Who has proven to be who, if anybody has.
    pub fn principal(&self) -> Option<Arc<str>> {
        self.facts.as_ref()?.identity.api_key.clone()
    }

    /// Who the caller is among all callers, if anybody has proven to be one.
    pub fn scope(&self) -> Option<&str> {
        self.facts.as_ref()?.identity.scope.as_deref()
    }

    /// What the answer tells a caller who came by a way that will go.
    pub fn deprecation(&self) -> Option<Arc<Deprecation>> {
        self.facts.as_ref()?.identity.deprecation.clone()
    }

    /// The metrics that the request counts on; `None` after its end.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.facts.as_ref().map(|facts| &facts.telemetry.metrics)
    }

    /// The target was called and gave no success.
    pub fn target_failed(&mut self, target: TargetFacts) {
        self.with(|facts| facts.target = Some(target));
    }

    /// The client went away in the middle of its request; the answer is for nobody, most likely.
    pub fn client_left(&mut self) {
        self.with(|facts| facts.left = true);
    }

    /// A call that stores begins. What it comes to is written down even when the request vanishes meanwhile.
    pub fn hand_over(&mut self) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket::default());
        self.ticket = Some(ticket.clone());
        ticket
    }

    /// The answer goes out; the exchange ends.
    pub fn close(mut self, status: Option<u16>, response_bytes: u64) {
        self.ticket = None;
        if let Some(mut facts) = self.facts.take() {
            facts.status = status.filter(|_| !facts.left);
            facts.response_bytes = response_bytes;
            if facts.refusal.is_none() {
                facts.end_phase(Phase::Respond, status.unwrap_or(0));
            }
            let outcome = facts.outcome();
            facts.end(outcome, false);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(facts) = self.facts.take() else {
            return;
        };
        match self.ticket.take() {
            Some(ticket) => ticket.abandon(facts),
            None => facts.end(Outcome::Gone, false),
        }
    }
}

impl Facts {
    fn end_phase(&mut self, phase: Phase, status: u16) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.mark);
        self.mark = now;
        // A phase that comes in several parts has taken the time of all; what refused in it has the say.
        match &mut self.phases[phase.index()] {
            Some(note) => {
                note.took += took;
                note.status = note.status.max(status);
            }
            none => *none = Some(PhaseNote { status, took }),
        }
    }

    fn outcome(&self) -> Outcome {
        match (&self.refusal, self.stored, self.replayed) {
            (_, true, _) => Outcome::Stored,
            _ if self.left => Outcome::Gone,
            (Some(_), false, _) => Outcome::Rejected,
            (None, false, true) => Outcome::Replayed,
            (None, false, false) => Outcome::Answered,
        }
    }

    /// The client is gone, and the call that was to store its payload has ended.
    fn end_abandoned(mut self: Box<Self>, result: Result<TargetFacts, Refusal>) {
        match result {
            Ok(target) => {
                self.end_phase(Phase::Store, 200);
                self.target = Some(target);
                self.telemetry.metrics.answers_lost.inc();
                self.end(Outcome::Stored, true);
            }
            Err(refusal) => {
                self.end_phase(Phase::Store, refusal.status);
                // Gone means that nothing was stored; where that is not certain the request was refused.
                let outcome = match refusal.code {
                    Code::OutcomeUnknown => Outcome::Rejected,
                    _ => Outcome::Gone,
                };
                self.refusal = Some(refusal);
                self.end(outcome, false);
            }
        }
    }

    /// Counts the ending and writes the line.
    fn end(self: Box<Self>, outcome: Outcome, answer_lost: bool) {
        let metrics = &self.telemetry.metrics;
        let code = self
            .refusal
            .as_ref()
            .filter(|_| outcome == Outcome::Rejected)
            .map_or("", |refusal| refusal.code.name());
        match (&self.route, outcome, code) {
            (Some(route), Outcome::Stored, "") => route.meters.stored.inc(),
            (Some(route), Outcome::Answered, "") => route.meters.answered.inc(),
            _ => metrics
                .ended
                .get_or_create(&Ended {
                    route: self.route_name(),
                    outcome: outcome.name(),
                    code,
                })
                .inc(),
        };
        let took = self.opened.elapsed();
        if let Some(route) = &self.route {
            match self.target.as_ref().and_then(|target| target.durability) {
                Some("spooled") if outcome == Outcome::Stored => route.meters.durable_spooled.inc(),
                Some(_) if outcome == Outcome::Stored => route.meters.durable_target.inc(),
                _ => 0,
            };
            route.meters.seconds.observe(took);
            route.meters.received_bytes.inc_by(self.request_bytes);
            route.meters.sent_bytes.inc_by(self.response_bytes);
        }
        if let Some(part) = &self.part {
            let waited =
                self.phases[Phase::Receive.index()].map_or(Duration::ZERO, |note| note.took);
            let took = took.saturating_sub(waited);
            let (failed, refused) = (self.failed(), self.refused());
            let ended = deploy::Ended {
                failed,
                refused,
                took,
            };
            metrics.deployments.ended(part, ended);
        }
        for (phase, note) in metrics.phase_seconds.iter().zip(&self.phases) {
            if let Some(note) = note {
                phase.observe(note.took);
            }
        }
        let view = Ending {
            facts: &self,
            outcome,
            took,
            answer_lost,
        };
        self.telemetry
            .access_log
            .write(|format, line| match format {
                LogFormat::Json => view.write_json(line),
                LogFormat::Template(template) => template.write(line, &view),
            });
        if self.telemetry.captures.is_on() {
            self.record(code);
        }
    }

    /// Whether the request failed for a reason that a configuration can have: an answer of 5xx, or a record that the target
    /// refuses. What callers do wrong, and a lack of room in the process, befalls every deployment alike.
    fn failed(&self) -> bool {
        match &self.refusal {
            Some(refusal) => match refusal.code {
                Code::Overloaded | Code::Draining => false,
                Code::TargetRefusedRecord => true,
                _ => refusal.status >= 500,
            },
            None => self.status.is_some_and(|status| status >= 500),
        }
    }

    /// Whether it was answered 4xx for a fault that may be its caller's, or the configuration's.
    fn refused(&self) -> bool {
        let by_caller = self
            .status
            .is_some_and(|status| (400..500).contains(&status));
        by_caller && !self.failed()
    }

    fn route_name(&self) -> Name {
        self.route
            .as_ref()
            .map_or_else(|| Name("".into()), |route| route.label.clone())
    }

    fn call(&self) -> Option<&Call> {
        match &self.head {
            Head::Call(call) => Some(call),
            Head::Malformed { .. } => None,
        }
    }

    fn id(&self) -> RequestId {
        match &self.head {
            Head::Call(call) => call.id,
            Head::Malformed { id, .. } => *id,
        }
    }

    fn peer(&self) -> &Peer {
        match &self.head {
            Head::Call(call) => &call.peer,
            Head::Malformed { peer, .. } => peer,
        }
    }

    fn source(&self) -> Cow<'static, str> {
        match (&self.head, self.peer().source) {
            (Head::Call(call), _) => call.source(),
            (Head::Malformed { .. }, Endpoint::Unix) => Cow::Borrowed("unix"),
            (Head::Malformed { .. }, source) => Cow::Owned(source.ip().to_string()),
        }
    }

    /// What is known of the client's certificate.
    fn certificate(&self, variable: Plain) -> Option<Cow<'_, str>> {
        let certificate = self.peer().client_cert.as_deref()?;
        Some(match variable {
            Plain::ClientCertPem => certificate.pem().into(),
            Plain::ClientCertSubject => certificate.subject.to_string().into(),
            Plain::ClientCertIssuer => certificate.issuer.to_string().into(),
            Plain::ClientCertSerial => Cow::Borrowed(&certificate.serial),
            Plain::ClientCertNotBefore => certificate.not_before_text().into(),
            Plain::ClientCertNotAfter => certificate.not_after_text().into(),
            Plain::ClientCertSans => certificate.sans_text().into(),
            Plain::ClientCertFingerprint => certificate.fingerprint_text().into(),
            _ => return None,
        })
    }

    fn user_agent(&self) -> Option<Cow<'_, str>> {
        self.call()?
            .headers
            .get(USER_AGENT)
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
    }

    /// The values that are known while the request is under way.
    fn early(&self, variable: Plain) -> Option<Cow<'_, str>> {
        let shown = |text: String| Some(Cow::Owned(text));
        match variable {
            Plain::ApiId => Some(Cow::Borrowed(&self.api)),
            Plain::Stage => Some(Cow::Borrowed(&self.stage)),
            Plain::DeploymentId => self.deployment.as_deref().map(Cow::Borrowed),
            Plain::IsCanaryRequest => Some(Cow::Borrowed(match &self.part {
                Some(part) if part.is_canary => "true",
                _ => "false",
            })),
            Plain::RouteKey => self
                .route
                .as_ref()
                .map(|route| Cow::Borrowed(&*route.key.0)),
            Plain::HttpMethod => self.call().map(|call| Cow::Borrowed(call.method.as_str())),
            Plain::Path => self.call().map(|call| Cow::Borrowed(call.raw_path())),
            Plain::Protocol => self.call().map(|call| Cow::Borrowed(call.protocol())),
            Plain::DomainName => self.call()?.host().map(Cow::Borrowed),
            Plain::DomainPrefix => self
                .call()?
                .host()
                .and_then(|host| host.split('.').next())
                .map(Cow::Borrowed),
            Plain::RequestId => shown(self.id().to_string()),
            Plain::IdempotencyId => match &self.idempotency_id {
                Some(id) => Some(Cow::Borrowed(id)),
                None => shown(self.id().to_string()),
            },
            Plain::RequestTime => common_log_time(self.opened_at).map(Cow::Owned),
            Plain::RequestTimeEpoch => shown(epoch_millis(self.opened_at).to_string()),
            Plain::ClientRequestId => self.call()?.client_request_id().map(Cow::Borrowed),
            Plain::SourceIp => Some(self.source()),
            Plain::VpceId => self.peer().vpce.as_deref().map(Cow::Borrowed),
            Plain::UserAgent => self.user_agent(),
            Plain::ApiKeyId => self.identity.api_key.as_deref().map(Cow::Borrowed),
            Plain::PrincipalId => self.identity.principal.as_deref().map(Cow::Borrowed),
            Plain::Listener => Some(Cow::Borrowed(&self.peer().listener)),
            other => self.certificate(other),
        }
    }

    fn phase(&self, phase: Phase, fact: PhaseFact) -> Option<Cow<'_, str>> {
        let note = self.phases[phase.index()]?;
        match fact {
            PhaseFact::Status => Some(note.status.to_string().into()),
            PhaseFact::Latency => Some(millis(note.took).into()),
            PhaseFact::Error => {
                let refusal = self
                    .refusal
                    .as_ref()
                    .filter(|refusal| refusal.phase == phase)?;
                Some(Cow::Borrowed(&refusal.cause))
            }
        }
    }
}

#[cfg(test)]
mod tests;
