//! The process: builds the planes in order, joins their tasks, stops them in reverse.
//!
//! Start: bind every address, open the store, build the plan, serve. Stop: not ready, stop accepting, let requests in
//! flight finish, wait for the calls that store, close the store, flush the log. At the deadline what is left is cut
//! off and counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::{Admin, Exposition};
use crate::authn::api_key::ApiKeys;
use crate::aws::Clients;
use crate::integration::{StoreState, Targets};
use crate::listen::{
    BindError, Bound, ConnectionLimits, DrainHandle, Drained, ListenStats, ListenerSpec, run,
};
use crate::pipeline::Gateway;
use crate::plan::blueprint::StoreBlueprint;
use crate::plan::{Blueprint, Current, build};
use crate::stack::Front;
use crate::store::{DeclareError, Notice, OpenError, Options, Store};
use crate::telemetry::metrics::Name;
use crate::telemetry::{AccessLog, Metrics, Telemetry};

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
    #[error("the access log cannot be opened: {0}")]
    AccessLog(io::Error),
    #[error("the process cannot be set up: {0}")]
    Process(#[from] io::Error),
}

/// What was bound, for the banner.
pub struct Started {
    /// Listener names and their addresses.
    pub listeners: Vec<(Arc<str>, SocketAddr)>,
    pub admin: SocketAddr,
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
    plan_json: serde_json::Value,
    announce: impl FnOnce(&Started),
) -> Result<Ended, StartError> {
    let mut stop = Stop::new()?;
    let mut bound = Vec::new();
    for listener in &blueprint.listeners {
        bound.push(Bound::bind(&ListenerSpec {
            name: listener.name.clone(),
            bind: listener.bind.clone(),
        })?);
    }
    let admin_bound = Bound::bind(&ListenerSpec {
        name: "admin".into(),
        bind: blueprint.admin.clone(),
    })?;
    let metrics = Metrics::new();
    let log = AccessLog::open(
        &blueprint.log_destination,
        blueprint.log_format.clone(),
        metrics.clone(),
    )
    .map_err(StartError::AccessLog)?;
    let telemetry = Telemetry::new(metrics.clone(), log);

    let opened = open_store(&blueprint.store).await?;
    let clients = Clients::new(blueprint.aws.clone());
    if blueprint
        .routes
        .iter()
        .any(|route| route.integration.touches_aws())
    {
        clients.warm();
    }
    let targets = Arc::new(Targets::new(clients, opened.state.clone()));
    let keys = Arc::new(ApiKeys::new(blueprint.keys.iter().cloned()));
    let shared = crate::plan::build::Shared {
        metrics: &metrics,
        targets: targets.clone(),
        keys: keys.clone(),
    };
    let gateway = Arc::new(Gateway::new(
        Current::new(build(&blueprint, &shared)),
        telemetry.clone(),
    ));
    let reopening = opened
        .unavailable
        .is_some()
        .then(|| tokio::spawn(reopen(blueprint.store.clone(), targets.clone())));

    let (drain_handle, drain) = DrainHandle::new();
    let limits = ConnectionLimits {
        header_timeout: blueprint.limits.header_timeout,
        idle_timeout: blueprint.limits.idle_timeout,
        connections: blueprint.limits.connections,
        ..ConnectionLimits::default()
    }
    .above(
        usize::try_from(blueprint.limits.head_bytes).unwrap_or(usize::MAX),
        blueprint.limits.header_count,
    );
    let (_keep, limits) = watch::channel(limits);
    let mut started = Started {
        listeners: Vec::new(),
        admin: admin_bound.local_addr(),
        notices: opened.notices,
        store_unavailable: opened.unavailable,
    };
    let mut listeners = JoinSet::new();
    let mut stats = Vec::new();
    for bound in bound {
        let counted = Arc::new(ListenStats::default());
        stats.push((Name(bound.name().clone()), counted.clone()));
        started
            .listeners
            .push((bound.name().clone(), bound.local_addr()));
        listeners.spawn(run(
            bound,
            limits.clone(),
            Front(gateway.clone()),
            drain.clone(),
            counted,
        ));
    }
    let store_needed = blueprint.store.needed;
    let exposition = Exposition::new(&metrics, stats, keys);
    let admin = Admin {
        gateway: gateway.clone(),
        exposition,
        plan: plan_json,
        store_needed,
    }
    .start(admin_bound)?;
    announce(&started);

    let ended = loop {
        tokio::select! {
            () = stop.asked() => break None,
            Some(ended) = listeners.join_next() => {
                // A listener ends only when it cannot even be registered with the runtime.
                if let Ok(Err(error)) = ended {
                    break Some(error);
                }
            }
        }
    };
    if let Some(task) = reopening {
        task.abort();
    }
    if let Some(error) = ended {
        return Err(StartError::Process(error));
    }
    let ended = drain_all(
        &gateway,
        &drain_handle,
        listeners,
        &targets,
        blueprint.limits.drain,
        &mut stop,
    )
    .await;
    drop(admin);
    if let StoreState::Open(store) = targets.store_state() {
        store.close().await;
    }
    drop(telemetry);
    Ok(ended)
}

/// Finishes what is in flight, or cuts it off at the deadline or at a second signal.
async fn drain_all(
    gateway: &Arc<Gateway>,
    handle: &DrainHandle,
    mut listeners: JoinSet<io::Result<Drained>>,
    targets: &Arc<Targets>,
    within: Duration,
    stop: &mut Stop,
) -> Ended {
    let deadline = Instant::now() + within;
    tracing::info!(
        within_seconds = within.as_secs_f64(),
        "Shutting down; a second signal ends it at once"
    );
    gateway.drain();
    if let StoreState::Open(store) = targets.store_state() {
        store.end_polls();
    }
    handle.start(within);
    let mut requests = 0;
    loop {
        tokio::select! {
            () = stop.asked() => {
                tracing::warn!("A second signal: ending at once");
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
        () = stop.asked() => {}
    }
    let calls = gateway.calls.len();
    if requests == 0 && calls == 0 {
        Ended::Drained
    } else {
        Ended::CutOff { requests, calls }
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

struct Opened {
    state: StoreState,
    notices: Vec<Notice>,
    unavailable: Option<String>,
}

/// Opens the store if anything needs it. One that another process holds, or that a later version wrote, ends the
/// start; one that the disk does not give leaves the gateway without it, and is tried again.
async fn open_store(blueprint: &StoreBlueprint) -> Result<Opened, StartError> {
    if !blueprint.needed {
        return Ok(Opened {
            state: StoreState::Absent,
            notices: Vec::new(),
            unavailable: None,
        });
    }
    match open_and_declare(blueprint, blueprint.wait).await {
        Ok((store, notices)) => Ok(Opened {
            state: StoreState::Open(store),
            notices,
            unavailable: None,
        }),
        Err(StartError::Store(
            error @ (OpenError::Corrupt { .. }
            | OpenError::ReadOnly { .. }
            | OpenError::Full { .. }
            | OpenError::Io { .. }),
        )) => {
            tracing::error!(%error, "The store cannot be used; routes that need it answer 503");
            let reason = error.to_string();
            Ok(Opened {
                state: StoreState::Unavailable(reason.clone()),
                notices: Vec::new(),
                unavailable: Some(reason),
            })
        }
        Err(error) => Err(error),
    }
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
async fn reopen(blueprint: StoreBlueprint, targets: Arc<Targets>) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(REOPEN_EVERY).await;
        match open_and_declare(&blueprint, Duration::ZERO).await {
            Ok((store, _)) => {
                tracing::info!("The store can be used again");
                targets.set_store(StoreState::Open(store));
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
