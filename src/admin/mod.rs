//! The admin listener: health, metrics, what runs. It has a thread and a runtime of its own, so that a gateway that is
//! too busy to serve can still be asked why.

mod api;
mod authorizers;
pub mod capture;
pub mod deployments;
mod guard;
mod metrics;
mod overload;
pub mod queues;
pub mod reload;
pub mod status;
pub mod usage;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::forward::TargetView;
use crate::integration::StoreState;
use crate::listen::{
    Bound, ConnectionLimits, Drain, DrainHandle, Leaving, ListenStats, Malformed, Serve, Terms, run,
};
use crate::model::peer::Peer;
use crate::pipeline::Gateway;
use crate::plan::candidate::Door;
use crate::plan::{Feed, Plan};
use crate::store::Health;

pub use guard::Guard;
pub use metrics::Exposition;
pub use status::{Configured, Status};

/// What the admin listener tells about.
pub struct Admin {
    pub gateway: Arc<Gateway>,
    pub exposition: Exposition,
    /// The configuration that runs.
    pub status: Status,
    /// Where others are submitted.
    pub door: Door,
    /// Who may see and change messages.
    pub guard: Guard,
    /// Where deployments are asked for.
    pub desk: deployments::Desk,
}

/// The running admin listener. Dropping it ends its thread.
pub struct Running {
    drain: Option<DrainHandle>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone)]
struct Answers(Arc<Admin>);

impl Admin {
    /// Serves on a thread of its own.
    pub fn start(self, bound: Bound) -> io::Result<Running> {
        let (handle, drain) = DrainHandle::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answers = Answers(Arc::new(self));
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(answers.serve(bound, drain)))?;
        Ok(Running {
            drain: Some(handle),
            thread: Some(thread),
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if path == "/v1/queues" || path.starts_with("/v1/queues/") {
            return api::answer(&self.gateway, &self.guard, request).await;
        }
        if path == "/v1/deployments" || path.starts_with("/v1/deployments/") {
            return deployments::answer(&self.desk, &self.guard, request).await;
        }
        if let Some(name) = authorizers::addressed(path) {
            return if request.method() == Method::POST {
                authorizers::flush(&self.gateway, &self.guard, name, request.headers())
            } else {
                not_allowed("POST")
            };
        }
        if path == "/v1/capture" {
            return not_allowed("POST");
        }
        if path == "/v1/reload" {
            return if request.method() == Method::POST {
                reload::answer(&self.door, &self.guard, request.headers()).await
            } else {
                not_allowed("POST")
            };
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return not_allowed("GET, HEAD");
        }
        match path {
            "/" => text(StatusCode::OK, INDEX),
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" => self.ready(),
            "/metrics" => self.exposition.response(&self.gateway, &self.status.load()),
            "/v1/targets" => self.targets(),
            "/v1/usage" => usage::answer(&self.gateway, &self.guard, &request).await,
            "/v1/plan" => json_response(StatusCode::OK, &*self.status.load().plan),
            _ => text(StatusCode::NOT_FOUND, NOTHING),
        }
    }

    /// How each target does: its breaker, and what waits for it.
    fn targets(&self) -> Response<Full<Bytes>> {
        let plan = self.gateway.current.load();
        json_response(StatusCode::OK, &json!({ "targets": targets_json(&plan) }))
    }

    /// 200 when new requests are served; else 503 with what stands in the way. A target that is down is not among it.
    fn ready(&self) -> Response<Full<Bytes>> {
        let plan = self.gateway.current.load();
        let configured = self.status.load();
        let mut obstacles: Vec<String> = Vec::new();
        if self.gateway.is_draining() {
            obstacles.push("the gateway is shutting down".to_owned());
        }
        // Earlier than requests are refused, so that a load balancer can look elsewhere first.
        let room = plan.admission.report();
        obstacles.extend(overload::obstacles(&room));
        // What an operator should look at, though requests are served all the same.
        let mut remarks: Vec<String> = configured.remarks();
        let versions = plan.apis.iter().filter_map(|api| api.versions.as_ref());
        remarks.extend(versions.filter_map(|of| of.feed()).flat_map(Feed::remarks));
        let (store, healthy) = match plan.targets.store_state() {
            StoreState::Absent => ("none".to_owned(), true),
            StoreState::Open(store) => {
                let stats = store.stats();
                if stats.lost_commits > 0 {
                    remarks.push(format!(
                        "the store: {} commits that had been synced were missing when it was opened",
                        stats.lost_commits
                    ));
                }
                if stats.expiry_suspended {
                    remarks.push("the store: the clock stepped, and nothing expires".to_owned());
                }
                let healthy = stats.health == Health::Healthy;
                (queues::health_words(&stats.health), healthy)
            }
            StoreState::Unavailable(reason) => (reason, false),
        };
        if configured.store_needed && !healthy {
            obstacles.push(format!("the store: {store}"));
        }
        let status = if obstacles.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let ready = obstacles.is_empty();
        let body = json!({ "ready": ready, "obstacles": obstacles, "remarks": remarks, "requestsInFlight": room.places.used, "budgets": overload::shown(&room), "store": store, "configuration": configured.shown(), "targets": targets_json(&plan) });
        let mut response = json_response(status, &body);
        if !ready {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

const NOTHING: &str = "There is nothing here. GET / lists what there is.\n";

fn targets_json(plan: &Plan) -> Vec<Value> {
    let view = |view: TargetView| {
        json!({
            "target": view.target,
            "breaker": view.breaker,
            "lastError": view.last_error,
            "spooled": view.depth,
            "spooledBytes": view.bytes,
            "oldestAgeSeconds": view.oldest_age.map(|age| age.as_secs_f64()),
            "deadLetters": view.dead_letters,
            "stuck": view.stuck,
        })
    };
    plan.forward.targets().into_iter().map(view).collect()
}

const INDEX: &str = "Penstock, admin listener\n\n\
    /livez      is the process alive\n\
    /readyz     does it serve new requests, and if not, why\n\
    /metrics    Prometheus metrics\n\
    /v1/plan    the routes that run, as JSON\n\
    /v1/targets the targets: their breakers, and what waits for them\n\
    /v1/usage   what API keys have used (?key=NAME&from=DAY&to=DAY), as JSON\n\
    /v1/queues  the queues, spools and dead letters, as JSON\n\
    /v1/queues/NAME/messages  their messages, untouched (?after=NUMBER&limit=N)\n\
    /v1/queues/NAME/moves     how redrives go\n\
    POST /v1/queues/NAME/receive, /delete, /redrive, /cancel, /purge: see docs/queues.md\n\
    /v1/deployments       what was deployed, and the canary, as JSON; POST deploys\n\
    /v1/deployments/ID    its files (running: of the one that runs)\n\
    POST /v1/deployments/canary, /rollback: see docs/deployments.md\n\
    POST /v1/capture records requests for a while: see docs/deployments.md\n\
    POST /v1/reload  reads the configuration anew; says what became of it\n\
    POST /v1/authorizers/NAME/flush  forgets what a request authorizer has answered\n";

impl Answers {
    async fn serve(self, bound: Bound, drain: Drain) {
        let limits = ConnectionLimits {
            connections: 256,
            ..ConnectionLimits::default()
        };
        let (_keep, limits) = watch::channel(limits);
        if let Err(error) = run(
            bound,
            Terms::default(),
            limits,
            self,
            drain,
            Arc::new(ListenStats::default()),
        )
        .await
        {
            tracing::error!(%error, "The admin listener has ended");
        }
    }
}

impl Serve for Answers {
    type Body = Either<Full<Bytes>, capture::Lines>;

    async fn call(
        &self,
        request: Request<Incoming>,
        _peer: &Arc<Peer>,
        _leaving: &Leaving,
    ) -> Response<Self::Body> {
        if request.uri().path() == "/v1/capture" && request.method() == Method::POST {
            return match capture::answer(&self.0.gateway, &self.0.guard, request).await {
                Ok(lines) => lines.map(Either::Right),
                Err(refused) => api::refusal(&refused).map(Either::Left),
            };
        }
        self.0.answer(request).await.map(Either::Left)
    }

    fn malformed(&self, peer: &Arc<Peer>, what: Malformed) {
        tracing::debug!(remote = %peer.remote, reason = %what.reason, "The admin listener was sent no request");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(drain) = self.drain.take() {
            drain.start(Duration::from_millis(200));
        }
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("The admin listener's thread has panicked");
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(body.as_bytes()),
    )
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = respond(
        StatusCode::METHOD_NOT_ALLOWED,
        "text/plain; charset=utf-8",
        format!("Only {allowed} is served here.\n").into(),
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(body) {
        Ok(text) => respond(status, "application/json", (text + "\n").into()),
        Err(error) => {
            tracing::error!(%error, "An answer of the admin listener cannot be written");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The answer cannot be written.\n",
            )
        }
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
