//! The SQS wire protocol over the embedded queues, on its own listener: JSON 1.0 and Query, as any SDK speaks it.
//!
//! A request goes `claim → receive → verify → parse → act → answer`: who signed it is looked at before its body is read
//! (`authn::sigv4`), either protocol is brought into one shape (`input`, `query`), the actions work on that (`queues`,
//! `attributes`, `send`, `receive`, `settle`, `moves`, `tags`, `permissions`), and what they answer is written in the
//! protocol of the request (`answer`). What is refused has a code of the closed set in `fault`.

mod action;
mod answer;
mod attributes;
mod batch;
mod body;
mod fault;
mod input;
mod message_attributes;
mod moves;
mod names;
mod permissions;
mod query;
mod queues;
mod receive;
mod send;
mod settings;
mod settle;
mod tags;

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::HOST;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::Value;

use crate::authn::sigv4::{Head, Paths, Scope, Verifier};
use crate::integration::{StoreState, Targets};
use crate::listen::{Leaving, Malformed, Serve};
use crate::model::peer::Peer;
use crate::model::request_id::RequestId;
use crate::store::Clock;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::SqsRequest;

pub use action::Action;
pub use fault::Code;
pub use settings::{Access, DEFAULT_BIND, Settings};

use answer::Protocol;
use body::Room;
use fault::Fault;
use input::Input;
use names::Names;
use query::Parameters;
use queues::{Purges, Queues};

/// How far a signer's clock may be from ours (SQS API reference, Common Errors: RequestExpired).
const SKEW: Duration = Duration::from_secs(15 * 60);
/// How long an action may take: the longest poll, and time for a disk that is slow.
const DEADLINE: Duration = Duration::from_secs(50);
/// What `X-Amz-Target` begins with.
const TARGET: &str = "AmazonSQS.";

/// What answers the protocol's requests. Cloning shares it.
#[derive(Clone)]
pub struct SqsApi(Arc<Inner>);

struct Inner {
    targets: Arc<Targets>,
    /// `None`: anonymous.
    verifier: ArcSwapOption<Verifier>,
    region: ArcSwap<String>,
    clock: Clock,
    metrics: Metrics,
    room: Room,
    purges: Purges,
    changing: tokio::sync::Mutex<()>,
}

fn verifier(access: Access) -> Option<Arc<Verifier>> {
    let Access::Signed { users, region } = access else {
        return None;
    };
    let scope = Scope {
        service: "sqs".to_owned(),
        region,
        skew: SKEW,
        unsigned_payload: false,
        // Of a path only the queue's name counts, and it stands last in either spelling.
        paths: Paths::Normalized,
    };
    Some(Arc::new(Verifier::new(users, scope)))
}

impl SqsApi {
    /// Answers over the store of `targets`, once it is open. `region` is that of the queues' ARNs.
    pub fn new(
        targets: Arc<Targets>,
        access: Access,
        region: String,
        clock: Clock,
        metrics: Metrics,
    ) -> SqsApi {
        SqsApi(Arc::new(Inner {
            targets,
            verifier: ArcSwapOption::new(verifier(access)),
            region: ArcSwap::from_pointee(region),
            clock,
            metrics,
            room: Room::default(),
            purges: Purges::default(),
            changing: tokio::sync::Mutex::default(),
        }))
    }

    /// Whose requests are answered from now on, and of which region the queues' ARNs are.
    pub fn admit(&self, access: Access, region: String) {
        self.0.verifier.store(verifier(access));
        self.0.region.store(Arc::new(region));
    }

    /// Answers one request, wherever it came from.
    pub async fn answer<B>(&self, request: Request<B>, leaving: &Leaving) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error,
    {
        let id = RequestId::mint();
        let (head, body) = request.into_parts();
        let protocol = if head.headers.contains_key("x-amz-target") {
            Protocol::Json
        } else {
            Protocol::Query
        };
        let mut action = None;
        let lived = AssertUnwindSafe(self.life(protocol, &head, body, leaving, &mut action));
        let done = lived.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(request_id = %id, "An SQS request panicked");
            Err(Code::InternalFailure.because("The request could not be handled."))
        });
        let labels = SqsRequest {
            action: action.map_or("", Action::name),
            code: done
                .as_ref()
                .map_or_else(|fault| fault.code.name(), |_| "ok"),
        };
        self.0.metrics.sqs_requests.get_or_create(&labels).inc();
        match done {
            Ok((action, result)) => answer::done(protocol, action, &result, &id),
            Err(fault) => answer::refused(protocol, &fault, &id),
        }
    }

    /// `claim → receive → verify → parse → act`.
    async fn life<B>(
        &self,
        protocol: Protocol,
        head: &Parts,
        body: B,
        leaving: &Leaving,
        noted: &mut Option<Action>,
    ) -> Result<(Action, Value), Fault>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error,
    {
        if head.method != Method::POST && (head.method != Method::GET || protocol == Protocol::Json)
        {
            return Err(Code::MethodNotAllowed
                .because("Only POST, and GET in the Query protocol, are served."));
        }
        let verifier = self.0.verifier.load();
        let claim = match &*verifier {
            None => None,
            Some(verifier) => {
                let signed = Head {
                    method: &head.method,
                    uri: &head.uri,
                    headers: &head.headers,
                };
                let now = self.0.clock.wall_ms() / 1000;
                Some(verifier.claim(&signed, now)?)
            }
        };
        let body = self.0.room.receive(head, body).await?;
        if let Some(claim) = claim {
            claim.verify(&body.bytes)?;
        }
        let (action, input) = match protocol {
            Protocol::Json => json_request(head, body.bytes.clone())?,
            Protocol::Query => query_request(head, &body.bytes)?,
        };
        *noted = Some(action);
        let store = match self.0.targets.store_state() {
            StoreState::Open(store) => store,
            StoreState::Absent => {
                return Err(Code::ServiceUnavailable.because("There is no store."));
            }
            StoreState::Unavailable(_) => {
                return Err(Code::ServiceUnavailable.because("The store cannot be used now."));
            }
        };
        let names = Names {
            base: base(head),
            region: self.0.region.load().to_string(),
        };
        let queues = Queues {
            store: &store,
            names: &names,
            purges: &self.0.purges,
            leaving,
            changing: &self.0.changing,
        };
        let acting = Box::pin(action.run(&queues, input));
        let late = |_| Code::ServiceUnavailable.because("The store did not answer in time.");
        let result = tokio::time::timeout(DEADLINE, acting)
            .await
            .map_err(late)??;
        Ok((action, result))
    }
}

/// `X-Amz-Target: AmazonSQS.SendMessage`, and the parameters in the body.
fn json_request(head: &Parts, body: Bytes) -> Result<(Action, Input), Fault> {
    let target = head.headers.get("x-amz-target");
    let name = target.and_then(|value| value.to_str().ok()?.strip_prefix(TARGET));
    let action = name.and_then(Action::named).ok_or_else(unknown_action)?;
    Ok((action, Input::Json(body)))
}

/// `Action=SendMessage`, and the parameters beside it; in the URL, the body, or both.
fn query_request(head: &Parts, body: &[u8]) -> Result<(Action, Input), Fault> {
    let mut parameters = Parameters::default();
    parameters.add(head.uri.query().unwrap_or_default())?;
    let body = std::str::from_utf8(body)
        .map_err(|_| Code::MalformedInput.because("The body is not UTF-8."))?;
    parameters.add(body.trim_end_matches(['\r', '\n']))?;
    let Some(name) = parameters.get("Action").filter(|name| !name.is_empty()) else {
        return Err(Code::MissingAction
            .because("The request is missing an action or a required parameter."));
    };
    let action = Action::named(name).ok_or_else(unknown_action)?;
    let called = names::in_path(head.uri.path()).map(|_| head.uri.path().to_owned());
    Ok((action, Input::Query(parameters.shaped(called)?)))
}

fn unknown_action() -> Fault {
    Code::InvalidAction.because(
        "The action or operation requested is invalid. Verify that the action is typed correctly.",
    )
}

/// `http://HOST`, with the host that the client used.
fn base(head: &Parts) -> String {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(|authority| authority.as_str());
    format!("http://{}", authority.or(host).unwrap_or("localhost"))
}

impl Serve for SqsApi {
    type Body = Full<Bytes>;

    async fn call(
        &self,
        request: Request<Incoming>,
        _peer: &Arc<Peer>,
        leaving: &Leaving,
    ) -> Response<Full<Bytes>> {
        self.answer(request, leaving).await
    }

    fn malformed(&self, peer: &Arc<Peer>, what: Malformed) {
        tracing::debug!(remote = %peer.remote, reason = %what.reason, "The SQS listener was sent no request");
    }
}
