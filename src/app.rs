//! The process: builds the planes in order, joins their tasks, stops them in reverse.
//!
//! Start: bind every address, open the store, build the plan, serve. Stop: not ready, stop accepting, let requests in
//! flight finish, wait for the calls that store, close the store, flush the log. At the deadline what is left is cut
//! off and counted.

mod deploying;
mod renewal;
mod stage;
mod trial;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::deployments::{Desk, Orders};
use crate::admin::{Admin, Exposition, Guard};
use crate::aws::Clients;
use crate::forward::Forward;
use crate::integration::{StoreState, Targets};
use crate::limit::admission::Admission;
use crate::limit::shared::SharedStores;
use crate::limit::usage::Keeper;
use crate::limit::{self, CallerTable};
use crate::listen::{
    BindError, Bound, BoundAddress, ConnectionLimits, DrainHandle, Drained, ListenStats,
    ListenerSpec, Terms, Tls, TlsError, run,
};
use crate::outbound;
use crate::pipeline::Gateway;
use crate::plan::blueprint::{ListenerBlueprint, SqsBlueprint, StoreBlueprint};
use crate::plan::{Blueprint, Current, admission, build};
use crate::sqs_api::SqsApi;
use crate::stack::Front;
use crate::store::{Clock, DeclareError, Notice, OpenError, Options, Store};
use crate::telemetry::metrics::Name;
use crate::telemetry::{AccessLog, Metrics, Telemetry};

use renewal::Renewal;
use stage::Stage;

pub use renewal::Source;

/// How long past the drain deadline closing the store may take.
const CLOSING: Duration = Duration::from_secs(5);

/// How often opening a store that cannot be used is tried again.
const REOPEN_EVERY: Duration = Duration::from_secs(2);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Queues(#[from] DeclareError),
    #[error("Listener `{listener}`: {source}")]
    Tls {
        listener: Arc<str>,
        source: TlsError,
    },
    #[error("the access log cannot be opened: {0}")]
    AccessLog(io::Error),
    #[error("the process cannot be set up: {0}")]
    Process(#[from] io::Error),
}

/// A listener that was bound.
pub struct Listening {
    pub name: Arc<str>,
    pub address: BoundAddress,
    pub tls: bool,
}

/// What was bound, for the banner.
pub struct Started {
    pub listeners: Vec<Listening>,
    pub admin: SocketAddr,
    /// The listener of the SQS protocol.
    pub sqs: Option<SocketAddr>,
    /// What an operator should know about the queues.
    pub notices: Vec<Notice>,
    /// Why the store could not be opened; routes that need it answer 503 until it can.
    pub store_unavailable: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was finished.
    Drained,
    /// Requests or calls were cut off at the deadline, or by a second signal.
    CutOff { requests: u64, calls: usize },
}

/// Runs a gateway until it is told to stop. `announce` is called once, when it serves.
pub async fn serve(
    blueprint: Blueprint,
    source: Source,
    announce: impl FnOnce(&Started),
) -> Result<Ended, StartError> {
    let mut stop = Stop::new()?;
    let mut bound = Vec::new();
    for listener in &blueprint.listeners {
        let opened = Bound::bind(&ListenerSpec {
            mode: listener.mode,
            ..ListenerSpec::new(listener.name.clone(), listener.bind.clone())
        })?;
        bound.push((opened, terms(listener)?));
    }
    let admin_bound = Bound::bind(&ListenerSpec::new("admin", blueprint.admin.clone()))?;
    let sqs_bound = blueprint.sqs.as_ref().map(bind_sqs).transpose()?;
    let metrics = Metrics::new();
    let log = AccessLog::open(
        &blueprint.log_destination,
        blueprint.log_format.clone(),
        metrics.clone(),
    )
    .map_err(StartError::AccessLog)?;
    let telemetry = Telemetry::new(metrics.clone(), log);

    let clients = Clients::new(blueprint.aws.clone());
    if blueprint
        .routes()
        .flat_map(|route| route.targets())
        .any(|target| target.touches_aws())
    {
        clients.warm();
    }
    let store_needed = blueprint.store.needed;
    // What an earlier configuration has spooled is forwarded all the same.
    let store_opened =
        store_needed || blueprint.has_quotas() || Store::exists(&blueprint.store.path);
    let before_opening = if store_opened {
        StoreState::Unavailable("the store is being opened".to_owned())
    } else {
        StoreState::Absent
    };
    let targets = Arc::new(Targets::new(clients.clone(), before_opening));
    let usage = blueprint.usage();
    let mut keeper = Keeper::new(usage.clone(), blueprint.keys.clone());
    let forward = Forward::new(targets.clone(), blueprint.targets.clone(), metrics.clone());
    let outbound = outbound::Client::new(blueprint.egress.clone());
    let stores = Arc::new(SharedStores::new(metrics.throttling.shared()));
    stores.connect();
    let callers = Arc::new(CallerTable::new(
        CallerTable::ENTRIES,
        limit::Clock::monotonic(),
    ));
    let admission = Admission::new(
        &admission::settings(&blueprint),
        metrics.received.clone(),
        limit::Clock::monotonic(),
    );
    let behind = {
        let targets = targets.clone();
        move || match targets.store_state() {
            StoreState::Open(store) => store.longest_group(),
            StoreState::Absent | StoreState::Unavailable(_) => Duration::ZERO,
        }
    };
    let _watch = AbortOnDropHandle::new(tokio::spawn(admission.clone().watch(behind)));
    let shared = crate::plan::build::Shared {
        metrics: &metrics,
        targets: targets.clone(),
        forward: forward.clone(),
        keys: blueprint.keys.clone(),
        usage: usage.clone(),
        callers: callers.clone(),
        stores: stores.clone(),
        outbound: outbound.clone(),
        aws: clients.clone(),
        admission: admission.clone(),
        rehearses: false,
        beside: false,
    };
    let gateway = Arc::new(Gateway::new(
        Current::new(build(&blueprint, &shared, None)),
        telemetry.clone(),
    ));

    let admin_address = admin_bound
        .ip_address()
        .ok_or_else(|| io::Error::other("the admin listener has no address"))?;
    let stats: Vec<Arc<ListenStats>> = bound.iter().map(|_| Arc::default()).collect();
    let sqs_stats: Arc<ListenStats> = Arc::default();
    let named = bound
        .iter()
        .map(|(bound, _)| Name(bound.name().clone()))
        .zip(stats.iter().cloned())
        .chain(
            sqs_bound
                .iter()
                .map(|bound| (Name(bound.name().clone()), sqs_stats.clone())),
        )
        .collect();
    let guard = Guard::new(blueprint.admin_token.clone(), admin_address.ip());
    let plan_json = Arc::new(ArcSwap::from_pointee((source.shown)(&blueprint)));
    let (desk, Orders { asked, listing }) = Desk::new();
    // Asked while the store is being opened, it says that the gateway is not ready.
    let admin = Admin {
        gateway: gateway.clone(),
        exposition: Exposition::new(&metrics, named),
        plan: plan_json.clone(),
        store_needed,
        guard: guard.clone(),
        desk,
    }
    .start(admin_bound)?;

    let mut started = Started {
        listeners: Vec::new(),
        admin: admin_address,
        sqs: sqs_bound.as_ref().and_then(Bound::ip_address),
        notices: Vec::new(),
        store_unavailable: None,
    };
    let mut reopening = None;
    if store_opened {
        let opened = tokio::select! {
            opened = open_store(&blueprint.store) => opened?,
            // Connections that queue in the backlog are told by the kernel.
            () = stop.asked() => return Ok(Ended::Drained),
        };
        match opened {
            Ok((store, notices)) => {
                started.notices = notices;
                // Nobody is to get a quota twice, so what was used is known before anybody is served.
                keeper.save(Some(&store)).await;
                targets.set_store(StoreState::Open(store));
                forward.start();
            }
            Err(reason) => {
                targets.set_store(StoreState::Unavailable(reason.clone()));
                started.store_unavailable = Some(reason);
                reopening = Some(AbortOnDropHandle::new(tokio::spawn(reopen(
                    blueprint.store.clone(),
                    targets.clone(),
                    forward.clone(),
                ))));
            }
        }
    }

    let keeping = keeper.run({
        let targets = targets.clone();
        move || match targets.store_state() {
            StoreState::Open(store) => Some(store),
            StoreState::Absent | StoreState::Unavailable(_) => None,
        }
    });

    let sqs = blueprint
        .sqs
        .as_ref()
        .map(|sqs| sqs_api(sqs, &targets, &metrics));
    let folder = source.texts.first().and_then(|file| file.path.parent());
    let folder = folder.map(Path::to_path_buf).unwrap_or_default();
    let mut renewal = Renewal {
        source,
        running: blueprint.clone(),
        gateway: gateway.clone(),
        metrics: metrics.clone(),
        targets: targets.clone(),
        forward: forward.clone(),
        outbound,
        aws: clients,
        callers,
        stores,
        admission,
        succession: keeping.succession(),
        guard,
        sqs: sqs.clone(),
        plan_json,
        said: String::new(),
        stage: Stage::default(),
        trial: None,
        overlaid: false,
        asked,
        listing,
        folder,
        began: Instant::now(),
    };
    // A rollback and a canary outlive the process, so they are back before anybody is served.
    renewal.resume().await;

    let (drain_handle, drain) = DrainHandle::new();
    let (_keep, limits) = watch::channel(connection_limits(&blueprint));
    let mut listeners = JoinSet::new();
    for ((bound, terms), counted) in bound.into_iter().zip(stats) {
        started.listeners.push(Listening {
            name: bound.name().clone(),
            address: bound.address().clone(),
            tls: terms.tls.is_some(),
        });
        listeners.spawn(run(
            bound,
            terms,
            limits.clone(),
            Front(gateway.clone()),
            drain.clone(),
            counted,
        ));
    }
    if let (Some(bound), Some(api)) = (sqs_bound, sqs) {
        let (plain, limits) = (Terms::default(), limits.clone());
        listeners.spawn(run(bound, plain, limits, api, drain.clone(), sqs_stats));
    }
    let renewal = AbortOnDropHandle::new(tokio::spawn(renewal.run()));
    announce(&started);

    // A listener that ends by itself has failed: its port is gone, so the gateway stops in good order.
    let failed = tokio::select! {
        () = stop.asked() => None,
        Some(ended) = listeners.join_next() => Some(match ended {
            Ok(Ok(_)) => io::Error::other("a listener has ended"),
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        }),
    };
    drop((reopening, renewal));
    if let Some(error) = &failed {
        tracing::error!(%error, "A listener has failed");
    }
    let deadline = Instant::now() + blueprint.limits.drain;
    let ended = drain_all(
        &gateway,
        &drain_handle,
        listeners,
        &targets,
        &forward,
        deadline,
        &mut stop,
    )
    .await;
    drop(admin);
    keeping.finish(deadline + CLOSING).await;
    if let StoreState::Open(store) = targets.store_state() {
        close_store(&store, deadline, &mut stop).await;
    }
    drop(telemetry);
    failed.map_or(Ok(ended), |error| Err(StartError::Process(error)))
}

fn bind_sqs(sqs: &SqsBlueprint) -> Result<Bound, BindError> {
    Bound::bind(&ListenerSpec::new("sqs", sqs.bind.clone()))
}

/// On what terms a listener takes connections. Reads its certificates, which blocks.
fn terms(listener: &ListenerBlueprint) -> Result<Terms, StartError> {
    let opened = listener.tls.clone().map(Tls::open).transpose();
    let tls = opened.map_err(|source| StartError::Tls {
        listener: listener.name.clone(),
        source,
    })?;
    Ok(Terms {
        proxy_protocol: listener.proxy_protocol,
        trust: Arc::new(listener.trust.clone()),
        tls: tls.map(Arc::new),
    })
}

fn sqs_api(sqs: &SqsBlueprint, targets: &Arc<Targets>, metrics: &Metrics) -> SqsApi {
    SqsApi::new(
        targets.clone(),
        sqs.access.clone(),
        sqs.region.clone(),
        Clock::system(),
        metrics.clone(),
    )
}

fn connection_limits(blueprint: &Blueprint) -> ConnectionLimits {
    let limits = &blueprint.limits;
    ConnectionLimits {
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        connections: limits.connections,
        per_address: limits.connections_per_address,
        age: limits.connection_age,
        ..ConnectionLimits::default()
    }
    .above(
        usize::try_from(limits.head_bytes).unwrap_or(usize::MAX),
        limits.header_count,
    )
}

/// Closes the store, unless the disk hangs. Nothing acknowledged depends on it: a store that was not closed is
/// recovered when it is opened again.
async fn close_store(store: &Store, deadline: Instant, stop: &mut Stop) {
    let given_up = tokio::select! {
        () = store.close() => return,
        () = tokio::time::sleep_until(deadline + CLOSING) => "the disk did not answer in time",
        () = stop.asked() => "a second signal",
    };
    tracing::warn!(
        reason = given_up,
        "The store was left open; its log is read when it is opened again"
    );
}

/// Finishes what is in flight, or cuts it off at the deadline or at a second signal.
async fn drain_all(
    gateway: &Arc<Gateway>,
    handle: &DrainHandle,
    mut listeners: JoinSet<io::Result<Drained>>,
    targets: &Arc<Targets>,
    forward: &Forward,
    deadline: Instant,
    stop: &mut Stop,
) -> Ended {
    let within = deadline.saturating_duration_since(Instant::now());
    tracing::info!(
        within_seconds = within.as_secs_f64().round() as u64,
        "Shutting down; a second signal ends it at once"
    );
    gateway.drain();
    if let StoreState::Open(store) = targets.store_state() {
        store.end_polls();
    }
    handle.start(within);
    let mut requests = 0;
    let mut at_once = false;
    loop {
        tokio::select! {
            () = stop.asked() => {
                tracing::warn!("A second signal: ending at once");
                at_once = true;
                handle.cut_off();
            }
            ended = listeners.join_next() => match ended {
                None => break,
                Some(Ok(Ok(drained))) => requests += drained.requests,
                Some(Ok(Err(error))) => tracing::error!(%error, "A listener has failed"),
                Some(Err(error)) => tracing::error!(%error, "A listener's task has failed"),
            },
        }
    }
    gateway.calls.close();
    tokio::select! {
        () = gateway.calls.wait() => {}
        () = tokio::time::sleep_until(deadline) => {}
        () = std::future::ready(()), if at_once => {}
        () = stop.asked() => {}
    }
    // No call of ours may run when the store closes: what is spooled stays, and goes on with the next start.
    let until = if at_once { Instant::now() } else { deadline };
    let left = tokio::select! {
        left = forward.drain(until) => left,
        () = stop.asked() => forward.drain(Instant::now()).await,
    };
    if left > 0 {
        tracing::warn!(
            records = left,
            "Records stay in the spool; they are forwarded after the next start"
        );
    }
    let calls = gateway.calls.len();
    if requests == 0 && calls == 0 {
        Ended::Drained
    } else {
        Ended::CutOff { requests, calls }
    }
}

/// SIGTERM, SIGINT, and SIGHUP: a terminal that is closed drops no request either.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    fn new() -> io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Opens the store. One that another process holds, or that a later version wrote, ends the start; one that the disk
/// does not give (`Ok(Err)`, with the reason) leaves the gateway without it, and is tried again.
async fn open_store(
    blueprint: &StoreBlueprint,
) -> Result<Result<(Store, Vec<Notice>), String>, StartError> {
    let error = match open_and_declare(blueprint, blueprint.wait).await {
        Ok(opened) => return Ok(Ok(opened)),
        Err(error) => error,
    };
    let passes = match &error {
        StartError::Store(error) => matches!(
            error,
            OpenError::Corrupt { .. }
                | OpenError::ReadOnly { .. }
                | OpenError::Full { .. }
                | OpenError::Io { .. }
        ),
        StartError::Queues(DeclareError::Store(error)) => error.is_transient(),
        _ => false,
    };
    if !passes {
        return Err(error);
    }
    tracing::error!(%error, "The store cannot be used; routes that need it answer 503");
    Ok(Err(error.to_string()))
}

async fn open_and_declare(
    blueprint: &StoreBlueprint,
    wait: Duration,
) -> Result<(Store, Vec<Notice>), StartError> {
    let options = Options {
        max_size: blueprint.max_size,
        lock_wait: wait,
        ..Options::new(blueprint.path.clone())
    };
    let opened = tokio::task::spawn_blocking(move || Store::open(options))
        .await
        .map_err(io::Error::other)?;
    let store = opened?;
    let notices = store.declare(blueprint.queues.clone()).await?;
    Ok((store, notices))
}

/// Tries until the store can be opened.
async fn reopen(blueprint: StoreBlueprint, targets: Arc<Targets>, forward: Arc<Forward>) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(REOPEN_EVERY).await;
        match open_and_declare(&blueprint, Duration::ZERO).await {
            Ok((store, _)) => {
                tracing::info!("The store can be used again");
                targets.set_store(StoreState::Open(store));
                forward.start();
                return;
            }
            Err(error) => {
                let reason = error.to_string();
                if reason != said {
                    tracing::error!(%error, "The store still cannot be used");
                    targets.set_store(StoreState::Unavailable(reason.clone()));
                    said = reason;
                }
            }
        }
    }
}
