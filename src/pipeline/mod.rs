//! The life of a request, from its head to its answer: the data plane's table of contents. One file is one phase; a
//! phase that makes evidence (`Caller`, `Permit`, `Payload`) is the only one that can, so none can be skipped.

mod admit;
mod authenticate;
mod authorize;
mod cors;
mod deadline;
mod decode;
mod explain;
mod map;
mod once;
mod receive;
mod rejection;
mod respond;
mod route;
mod store;
mod throttle;
mod unstoppable;
mod usage;
mod validate;
mod verify;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use crate::listen::Leaving;
use crate::model::call::Call;
use crate::model::peer::Peer;
use crate::model::phase::Phase;
use crate::plan::{Chosen, Current, Plan};
use crate::telemetry::{Exchange, Telemetry};

pub use explain::{Decision, Explanation, explain};
pub use rejection::Rejection;

use deadline::Deadline;
use once::Entry;
use store::{Record, Stored};
use throttle::Passage;
use verify::Outcome;

/// What a request needs of the process.
pub struct Gateway {
    pub current: Current,
    pub telemetry: Arc<Telemetry>,
    /// Calls that store outlive the request that began them; whoever stops the process waits for them here.
    pub calls: TaskTracker,
    draining: AtomicBool,
}

impl Gateway {
    /// A gateway that serves.
    pub fn new(current: Current, telemetry: Arc<Telemetry>) -> Gateway {
        Gateway {
            current,
            telemetry,
            calls: TaskTracker::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// From here on new requests are refused; those in flight go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether new requests are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// A response as it goes out: whole, its length known.
pub type Answer = Response<Full<Bytes>>;

/// Lives a request's life and writes it down.
pub async fn handle(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    peer: &Arc<Peer>,
    leaving: &Leaving,
) -> Answer {
    let (head, body) = request.into_parts();
    let call = Arc::new(Call::new(head, peer.clone()));
    let (plan, part) = gateway.current.serving(&call);
    let chosen = plan.choose(&call);
    let api = chosen.as_ref().map(|chosen| chosen.api);
    let nobody = || (Arc::default(), Arc::default());
    let (name, stage) = api.map_or_else(nobody, |api| (api.name.clone(), api.stage.clone()));
    let mut exchange = Exchange::open(gateway.telemetry.clone(), call.clone(), name, stage);
    exchange.deployed(plan.deployment.clone(), part);
    let dialect = api.map_or(plan.dialect, |api| api.dialect);
    let version = chosen.as_ref().and_then(|chosen| chosen.version.as_ref());
    if let Some(version) = version {
        version.count();
    }
    let mut passage = Passage::default();
    let came = Came {
        chosen: chosen.as_ref(),
        body,
        leaving,
    };
    let lived = life(gateway, &plan, &call, came, &mut passage, &mut exchange);
    let lived = AssertUnwindSafe(lived).catch_unwind().await;
    let lived = lived.unwrap_or_else(|panic| Err(Rejection::panicked(panic.as_ref())));
    if let Err(Rejection::Overload(_)) = &lived
        && let Some(pause) = plan.admission.pause()
    {
        tokio::time::sleep(pause.length()).await;
    }
    let mut response = lived.unwrap_or_else(|rejection| {
        let verdict = rejection.verdict(&call);
        exchange.refuse(verdict.refusal());
        if rejection.client_left() {
            exchange.client_left();
        }
        verdict.into_response(dialect, api, &call)
    });
    passage.tell(dialect, &mut response);
    let cors = api.and_then(|api| api.cors.as_ref());
    respond::finish(dialect, cors, &call, &mut response);
    if let Some(version) = version {
        version.tell(response.headers_mut());
    }
    if let Some(notice) = exchange.deprecation() {
        notice.put(response.headers_mut());
    }
    let length = http_body::Body::size_hint(response.body())
        .exact()
        .unwrap_or_default();
    exchange.close(Some(response.status().as_u16()), length);
    response
}

/// Waits for a phase, as long as the request has time. The work is pinned where it is made: a future of a kilobyte that is
/// passed on by value is copied at each step of its way.
macro_rules! within {
    ($deadline:expr, $phase:ident, $work:expr) => {
        $deadline.within(Phase::$phase, pin!($work)).await
    };
}

/// What the head is for, and what comes in after it.
struct Came<'c> {
    /// The API that the request is for.
    chosen: Option<&'c Chosen<'c>>,
    body: Incoming,
    /// Tells when the client will send no more.
    leaving: &'c Leaving,
}

/// `admit → route → cors → throttle → authenticate → authorize → throttle → receive → verify → throttle → map → store →
/// respond`: each throttle as soon as its caller is known. A phase in which a route has nothing to decide is not noted as
/// having run.
async fn life(
    gateway: &Arc<Gateway>,
    plan: &Arc<Plan>,
    call: &Arc<Call>,
    came: Came<'_>,
    passage: &mut Passage,
    x: &mut Exchange,
) -> Result<Answer, Rejection> {
    let mut admitted = admit::entered(gateway, plan, call)?;
    x.passed(Phase::Admit);
    let found = route::matching(plan, came.chosen, call);
    if let Ok(found) = &found {
        x.routed(found.route.facts.clone());
        x.passed(Phase::Route);
        authorize::address(&found.route, call)?;
    }
    if let Some(answer) = cors::preflight(plan, came.chosen, call, &found) {
        x.passed(Phase::Cors);
        return Ok(answer);
    }
    let found = match found {
        Ok(found) => found,
        Err(error) => return route::elsewhere(error),
    };
    let route = &found.route;
    admit::routed(plan, route, call, &mut admitted)?;
    let mut deadline = Deadline::of(route, call);
    within!(
        deadline,
        Throttle,
        throttle::early(&found, call, passage, x)
    )?;
    let presented = found.presented(call);
    let wrong = |rejection: &Rejection| throttle::refused(route, call, rejection);
    let caller = within!(
        deadline,
        Authenticate,
        authenticate::caller(plan, route, &presented)
    );
    let mut caller = caller.inspect_err(wrong)?;
    x.identified(caller.identity());
    if !route.authenticators.is_empty() {
        x.passed(Phase::Authenticate);
    }
    let permit = authorize::permit(route, &presented, &caller)?;
    admit::identified(plan, route, call, caller.identity(), &mut admitted)?;
    within!(
        deadline,
        Throttle,
        throttle::after_authentication(&found, call, passage, x)
    )?;
    if !route.proven_by_body && usage::charge(plan, route, &caller)? {
        x.passed(Phase::Throttle);
    }
    let codings = decode::codings(route, call)?;
    let receiving = Instant::now();
    let body = receive::body(plan, route, call, came.body, &mut admitted).await?;
    deadline = deadline.later(receiving.elapsed());
    x.received(body.len());
    x.passed(Phase::Receive);
    throttle::before_proof(route, call)?;
    let verified = within!(
        deadline,
        Verify,
        verify::payload(route, &presented, permit, &mut caller, body)
    );
    let payload = match verified.inspect_err(wrong)? {
        Outcome::Payload(payload) => payload,
        Outcome::Answered(answer) => {
            x.passed(Phase::Verify);
            return Ok(answer.map(Full::new));
        }
    };
    x.accepted(payload.received());
    if route.proven_by_body {
        x.identified(caller.identity());
        x.passed(Phase::Verify);
        usage::charge(plan, route, &caller)?;
    }
    let room = Some(&mut admitted);
    let payload = within!(
        deadline,
        Verify,
        decode::content(plan, route, call, &codings, payload, room)
    )?;
    within!(deadline, Verify, validate::request(route, call, &payload))?;
    within!(
        deadline,
        Throttle,
        throttle::after_verify(&found, call, &payload, passage, x)
    )?;
    let key = match within!(
        deadline,
        Verify,
        once::entry(plan, &found, call, &payload, caller.identity(), x)
    )? {
        Entry::Go(key) => key,
        Entry::Replay(answer) => return Ok(answer),
    };
    let requests = map::records(&found, call, &payload, x)?;
    x.passed(Phase::Map);
    let record = Record {
        requests,
        key,
        deadline,
        leaving: came.leaving,
    };
    caller.spend();
    let held = passage.hold(admitted);
    let receipt = match store::receipt(gateway, plan, &found, call, record, held, x).await {
        Ok(Stored::Receipt(receipt)) => receipt,
        Ok(Stored::Known(known)) => {
            return once::known_answer(&found, call, &payload, known, x);
        }
        Err(rejection) => {
            if rejection.nothing_happened() {
                caller.unspend();
            }
            return respond::refused(&found, call, &payload, rejection, x);
        }
    };
    x.passed(Phase::Store);
    let kept_for = receipt.kept_for;
    let response = respond::answered(&found, call, &payload, *receipt, x)?;
    match kept_for {
        Some(key) => Ok(once::keep(plan, &found, key, response, x).await),
        None => Ok(response),
    }
}
